/* Element-wise machinery: formula text, broadcasting, and the generator that makes one kernel from
 * both.
 *
 * A formula is OpenCL text over x0, x1, ... of type V (T or a vector of T): zero or more statements
 * `V tN = ...;` and then one expression. $name stands for the op's float attribute of that name; it
 * becomes a kernel argument. Both arms of a ?: must be V, and constants are written (V)0: the same
 * text serves scalars and vectors. */
#ifndef KL_OPS_ELTWISE_H
#define KL_OPS_ELTWISE_H

#include "ops/op.h"

enum {
    KL__FUSE_IN = 8,      /* inputs of one element-wise kernel */
    KL__FUSE_VALUES = 10, /* float attributes of one element-wise kernel */
    KL__FUSE_OPS = 32     /* applies that become one */
};

/** Shared by all ops with KL__OP_ELEMENTWISE: solo, ref. */
extern const kl__variant kl__eltwise_variants[];
/** Shapes aligned at the right, 1 stretches; all inputs f32 (or all f64). */
kl_status kl__eltwise_infer(const kl__apply *a, kl__desc *out);

/** Attributes of ops that have none but the application's name. */
typedef struct kl__named {
    const char *name;
} kl__named;
extern const kl__attr kl__named_attrs[];

/* Tables of ops that are only a formula: KL__ELT adds the parts that all share; what differs
 * follows. */
#define KL__ELT(id, n, about, text)                                                                \
    .name = #id, .doc = about, .min_in = n, .max_in = n, .n_out = 1, .infer = kl__eltwise_infer,   \
    .formula = text, .variants = kl__eltwise_variants
/** A gradient's op: hidden, no attributes, no gradient of its own. */
#define KL__ELT_BWD(id, n, about, text)                                                            \
    const kl__op kl__op_##id = {KL__ELT(id, n, about, text),                                       \
                                .flags = KL__OP_ELEMENTWISE | KL__OP_HIDDEN}

/* ---- formulas -------------------------------------------------------------------------------- */
/** The apply's formula; fused ones hold their own. */
const char *kl__formula(const kl__apply *a);
/** Values of the float attributes that the formula mentions, in the order of the attribute table,
 * and their count. */
int kl__formula_values(const kl__apply *a, float v[KL__FUSE_VALUES]);
typedef struct kl__formula_names {
    const char *const *x;  /* x[i] is put for xI */
    const char *result;    /* the value is declared as this: const V RESULT = ...; */
    const char *temp;      /* put before the number of tN; unique per formula in one scope */
    const char *value;     /* put before the number of a $name, */
    const char *value_end; /* and after it */
    int value_base;        /* number of the first $name */
} kl__formula_names;
/** Puts the apply's formula as statements; what the generator, fusion and epilogues use. */
void kl__formula_put(kl__text *t, const kl__apply *a, const kl__formula_names *names);

/* ---- the space that a kernel runs over ------------------------------------------------------- */
/** The output's dimensions without those of size 1, neighbours merged where every input either has
 * or lacks both. Bit i of mask[d]: input i varies along d. At least one dimension, innermost last.
 */
typedef struct kl__elt_space {
    int n_dims, n_in;
    int64_t n[KL_MAX_DIMS];
    uint32_t mask[KL_MAX_DIMS];
} kl__elt_space;
void kl__elt_collapse(const kl__apply *a, kl__elt_space *s);

/** How one input of a blocked (NCHWc) apply is read. */
typedef enum kl__elt_read {
    KL__ELT_FULL,
    KL__ELT_SCALAR,
    KL__ELT_CHANNEL,
    KL__ELT_SAMPLE_CHANNEL
} kl__elt_read;
/** How x is read next to a rank 4 output of shape y: whole, or a plain scalar, [C,1,1], [N,C,1,1].
 * False: in none of these ways. */
bool kl__elt_read_of(const kl_shape *x, const kl_shape *y, kl__elt_read *read);

/* Preludes of cl/eltwise.cl. */
void kl__elt_prelude_ref(kl__text *t, const kl__apply *a, const kl__elt_space *s);
void kl__elt_prelude_solo(kl__text *t, const kl__apply *a, const kl__elt_space *s);
void kl__elt_prelude_blocked(kl__text *t, const kl__apply *a, const kl__elt_read *read);

/* ---- fusion ---------------------------------------------------------------------------------- */
/** Values that the set reads from outside, each once, in order of first use. The set: element-wise
 * applies, inputs before uses; the last one's output is the result. Count of inputs, or -1 where
 * the set breaks a limit above. */
int kl__fuse_inputs(kl__apply *const *set, int n, kl_node *in[KL__FUSE_IN]);
/** One apply of op `fused` in g that computes the set's last value; `in` are g's values for those
 * that kl__fuse_inputs gave, in its order. Each formula is evaluated once per element. NULL: error
 * in g. */
kl_node *kl__fuse(kl_graph *g, const char *name, kl__apply *const *set, int n, kl_node *const *in);

#endif
