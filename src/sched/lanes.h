/* The order of a plan's applies, and their split over two compute lanes of one device. */
#ifndef KL_SCHED_LANES_H
#define KL_SCHED_LANES_H

#include "sched/plan.h"

/** Which applies the longest path does not need (weights' gradients beside the chain of the data's
 * gradients; totals): side[i] for apply i. tail (NULL: not wanted): cost of the longest path from
 * apply i to the end, itself included. KL_E_MEMORY. */
kl_status kl__graph_side(const kl_graph *g, bool *side, double *tail);

/** Brings applies into the order in which they run: what only outputs need as soon as it can, so
 * that the gradients of the last layers are complete early; of the rest the longest tail first.
 * Graphs that overwrite state keep theirs, and so do those whose arena would grow by more than
 * 5 % (and 256 KiB). After layouts, before places in the arena are given. */
kl_status kl__graph_order(kl_graph *g, const kl__caps *caps, size_t align);

/** kl__graph_memory for a plan that may run on two lanes: what the side touches is not reused while
 * it is likely to run, as far as that costs 10 % of the arena (and 1 MiB) at most. */
kl_status kl__graph_memory_lanes(kl_graph *g, const kl__caps *caps, size_t align,
                                 kl__memory_plan *out);

/** Marks the split in p->seq. Waits between lanes follow from the bytes that applies read and write
 * (values, scratch, slots), so they hold whatever the memory plan shared. */
kl_status kl__plan_split(kl__plan *p);

/** Does an apply or a copy to an output write into this memory? */
bool kl__plan_writes(const kl__plan *p, const kl__mem *mem);

/* ---- one lane or two: measured in the first steps ---- */
enum { KL__CHOICE_RUNS = 8, KL__CHOICE_KEPT = 4 };
/** Zero: begins to measure. */
typedef struct kl__lane_choice {
    int chosen;         /* 0: not yet */
    int64_t samples;    /* of the steps that are measured */
    int n[2];           /* measured with one lane, with two */
    double seconds[2][KL__CHOICE_RUNS];
    int used[KL__CHOICE_KEPT]; /* by step modulo: lanes; 0: not measured */
    int tried;          /* steps begun while measuring */
    bool seen;          /* end_at is the end of step `end_step` */
    uint64_t end_step;
    double end_at;
} kl__lane_choice;
/** A step (numbered in the order of queueing) of so many samples begins: on how many lanes? */
int kl__lane_choice_begin(kl__lane_choice *c, uint64_t step, int64_t samples);
/** Its end was seen at `now`; waited: the host waited for it, so that it ended at that moment. */
void kl__lane_choice_end(kl__lane_choice *c, uint64_t step, double now, bool waited);

#endif
