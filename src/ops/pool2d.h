/* What max and average pooling share on the host. */
#ifndef KL_OPS_POOL2D_H
#define KL_OPS_POOL2D_H

#include "ops/geom.h"
#include "ops/op.h"

/** Attributes of the backward ops: the pooling's, and the size of its input. */
typedef struct kl__pool2d_bwd {
    kl_pool2d_opts pool;
    int size[2];
} kl__pool2d_bwd;

/** Builder of both: window and stride are resolved; the rest is for infer. */
kl_node *kl__pool2d_build(kl_graph *g, const kl__op *op, kl_node *const *in, int n_in,
                          const void *attrs);
/** Checks input and options; the description of y. */
kl_status kl__pool2d_infer(const kl__apply *a, kl__desc *y);
/** Geometry of a forward (attributes kl_pool2d_opts) or backward apply, which infer has accepted.
 */
kl__geom kl__pool2d_geom(const kl__apply *a);
kl__geom kl__pool2d_bwd_geom(const kl__apply *a);
void kl__pool2d_window(const kl__apply *a, int extent[2], int stride[2]);
/** dx [N,C,H,W] of dy: infer of the backward ops. */
kl_status kl__pool2d_bwd_infer(const kl__apply *a, kl__desc *dx);

/** The dtypes that pooling computes in, and SOLO's share of them. */
bool kl__pool_solo_fits(const kl__apply *a, const kl__caps *caps);
kl_status kl__pool_check_dtype(const kl__apply *a);

/** An apply of maxpool2d, avgpool2d or of their gradients, seen alike. */
typedef struct kl__pool2d {
    const char *stem; /* of its kernels: maxpool2d_fwd */
    bool max, back;
    kl__geom g;
    int skip;              /* average: divide by cells inside only */
    const kl_node *places; /* of the maxima: an input or output; NULL: none */
} kl__pool2d;
kl__pool2d kl__pool2d_of(const kl__apply *a); /* infer has accepted it */
/** solo_c, solo, ref: of all four. */
extern const kl__variant kl__pool2d_variants[];
/** Inputs and outputs, as the kernels have them; -DA where there are places. */
void kl__pool2d_args(kl__launch *l, kl__defs *d, const kl__apply *a, const kl__pool2d *p);

/* On blocked storage, global pooling too (pool2d_blocked.c). */
/** x comes in blocks, or out of a convolution and so will. */
bool kl__pool_is_blocked(const kl_node *x, const kl__caps *caps);
/** Pixels of a plane and of a row of x's storage, and those before its first cell. */
void kl__pool_storage_args(kl__launch *l, const kl_node *x);
void kl__pool_halo_args(kl__launch *l, const kl_node *y);
bool kl__pool2d_blocked_fits(const kl__apply *a, const kl__caps *caps);
void kl__pool2d_blocked_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in,
                                kl__layout *out);
kl_status kl__pool2d_blocked_emit(kl__emit *e, const kl__apply *a);

/* Global pooling on blocked storage (global_pool_blocked.c). */
bool kl__global_blocked_fits(const kl__apply *a, const kl__caps *caps);
bool kl__global_blocked_epilogue(const kl__apply *a, const kl__apply *elt);
void kl__global_blocked_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in,
                                kl__layout *out);
kl_status kl__global_blocked_emit(kl__emit *e, const kl__apply *a);

#define KL__POOL2D_ATTRS(type, member)                                                             \
    {"window", KL__ATTR_INTS, offsetof(type, member window), 2, NULL, 0, "height, width"},         \
        {"stride",                                                                                 \
         KL__ATTR_INTS,                                                                            \
         offsetof(type, member stride),                                                            \
         2,                                                                                        \
         NULL,                                                                                     \
         0,                                                                                        \
         "height, width; default the window"},                                                     \
        {"pad", KL__ATTR_PAD, offsetof(type, member pad), 0, NULL, 0, "less than the window"},     \
    {                                                                                              \
        "ceil_mode", KL__ATTR_BOOL, offsetof(type, member ceil_mode), 0, NULL, 0,                  \
            "round the output size up"                                                             \
    }
#define KL__POOL2D_SKIP(type, member)                                                              \
    {                                                                                              \
        "skip_pad", KL__ATTR_BOOL, offsetof(type, member skip_pad), 0, NULL, 0,                    \
            "divide by cells inside the input only"                                                \
    }
#define KL__POOL2D_NAME(type, member)                                                              \
    {                                                                                              \
        "name", KL__ATTR_NAME, offsetof(type, member name), 0, NULL, 0, NULL                       \
    }

#endif
