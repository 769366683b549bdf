/* Shards that meet: with batch statistics over all shards, the shards of a step advance together,
 * from one MEET op to the next. Each has a plan with memory of its own. */
#ifndef KL_SCHED_MEET_H
#define KL_SCHED_MEET_H

#include "sched/stepper_inside.h"

typedef struct kl__meet {
    size_t n_points;   /* MEET ops of a pass */
    size_t *row,
        *at; /* of each: elements of a shard's row, and before the first row in the table */
    size_t elems;      /* of the table, which holds all points' rows */
    kl__mem *table, *samples;
    kl__mem **step;    /* a step block per shard */
    kl__pass **pass;   /* of the step that runs, per shard; NULL: no samples */
} kl__meet;

/** Leaves s->meet NULL where nothing in the model depends on all samples. */
kl_status kl__meet_create(kl__stepper *s);
void kl__meet_destroy(kl__meet *m);
/** Tables, rows and counts of a shard's graph get their places; before kl__place_inputs. */
void kl__meet_place(const kl__stepper *s, kl_graph *g, int shard);
/** Where a pass is cut. */
kl_status kl__meet_cuts(const kl__stepper *s, kl__pass *p);

/** Shards first .. end-1 of a batch. Memory lives until the step ran. */
typedef struct kl__meet_job {
    const kl_bind *binds; /* NULL: all was uploaded */
    size_t n;
    int64_t batch, from;  /* from: the sample that comes first on the device */
    uint64_t entry;
    int first, end;
    uint32_t (*block)[KL__STEP_WORDS]; /* by shard */
    int32_t *counts;                   /* by shard */
    const kl__step_scalars *sc;        /* NULL: blocks are filled */
} kl__meet_job;

/** Passes, step blocks, inputs and counts are there for kl__meet_run. */
kl_status kl__meet_begin(kl__stepper *s, const kl__meet_job *job);
/** From meeting k - 1 to meeting k of a shard; k == n_points: to the end, with its sums. */
kl_status kl__meet_run(kl__stepper *s, size_t k, int shard, kl__lane *lane);
/** All shards of a step, joined. */
kl_status kl__meet_step(kl__stepper *s, const kl_bind *binds, size_t n, int64_t batch, kl__entry *e,
                        const kl__step_scalars *sc, kl__lane *lane);
/** As kl__explain_shard for all shards of a step, which lie on the device. */
kl_status kl__meet_explain(kl__stepper *s, const kl__meet_job *job, int64_t step);
/** Rows of shards first .. end-1 at meeting k. */
kl__span kl__meet_rows(const kl__stepper *s, size_t k, int first, int end, size_t *bytes);

#endif
