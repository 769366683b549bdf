/* A team: training steps of one model over a group of contexts, and over several processes where
 * there is an exchange. The same calls as a stepper's. */
#ifndef KL_SCHED_TEAM_H
#define KL_SCHED_TEAM_H

#include "sched/stepper.h"

#include <kiln/exchange.h>

typedef struct kl__team_opts {
    kl__stepper_opts step;   /* loss, optimizer, shards, ...; copied */
    const double *split;     /* a weight per context; NULL: by measured speed. Copied */
    const kl_exchange *exchange; /* NULL: one process; borrowed */
    bool all_reduce;         /* processes' sums by all_reduce, not by the tree */
    int check_every;         /* steps between proofs of equal parameters */
} kl__team_opts;

typedef struct kl__team kl__team;
kl__team *kl__team_create(kl_model *m, kl_ctx *const *ctx, size_t n, const kl__team_opts *opts);
void kl__team_destroy(kl__team *t);
/** Queues one update. Host memory only; it is copied before this returns. Waits while two are under
 * way. */
kl_status kl__team_step(kl__team *t, const kl_bind *binds, size_t n, const kl__step_scalars *sc);
kl_status kl__team_eval(kl__team *t, const kl_bind *binds, size_t n);
bool kl__team_result(kl__team *t, bool wait, kl__result *out, bool *eval, kl_status *st);
int kl__team_pending(kl__team *t);
/** Waits for all that was queued; the model's parameters on the host are then the newest. */
void kl__team_settle(kl__team *t);
kl_status kl__team_explain(kl__team *t, int64_t step);
kl_status kl__team_get_state(kl__team *t, int k, void *dst);
kl_status kl__team_set_state(kl__team *t, int k, const void *src);
/** The step after the last complete one, where `queued` steps were asked for: less only after all
 * devices were lost. Waits. */
int64_t kl__team_steps(kl__team *t, int64_t queued);

typedef struct kl__team_share {
    int shards;
    double samples_per_second, busy;
    bool lost;
    char why[160];
} kl__team_share;
size_t kl__team_shares(kl__team *t, kl__team_share *out, size_t cap);

/* team_split.c */
/** Whole shards for n members (at least 0 each, together `shards`): the least time of the slowest,
 * where seconds[i] is what member i takes for one; lost ones have INFINITY. */
void kl__split_by_speed(int shards, const double *seconds, int n, int *counts);
/** As the weights are; what is left over goes to the largest remainders. */
void kl__split_by_weight(int shards, const double *weights, int n, int *counts);
/** Whether `b` is enough better than `a` to change over. */
bool kl__split_better(const int *a, const int *b, const double *seconds, int n);

#endif
