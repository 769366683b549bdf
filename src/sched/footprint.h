/* What a training takes of a device's memory, planned without making anything. */
#ifndef KL_SCHED_FOOTPRINT_H
#define KL_SCHED_FOOTPRINT_H

#include "sched/stepper.h"

typedef struct kl__footprint_spec {
    kl__pass_spec pass;
    int n_states; /* of the optimizer */
    int64_t batch;
    int shards;
    bool group; /* shards are run in any order: two sizes of them may not share memory */
} kl__footprint_spec;

/** Bytes. */
typedef struct kl__footprint {
    uint64_t params;  /* and running statistics */
    uint64_t sums;    /* gradients, values of state updates, totals, and the shards' tree of them */
    uint64_t states;  /* of the optimizer */
    uint64_t inputs;  /* of the whole batch, a copy for each step under way */
    uint64_t values;  /* of the passes of one shard, with their constants */
    uint64_t total;
    uint64_t eval;    /* more, for a plan that evaluates as many samples */
    uint64_t largest; /* what must lie in one buffer; values are cut where they must be */
    const char *what; /* the largest is */
} kl__footprint;

/** Of training on this context alone. A value that no buffer could hold: KL_E_MEMORY. */
kl_status kl__footprint_of(kl_model *m, kl_ctx *ctx, const kl__footprint_spec *spec,
                           kl__footprint *out);

#endif
