/* Element-wise ops of one input, and the hidden ops that are their gradients.
 *
 * Gradients read the output where they can: what made the input may then be freed, or never be
 * stored. Selects are written so that NaN takes the arm that keeps it: (x < 0) ? ... : x. */
#include "ops/eltwise.h"

/** dx = op(in): the gradient as one element-wise node. */
static kl_status grad_node(kl_graph *g, const kl__op *op, kl_node *x0, kl_node *x1,
                           const void *attrs, kl_node **dx)
{
    kl_node *in[2] = {x0, x1};
    dx[0] = kl__apply_new(g, op, NULL, in, op->min_in, attrs);
    return kl_graph_check(g);
}

/** grad function that reads the output y (or the input x) and dy. */
#define GRAD_FROM(fn, value, bwd)                                                                  \
    static kl_status fn(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,     \
                        kl_node **dx)                                                              \
    {                                                                                              \
        (void)need;                                                                                \
        return grad_node(g, &kl__op_##bwd, (value), dy[0], a->attrs, dx);                          \
    }

/** An op without attributes, with its builder. */
#define UNARY(id, about, text, grad_fn)                                                            \
    const kl__op kl__op_##id = {KL__ELT(id, 1, about, text), .flags = KL__OP_ELEMENTWISE,          \
                                .attrs_bytes = sizeof(kl__named), .attrs = kl__named_attrs,        \
                                .grad = grad_fn};                                                  \
    kl_node *kl_##id(kl_graph *g, kl_node *x)                                                      \
    {                                                                                              \
        return kl__build(g, &kl__op_##id, &x, 1, NULL);                                            \
    }

/* ---- without attributes ---------------------------------------------------------------------- */
GRAD_FROM(relu_grad, a->out[0], relu_bwd)
UNARY(relu, "max(x, 0)", "(x0 < (V)0) ? (V)0 : x0", relu_grad)
KL__ELT_BWD(relu_bwd, 2, "(y, dy) -> 0 where y <= 0, else dy", "(x0 <= (V)0) ? (V)0 : x1");

GRAD_FROM(relu6_grad, a->out[0], relu6_bwd)
UNARY(relu6, "min(max(x, 0), 6)", "(x0 < (V)0) ? (V)0 : ((x0 > (V)6) ? (V)6 : x0)", relu6_grad)
KL__ELT_BWD(relu6_bwd, 2, "(y, dy) -> 0 where y <= 0 or y >= 6, else dy",
            "((x0 <= (V)0) ? (V)0 : ((x0 >= (V)6) ? (V)0 : x1))");

GRAD_FROM(sigmoid_grad, a->out[0], sigmoid_bwd)
UNARY(sigmoid, "1 / (1 + exp(-x))", "(V)1 / ((V)1 + exp(-x0))", sigmoid_grad)
KL__ELT_BWD(sigmoid_bwd, 2, "(y, dy) -> dy y (1 - y)", "x1 * (x0 * ((V)1 - x0))");

GRAD_FROM(tanh_grad, a->out[0], tanh_bwd)
UNARY(tanh, "tanh(x)", "tanh(x0)", tanh_grad)
KL__ELT_BWD(tanh_bwd, 2, "(y, dy) -> dy (1 - y y)", "x1 * (((V)1 - x0) * ((V)1 + x0))");

GRAD_FROM(softplus_grad, a->out[0], softplus_bwd)
UNARY(softplus, "log(1 + exp(x))", "((x0 < (V)0) ? (V)0 : x0) + log1p(exp(-fabs(x0)))",
      softplus_grad)
KL__ELT_BWD(softplus_bwd, 2, "(y, dy) -> dy (1 - exp(-y))", "x1 * -expm1(-x0)");

GRAD_FROM(exp_grad, a->out[0], mul)
UNARY(exp, "exp(x)", "exp(x0)", exp_grad)

static kl_status log_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                          kl_node **dx)
{
    (void)need;
    return grad_node(g, &kl__op_div, dy[0], a->in[0], NULL, dx);
}
UNARY(log, "log(x), natural", "log(x0)", log_grad)

GRAD_FROM(sqrt_grad, a->out[0], sqrt_bwd)
UNARY(sqrt, "sqrt(x)", "sqrt(x0)", sqrt_grad)
KL__ELT_BWD(sqrt_bwd, 2, "(y, dy) -> dy / (2 y)", "x1 / (x0 + x0)");

GRAD_FROM(square_grad, a->in[0], square_bwd)
UNARY(square, "x x", "x0 * x0", square_grad)
KL__ELT_BWD(square_bwd, 2, "(x, dy) -> 2 x dy", "(x0 + x0) * x1");

static kl_status neg_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                          kl_node **dx)
{
    (void)a, (void)need;
    return grad_node(g, &kl__op_neg, dy[0], NULL, NULL, dx);
}
UNARY(neg, "-x", "-x0", neg_grad)

GRAD_FROM(abs_grad, a->in[0], abs_bwd)
UNARY(abs, "|x|", "fabs(x0)", abs_grad)
KL__ELT_BWD(abs_bwd, 2, "(x, dy) -> sign(x) dy",
            "(x0 < (V)0) ? -x1 : ((x0 > (V)0) ? x1 : x0 * x1)");

/* ---- with a slope ---------------------------------------------------------------------------- */
/** Op, its hidden gradient with the same attribute, and its builder; `grad` reads `value`. */
#define SLOPED(id, attr, preset, about, text, bwd_about, bwd_text)                                 \
    static const kl__attr id##_attrs[] = {                                                         \
        {#attr, KL__ATTR_FLOAT, offsetof(kl_slope_opts, slope), 0, NULL, preset,                   \
         #attr " of " about},                                                                      \
        {"name", KL__ATTR_NAME, offsetof(kl_slope_opts, name), 0, NULL, 0, NULL},                  \
        KL__ATTR_END,                                                                              \
    };                                                                                             \
    static kl_node *id##_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)       \
    {                                                                                              \
        kl_slope_opts o = *(const kl_slope_opts *)attrs;                                           \
        o.slope = kl__opt_f(o.slope, (float)preset);                                               \
        return kl__apply_new(g, &kl__op_##id, o.name, in, n_in, &o);                               \
    }                                                                                              \
    const kl__op kl__op_##id##_bwd = {KL__ELT(id##_bwd, 2, bwd_about, bwd_text),                   \
                                      .flags = KL__OP_ELEMENTWISE | KL__OP_HIDDEN,                 \
                                      .attrs_bytes = sizeof(kl_slope_opts), .attrs = id##_attrs};  \
    kl_node *kl_##id(kl_graph *g, kl_node *x, const kl_slope_opts *opts)                           \
    {                                                                                              \
        return kl__build(g, &kl__op_##id, &x, 1, opts);                                            \
    }                                                                                              \
    const kl__op kl__op_##id = {KL__ELT(id, 1, about, text),                                       \
                                .flags = KL__OP_ELEMENTWISE,                                       \
                                .attrs_bytes = sizeof(kl_slope_opts),                              \
                                .attrs = id##_attrs,                                               \
                                .build = id##_build,                                               \
                                .grad = id##_grad}

static float slope_of(const kl__apply *a)
{
    return ((const kl_slope_opts *)a->attrs)->slope;
}

/* y has the sign of x unless the slope is negative. */
GRAD_FROM(leaky_relu_grad, slope_of(a) >= 0 ? a->out[0] : a->in[0], leaky_relu_bwd)
SLOPED(leaky_relu, slope, 0.01, "x < 0 ? slope x : x", "(x0 < (V)0) ? $slope * x0 : x0",
       "(y or x, dy) -> slope dy where y <= 0, else dy", "(x0 <= (V)0) ? $slope * x1 : x1");

GRAD_FROM(elu_grad, a->in[0], elu_bwd)
SLOPED(elu, alpha, 1, "x < 0 ? alpha (exp(x) - 1) : x", "(x0 < (V)0) ? $alpha * expm1(x0) : x0",
       "(x, dy) -> alpha exp(x) dy where x <= 0, else dy",
       "(x0 <= (V)0) ? $alpha * exp(x0) * x1 : x1");

/* Far out, where inf times 0 would be NaN, both take their limits. */
GRAD_FROM(swish_grad, a->in[0], swish_bwd)
SLOPED(swish, beta, 1, "x / (1 + exp(-beta x))",
       "($beta * x0 < (V)(-800)) ? (V)0 : x0 / ((V)1 + exp(-$beta * x0))",
       "(x, dy) -> dy (s + beta x s (1 - s)), s = sigmoid(beta x)",
       "V t0 = $beta * x0; V t1 = (V)1 / ((V)1 + exp(-t0)); V t2 = t1 * ((V)1 + t0 * ((V)1 - t1)); "
       "x1 * ((fabs(t0) > (V)800) ? ((t0 > (V)0) ? (V)1 : (V)0) : t2)");

/* ---- scale ----------------------------------------------------------------------------------- */
static const kl__attr scale_attrs[] = {
    {"scale", KL__ATTR_FLOAT, offsetof(kl_scale_opts, scale), 0, NULL, 1, "factor"},
    {"shift", KL__ATTR_FLOAT, offsetof(kl_scale_opts, shift), 0, NULL, 0, "added after"},
    {"name", KL__ATTR_NAME, offsetof(kl_scale_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};

static kl_node *scale_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    kl_scale_opts o = *(const kl_scale_opts *)attrs;
    o.scale = kl__opt_f(o.scale, 1);
    o.shift = kl__opt_f(o.shift, 0);
    return kl__apply_new(g, &kl__op_scale, o.name, in, n_in, &o);
}

static kl_status scale_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                            kl_node **dx)
{
    kl_scale_opts o = {.scale = ((const kl_scale_opts *)a->attrs)->scale};
    (void)need;
    return grad_node(g, &kl__op_scale, dy[0], NULL, &o, dx);
}

const kl__op kl__op_scale = {KL__ELT(scale, 1, "scale x + shift", "fma($scale, x0, $shift)"),
                             .flags = KL__OP_ELEMENTWISE,
                             .attrs_bytes = sizeof(kl_scale_opts),
                             .attrs = scale_attrs,
                             .build = scale_build,
                             .grad = scale_grad};

kl_node *kl_scale(kl_graph *g, kl_node *x, const kl_scale_opts *opts)
{
    return kl__build(g, &kl__op_scale, &x, 1, opts);
}
