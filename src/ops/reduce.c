/* reduce_sum, reduce_mean, reduce_max and the hidden sum_to: shapes and gradients. Launches are in
 * reduce_emit.c. */
#include "ops/reduce_launch.h"

#include <stddef.h>
#include <string.h>

bool kl__reduce_mask(kl_shape axes, int n, uint32_t *mask, int64_t *bad)
{
    *mask = axes.n_dims == 0 ? (1u << n) - 1u : 0;
    for (int i = 0; i < axes.n_dims; i++) {
        int64_t axis = axes.dim[i] < 0 ? axes.dim[i] + n : axes.dim[i];
        if (axis < 0 || axis >= n || (*mask >> axis & 1u)) {
            *bad = axes.dim[i];
            return false;
        }
        *mask |= 1u << axis;
    }
    return true;
}

bool kl__broadcast_mask(kl_shape full, kl_shape small, uint32_t *mask)
{
    int lead = full.n_dims - small.n_dims;
    *mask = 0;
    if (lead < 0)
        return false;
    for (int i = 0; i < full.n_dims; i++) {
        if (i < lead || (small.dim[i - lead] == 1 && full.dim[i] != 1))
            *mask |= 1u << i;
        else if (small.dim[i - lead] != full.dim[i])
            return false;
    }
    return true;
}

kl_shape kl__shape_in(const kl_graph *g, kl_shape s)
{
    for (int i = 0; i < s.n_dims; i++)
        if (s.dim[i] == KL_BATCH && g->batch > 0)
            s.dim[i] = g->batch;
    return s;
}

/* ---- shapes ---------------------------------------------------------------------------------- */
static kl_status check_real(const kl__apply *a)
{
    kl_dtype t = a->in[0]->desc.dtype;
    if (t == KL_F32 || t == KL_F64)
        return KL_OK;
    return kl__fail(KL_E_SHAPE, "%s \"%s\": input is %s, expected f32", a->op->name, a->name,
                    kl_dtype_name(t));
}

static kl_status reduce_infer(const kl__apply *a, kl__desc *out)
{
    const kl_reduce_opts *o = a->attrs;
    kl_shape x = a->in[0]->desc.shape;
    char sx[96];
    uint32_t mask;
    int64_t bad;
    kl_status st = check_real(a);
    if (st != KL_OK)
        return st;
    if (!kl__reduce_mask(o->axes, x.n_dims, &mask, &bad))
        return kl__fail(KL_E_SHAPE,
                        "%s \"%s\": axis %lld is given twice or does not exist in input %s",
                        a->op->name, a->name, (long long)bad, kl__shape_str(x, sx));
    out[0] = (kl__desc){.dtype = a->in[0]->desc.dtype};
    for (int i = 0; i < x.n_dims; i++) {
        bool gone = mask >> i & 1u;
        if (!gone || o->keep_dims)
            out[0].shape.dim[out[0].shape.n_dims++] = gone ? 1 : x.dim[i];
    }
    return KL_OK;
}

static kl_status sum_to_infer(const kl__apply *a, kl__desc *out)
{
    kl_shape x = a->in[0]->desc.shape,
             to = kl__shape_in(a->graph, ((const kl__sum_shape *)a->attrs)->shape);
    char sx[96], sl[96];
    uint32_t mask;
    kl_status st = check_real(a);
    if (st != KL_OK)
        return st;
    if (!kl__broadcast_mask(x, to, &mask))
        return kl__fail(KL_E_SHAPE, "sum_to \"%s\": %s does not broadcast to the input's shape %s",
                        a->name, kl__shape_str(to, sl), kl__shape_str(x, sx));
    out[0] = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = to};
    return KL_OK;
}

uint32_t kl__reduce_mask_of(const kl__apply *a)
{
    kl_shape x = a->in[0]->desc.shape;
    uint32_t mask = 0;
    int64_t bad;
    if (a->op == &kl__op_sum_to)
        (void)kl__broadcast_mask(x, a->out[0]->desc.shape, &mask);
    else
        (void)kl__reduce_mask(((const kl_reduce_opts *)a->attrs)->axes, x.n_dims, &mask, &bad);
    return mask;
}

/* ---- gradients ------------------------------------------------------------------------------- */
static kl_status sum_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                          kl_node **dx)
{
    kl__broadcast b = {.shape = a->in[0]->desc.shape, .mean = a->op == &kl__op_reduce_mean};
    uint32_t mask = kl__reduce_mask_of(a);
    if (!need[0])
        return KL_OK;
    for (int i = 0; a->op != &kl__op_sum_to && i < b.shape.n_dims; i++)
        if (mask >> i & 1u)
            b.axes.dim[b.axes.n_dims++] = i;
    dx[0] = kl__apply_new(g, &kl__op_broadcast_to, NULL, dy, 1, &b);
    return dx[0] ? KL_OK : g->status;
}

static kl_status max_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                          kl_node **dx)
{
    kl_reduce_opts o = *(const kl_reduce_opts *)a->attrs;
    kl_node *in[3] = {a->in[0], a->out[0], dy[0]};
    if (!need[0])
        return KL_OK;
    o.name = NULL;
    dx[0] = kl__apply_new(g, &kl__op_reduce_max_bwd, NULL, in, 3, &o);
    return dx[0] ? KL_OK : g->status;
}

/* ---- builders -------------------------------------------------------------------------------- */
static kl_node *build(kl_graph *g, const kl__op *op, kl_node *const *in, int n_in,
                      const void *attrs)
{
    kl_reduce_opts o = *(const kl_reduce_opts *)attrs;
    uint32_t mask;
    int64_t bad;
    int n = in[0]->desc.shape.n_dims;
    /* Resolved, axes are positive and rising; wrong ones stay as they are for infer to name. */
    if (kl__reduce_mask(o.axes, n, &mask, &bad)) {
        memset(&o.axes, 0, sizeof o.axes);
        for (int i = 0; i < n; i++)
            if (mask >> i & 1u)
                o.axes.dim[o.axes.n_dims++] = i;
    }
    return kl__apply_new(g, op, o.name, in, n_in, &o);
}
static kl_node *sum_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    return build(g, &kl__op_reduce_sum, in, n_in, attrs);
}
static kl_node *mean_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    return build(g, &kl__op_reduce_mean, in, n_in, attrs);
}
static kl_node *max_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    return build(g, &kl__op_reduce_max, in, n_in, attrs);
}

kl_node *kl_reduce_sum(kl_graph *g, kl_node *x, const kl_reduce_opts *opts)
{
    return kl__build(g, &kl__op_reduce_sum, &x, 1, opts);
}
kl_node *kl_reduce_mean(kl_graph *g, kl_node *x, const kl_reduce_opts *opts)
{
    return kl__build(g, &kl__op_reduce_mean, &x, 1, opts);
}
kl_node *kl_reduce_max(kl_graph *g, kl_node *x, const kl_reduce_opts *opts)
{
    return kl__build(g, &kl__op_reduce_max, &x, 1, opts);
}

kl_node *kl__sum_to(kl_graph *g, kl_node *x, kl_shape like)
{
    kl__sum_shape s = {.shape = like};
    if (x && kl_shape_equal(x->desc.shape, like))
        return x;
    return kl__apply_new(g, &kl__op_sum_to, NULL, &x, 1, &s);
}

/* ---- tables ---------------------------------------------------------------------------------- */
static const kl__attr attrs[] = {
    {"axes", KL__ATTR_SHAPE, offsetof(kl_reduce_opts, axes), 0, NULL, 0,
     "axes to reduce; none: all"},
    {"keep_dims", KL__ATTR_BOOL, offsetof(kl_reduce_opts, keep_dims), 0, NULL, 0,
     "keep reduced axes as 1"},
    {"name", KL__ATTR_NAME, offsetof(kl_reduce_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
static const kl__attr sum_to_attrs[] = {
    {"shape", KL__ATTR_SHAPE, offsetof(kl__sum_shape, shape), 0, NULL, 0, "shape to sum down to"},
    {"name", KL__ATTR_NAME, offsetof(kl__sum_shape, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};

const kl__op kl__op_reduce_sum = {
    .name = "reduce_sum", .doc = "sum of x over axes; [..] -> x's shape without them",
    .min_in = 1, .max_in = 1, .n_out = 1, .attrs_bytes = sizeof(kl_reduce_opts), .attrs = attrs,
    .build = sum_build, .infer = reduce_infer, .grad = sum_grad, .variants = kl__reduce_variants,
};
const kl__op kl__op_reduce_mean = {
    .name = "reduce_mean", .doc = "mean of x over axes; [..] -> x's shape without them",
    .min_in = 1, .max_in = 1, .n_out = 1, .attrs_bytes = sizeof(kl_reduce_opts), .attrs = attrs,
    .build = mean_build, .infer = reduce_infer, .grad = sum_grad, .variants = kl__reduce_variants,
};
const kl__op kl__op_reduce_max = {
    .name = "reduce_max", .doc = "largest of x over axes, NaN wins; [..] -> x's shape without them",
    .min_in = 1, .max_in = 1, .n_out = 1, .attrs_bytes = sizeof(kl_reduce_opts), .attrs = attrs,
    .build = max_build, .infer = reduce_infer, .grad = max_grad, .variants = kl__reduce_variants,
};
const kl__op kl__op_sum_to = {
    .name = "sum_to",
    .doc = "x summed down to a shape that broadcasts to x's",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__sum_shape),
    .attrs = sum_to_attrs,
    .infer = sum_to_infer,
    .grad = sum_grad,
    .variants = kl__reduce_variants,
};
