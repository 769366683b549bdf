/* Global gradient norm: fixed-order sums, frozen groups, clipping, and what is not finite. */
#include "rig.h"

#include "ops/grad_norm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void reference(const kl__apply *a, const double *const *in, double *const *out)
{
    const double max = (double)((const kl__grad_norm *)a->attrs)->max_norm;
    double sum = 0;
    for (int64_t i = 0; i < a->in[0]->desc.shape.dim[0]; i++)
        if (in[2][4 * (size_t)in[1][i / 64] + 2] != 0)
            sum += in[0][i] * in[0][i];
    const double norm = sqrt(sum) / in[3][0], f = max / (norm + 1e-6);
    out[0][0] = norm;
    out[0][1] = max > 0 && !(f >= 1) ? f : 1;
}

static rig_case case_of(const kl__grad_norm *k, int64_t p)
{
    static const double rows[8] = {1, 0, 1, 0, 1, 0, 0, 0}, weight = 8;
    return (rig_case){"grad_norm",
                      &kl__op_grad_norm,
                      k,
                      4,
                      0,
                      {{KL_F32, {1, {p}}, RIG_NORMAL, 0, 1, NULL, false},
                       {KL_U8, {1, {p / 64}}, RIG_INDEX, 0, 2, NULL, true},
                       {KL_F32, {2, {2, 4}}, RIG_DATA, 0, 0, rows, true},
                       {KL_F32, {1, {1}}, RIG_DATA, 0, 0, &weight, true}},
                      reference,
                      {RIG_ULP, 16},
                      {0},
                      NULL};
}

static void test_norm_and_factor(void **state)
{
    (void)state;
    const int64_t sizes[] = {64, 128, 4096, 4160, 64 * 1000, 4096 * 70};
    const float limits[] = {0, 0.5f, 1e6f};
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (size_t m = 0; m < COUNT(limits); m++) {
            const kl__grad_norm k = {limits[m]};
            rig_case c = case_of(&k, sizes[i]);
            rig_run(&c);
        }
}

static void test_three_four_five(void **state)
{
    (void)state;
    double g[128] = {0};
    g[1] = 24;
    g[127] = 32;
    const double groups[2] = {0, 0};
    const kl__grad_norm k = {2.5f};
    rig_case c = case_of(&k, 128);
    c.in[0].fill = c.in[1].fill = RIG_DATA;
    c.in[0].data = g;
    c.in[1].data = groups;
    c.tol.k = 4;
    rig_run(&c); /* 40 / 8 = 5, factor .5 less the 1e-6 */
}

static void test_not_finite(void **state)
{
    (void)state;
    enum { MANY = 66048 }; /* in parts; 256 at once */
    static double g[MANY], trained[MANY / 64], frozen[MANY / 64] = {0, 0, 1};
    const double bad[] = {NAN, INFINITY, -INFINITY};
    const kl__grad_norm k = {1};
    for (size_t i = 0; i < 2 * COUNT(bad); i++) {
        g[130] = bad[i / 2];
        g[7] = 3;
        rig_case c = case_of(&k, i % 2 ? MANY : 256);
        c.in[0].fill = c.in[1].fill = RIG_DATA;
        c.in[0].data = g;
        c.in[1].data = trained;
        rig_run(&c); /* norm as the double one: not finite; an infinite norm has factor 0 */
        c.in[1].data = frozen;
        rig_run(&c); /* what is not trained does not count */
    }
}

static void test_nothing_to_sum(void **state)
{
    (void)state;
    const kl__grad_norm k = {1};
    rig_case c = case_of(&k, 0);
    c.tol.kind = RIG_EXACT;
    rig_run(&c); /* norm 0, factor 1 */
}

static void test_refusal(void **state)
{
    (void)state;
    const kl__grad_norm k = {-1};
    rig_case c = case_of(&k, 64);
    rig_refused(&c, "max_norm -1 is below 0");
}

static void test_fast_variant_ran(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    if (kl__ctx_caps(ctx)->solo)
        assert_true(rig_ran("grad_norm", "solo") > 0);
    kl_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm_and_factor), cmocka_unit_test(test_three_four_five),
        cmocka_unit_test(test_not_finite),      cmocka_unit_test(test_nothing_to_sum),
        cmocka_unit_test(test_refusal),         cmocka_unit_test(test_fast_variant_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
