/* One candidate of one apply, alone: frozen like a plan, on buffers and random numbers of its own,
 * to be timed and to be compared with another candidate of the same apply. */
#ifndef KL_SCHED_TRIAL_H
#define KL_SCHED_TRIAL_H

#include "sched/plan.h"

enum { KL__TRIAL_IN = 16 };

/** What all candidates of an apply read: one buffer per value, plain, filled. */
typedef struct kl__trial_data {
    const kl__apply *apply; /* reads values as they are stored (kl__before_reorders); borrowed */
    kl_ctx *ctx;
    int n;
    const kl_node *from[KL__TRIAL_IN]; /* what it reads, each once */
    bool prepared[KL__TRIAL_IN];       /* reorders of it are run seldom: they cost nothing */
    kl__mem *mem[KL__TRIAL_IN];
} kl__trial_data;
/** n_prepared: applies with smaller ids are run once per version of the parameters (kl__graph_
 * prepare); 0: none, and reorders of parameters cost. KL_E_UNSUPPORTED where the apply cannot be
 * tried alone. */
kl_status kl__trial_data_make(kl_ctx *ctx, const kl__apply *a, size_t n_prepared,
                              kl__trial_data *out);
void kl__trial_data_finish(kl__trial_data *d);

typedef struct kl__trial {
    kl__plan *plan;
    kl__mem *stored[KL__TRIAL_IN]; /* the values as their producers store them */
    size_t first, last;            /* the plan's steps that are timed */
} kl__trial;
/** Compiles it and runs it once. Reorders count where it wants an input otherwise than it is stored
 * in the apply's graph, or gives an output otherwise than it is given there. */
kl_status kl__trial_make(const kl__trial_data *d, const kl__candidate *c, kl__trial *out);
void kl__trial_finish(kl__trial *t);
/** Seconds of one run, the mean of `times`. Waits. */
kl_status kl__trial_time(kl__trial *t, int times, double *seconds);
/** How far its outputs, as kl__trial_make left them (so before it is timed), are from those of
 * `right`, which is run anew: the largest relative L2 distance; *wrong where it is too far. Waits.
 */
kl_status kl__trial_compare(const kl__trial *t, const kl__trial *right, double *error, bool *wrong);

#endif
