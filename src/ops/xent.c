/* Softmax cross-entropy as kernels see it: sums of losses and of weights, hits, and the gradient by
 * the logits, all in one pass over them. */
#include "ops/xent.h"

#include "ops/norm_common.h"

/* Bits of cl/xent_mode.cl. */
enum { MODE_KERAS = 1, MODE_WEIGHTS = 2, MODE_COUNT = 4, MODE_HITS = 8, MODE_GRAD = 16 };
enum { SPAN = 8192 /* logits per SOLO work-item */ };

static const kl__attr xent_attrs[] = {
    {"smoothing", KL__ATTR_FLOAT, offsetof(kl__xent, smoothing), 0, NULL, 0, "label smoothing"},
    {"ignore_index", KL__ATTR_INT, offsetof(kl__xent, ignore_index), 0, NULL, 0,
     "label that counts nothing"},
    {"compat", KL__ATTR_ENUM, offsetof(kl__xent, compat), 0, kl__compat_words, 0,
     "what the weights multiply"},
    {"weights", KL__ATTR_BOOL, offsetof(kl__xent, weights), 0, NULL, 0, "there are class weights"},
    {"hits", KL__ATTR_BOOL, offsetof(kl__xent, hits), 0, NULL, 0, "count hits"},
    {"grad", KL__ATTR_BOOL, offsetof(kl__xent, grad), 0, NULL, 0, "make the gradient"},
    KL__ATTR_END,
};

static kl_shape labels_shape(kl_shape s)
{
    kl_shape r = {s.n_dims - 1, {s.dim[0]}};
    for (int i = 2; i < s.n_dims; i++)
        r.dim[i - 1] = s.dim[i];
    return r;
}

kl_status kl__xent_check(const kl__apply *a, float smoothing)
{
    const kl__desc *x = &a->in[0]->desc, *t = &a->in[1]->desc;
    char s[96], u[96];
    if (!kl__real_dtype(x->dtype) || x->shape.n_dims < 2 || x->shape.dim[1] < 1)
        return kl__fail(KL_E_SHAPE, "%s \"%s\": logits %s %s; f32 [N,K,...] is expected",
                        a->op->name, a->name, kl_dtype_name(x->dtype), kl__shape_str(x->shape, s));
    const kl_shape want = t->dtype == KL_I32 ? labels_shape(x->shape) : x->shape;
    if ((t->dtype != KL_I32 && t->dtype != x->dtype) || !kl_shape_equal(t->shape, want))
        return kl__fail(
            KL_E_SHAPE,
            "%s \"%s\": labels %s %s do not fit logits %s: i32 without the class axis, or %s of "
            "the same shape",
            a->op->name, a->name, kl_dtype_name(t->dtype), kl__shape_str(t->shape, s),
            kl__shape_str(x->shape, u), kl_dtype_name(x->dtype));
    if (!(smoothing >= 0 && smoothing <= 1))
        return kl__fail(KL_E_ARG, "%s \"%s\": smoothing %g is not in 0..1", a->op->name, a->name,
                        (double)smoothing);
    return KL_OK;
}

static kl_status xent_infer(const kl__apply *a, kl__desc *out)
{
    const kl__xent *k = a->attrs;
    const int n_in = 2 + k->weights, n_out = kl__xent_outputs(k);
    kl_status st = kl__xent_check(a, k->smoothing);
    if (st != KL_OK)
        return st;
    if (a->n_in != n_in || a->n_out != n_out)
        return kl__fail(KL_E_ARG, "%s \"%s\": %d inputs, %d outputs; %d and %d are expected",
                        a->op->name, a->name, a->n_in, a->n_out, n_in, n_out);
    const kl__desc *x = &a->in[0]->desc, *w = k->weights ? &a->in[2]->desc : NULL;
    if (w && (w->dtype != x->dtype || w->shape.n_dims != 1 || w->shape.dim[0] != x->shape.dim[1]))
        return kl__fail(KL_E_SHAPE, "%s \"%s\": class weights do not fit the logits", a->op->name,
                        a->name);
    if (k->hits && (x->shape.n_dims != 2 || kl__xent_soft(a)))
        return kl__fail(KL_E_SHAPE, "%s \"%s\": hits are counted of logits [N,K] and i32 labels",
                        a->op->name, a->name);
    out[0] = out[1] = (kl__desc){.dtype = x->dtype};
    if (k->hits)
        out[2] = (kl__desc){.dtype = x->dtype, .shape = {1, {2}}};
    if (k->grad)
        out[n_out - 1] = (kl__desc){.dtype = x->dtype, .shape = x->shape};
    return KL_OK;
}

static bool is_one(const kl_node *x)
{
    double v = 0;
    if (kl__is_constant(x) && kl_shape_count(x->desc.shape) == 1)
        kl__convert(&v, KL_F64, kl__leaf_of(x)->data, x->desc.dtype, 1);
    return v == 1;
}

/** Weights are constants and labels are data: the second output passes no gradient on. The gradient
 * is there already where this pass was made for training. */
static kl_status xent_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                           kl_node **dx)
{
    kl__xent k = *(const kl__xent *)a->attrs;
    if (need[1])
        return kl__fail(KL_E_UNSUPPORTED, "xent \"%s\": there is no gradient by soft labels",
                        a->name);
    if (!dy[0] || !need[0])
        return KL_OK;
    kl_node *made = a->out[a->n_out - 1];
    if (!k.grad) {
        k.grad = true;
        kl_node *again =
            kl__apply_new_n(g, &kl__op_xent, NULL, a->in, a->n_in, kl__xent_outputs(&k), &k);
        made = kl__out(again, kl__xent_outputs(&k) - 1);
    }
    dx[0] = made && is_one(dy[0]) ? made : kl_mul(g, made, dy[0]);
    return dx[0] ? KL_OK : kl_graph_check(g);
}

kl_node *kl__xent_hits(const kl_graph *g, const kl_node *logits, const kl_node *labels)
{
    for (size_t i = 0; i < g->n_applies; i++) {
        const kl__apply *a = g->applies[i];
        if (a->op == &kl__op_xent && a->in[0] == logits && a->in[1] == labels &&
            ((const kl__xent *)a->attrs)->hits)
            return a->out[2];
    }
    return NULL;
}

/* ---- emission
 * ------------------------------------------------------------------------------------------ */
typedef struct pieces {
    kl__around r;
    int64_t span;     /* SOLO: samples per item */
    size_t across, n; /* SOLO: items along inner; partial sums */
} pieces;

static pieces pieces_of(const kl__apply *a, bool solo)
{
    pieces p = {.r = kl__around_axis(a->in[0]->desc.shape, 1)};
    if (!solo) {
        p.n = (size_t)(p.r.outer * p.r.inner);
        return p;
    }
    p.span = p.r.k >= SPAN ? 1 : SPAN / p.r.k;
    if (p.r.inner == 1) {
        p.n = kl__ceil_div((size_t)p.r.outer, (size_t)p.span);
    } else {
        p.span = (p.span + 15) / 16 * 16; /* whole vectors of any width */
        p.across = kl__ceil_div((size_t)p.r.inner, (size_t)p.span);
        p.n = p.across * (size_t)p.r.outer;
    }
    return p;
}

static int mode_of(const kl__apply *a)
{
    const kl__xent *k = a->attrs;
    const bool keras = k->compat == KL_KERAS;
    return (keras ? MODE_KERAS : 0) | (k->weights ? MODE_WEIGHTS : 0) |
           (keras || kl__xent_soft(a) || !k->weights ? MODE_COUNT : 0) | (k->hits ? MODE_HITS : 0) |
           (k->grad ? MODE_GRAD : 0);
}

static void defs_of(kl__defs *defs, const kl__emit *e, const kl__apply *a, bool solo)
{
    kl__defs_real(defs, a);
    if (kl__xent_soft(a))
        kl__def_flag(defs, "SOFT");
    if (solo)
        kl__def_int(defs, "VN", e->caps->vector);
}

static kl__arg hits_arg(const kl__apply *a)
{
    return kl__arg_out(a, ((const kl__xent *)a->attrs)->hits ? 2 : 0); /* 0: not touched */
}

static kl_status emit_sum(kl__emit *e, const kl__apply *a, kl__arg part, size_t n)
{
    const kl__xent *k = a->attrs;
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    const size_t group = kl__tree_group(e, &defs);
    kl__launch l = kl__launch_of("xent_sum.cl", "xent_sum", &defs);
    kl__launch_arg(&l, part);
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_out(a, 1));
    kl__launch_arg(&l, hits_arg(a));
    kl__launch_arg(&l, kl__arg_i32((int64_t)n));
    kl__launch_arg(&l, kl__arg_i32(k->hits));
    kl__launch_groups(&l, 1, group);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}

/** Sizes and options after the pointers, and the launch. */
static kl_status finish(kl__emit *e, const kl__apply *a, kl__launch *l, const pieces *p, bool solo)
{
    const kl__xent *k = a->attrs;
    const bool rows = p->r.inner == 1;
    if (!solo || rows)
        kl__launch_arg(l, kl__arg_i32(p->r.outer));
    kl__launch_arg(l, kl__arg_i32(p->r.k));
    if (!solo || !rows)
        kl__launch_arg(l, kl__arg_i32(p->r.inner));
    if (solo)
        kl__launch_arg(l, kl__arg_i32(p->span));
    kl__launch_arg(l, kl__arg_f32((double)k->smoothing));
    kl__launch_arg(l, kl__arg_i32(k->ignore_index));
    kl__launch_arg(l, kl__arg_i32(mode_of(a)));
    if (!solo)
        kl__launch_1d(l, e, p->n);
    else if (rows)
        kl__launch_solo(l, 1, p->n, 1, 1);
    else
        kl__launch_solo(l, 2, p->across, (size_t)p->r.outer, 1);
    return kl__emit_launch(e, a, l);
}

static kl_status xent_emit(kl__emit *e, const kl__apply *a, bool solo)
{
    const kl__xent *k = a->attrs;
    const pieces p = pieces_of(a, solo);
    const uint32_t real = (uint32_t)kl_dtype_size(a->in[0]->desc.dtype);
    if (p.n == 0)
        return emit_sum(e, a, kl__arg_out(a, 0), 0); /* no samples: zeros */
    const bool rows = p.r.inner == 1, one = p.n == 1;
    kl__defs defs = {0};
    defs_of(&defs, e, a, solo);
    kl__launch l = kl__launch_of(!solo  ? "xent.cl"
                                 : rows ? "xent_solo.cl"
                                        : "xent_cols_solo.cl",
                                 !solo  ? "xent_ref"
                                 : rows ? "xent_rows"
                                        : "xent_cols",
                                 &defs);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_in(a, 1));
    kl__launch_arg(&l, kl__arg_in(a, k->weights ? 2 : 0)); /* not read where there are none */
    for (size_t i = 0; i < 2; i++)
        kl__launch_arg(&l, one ? kl__arg_out(a, (int)i) : kl__arg_scratch(a, i * p.n * real, real));
    kl__launch_arg(&l, one || !k->hits ? hits_arg(a) : kl__arg_scratch(a, 2 * p.n * real, real));
    kl__launch_arg(&l, kl__arg_out(a, k->grad ? a->n_out - 1 : 0));
    kl_status st = finish(e, a, &l, &p, solo);
    kl__defs_free(&defs);
    if (st == KL_OK && !one)
        st = emit_sum(e, a, kl__arg_scratch(a, 0, real), p.n);
    return st;
}

static size_t scratch_of(const kl__apply *a, bool solo)
{
    const kl__xent *k = a->attrs;
    const pieces p = pieces_of(a, solo);
    return p.n > 1 ? (k->hits ? 4 : 2) * p.n * kl_dtype_size(a->in[0]->desc.dtype) : 0;
}
static size_t xent_scratch_solo(const kl__apply *a, const kl__caps *caps)
{
    (void)caps;
    return scratch_of(a, true);
}
static size_t xent_scratch_ref(const kl__apply *a, const kl__caps *caps)
{
    (void)caps;
    return scratch_of(a, false);
}
static kl_status xent_solo(kl__emit *e, const kl__apply *a)
{
    return xent_emit(e, a, true);
}
static kl_status xent_ref(kl__emit *e, const kl__apply *a)
{
    return xent_emit(e, a, false);
}
static const kl__variant xent_variants[] = {
    {.name = "solo", .fits = kl__solo_f32, .scratch_bytes = xent_scratch_solo, .emit = xent_solo},
    {.name = "ref", .scratch_bytes = xent_scratch_ref, .emit = xent_ref},
    {.name = NULL}};
const kl__op kl__op_xent = {
    .name = "xent",
    .doc = "logits, labels, class weights? -> sums of weighted losses [] and of weights [], hits "
           "[2], gradient of the first",
    .min_in = 2,
    .max_in = 3,
    .n_out = 0,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__xent),
    .attrs = xent_attrs,
    .infer = xent_infer,
    .grad = xent_grad,
    .variants = xent_variants,
};
