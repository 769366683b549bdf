/* Batch normalisation as kernels see it: bn_stats and bn_bwd_stats, the sums over a channel, and
 * the element-wise bn_apply and bn_bwd_x, which use them. */
#include "ops/batchnorm.h"

#include "ops/eltwise.h"
#include "ops/group_coop.h"

enum {
    CHUNK = 1024, /* floats summed at once, of L1; plain storage */
    PIECE = 256,  /* the same in vectors, blocked storage */
    WORTH = 2048, /* vectors of a part, not fewer: less is sooner added than launched */
    MOST = 32     /* items, parts of all blocks */
};

static const kl__attr stats_attrs[] = {
    {"eps", KL__ATTR_FLOAT, offsetof(kl__bn, eps), 0, NULL, 0, "added to the variance"},
    {"scale", KL__ATTR_BOOL, offsetof(kl__bn, scale), 0, NULL, 0, "with weight"},
    {"biased", KL__ATTR_BOOL, offsetof(kl__bn, biased), 0, NULL, 0, "kept variance divides by n"},
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

kl_node *kl__bn_channels(kl_graph *g, kl_node *v, const kl_node *x)
{
    kl_reshape_opts o = {.shape = {x->desc.shape.n_dims - 1, {x->desc.shape.dim[1]}}};
    for (int i = 1; i < o.shape.n_dims; i++)
        o.shape.dim[i] = 1;
    return !v || o.shape.n_dims == 1 ? v : kl_reshape(g, v, &o);
}

static kl__desc per_channel(const kl__desc *x)
{
    return (kl__desc){.dtype = x->dtype, .shape = {1, {x->shape.dim[1]}}};
}

static bool is_blocked(const kl_node *x)
{
    return x->desc.layout.kind == KL__NCHWC;
}

/* ---- plain storage --------------------------------------------------------------------------- */
typedef struct dims {
    int64_t n, c, hw;
    int chunk; /* rows of hw */
} dims;

static dims dims_of(const kl__apply *a)
{
    const kl__around r = kl__around_axis(a->in[0]->desc.shape, 1);
    dims d = {.n = r.outer, .c = r.k, .hw = r.inner};
    d.chunk = (int)(d.hw == 1 ? 64 : d.hw >= CHUNK ? 1 : CHUNK / (d.hw ? d.hw : 1));
    return d;
}

/** Sizes after the pointers. Vectors of SOLO kernels go along channels for [N,C], else along HW. */
static void put_sizes(kl__launch *l, const dims *d, bool solo)
{
    kl__launch_arg(l, kl__arg_i32(d->n));
    kl__launch_arg(l, kl__arg_i32(d->c));
    if (!solo || d->hw != 1)
        kl__launch_arg(l, kl__arg_i32(d->hw));
    if (solo)
        kl__launch_arg(l, kl__arg_i32(d->chunk));
}

/** Inputs in[0..n_in-1] and all outputs. */
static void put_pointers(kl__launch *l, const kl__apply *a, const int *in, int n_in)
{
    for (int i = 0; i < n_in; i++)
        kl__launch_arg(l, kl__arg_in(a, in[i]));
    for (int i = 0; i < a->n_out; i++)
        kl__launch_arg(l, kl__arg_out(a, i));
}

static void put_options(kl__launch *l, const kl__apply *a)
{
    const kl__bn *k = a->attrs;
    if (a->op != &kl__op_bn_stats)
        return;
    kl__launch_arg(l, kl__arg_f32((double)k->eps));
    kl__launch_arg(l, kl__arg_i32(k->biased));
    kl__launch_arg(l, kl__arg_i32(k->scale));
}

static kl_status emit_plain(kl__emit *e, const kl__apply *a, bool solo)
{
    static const char *const names[2][3] = {
        {"bn_stats_rows", "bn_stats_cols", "bn_stats_ref"},
        {"bn_bwd_stats_rows", "bn_bwd_stats_cols", "bn_bwd_stats_ref"}};
    static const char *const files[2] = {"batchnorm_solo.cl", "batchnorm_bwd_solo.cl"};
    const int bwd = a->op == &kl__op_bn_bwd_stats, in[5] = {0, bwd || a->n_in > 1, 2, 3, 4};
    const dims d = dims_of(a);
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    size_t group = 0;
    if (solo)
        kl__def_int(&defs, "VN", e->caps->vector);
    else
        group = kl__tree_group(e, &defs);
    kl__launch l =
        kl__launch_of(solo ? files[bwd] : "batchnorm.cl", names[bwd][solo ? d.hw == 1 : 2], &defs);
    put_pointers(&l, a, in, bwd ? 5 : 2);
    put_sizes(&l, &d, solo);
    put_options(&l, a);
    if (!solo)
        kl__launch_groups(&l, (size_t)d.c, group);
    else
        kl__launch_solo(
            &l, 1, d.hw == 1 ? kl__ceil_div((size_t)d.c, (size_t)e->caps->vector) : (size_t)d.c, 1,
            1);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}

/* ---- blocked storage ------------------------------------------------------------------------- */
typedef struct walk {
    int64_t n, c, blocks, h, w; /* h rows of w vectors */
    int64_t span, parts;        /* samples per item, items along the samples */
    int64_t across, down;       /* samples, or rows of one sample, summed at once */
} walk;

static int halo_sum(const kl__layout *l)
{
    return l->halo[0] + l->halo[1] + l->halo[2] + l->halo[3];
}

static walk walk_of(const kl__apply *a, const kl__caps *caps)
{
    const kl_shape *s = &a->in[0]->desc.shape;
    walk k = {.n = s->dim[0], .c = s->dim[1], .h = s->dim[2], .w = s->dim[3]};
    bool haloed = false;
    k.blocks = (k.c + caps->vector - 1) / caps->vector;
    for (int i = 0; i < a->n_in; i++)
        haloed = haloed || halo_sum(&a->in[i]->desc.layout) > 0;
    if (!haloed && k.h * k.w <= PIECE) { /* a plane is one row */
        k.w *= k.h;
        k.h = 1;
    }
    const int64_t plane = k.h * k.w > 0 ? k.h * k.w : 1;
    k.across = plane >= PIECE ? 1 : PIECE / plane;
    k.down = k.w >= PIECE ? 1 : PIECE / (k.w > 0 ? k.w : 1);
    k.parts = k.n * plane / WORTH < MOST / k.blocks ? k.n * plane / WORTH : MOST / k.blocks;
    k.parts = k.parts > 1 ? k.parts : 1; /* by shape alone: the same sums on any number of cores */
    k.span = k.n > k.parts ? (k.n + k.parts - 1) / k.parts : 1;
    k.span = k.parts == 1 && k.n > 0 ? k.n : k.span;
    k.parts = k.n > 0 ? (k.n + k.span - 1) / k.span : 1;
    return k;
}

static size_t scratch_solo(const kl__apply *a, const kl__caps *caps)
{
    if (!is_blocked(a->in[0]))
        return 0;
    const walk k = walk_of(a, caps);
    return k.parts > 1 ? (size_t)(k.parts * k.blocks) * 2 * (size_t)caps->vector * sizeof(float)
                       : 0;
}

static kl__arg part_of(const kl__apply *a, const walk *k)
{
    return k->parts > 1 ? kl__arg_scratch(a, 0, 4) : kl__arg_out(a, 0); /* not touched */
}

/** Pointer, and how rows and planes of its storage follow each other, in vectors. */
static void put_blocked(kl__launch *l, const kl__apply *a, int i, const walk *k)
{
    const int *h = a->in[i]->desc.layout.halo;
    const int64_t row = k->w + h[1] + h[3];
    kl__launch_arg(l, kl__arg_in(a, i));
    kl__launch_arg(l, kl__arg_i32(row));
    kl__launch_arg(l, kl__arg_i32((k->h + h[0] + h[2]) * row));
    kl__launch_arg(l, kl__arg_i32(h[0] * row + h[1]));
}

static kl_status emit_join(kl__emit *e, const kl__apply *a, const kl__defs *defs, const walk *k)
{
    const bool bwd = a->op == &kl__op_bn_bwd_stats;
    const int in[2] = {bwd ? 3 : a->n_in > 1, 4};
    kl__launch l =
        kl__launch_of("batchnorm_blocked.cl", bwd ? "bn_bwd_stats_join" : "bn_stats_join", defs);
    kl__launch_arg(&l, part_of(a, k));
    put_pointers(&l, a, in, bwd ? 2 : 1);
    const int64_t sizes[5] = {k->n, k->c, k->blocks, k->h * k->w, k->span};
    for (int i = 0; i < 5; i++)
        kl__launch_arg(&l, kl__arg_i32(sizes[i]));
    put_options(&l, a);
    kl__launch_solo(&l, 1, (size_t)k->blocks, 1, 1);
    return kl__emit_launch(e, a, &l);
}

static kl_status emit_blocked(kl__emit *e, const kl__apply *a)
{
    const bool bwd = a->op == &kl__op_bn_bwd_stats;
    const int in[2] = {bwd ? 3 : a->n_in > 1, 4};
    const walk k = walk_of(a, e->caps);
    kl__defs defs = {0};
    kl__def_int(&defs, "VN", e->caps->vector);
    kl__launch l = kl__launch_of("batchnorm_blocked.cl",
                                 bwd ? "bn_bwd_stats_blocked" : "bn_stats_blocked", &defs);
    put_blocked(&l, a, 0, &k);
    if (bwd) {
        put_blocked(&l, a, 1, &k);
        kl__launch_arg(&l, kl__arg_in(a, 2));
    }
    kl__launch_arg(&l, part_of(a, &k));
    put_pointers(&l, a, in, bwd ? 2 : 1);
    const int64_t sizes[8] = {k.n, k.c, k.blocks, k.h, k.w, k.span, k.across, k.down};
    for (int i = 0; i < 8; i++)
        kl__launch_arg(&l, kl__arg_i32(sizes[i]));
    put_options(&l, a);
    kl__launch_solo(&l, 2, (size_t)k.blocks, (size_t)k.parts, 1);
    kl_status st = kl__emit_launch(e, a, &l);
    if (st == KL_OK && k.parts > 1)
        st = emit_join(e, a, &defs, &k);
    kl__defs_free(&defs);
    return st;
}

/** Blocked where x or dy comes so, whatever its halo. */
static void layouts_solo(const kl__apply *a, const kl__caps *caps, kl__layout *in, kl__layout *out)
{
    const int whole = a->op == &kl__op_bn_bwd_stats ? 2 : 1;
    bool any = false;
    (void)out;
    for (int i = 0; i < whole; i++)
        any = any || (is_blocked(a->in[i]) && a->in[i]->desc.layout.block == caps->vector);
    for (int i = 0; any && i < whole; i++)
        in[i] = (kl__layout){.kind = KL__NCHWC, .block = caps->vector};
}

static kl_status emit_solo(kl__emit *e, const kl__apply *a)
{
    return is_blocked(a->in[0]) ? emit_blocked(e, a) : emit_plain(e, a, true);
}
static kl_status emit_ref(kl__emit *e, const kl__apply *a)
{
    return emit_plain(e, a, false);
}
static const kl__variant variants[] = {{.name = "solo",
                                        .fits = kl__solo_f32,
                                        .layouts = layouts_solo,
                                        .wide_halo = true,
                                        .scratch_bytes = scratch_solo,
                                        .emit = emit_solo},
                                       {.name = "coop",
                                        .fits = kl__bn_coop_fits,
                                        .scratch_bytes = kl__bn_coop_scratch,
                                        .emit = kl__bn_coop_emit},
                                       {.name = "ref", .emit = emit_ref},
                                       {.name = NULL}};

/* ---- statistics ------------------------------------------------------------------------------ */
static kl_status stats_infer(const kl__apply *a, kl__desc *out)
{
    const kl__bn *k = a->attrs;
    kl_status st = kl__bn_check(a, 1, 1 + k->scale);
    for (int i = 0; i < KL__BN_STATS; i++)
        out[i] = per_channel(&a->in[0]->desc);
    return st;
}

/** x's gradient is bn_apply's, for the whole layer; what arrives at SCALE is the weight's already.
 */
static kl_status stats_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                            kl_node **dx)
{
    (void)g;
    if (a->n_in > 1 && need[1])
        dx[1] = dy[KL__BN_SCALE];
    return KL_OK;
}

const kl__op kl__op_bn_stats = {
    .name = "bn_stats",
    .doc = "x [N,C,...], weight? -> mean, 1 / sqrt(var + eps), var to keep, weight times the second"
           " [C]",
    .min_in = 1,
    .max_in = 2,
    .n_out = KL__BN_STATS,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__bn),
    .attrs = stats_attrs,
    .infer = stats_infer,
    .grad = stats_grad,
    .variants = variants,
    .meet = kl__bn_stats_meet,
    .row = {KL__BN_MEAN, KL__BN_KEPT},
};

/* ---- the sums of the gradient: x, dy, mean, inv, scale --------------------------------------- */
static kl_status bwd_infer(const kl__apply *a, kl__desc *out)
{
    kl_status st = kl__bn_check(a, 2, 5);
    char s[96], t[96];
    if (st == KL_OK && (!kl_shape_equal(a->in[0]->desc.shape, a->in[1]->desc.shape) ||
                        a->in[0]->desc.dtype != a->in[1]->desc.dtype))
        st = kl__fail(KL_E_SHAPE, "bn_bwd_stats \"%s\": gradient %s does not fit input %s", a->name,
                      kl__shape_str(a->in[1]->desc.shape, s),
                      kl__shape_str(a->in[0]->desc.shape, t));
    for (int i = 0; i < KL__BN_BWD_STATS; i++)
        out[i] = per_channel(&a->in[0]->desc);
    return st;
}

const kl__op kl__op_bn_bwd_stats = {
    .name = "bn_bwd_stats",
    .doc = "x, dy, mean, 1 / sqrt(var + eps), scale -> dw, db, slope, offset [C]",
    .min_in = 5,
    .max_in = 5,
    .n_out = KL__BN_BWD_STATS,
    .flags = KL__OP_HIDDEN,
    .infer = bwd_infer,
    .variants = variants,
    .meet = kl__bn_bwd_stats_meet,
    .row = {KL__BN_DW, KL__BN_DB},
};

/* ---- element-wise ---------------------------------------------------------------------------- */
/** The apply of bn_stats that made the mean. */
static const kl__apply *stats_of(const kl__apply *a)
{
    const kl__apply *s = a->in[1]->by;
    return s->op->flags & KL__OP_VIEW ? s->in[0]->by : s;
}

/** Through the statistics as well: dx is that of the whole layer, so the mean gets no gradient of
 * its own. */
static kl_status apply_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                            kl_node **dx)
{
    const kl__apply *s = stats_of(a);
    kl_node *x = a->in[0];
    if (s->op != &kl__op_bn_stats)
        return kl__fail(KL_E_UNSUPPORTED, "bn_apply \"%s\": its mean is not bn_stats's", a->name);
    kl_node *in[5] = {x, dy[0], s->out[KL__BN_MEAN], s->out[KL__BN_INV], s->out[KL__BN_SCALE]};
    kl_node *d = kl__apply_new(g, &kl__op_bn_bwd_stats, NULL, in, 5, NULL);
    if (!d)
        return kl__last_status();
    if (need[0]) {
        kl_node *all[6] = {dy[0],
                           x,
                           a->in[1],
                           a->in[2],
                           kl__bn_channels(g, kl__out(d, KL__BN_SLOPE), x),
                           kl__bn_channels(g, kl__out(d, KL__BN_OFFSET), x)};
        dx[0] = kl__apply_new(g, &kl__op_bn_bwd_x, NULL, all, 6, NULL);
    }
    if (need[2] && s->n_in > 1)
        dx[2] = kl__bn_channels(g, kl__out(d, KL__BN_DW), x);
    if (need[3])
        dx[3] = kl__bn_channels(g, kl__out(d, KL__BN_DB), x);
    return kl_graph_check(g);
}

const kl__op kl__op_bn_apply = {KL__ELT(bn_apply, 4,
                                        "(x, mean, scale, shift) -> (x - mean) scale + shift",
                                        "fma(x0 - x1, x2, x3)"),
                                .flags = KL__OP_ELEMENTWISE | KL__OP_HIDDEN, .grad = apply_grad};
KL__ELT_BWD(bn_bwd_x, 6,
            "(dy, x, mean, scale, slope, offset) -> scale dy + slope (x - mean) + offset",
            "fma(x1 - x2, x4, fma(x0, x3, x5))");
