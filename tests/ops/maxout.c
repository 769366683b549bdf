/* Channel max pooling, forward and backward. */
#include "rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static int64_t inner_of(const kl_node *x)
{
    int64_t n = 1;
    for (int i = 2; i < x->desc.shape.n_dims; i++)
        n *= x->desc.shape.dim[i];
    return n;
}

static void ref(const kl__apply *a, const double *const *in, double *const *out)
{
    int64_t inner = inner_of(a->in[0]), n = kl_shape_count(a->out[0]->desc.shape);
    int window = ((const kl_maxout_opts *)a->attrs)->window;
    for (int64_t i = 0; i < n; i++) {
        const double *x = in[0] + i / inner * window * inner + i % inner;
        int best = 0;
        for (int k = 1; k < window; k++)
            if (!isnan(x[best * inner]) && (isnan(x[k * inner]) || x[k * inner] > x[best * inner]))
                best = k;
        out[0][i] = x[best * inner];
        out[1][i] = best;
    }
}

static void bwd_ref(const kl__apply *a, const double *const *in, double *const *out)
{
    int64_t inner = inner_of(a->in[0]), n = kl_shape_count(a->in[0]->desc.shape);
    int window = ((const kl_maxout_opts *)a->attrs)->window;
    for (int64_t i = 0; i < n; i++)
        out[0][(i / inner * window + (int64_t)in[1][i]) * inner + i % inner] = in[0][i];
}

static const struct {
    kl_shape x;
    int window;
} cases[] = {
    {{4, {2, 6, 5, 7}}, 3},     {{4, {1, 4, 4, 4}}, 2},    {{2, {5, 12}}, 4},
    {{2, {3, 5}}, 5},           {{3, {2, 8, 33}}, 1},      {{3, {2, 2, 17}}, 2},
    {{4, {1, 600, 1, 3}}, 300}, {{4, {9, 64, 16, 16}}, 2},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static void test_forward(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * N_CASES; i++) {
        kl_maxout_opts o = {.window = cases[i / 2].window};
        rig_case c = {.name = "maxout",
                      .op = &kl__op_maxout,
                      .attrs = &o,
                      .n_in = 1,
                      .ref = ref,
                      .in = {{KL_F32, cases[i / 2].x, RIG_NORMAL, 0, 0, NULL, false}}};
        if (i % 2) /* ties go to the first */
            c.in[0] = (rig_input){KL_F32, cases[i / 2].x, RIG_INTEGER, -1, 1, NULL, false};
        rig_run(&c);
    }
}

static void test_nan_and_infinity(void **state)
{
    (void)state;
    static double x[2 * 6 * 37];
    for (int i = 0; i < 2 * 6 * 37; i++)
        x[i] = i % 11 == 3 ? (double)NAN
               : i % 3     ? -(double)INFINITY
               : i % 7     ? i % 5
                           : (double)INFINITY;
    kl_maxout_opts o = {.window = 3};
    rig_case c = {.name = "maxout NaN",
                  .op = &kl__op_maxout,
                  .attrs = &o,
                  .n_in = 1,
                  .ref = ref,
                  .in = {{KL_F32, {3, {2, 6, 37}}, RIG_DATA, 0, 0, x, false}}};
    rig_run(&c);
}

static void test_backward(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        kl_maxout_opts o = {.window = cases[i].window};
        kl_shape s = cases[i].x;
        s.dim[1] /= o.window;
        rig_case c = {
            .name = "maxout backward",
            .op = &kl__op_maxout_bwd,
            .attrs = &o,
            .n_in = 2,
            .ref = bwd_ref,
            .in = {{KL_F32, s, RIG_NORMAL, 0, 0, NULL, false},
                   {o.window > 255 ? KL_I32 : KL_U8, s, RIG_INDEX, 0, o.window, NULL, true}}};
        rig_run(&c);
    }
}

static void test_gradient_and_refusals(void **state)
{
    (void)state;
    kl_maxout_opts o = {.window = 3};
    rig_case c = {.name = "maxout",
                  .op = &kl__op_maxout,
                  .attrs = &o,
                  .n_in = 1,
                  .in = {{KL_F32, {3, {2, 6, 5}}, RIG_NORMAL, 0, 0, NULL, false}}};
    rig_grad(&c);
    o.window = 4;
    rig_refused(&c, "window 4 does not divide the channels of input [2,6,5]");
    o.window = 0;
    rig_refused(&c, "window 0");
    o.window = 2;
    c.in[0].dtype = KL_I32;
    rig_refused(&c, "input is i32");
}

static void test_fast_variants_ran(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    if (kl__ctx_caps(ctx)->solo) {
        assert_true(rig_ran("maxout", "solo") > 0);
        assert_true(rig_ran("maxout_bwd", "solo") > 0);
    }
    kl_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),           cmocka_unit_test(test_nan_and_infinity),
        cmocka_unit_test(test_backward),          cmocka_unit_test(test_gradient_and_refusals),
        cmocka_unit_test(test_fast_variants_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
