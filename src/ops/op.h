/* The op contract: what one op tells the rest of the house. Autodiff, planner, fusion, layout,
 * scheduler, text form and tests ask only these questions; there is no switch on ops anywhere. */
#ifndef KL_OPS_OP_H
#define KL_OPS_OP_H

#include "ops/emit.h"
#include "ops/node.h"

#include <kiln/ops.h>

/* ---- attributes: fields of the op's public options struct ------------------------------------ */
typedef enum kl__attr_type {
    KL__ATTR_INT,    /* int */
    KL__ATTR_FLOAT,  /* float */
    KL__ATTR_BOOL,   /* bool */
    KL__ATTR_ENUM,   /* an enum as int; words in `words`, ended by NULL, index = value */
    KL__ATTR_INTS,   /* int[count]; one number in text stands for all */
    KL__ATTR_SHAPE,  /* kl_shape: a list of up to 6 numbers, N for the batch */
    KL__ATTR_AXES,   /* kl_shape used as a list of axis numbers; negative from the end */
    KL__ATTR_PAD,    /* kl_pad: same, valid, one number, or four (top, left, bottom, right) */
    KL__ATTR_FLOATS, /* kl_floats: a list; copied into the graph */
    KL__ATTR_INIT,   /* kl_init: word, or word(a, b) */
    KL__ATTR_TEXT,   /* const char *: copied into the graph; hidden ops only */
    KL__ATTR_NAME    /* const char *: the application's name; never printed as attribute */
} kl__attr_type;
typedef struct kl__attr {
    const char *name;
    kl__attr_type type;
    size_t offset;
    int count;                /* INTS */
    const char *const *words; /* ENUM */
    double dflt; /* what zero in the struct stands for, and what is not printed: INT, FLOAT (a value
                    equal to the default is not printed); KL_NONE in the struct means zero itself */
    const char *doc;
} kl__attr;
#define KL__ATTR_END {NULL, KL__ATTR_INT, 0, 0, NULL, 0, NULL}

/** The value of an INT or FLOAT attribute with default and KL_NONE applied; builders resolve
 * options once with it. */
static inline float kl__opt_f(float v, float dflt)
{
    return v == 0 ? dflt : v == (float)KL_NONE ? 0 : v;
}
static inline int kl__opt_i(int v, int dflt)
{
    return v == 0 ? dflt : v == KL_NONE ? 0 : v;
}

/* ---- variants: ways to compute an op, best first; the last one is always "ref" --------------- */
struct kl__variant {
    const char *name; /* "solo", "coop", "wino", "blas", "ref": part of kernel and log names */
    /** Shapes and dtypes are final; layouts are what `layouts` asks for. NULL: always fits. */
    bool (*fits)(const kl__apply *a, const kl__caps *caps);
    /** What `fits` asks for, for people: "3x3, stride 1, 16 channels or more". NULL: not said. */
    const char *needs;
    /** Of what fits: likely faster than the variants after it? Not asked where the variant is
     * forced. NULL: yes. */
    bool (*pays)(const kl__apply *a, const kl__caps *caps);
    /** Storage of inputs and outputs that this variant wants. NULL: all plain. `in` is preset to
     * plain, `out` to plain with the halo that readers would like: a variant that writes NCHWc may
     * keep that halo, and then writes its zeros at every run (no reader has to copy); else it sets
     * zero. */
    void (*layouts)(const kl__apply *a, const kl__caps *caps, kl__layout *in, kl__layout *out);
    /** NCHWc inputs may have a wider halo than `layouts` asked for: read it from the desc. */
    bool wide_halo;
    /** Can it do `elt` (element-wise, reading its output 0) before it stores? NULL: no. */
    bool (*epilogue)(const kl__apply *a, const kl__apply *elt);
    /** Number of parameter sets (tiles, blockings) worth trying; a->config picks one in all
     * functions here. Sums must keep a fixed order in each. NULL: one. */
    int (*configs)(const kl__apply *a, const kl__caps *caps);
    /** Device scratch, planned like a value that lives during this apply. NULL: none. */
    size_t (*scratch_bytes)(const kl__apply *a, const kl__caps *caps);
    /** Adds launches, copies, fills or library calls to e->seq. Outputs of zero elements are never
     * emitted. */
    kl_status (*emit)(kl__emit *e, const kl__apply *a);
};

enum {
    KL__OP_ELEMENTWISE = 1, /* has `formula`; may be fused */
    KL__OP_RANDOM = 2,      /* draws random numbers: never folded */
    /* overwrites an input in place (optimizers, running statistics): never dropped or folded */
    KL__OP_STATE = 4,
    KL__OP_LEAF = 8,    /* input, param, constant */
    KL__OP_HIDDEN = 16, /* made by passes and gradients only; no builder in the text form */
    /* output = in[0] / in[1], a sum and its weight: over shards both are added up, divided once */
    KL__OP_MEAN = 32,
    KL__OP_VIEW = 64, /* output 0 is input 0's bytes (reshape): no launch, aliasing always legal */
    /* reads what all shards of a batch made: in[0] and in[1] [C] lie in this shard's row of the
     * table in[2] [S,2C], all rows of which are filled before it runs; in[3] i32 [S] holds the
     * shards' numbers of samples */
    KL__OP_MEET = 128
};

/** Where shards meet. */
typedef struct kl__meeting {
    kl_node *table, *samples; /* in[2] and in[3] of the MEET op */
    int each;                 /* values per channel and sample */
} kl__meeting;

struct kl__op {
    const char *name; /* "conv2d": text form, log, checkpoint and CLI */
    const char *doc;  /* one line with the formula and shapes, for `kiln ops` */
    int min_in, max_in; /* max_in -1: any number */
    int n_out;          /* 0: varies */
    uint32_t flags;
    size_t attrs_bytes; /* 0: none */
    const kl__attr *attrs; /* ended by KL__ATTR_END; NULL: none */
    /** From data inputs and raw options to the value: resolves defaults, makes parameters, calls
     * kl__apply_new. Inputs beyond the data (weights) may be given explicitly. NULL:
     * kl__apply_new(g, op, name, in, n_in, attrs). */
    kl_node *(*build)(kl_graph *g, kl_node *const *in, int n_in, const void *attrs);
    /** Descs of the outputs (plain layout). dim -1 is the batch: copied, never multiplied. Errors
     * name op, apply, the expected and the given shape. a->in and a->attrs are set, a->out is not.
     */
    kl_status (*infer)(const kl__apply *a, kl__desc *out);
    /** Emits nodes for the gradients. dy[i] may be NULL (no gradient flows into output i; not all
     * are NULL). need[i] says which dx are wanted; leave dx[i] NULL for no gradient. NULL: not
     * differentiable. */
    kl_status (*grad)(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                      kl_node **dx);
    /** Which input output `out` may overwrite (same bytes, elementwise reads before writes); -1:
     * none. NULL: none, but element-wise ops may always overwrite an input of the same desc. STATE
     * ops: which it must. */
    int (*aliases)(const kl__apply *a, int out);
    /** Element-wise: the OpenCL expression over x0, x1, ... (type V, scalar or vector) and $attr
     * for float attributes (passed as arguments): "(x0 < (V)0) ? (V)0 : x0". Evaluated on V of T;
     * comparisons pick by vector select, so both arms must be V. */
    const char *formula;
    /** Multiply-accumulates of one application (shapes concrete). NULL: none worth counting. */
    int64_t (*macs)(const kl__apply *a);
    /** Window over the input's rows and columns: extent (dilated) and stride, for receptive fields.
     * NULL: 1 and 1; extent 0: sees the whole input; stride -s: s cells of the output per cell of
     * the input. */
    void (*window)(const kl__apply *a, int extent[2], int stride[2]);
    /* ended by a NULL name; NULL for leaves, views and element-wise ops (which share one) */
    const kl__variant *variants;
    /** Rewrites the apply for a mode: sets out[i] to nodes built in g from `in` (the apply's
     * inputs, already in g). Left NULL: the apply is copied as it is. Dropout in inference gives
     * in[0]; batch norm becomes statistics, apply and state updates (kl__graph_update). NULL:
     * always copied. */
    kl_status (*lower)(kl_graph *g, const kl__apply *a, kl_node *const *in, bool training,
                       kl_node **out);
    /** For what depends on all samples of a batch: emits the MEET op that makes it of all shards,
     * whose row are outputs row[0] and row[1]. Sets out[i] to what takes the place of output i;
     * NULL: the shard's own stays. NULL: does not depend. */
    kl_status (*meet)(kl_graph *g, const kl__apply *a, const kl__meeting *m, kl_node **out);
    int row[2];
};

#define KL_OP(n) extern const kl__op kl__op_##n;
#include "ops/ops.def"
#undef KL_OP

const kl__op *kl__op_find(const char *name); /* NULL: none */
size_t kl__op_count(void);
const kl__op *kl__op_at(size_t i); /* order of ops.def */

/** The op's variants; element-wise ops share theirs. */
const kl__variant *kl__op_variants(const kl__op *op);
extern const char *const kl__dtype_words[]; /* kl_dtype as words, for ENUM attributes */

/* ---- the choice (choose.c) ------------------------------------------------------------------- */
typedef enum kl__why {
    KL__WHY_ONLY,   /* nothing else fits */
    KL__WHY_FIRST,  /* the first in the op's order that fits */
    KL__WHY_TUNED,  /* measured on this device: caps->winners */
    KL__WHY_FORCED
} kl__why;
/** What was measured to be fastest for this apply (caps->winners), else the first variant that
 * fits; or the one that KILN_VARIANT="conv2d:ref,matmul:solo@1" or force (same syntax, may be NULL)
 * names, with its parameter set. A forced variant that does not fit: KL_E_UNSUPPORTED. Sets
 * a->variant and a->config. */
kl_status kl__choose_variant(kl__apply *a, const kl__caps *caps, const char *force);
/** Why the variant that stands was chosen, were it chosen now. */
kl__why kl__choice_why(const kl__apply *a, const kl__caps *caps, const char *force);

typedef struct kl__candidate {
    const kl__variant *variant;
    int config;
} kl__candidate;
enum { KL__MAX_CANDIDATES = 5, KL__CANDIDATE_NAME = 32 };
/** What is worth trying, the default first, then each variant once before further parameter sets.
 * On SOLO devices without "ref" and "coop..." where another fits. Returns how many. */
int kl__candidates(const kl__apply *a, const kl__caps *caps,
                   kl__candidate out[KL__MAX_CANDIDATES]);
/** Does it fit, epilogue and parameter set included? NULL, or what it would need; lives as long as
 * the library. */
const char *kl__unfit(const kl__apply *a, const kl__caps *caps, const kl__candidate *c);
/** "solo", "solo@1". Returns buf. */
const char *kl__candidate_name(const kl__candidate *c, char buf[KL__CANDIDATE_NAME]);
/** All that the speed of an apply's candidates depends on, and their list: the key of the table of
 * winners. Shapes are concrete. */
void kl__put_choice_key(kl__text *t, const kl__apply *a, const kl__caps *caps);

#endif
