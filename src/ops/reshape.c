/* reshape and flatten: the same bytes under another shape. No launch, no copy. */
#include "ops/op.h"

#include "base/mem.h"

enum { REST = -2 };

/** Product of the dimensions from `first` on, those below zero left out; -1 where it does not fit.
 */
static int64_t product(kl_shape s, int first)
{
    int64_t n = 1;
    for (int i = first; i < s.n_dims; i++)
        if (s.dim[i] >= 0 && !kl__mul64(n, s.dim[i], &n))
            return -1;
    return n;
}

static kl_status reshape_infer(const kl__apply *a, kl__desc *out)
{
    const kl_reshape_opts *o = a->attrs;
    kl_shape in = a->in[0]->desc.shape, s = o->shape;
    char b[96], c[96];
    int rest = -1;
    bool fits = s.n_dims >= 0 && s.n_dims <= KL_MAX_DIMS;
    /* dim 0 of 0 or KL_BATCH, or left over where the input's is the batch, is the input's: one side
     * of the count less */
    bool batch =
        fits && s.n_dims > 0 && in.n_dims > 0 &&
        (s.dim[0] == 0 || s.dim[0] == KL_BATCH || (s.dim[0] == REST && in.dim[0] == KL_BATCH));
    if (batch)
        s.dim[0] = in.dim[0];
    for (int i = batch; fits && i < s.n_dims; i++) {
        fits = s.dim[i] >= 0 || (s.dim[i] == REST && rest < 0);
        if (s.dim[i] == REST)
            rest = i;
    }
    int64_t have = product(in, batch), want = fits ? product(s, batch) : 0;
    fits = fits && (batch || in.n_dims == 0 || in.dim[0] != KL_BATCH);
    if (fits && rest >= 0 && want > 0 && have % want == 0) {
        s.dim[rest] = have / want;
        want = have;
    } else if (rest >= 0) {
        fits = false;
    }
    if (!fits || have < 0 || have != want)
        return kl__fail(KL_E_SHAPE, "reshape \"%s\": input %s does not fit shape %s", a->name,
                        kl__shape_str(in, b), kl__shape_str(o->shape, c));
    *out = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = s};
    return KL_OK;
}

/** Back to the input's shape; where dy is itself a view of such a value, that one: a view could not
 * be made where an output has its place. Dimension 0 stays the batch where it was. */
static kl_status view_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                           kl_node **dx)
{
    kl_shape in = a->in[0]->desc.shape, out = a->out[0]->desc.shape;
    kl_reshape_opts o = {.shape = in};
    if (!need[0])
        return KL_OK;
    if (dy[0]->by->op->flags & KL__OP_VIEW &&
        kl_shape_equal(dy[0]->by->in[0]->desc.shape, in)) {
        dx[0] = dy[0]->by->in[0];
        return KL_OK;
    }
    if (in.n_dims > 0 && out.n_dims > 0 && in.dim[0] == out.dim[0])
        o.shape.dim[0] = KL_BATCH;
    dx[0] = kl__apply_new(g, &kl__op_reshape, NULL, dy, 1, &o);
    return dx[0] ? KL_OK : g->status;
}

static kl_status flatten_infer(const kl__apply *a, kl__desc *out)
{
    kl_shape in = a->in[0]->desc.shape;
    if (in.n_dims < 1)
        return kl__fail(KL_E_SHAPE,
                        "flatten \"%s\": the input is a scalar, without a batch dimension",
                        a->name);
    *out = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = {2, {in.dim[0], product(in, 1)}}};
    return KL_OK;
}

static const kl__attr attrs[] = {
    {"shape", KL__ATTR_SHAPE, offsetof(kl_reshape_opts, shape), 0, NULL, 0,
     "dimensions; N: as the input's (first one only), -2: what is left over"},
    {"name", KL__ATTR_NAME, offsetof(kl_reshape_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
const kl__op kl__op_reshape = {
    .name = "reshape",
    .doc = "the same elements under another shape",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = KL__OP_VIEW,
    .attrs_bytes = sizeof(kl_reshape_opts),
    .attrs = attrs,
    .infer = reshape_infer,
    .grad = view_grad,
};
const kl__op kl__op_flatten = {
    .name = "flatten",
    .doc = "[N,...] -> [N,I]",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = KL__OP_VIEW,
    .infer = flatten_infer,
    .grad = view_grad,
};

kl_node *kl_reshape(kl_graph *g, kl_node *x, const kl_reshape_opts *opts)
{
    if (g && !opts)
        return kl__graph_fail(g, KL_E_ARG, "reshape: options with the shape are needed");
    return kl__build(g, &kl__op_reshape, &x, 1, opts);
}

kl_node *kl_flatten(kl_graph *g, kl_node *x)
{
    return kl__build(g, &kl__op_flatten, &x, 1, NULL);
}
