/* kiln train: its options. */
#include "train.h"

static const option_def options[] = {
    {"data", 0, OPT_STRING, "SPEC", "training data (below)", 0, 0},
    {"val", 0, OPT_STRING, "SPEC|F",
     "validation data, or the fraction of the training data to hold out;\n"
     "default: the data's own test part, else 0.1; 0: none",
     0, 0},
    {"model", 'm', OPT_STRING, "MODEL",
     "architecture (`kiln help summary` lists them), graph in a text file,\n"
     "or checkpoint whose parameters to begin with",
     0, 0},
    {"epochs", 'e', OPT_INT, "N", "passes over the training data (10)", 1, 1e6},
    {"batch", 'b', OPT_INT, "N", "samples a step (64)", 1, 1e6},
    {"lr", 'l', OPT_REAL, "RATE", "learning rate, the peak of the schedule (0.001; sgd 0.01)",
     1e-12, 1e3},
    {"optimizer", 0, OPT_CHOICE, "adamw|adam|sgd|rmsprop", "default adamw", 0, 0},
    {"momentum", 0, OPT_REAL, "M", "of sgd and rmsprop (0)", 0, 1},
    {"nesterov", 0, OPT_FLAG, NULL, "Nesterov's momentum", 0, 0},
    {"weight-decay", 0, OPT_REAL, "W", "adamw 0.01, others 0", 0, 1e3},
    {"schedule", 0, OPT_STRING, "WORD",
     "constant, step, exponential, polynomial, cosine, cosine-restarts,\n"
     "triangular, triangular2, exp-range, one-cycle;\n"
     "default: one-cycle over all steps for adamw, else constant",
     0, 0},
    {"warmup", 0, OPT_INT, "STEPS", "linear from 0 over so many steps, then the schedule", 0, 1e9},
    {"loss", 0, OPT_CHOICE, "softmax_xent|mse|mae|huber|bce_logits",
     "append it to a graph that has no output \"loss\"; all but the first\n"
     "compare an output with the samples themselves (autoencoders)",
     0, 0},
    {"clip", 0, OPT_REAL, "NORM", "limit of the gradient's norm", 0, 1e30},
    {"patience", 0, OPT_INT, "N", "stop after N epochs without improvement (never)", 0, 1e6},
    {"augment", 0, OPT_STRING, "LIST", "flip,flip-vertical,shift=PIXELS,crop=PIXELS", 0, 0},
    {"freeze", 0, OPT_LIST, "PATTERN", "leave parameters alone whose names match, as \"conv1.*\"",
     0, 0},
    {"split", 0, OPT_STRING, "HOW",
     "of a batch over several devices: auto (by measured speed, the\n"
     "default), equal, or weights as 3:1",
     0, 0},
    {"memory", 0, OPT_BYTES, "SIZE",
     "of each device, as 1G or 512M: cut a batch into micro-batches that fit", 0, 0},
    {"micro-batch", 0, OPT_INT, "N", "cut a batch into pieces of at most N samples", 1, 1e6},
    {"shards", 0, OPT_INT, "N",
     "pieces of a batch, summed in a fixed order: the result depends on their\n"
     "number, not on the devices (1; several devices: 16)",
     1, 256},
    {"mpi", 0, OPT_CHOICE, "auto|on|off",
     "one of several processes that train together: where mpirun started\n"
     "this one (auto), always, never",
     0, 0},
    {"compat", 0, OPT_CHOICE, "torch|keras",
     "whose formulas and defaults optimizers follow (torch)", 0, 0},
    {"seed", 's', OPT_INT, "N", "of parameters, order, dropout, augmentation (0)", 0, 9e15},
    {"out", 'o', OPT_STRING, "DIR", "the run's folder (runs/MODEL-DATE)", 0, 0},
    {"resume", 'r', OPT_MAYBE, "RUN",
     "go on with a run's folder or a checkpoint, to the bit; other options\n"
     "come from its args.json",
     0, 0},
    {"workers", 0, OPT_INT, "N", "threads that make batches (1)", 1, 64},
    {"batchnorm-all", 0, OPT_FLAG, NULL,
     "batch norm's statistics over all shards of a batch, which then are all in\nmemory at once; "
     "default: of each shard",
     0, 0},
    {"sync", 0, OPT_FLAG, NULL, "wait after each operation and look for NaN (slow)", 0, 0},
    {"no-tune", 0, OPT_FLAG, NULL,
     "kernels by rule alone, and none measured between steps (5% of the time) for later runs", 0,
     0},
    {"trace", 0, OPT_STRING, "FILE",
     "write when each command of the first 10 steps ran, for Perfetto or\nchrome://tracing", 0, 0},
    {"json-log", 0, OPT_FLAG, NULL, "a line of JSON per epoch on stdout", 0, 0},
    OPTION_DEVICE,
    OPTION_EXACT,
    OPTION_TALK,
    OPTION_HELP,
    {0}};

const command_def cmd_train = {
    .name = "train",
    .operands = "",
    .summary = "train a model",
    .more =
        "data:\n"
        "  fashion-mnist[:test]                    Debian's dataset-fashion-mnist\n"
        "  idx:IMAGES[,LABELS], idx:FOLDER[:test]  MNIST's format, plain or .gz\n"
        "  cifar10:FOLDER[:test], cifar100:FILE[,fine|coarse]\n"
        "  csv:FILE[,label=COLUMN|first|last|none][,shape=CxHxW][,scale=1/16]\n"
        "  npy:X.npy,Y.npy\n"
        "  folder:DIR[,size=HxW][,channels=1|3]    a sub-folder of pictures per class\n"
        "  a bare path: a folder, or a file told by its name\n"
        "\nThe data is normalised by the training set's statistics, which the checkpoints keep.\n"
        "The run's folder gets args.json, log.csv, last.kiln, best.kiln, confusion.csv, "
        "report.html, and\n"
        "tuned.json: the kernels measured before (`kiln help tune`) that it uses; --resume goes on "
        "with them.\n"
        "Several devices: --device 0:0,1:0, all, gpu, or 0:0/2 for the two halves of one. A batch "
        "is "
        "cut into\n"
        "shards, which the devices share; a device that fails is left out, and nothing is lost. A "
        "resumed run\n"
        "keeps its shards; its devices may be others.\n"
        "Several machines, or processes: mpirun -n 4 kiln train ...; what they compute depends on "
        "the "
        "shards,\n"
        "not on how many they are. The first one writes the run's folder, which all must see to go "
        "on "
        "with it.\n"
        "Ctrl-C saves and ends (exit code 130); a second one ends at once.\n"
        "\nexamples:\n"
        "  kiln train --data fashion-mnist --model lenet --epochs 5\n"
        "  kiln train --data folder:photos,size=64x64 --val 0.2 --model net.txt --augment "
        "flip,crop=4\n"
        "  kiln train --data cifar10:data --model vgg6 --device all --batch 512 --memory 1G\n"
        "  kiln train --resume runs/lenet-20250102-030405\n",
    .options = options,
    .run = run_train};
