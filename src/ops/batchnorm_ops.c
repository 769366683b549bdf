/* Batch normalisation as kernels see it: bn_stats, bn_apply (batch statistics), bn_infer (given
 * ones), bn_bwd. */
#include "ops/batchnorm.h"

#include "ops/norm_common.h"

enum {
    CHUNK = 1024 /* floats summed at once, of L1 */,
    SPAN = 8192 /* floats per work-item of an application */
};

static const kl__attr bn_attrs[] = {
    {"eps", KL__ATTR_FLOAT, offsetof(kl__bn, eps), 0, NULL, 0, "added to the variance"},
    {"scale", KL__ATTR_BOOL, offsetof(kl__bn, scale), 0, NULL, 0, "with weight"},
    {"shift", KL__ATTR_BOOL, offsetof(kl__bn, shift), 0, NULL, 0, "with bias"},
    {"biased", KL__ATTR_BOOL, offsetof(kl__bn, biased), 0, NULL, 0, "kept variance divides by n"},
    {"frozen", KL__ATTR_BOOL, offsetof(kl__bn, frozen), 0, NULL, 0, "statistics were given"},
    KL__ATTR_END,
};

kl_status kl__bn_check(const kl__apply *a, int first, int n_in)
{
    const kl__desc *x = &a->in[0]->desc;
    char s[96], t[96];
    if (!kl__real_dtype(x->dtype) || x->shape.n_dims < 2 || x->shape.dim[1] < 1)
        return kl__fail(KL_E_SHAPE, "%s \"%s\": input %s %s; f32 [N,C,...] is expected",
                        a->op->name, a->name, kl_dtype_name(x->dtype), kl__shape_str(x->shape, s));
    if (a->n_in != n_in)
        return kl__fail(KL_E_ARG, "%s \"%s\": %d inputs; %d are expected", a->op->name, a->name,
                        a->n_in, n_in);
    for (int i = first; i < n_in; i++) {
        const kl__desc *p = &a->in[i]->desc;
        if (p->dtype != x->dtype || p->shape.n_dims != 1 || p->shape.dim[0] != x->shape.dim[1])
            return kl__fail(KL_E_SHAPE, "%s \"%s\": %s %s %s does not fit input %s", a->op->name,
                            a->name, a->in[i]->name, kl_dtype_name(p->dtype),
                            kl__shape_str(p->shape, s), kl__shape_str(x->shape, t));
    }
    return KL_OK;
}

static kl__desc per_channel(const kl__desc *x)
{
    return (kl__desc){.dtype = x->dtype, .shape = {1, {x->shape.dim[1]}}};
}

typedef struct dims {
    int64_t n, c, hw;
    int chunk; /* rows of hw */
    int span;
} dims;

static dims dims_of(const kl__apply *a)
{
    const kl__around r = kl__around_axis(a->in[0]->desc.shape, 1);
    dims d = {.n = r.outer, .c = r.k, .hw = r.inner};
    const int64_t row = d.hw == 1 ? d.c : d.hw;
    d.chunk = (int)(d.hw == 1 ? 64 : row >= CHUNK ? 1 : CHUNK / (row ? row : 1));
    d.span = (int)(row >= SPAN ? 1 : SPAN / (row ? row : 1));
    return d;
}

/** SOLO kernels: vectors along channels for [N,C], else along HW; span 0: the items go over
 * channels only. */
static kl_status emit_solo(kl__emit *e, const kl__apply *a, kl__launch *l, const dims *d,
                           bool spans)
{
    const size_t n =
        d->hw == 1 ? kl__ceil_div((size_t)d->c, (size_t)e->caps->vector) : (size_t)d->c;
    kl__launch_solo(l, 2, n, spans ? kl__ceil_div((size_t)d->n, (size_t)d->span) : 1, 1);
    return kl__emit_launch(e, a, l);
}

static void arg_sizes(kl__launch *l, const dims *d, bool cols)
{
    kl__launch_arg(l, kl__arg_i32(d->n));
    kl__launch_arg(l, kl__arg_i32(d->c));
    if (!cols)
        kl__launch_arg(l, kl__arg_i32(d->hw));
}

/* ---- statistics
 * ------------------------------------------------------------------------------------- */
static kl_status stats_infer(const kl__apply *a, kl__desc *out)
{
    kl_status st = kl__bn_check(a, 1, 1);
    out[0] = out[1] = out[2] = per_channel(&a->in[0]->desc);
    return st;
}

static kl_status stats_emit(kl__emit *e, const kl__apply *a, bool solo)
{
    const kl__bn *k = a->attrs;
    const dims d = dims_of(a);
    const bool cols = d.hw == 1;
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    size_t group = 0;
    if (solo)
        kl__def_int(&defs, "VN", e->caps->vector);
    else
        group = kl__tree_group(e, &defs);
    kl__launch l = kl__launch_of(solo ? "batchnorm_solo.cl" : "batchnorm.cl",
                                 !solo  ? "bn_stats_ref"
                                 : cols ? "bn_stats_cols"
                                        : "bn_stats_rows",
                                 &defs);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    for (int i = 0; i < 3; i++)
        kl__launch_arg(&l, kl__arg_out(a, i));
    arg_sizes(&l, &d, solo && cols);
    if (solo)
        kl__launch_arg(&l, kl__arg_i32(d.chunk));
    kl__launch_arg(&l, kl__arg_i32(k->biased));
    kl_status st;
    if (solo) {
        st = emit_solo(e, a, &l, &d, false);
    } else {
        kl__launch_groups(&l, (size_t)d.c, group);
        st = kl__emit_launch(e, a, &l);
    }
    kl__defs_free(&defs);
    return st;
}

static kl_status stats_solo(kl__emit *e, const kl__apply *a)
{
    return stats_emit(e, a, true);
}
static kl_status stats_ref(kl__emit *e, const kl__apply *a)
{
    return stats_emit(e, a, false);
}
static const kl__variant stats_variants[] = {
    {.name = "solo", .fits = kl__solo_f32, .emit = stats_solo},
    {.name = "ref", .emit = stats_ref},
    {.name = NULL}};

/* ---- application: in x, mean, var, weight?, bias?
 * ---------------------------------------------------------- */
static kl_status apply_infer(const kl__apply *a, kl__desc *out)
{
    const kl__bn *k = a->attrs;
    kl_status st = kl__bn_check(a, 1, 3 + k->scale + k->shift);
    out[0] = a->in[0]->desc;
    return st;
}

static int first_input(const kl__apply *a, int out)
{
    (void)a;
    return out == 0 ? 0 : -1;
}

static kl_status apply_emit(kl__emit *e, const kl__apply *a, bool solo)
{
    const kl__bn *k = a->attrs;
    const dims d = dims_of(a);
    const bool cols = solo && d.hw == 1;
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    if (solo)
        kl__def_int(&defs, "VN", e->caps->vector);
    kl__launch l = kl__launch_of(solo ? "batchnorm_solo.cl" : "batchnorm.cl",
                                 !solo  ? "bn_apply_ref"
                                 : cols ? "bn_apply_cols"
                                        : "bn_apply_rows",
                                 &defs);
    for (int i = 0; i < 3; i++)
        kl__launch_arg(&l, kl__arg_in(a, i));
    kl__launch_arg(&l, kl__arg_in(a, k->scale ? 3 : 1)); /* not read where there is none */
    kl__launch_arg(&l, kl__arg_in(a, k->shift ? 3 + k->scale : 1));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    if (solo) {
        arg_sizes(&l, &d, cols);
        kl__launch_arg(&l, kl__arg_i32(d.span));
    } else {
        kl__launch_arg(&l, kl__arg_i32(d.n * d.c * d.hw));
        kl__launch_arg(&l, kl__arg_i32(d.c));
        kl__launch_arg(&l, kl__arg_i32(d.hw));
    }
    kl__launch_arg(&l, kl__arg_f32((double)k->eps));
    kl__launch_arg(&l, kl__arg_i32(k->scale | k->shift << 1));
    kl_status st;
    if (solo) {
        st = emit_solo(e, a, &l, &d, true);
    } else {
        kl__launch_1d(&l, e, (size_t)(d.n * d.c * d.hw));
        st = kl__emit_launch(e, a, &l);
    }
    kl__defs_free(&defs);
    return st;
}

static kl_status apply_solo(kl__emit *e, const kl__apply *a)
{
    return apply_emit(e, a, true);
}
static kl_status apply_ref(kl__emit *e, const kl__apply *a)
{
    return apply_emit(e, a, false);
}
static const kl__variant apply_variants[] = {
    {.name = "solo", .fits = kl__solo_f32, .emit = apply_solo},
    {.name = "ref", .emit = apply_ref},
    {.name = NULL}};

/** bn_bwd goes through the statistics itself (dx is that of the whole layer), so mean and var,
 * inputs 1 and 2, get no gradient of their own: bn_stats needs none. Given statistics (bn_infer)
 * are not trained. */
static kl_status grad_of(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                         kl_node **dx, bool frozen)
{
    kl__bn k = *(const kl__bn *)a->attrs;
    k.frozen = frozen;
    kl_node *in[5] = {a->in[0], dy[0], a->in[1], a->in[2], k.scale ? a->in[3] : NULL};
    kl_node *d = kl__apply_new(g, &kl__op_bn_bwd, NULL, in, 4 + k.scale, &k);
    if (!d)
        return kl__last_status();
    dx[0] = need[0] ? d : NULL;
    if (k.scale)
        dx[3] = kl__out(d, 1);
    if (k.shift)
        dx[3 + k.scale] = kl__out(d, 2);
    return KL_OK;
}

static kl_status apply_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                            kl_node **dx)
{
    return grad_of(g, a, dy, need, dx, false);
}
static kl_status infer_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                            kl_node **dx)
{
    return grad_of(g, a, dy, need, dx, true);
}

/* ---- backward: in x, dy, mean, var, weight?; out dx, dweight, dbias
 * -------------------------------------------- */
static kl_status bwd_infer(const kl__apply *a, kl__desc *out)
{
    const kl__bn *k = a->attrs;
    kl_status st = kl__bn_check(a, 2, 4 + k->scale);
    char s[96], t[96];
    if (st == KL_OK && (!kl_shape_equal(a->in[0]->desc.shape, a->in[1]->desc.shape) ||
                        a->in[0]->desc.dtype != a->in[1]->desc.dtype))
        st = kl__fail(KL_E_SHAPE, "bn_bwd \"%s\": gradient %s does not fit input %s", a->name,
                      kl__shape_str(a->in[1]->desc.shape, s),
                      kl__shape_str(a->in[0]->desc.shape, t));
    out[0] = a->in[0]->desc;
    out[1] = out[2] = per_channel(&a->in[0]->desc);
    return st;
}

/** dx may overwrite dy: the sums are done before the first element of dx is written. */
static int bwd_aliases(const kl__apply *a, int out)
{
    (void)a;
    return out == 0 ? 1 : -1;
}

static kl_status bwd_sums(kl__emit *e, const kl__apply *a, const dims *d, bool solo)
{
    const kl__bn *k = a->attrs;
    const bool cols = solo && d->hw == 1;
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    size_t group = 0;
    if (solo)
        kl__def_int(&defs, "VN", e->caps->vector);
    else
        group = kl__tree_group(e, &defs);
    kl__launch l = kl__launch_of(solo ? "batchnorm_bwd_solo.cl" : "batchnorm.cl",
                                 !solo  ? "bn_bwd_sums_ref"
                                 : cols ? "bn_bwd_sums_cols"
                                        : "bn_bwd_sums_rows",
                                 &defs);
    for (int i = 0; i < 4; i++)
        kl__launch_arg(&l, kl__arg_in(a, i));
    kl__launch_arg(&l, kl__arg_out(a, 1));
    kl__launch_arg(&l, kl__arg_out(a, 2));
    arg_sizes(&l, d, cols);
    if (solo)
        kl__launch_arg(&l, kl__arg_i32(d->chunk));
    kl__launch_arg(&l, kl__arg_f32((double)k->eps));
    kl_status st;
    if (solo) {
        st = emit_solo(e, a, &l, d, false);
    } else {
        kl__launch_groups(&l, (size_t)d->c, group);
        st = kl__emit_launch(e, a, &l);
    }
    kl__defs_free(&defs);
    return st;
}

static kl_status bwd_emit(kl__emit *e, const kl__apply *a, bool solo)
{
    const kl__bn *k = a->attrs;
    const dims d = dims_of(a);
    const bool cols = solo && d.hw == 1;
    const int64_t count = d.n * d.c * d.hw;
    kl_status st = bwd_sums(e, a, &d, solo);
    if (st != KL_OK || count == 0)
        return st;
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    if (solo)
        kl__def_int(&defs, "VN", e->caps->vector);
    else
        kl__tree_group(e, &defs); /* the same program as the sums */
    kl__launch l = kl__launch_of(solo ? "batchnorm_bwd_solo.cl" : "batchnorm.cl",
                                 !solo  ? "bn_bwd_ref"
                                 : cols ? "bn_bwd_cols"
                                        : "bn_bwd_rows",
                                 &defs);
    for (int i = 0; i < 4; i++)
        kl__launch_arg(&l, kl__arg_in(a, i));
    kl__launch_arg(&l, kl__arg_in(a, k->scale ? 4 : 2));
    kl__launch_arg(&l, kl__arg_out(a, 1));
    kl__launch_arg(&l, kl__arg_out(a, 2));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    if (solo) {
        arg_sizes(&l, &d, cols);
        kl__launch_arg(&l, kl__arg_i32(d.span));
    } else {
        kl__launch_arg(&l, kl__arg_i32(count));
        kl__launch_arg(&l, kl__arg_i32(d.c));
        kl__launch_arg(&l, kl__arg_i32(d.hw));
        kl__launch_arg(&l, kl__arg_i32(d.n * d.hw));
    }
    kl__launch_arg(&l, kl__arg_f32((double)k->eps));
    kl__launch_arg(&l, kl__arg_i32(k->scale));
    kl__launch_arg(&l, kl__arg_i32(k->frozen));
    if (solo) {
        st = emit_solo(e, a, &l, &d, true);
    } else {
        kl__launch_1d(&l, e, (size_t)count);
        st = kl__emit_launch(e, a, &l);
    }
    kl__defs_free(&defs);
    return st;
}

static kl_status bwd_solo(kl__emit *e, const kl__apply *a)
{
    return bwd_emit(e, a, true);
}
static kl_status bwd_ref(kl__emit *e, const kl__apply *a)
{
    return bwd_emit(e, a, false);
}
static const kl__variant bwd_variants[] = {{.name = "solo", .fits = kl__solo_f32, .emit = bwd_solo},
                                           {.name = "ref", .emit = bwd_ref},
                                           {.name = NULL}};

const kl__op kl__op_bn_stats = {
    .name = "bn_stats",
    .doc = "mean and variance per channel: x [N,C,...] -> mean, biased var, var to keep [C]",
    .min_in = 1,
    .max_in = 1,
    .n_out = 3,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__bn),
    .attrs = bn_attrs,
    .infer = stats_infer,
    .variants = stats_variants,
};
const kl__op kl__op_bn_apply = {
    .name = "bn_apply",
    .doc = "(x - mean) / sqrt(var + eps) w + b with the batch's statistics",
    .min_in = 3,
    .max_in = 5,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__bn),
    .attrs = bn_attrs,
    .infer = apply_infer,
    .grad = apply_grad,
    .aliases = first_input,
    .variants = apply_variants,
};
const kl__op kl__op_bn_infer = {
    .name = "bn_infer",
    .doc = "(x - mean) / sqrt(var + eps) w + b with given statistics",
    .min_in = 3,
    .max_in = 5,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__bn),
    .attrs = bn_attrs,
    .infer = apply_infer,
    .grad = infer_grad,
    .aliases = first_input,
    .variants = apply_variants,
};
const kl__op kl__op_bn_bwd = {
    .name = "bn_bwd",
    .doc = "gradient of bn_stats and bn_apply (frozen: of bn_infer): x, dy -> dx, dw, db",
    .min_in = 4,
    .max_in = 5,
    .n_out = 3,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__bn),
    .attrs = bn_attrs,
    .infer = bwd_infer,
    .aliases = bwd_aliases,
    .variants = bwd_variants,
};
