/* maxout: the largest of every `window` neighbouring channels, and which it was; maxout_bwd routes
 * the gradient. */
#include "ops/pool2d.h"

enum { ITEM_CELLS = 16384 }; /* input cells of one SOLO work-item */

static kl_status maxout_infer(const kl__apply *a, kl__desc *out)
{
    const kl_maxout_opts *o = a->attrs;
    kl_shape s = a->in[0]->desc.shape;
    char b[96];
    kl_status st = kl__pool_check_dtype(a);
    if (st != KL_OK)
        return st;
    if (s.n_dims < 2 || o->window < 1 || s.dim[1] % o->window != 0)
        return kl__fail(KL_E_SHAPE,
                        "maxout \"%s\": window %d does not divide the channels of input %s",
                        a->name, o->window, kl__shape_str(s, b));
    s.dim[1] /= o->window;
    out[0] = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = s};
    out[1] = (kl__desc){.dtype = o->window <= 255 ? KL_U8 : KL_I32, .shape = s};
    return KL_OK;
}

static kl_status maxout_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                             kl_node **dx)
{
    kl_maxout_opts o = {.window = ((const kl_maxout_opts *)a->attrs)->window};
    if (!need[0] || !dy[0])
        return KL_OK;
    dx[0] = kl__apply_new(g, &kl__op_maxout_bwd, NULL, (kl_node *[]){dy[0], a->out[1]}, 2, &o);
    return dx[0] ? KL_OK : g->status;
}

static kl_status bwd_infer(const kl__apply *a, kl__desc *dx)
{
    *dx = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = a->in[0]->desc.shape};
    dx->shape.dim[1] *= ((const kl_maxout_opts *)a->attrs)->window;
    return KL_OK;
}

/** small: the value with one channel per window; ref has `items` work-items. */
static kl_status emit(kl__emit *e, const kl__apply *a, const char *kernel, const kl_node *small,
                      const kl_node *arg, bool solo)
{
    const kl_maxout_opts *o = a->attrs;
    kl_shape s = small->desc.shape;
    int64_t groups = s.dim[0] * s.dim[1], inner = 1, items = kl_shape_count(a->out[0]->desc.shape);
    for (int i = 2; i < s.n_dims; i++)
        inner *= s.dim[i];
    int64_t per = ITEM_CELLS / (inner * o->window);
    per = per < 1 ? 1 : per < groups ? per : groups;
    kl__defs d = {0};
    kl__defs_real(&d, a);
    kl__def_word(&d, "A", arg->desc.dtype == KL_U8 ? "uchar" : "int");
    if (solo)
        kl__def_int(&d, "V", e->caps->vector);
    kl__launch l = kl__launch_of("maxout.cl", kernel, &d);
    for (int i = 0; i < a->n_in; i++)
        kl__launch_arg(&l, kl__arg_in(a, i));
    for (int i = 0; i < a->n_out; i++)
        kl__launch_arg(&l, kl__arg_out(a, i));
    kl__launch_arg(&l, kl__arg_i32(solo ? groups : items));
    kl__launch_arg(&l, kl__arg_i32(inner));
    kl__launch_arg(&l, kl__arg_i32(o->window));
    if (solo) {
        kl__launch_arg(&l, kl__arg_i32(per));
        kl__launch_solo(&l, 1, (size_t)((groups + per - 1) / per), 1, 1);
    } else {
        kl__launch_1d(&l, e, (size_t)items);
    }
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

static kl_status emit_solo(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, "maxout_fwd_solo", a->out[0], a->out[1], true);
}

static kl_status emit_ref(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, "maxout_fwd_ref", a->out[0], a->out[1], false);
}

static kl_status bwd_solo(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, "maxout_bwd_solo", a->in[0], a->in[1], true);
}

static kl_status bwd_ref(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, "maxout_bwd_ref", a->in[0], a->in[1], false);
}

static const kl__attr attrs[] = {
    {"window", KL__ATTR_INT, offsetof(kl_maxout_opts, window), 0, NULL, 0, "channels per group"},
    {"name", KL__ATTR_NAME, offsetof(kl_maxout_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
static const kl__variant variants[] = {
    {.name = "solo", .fits = kl__pool_solo_fits, .emit = emit_solo},
    {.name = "ref", .emit = emit_ref},
    {.name = NULL},
};
static const kl__variant bwd_variants[] = {
    {.name = "solo", .fits = kl__pool_solo_fits, .emit = bwd_solo},
    {.name = "ref", .emit = bwd_ref},
    {.name = NULL},
};
const kl__op kl__op_maxout = {
    .name = "maxout",
    .doc = "largest of `window` neighbouring channels: [N,C,...] -> [N,C/window,...]",
    .min_in = 1,
    .max_in = 1,
    .n_out = 2,
    .attrs_bytes = sizeof(kl_maxout_opts),
    .attrs = attrs,
    .infer = maxout_infer,
    .grad = maxout_grad,
    .variants = variants,
};
const kl__op kl__op_maxout_bwd = {
    .name = "maxout_bwd",
    .doc = "dx of maxout from dy and the places of the maxima",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl_maxout_opts),
    .attrs = attrs,
    .infer = bwd_infer,
    .variants = bwd_variants,
};

kl_node *kl_maxout(kl_graph *g, kl_node *x, const kl_maxout_opts *opts)
{
    return kl__build(g, &kl__op_maxout, &x, 1, opts);
}
