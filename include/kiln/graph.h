/* Graphs: a description of a computation that needs no device. Nodes are values, borrowed from
 * their graph.
 *
 * A builder given NULL returns NULL and the graph keeps its first error: build freely, check once
 * with kl_graph_check (or when the model is made). Not thread-safe: one graph, one thread. */
#ifndef KILN_GRAPH_H
#define KILN_GRAPH_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kl_graph kl_graph;
typedef struct kl_node kl_node;

KL_API kl_graph *kl_graph_create(void); /* caller owns */
KL_API void kl_graph_destroy(kl_graph *g);
/** The first error of building, or KL_OK; the sentence becomes this thread's last error. */
KL_API kl_status kl_graph_check(const kl_graph *g);

/** An input that a caller binds by name. dim[0] may be KL_BATCH. */
KL_API kl_node *kl_input(kl_graph *g, const char *name, kl_dtype dtype, kl_shape shape);

typedef enum kl_init_kind {
    KL_INIT_DEFAULT, /* He normal for weights of conv2d and dense, zeros for biases */
    KL_INIT_ZEROS,
    KL_INIT_ONES,
    KL_INIT_CONSTANT,
    KL_INIT_UNIFORM,
    KL_INIT_NORMAL,
    KL_INIT_TRUNC_NORMAL, /* lo..hi; mean a, sigma b */
    KL_INIT_HE_NORMAL,
    KL_INIT_HE_UNIFORM,
    KL_INIT_HE_TRUNC,
    KL_INIT_GLOROT_NORMAL,
    KL_INIT_GLOROT_UNIFORM,
    KL_INIT_GLOROT_TRUNC,
    KL_INIT_LECUN_NORMAL,
    KL_INIT_LECUN_UNIFORM,
    KL_INIT_LECUN_TRUNC,
    KL_INIT_TORCH /* U(+-1/sqrt(fan_in)): the default of PyTorch's Linear and Conv, weights and
                     biases */
} kl_init_kind;
typedef struct kl_init {
    kl_init_kind kind;
    float a, b;          /* constant a; uniform a..b; normal mean a, sigma b (b 0: 1) */
    int fan_in, fan_out; /* 0: from the shape, [out, in, k...] */
} kl_init;

/** A parameter: trained where `trainable`, else kept state (running statistics). Drawn from stream
 * init/NAME. */
KL_API kl_node *kl_param(kl_graph *g, const char *name, kl_shape shape, kl_init init,
                         bool trainable);
/** A constant; copies `data` (count x dtype size bytes). */
KL_API kl_node *kl_constant(kl_graph *g, const char *name, kl_dtype dtype, kl_shape shape,
                            const void *data);
/** Names a value as an output of the graph. One value may have several names; a name is used once.
 */
KL_API void kl_output(kl_graph *g, const char *name, kl_node *x);

KL_API kl_shape kl_node_shape(const kl_node *x);
KL_API kl_dtype kl_node_dtype(const kl_node *x);
KL_API const char *kl_node_name(const kl_node *x); /* borrowed */
KL_API kl_node *kl_graph_find(kl_graph *g, const char *name); /* NULL: none of that name */
KL_API size_t kl_graph_n_outputs(const kl_graph *g);
KL_API const char *kl_graph_output_name(const kl_graph *g, size_t i);
KL_API kl_node *kl_graph_output(const kl_graph *g, const char *name); /* NULL: none */
KL_API size_t kl_graph_n_inputs(const kl_graph *g);
KL_API kl_node *kl_graph_input(const kl_graph *g, size_t i);

/** The text form, one op per line: `c1 = conv2d(x, filters=32, kernel=5, pad=same)`. Caller frees
 * with kl_free. */
KL_API char *kl_graph_print(const kl_graph *g);
/** Parses the text form. NULL: "line 3, column 12: ..." in kl_last_error(). `source` names the text
 * in errors. */
KL_API kl_graph *kl_graph_parse(const char *text, const char *source);
/** Graphviz DOT of the graph as built. Caller frees with kl_free. */
KL_API char *kl_graph_dot(const kl_graph *g);
/** Frees what the library returned as fresh memory. */
KL_API void kl_free(void *p);

#ifdef __cplusplus
}
#endif
#endif
