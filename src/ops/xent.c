/* Softmax cross-entropy as kernels see it: sums of losses and of weights, and the gradient by the
 * logits. */
#include "ops/xent.h"

#include "ops/norm_common.h"

/* Bits of cl/xent_mode.cl. */
enum { MODE_KERAS = 1, MODE_WEIGHTS = 2, MODE_COUNT = 4 };
enum { SPAN = 8192 /* logits per SOLO work-item */ };

static const kl__attr xent_attrs[] = {
    {"smoothing", KL__ATTR_FLOAT, offsetof(kl__xent, smoothing), 0, NULL, 0, "label smoothing"},
    {"ignore_index", KL__ATTR_INT, offsetof(kl__xent, ignore_index), 0, NULL, 0,
     "label that counts nothing"},
    {"compat", KL__ATTR_ENUM, offsetof(kl__xent, compat), 0, kl__compat_words, 0,
     "what the weights multiply"},
    {"weights", KL__ATTR_BOOL, offsetof(kl__xent, weights), 0, NULL, 0, "there are class weights"},
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

static kl_status check_all(const kl__apply *a, int n_in)
{
    const kl__xent *k = a->attrs;
    kl_status st = kl__xent_check(a, k->smoothing);
    if (st != KL_OK)
        return st;
    if (a->n_in != n_in)
        return kl__fail(KL_E_ARG, "%s \"%s\": %d inputs; %d are expected", a->op->name, a->name,
                        a->n_in, n_in);
    const kl__desc *x = &a->in[0]->desc, *w = k->weights ? &a->in[2]->desc : NULL;
    if (w && (w->dtype != x->dtype || w->shape.n_dims != 1 || w->shape.dim[0] != x->shape.dim[1]))
        return kl__fail(KL_E_SHAPE, "%s \"%s\": class weights do not fit the logits", a->op->name,
                        a->name);
    return KL_OK;
}

static kl_status xent_infer(const kl__apply *a, kl__desc *out)
{
    const kl__xent *k = a->attrs;
    kl_status st = check_all(a, 2 + k->weights);
    out[0] = out[1] = (kl__desc){.dtype = a->in[0]->desc.dtype};
    return st;
}

static kl_status bwd_infer(const kl__apply *a, kl__desc *out)
{
    const kl__xent *k = a->attrs;
    kl_status st = check_all(a, 3 + k->weights);
    if (st == KL_OK && a->in[a->n_in - 1]->desc.shape.n_dims != 0)
        st = kl__fail(KL_E_SHAPE, "xent_bwd \"%s\": the gradient of the sum is no scalar", a->name);
    out[0] = a->in[0]->desc;
    return st;
}

/** Weights are constants and labels are data: the second output passes no gradient on. */
static kl_status xent_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                           kl_node **dx)
{
    const kl__xent *k = a->attrs;
    if (need[1])
        return kl__fail(KL_E_UNSUPPORTED, "xent \"%s\": there is no gradient by soft labels",
                        a->name);
    if (!dy[0] || !need[0])
        return KL_OK;
    kl_node *in[4] = {a->in[0], a->in[1], k->weights ? a->in[2] : dy[0], dy[0]};
    dx[0] = kl__apply_new(g, &kl__op_xent_bwd, NULL, in, 3 + k->weights, a->attrs);
    return dx[0] ? KL_OK : kl__last_status();
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
           (keras || kl__xent_soft(a) || !k->weights ? MODE_COUNT : 0);
}

static void defs_of(kl__defs *defs, const kl__emit *e, const kl__apply *a, bool solo)
{
    kl__defs_real(defs, a);
    if (kl__xent_soft(a))
        kl__def_flag(defs, "SOFT");
    if (solo)
        kl__def_int(defs, "VN", e->caps->vector);
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

static const char *file_of(const pieces *p, bool solo)
{
    return !solo ? "xent.cl" : p->r.inner == 1 ? "xent_solo.cl" : "xent_cols_solo.cl";
}

static size_t real_bytes(const kl__apply *a)
{
    return kl_dtype_size(a->in[0]->desc.dtype);
}

static kl_status emit_sum(kl__emit *e, const kl__apply *a, kl__arg part, size_t n)
{
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    const size_t group = kl__tree_group(e, &defs);
    kl__launch l = kl__launch_of("xent_sum.cl", "xent_sum", &defs);
    kl__launch_arg(&l, part);
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_out(a, 1));
    kl__launch_arg(&l, kl__arg_i32((int64_t)n));
    kl__launch_groups(&l, 1, group);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}

static kl_status xent_emit(kl__emit *e, const kl__apply *a, bool solo)
{
    const kl__xent *k = a->attrs;
    const pieces p = pieces_of(a, solo);
    const size_t real = real_bytes(a);
    if (p.n == 0)
        return emit_sum(e, a, kl__arg_out(a, 0), 0); /* no samples: zeros */
    kl__defs defs = {0};
    defs_of(&defs, e, a, solo);
    kl__launch l = kl__launch_of(file_of(&p, solo),
                                 !solo            ? "xent_ref"
                                 : p.r.inner == 1 ? "xent_rows"
                                                  : "xent_cols",
                                 &defs);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_in(a, 1));
    kl__launch_arg(&l, kl__arg_in(a, k->weights ? 2 : 0)); /* not read where there are none */
    kl__launch_arg(&l, p.n == 1 ? kl__arg_out(a, 0) : kl__arg_scratch(a, 0, (uint32_t)real));
    kl__launch_arg(&l,
                   p.n == 1 ? kl__arg_out(a, 1) : kl__arg_scratch(a, p.n * real, (uint32_t)real));
    kl_status st = finish(e, a, &l, &p, solo);
    kl__defs_free(&defs);
    if (st == KL_OK && p.n > 1)
        st = emit_sum(e, a, kl__arg_scratch(a, 0, (uint32_t)real), p.n);
    return st;
}

static kl_status bwd_emit(kl__emit *e, const kl__apply *a, bool solo)
{
    const kl__xent *k = a->attrs;
    const pieces p = pieces_of(a, solo);
    kl__defs defs = {0};
    defs_of(&defs, e, a, solo);
    kl__launch l = kl__launch_of(file_of(&p, solo),
                                 !solo            ? "xent_bwd_ref"
                                 : p.r.inner == 1 ? "xent_bwd_rows"
                                                  : "xent_bwd_cols",
                                 &defs);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_in(a, 1));
    kl__launch_arg(&l, kl__arg_in(a, k->weights ? 2 : 0));
    kl__launch_arg(&l, kl__arg_in(a, a->n_in - 1));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl_status st = finish(e, a, &l, &p, solo);
    kl__defs_free(&defs);
    return st;
}

static size_t scratch_of(const kl__apply *a, bool solo)
{
    const pieces p = pieces_of(a, solo);
    return p.n > 1 ? 2 * p.n * real_bytes(a) : 0;
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
static kl_status bwd_solo(kl__emit *e, const kl__apply *a)
{
    return bwd_emit(e, a, true);
}
static kl_status bwd_ref(kl__emit *e, const kl__apply *a)
{
    return bwd_emit(e, a, false);
}
static const kl__variant xent_variants[] = {
    {.name = "solo", .fits = kl__solo_f32, .scratch_bytes = xent_scratch_solo, .emit = xent_solo},
    {.name = "ref", .scratch_bytes = xent_scratch_ref, .emit = xent_ref},
    {.name = NULL}};
static const kl__variant bwd_variants[] = {{.name = "solo", .fits = kl__solo_f32, .emit = bwd_solo},
                                           {.name = "ref", .emit = bwd_ref},
                                           {.name = NULL}};

const kl__op kl__op_xent = {
    .name = "xent",
    .doc = "logits, labels, class weights? -> sum of weighted losses [], sum of weights []",
    .min_in = 2,
    .max_in = 3,
    .n_out = 2,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__xent),
    .attrs = xent_attrs,
    .infer = xent_infer,
    .grad = xent_grad,
    .variants = xent_variants,
};
const kl__op kl__op_xent_bwd = {
    .name = "xent_bwd",
    .doc = "logits, labels, class weights?, gradient of the sum [] -> gradient of the logits",
    .min_in = 3,
    .max_in = 4,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__xent),
    .attrs = xent_attrs,
    .infer = bwd_infer,
    .variants = bwd_variants,
};
