/* Builders: each adds one op to a graph and returns its value. NULL in, NULL out (see graph.h).
 * Shapes in brackets; N is the batch. Options: zero means the default named here; KL_NONE means
 * zero itself where zero is not the default. Every builder's last field `name` names the node and
 * its parameters (NAME.weight, NAME.bias). */
#ifndef KILN_OPS_H
#define KILN_OPS_H

#include "graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kl_floats { /* a borrowed list; builders copy it */
    const float *v;
    int n;
} kl_floats;

/** The convention where Keras and PyTorch mean different maths by one name (README, "Compat"). */
typedef enum kl_compat { KL_TORCH, KL_KERAS } kl_compat;

typedef enum kl_pad_mode {
    KL_PAD_EXPLICIT, /* the four numbers */
    /* output ceil(size / stride); an odd total puts the extra cell at the bottom/right (Keras,
     * SAME_UPPER) */
    KL_PAD_SAME,
    KL_PAD_SAME_LOWER, /* the extra cell at the top/left */
    KL_PAD_VALID     /* none */
} kl_pad_mode;
typedef struct kl_pad {
    kl_pad_mode mode;
    int top, left, bottom, right;
} kl_pad;

/* ---- convolution ----------------------------------------------------------------------------- */
typedef struct kl_conv2d_opts {
    int filters;        /* output channels; required */
    int kernel[2];      /* height, width; a zero width: square */
    int stride[2];      /* default 1; zero width: as height */
    int dilation[2];    /* default 1 */
    int groups;         /* default 1; divides both channel counts */
    kl_pad pad;
    bool no_bias;
    kl_init init;       /* of the weights; default He normal */
    const char *name;
    uint32_t reserved[4];
} kl_conv2d_opts;
/** Cross-correlation. x [N,C,H,W], weight [filters, C/groups, KH, KW], bias [filters] ->
 * [N,filters,OH,OW], OH = floor((H + top + bottom - dilation (KH - 1) - 1) / stride) + 1. */
KL_API kl_node *kl_conv2d(kl_graph *g, kl_node *x, const kl_conv2d_opts *opts);
/** With given weight and bias (b may be NULL); filters and kernel follow from w. */
KL_API kl_node *kl_conv2d_with(kl_graph *g, kl_node *x, kl_node *w, kl_node *b,
                               const kl_conv2d_opts *opts);

typedef struct kl_conv2d_transpose_opts {
    int filters, kernel[2], stride[2], dilation[2], groups;
    kl_pad pad;         /* of the convolution it transposes; SAME gives output size * stride */
    int output_pad[2];  /* extra rows and columns at the bottom/right; < stride or < dilation */
    bool no_bias;
    kl_init init;
    const char *name;
    uint32_t reserved[4];
} kl_conv2d_transpose_opts;
/** The gradient of conv2d by its input, as a layer. x [N,C,H,W], weight [C, filters/groups, KH,
 * KW], bias [filters]
 *  -> [N,filters,OH,OW], OH = (H-1) stride - top - bottom + dilation (KH-1) + 1 + output_pad. */
KL_API kl_node *kl_conv2d_transpose(kl_graph *g, kl_node *x, const kl_conv2d_transpose_opts *opts);
KL_API kl_node *kl_conv2d_transpose_with(kl_graph *g, kl_node *x, kl_node *w, kl_node *b,
                                         const kl_conv2d_transpose_opts *opts);

/* ---- pooling: [N,C,H,W] -> [N,C,OH,OW] ------------------------------------------------------- */
typedef struct kl_pool2d_opts {
    int window[2];      /* zero width: square */
    int stride[2];      /* default: the window */
    kl_pad pad;         /* less than the window */
    /* round the output size up; a window that would begin in the right or bottom pad is dropped */
    bool ceil_mode;
    bool skip_pad;      /* average: divide by cells inside the input only (count_include_pad = 0) */
    const char *name;
    uint32_t reserved[4];
} kl_pool2d_opts;
/** pad counts as -inf; NaN wins */
KL_API kl_node *kl_maxpool2d(kl_graph *g, kl_node *x, const kl_pool2d_opts *opts);
KL_API kl_node *kl_avgpool2d(kl_graph *g, kl_node *x, const kl_pool2d_opts *opts);
KL_API kl_node *kl_global_avgpool(kl_graph *g, kl_node *x, const char *name); /* -> [N,C,1,1] */
KL_API kl_node *kl_global_maxpool(kl_graph *g, kl_node *x, const char *name); /* -> [N,C,1,1] */
typedef struct kl_maxout_opts {
    int window; /* channels per group; divides C */
    const char *name;
    uint32_t reserved[4];
} kl_maxout_opts;
/** Channel max pool: [N,C,...] -> [N,C/window,...]; ties to the first. */
KL_API kl_node *kl_maxout(kl_graph *g, kl_node *x, const kl_maxout_opts *opts);

/* ---- linear ---------------------------------------------------------------------------------- */
typedef struct kl_matmul_opts {
    bool ta, tb;
    const char *name;
    uint32_t reserved[4];
} kl_matmul_opts;
/** op(a) op(b), a [M,K] (or [K,M] with ta), b [K,N] (or [N,K] with tb) -> [M,N]. Rank 3: batches of
 * equal count. */
KL_API kl_node *kl_matmul(kl_graph *g, kl_node *a, kl_node *b, const kl_matmul_opts *opts);
typedef struct kl_dense_opts {
    int units;
    bool no_bias;
    kl_init init;
    const char *name;
    uint32_t reserved[4];
} kl_dense_opts;
/** x [N,...] flattened to [N,I], weight [units,I], bias [units] -> [N,units]. */
KL_API kl_node *kl_dense(kl_graph *g, kl_node *x, const kl_dense_opts *opts);
KL_API kl_node *kl_dense_with(kl_graph *g, kl_node *x, kl_node *w, kl_node *b,
                              const kl_dense_opts *opts);
/** x [N,C,...] + b [C]. */
KL_API kl_node *kl_bias(kl_graph *g, kl_node *x, kl_node *b, const char *name);

/* ---- element-wise: any shape, same out; NaN stays NaN ---------------------------------------- */
KL_API kl_node *kl_relu(kl_graph *g, kl_node *x);
KL_API kl_node *kl_relu6(kl_graph *g, kl_node *x); /* min(max(x, 0), 6) */
typedef struct kl_slope_opts { float slope; const char *name; uint32_t reserved[4]; } kl_slope_opts;
/** default 0.01 */
KL_API kl_node *kl_leaky_relu(kl_graph *g, kl_node *x, const kl_slope_opts *opts);
/** alpha, default 1 */
KL_API kl_node *kl_elu(kl_graph *g, kl_node *x, const kl_slope_opts *opts);
/** x sigmoid(beta x), beta default 1 */
KL_API kl_node *kl_swish(kl_graph *g, kl_node *x, const kl_slope_opts *opts);
KL_API kl_node *kl_sigmoid(kl_graph *g, kl_node *x);
KL_API kl_node *kl_tanh(kl_graph *g, kl_node *x);
KL_API kl_node *kl_softplus(kl_graph *g, kl_node *x); /* log(1 + exp x), stable */
KL_API kl_node *kl_exp(kl_graph *g, kl_node *x);
KL_API kl_node *kl_log(kl_graph *g, kl_node *x);
KL_API kl_node *kl_sqrt(kl_graph *g, kl_node *x);
KL_API kl_node *kl_square(kl_graph *g, kl_node *x);
KL_API kl_node *kl_neg(kl_graph *g, kl_node *x);
KL_API kl_node *kl_abs(kl_graph *g, kl_node *x);
typedef struct kl_scale_opts {
    float scale, shift;
    const char *name;
    uint32_t reserved[4];
} kl_scale_opts;
/** scale x + shift; scale default 1 */
KL_API kl_node *kl_scale(kl_graph *g, kl_node *x, const kl_scale_opts *opts);
/** NumPy broadcasting: shapes are aligned at the right, 1 stretches. */
KL_API kl_node *kl_add(kl_graph *g, kl_node *a, kl_node *b);
KL_API kl_node *kl_sub(kl_graph *g, kl_node *a, kl_node *b);
KL_API kl_node *kl_mul(kl_graph *g, kl_node *a, kl_node *b);
KL_API kl_node *kl_div(kl_graph *g, kl_node *a, kl_node *b);

/* ---- shape ----------------------------------------------------------------------------------- */
typedef struct kl_axis_opts {
    int axis; /* from 0, or from the end when negative; see each op */
    const char *name;
    uint32_t reserved[4];
} kl_axis_opts;
/** Joins along an axis (default 1; KL_NONE: axis 0). */
KL_API kl_node *kl_concat(kl_graph *g, kl_node *const *x, int n, const kl_axis_opts *opts);
typedef struct kl_slice_opts {
    int axis;           /* default 1; KL_NONE: axis 0 */
    int start;          /* negative: from the end */
    int size;           /* 0: to the end */
    const char *name;
    uint32_t reserved[4];
} kl_slice_opts;
KL_API kl_node *kl_slice(kl_graph *g, kl_node *x, const kl_slice_opts *opts);
/** Cuts x along `axis` into pieces of the given sizes (they add up); out[i] receives piece i. */
KL_API kl_status kl_split(kl_graph *g, kl_node *x, const kl_axis_opts *opts, const int *sizes,
                          int n, kl_node **out);
typedef enum kl_pad_fill { KL_FILL_CONSTANT, KL_FILL_REFLECT, KL_FILL_EDGE } kl_pad_fill;
typedef struct kl_pad_opts {
    int before[6], after[6]; /* per axis; negative cuts */
    kl_pad_fill fill;
    float value;
    const char *name;
    uint32_t reserved[4];
} kl_pad_opts;
KL_API kl_node *kl_pad_nd(kl_graph *g, kl_node *x, const kl_pad_opts *opts);
typedef struct kl_reshape_opts {
    kl_shape shape; /* dim 0: as the input's (the batch); one -2: what is left over */
    const char *name;
    uint32_t reserved[4];
} kl_reshape_opts;
KL_API kl_node *kl_reshape(kl_graph *g, kl_node *x, const kl_reshape_opts *opts);
KL_API kl_node *kl_flatten(kl_graph *g, kl_node *x); /* [N,...] -> [N,I] */
typedef struct kl_transpose_opts {
    kl_shape perm; /* perm.dim[i]: which input axis becomes axis i; n_dims 0: reversed */
    const char *name;
    uint32_t reserved[4];
} kl_transpose_opts;
KL_API kl_node *kl_transpose(kl_graph *g, kl_node *x, const kl_transpose_opts *opts);

typedef struct kl_reduce_opts {
    kl_shape axes; /* n_dims 0: all; negative from the end */
    bool keep_dims;
    const char *name;
    uint32_t reserved[4];
} kl_reduce_opts;
KL_API kl_node *kl_reduce_sum(kl_graph *g, kl_node *x, const kl_reduce_opts *opts);
KL_API kl_node *kl_reduce_mean(kl_graph *g, kl_node *x, const kl_reduce_opts *opts);
/** gradient to the first maximum */
KL_API kl_node *kl_reduce_max(kl_graph *g, kl_node *x, const kl_reduce_opts *opts);

/* ---- normalisation, regularisation ----------------------------------------------------------- */
typedef struct kl_batchnorm_opts {
    float eps;          /* default 1e-5 (torch), 1e-3 (keras) */
    /* torch: weight of the new value, default 0.1; keras: weight of the old one, default 0.99 */
    float momentum;
    kl_compat compat;   /* torch keeps the unbiased variance N/(N-1), keras the biased */
    bool no_scale, no_shift;
    const char *name;
    uint32_t reserved[4];
} kl_batchnorm_opts;
/** x [N,C,...]; parameters NAME.weight, NAME.bias [C], state NAME.running_mean, NAME.running_var
 * [C]. Training: batch statistics (biased variance); otherwise the running ones. */
KL_API kl_node *kl_batchnorm(kl_graph *g, kl_node *x, const kl_batchnorm_opts *opts);
typedef struct kl_dropout_opts {
    float rate; /* default 0.5; KL_NONE: 0 */
    const char *name;
    uint32_t reserved[4];
} kl_dropout_opts;
/** Training: kept values are divided by 1 - rate; otherwise the input. Stream dropout/NAME. */
KL_API kl_node *kl_dropout(kl_graph *g, kl_node *x, const kl_dropout_opts *opts);

/* ---- softmax and losses -------------------------------------------------------------------------
 * A loss is the mean over samples (or over weights): a scalar []. */
/** axis default 1; KL_NONE: 0 */
KL_API kl_node *kl_softmax(kl_graph *g, kl_node *x, const kl_axis_opts *opts);
KL_API kl_node *kl_log_softmax(kl_graph *g, kl_node *x, const kl_axis_opts *opts);
typedef struct kl_xent_opts {
    float smoothing;        /* label smoothing e: (1 - e) y + e / K */
    /* K numbers; the mean divides by the sum of weights (torch) or by the count (keras) */
    kl_floats class_weight;
    int ignore_index;       /* samples with this label count nothing; default -100; KL_NONE: 0 */
    kl_compat compat;
    const char *name;
    uint32_t reserved[4];
} kl_xent_opts;
/** logits [N,K] or [N,K,...], labels i32 [N] or [N,...], or soft f32 as the logits -> [], nats. A
 * label outside 0..K-1 that is not ignore_index gives NaN. */
KL_API kl_node *kl_softmax_xent(kl_graph *g, kl_node *logits, kl_node *labels,
                                const kl_xent_opts *opts);
typedef struct kl_loss_opts {
    float delta; /* Huber's, default 1 */
    const char *name;
    uint32_t reserved[4];
} kl_loss_opts;
/** Means over all elements; target of x's shape. */
KL_API kl_node *kl_mse(kl_graph *g, kl_node *x, kl_node *target, const kl_loss_opts *opts);
KL_API kl_node *kl_mae(kl_graph *g, kl_node *x, kl_node *target, const kl_loss_opts *opts);
KL_API kl_node *kl_huber(kl_graph *g, kl_node *x, kl_node *target, const kl_loss_opts *opts);
KL_API kl_node *kl_bce_logits(kl_graph *g, kl_node *x, kl_node *target, const kl_loss_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
