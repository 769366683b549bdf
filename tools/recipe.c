/* How to train, from the command line. */
#include "recipe.h"

#include <stdlib.h>
#include <string.h>

static kl_optim_kind optim_kind(const char *word)
{
    return !strcmp(word, "sgd")       ? KL_SGD
           : !strcmp(word, "adam")    ? KL_ADAM
           : !strcmp(word, "rmsprop") ? KL_RMSPROP
                                      : KL_ADAMW;
}

static bool is_keras(const args *a)
{
    const char *compat = args_text(a, "compat");
    return compat && !strcmp(compat, "keras");
}

/* The optimizers' own default rates, so that they can be said. */
static const char *default_lr(const args *a)
{
    const kl_optim_kind kind = optim_kind(args_text(a, "optimizer"));
    return kind == KL_SGD || (kind == KL_RMSPROP && !is_keras(a)) ? "0.01" : "0.001";
}

static int fill(args *a, const char *name, const char *value)
{
    return args_has(a, name) ? 0 : args_set(a, name, value);
}

int recipe_defaults(args *a)
{
    int code = fill(a, "epochs", "10");
    code = code ? code : fill(a, "batch", "64");
    code = code ? code : fill(a, "optimizer", "adamw");
    code = code ? code : fill(a, "lr", default_lr(a));
    code = code ? code : fill(a, "seed", "0");
    const bool adamw = code == 0 && !strcmp(args_text(a, "optimizer"), "adamw");
    code = code ? code
                : fill(a, "schedule", adamw && !args_has(a, "warmup") ? "one-cycle" : "constant");
    return code;
}

static int make_schedule(const args *a, int64_t per_epoch, kl_schedule *s)
{
    const char *word = args_text(a, "schedule");
    const int64_t epochs = args_int(a, "epochs", 1), all = per_epoch * epochs;
    *s = (kl_schedule){.lr = args_real(a, "lr", 0), .warmup = args_int(a, "warmup", 0)};
    if (!kl_schedule_parse(word, &s->kind)) {
        return fail(EXIT_USAGE,
                    "--schedule %s: it is one of constant, step, exponential, polynomial, cosine, "
                    "cosine-restarts, triangular, triangular2, exp-range, one-cycle",
                    word);
    }
    if (s->warmup > 0 && s->kind == KL_SCHED_ONE_CYCLE) {
        return fail(EXIT_USAGE,
                    "--warmup: the one-cycle schedule warms up by itself; take --schedule cosine");
    }
    s->total =
        all > s->warmup ? all - s->warmup : 1; /* its clock starts when the warm-up is over */
    switch (s->kind) {
    case KL_SCHED_STEP: /* three levels */
        s->period = s->total / 3 > 0 ? s->total / 3 : 1;
        break;
    case KL_SCHED_COSINE_RESTARTS: /* four periods */
        s->period = per_epoch * ((epochs + 3) / 4);
        break;
    case KL_SCHED_EXPONENTIAL: /* gamma 0.99 a hundredth of the way: to 0.37 lr at the end */
        s->period = s->total / 100 > 0 ? s->total / 100 : 1;
        break;
    case KL_SCHED_TRIANGULAR: /* an epoch up, an epoch down */
    case KL_SCHED_TRIANGULAR2:
    case KL_SCHED_EXP_RANGE:
        s->period = per_epoch;
        s->base = s->lr / 10;
        break;
    case KL_SCHED_CONSTANT:
    case KL_SCHED_POLYNOMIAL:
    case KL_SCHED_COSINE:
    case KL_SCHED_ONE_CYCLE:
        break;
    }
    return 0;
}

int recipe_make(const args *a, int64_t per_epoch, kl_trainer_opts *out)
{
    const double decay = args_real(a, "weight-decay", 0);
    *out = (kl_trainer_opts){.optim = {.kind = optim_kind(args_text(a, "optimizer")),
                                       .compat = is_keras(a) ? KL_KERAS : KL_TORCH,
                                       .momentum = (float)args_real(a, "momentum", 0),
                                       .nesterov = args_has(a, "nesterov"),
                                       .weight_decay = args_has(a, "weight-decay") && decay == 0
                                                           ? (float)KL_NONE
                                                           : (float)decay},
                             .clip_norm = (float)args_real(a, "clip", 0),
                             .shards = (int)args_int(a, "shards", 0),
                             .batchnorm_all = args_has(a, "batchnorm-all")};
    const kl_optim_kind kind = out->optim.kind;
    if (args_has(a, "momentum") && kind != KL_SGD && kind != KL_RMSPROP) {
        return fail(EXIT_USAGE, "--momentum: %s has none; sgd and rmsprop have",
                    args_text(a, "optimizer"));
    }
    if (args_has(a, "nesterov") && (kind != KL_SGD || out->optim.momentum == 0)) {
        return fail(EXIT_USAGE, "--nesterov goes with --optimizer sgd and a --momentum");
    }
    return make_schedule(a, per_epoch, &out->schedule);
}

char *recipe_text(const args *a, const kl_trainer_opts *o)
{
    char *momentum = o->optim.momentum != 0
                         ? must_print(", momentum %g%s", (double)o->optim.momentum,
                                      o->optim.nesterov ? " (Nesterov)" : "")
                         : must_copy("");
    char *warmup = o->schedule.warmup
                       ? must_print(" after %lld steps of warm-up", (long long)o->schedule.warmup)
                       : must_copy("");
    char *text = must_print("%s%s, lr %g %s%s%s%s", args_text(a, "optimizer"), momentum,
                            o->schedule.lr, args_text(a, "schedule"), warmup,
                            args_has(a, "augment") ? ", augmentation " : "",
                            args_has(a, "augment") ? args_text(a, "augment") : "");
    free(momentum);
    free(warmup);
    return text;
}
