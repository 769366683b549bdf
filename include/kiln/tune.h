/* Which kernel computes what, why, and which would be faster: explaining and measuring the choice
 * among an op's variants and their parameter sets. What `kiln explain` and `kiln tune` print.
 *
 * A context chooses by what was measured on its device, where that is known (see
 * kl_ctx_opts.tuned), else by rule. It never measures by itself: that takes the calls below, whose
 * winners go to the user's cache and are used by contexts made from then on. So the choices of a
 * context, and with them the bits that it computes, never change. */
#ifndef KILN_TUNE_H
#define KILN_TUNE_H

#include "inspect.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum kl_why {
    KL_WHY_ONLY,   /* nothing else fits */
    KL_WHY_RULE,   /* the op's order of preference */
    KL_WHY_TUNED,  /* measured on this device */
    KL_WHY_FORCED  /* KILN_VARIANT */
} kl_why;

/** A variant with one of its parameter sets: "solo", "solo@1". */
typedef struct kl_alternative {
    char name[32];
    const char *why_not; /* NULL: it fits; else what it needs ("3x3, stride 1"). Lives on. */
    double seconds;      /* of one run with the reorders that it asks for; NaN: not measured */
    double error;        /* relative L2 distance from the default's output; NaN: not compared */
    bool wrong;          /* too far from it: never chosen */
} kl_alternative;

enum { KL_MAX_ALTERNATIVES = 12 };
typedef struct kl_choice {
    char layer[96];      /* the first that does this work */
    char op[32], work[192]; /* shapes and options; cut to fit */
    int count;           /* layers of the pass that do the same work; kl_explain: 1 */
    char chosen[32];     /* kl_explain: what runs; tuning: the fastest */
    char by_rule[32];    /* what would run had nothing been measured */
    kl_why why;
    char in[32], out[32]; /* storage of input 0 and output 0: "plain", "nchw16", "nchw16 halo 1" */
    bool complete;       /* all candidates were measured */
    int n_alternatives;
    kl_alternative alternative[KL_MAX_ALTERNATIVES]; /* by_rule first */
} kl_choice;

/** Zero means default. */
typedef struct kl_tune_opts {
    int64_t batch;       /* default 32 */
    bool training;       /* the training step; else inference */
    const char *loss;    /* training: the output to minimise; NULL: "loss", or the only scalar */
    double seconds;      /* kl_tune: stop after; 0: when all is measured. kl_explain: measure for at
                          * most so long; 0: times that are known only */
    /** kl_tune: after each kind of work; `done` of `all`. false stops. */
    bool (*progress)(void *user, const kl_choice *c, size_t done, size_t all);
    void *user;
    uint32_t reserved[6];
} kl_tune_opts;

/** One entry per op of the pass as it runs (fused, with its reorders), in order. Fresh memory,
 * kl_free. */
KL_API kl_status kl_explain(kl_model *m, kl_ctx *ctx, const kl_tune_opts *opts, kl_choice **rows,
                            size_t *n);

/** Measures every candidate (five at most) of every kind of work in the pass that the context knows
 * no winner of, the heaviest first, each alone on random numbers and buffers of its own, checks it
 * once against the default's output, and stores the winners. (kl_ctx_opts.tuned "" makes a context
 * that knows none.) Queues and waits. Rows: what was measured; fresh memory, kl_free.
 * KL_E_UNSUPPORTED in contexts that do not tune (KL_CTX_NO_TUNE) or run op by op. A cache that
 * cannot be written is a warning in the log. KL_E_CANCELLED: progress said stop; what was measured
 * is stored. */
KL_API kl_status kl_tune(kl_model *m, kl_ctx *ctx, const kl_tune_opts *opts, kl_choice **rows,
                         size_t *n);

/** The same bit by bit, for programs that tune between steps. The model may be in training. */
typedef struct kl_tuner kl_tuner;
/** Caller owns; the context must outlive it. NULL: error set. */
KL_API kl_tuner *kl_tuner_create(kl_model *m, kl_ctx *ctx, const kl_tune_opts *opts);
KL_API void kl_tuner_destroy(kl_tuner *t);
/** Kinds of work left to measure. */
KL_API size_t kl_tuner_left(const kl_tuner *t);
/** Measures the heaviest kind of work that is left and stores its winner. Queues and waits. out may
 * be NULL. Nothing left: KL_OK, and out->layer is "". */
KL_API kl_status kl_tuner_next(kl_tuner *t, kl_choice *out);

#ifdef __cplusplus
}
#endif
#endif
