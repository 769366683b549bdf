/* bias: x [N,C,...] + b [C]. */
#include "ops/op.h"

#include <stddef.h>

typedef struct bias_opts {
    const char *name;
} bias_opts;

static kl_status bias_infer(const kl__apply *a, kl__desc *out)
{
    const kl__desc *x = &a->in[0]->desc, *b = &a->in[1]->desc;
    char sx[96], sb[96];
    if ((x->dtype != KL_F32 && x->dtype != KL_F64) || b->dtype != x->dtype)
        return kl__fail(KL_E_SHAPE, "bias \"%s\": input is %s, bias is %s, expected f32", a->name,
                        kl_dtype_name(x->dtype), kl_dtype_name(b->dtype));
    if (x->shape.n_dims < 2 || b->shape.n_dims != 1 || b->shape.dim[0] != x->shape.dim[1])
        return kl__fail(
            KL_E_SHAPE,
            "bias \"%s\": bias %s does not fit input %s, expected one number per channel", a->name,
            kl__shape_str(b->shape, sb), kl__shape_str(x->shape, sx));
    out[0] = (kl__desc){.dtype = x->dtype, .shape = x->shape};
    return KL_OK;
}

static kl_status bias_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                           kl_node **dx)
{
    kl_reduce_opts o = {.axes = {0}};
    for (int i = 0; i < a->in[0]->desc.shape.n_dims; i++)
        if (i != 1)
            o.axes.dim[o.axes.n_dims++] = i;
    if (need[0])
        dx[0] = dy[0];
    if (need[1])
        dx[1] = kl_reduce_sum(g, dy[0], &o);
    return g->status;
}

static int bias_aliases(const kl__apply *a, int out)
{
    (void)a;
    (void)out;
    return 0;
}

static bool solo_fits(const kl__apply *a, const kl__caps *caps)
{
    return caps->solo && a->out[0]->desc.dtype == KL_F32;
}

static kl_status emit(kl__emit *e, const kl__apply *a, bool solo)
{
    kl_shape x = a->in[0]->desc.shape;
    int n = (int)kl_shape_count(x), c = (int)x.dim[1], s = n / (int)x.dim[0] / c,
        run = s > 1 ? s : c;
    int per = 4096 / run > 1 ? 4096 / run : 1;
    kl__defs d = {0};
    if (solo)
        kl__def_int(&d, "W", e->caps->vector);
    else
        kl__defs_real(&d, a);
    kl__launch l = kl__launch_of("bias.cl", solo ? "bias_solo" : "bias_ref", &d);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_in(a, 1));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_i32(solo ? n / run : n));
    kl__launch_arg(&l, kl__arg_i32(c));
    kl__launch_arg(&l, kl__arg_i32(s));
    if (solo) {
        kl__launch_arg(&l, kl__arg_i32(per));
        kl__launch_solo(&l, 1, (size_t)((n / run + per - 1) / per), 1, 1);
    } else {
        kl__launch_1d(&l, e, (size_t)n);
    }
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

static kl_status solo_emit(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, true);
}
static kl_status ref_emit(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, false);
}

kl_node *kl_bias(kl_graph *g, kl_node *x, kl_node *b, const char *name)
{
    kl_node *in[2] = {x, b};
    bias_opts o = {name};
    return kl__build(g, &kl__op_bias, in, 2, &o);
}

static const kl__attr attrs[] = {
    {"name", KL__ATTR_NAME, offsetof(bias_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
static const kl__variant variants[] = {
    {.name = "solo", .fits = solo_fits, .emit = solo_emit},
    {.name = "ref", .emit = ref_emit},
    {.name = NULL},
};
const kl__op kl__op_bias = {
    .name = "bias", .doc = "x + b by channel; x [N,C,...], b [C]",
    .min_in = 2, .max_in = 2, .n_out = 1, .attrs_bytes = sizeof(bias_opts), .attrs = attrs,
    .infer = bias_infer, .grad = bias_grad, .aliases = bias_aliases, .variants = variants,
};
