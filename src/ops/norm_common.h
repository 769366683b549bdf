/* What the normalisation, softmax, loss and optimizer families share in emission. */
#ifndef KL_OPS_NORM_COMMON_H
#define KL_OPS_NORM_COMMON_H

#include "ops/op.h"

extern const char *const kl__compat_words[]; /* "torch", "keras": for ENUM attributes */

static inline bool kl__real_dtype(kl_dtype t)
{
    return t == KL_F32 || t == KL_F64;
}

/** For `fits` of kernels with explicit float vectors. */
static inline bool kl__solo_f32(const kl__apply *a, const kl__caps *caps)
{
    return caps->solo && a->in[0]->desc.dtype == KL_F32;
}

/** Name for the apply that stands for `a` in a lowered graph. */
static inline const char *kl__lowered_name(kl_graph *g, const kl__apply *a)
{
    return kl_graph_find(g, a->name) ? NULL : a->name;
}

/** Items of a group that sums by tree (LS of cl/norm_vec.cl); defines LS. */
static inline size_t kl__tree_group(const kl__emit *e, kl__defs *d)
{
    size_t n = e->caps->solo ? 64 : 256;
    while (n > 1 && (n > e->caps->max_group || n > e->caps->max_item[0]))
        n /= 2;
    kl__def_int(d, "LS", (int64_t)n);
    return n;
}

static inline void kl__launch_groups(kl__launch *l, size_t groups, size_t group)
{
    l->dims = 1;
    l->global[0] = groups * group;
    l->local[0] = group;
    l->global[1] = l->global[2] = l->local[1] = l->local[2] = 1;
    l->local_bytes = group * sizeof(double);
}

static inline size_t kl__ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

/** A shape seen as [outer, K, inner] around an axis; dimensions are known. */
typedef struct kl__around {
    int64_t outer, k, inner;
} kl__around;
static inline kl__around kl__around_axis(kl_shape s, int axis)
{
    kl__around r = {1, s.dim[axis], 1};
    for (int i = 0; i < s.n_dims; i++) {
        if (i < axis)
            r.outer *= s.dim[i];
        else if (i > axis)
            r.inner *= s.dim[i];
    }
    return r;
}

#endif
