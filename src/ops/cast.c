/* cast: from any storage type to the type of arithmetic, scaled: how images in bytes come in. */
#include "ops/op.h"

static const kl__attr attrs[] = {
    {"scale", KL__ATTR_FLOAT, offsetof(kl_scale_opts, scale), 0, NULL, 1, "factor"},
    {"shift", KL__ATTR_FLOAT, offsetof(kl_scale_opts, shift), 0, NULL, 0, "added after"},
    {"name", KL__ATTR_NAME, offsetof(kl_scale_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};

static kl_node *cast_build(kl_graph *g, kl_node *const *in, int n_in, const void *opts)
{
    kl_scale_opts o = *(const kl_scale_opts *)opts;
    o.scale = kl__opt_f(o.scale, 1);
    o.shift = kl__opt_f(o.shift, 0);
    return kl__apply_new(g, &kl__op_cast, o.name, in, n_in, &o);
}

static kl_status cast_infer(const kl__apply *a, kl__desc *out)
{
    out->dtype = a->graph->real;
    out->shape = a->in[0]->desc.shape;
    return KL_OK;
}

/** By f32 and f64 a gradient flows; numbers of other types are data. */
static kl_status cast_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                           kl_node **dx)
{
    kl_scale_opts o = {.scale = ((const kl_scale_opts *)a->attrs)->scale};
    if (need[0] && a->in[0]->desc.dtype == dy[0]->desc.dtype)
        dx[0] = kl__apply_new(g, &kl__op_scale, NULL, dy, 1, &o);
    return kl_graph_check(g);
}

static void put_args(kl__launch *l, const kl__apply *a)
{
    const kl_scale_opts *o = a->attrs;
    kl__launch_arg(l, kl__arg_in(a, 0));
    kl__launch_arg(l, kl__arg_f32((double)o->scale));
    kl__launch_arg(l, kl__arg_f32((double)o->shift));
    kl__launch_arg(l, kl__arg_out(a, 0));
}

static void put_defs(kl__defs *d, const kl__apply *a)
{
    static const char *const words[] = {
        [KL_F32] = "float", [KL_F16] = "half",   [KL_I32] = "int",
        [KL_U8] = "uchar",  [KL_F64] = "double",
    };
    kl_dtype from = a->in[0]->desc.dtype;
    kl__def_word(d, "SRC", words[from]);
    if (from == KL_F16)
        kl__def_flag(d, "KL_HALF");
    kl__defs_real(d, a);
}

static kl_status emit_ref(kl__emit *e, const kl__apply *a)
{
    size_t n = (size_t)kl_shape_count(a->out[0]->desc.shape);
    kl__defs defs = {0};
    put_defs(&defs, a);
    kl__launch l = kl__launch_of("cast.cl", "cast_ref", &defs);
    put_args(&l, a);
    kl__launch_arg(&l, kl__arg_u32(n));
    kl__launch_1d(&l, e, n);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}

static kl_status emit_solo(kl__emit *e, const kl__apply *a)
{
    enum { CHUNK = 8192 };
    size_t n = (size_t)kl_shape_count(a->out[0]->desc.shape);
    kl__defs defs = {0};
    put_defs(&defs, a);
    kl__def_int(&defs, "VN", e->caps->vector);
    kl__launch l = kl__launch_of("cast.cl", "cast_solo", &defs);
    put_args(&l, a);
    kl__launch_arg(&l, kl__arg_i32((int64_t)n));
    kl__launch_arg(&l, kl__arg_i32(CHUNK));
    kl__launch_solo(&l, 1, (n + CHUNK - 1) / CHUNK, 1, 1);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}

static bool fits_solo(const kl__apply *a, const kl__caps *caps)
{
    return caps->solo && caps->vector > 1 && a->graph->real == KL_F32 &&
           a->in[0]->desc.dtype != KL_F64;
}

static const kl__variant variants[] = {
    {.name = "solo", .fits = fits_solo, .emit = emit_solo},
    {.name = "ref", .emit = emit_ref},
    {.name = NULL},
};

const kl__op kl__op_cast = {
    .name = "cast",
    .doc = "scale x + shift in f32, x of any type",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attrs_bytes = sizeof(kl_scale_opts),
    .attrs = attrs,
    .build = cast_build,
    .infer = cast_infer,
    .grad = cast_grad,
    .variants = variants,
};
