/* The tuner's inside: kinds of work of a pass, and what was measured of each. */
#ifndef KL_SCHED_TUNE_H
#define KL_SCHED_TUNE_H

#include "sched/trial.h"

#include "device/winners.h"

#include <kiln/tune.h>

typedef struct kl__try {
    kl__candidate c;
    double seconds, error; /* NaN: not known */
    bool wrong, failed;
} kl__try;
/** All applies of a pass with one key. */
typedef struct kl__work {
    char *key;
    const kl__apply *apply; /* the first of them, before reorders */
    int count;
    double weight;          /* guess of the seconds per pass, for the order */
    int n, best;
    kl__try tried[KL__MAX_CANDIDATES];
    bool done, complete; /* need not be measured (any more); all tried */
} kl__work;

struct kl_tuner {
    kl_ctx *ctx;
    kl_graph *graph; /* of the pass, after its passes; owned */
    size_t n_prepared;
    kl__work *work;  /* heaviest first */
    size_t n;
};

/** The pass as a plan would run it. Lock not held. NULL: error set. */
kl_graph *kl__tune_graph(kl_model *m, kl_ctx *ctx, const kl_tune_opts *opts, size_t *n_prepared);
/** Takes over `graph` (also on failure), whose layouts stand. */
kl_tuner *kl__tuner_of(kl_ctx *ctx, kl_graph *graph, size_t n_prepared, bool again);
/** Measures one kind of work; candidates that are not begun at `end` (kl__now) are left out.
 * An error is the device's: what a candidate alone cannot do only counts against it. */
kl_status kl__tuner_measure(kl_tuner *t, kl__work *w, double end);
kl_status kl__tuner_store(const kl_tuner *t, const kl__work *w);
/** The apply as it stood when its variant was chosen: reading values as their producers store them.
 * Graph memory. */
const kl__apply *kl__before_reorders(kl_graph *g, const kl__apply *a);
/** The kind of work of such an apply; NULL: there is no choice. */
kl__work *kl__tuner_work(const kl_tuner *t, const kl__apply *a);
kl_status kl__tune_allowed(const kl_ctx *ctx);

/* explain.c: rows for people */
void kl__choice_of_work(const kl_tuner *t, const kl__work *w, kl_choice *out);

#endif
