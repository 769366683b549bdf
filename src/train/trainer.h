/* What a trainer is inside. */
#ifndef KL_TRAIN_TRAINER_H
#define KL_TRAIN_TRAINER_H

#include "ops/optim.h"
#include "sched/queue.h"
#include "sched/team.h"

#include <kiln/train.h>

typedef struct kl__totals {
    int64_t samples;
    double loss_sum, weight, correct, counted, grad_norm;
} kl__totals;

struct kl_trainer {
    const kl__train_calls *calls; /* first: the pass queue finds them here */
    kl_model *model;
    kl_ctx *ctx[KL_MAX_GROUP];
    size_t n_ctx;
    kl__stepper *stepper; /* one context, one process */
    kl__team *team;       /* else */
    const kl__op *optim;
    kl__optim attrs;
    kl_schedule schedule;
    int shards;
    bool allow_nan;
    const kl_exchange *exchange; /* NULL: one process; borrowed */
    int64_t steps;        /* queued */
    double last_lr;
    kl__totals train, eval;
    kl_meta *loaded;      /* metadata of the checkpoint that was loaded; fresh memory */
    size_t n_loaded;
};

/** Metadata of the loaded checkpoint; NULL: none. */
const char *kl__trainer_meta(const kl_trainer *tr, const char *key);
/** NULL: one process. */
const kl_exchange *kl__trainer_exchange(const kl_trainer *tr);
/** Takes results as they are there; all of them where `wait`. */
kl_status kl__trainer_collect(kl_trainer *tr, bool wait);
/** The optimizer and its numbers as text: equal texts move parameters alike. Fresh memory. */
char *kl__trainer_optimizer(const kl_trainer *tr);
/** The first context that is not lost, else the first; for inference. */
kl_ctx *kl__trainer_ctx(const kl_trainer *tr);
/** State k of the optimizer, as host numbers. Waits. */
kl_status kl__trainer_get_state(kl_trainer *tr, int k, void *dst);
kl_status kl__trainer_set_state(kl_trainer *tr, int k, const void *src);
/** Updates whose result is there to be saved: kl_trainer_steps, but for what was lost with the last
 * device of a group. Waits. */
int64_t kl__trainer_complete(kl_trainer *tr);
/** Queues a step; for interop. */
kl_status kl__trainer_queue(kl_trainer *tr, const kl_bind *binds, size_t n);

#endif
