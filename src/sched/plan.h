/* A plan: a lowered graph frozen into a sequence for one context. Running it only enqueues. */
#ifndef KL_SCHED_PLAN_H
#define KL_SCHED_PLAN_H

#include "graph/graph.h"

typedef struct kl__plan {
    kl_ctx *ctx;
    kl_graph *graph;     /* owned; values carry their places */
    kl__seq *seq;
    kl__memory_plan memory;
    kl__mem **arena;     /* chunks */
    size_t n_arena;
    kl__mem *step;       /* the step block this plan reads; retained */
    size_t *first_step;  /* by apply id: its first step in seq; n_applies + 1 entries */
    kl__mem *constants;  /* all constants of the graph */
    bool debug, sync;
    size_t n_prepared;   /* the first applies: run once per version of the parameters */
    bool stale;          /* they are to run before the next pass */
    uint64_t version;    /* of the parameters that they were run for */
    int lanes;           /* 2: split over the compute lane and the side lane; else one */
    bool split;          /* seq has been split */
    bool asked, can_split; /* can_split is known: what kl__plan_lanes_possible found out */
} kl__plan;

typedef struct kl__plan_opts {
    const char *force;  /* variants, as kl__choose_variant */
    kl__mem *step;      /* the device's step block; NULL: one of the plan's own, zero */
    bool no_fuse;       /* keep element-wise ops apart (tests) */
    bool exact;         /* as in a context of KL_CTX_EXACT */
    bool separate;      /* no value's memory is reused: parts of the plan can run again and again */
    /* parameters seldom change: what depends on them only is run once per kl__plan_params */
    bool prepare;
    bool as_built;      /* applies stay in the order in which the graph has them */
    /* a plan whose memory this one may use, where it is large enough: the two never run at the same
     * time, and nothing of either is read after its run */
    const struct kl__plan *over;
} kl__plan_opts;

/** The passes of a plan over `graph`, as a plan with these options makes them. */
kl_status kl__plan_passes(kl_ctx *ctx, kl_graph *graph, const kl__plan_opts *opts,
                          size_t *n_prepared);
/** Device memory that a plan over `graph` would take for its values and constants: all its passes,
 * but nothing is made or compiled. Values that the plan is not to hold need a place, any. Changes
 * `graph`. */
kl_status kl__plan_bytes(kl_ctx *ctx, kl_graph *graph, const kl__plan_opts *opts, uint64_t *out);
/** Takes over `graph` (also on failure). Values that the caller placed (parameters, arenas, slots)
 * stay where they are; constants are uploaded; everything else goes into the plan's arena. Builds
 * all kernels. */
kl__plan *kl__plan_create(kl_ctx *ctx, kl_graph *graph, const kl__plan_opts *opts);
void kl__plan_destroy(kl__plan *p);
/** Enqueues the whole plan on the lane. In sync and debug-buffer contexts waits after each op and
 * checks it. */
kl_status kl__plan_run(kl__plan *p, kl__lane *lane);
/** The same for applies first .. last-1 of its graph; n_applies as `last` takes the copies to
 * outputs along. Not in sync and debug-buffer contexts. */
kl_status kl__plan_run_part(kl__plan *p, kl__lane *lane, size_t first, size_t last);
/** Can its work be split over two lanes of the device? Not where the caller brought the queue, nor
 * in sync and debug-buffer contexts, nor where everything is needed by the longest path. */
bool kl__plan_lanes_possible(kl__plan *p);
/** How many compute lanes later runs use, 1 or 2 (1 where 2 are not possible): the same kernels on
 * the same numbers, so the same bits. Either way what follows on the lane of a run waits for all of
 * it. Allocates at the first change to 2 only. */
kl_status kl__plan_set_lanes(kl__plan *p, int n);
/** Which version of the parameters later runs see. */
void kl__plan_params(kl__plan *p, uint64_t version);
/** Binds the slot that an input was given to memory. */
kl_status kl__plan_bind(kl__plan *p, int slot, kl__span span);

#endif
