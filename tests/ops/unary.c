/* Element-wise ops of one input: accuracy, special values, gradients, and the gradients' own ops.
 */
#include "rig.h"

#include "ops/eltwise.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

enum { N = 1037 }; /* 64 vectors of 16 and a tail of 13 */

/** What f32 makes of a double: beyond its range is infinite. */
static double f32(double v)
{
    return v > (double)FLT_MAX ? HUGE_VAL : v < -(double)FLT_MAX ? -HUGE_VAL : v;
}

/* ---- references: of x, or of (x or y, dy); p is the float attribute -------------------------- */
typedef double scalar_fn(double x, double dy, double p, double q);
#define FN(name, expression)                                                                       \
    static double name(double x, double dy, double p, double q)                                    \
    {                                                                                              \
        (void)dy, (void)p, (void)q;                                                                \
        return expression;                                                                         \
    }
static double logistic(double x)
{
    return 1 / (1 + exp(-x));
}
FN(r_relu, x < 0 ? 0 : x)
FN(r_relu_bwd, x <= 0 ? 0 : dy)
FN(r_relu6, x < 0 ? 0 : x > 6 ? 6 : x)
FN(r_relu6_bwd, x <= 0 || x >= 6 ? 0 : dy)
FN(r_leaky, x < 0 ? p * x : x)
FN(r_leaky_bwd, x <= 0 ? p * dy : dy)
FN(r_elu, x < 0 ? p * expm1(x) : x)
FN(r_elu_bwd, x <= 0 ? p * exp(x) * dy : dy)
FN(r_swish, p *x == -HUGE_VAL ? 0 : x * logistic(p * x))
FN(r_swish_bwd,
   dy *(fabs(p *x) > 800 ? p * x > 0 : logistic(p *x) * (1 + p * x * logistic(-p * x))))
FN(r_sigmoid, logistic(x))
FN(r_sigmoid_bwd, dy *x *(1 - x))
FN(r_tanh, tanh(x))
FN(r_tanh_bwd, dy *(1 - x * x))
FN(r_softplus, fmax(x, 0) + log1p(exp(-fabs(x))) + 0 * (isnan(x) ? x : 0))
FN(r_softplus_bwd, dy * -expm1(-x))
FN(r_exp, exp(x))
FN(r_log, log(x))
FN(r_sqrt, sqrt(x))
FN(r_sqrt_bwd, dy / (2 * x))
FN(r_square, x *x)
FN(r_square_bwd, 2 * x * dy)
FN(r_neg, -x)
FN(r_abs, fabs(x))
FN(r_abs_bwd, x<0 ? -dy : x> 0 ? dy : x *dy)
FN(r_scale, p *x + q)

static const kl_slope_opts slope = {.slope = 0.25f}, negative = {.slope = -0.5f},
                           beta = {.slope = 1.5f};
static const kl_scale_opts affine = {.scale = 1.5f, .shift = -0.375f};

/** ulp: 4 and the allowance of the built-ins (exp 3, log 3, division 2.5, tanh 5, sqrt 3, log1p 2,
 * expm1 3). Below 0: a bound of the relative L2 norm, for swish's gradient, which has a zero near
 * beta x = -1.28. */
typedef struct row {
    const kl__op *op;
    scalar_fn *f;
    const void *attrs;
    double lo, hi, ulp;
} row;
static const row rows[] = {
    {&kl__op_relu, r_relu, NULL, -3, 3, 0},
    {&kl__op_relu_bwd, r_relu_bwd, NULL, -3, 3, 0},
    {&kl__op_relu6, r_relu6, NULL, -3, 9, 0},
    {&kl__op_relu6_bwd, r_relu6_bwd, NULL, -3, 9, 0},
    {&kl__op_leaky_relu, r_leaky, &slope, -3, 3, 1},
    {&kl__op_leaky_relu_bwd, r_leaky_bwd, &slope, -3, 3, 1},
    {&kl__op_elu, r_elu, &slope, -20, 3, 7},
    {&kl__op_elu_bwd, r_elu_bwd, &slope, -20, 3, 7},
    {&kl__op_swish, r_swish, &beta, -30, 30, 10},
    {&kl__op_swish_bwd, r_swish_bwd, &beta, -20, 20, -5e-7},
    {&kl__op_sigmoid, r_sigmoid, NULL, -30, 30, 10},
    {&kl__op_sigmoid_bwd, r_sigmoid_bwd, NULL, 0, 1, 6},
    {&kl__op_tanh, r_tanh, NULL, -12, 12, 9},
    {&kl__op_tanh_bwd, r_tanh_bwd, NULL, -1, 1, 6},
    {&kl__op_softplus, r_softplus, NULL, -30, 30, 9},
    {&kl__op_softplus_bwd, r_softplus_bwd, NULL, 0, 30, 7},
    {&kl__op_exp, r_exp, NULL, -80, 80, 7},
    {&kl__op_log, r_log, NULL, 1e-3, 50, 7},
    {&kl__op_sqrt, r_sqrt, NULL, 0, 100, 7},
    {&kl__op_sqrt_bwd, r_sqrt_bwd, NULL, 0.01, 10, 7},
    {&kl__op_square, r_square, NULL, -30, 30, 1},
    {&kl__op_square_bwd, r_square_bwd, NULL, -30, 30, 1},
    {&kl__op_neg, r_neg, NULL, -3, 3, 0},
    {&kl__op_abs, r_abs, NULL, -3, 3, 0},
    {&kl__op_abs_bwd, r_abs_bwd, NULL, -3, 3, 0},
    {&kl__op_scale, r_scale, &affine, -3, 3, 1},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

static const row *row_of(const kl__op *op)
{
    for (int i = 0; i < N_ROWS; i++)
        if (rows[i].op == op)
            return &rows[i];
    fail_msg("no reference of %s", op->name);
    return NULL;
}

static void reference(const kl__apply *a, const double *const *in, double *const *out)
{
    double p = 0, q = 0;
    if (a->op == &kl__op_scale) {
        const kl_scale_opts *o = a->attrs;
        p = (double)o->scale;
        q = (double)o->shift;
    } else if (a->op->attrs_bytes == sizeof(kl_slope_opts)) {
        p = (double)((const kl_slope_opts *)a->attrs)->slope;
    }
    int64_t n = kl_shape_count(a->out[0]->desc.shape);
    for (int64_t i = 0; i < n; i++)
        out[0][i] = f32(row_of(a->op)->f(in[0][i], a->n_in > 1 ? in[1][i] : 0, p, q));
}

static rig_case case_of(const row *r, int n)
{
    rig_case c = {.name = "values",
                  .op = r->op,
                  .attrs = r->attrs,
                  .n_in = r->op->min_in,
                  .ref = reference,
                  .tol = {r->ulp == 0  ? RIG_EXACT
                          : r->ulp < 0 ? RIG_L2
                                       : RIG_ULP,
                          fabs(r->ulp)}};
    c.in[0] = (rig_input){.shape = {1, {n}}, .fill = RIG_UNIFORM, .lo = r->lo, .hi = r->hi};
    c.in[1] = (rig_input){.shape = {1, {n}}, .fill = RIG_NORMAL};
    return c;
}

static void every_op_keeps_its_ulp_bound(void **state)
{
    (void)state;
    for (int i = 0; i < N_ROWS; i++) {
        rig_case c = case_of(&rows[i], N);
        rig_run(&c);
    }
}

/** NaN, infinities, zeros, the largest numbers, the borders of exp's range; denormals last. */
static const double specials[] = {
    NAN,   HUGE_VAL, -HUGE_VAL, 0.0,    -0.0, FLT_MIN, -FLT_MIN, FLT_MAX, -FLT_MAX, 1e20,  -1e20,
    1e-20, -1e-20,   88.5,      -87.25, 89,   -89,     104.5,    -104.5,  700,      -700,  900,
    -900,  1,        -1,        17,     -17,  0.5,     -0.5,     1e-45,   -1e-45,   1e-40, -1e-40,
};
enum { N_SPECIALS = sizeof specials / sizeof *specials, N_DENORMALS = 4 };

static void special_values_of_forward_ops(void **state)
{
    (void)state;
    for (int i = 0; i < N_ROWS; i++) {
        if (rows[i].op->min_in != 1)
            continue;
        /* a device may take denormals as zeros; two ops make much of it */
        bool steep = rows[i].op == &kl__op_log || rows[i].op == &kl__op_sqrt;
        rig_case c = case_of(&rows[i], steep ? N_SPECIALS - N_DENORMALS : N_SPECIALS);
        c.name = "specials";
        c.tol = (rig_tol){RIG_ULP, fmax(rows[i].ulp, 1)};
        c.in[0].fill = RIG_DATA;
        c.in[0].data = specials;
        rig_run(&c);
    }
}

/** Where y (or x) is NaN the gradient is dy for relu and leaky relu, and NaN for smooth ops; NaN in
 * dy stays NaN where the slope is not 0. */
static void special_values_of_gradients(void **state)
{
    (void)state;
    static const kl__op *const ops[] = {&kl__op_relu_bwd, &kl__op_relu6_bwd, &kl__op_leaky_relu_bwd,
                                        &kl__op_abs_bwd,  &kl__op_swish_bwd, &kl__op_elu_bwd};
    static const double x[] = {NAN,   HUGE_VAL, -HUGE_VAL, 0.0, -0.0, 1e-30, 1e20,
                               -1e20, 900,      -900,      5,   3,    -3};
    static const double dy[] = {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, NAN, HUGE_VAL, 1};
    enum { COUNT = sizeof x / sizeof *x };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        rig_case c = case_of(row_of(ops[i]), COUNT);
        c.name = "special gradients";
        c.tol = (rig_tol){RIG_ULP, 12};
        c.in[0].fill = c.in[1].fill = RIG_DATA;
        c.in[0].data = x;
        c.in[1].data = dy;
        rig_run(&c);
    }
}

static void gradients(void **state)
{
    (void)state;
    for (int i = 0; i < N_ROWS; i++) {
        if (!rows[i].op->grad)
            continue;
        rig_case c = case_of(&rows[i], 33);
        c.name = rows[i].op->name;
        c.in[0].lo = fmax(c.in[0].lo, -3);
        c.in[0].hi = rows[i].op == &kl__op_relu6 ? 9 : fmin(c.in[0].hi, 3);
        c.in[0].lo = rows[i].op == &kl__op_sqrt || rows[i].op == &kl__op_log ? 0.1 : c.in[0].lo;
        rig_grad(&c);
    }
    rig_case c = case_of(row_of(&kl__op_leaky_relu), 33);
    c.name = "leaky_relu of negative slope";
    c.attrs = &negative;
    rig_grad(&c);
}

static void options_resolve_to_documented_defaults(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){2, {KL_BATCH, 3}});
    kl_node *a = kl_leaky_relu(g, x, NULL),
            *b = kl_elu(g, x, &(kl_slope_opts){.slope = KL_NONE, .name = "mine"});
    kl_node *s = kl_scale(g, x, &(kl_scale_opts){.shift = 2});
    assert_int_equal(kl_graph_check(g), KL_OK);
    assert_true(((const kl_slope_opts *)a->by->attrs)->slope == 0.01f);
    assert_true(((const kl_slope_opts *)b->by->attrs)->slope == 0);
    assert_string_equal(kl_node_name(b), "mine");
    assert_true(((const kl_scale_opts *)s->by->attrs)->scale == 1);
    assert_int_equal(kl_node_shape(s).dim[0], KL_BATCH);
    assert_null(kl_relu(g, NULL));
    assert_int_not_equal(kl_graph_check(g), KL_OK);
    kl_graph_destroy(g);
}

static void other_dtypes_are_refused(void **state)
{
    (void)state;
    rig_case c = case_of(row_of(&kl__op_relu), 4);
    c.in[0].dtype = KL_I32;
    rig_refused(&c, "input 0 is i32");
}

static void solo_kernels_did_run(void **state)
{
    (void)state;
    if (rig_ran("relu", "solo") == 0)
        skip(); /* a device without SOLO */
    for (int i = 0; i < N_ROWS; i++)
        assert_true(rig_ran(rows[i].op->name, "solo") > 0 && rig_ran(rows[i].op->name, "ref") > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_keeps_its_ulp_bound),
        cmocka_unit_test(special_values_of_forward_ops),
        cmocka_unit_test(special_values_of_gradients),
        cmocka_unit_test(gradients),
        cmocka_unit_test(options_resolve_to_documented_defaults),
        cmocka_unit_test(other_dtypes_are_refused),
        cmocka_unit_test(solo_kernels_did_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
