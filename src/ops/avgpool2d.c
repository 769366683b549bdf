/* avgpool2d: the mean of each window; avgpool2d_bwd spreads the gradient over its cells. */
#include "ops/pool2d.h"

static kl_node *avgpool2d_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    return kl__pool2d_build(g, &kl__op_avgpool2d, in, n_in, attrs);
}

static kl_status avgpool2d_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy,
                                const bool *need, kl_node **dx)
{
    kl_shape s = a->in[0]->desc.shape;
    kl__pool2d_bwd o = {*(const kl_pool2d_opts *)a->attrs, {(int)s.dim[2], (int)s.dim[3]}};
    if (!need[0])
        return KL_OK;
    dx[0] = kl__apply_new(g, &kl__op_avgpool2d_bwd, NULL, dy, 1, &o);
    return dx[0] ? KL_OK : g->status;
}

static const kl__attr attrs[] = {
    KL__POOL2D_ATTRS(kl_pool2d_opts, ),
    KL__POOL2D_SKIP(kl_pool2d_opts, ),
    KL__POOL2D_NAME(kl_pool2d_opts, ),
    KL__ATTR_END,
};
const kl__op kl__op_avgpool2d = {
    .name = "avgpool2d",
    .doc = "mean of each window: [N,C,H,W] -> [N,C,OH,OW]",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attrs_bytes = sizeof(kl_pool2d_opts),
    .attrs = attrs,
    .build = avgpool2d_build,
    .infer = kl__pool2d_infer,
    .grad = avgpool2d_grad,
    .window = kl__pool2d_window,
    .variants = kl__pool2d_variants,
};

kl_node *kl_avgpool2d(kl_graph *g, kl_node *x, const kl_pool2d_opts *opts)
{
    return kl__build(g, &kl__op_avgpool2d, &x, 1, opts);
}

/* ---- avgpool2d_bwd: dy -> dx ---- */
static const kl__attr bwd_attrs[] = {
    KL__POOL2D_ATTRS(kl__pool2d_bwd, pool.),
    KL__POOL2D_SKIP(kl__pool2d_bwd, pool.),
    {"size", KL__ATTR_INTS, offsetof(kl__pool2d_bwd, size), 2, NULL, 0,
     "height, width of the pooling's input"},
    KL__POOL2D_NAME(kl__pool2d_bwd, pool.),
    KL__ATTR_END,
};
const kl__op kl__op_avgpool2d_bwd = {
    .name = "avgpool2d_bwd",
    .doc = "dx of avgpool2d from dy",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__pool2d_bwd),
    .attrs = bwd_attrs,
    .infer = kl__pool2d_bwd_infer,
    .variants = kl__pool2d_variants,
};
