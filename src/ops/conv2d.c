/* conv2d and its gradients conv2d_bwd_data and conv2d_bwd_weights: builders, shapes, gradients. */
#include "ops/conv2d.h"

#include "base/mem.h"
#include "ops/conv2d_coop.h"
#include "ops/conv2d_depthwise.h"
#include "ops/conv2d_group.h"

#include <stddef.h>

const kl__variant kl__conv_variants[] = {
    {.name = "wino",
     .fits = kl__conv_wino_fits,
     .pays = kl__conv_wino_pays,
     .needs = "a CPU with vectors, kernels of 3x3 or 5x5, stride 1, no dilation, no --exact",
     .layouts = kl__conv_wino_layouts,
     .wide_halo = true,
     .epilogue = kl__conv_wino_epilogue,
     .configs = kl__conv_wino_configs,
     .scratch_bytes = kl__conv_wino_scratch,
     .emit = kl__conv_wino_emit},
    {.name = "dw",
     .fits = kl__conv_dw_fits,
     .needs = "a CPU with vectors; groups of at most 8 channels, one result for each channel",
     .layouts = kl__conv_dw_layouts,
     .wide_halo = true,
     .epilogue = kl__conv_dw_epilogue,
     .scratch_bytes = kl__conv_dw_scratch,
     .emit = kl__conv_dw_emit},
    {.name = "solo",
     .fits = kl__conv_solo_fits,
     .needs = "a CPU with vectors; groups, where there are any, of whole blocks of channels",
     .layouts = kl__conv_solo_layouts,
     .wide_halo = true,
     .epilogue = kl__conv_solo_epilogue,
     .configs = kl__conv_solo_configs,
     .scratch_bytes = kl__conv_solo_scratch,
     .emit = kl__conv_solo_emit},
    {.name = "group",
     .fits = kl__conv_group_fits,
     .needs = "a CPU with vectors, and groups",
     .layouts = kl__conv_dw_layouts,
     .wide_halo = true,
     .epilogue = kl__conv_dw_epilogue,
     .scratch_bytes = kl__conv_group_scratch,
     .emit = kl__conv_group_emit},
    {.name = "coop",
     .fits = kl__conv_coop_fits,
     .needs = "a device that runs work-groups in step, f32, and sizes of 32 bits",
     .layouts = kl__conv_coop_layouts,
     .epilogue = kl__conv_coop_epilogue,
     .configs = kl__conv_coop_configs,
     .scratch_bytes = kl__conv_coop_scratch,
     .emit = kl__conv_coop_emit},
    {.name = "ref", .emit = kl__conv_ref_emit},
    {.name = NULL},
};

/* ---- shared by the family ------------------------------------------------------------------ */
int kl__conv_params(kl_graph *g, const char *name, kl_shape weight, int filters, bool no_bias,
                    kl_init init, kl_node **in)
{
    static const char *const suffix[] = {".weight", ".bias"};
    int64_t fan_in = kl_shape_count(weight) / weight.dim[0];
    kl_init bias = {KL_INIT_ZEROS, 0, 0, 0, 0};
    if (init.kind == KL_INIT_TORCH)
        bias = (kl_init){KL_INIT_TORCH, 0, 0, init.fan_in ? init.fan_in : (int)fan_in, 0};
    for (int i = 0; i < (no_bias ? 1 : 2); i++) {
        char *full = kl__asprintf("%s%s", name, suffix[i]);
        kl_shape shape = i ? (kl_shape){1, {filters}} : weight;
        in[1 + i] = full ? kl_param(g, full, shape, i ? bias : init, true)
                         : kl__graph_fail(g, KL_E_MEMORY, "graph: out of host memory");
        kl__free(full);
    }
    return no_bias ? 2 : 3;
}

kl_node *kl__conv_bias_grad(kl_graph *g, kl_node *dy)
{
    return kl_reduce_sum(g, dy, &(kl_reduce_opts){.axes = {3, {0, 2, 3}}});
}

kl_status kl__conv_check(const kl__apply *a, int64_t filters)
{
    if (a->n_in < 2)
        return kl__fail(KL_E_ARG, "%s \"%s\": weights are missing", a->op->name, a->name);
    const kl__desc *x = &a->in[0]->desc, *w = &a->in[1]->desc;
    char sx[96], sw[96];
    if (x->shape.n_dims != 4 || w->shape.n_dims != 4)
        return kl__fail(KL_E_SHAPE, "%s \"%s\": inputs %s and %s must have rank 4", a->op->name,
                        a->name, kl__shape_str(x->shape, sx), kl__shape_str(w->shape, sw));
    for (int i = 0; i < a->n_in; i++)
        if (a->in[i]->desc.dtype != a->graph->real)
            return kl__fail(KL_E_SHAPE, "%s \"%s\": input %d is %s, %s is expected", a->op->name,
                            a->name, i, kl_dtype_name(a->in[i]->desc.dtype),
                            kl_dtype_name(a->graph->real));
    if (a->n_own > 2) {
        kl_shape b = a->in[2]->desc.shape;
        if (b.n_dims != 1 || b.dim[0] != filters)
            return kl__fail(KL_E_SHAPE, "%s \"%s\": bias %s must be [%lld]", a->op->name, a->name,
                            kl__shape_str(b, sx), (long long)filters);
    }
    return KL_OK;
}

static void pair(int to[2], const int64_t *dim)
{
    to[0] = (int)dim[0];
    to[1] = (int)dim[1];
}

/* ---- conv2d -------------------------------------------------------------------------------- */
static const char op_name[] = "conv2d";

static const kl__attr conv_attrs[] = {
    {"filters", KL__ATTR_INT, offsetof(kl_conv2d_opts, filters), 0, NULL, 0, "output channels"},
    {"kernel", KL__ATTR_INTS, offsetof(kl_conv2d_opts, kernel), 2, NULL, 0, "height, width"},
    {"stride", KL__ATTR_INTS, offsetof(kl_conv2d_opts, stride), 2, NULL, 1, "step of the window"},
    {"dilation", KL__ATTR_INTS, offsetof(kl_conv2d_opts, dilation), 2, NULL, 1,
     "step between taps"},
    {"groups", KL__ATTR_INT, offsetof(kl_conv2d_opts, groups), 0, NULL, 1,
     "independent channel groups"},
    {"pad", KL__ATTR_PAD, offsetof(kl_conv2d_opts, pad), 0, NULL, 0, "zeros around the input"},
    {"no_bias", KL__ATTR_BOOL, offsetof(kl_conv2d_opts, no_bias), 0, NULL, 0, "no bias is added"},
    {"init", KL__ATTR_INIT, offsetof(kl_conv2d_opts, init), 0, NULL, 0, "of the weights"},
    {"name", KL__ATTR_NAME, offsetof(kl_conv2d_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};

static kl_node *conv_build(kl_graph *g, kl_node *const *given, int n_in, const void *attrs)
{
    kl_conv2d_opts o = *(const kl_conv2d_opts *)attrs;
    kl_node *in[3] = {given[0], n_in > 1 ? given[1] : NULL, n_in > 2 ? given[2] : NULL};
    const char *name = kl__graph_name(g, &kl__op_conv2d, o.name);
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
            return kl__graph_fail(g, KL_E_ARG,
                                  "conv2d \"%s\": filters %d and kernel %dx%d must be given", name,
                                  o.filters, o.kernel[0], o.kernel[1]);
        if (x->n_dims != 4 || x->dim[1] < 1 || o.groups < 1 || x->dim[1] % o.groups ||
            o.filters % o.groups)
            return kl__graph_fail(g, KL_E_SHAPE,
                                  "conv2d \"%s\": %d groups must divide the channels of input %s "
                                  "and %d filters",
                                  name, o.groups, kl__shape_str(*x, s), o.filters);
        kl_shape w = kl__shape4(o.filters, x->dim[1] / o.groups, o.kernel[0], o.kernel[1]);
        n_in = kl__conv_params(g, name, w, o.filters, o.no_bias, o.init, in);
    } else if (in[1]->desc.shape.n_dims == 4) {
        o.filters = (int)in[1]->desc.shape.dim[0];
        pair(o.kernel, &in[1]->desc.shape.dim[2]);
        o.no_bias = n_in == 2;
    }
    return kl__apply_new(g, &kl__op_conv2d, name, in, n_in, &o);
}

static kl_status conv_infer(const kl__apply *a, kl__desc *out)
{
    const kl_conv2d_opts *o = a->attrs;
    kl_status st = kl__conv_check(a, a->n_in < 2 ? 0 : a->in[1]->desc.shape.dim[0]);
    if (st != KL_OK)
        return st;
    kl_shape x = a->in[0]->desc.shape, w = a->in[1]->desc.shape;
    int64_t groups = kl__opt_i(o->groups, 1);
    char sx[96], sw[96];
    kl__geom geom;
    if (groups < 1 || x.dim[1] != w.dim[1] * groups || w.dim[0] < 1 || w.dim[0] % groups)
        return kl__fail(KL_E_SHAPE, "conv2d \"%s\": weights %s do not fit input %s in %lld group%s",
                        a->name, kl__shape_str(w, sw), kl__shape_str(x, sx), (long long)groups,
                        groups == 1 ? "" : "s");
    int window[2];
    pair(window, &w.dim[2]);
    st = kl__geom_resolve(op_name, a->name, window, o->stride, o->dilation, o->pad, false, x.dim[2],
                          x.dim[3], &geom);
    out->dtype = a->in[0]->desc.dtype;
    out->shape = kl__shape4(x.dim[0], w.dim[0], geom.out[0], geom.out[1]);
    return st;
}

static kl_status conv_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                           kl_node **dx)
{
    const kl_conv2d_opts *opts = a->attrs;
    kl_shape x = a->in[0]->desc.shape, w = a->in[1]->desc.shape;
    kl__geom geom;
    int window[2];
    pair(window, &w.dim[2]);
    kl_status st = kl__geom_resolve(op_name, a->name, window, opts->stride, opts->dilation,
                                    opts->pad, false, x.dim[2], x.dim[3], &geom);
    if (st != KL_OK)
        return st;
    kl__conv_bwd o = {{geom.stride[0], geom.stride[1]},
                      {geom.dilation[0], geom.dilation[1]},
                      {geom.pad[0], geom.pad[1]},
                      kl__opt_i(opts->groups, 1),
                      {0, 0}};
    pair(o.size, &x.dim[2]);
    if (need[0])
        dx[0] = kl__conv_bwd_data(g, a->in[1], dy[0], &o);
    pair(o.size, &w.dim[2]);
    if (need[1])
        dx[1] = kl__conv_bwd_weights(g, a->in[0], dy[0], &o);
    if (a->n_own > 2 && need[2])
        dx[2] = kl__conv_bias_grad(g, dy[0]);
    return kl_graph_check(g);
}

static void conv_window(const kl__apply *a, int extent[2], int stride[2])
{
    kl__conv c = kl__conv_of(a);
    for (int i = 0; i < 2; i++) {
        extent[i] = c.dilation[i] * (c.kernel[i] - 1) + 1;
        stride[i] = c.stride[i];
    }
}

const kl__op kl__op_conv2d = {
    .name = op_name,
    .doc = "cross-correlation: x [N,C,H,W], weight [K,C/groups,KH,KW], bias [K] -> [N,K,OH,OW]",
    .min_in = 1,
    .max_in = 3,
    .n_out = 1,
    .attrs_bytes = sizeof(kl_conv2d_opts),
    .attrs = conv_attrs,
    .build = conv_build,
    .infer = conv_infer,
    .grad = conv_grad,
    .macs = kl__conv_macs,
    .window = conv_window,
    .variants = kl__conv_variants,
};

kl_node *kl_conv2d(kl_graph *g, kl_node *x, const kl_conv2d_opts *opts)
{
    return kl__build(g, &kl__op_conv2d, &x, 1, opts);
}

kl_node *kl_conv2d_with(kl_graph *g, kl_node *x, kl_node *w, kl_node *b, const kl_conv2d_opts *opts)
{
    kl_node *in[3] = {x, w, b};
    return kl__build(g, &kl__op_conv2d, in, b ? 3 : 2, opts);
}

/* ---- gradients ----------------------------------------------------------------------------- */
static const kl__attr bwd_attrs[] = {
    {"stride", KL__ATTR_INTS, offsetof(kl__conv_bwd, stride), 2, NULL, 1, "step of the window"},
    {"dilation", KL__ATTR_INTS, offsetof(kl__conv_bwd, dilation), 2, NULL, 1, "step between taps"},
    {"pad", KL__ATTR_INTS, offsetof(kl__conv_bwd, pad), 2, NULL, 0,
     "zeros at the top, at the left"},
    {"groups", KL__ATTR_INT, offsetof(kl__conv_bwd, groups), 0, NULL, 1,
     "independent channel groups"},
    {"size", KL__ATTR_INTS, offsetof(kl__conv_bwd, size), 2, NULL, 0,
     "height and width of the result"},
    KL__ATTR_END,
};

static kl_status bwd_check(const kl__apply *a)
{
    const kl__conv_bwd *o = a->attrs;
    kl_status st = kl__conv_check(a, 0);
    for (int i = 0; st == KL_OK && i < 2; i++)
        if (o->stride[i] < 1 || o->dilation[i] < 1 || o->pad[i] < 0 || o->size[i] < 1 ||
            o->groups < 1)
            st = kl__fail(
                KL_E_ARG,
                "%s \"%s\": stride %d, dilation %d, pad %d, size %d, groups %d are no geometry",
                a->op->name, a->name, o->stride[i], o->dilation[i], o->pad[i], o->size[i],
                o->groups);
    return st;
}

static kl_status data_infer(const kl__apply *a, kl__desc *out)
{
    const kl__conv_bwd *o = a->attrs;
    kl_shape w = a->in[0]->desc.shape, dy = a->in[1]->desc.shape;
    char sw[96], sy[96];
    kl_status st = bwd_check(a);
    if (st == KL_OK && (w.dim[0] != dy.dim[1] || w.dim[0] % o->groups))
        st = kl__fail(KL_E_SHAPE, "conv2d_bwd_data \"%s\": weights %s do not fit gradient %s",
                      a->name, kl__shape_str(w, sw), kl__shape_str(dy, sy));
    out->dtype = a->in[0]->desc.dtype;
    out->shape = kl__shape4(dy.dim[0], w.dim[1] * o->groups, o->size[0], o->size[1]);
    return st;
}

static kl_status weights_infer(const kl__apply *a, kl__desc *out)
{
    const kl__conv_bwd *o = a->attrs;
    kl_shape x = a->in[0]->desc.shape, dy = a->in[1]->desc.shape;
    char sx[96], sy[96];
    kl_status st = bwd_check(a);
    if (st == KL_OK && (x.dim[0] != dy.dim[0] || x.dim[1] % o->groups || dy.dim[1] % o->groups))
        st = kl__fail(KL_E_SHAPE,
                      "conv2d_bwd_weights \"%s\": input %s does not fit gradient %s in %d groups",
                      a->name, kl__shape_str(x, sx), kl__shape_str(dy, sy), o->groups);
    out->dtype = a->in[0]->desc.dtype;
    out->shape =
        kl__shape4(dy.dim[1], st == KL_OK ? x.dim[1] / o->groups : 0, o->size[0], o->size[1]);
    return st;
}

const kl__op kl__op_conv2d_bwd_data = {
    .name = "conv2d_bwd_data",
    .doc = "gradient of conv2d by its input: w, dy -> dx",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__conv_bwd),
    .attrs = bwd_attrs,
    .infer = data_infer,
    .macs = kl__conv_macs,
    .variants = kl__conv_variants,
};
const kl__op kl__op_conv2d_bwd_weights = {
    .name = "conv2d_bwd_weights",
    .doc = "gradient of conv2d by its weights: x, dy -> dw",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__conv_bwd),
    .attrs = bwd_attrs,
    .infer = weights_infer,
    .macs = kl__conv_macs,
    .variants = kl__conv_variants,
};

kl_node *kl__conv_bwd_data(kl_graph *g, kl_node *w, kl_node *dy, const kl__conv_bwd *o)
{
    kl_node *in[2] = {w, dy};
    return kl__apply_new(g, &kl__op_conv2d_bwd_data, NULL, in, 2, o);
}

kl_node *kl__conv_bwd_weights(kl_graph *g, kl_node *x, kl_node *dy, const kl__conv_bwd *o)
{
    kl_node *in[2] = {x, dy};
    return kl__apply_new(g, &kl__op_conv2d_bwd_weights, NULL, in, 2, o);
}
