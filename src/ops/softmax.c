/* Softmax, its logarithm, and their gradients, over any axis. */
#include "ops/group_coop.h"

enum { SPAN = 4096 /* floats per SOLO work-item */ };

static const kl__attr softmax_attrs[] = {
    {"axis", KL__ATTR_INT, offsetof(kl_axis_opts, axis), 0, NULL, 1,
     "axis that sums to 1; negative: from the end"},
    {"name", KL__ATTR_NAME, offsetof(kl_axis_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};

static kl_node *build(kl_graph *g, const kl__op *op, kl_node *const *in, int n_in,
                      const void *attrs)
{
    kl_axis_opts o = *(const kl_axis_opts *)attrs;
    o.axis = kl__opt_i(o.axis, 1);
    if (o.axis < 0)
        o.axis += in[0]->desc.shape.n_dims;
    return kl__apply_new(g, op, o.name, in, n_in, &o);
}

static kl_node *softmax_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    return build(g, &kl__op_softmax, in, n_in, attrs);
}
static kl_node *log_softmax_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    return build(g, &kl__op_log_softmax, in, n_in, attrs);
}

static kl_status softmax_infer(const kl__apply *a, kl__desc *out)
{
    const kl__desc *x = &a->in[0]->desc;
    const int axis = ((const kl_axis_opts *)a->attrs)->axis;
    char s[96], t[96];
    if (!kl__real_dtype(x->dtype))
        return kl__fail(KL_E_SHAPE, "%s \"%s\": input is %s; f32 is expected", a->op->name, a->name,
                        kl_dtype_name(x->dtype));
    if (axis < 0 || axis >= x->shape.n_dims)
        return kl__fail(KL_E_SHAPE, "%s \"%s\": no axis %d in input %s", a->op->name, a->name, axis,
                        kl__shape_str(x->shape, s));
    for (int i = 1; i < a->n_in; i++)
        if (!kl_shape_equal(x->shape, a->in[i]->desc.shape) || x->dtype != a->in[i]->desc.dtype)
            return kl__fail(KL_E_SHAPE, "%s \"%s\": gradient %s does not fit output %s",
                            a->op->name, a->name, kl__shape_str(a->in[i]->desc.shape, s),
                            kl__shape_str(x->shape, t));
    out[0] = *x;
    return KL_OK;
}

/** The value that out overwrites: x; in the gradient dy. Rows are read before they are written. */
static int last_input(const kl__apply *a, int out)
{
    return out == 0 ? a->n_in - 1 : -1;
}

static kl_status grad_by(kl_graph *g, const kl__apply *a, kl_node *dy, const kl__op *op,
                         kl_node **dx)
{
    kl_node *in[2] = {a->out[0], dy};
    dx[0] = kl__apply_new(g, op, NULL, in, 2, a->attrs);
    return dx[0] ? KL_OK : kl__last_status();
}
static kl_status softmax_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                              kl_node **dx)
{
    return need[0] ? grad_by(g, a, dy[0], &kl__op_softmax_bwd, dx) : KL_OK;
}
static kl_status log_softmax_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy,
                                  const bool *need, kl_node **dx)
{
    return need[0] ? grad_by(g, a, dy[0], &kl__op_log_softmax_bwd, dx) : KL_OK;
}

/* All four ops: pointers, then sizes, then whether it is the logarithm. */
static kl_status softmax_emit(kl__emit *e, const kl__apply *a, bool solo)
{
    const kl__around r =
        kl__around_axis(a->in[0]->desc.shape, ((const kl_axis_opts *)a->attrs)->axis);
    const bool bwd = a->n_in == 2,
               log_ = a->op == &kl__op_log_softmax || a->op == &kl__op_log_softmax_bwd;
    const bool rows = r.inner == 1;
    const char *kernel = !solo  ? (bwd ? "softmax_bwd_ref" : "softmax_ref")
                         : rows ? (bwd ? "softmax_bwd_rows" : "softmax_rows")
                                : (bwd ? "softmax_bwd_cols" : "softmax_cols");
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    if (solo)
        kl__def_int(&defs, "VN", e->caps->vector);
    kl__launch l = kl__launch_of(solo ? "softmax_solo.cl" : "softmax.cl", kernel, &defs);
    for (int i = 0; i < a->n_in; i++)
        kl__launch_arg(&l, kl__arg_in(a, i));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    if (!solo || rows)
        kl__launch_arg(&l, kl__arg_i32(r.outer));
    kl__launch_arg(&l, kl__arg_i32(r.k));
    const int64_t span = r.k >= SPAN ? 1 : SPAN / r.k;
    if (!solo || !rows)
        kl__launch_arg(&l, kl__arg_i32(r.inner));
    else
        kl__launch_arg(&l, kl__arg_i32(span));
    kl__launch_arg(&l, kl__arg_i32(log_));
    if (!solo)
        kl__launch_1d(&l, e, (size_t)(r.outer * r.inner));
    else if (rows)
        kl__launch_solo(&l, 1, kl__ceil_div((size_t)r.outer, (size_t)span), 1, 1);
    else
        kl__launch_solo(&l, 2, kl__ceil_div((size_t)r.inner, (size_t)e->caps->vector),
                        (size_t)r.outer, 1);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}

static kl_status softmax_solo(kl__emit *e, const kl__apply *a)
{
    return softmax_emit(e, a, true);
}
static kl_status softmax_ref(kl__emit *e, const kl__apply *a)
{
    return softmax_emit(e, a, false);
}
static const kl__variant softmax_variants[] = {
    {.name = "solo", .fits = kl__solo_f32, .emit = softmax_solo},
    {.name = "coop", .fits = kl__softmax_coop_fits, .emit = kl__softmax_coop_emit},
    {.name = "ref", .emit = softmax_ref},
    {.name = NULL}};

const kl__op kl__op_softmax = {
    .name = "softmax",
    .doc = "exp(x) / sum of exp(x) along an axis",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attrs_bytes = sizeof(kl_axis_opts),
    .attrs = softmax_attrs,
    .build = softmax_build,
    .infer = softmax_infer,
    .grad = softmax_grad,
    .aliases = last_input,
    .variants = softmax_variants,
};
const kl__op kl__op_log_softmax = {
    .name = "log_softmax",
    .doc = "x - log of the sum of exp(x) along an axis",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attrs_bytes = sizeof(kl_axis_opts),
    .attrs = softmax_attrs,
    .build = log_softmax_build,
    .infer = softmax_infer,
    .grad = log_softmax_grad,
    .aliases = last_input,
    .variants = softmax_variants,
};
const kl__op kl__op_softmax_bwd = {
    .name = "softmax_bwd",
    .doc = "y (dy - sum of dy y): y, dy -> dx",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl_axis_opts),
    .attrs = softmax_attrs,
    .infer = softmax_infer,
    .aliases = last_input,
    .variants = softmax_variants,
};
const kl__op kl__op_log_softmax_bwd = {
    .name = "log_softmax_bwd",
    .doc = "dy - exp(y) sum of dy: y, dy -> dx",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl_axis_opts),
    .attrs = softmax_attrs,
    .infer = softmax_infer,
    .aliases = last_input,
    .variants = softmax_variants,
};

kl_node *kl_softmax(kl_graph *g, kl_node *x, const kl_axis_opts *opts)
{
    return kl__build(g, &kl__op_softmax, &x, 1, opts);
}

kl_node *kl_log_softmax(kl_graph *g, kl_node *x, const kl_axis_opts *opts)
{
    return kl__build(g, &kl__op_log_softmax, &x, 1, opts);
}
