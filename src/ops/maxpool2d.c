/* maxpool2d: the largest cell of each window, and where it stood; maxpool2d_bwd routes the gradient
 * there. */
#include "ops/pool2d.h"

static kl_dtype arg_dtype(const kl_pool2d_opts *o)
{
    int w = o->window[1] ? o->window[1] : o->window[0];
    return (int64_t)o->window[0] * w <= 255 ? KL_U8 : KL_I32;
}

static kl_node *maxpool2d_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    return kl__pool2d_build(g, &kl__op_maxpool2d, in, n_in, attrs);
}

static kl_status maxpool2d_infer(const kl__apply *a, kl__desc *out)
{
    kl_status st = kl__pool2d_infer(a, &out[0]);
    if (a->n_out > 1)
        out[1] = (kl__desc){.dtype = arg_dtype(a->attrs), .shape = out[0].shape};
    return st;
}

static kl_status maxpool2d_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy,
                                const bool *need, kl_node **dx)
{
    kl_shape s = a->in[0]->desc.shape;
    kl__pool2d_bwd o = {*(const kl_pool2d_opts *)a->attrs, {(int)s.dim[2], (int)s.dim[3]}};
    if (!need[0] || !dy[0])
        return KL_OK;
    kl_node *places = a->n_out > 1 ? a->out[1] : NULL;
    if (!places) /* lowered for inference: the places are found again */
        places = kl__out(kl__apply_new(g, a->op, NULL, a->in, 1, a->attrs), 1);
    if (!places)
        return kl_graph_check(g);
    dx[0] = kl__apply_new(g, &kl__op_maxpool2d_bwd, NULL, (kl_node *[]){dy[0], places}, 2, &o);
    return kl_graph_check(g);
}

/* In inference nobody asks where the maxima stood. */
static kl_status maxpool2d_lower(kl_graph *g, const kl__apply *a, kl_node *const *in, bool training,
                                 kl_node **out)
{
    if (!training)
        out[0] = kl__apply_new_n(g, a->op, a->name, in, 1, 1, a->attrs);
    return kl_graph_check(g);
}

static const kl__attr attrs[] = {
    KL__POOL2D_ATTRS(kl_pool2d_opts, ),
    KL__POOL2D_NAME(kl_pool2d_opts, ),
    KL__ATTR_END,
};
const kl__op kl__op_maxpool2d = {
    .name = "maxpool2d",
    .doc = "largest cell of each window: [N,C,H,W] -> [N,C,OH,OW]",
    .min_in = 1,
    .max_in = 1,
    .n_out = 2,
    .attrs_bytes = sizeof(kl_pool2d_opts),
    .attrs = attrs,
    .build = maxpool2d_build,
    .infer = maxpool2d_infer,
    .grad = maxpool2d_grad,
    .lower = maxpool2d_lower,
    .window = kl__pool2d_window,
    .variants = kl__pool2d_variants,
};

kl_node *kl_maxpool2d(kl_graph *g, kl_node *x, const kl_pool2d_opts *opts)
{
    return kl__build(g, &kl__op_maxpool2d, &x, 1, opts);
}

/* ---- maxpool2d_bwd: dy, arg -> dx ---- */
static const kl__attr bwd_attrs[] = {
    KL__POOL2D_ATTRS(kl__pool2d_bwd, pool.),
    {"size", KL__ATTR_INTS, offsetof(kl__pool2d_bwd, size), 2, NULL, 0,
     "height, width of the pooling's input"},
    KL__POOL2D_NAME(kl__pool2d_bwd, pool.),
    KL__ATTR_END,
};
const kl__op kl__op_maxpool2d_bwd = {
    .name = "maxpool2d_bwd",
    .doc = "dx of maxpool2d from dy and the places of the maxima",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__pool2d_bwd),
    .attrs = bwd_attrs,
    .infer = kl__pool2d_bwd_infer,
    .variants = kl__pool2d_variants,
};
