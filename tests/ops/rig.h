/* The op test rig: one case is an op application with input data and a double-precision reference;
 * it is run on every variant that fits (SOLO widths 16, 8, 4 too where the variant has vectors),
 * twice, and compared. */
#ifndef KL_TESTS_OPS_RIG_H
#define KL_TESTS_OPS_RIG_H

#include "ops/op.h"

typedef enum rig_fill {
    RIG_NORMAL,  /* standard normal times hi (hi 0: 1) */
    RIG_UNIFORM, /* lo..hi */
    RIG_INTEGER, /* integers lo..hi: sums of products are exact */
    RIG_INDEX,   /* i32 0..hi-1 */
    RIG_DATA     /* `data`, count numbers */
} rig_fill;

typedef struct rig_input {
    kl_dtype dtype;
    kl_shape shape;
    rig_fill fill;
    double lo, hi;
    const double *data;
    bool no_grad; /* rig_grad leaves it alone (labels, targets) */
} rig_input;

typedef enum rig_tol_kind {
    RIG_EXACT,    /* bit by bit */
    RIG_ANCHORED, /* |got - ref| <= K u (|A| o |B|) + tiny, and <= 0.1 % of elements above 4 sqrt(K)
                     u (|A| o |B|); bound from the same reference run on absolute values
                     (reliability of reductions) */
    RIG_ULP,      /* <= k ulp of f32 at max(|ref|, floor 1e-6) */
    RIG_L2,       /* relative L2 norm of the difference <= k */
    RIG_RMS       /* |got - ref| <= k x root mean square of the reference + tiny */
} rig_tol_kind;
typedef struct rig_tol {
    rig_tol_kind kind;
    double k; /* ANCHORED: reduction length; ULP: ulps; L2: bound */
} rig_tol;

/** Plain logical arrays in double; labels as numbers. Outputs are preset to 0. */
typedef void rig_ref(const kl__apply *a, const double *const *in, double *const *out);

typedef struct rig_case {
    const char *name;
    const kl__op *op;
    const void *attrs; /* resolved attributes as the apply holds them (what kl__apply_new gets) */
    int n_in, n_out;   /* n_out 0: the op's */
    rig_input in[10];
    rig_ref *ref;
    rig_tol tol;
    uint32_t step[16]; /* words of the step block (emit.h), for ops that read it */
    /* NULL: every variant that fits, but "wino", whose rounding has a bound of its own
     * (conv2d_wino.c); else just this one, which must fit; "coop@": with every parameter set, of
     * which else one is run where the variant is for GPUs */
    const char *only;
} rig_case;

/** Runs the case; fails the cmocka test with variant, index, got and expected. Zero-size outputs
 * are legal. */
void rig_run(const rig_case *c);
/** Central differences of the op's ref kernels in f64 (eps 1e-6, rtol 1e-6 x max, atol 1e-8)
 * against the nodes its grad emits, for each input of f32 without no_grad, contracted with a random
 * dy on each output. Skips where the device has no fp64. */
void rig_grad(const rig_case *c);
/** The same for a piece of graph: `build` makes up to 4 outputs (returns how many) from the inputs;
 * lowered for training or inference; gradients by inputs and by trainable parameters (drawn at
 * random). */
typedef int rig_build(kl_graph *g, kl_node *const *in, kl_node **out);
void rig_grad_net(const char *name, rig_build *build, const rig_input *in, int n_in, bool training);
/** The gradient of this op was compared with differences in this process, alone or within a net. */
bool rig_grad_ran(const char *op);
/** The case is refused at build time with a sentence that contains `part`. */
void rig_refused(const rig_case *c, const char *part);
/** Count of variants that ran in this process, by name; a suite asserts that its fast ones did run.
 */
int rig_ran(const char *op, const char *variant);

#endif
