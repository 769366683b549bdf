/* maxpool2d: the largest cell of each window, and where it stood; maxpool2d_bwd routes the gradient
 * there. */
#include "ops/pool2d.h"

typedef enum kind { SOLO_C, SOLO, REF } kind;
static const char *const fwd_kernels[] = {"maxpool2d_fwd_solo_c", "maxpool2d_fwd_solo",
                                          "maxpool2d_fwd_ref"};
static const char *const bwd_kernels[] = {"maxpool2d_bwd_solo_c", "maxpool2d_bwd_solo",
                                          "maxpool2d_bwd_ref"};

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
    dx[0] = kl__apply_new(g, &kl__op_maxpool2d_bwd, NULL, (kl_node *[]){dy[0], a->out[1]}, 2, &o);
    return dx[0] ? KL_OK : g->status;
}

static const char *word_of(const kl_node *arg)
{
    return arg->desc.dtype == KL_U8 ? "uchar" : "int";
}

static kl_status emit(kl__emit *e, const kl__apply *a, kind k)
{
    kl_shape s = a->out[0]->desc.shape;
    kl__pool2d_launch p = {.file = "pool2d_max.cl",
                           .kernel = fwd_kernels[k],
                           .g = kl__pool2d_geom(a),
                           .arg = {kl__arg_in(a, 0), kl__arg_out(a, 0), kl__arg_out(a, 1)},
                           .n_args = 3,
                           .solo = k == SOLO,
                           .by_rows = true,
                           .arg_word = word_of(a->out[1]),
                           .skip = -1,
                           .planes = s.dim[0] * s.dim[1],
                           .items = kl_shape_count(s)};
    return k == SOLO_C ? kl__pool2d_blocked_emit(e, a, &p) : kl__pool2d_emit(e, a, &p);
}

static kl_status emit_solo_c(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, SOLO_C);
}

static kl_status emit_solo(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, SOLO);
}

static kl_status emit_ref(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, REF);
}

static const kl__attr attrs[] = {
    KL__POOL2D_ATTRS(kl_pool2d_opts, ),
    KL__POOL2D_NAME(kl_pool2d_opts, ),
    KL__ATTR_END,
};
static const kl__variant variants[] = {
    {.name = "solo_c",
     .fits = kl__pool2d_blocked_fits,
     .layouts = kl__pool2d_blocked_layouts,
     .emit = emit_solo_c},
    {.name = "solo", .fits = kl__pool_solo_fits, .emit = emit_solo},
    {.name = "ref", .emit = emit_ref},
    {.name = NULL},
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
    .window = kl__pool2d_window,
    .variants = variants,
};

kl_node *kl_maxpool2d(kl_graph *g, kl_node *x, const kl_pool2d_opts *opts)
{
    return kl__build(g, &kl__op_maxpool2d, &x, 1, opts);
}

/* ---- maxpool2d_bwd: dy, arg -> dx ---- */
static kl_status emit_bwd(kl__emit *e, const kl__apply *a, kind k)
{
    kl_shape s = a->out[0]->desc.shape;
    kl__pool2d_launch p = {.file = "pool2d_max.cl",
                           .kernel = bwd_kernels[k],
                           .g = kl__pool2d_bwd_geom(a),
                           .arg = {kl__arg_in(a, 0), kl__arg_in(a, 1), kl__arg_out(a, 0)},
                           .n_args = 3,
                           .solo = k == SOLO,
                           .arg_word = word_of(a->in[1]),
                           .skip = -1,
                           .planes = s.dim[0] * s.dim[1],
                           .items = kl_shape_count(s)};
    return k == SOLO_C ? kl__pool2d_blocked_emit(e, a, &p) : kl__pool2d_emit(e, a, &p);
}

static kl_status emit_bwd_solo_c(kl__emit *e, const kl__apply *a)
{
    return emit_bwd(e, a, SOLO_C);
}

static kl_status emit_bwd_solo(kl__emit *e, const kl__apply *a)
{
    return emit_bwd(e, a, SOLO);
}

static kl_status emit_bwd_ref(kl__emit *e, const kl__apply *a)
{
    return emit_bwd(e, a, REF);
}

static const kl__attr bwd_attrs[] = {
    KL__POOL2D_ATTRS(kl__pool2d_bwd, pool.),
    {"size", KL__ATTR_INTS, offsetof(kl__pool2d_bwd, size), 2, NULL, 0,
     "height, width of the pooling's input"},
    KL__POOL2D_NAME(kl__pool2d_bwd, pool.),
    KL__ATTR_END,
};
static const kl__variant bwd_variants[] = {
    {.name = "solo_c",
     .fits = kl__pool2d_blocked_fits,
     .layouts = kl__pool2d_blocked_layouts,
     .emit = emit_bwd_solo_c},
    {.name = "solo", .fits = kl__pool_solo_fits, .emit = emit_bwd_solo},
    {.name = "ref", .emit = emit_bwd_ref},
    {.name = NULL},
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
    .variants = bwd_variants,
};
