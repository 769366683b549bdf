/* kiln eval: how well a checkpoint does on a data set. */
#include "classes.h"
#include "data.h"
#include "term.h"

#include <math.h>
#include <stdlib.h>

typedef struct eval {
    args *a;
    net net;
    kl_dataset *data;
    group group;
    kl_trainer *trainer;
    kl_confusion *confusion;
    kl_metrics m;
    double seconds;
} eval;

static int set_up(eval *e)
{
    int code = 0;
    e->data = data_open(args_text(e->a, "data"), &code);
    if (code == 0) {
        code = net_open(&e->net, e->a->operands[0], &(net_opts){.loss = args_text(e->a, "loss")});
    }
    if (code == 0 && !e->net.checkpoint) {
        code =
            fail(EXIT_USAGE, "%s has no trained parameters; give a checkpoint", e->a->operands[0]);
    }
    if (code == 0 && !e->net.loss) {
        code = fail(EXIT_USAGE,
                    "%s has no output \"loss\"; say which one to append, --loss softmax_xent",
                    e->net.name);
    }
    code = code ? code : data_check(&e->net, e->data);
    if (code == 0 && e->net.has_norm) {
        kl_dataset_set_normalise(e->data, &e->net.norm);
    }
    code = code ? code : open_device_group(e->a, 0, NULL, &e->group);
    e->trainer = code ? NULL : net_evaluator(&e->net, &e->group, &code);
    if (code == 0 && e->net.labels && e->net.scores) {
        e->confusion = kl_confusion_create(e->net.n_scores);
        code = e->confusion ? 0 : fail_status(KL_OK);
    }
    return code;
}

static int run_it(eval *e)
{
    const double begin = now();
    if (kl_evaluate(e->trainer, e->data, (int)args_int(e->a, "batch", 64), &e->m, e->confusion)) {
        return fail_status(KL_OK);
    }
    e->seconds = now() - begin;
    progress_clear();
    return 0;
}

static void print_text(const eval *e, const classes *c)
{
    number time;
    printf("%s on %s: %zu samples in %s\n", e->net.name, args_text(e->a, "data"),
           kl_dataset_count(e->data), seconds_text(time, e->seconds));
    printf("loss %.5f\n", e->m.loss);
    if (e->confusion) {
        printf("accuracy %.2f%%\n", 100 * kl_confusion_accuracy(e->confusion));
        if (c->n > 5) {
            printf("top-5 accuracy %.2f%%\n", 100 * kl_confusion_top_k(e->confusion, 5));
        }
        putchar('\n');
        classes_print_table(c);
        putchar('\n');
        classes_print_matrix(c);
    }
}

static void print_as_json(const eval *e, const classes *c)
{
    json_t *j = json_object();
    json_object_set_new(j, "model", json_text(e->a->operands[0]));
    json_object_set_new(j, "data", json_text(args_text(e->a, "data")));
    json_object_set_new(j, "samples", json_integer((json_int_t)kl_dataset_count(e->data)));
    json_object_set_new(j, "seconds", json_real(e->seconds));
    json_object_set_new(j, "loss", json_number_or_null(e->m.loss));
    if (e->confusion) {
        json_object_set_new(j, "accuracy",
                            json_number_or_null(kl_confusion_accuracy(e->confusion)));
        json_object_set_new(j, "top5_accuracy",
                            json_number_or_null(kl_confusion_top_k(e->confusion, 5)));
        json_object_set_new(j, "classes", classes_json(c));
    }
    print_json(j);
}

static int run_eval(args *a)
{
    eval e = {.a = a};
    int code = args_has(a, "data")
                   ? 0
                   : fail(EXIT_USAGE, "--data is missing; `kiln help train` lists what there is");
    code = code ? code : set_up(&e);
    code = code ? code : run_it(&e);
    const classes c = {&e.net, e.data, e.confusion, e.net.n_scores};
    if (code == 0 && args_has(a, "csv")) {
        code = e.confusion ? classes_write_csv(&c, args_text(a, "csv"))
                           : fail(EXIT_USAGE, "--csv: this model tells no classes apart");
    }
    if (code == 0 && args_has(a, "json")) {
        print_as_json(&e, &c);
    } else if (code == 0) {
        print_text(&e, &c);
    }
    kl_confusion_destroy(e.confusion);
    kl_trainer_destroy(e.trainer);
    net_close(&e.net);
    close_group(&e.group);
    kl_dataset_destroy(e.data);
    return code;
}

static const option_def options[] = {
    {"data", 0, OPT_STRING, "SPEC",
     "the data, as for train: fashion-mnist:test, idx:..., folder:...", 0, 0},
    {"batch", 'b', OPT_INT, "N", "samples a pass (64)", 1, 1e6},
    {"loss", 0, OPT_CHOICE, "softmax_xent|mse|mae|huber|bce_logits",
     "append it to a graph that has none", 0, 0},
    {"csv", 0, OPT_STRING, "FILE", "write the confusion matrix", 0, 0},
    OPTION_JSON,
    OPTION_DEVICE,
    OPTION_EXACT,
    OPTION_TALK,
    OPTION_HELP,
    {0}};

const command_def cmd_eval = {
    .name = "eval",
    .operands = "CHECKPOINT",
    .summary = "measure a checkpoint on a data set",
    .more = "CHECKPOINT is a file, or a run's folder (its best.kiln). The data is normalised as in "
            "training.\n"
            "\nexample:\n  kiln eval runs/lenet-20250102-030405 --data fashion-mnist:test\n",
    .options = options,
    .min_operands = 1,
    .max_operands = 1,
    .run = run_eval};
