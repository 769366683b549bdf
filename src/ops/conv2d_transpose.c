/* conv2d_transpose: the gradient of conv2d by its input as a layer. Its kernels are those of
 * conv2d_bwd_data; its gradients are conv2d and conv2d_bwd_weights with the roles of x and y
 * swapped. */
#include "ops/conv2d.h"

#include <stddef.h>

static const kl__attr attrs[] = {
    {"filters", KL__ATTR_INT, offsetof(kl_conv2d_transpose_opts, filters), 0, NULL, 0,
     "output channels"},
    {"kernel", KL__ATTR_INTS, offsetof(kl_conv2d_transpose_opts, kernel), 2, NULL, 0,
     "height, width"},
    {"stride", KL__ATTR_INTS, offsetof(kl_conv2d_transpose_opts, stride), 2, NULL, 1,
     "step of the window"},
    {"dilation", KL__ATTR_INTS, offsetof(kl_conv2d_transpose_opts, dilation), 2, NULL, 1,
     "step between taps"},
    {"groups", KL__ATTR_INT, offsetof(kl_conv2d_transpose_opts, groups), 0, NULL, 1,
     "independent channel groups"},
    {"pad", KL__ATTR_PAD, offsetof(kl_conv2d_transpose_opts, pad), 0, NULL, 0,
     "of the convolution it transposes"},
    {"output_pad", KL__ATTR_INTS, offsetof(kl_conv2d_transpose_opts, output_pad), 2, NULL, 0,
     "extra rows and columns at the bottom and right"},
    {"no_bias", KL__ATTR_BOOL, offsetof(kl_conv2d_transpose_opts, no_bias), 0, NULL, 0,
     "no bias is added"},
    {"init", KL__ATTR_INIT, offsetof(kl_conv2d_transpose_opts, init), 0, NULL, 0, "of the weights"},
    {"name", KL__ATTR_NAME, offsetof(kl_conv2d_transpose_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};

static kl_node *build(kl_graph *g, kl_node *const *given, int n_in, const void *opts)
{
    kl_conv2d_transpose_opts o = *(const kl_conv2d_transpose_opts *)opts;
    kl_node *in[3] = {given[0], n_in > 1 ? given[1] : NULL, n_in > 2 ? given[2] : NULL};
    const char *name = kl__graph_name(g, &kl__op_conv2d_transpose, o.name);
    if (!name)
        return NULL;
    kl__geom_pair(o.kernel, 0, o.kernel);
    kl__geom_pair(o.stride, 1, o.stride);
    kl__geom_pair(o.dilation, 1, o.dilation);
    o.groups = kl__opt_i(o.groups, 1);
    if (n_in == 1) {
        const kl_shape *x = &in[0]->desc.shape;
        char s[96];
        if (o.filters < 1 || o.kernel[0] < 1 || o.kernel[1] < 1)
            return kl__graph_fail(
                g, KL_E_ARG, "conv2d_transpose \"%s\": filters %d and kernel %dx%d must be given",
                name, o.filters, o.kernel[0], o.kernel[1]);
        if (x->n_dims != 4 || x->dim[1] < 1 || o.groups < 1 || x->dim[1] % o.groups ||
            o.filters % o.groups)
            return kl__graph_fail(g, KL_E_SHAPE,
                                  "conv2d_transpose \"%s\": %d groups must divide the channels of "
                                  "input %s and %d filters",
                                  name, o.groups, kl__shape_str(*x, s), o.filters);
        kl_shape w = kl__shape4(x->dim[1], o.filters / o.groups, o.kernel[0], o.kernel[1]);
        n_in = kl__conv_params(g, name, w, o.filters, o.no_bias, o.init, in);
    } else if (in[1]->desc.shape.n_dims == 4) {
        o.filters = (int)in[1]->desc.shape.dim[1] * o.groups;
        o.kernel[0] = (int)in[1]->desc.shape.dim[2];
        o.kernel[1] = (int)in[1]->desc.shape.dim[3];
        o.no_bias = n_in == 2;
    }
    return kl__apply_new(g, &kl__op_conv2d_transpose, name, in, n_in, &o);
}

/** The geometry of the convolution from the output back to the input: pads and the output's size.
 */
static kl_status resolve(const kl__apply *a, kl__conv_bwd *o, int pad_after[2])
{
    const kl_conv2d_transpose_opts *opts = a->attrs;
    const int64_t *x = a->in[0]->desc.shape.dim, *w = a->in[1]->desc.shape.dim;
    int window[2] = {(int)w[2], (int)w[3]};
    kl__geom geom;
    kl__geom_pair(opts->stride, 1, o->stride);
    kl__geom_pair(opts->dilation, 1, o->dilation);
    o->groups = kl__opt_i(opts->groups, 1);
    bool same = opts->pad.mode == KL_PAD_SAME || opts->pad.mode == KL_PAD_SAME_LOWER;
    /* a size that every window fits, to have the options checked and SAME resolved for a multiple
     * of the stride */
    int64_t size[2];
    for (int i = 0; i < 2; i++) {
        if (o->stride[i] < 1 || o->dilation[i] < 1 || window[i] < 1 || x[i + 2] < 1 ||
            x[i + 2] > INT32_MAX)
            return kl__fail(
                KL_E_SHAPE,
                "conv2d_transpose \"%s\": stride %d, dilation %d, kernel %d, size %lld must be "
                "at least 1",
                a->name, o->stride[i], o->dilation[i], window[i], (long long)x[i + 2]);
        size[i] = same ? x[i + 2] * o->stride[i] : (int64_t)o->dilation[i] * (window[i] - 1) + 1;
    }
    kl_status st = kl__geom_resolve("conv2d_transpose", a->name, window, o->stride, o->dilation,
                                    opts->pad, false, size[0], size[1], &geom);
    for (int i = 0; st == KL_OK && i < 2; i++) {
        int extra = opts->output_pad[i];
        int64_t out = same
                          ? size[i]
                          : (x[i + 2] - 1) * o->stride[i] + size[i] - geom.pad[i] - geom.pad[i + 2];
        if (extra < 0 || (extra >= o->stride[i] && extra >= o->dilation[i]))
            st = kl__fail(
                KL_E_ARG,
                "conv2d_transpose \"%s\": output_pad %d must be less than stride %d or dilation %d",
                a->name, extra, o->stride[i], o->dilation[i]);
        else if (out + extra < 1 || out + extra > INT32_MAX)
            st = kl__fail(KL_E_SHAPE,
                          "conv2d_transpose \"%s\": padding %d and %d leaves %lld rows or columns",
                          a->name, geom.pad[i], geom.pad[i + 2], (long long)(out + extra));
        o->pad[i] = geom.pad[i];
        pad_after[i] = geom.pad[i + 2];
        o->size[i] = (int)(out + extra);
    }
    return st;
}

static kl_status infer(const kl__apply *a, kl__desc *out)
{
    const kl_conv2d_transpose_opts *opts = a->attrs;
    int groups = kl__opt_i(opts->groups, 1), after[2];
    char sx[96], sw[96];
    kl__conv_bwd o;
    kl_status st = kl__conv_check(a, a->n_in < 2 ? 0 : a->in[1]->desc.shape.dim[1] * groups);
    if (st != KL_OK)
        return st;
    kl_shape x = a->in[0]->desc.shape, w = a->in[1]->desc.shape;
    if (groups < 1 || x.dim[1] != w.dim[0] || w.dim[0] % groups || w.dim[1] < 1)
        return kl__fail(
            KL_E_SHAPE, "conv2d_transpose \"%s\": weights %s do not fit input %s in %d group%s",
            a->name, kl__shape_str(w, sw), kl__shape_str(x, sx), groups, groups == 1 ? "" : "s");
    st = resolve(a, &o, after);
    if (st != KL_OK)
        return st;
    out->dtype = a->in[0]->desc.dtype;
    out->shape = kl__shape4(x.dim[0], w.dim[1] * groups, o.size[0], o.size[1]);
    return KL_OK;
}

static kl_node *input_grad(kl_graph *g, const kl__apply *a, kl_node *dy, const kl__conv_bwd *o,
                           const int after[2])
{
    const int64_t *want = a->in[0]->desc.shape.dim;
    kl_conv2d_opts conv = {.stride = {o->stride[0], o->stride[1]},
                           .dilation = {o->dilation[0], o->dilation[1]},
                           .groups = o->groups,
                           .pad = {KL_PAD_EXPLICIT, o->pad[0], o->pad[1], after[0], after[1]}};
    kl_node *dx = kl_conv2d_with(g, dy, a->in[1], NULL, &conv);
    /* output_pad of a stride or more: windows that begin there belong to no input */
    for (int i = 2; dx && i < 4; i++)
        if (dx->desc.shape.dim[i] > want[i])
            dx = kl_slice(g, dx, &(kl_slice_opts){.axis = i, .size = (int)want[i]});
    return dx;
}

static kl_status grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                      kl_node **dx)
{
    kl__conv_bwd o;
    int after[2];
    kl_status st = resolve(a, &o, after);
    if (st != KL_OK)
        return st;
    if (need[0])
        dx[0] = input_grad(g, a, dy[0], &o, after);
    o.size[0] = (int)a->in[1]->desc.shape.dim[2];
    o.size[1] = (int)a->in[1]->desc.shape.dim[3];
    if (need[1])
        dx[1] = kl__conv_bwd_weights(g, dy[0], a->in[0], &o);
    if (a->n_own > 2 && need[2])
        dx[2] = kl__conv_bias_grad(g, dy[0]);
    return kl_graph_check(g);
}

/** Cells of the input lie `stride` cells of the output apart. */
static void window(const kl__apply *a, int extent[2], int stride[2])
{
    kl__conv c = kl__conv_of(a);
    for (int i = 0; i < 2; i++) {
        extent[i] = (c.dilation[i] * (c.kernel[i] - 1) + c.stride[i]) / c.stride[i];
        stride[i] = -c.stride[i];
    }
}

const kl__op kl__op_conv2d_transpose = {
    .name = "conv2d_transpose",
    .doc = "transposed convolution: x [N,C,H,W], weight [C,filters/groups,KH,KW], bias [filters] "
           "-> [N,filters,OH,OW]",
    .min_in = 1,
    .max_in = 3,
    .n_out = 1,
    .attrs_bytes = sizeof(kl_conv2d_transpose_opts),
    .attrs = attrs,
    .build = build,
    .infer = infer,
    .grad = grad,
    .macs = kl__conv_macs,
    .window = window,
    .variants = kl__conv_variants,
};

kl_node *kl_conv2d_transpose(kl_graph *g, kl_node *x, const kl_conv2d_transpose_opts *opts)
{
    return kl__build(g, &kl__op_conv2d_transpose, &x, 1, opts);
}

kl_node *kl_conv2d_transpose_with(kl_graph *g, kl_node *x, kl_node *w, kl_node *b,
                                  const kl_conv2d_transpose_opts *opts)
{
    kl_node *in[3] = {x, w, b};
    return kl__build(g, &kl__op_conv2d_transpose, in, b ? 3 : 2, opts);
}

/* ---- the relation -------------------------------------------------------------------------- */
static void sizes(kl__conv *c, const kl__apply *a)
{
#define SHAPE(slot) (((slot) == KL__CONV_OUT ? a->out[0] : a->in[slot])->desc.shape.dim)
    const int64_t *x = SHAPE(c->x), *w = SHAPE(c->w), *y = SHAPE(c->y);
#undef SHAPE
    c->N = (int)x[0];
    c->C = (int)x[1];
    c->K = (int)y[1];
    for (int i = 0; i < 2; i++) {
        c->in[i] = (int)x[i + 2];
        c->out[i] = (int)y[i + 2];
        c->kernel[i] = (int)w[i + 2];
    }
}

kl__conv kl__conv_of(const kl__apply *a)
{
    kl__conv c = {.b = a->n_own > 2 ? 2 : KL__CONV_NONE};
    kl__conv_bwd o = {.groups = 1};
    int after[2];
    if (a->op == &kl__op_conv2d) {
        const kl_conv2d_opts *opts = a->attrs;
        const int64_t *x = a->in[0]->desc.shape.dim, *w = a->in[1]->desc.shape.dim;
        kl__geom geom;
        kl__geom_resolve("conv2d", a->name, (int[2]){(int)w[2], (int)w[3]}, opts->stride,
                         opts->dilation, opts->pad, false, x[2], x[3],
                         &geom); /* infer has seen it succeed */
        c.pass = KL__CONV_FWD;
        c.x = 0, c.w = 1, c.y = KL__CONV_OUT;
        o = (kl__conv_bwd){{geom.stride[0], geom.stride[1]},
                           {geom.dilation[0], geom.dilation[1]},
                           {geom.pad[0], geom.pad[1]},
                           kl__opt_i(opts->groups, 1),
                           {0, 0}};
    } else if (a->op == &kl__op_conv2d_transpose) {
        c.pass = KL__CONV_DATA;
        c.y = 0, c.w = 1, c.x = KL__CONV_OUT;
        resolve(a, &o, after); /* infer has seen it succeed */
    } else if (a->op == &kl__op_conv2d_bwd_data) {
        c.pass = KL__CONV_DATA;
        c.w = 0, c.y = 1, c.x = KL__CONV_OUT;
        o = *(const kl__conv_bwd *)a->attrs;
    } else {
        c.pass = KL__CONV_WEIGHTS;
        c.x = 0, c.y = 1, c.w = KL__CONV_OUT;
        o = *(const kl__conv_bwd *)a->attrs;
    }
    c.G = o.groups;
    for (int i = 0; i < 2; i++) {
        c.stride[i] = o.stride[i];
        c.dilation[i] = o.dilation[i];
        c.pad[i] = o.pad[i];
    }
    sizes(&c, a);
    return c;
}

int64_t kl__conv_macs(const kl__apply *a)
{
    kl__conv c = kl__conv_of(a);
    int64_t per_cell = (int64_t)(c.C / c.G) * c.kernel[0] * c.kernel[1];
    return (int64_t)c.N * c.K * c.out[0] * c.out[1] * per_cell;
}
