/* The hidden ops that gradients of reductions are made of: broadcast_to, and reduce_max_bwd to the
 * first maximum. */
#include "ops/reduce_launch.h"

#include <stddef.h>

/* ---- broadcast_to ---------------------------------------------------------------------------- */
/* Axes of the target along which x is copied; false where x does not fit. */
static bool stretch_mask(kl_shape to, kl_shape axes, kl_shape x, uint32_t *mask)
{
    int64_t bad;
    if (axes.n_dims == 0)
        return kl__broadcast_mask(to, x, mask);
    if (!kl__reduce_mask(axes, to.n_dims, mask, &bad))
        return false;
    bool kept = x.n_dims == to.n_dims; /* else x lacks the axes */
    int k = 0;
    for (int i = 0; i < to.n_dims; i++) {
        bool gone = *mask >> i & 1u;
        if (gone && !kept)
            continue;
        if (k >= x.n_dims || x.dim[k++] != (gone ? 1 : to.dim[i]))
            return false;
    }
    return k == x.n_dims;
}

static kl_status broadcast_infer(const kl__apply *a, kl__desc *out)
{
    const kl__broadcast *o = a->attrs;
    kl_shape x = a->in[0]->desc.shape, to = kl__shape_in(a->graph, o->shape);
    uint32_t mask;
    char sx[96], st[96];
    if (!stretch_mask(to, o->axes, x, &mask))
        return kl__fail(KL_E_SHAPE, "broadcast_to \"%s\": input %s does not broadcast to %s",
                        a->name, kl__shape_str(x, sx), kl__shape_str(to, st));
    out[0] = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = to};
    return KL_OK;
}

static kl_status broadcast_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy,
                                const bool *need, kl_node **dx)
{
    const kl__broadcast *o = a->attrs;
    if (!need[0])
        return KL_OK;
    if (o->axes.n_dims == 0 && !o->mean) {
        dx[0] = kl__sum_to(g, dy[0], a->in[0]->desc.shape);
    } else {
        kl_reduce_opts r = {.axes = o->axes,
                            .keep_dims = a->in[0]->desc.shape.n_dims == o->shape.n_dims};
        dx[0] = o->mean ? kl_reduce_mean(g, dy[0], &r) : kl_reduce_sum(g, dy[0], &r);
    }
    return dx[0] ? KL_OK : g->status;
}

static void broadcast_fold(const kl__apply *a, kl__fold *f, int *divisor)
{
    const kl__broadcast *o = a->attrs;
    uint32_t mask = 0;
    (void)stretch_mask(a->out[0]->desc.shape, o->axes, a->in[0]->desc.shape, &mask);
    kl__fold_of(a->out[0]->desc.shape, mask, f);
    *divisor = o->mean ? f->n_red : 1;
}

static kl_status broadcast_ref_emit(kl__emit *e, const kl__apply *a)
{
    kl__fold f;
    int divisor, parts = 1;
    kl__defs d = {0};
    broadcast_fold(a, &f, &divisor);
    while (parts < f.n_red && (int64_t)f.n_keep * parts < 65536)
        parts *= 2;
    kl__defs_real(&d, a);
    kl__launch l = kl__launch_of("reduce.cl", "broadcast_ref", &d);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_fold(&l, &f);
    kl__launch_arg(&l, kl__arg_i32(parts));
    kl__launch_arg(&l, kl__arg_i32(!f.inner_red));
    kl__launch_arg(&l, kl__arg_i32(divisor));
    kl__launch_1d(&l, e, (size_t)f.n_keep * (size_t)parts);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

static bool solo_fits(const kl__apply *a, const kl__caps *caps)
{
    return caps->solo && a->out[0]->desc.dtype == KL_F32;
}

static kl_status broadcast_solo_emit(kl__emit *e, const kl__apply *a)
{
    kl__fold f;
    int divisor;
    kl__defs d = {0};
    broadcast_fold(a, &f, &divisor);
    int run = f.inner_red ? f.red[2] : f.keep[2], n = f.n_keep * f.n_red, rows = n / run;
    int per = 4096 / run > 1 ? 4096 / run : 1; /* rows an item writes */
    kl__def_int(&d, "W", e->caps->vector);
    kl__launch l = kl__launch_of("reduce_solo.cl", "broadcast_solo", &d);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_fold(&l, &f);
    kl__launch_arg(&l, kl__arg_i32(per));
    kl__launch_arg(&l, kl__arg_i32(rows));
    kl__launch_arg(&l, kl__arg_i32(run));
    kl__launch_arg(&l, kl__arg_i32(f.inner_red));
    kl__launch_arg(&l, kl__arg_i32(divisor));
    kl__launch_solo(&l, 1, (size_t)((rows + per - 1) / per), 1, 1);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

kl_node *kl__broadcast_to(kl_graph *g, kl_node *x, kl_shape shape)
{
    kl__broadcast b = {.shape = shape};
    if (x && kl_shape_equal(x->desc.shape, shape))
        return x;
    return kl__apply_new(g, &kl__op_broadcast_to, NULL, &x, 1, &b);
}

/* ---- reduce_max_bwd: (x, y, dy) -> dx -------------------------------------------------------- */
static kl_status max_bwd_infer(const kl__apply *a, kl__desc *out)
{
    char s1[96], s2[96];
    kl_shape y = a->in[1]->desc.shape, dy = a->in[2]->desc.shape;
    if (!kl_shape_equal(y, dy))
        return kl__fail(KL_E_SHAPE, "reduce_max_bwd \"%s\": gradient %s does not fit output %s",
                        a->name, kl__shape_str(dy, s1), kl__shape_str(y, s2));
    out[0] = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = a->in[0]->desc.shape};
    return KL_OK;
}

static kl_status max_bwd_emit(kl__emit *e, const kl__apply *a)
{
    kl__fold f;
    kl__defs d = {0};
    kl__fold_of(a->in[0]->desc.shape, kl__reduce_mask_of(a), &f);
    kl__defs_real(&d, a);
    kl__launch l = kl__launch_of("reduce.cl", "reduce_max_bwd_ref", &d);
    for (int i = 0; i < 3; i++)
        kl__launch_arg(&l, kl__arg_in(a, i));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_fold(&l, &f);
    kl__launch_1d(&l, e, (size_t)f.n_keep);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

/* ---- tables ---------------------------------------------------------------------------------- */
static const kl__attr broadcast_attrs[] = {
    {"shape", KL__ATTR_SHAPE, offsetof(kl__broadcast, shape), 0, NULL, 0, "target shape"},
    {"axes", KL__ATTR_SHAPE, offsetof(kl__broadcast, axes), 0, NULL, 0,
     "axes of the target that the input lacks"},
    {"mean", KL__ATTR_BOOL, offsetof(kl__broadcast, mean), 0, NULL, 0,
     "divide by the number of copies"},
    {"name", KL__ATTR_NAME, offsetof(kl__broadcast, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
static const kl__variant broadcast_variants[] = {
    {.name = "solo", .fits = solo_fits, .emit = broadcast_solo_emit},
    {.name = "ref", .emit = broadcast_ref_emit},
    {.name = NULL},
};
const kl__op kl__op_broadcast_to = {
    .name = "broadcast_to",
    .doc = "x copied along axes up to a shape; the gradient of a sum or mean",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__broadcast),
    .attrs = broadcast_attrs,
    .infer = broadcast_infer,
    .grad = broadcast_grad,
    .variants = broadcast_variants,
};

static const kl__attr max_bwd_attrs[] = {
    {"axes", KL__ATTR_SHAPE, offsetof(kl_reduce_opts, axes), 0, NULL, 0,
     "axes that were reduced; none: all"},
    {"keep_dims", KL__ATTR_BOOL, offsetof(kl_reduce_opts, keep_dims), 0, NULL, 0,
     "reduced axes were kept as 1"},
    {"name", KL__ATTR_NAME, offsetof(kl_reduce_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
static const kl__variant max_bwd_variants[] = {
    {.name = "ref", .emit = max_bwd_emit},
    {.name = NULL},
};
const kl__op kl__op_reduce_max_bwd = {
    .name = "reduce_max_bwd",
    .doc = "x, y, dy -> dx: dy at the first maximum of x, else 0",
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl_reduce_opts),
    .attrs = max_bwd_attrs,
    .infer = max_bwd_infer,
    .variants = max_bwd_variants,
};
