/* mse, mae, huber, bce_logits: means over all elements. Each is one op in the user's graph;
 * lowering makes it an element-wise error, its sum, and the mean by count, so that the error fuses
 * and shards add sums and counts apart. */
#include "ops/eltwise.h"

static kl_status loss_infer(const kl__apply *a, kl__desc *out)
{
    const kl__desc *x = &a->in[0]->desc, *t = &a->in[1]->desc;
    char s[2][96];
    if (x->dtype != KL_F32 && x->dtype != KL_F64)
        return kl__fail(KL_E_SHAPE, "%s \"%s\": input is %s; a loss takes f32", a->op->name,
                        a->name, kl_dtype_name(x->dtype));
    if (t->dtype != x->dtype)
        return kl__fail(KL_E_SHAPE, "%s \"%s\": target is %s, the input is %s (op cast converts)",
                        a->op->name, a->name, kl_dtype_name(t->dtype), kl_dtype_name(x->dtype));
    if (!kl_shape_equal(x->shape, t->shape))
        return kl__fail(KL_E_SHAPE, "%s \"%s\": target %s must have the shape of the input, %s",
                        a->op->name, a->name, kl__shape_str(t->shape, s[0]),
                        kl__shape_str(x->shape, s[1]));
    out->dtype = x->dtype;
    return KL_OK;
}

/** Mean of the errors e, under the name of the loss. */
static kl_status mean_of(kl_graph *g, const kl__apply *a, kl_node *e, kl_node **out)
{
    kl_node *in[2] = {e ? kl_reduce_sum(g, e, NULL) : NULL, NULL};
    if (in[0])
        in[1] = kl__apply_new(g, &kl__op_elements, NULL, &e, 1, NULL);
    if (in[1])
        out[0] = kl__apply_new(g, &kl__op_weighted_mean, a->name, in, 2, NULL);
    return kl_graph_check(g);
}

static const kl__attr loss_attrs[] = {
    {"name", KL__ATTR_NAME, offsetof(kl_loss_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
#define LOSS(id, about, attr_table, more)                                                          \
    const kl__op kl__op_##id = {.name = #id,                                                       \
                                .doc = about,                                                      \
                                .min_in = 2,                                                       \
                                .max_in = 2,                                                       \
                                .n_out = 1,                                                        \
                                .attrs_bytes = sizeof(kl_loss_opts),                               \
                                .attrs = attr_table,                                               \
                                .infer = loss_infer,                                               \
                                .lower = id##_lower,                                               \
                                .build = more};                                                    \
    kl_node *kl_##id(kl_graph *g, kl_node *x, kl_node *target, const kl_loss_opts *opts)           \
    {                                                                                              \
        kl_node *in[2] = {x, target};                                                              \
        return kl__build(g, &kl__op_##id, in, 2, opts);                                            \
    }

/* ---- mse, mae -------------------------------------------------------------------------------- */
static kl_status mse_lower(kl_graph *g, const kl__apply *a, kl_node *const *in, bool training,
                           kl_node **out)
{
    (void)training;
    return mean_of(g, a, kl_square(g, kl_sub(g, in[0], in[1])), out);
}
LOSS(mse, "x, target -> [], mean of (x - target)^2", loss_attrs, NULL)

static kl_status mae_lower(kl_graph *g, const kl__apply *a, kl_node *const *in, bool training,
                           kl_node **out)
{
    (void)training;
    return mean_of(g, a, kl_abs(g, kl_sub(g, in[0], in[1])), out);
}
LOSS(mae, "x, target -> [], mean of |x - target|", loss_attrs, NULL)

/* ---- huber ----------------------------------------------------------------------------------- */
static const kl__attr huber_attrs[] = {
    {"delta", KL__ATTR_FLOAT, offsetof(kl_loss_opts, delta), 0, NULL, 1,
     "where the parabola becomes a line"},
    {"name", KL__ATTR_NAME, offsetof(kl_loss_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};

static kl_status huber_error_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy,
                                  const bool *need, kl_node **dx)
{
    kl_node *in[2] = {a->in[0], dy[0]};
    (void)need;
    dx[0] = kl__apply_new(g, &kl__op_huber_bwd, NULL, in, 2, a->attrs);
    return kl_graph_check(g);
}
const kl__op kl__op_huber_error = {
    KL__ELT(huber_error, 1, "d -> d d / 2 where |d| <= delta, else delta (|d| - delta / 2)",
            "V t0 = fabs(x0); V t1 = $delta; V t2 = (V)((T)1 / (T)2); "
            "(t0 > t1) ? t1 * (t0 - t2 * t1) : t2 * x0 * x0"),
    .flags = KL__OP_ELEMENTWISE | KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl_loss_opts),
    .attrs = huber_attrs,
    .grad = huber_error_grad,
};
const kl__op kl__op_huber_bwd = {
    KL__ELT(huber_bwd, 2, "(d, dy) -> dy times d cut at +-delta",
            "V t0 = $delta; x1 * ((x0 > t0) ? t0 : ((x0 < -t0) ? -t0 : x0))"),
    .flags = KL__OP_ELEMENTWISE | KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl_loss_opts),
    .attrs = huber_attrs,
};

static kl_node *huber_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    kl_loss_opts o = *(const kl_loss_opts *)attrs;
    o.delta = kl__opt_f(o.delta, 1);
    if (!(o.delta > 0))
        return kl__graph_fail(g, KL_E_ARG, "huber \"%s\": delta is %g; it must be above 0",
                              o.name ? o.name : "", (double)o.delta);
    return kl__apply_new(g, &kl__op_huber, o.name, in, n_in, &o);
}

static kl_status huber_lower(kl_graph *g, const kl__apply *a, kl_node *const *in, bool training,
                             kl_node **out)
{
    kl_node *d = kl_sub(g, in[0], in[1]);
    (void)training;
    return mean_of(g, a, d ? kl__apply_new(g, &kl__op_huber_error, NULL, &d, 1, a->attrs) : NULL,
                   out);
}
LOSS(huber, "x, target -> [], mean of d d / 2 where |d| <= delta, else delta (|d| - delta / 2)",
     huber_attrs, huber_build)

/* ---- binary cross-entropy -------------------------------------------------------------------- */
static kl_status bce_error_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy,
                                const bool *need, kl_node **dx)
{
    kl_node *in[3] = {a->in[0], a->in[1], dy[0]};
    if (need[0])
        dx[0] = kl__apply_new(g, &kl__op_bce_bwd, NULL, in, 3, NULL);
    if (need[1])
        dx[1] = kl_neg(g, kl_mul(g, dy[0], a->in[0]));
    return kl_graph_check(g);
}
const kl__op kl__op_bce_error = {
    KL__ELT(bce_error, 2, "(x, t) -> -t log s - (1 - t) log(1 - s), s = sigmoid(x)",
            "(((x0 < (V)0) ? (V)0 : x0) - x0 * x1) + log1p(exp(-fabs(x0)))"),
    .flags = KL__OP_ELEMENTWISE | KL__OP_HIDDEN,
    .grad = bce_error_grad,
};
KL__ELT_BWD(bce_bwd, 3, "(x, t, dy) -> (sigmoid(x) - t) dy",
            "((V)1 / ((V)1 + exp(-x0)) - x1) * x2");

static kl_status bce_logits_lower(kl_graph *g, const kl__apply *a, kl_node *const *in,
                                  bool training, kl_node **out)
{
    (void)training;
    return mean_of(g, a, kl__apply_new(g, &kl__op_bce_error, NULL, in, 2, NULL), out);
}
LOSS(bce_logits, "x, target -> [], mean of the cross-entropy of target (0..1) and sigmoid(x), nats",
     loss_attrs, NULL)
