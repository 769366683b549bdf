/* kiln train: from a command line to a folder with checkpoints, log and report. */
#include "classes.h"
#include "data.h"
#include "pieces.h"
#include "ranks.h"
#include "recipe.h"
#include "report.h"
#include "run.h"
#include "term.h"
#include "train.h"
#include "watch.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct job {
    args *a;
    FILE *say;
    char *checkpoint; /* that this training goes on from; NULL: a new one */
    char *run_dir;    /* its folder, where it has one */
    kl_dataset *train, *val;
    char *val_text, *data_text, *model_text, *recipe;
    net net;
    group group;
    double *split;
    int eval_batch;    /* a micro-batch where batches are cut for the sake of memory */
    char *pieces_text; /* what --memory and --micro-batch did; NULL: nothing */
    kl_trainer *trainer;
    kl_trainer_opts opts;
    run run;
    watch watch;
    int64_t per_epoch;
    char sample[96];
    const char *val_word; /* "test" where that is what the validation data is */
} job;

/* ---- going on with an old training
 * ------------------------------------------------------------------------ */

static int old_epoch(const char *checkpoint)
{
    char *v = kl_checkpoint_meta(checkpoint, "kiln.epoch");
    const int epoch = v ? (int)strtol(v, NULL, 10) : 0;
    kl_free(v);
    return epoch;
}

/* ---- setting up
 * --------------------------------------------------------------------------------------------- */

static int open_data(job *j)
{
    int code;
    const char *spec = args_text(j->a, "data");
    j->train = data_open(spec, &code);
    if (code == 0) {
        code = data_open_val(j->train, spec, args_text(j->a, "val"),
                             (uint64_t)args_int(j->a, "seed", 0), &j->val, &j->val_text);
    }
    if (code == 0) {
        j->val_word = strstr(j->val_text, ":test,") ? "test" : "validation";
        shape_text(j->sample, kl_dataset_shape(j->train));
        j->data_text =
            must_print("%s: %zu samples %s, %d classes", spec, kl_dataset_count(j->train),
                       j->sample, kl_dataset_classes(j->train));
    }
    return code;
}

static int freeze(job *j)
{
    const char *pattern;
    for (size_t i = 0; (pattern = args_nth(j->a, "freeze", i)) != NULL; i++) {
        if (kl_model_freeze(j->net.model, pattern, true)) {
            return fail_status(KL_OK);
        }
    }
    return 0;
}

static char *describe_model(const net *n)
{
    size_t all = 0, trained = 0;
    number text;
    for (size_t i = 0; i < kl_model_n_params(n->model); i++) {
        kl_param_info p;
        if (kl_model_param(n->model, i, &p) == KL_OK) {
            all += p.trainable ? p.count : 0;
            trained += p.trainable && !p.frozen ? p.count : 0;
        }
    }
    return trained == all
               ? must_print("%s: %s parameters", n->name, count_text(text, (double)all))
               : must_print("%s: %zu parameters, %zu of them trained", n->name, all, trained);
}

static int open_net(job *j)
{
    const kl_shape sample = kl_dataset_shape(j->train);
    const net_opts o = {.sample = &sample,
                        .n_classes = kl_dataset_classes(j->train),
                        .loss = j->checkpoint ? NULL : args_text(j->a, "loss"),
                        .seed = (uint64_t)args_int(j->a, "seed", 0)};
    int code = net_open(&j->net, j->checkpoint ? j->checkpoint : args_text(j->a, "model"), &o);
    if (code == 0 && j->checkpoint &&
        args_has(j->a, "model")) { /* from args.json: the architecture's own name */
        free(j->net.name);
        j->net.name = must_copy(args_text(j->a, "model"));
    }
    if (code == 0 && !j->net.loss) {
        code = fail(EXIT_USAGE,
                    "%s has no output \"loss\"; say which one to append, --loss softmax_xent",
                    j->net.name);
    }
    if (code == 0) {
        code = data_check(&j->net, j->train);
    }
    if (code == 0 && j->val) {
        code = data_check(&j->net, j->val);
    }
    if (code == 0) {
        code = data_normalise(&j->net, j->train, j->val);
    }
    if (code == 0 && args_has(j->a, "augment")) {
        code = data_augment(j->train, args_text(j->a, "augment"));
    }
    code = code ? code : freeze(j);
    j->model_text = code ? NULL : describe_model(&j->net);
    return code;
}

/* A run that goes on does so with the kernels that it began with, for the sake of its bits: one
 * device's are in tuned.json, several devices' in a folder. */
static int open_devices(job *j)
{
    const bool one = j->run_dir && run_has(j->run_dir, "tuned.json"),
               several = j->run_dir && run_has(j->run_dir, "tuned");
    char *tuned = one || several ? must_print("%s/%s", j->run_dir, several ? "tuned" : "tuned.json")
                                 : must_copy("");
    const uint32_t flags = (args_has(j->a, "sync") ? KL_CTX_SYNC : 0) |
                           (args_has(j->a, "trace") ? KL_CTX_PROFILE : 0);
    const int code = open_device_group(j->a, flags, j->checkpoint ? tuned : NULL, &j->group);
    free(tuned);
    return code;
}

static int open_trainer(job *j)
{
    int code = 0;
    const int64_t batch = args_int(j->a, "batch", 64), n = (int64_t)kl_dataset_count(j->train);
    if (batch > n) {
        return fail(EXIT_USAGE, "--batch %lld: there are %lld samples to train with",
                    (long long)batch, (long long)n);
    }
    j->per_epoch = (n + batch - 1) / batch;
    code = recipe_make(j->a, j->per_epoch, &j->opts);
    j->recipe = code ? NULL : recipe_text(j->a, &j->opts);
    code = code ? code : open_devices(j);
    code = code ? code : pieces_split(j->a, j->group.n, &j->split);
    j->opts.split = j->split;
    j->opts.exchange = ranks_exchange();
    const char *logits = j->net.labels ? j->net.scores : NULL;
    code = code ? code
                : pieces_choose(j->a, j->net.model, &j->group, j->net.loss, logits, j->checkpoint,
                                &j->opts, &j->pieces_text);
    j->eval_batch = (int)args_int(j->a, "micro-batch", batch);
    if (code) {
        return code;
    }
    j->trainer = kl_trainer_create(j->net.model, j->group.ctx, j->group.n, j->net.loss, logits,
                                   &j->opts);
    if (!j->trainer || (j->checkpoint && kl_trainer_load(j->trainer, j->checkpoint))) {
        return fail_status(KL_OK);
    }
    return 0;
}

static int save_tuned(const job *j)
{
    const bool several = j->group.n > 1 || run_has(j->run.dir, "tuned");
    char *tuned = must_print("%s/%s", j->run.dir, several ? "tuned" : "tuned.json");
    int code = several ? run_make_dir(tuned) : 0;
    for (size_t i = 0; code == 0 && i < j->group.n; i++) {
        code = kl_ctx_save_tuned(j->group.ctx[i], tuned) ? fail_status(KL_OK) : 0;
    }
    free(tuned);
    return code;
}

static int own_run(job *j)
{
    const char *out = args_text(j->a, "out");
    int code = j->run_dir && (!out || !strcmp(out, j->run_dir))
                   ? run_continue(&j->run, j->run_dir, old_epoch(j->checkpoint))
                   : run_create(&j->run, out, j->net.name);
    code = code ? code : run_write_args(&j->run, j->a);
    return code ? code : save_tuned(j);
}

/* The first process's; the others know its name. */
static int open_run(job *j)
{
    const int code = ranks_agree(ranks_rank() ? 0 : own_run(j));
    if (code == 0 && ranks_exchange()) {
        char *dir = ranks_same_text(j->run.dir);
        if (ranks_rank()) {
            run_adopt(&j->run, dir);
        } else {
            free(dir);
        }
    }
    return code;
}

static side_tuning side_tuning_of(const job *j)
{
    const int64_t batch = args_int(j->a, "batch", 64), shards = args_int(j->a, "shards", 1);
    /* between the steps of several devices there is no time at which one of them is idle */
    const bool off = args_has(j->a, "no-tune") || args_has(j->a, "sync") ||
                     args_has(j->a, "trace") || j->group.n > 1 || ranks_exchange();
    return (side_tuning){.model = off ? NULL : j->net.model,
                         .ctx = j->group.ctx[0],
                         .loss = j->net.loss,
                         .batch = (batch + shards - 1) / shards,
                         .begin = now()};
}

static void say_devices(const job *j)
{
    FILE *f = j->say;
    const char *dim = sgr(f, DIM), *plain = sgr(f, PLAIN), *split = args_text(j->a, "split");
    char id[32];
    for (size_t i = 0; i < j->group.n; i++) {
        const kl_device_info *d = &j->group.info[i];
        fprintf(f, "%s%-10s%s ", dim, i ? "" : j->group.n > 1 ? "devices" : "device", plain);
        if (j->group.n > 1) {
            fprintf(f, "%s  ", device_id(id, d));
        }
        fprintf(f, "%s (%s, %d units)\n", d->name, d->type, d->compute_units);
    }
    if (j->group.n > 1) {
        fprintf(f, "%ssplit     %s %d shards of a batch, %s\n", dim, plain, j->opts.shards,
                !j->split                  ? "by measured speed"
                : !strcmp(split, "equal") ? "equal"
                                           : split);
    }
    if (ranks_exchange()) {
        fprintf(f, "%sprocesses %s %d, %d shards of a batch; above is the first one's\n", dim,
                plain, ranks_exchange()->size, j->opts.shards ? j->opts.shards : 16);
    }
    if (j->pieces_text) {
        fprintf(f, "%smemory    %s %s\n", dim, plain, j->pieces_text);
    }
}

static void say_plan(const job *j)
{
    progress_clear();
    if (verbosity < 0) {
        return;
    }
    FILE *f = j->say;
    const char *dim = sgr(f, DIM), *plain = sgr(f, PLAIN);
    kl_normalise n;
    kl_dataset_get_normalise(j->train, &n);
    say_devices(j);
    fprintf(f, "%sdata      %s %s; normalised by mean %.3g, deviation %.3g%s\n", dim, plain,
            j->data_text, n.n ? (double)n.mean[0] : 0, n.n ? (double)n.std[0] : 1,
            n.n > 1 ? ", ..." : "");
    fprintf(f, "%svalidation%s %s\n", dim, plain, j->val_text);
    fprintf(f, "%smodel     %s %s\n", dim, plain, j->model_text);
    fprintf(f, "%straining  %s %s epochs of %lld steps, batch %s, %s, seed %s\n", dim, plain,
            args_text(j->a, "epochs"), (long long)j->per_epoch, args_text(j->a, "batch"), j->recipe,
            args_text(j->a, "seed"));
    if (j->checkpoint) {
        fprintf(f, "%sresumed   %s %s, after %lld steps\n", dim, plain, j->checkpoint,
                (long long)kl_trainer_steps(j->trainer));
    }
    if (j->checkpoint && old_epoch(j->checkpoint) >= args_int(j->a, "epochs", 0)) {
        fprintf(f, "%sdone      %s all epochs are; --epochs N trains on\n", dim, plain);
    }
    fprintf(f, "%srun       %s %s\n", dim, plain, j->run.dir);
    fflush(f);
}

/* ---- training -------------------------------------------------------------------------------- */

/* The disk is full or gone: what was learned goes where there is room. */
static void rescue(job *j, const kl_meta *meta, size_t n_meta)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = must_print("%s/kiln-rescue-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    char *path = mkdtemp(dir) ? must_print("%s/last.kiln", dir) : NULL;
    if (path && kl_trainer_save(j->trainer, path, meta, n_meta) == KL_OK) {
        note("the model as it was then is in %s", path);
    } else if (path) {
        rmdir(dir);
    }
    free(path);
    free(dir);
}

static int train(job *j)
{
    const kl_meta meta[] = {{"sample", j->sample}, {"data", args_text(j->a, "data")}};
    const kl_fit_opts fo = {.epochs = (int)args_int(j->a, "epochs", 1),
                            .batch = (int)args_int(j->a, "batch", 64),
                            .patience = (int)args_int(j->a, "patience", 0),
                            .checkpoint_last = j->run.last,
                            .checkpoint_best = j->run.best,
                            .resume = j->checkpoint != NULL,
                            .meta = meta,
                            .n_meta = 2,
                            .progress = ranks_rank() ? ranks_progress : watch_progress,
                            .user = &j->watch,
                            .workers = (int)args_int(j->a, "workers", 1),
                            .eval_batch = j->eval_batch};
    j->watch = (watch){.run = &j->run,
                       .say = j->say,
                       .json = args_has(j->a, "json-log"),
                       .begin = now(),
                       .trainer = j->trainer,
                       .group = &j->group,
                       .shares = shares_create(&j->group),
                       .trace = ranks_rank() ? NULL : args_text(j->a, "trace"),
                       .has_val = j->val != NULL,
                       .tuning = side_tuning_of(j)};
    int code = watch_begin_trace(&j->watch);
    if (code) {
        return code;
    }
    watch_signals();
    const kl_status s = kl_fit(j->trainer, j->train, j->val, &fo);
    side_tuning_end(&j->watch.tuning);
    progress_clear();
    watch_end_trace(&j->watch);
    shares_take(j->watch.shares, j->trainer);
    if (ranks_rank() && (s == KL_E_CANCELLED || s == KL_E_NUMERIC)) {
        code = exit_code(s); /* the first one tells */
    } else if ((was_interrupted() && (s == KL_E_CANCELLED || s == KL_OK)) ||
               (ranks_exchange() && s == KL_E_CANCELLED && !j->watch.code)) {
        code = fail(EXIT_INTERRUPTED,
                    "interrupted after %lld steps; go on with: kiln train --resume %s",
                    (long long)kl_trainer_steps(j->trainer), j->run.dir);
    } else if (j->watch.code) {
        code = j->watch.code;
    } else if (s) {
        code = fail_status(s);
    }
    if (code == EXIT_DATA) {
        rescue(j, meta, 2);
    }
    unwatch_signals();
    return code;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Of the best epoch where there is one; on a test set, of the last: a figure that chose its own
 * epoch on the test data would flatter. *c NULL: nothing to tell classes of. */
static int judge(job *j, kl_confusion **c, kl_metrics *m, bool *best)
{
    kl_status s = KL_OK;
    *best = ranks_same_flag(strcmp(j->val_word, "test") != 0 && run_has(j->run.dir, "best.kiln"));
    if (*best) {
        s = kl_trainer_load(j->trainer, j->run.best);
    }
    if (s == KL_OK && j->net.labels && j->net.scores && !ranks_rank() &&
        !(*c = kl_confusion_create(j->net.n_scores))) {
        s = kl_last_status();
    }
    if (s == KL_OK) {
        s = kl_evaluate(j->trainer, j->val, j->eval_batch, m, *c);
    }
    return s ? ranks_abort(fail_status(s)) : 0;
}

static int write_report(const job *j, const classes *c, const char *result)
{
    char *path = must_print("%s/report.html", j->run.dir);
    const report r = {.run = &j->run,
                      .args = j->a,
                      .classes = c,
                      .shares = j->watch.shares,
                      .pieces = j->pieces_text,
                      .model = j->model_text,
                      .data = j->data_text,
                      .val = j->val_text,
                      .result = result,
                      .seconds = j->run.seconds_before + now() - j->watch.begin};
    const int code = report_write(&r, path);
    free(path);
    return code;
}

static int write_matrix(const job *j, const classes *c)
{
    char *path = must_print("%s/confusion.csv", j->run.dir);
    const int code = classes_write_csv(c, path);
    free(path);
    if (j->say == stdout && verbosity >= 0) {
        putchar('\n');
        classes_print_matrix(c);
        putchar('\n');
    }
    return code;
}

/* Where there was a limit, how near the training came to it. */
static void say_memory(const job *j)
{
    number held;
    kl_ctx_stats s;
    uint64_t most = 0;
    for (size_t i = 0; i < j->group.n; i++) {
        kl_ctx_stats_get(j->group.ctx[i], &s);
        most = s.peak_bytes > most ? s.peak_bytes : most;
    }
    if (args_has(j->a, "memory")) {
        fprintf(j->say, "at most %s of device memory were held\n", bytes_text(held, (double)most));
    }
}

static void say_lost(const job *j)
{
    const shares *s = j->watch.shares;
    char id[32];
    for (size_t i = 0; i < s->n; i++) {
        if (s->of[i].lost) {
            fprintf(j->say, "%s%s %s was lost%s: %s; the others did its share\n",
                    sgr(j->say, YELLOW), device_id(id, &s->of[i].device), s->of[i].device.name,
                    sgr(j->say, PLAIN), s->of[i].why);
        }
    }
}

static int finish(job *j)
{
    kl_confusion *confusion = NULL;
    kl_metrics m = {0};
    bool best = false;
    char *result = NULL;
    int code = j->val ? judge(j, &confusion, &m, &best) : 0;
    if (code || ranks_rank()) {
        return code;
    }
    const classes c = {&j->net, j->train, confusion, j->net.n_scores};
    if (code == 0 && confusion) {
        code = write_matrix(j, &c);
        result = must_print("%s accuracy %.2f%%, loss %.4f (%s)", j->val_word,
                            100 * kl_confusion_accuracy(confusion), m.loss,
                            best ? "the best epoch's, best.kiln" : "the last epoch's, last.kiln");
    } else if (code == 0) {
        const size_t n = j->run.n_rows;
        result = must_print("%s loss %.5g", j->val ? j->val_word : "training",
                            j->val ? m.loss
                            : n    ? j->run.rows[n - 1].loss
                                   : (double)NAN);
    }
    if (code == 0) {
        code = write_report(j, confusion ? &c : NULL, result);
    }
    if (code == 0 && verbosity >= 0) {
        fprintf(j->say, "%s%s%s\n", sgr(j->say, BOLD), result, sgr(j->say, PLAIN));
        say_lost(j);
        say_memory(j);
        fprintf(j->say, "the run is in %s (report.html)\n", j->run.dir);
    }
    kl_confusion_destroy(confusion);
    free(result);
    return code;
}

static void close_job(job *j)
{
    kl_trainer_destroy(j->trainer);
    net_close(&j->net);
    close_group(&j->group);
    free(j->watch.shares);
    free(j->split);
    free(j->pieces_text);
    kl_dataset_destroy(j->val);
    kl_dataset_destroy(j->train);
    run_free(&j->run);
    free(j->checkpoint);
    free(j->run_dir);
    free(j->val_text);
    free(j->data_text);
    free(j->model_text);
    free(j->recipe);
}

static int whole(args *a)
{
    job j = {.a = a, .say = args_has(a, "json-log") ? stderr : stdout};
    signal(SIGPIPE, SIG_IGN); /* whoever reads the progress may go; the training stays */
    int code = args_has(a, "resume") ? run_find(a, &j.run_dir, &j.checkpoint) : 0;
    code = code ? code : recipe_defaults(a);
    code = code ? code : pieces_check(a);
    if (code == 0 && !args_has(a, "data")) {
        code = fail(EXIT_USAGE, "--data is missing: fashion-mnist, or see `kiln help train`");
    }
    if (code == 0 && !j.checkpoint && !args_has(a, "model")) {
        code = fail(EXIT_USAGE, "--model is missing: lenet, a graph's text file, or a checkpoint");
    }
    code = code ? code : open_data(&j);
    code = ranks_agree(code ? code : open_net(&j));
    code = ranks_agree(code ? code : open_trainer(&j));
    code = code ? code : open_run(&j);
    if (code == 0) {
        say_plan(&j);
        code = ranks_agree(train(&j));
        if (code == 0) {
            code = finish(&j);
        } else if (code == EXIT_INTERRUPTED && !ranks_rank()) {
            write_report(&j, NULL, "interrupted");
        }
    }
    close_job(&j);
    return code;
}

int run_train(args *a)
{
    const int code = ranks_start(a);
    return code ? code : ranks_finish(whole(a));
}
