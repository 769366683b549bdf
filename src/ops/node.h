/* The node: values (kl_node) and the applications of ops that make them (kl__apply). A kl_graph is
 * an arena of both; applies stand in an order in which every input comes before its use. The same
 * structure holds the graph a user builds and the graphs that the passes of src/graph make from it
 * for one batch size. */
#ifndef KL_OPS_NODE_H
#define KL_OPS_NODE_H

#include "tensor/tensor.h"

#include <kiln/graph.h>

typedef struct kl__op kl__op;
typedef struct kl__variant kl__variant;
typedef struct kl__apply kl__apply;

/** Where a value lives when kernels are emitted; set by the memory planner or the replica. */
typedef struct kl__place {
    enum { KL__NOWHERE, KL__AT_SPAN, KL__AT_SLOT } kind;
    kl__span span; /* AT_SLOT: offset is added to the bound span's */
    int slot;
} kl__place;

struct kl_node {
    kl__desc desc;
    kl__apply *by; /* the apply that makes it */
    int slot;      /* which of its outputs */
    const char *name;
    uint32_t id;   /* position in graph->nodes */
    kl__place place;
};

/** Element-wise work on output 0 before it is stored, absorbed by fusion: `apply` is what would
 * have read the op's own value `own` (several times perhaps); its other inputs are inputs n_own..
 * of the absorbing apply, in order. See ops/epilogue.h. */
typedef struct kl__epilogue {
    const kl__apply *apply; /* NULL: none */
    const kl_node *own;
} kl__epilogue;

struct kl__apply {
    const kl__op *op;
    const void *attrs; /* the op's options struct, copied into the graph */
    const char *name;  /* of the op's application; outputs are NAME or NAME:1, ... */
    kl_graph *graph;
    uint32_t id;       /* position in graph->applies */
    int n_in, n_out;
    int n_own;         /* inputs that are the op's own; those after it are the epilogue's */
    kl_node **in;
    kl_node **out;
    kl__epilogue epilogue;
    const kl__variant *variant; /* chosen by kl__choose_variants; NULL before */
    int config; /* of the variant's parameter sets; 0: its analytic default */
    kl__place scratch;          /* planned with the values */
    bool prepared; /* run once per version of the parameters (kl__graph_prepare) */
};

typedef struct kl__graph_output {
    const char *name;
    kl_node *node;
    kl__place place; /* where the plan is to put it; NOWHERE: anywhere */
} kl__graph_output;

/** State that follows a training step: `op` (STATE, in place) applied to (state, mean over shards
 * of value). */
typedef struct kl__graph_update {
    const kl__op *op;
    const void *attrs;
    kl_node *state; /* a param that is not trainable */
    kl_node *value; /* of the state's shape, made by the forward pass */
} kl__graph_update;

struct kl_graph {
    kl__apply **applies;
    kl_node **nodes;
    kl__graph_output *outputs;
    size_t n_applies, cap_applies, n_nodes, cap_nodes, n_outputs, cap_outputs;
    kl__graph_update *updates;
    size_t n_updates, cap_updates;
    kl_status status;  /* first error; sticky */
    char *error;
    void *names;       /* name -> node (uthash) */
    struct kl__chunk *chunks; /* arena */
    int64_t batch;     /* 0: symbolic (KL_BATCH); else the size this graph was resolved for */
    /* while lowering: generated names stay clear of this graph's; else NULL */
    const kl_graph *reserved;
    kl_dtype real;     /* dtype that f32 stands for: KL_F32, or KL_F64 in gradient checks */
};

/** Arena memory of the graph, zeroed; NULL makes the graph's error sticky. */
void *kl__graph_alloc(kl_graph *g, size_t bytes);
char *kl__graph_strdup(kl_graph *g, const char *s);
/** Records the error (first one wins) with the sentence of kl__fail; returns NULL for `return
 * kl__graph_fail(...)`. */
void *kl__graph_fail(kl_graph *g, kl_status status, const char *fmt, ...) KL_PRINTF(3, 4);

/* names.c */
bool kl__names_add(kl_graph *g, kl_node *x);
void kl__names_free(kl_graph *g);

/** Adds an application: copies attrs (op->attrs_bytes) and the in list, runs infer, names it (name
 * NULL: OP_k). Returns output 0 (others: kl__out). NULL inputs or an earlier error: NULL. This is
 * what build functions call. */
kl_node *kl__apply_new(kl_graph *g, const kl__op *op, const char *name, kl_node *const *in,
                       int n_in, const void *attrs);
/** The same with a known number of outputs, for ops whose n_out varies (split). */
kl_node *kl__apply_new_n(kl_graph *g, const kl__op *op, const char *name, kl_node *const *in,
                         int n_in, int n_out, const void *attrs);
static inline kl_node *kl__out(const kl_node *first, int i)
{
    return first ? first->by->out[i] : NULL;
}
/** What a public builder does: checks, then op->build (or kl__apply_new where the op has none). The
 * name is the `name` attribute of the options. */
kl_node *kl__build(kl_graph *g, const kl__op *op, kl_node *const *in, int n_in, const void *attrs);
/** A fresh apply name "OP_k" (k counts per op), or `wanted` itself; arena memory. Build functions
 * call it first, so that parameters can be named NAME.weight. */
const char *kl__graph_name(kl_graph *g, const kl__op *op, const char *wanted);

kl_status kl__graph_add_update(kl_graph *g, const kl__op *op, const void *attrs, kl_node *state,
                               kl_node *value);

/* Leaves (ops `input`, `param`, `constant`), with these attributes. */
typedef struct kl__leaf {
    const char *name;
    kl_dtype dtype;
    kl_shape shape;
    kl_init init;       /* param */
    bool trainable;     /* param */
    const void *data;   /* constant: graph memory */
    size_t bytes;
} kl__leaf;
bool kl__is_input(const kl_node *x);
bool kl__is_param(const kl_node *x);
bool kl__is_constant(const kl_node *x);
static inline const kl__leaf *kl__leaf_of(const kl_node *x)
{
    return (const kl__leaf *)x->by->attrs;
}

#endif
