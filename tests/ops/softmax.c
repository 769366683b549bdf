/* Softmax and log-softmax over any axis: values, extremes, gradients. */
#include "rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/** Offsets of a row: base and stride. */
typedef struct rows {
    size_t n, k, inner;
} rows;
static rows rows_of(const kl__apply *a)
{
    kl_shape s = a->in[0]->desc.shape;
    const int axis = ((const kl_axis_opts *)a->attrs)->axis;
    rows r = {1, (size_t)s.dim[axis], 1};
    for (int i = axis + 1; i < s.n_dims; i++)
        r.inner *= (size_t)s.dim[i];
    for (int i = 0; i < s.n_dims; i++)
        r.n *= i == axis ? 1 : (size_t)s.dim[i];
    return r;
}
#define AT(r, i, k_) ((i) / (r).inner * (r).k * (r).inner + (i) % (r).inner + (k_) * (r).inner)

static void forward(const kl__apply *a, const double *x, double *y, bool log_)
{
    const rows r = rows_of(a);
    for (size_t i = 0; i < r.n; i++) {
        double m = -INFINITY, s = 0;
        for (size_t k = 0; k < r.k; k++)
            m = fmax(m, x[AT(r, i, k)]);
        for (size_t k = 0; k < r.k; k++)
            s += exp(x[AT(r, i, k)] - m);
        for (size_t k = 0; k < r.k; k++) {
            const double d = x[AT(r, i, k)] - m;
            y[AT(r, i, k)] = log_ ? d - log(s) : exp(d) / s;
        }
    }
}
static void softmax_reference(const kl__apply *a, const double *const *in, double *const *out)
{
    forward(a, in[0], out[0], false);
}
static void log_softmax_reference(const kl__apply *a, const double *const *in, double *const *out)
{
    forward(a, in[0], out[0], true);
}
static void bwd_reference(const kl__apply *a, const double *const *in, double *const *out)
{
    const rows r = rows_of(a);
    const bool log_ = a->op == &kl__op_log_softmax_bwd;
    const double *y = in[0], *dy = in[1];
    for (size_t i = 0; i < r.n; i++) {
        double s = 0;
        for (size_t k = 0; k < r.k; k++)
            s += dy[AT(r, i, k)] * (log_ ? 1 : y[AT(r, i, k)]);
        for (size_t k = 0; k < r.k; k++) {
            const size_t j = AT(r, i, k);
            out[0][j] = log_ ? dy[j] - exp(y[j]) * s : y[j] * (dy[j] - s);
        }
    }
}

static const struct {
    kl_shape shape;
    int axis;
} table[] = {
    {{2, {3, 10}}, 1},     {{2, {1, 1}}, 1},        {{2, {5, 3}}, 1},       {{2, {4, 16}}, 1},
    {{2, {4, 33}}, 1},     {{2, {7, 1000}}, 1},     {{2, {3, 9000}}, 1},    {{2, {10, 17}}, 0},
    {{1, {31}}, 0},        {{4, {2, 17, 5, 3}}, 1}, {{4, {2, 3, 4, 8}}, 1}, {{4, {2, 3, 4, 7}}, 3},
    {{3, {2, 21, 33}}, 1}, {{3, {0, 4, 4}}, 1},
};

static void run(const kl__op *op, size_t i, rig_fill fill, double hi, rig_ref *ref, rig_tol tol)
{
    const kl_axis_opts o = {.axis = table[i].axis};
    rig_run(&(rig_case){"softmax",
                        op,
                        &o,
                        1,
                        0,
                        {{KL_F32, table[i].shape, fill, -hi, hi, NULL, false}},
                        ref,
                        tol,
                        {0},
                        NULL});
}

static void test_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        run(&kl__op_softmax, i, RIG_NORMAL, 2, softmax_reference, (rig_tol){RIG_ULP, 24});
        run(&kl__op_log_softmax, i, RIG_NORMAL, 2, log_softmax_reference, (rig_tol){RIG_L2, 5e-7});
    }
}

static void test_large_inputs_do_not_overflow(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(table); i += 3) {
        run(&kl__op_softmax, i, RIG_INTEGER, 3000, softmax_reference, (rig_tol){RIG_ULP, 16});
        run(&kl__op_log_softmax, i, RIG_INTEGER, 3000, log_softmax_reference,
            (rig_tol){RIG_L2, 5e-7});
    }
}

static void test_infinities_and_nan(void **state)
{
    (void)state;
    /* rows: one -inf; all -inf (NaN); a NaN (all NaN); +inf (NaN); two finite among -inf */
    const double inf = INFINITY;
    const double x[5 * 4] = {0, -inf, 1, 2,   -inf, -inf, -inf, -inf, 0, NAN,
                             1, 2,    0, inf, 1,    2,    -inf, 5,    5, -inf};
    double columns[4 * 5], wide[2 * 20];
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 4; k++)
            columns[k * 5 + i] = x[i * 4 + k];
    for (int i = 0; i < 20; i++) { /* longer than a vector, the NaN past it; and all -inf */
        wide[i] = i == 18 ? (double)NAN : i;
        wide[20 + i] = -inf;
    }
    const struct {
        kl_shape s;
        int axis;
        const double *v;
    } cases[] = {{{2, {5, 4}}, 1, x}, {{2, {4, 5}}, 0, columns}, {{2, {2, 20}}, 1, wide}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        const kl_axis_opts o = {.axis = cases[i].axis};
        rig_case c = {"extremes",
                      &kl__op_softmax,
                      &o,
                      1,
                      0,
                      {{KL_F32, cases[i].s, RIG_DATA, 0, 0, cases[i].v, false}},
                      softmax_reference,
                      {RIG_ULP, 16},
                      {0},
                      NULL};
        rig_run(&c);
        c.op = &kl__op_log_softmax;
        c.ref = log_softmax_reference;
        rig_run(&c);
    }
}

static void test_backward(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        const kl_axis_opts o = {.axis = table[i].axis};
        rig_case c = {"backward",
                      &kl__op_softmax_bwd,
                      &o,
                      2,
                      0,
                      {{KL_F32, table[i].shape, RIG_UNIFORM, 0, 1, NULL, false},
                       {KL_F32, table[i].shape, RIG_NORMAL, 0, 1, NULL, false}},
                      bwd_reference,
                      {RIG_L2, 3e-6},
                      {0},
                      NULL}; /* the sum of dy cancels */
        rig_run(&c);
        c.op = &kl__op_log_softmax_bwd;
        c.in[0].lo = -3;
        c.in[0].hi = 0;
        rig_run(&c);
    }
}

static void test_gradients(void **state)
{
    (void)state;
    const size_t which[] = {0, 7, 9};
    for (size_t i = 0; i < COUNT(which); i++) {
        const kl_axis_opts o = {.axis = table[which[i]].axis};
        rig_case c = {"gradient", &kl__op_softmax,
                      &o,         1,
                      0,          {{KL_F32, table[which[i]].shape, RIG_NORMAL, 0, 1, NULL, false}},
                      NULL,       {RIG_EXACT, 0},
                      {0},        NULL};
        rig_grad(&c);
        c.op = &kl__op_log_softmax;
        rig_grad(&c);
    }
}

static void test_axis(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){3, {KL_BATCH, 4, 5}});
    const struct {
        int given, got;
    } axes[] = {{0, 1}, {KL_NONE, 0}, {-1, 2}, {-3, 0}, {2, 2}};
    for (size_t i = 0; i < COUNT(axes); i++) {
        kl_node *y = kl_softmax(g, x, &(kl_axis_opts){.axis = axes[i].given});
        assert_non_null(y);
        assert_int_equal(((const kl_axis_opts *)y->by->attrs)->axis, axes[i].got);
    }
    assert_null(kl_log_softmax(g, x, &(kl_axis_opts){.axis = 3, .name = "p"}));
    assert_string_equal(kl_last_error(), "log_softmax \"p\": no axis 3 in input [N,4,5]");
    kl_graph_destroy(g);
}

static void test_fast_variants_ran(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    const char *const ops[] = {"softmax", "log_softmax", "softmax_bwd", "log_softmax_bwd"};
    for (size_t i = 0; i < COUNT(ops) && kl__ctx_caps(ctx)->solo; i++)
        assert_true(rig_ran(ops[i], "solo") > 0);
    kl_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_large_inputs_do_not_overflow),
        cmocka_unit_test(test_infinities_and_nan),
        cmocka_unit_test(test_backward),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_axis),
        cmocka_unit_test(test_fast_variants_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
