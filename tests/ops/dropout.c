/* Dropout: its draws are the one definition's, whatever the vector width, the alignment and the
 * split. */
#include "rig.h"

#include "base/hash.h"
#include "base/rng.h"
#include "graph/graph.h"
#include "ops/dropout.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static uint64_t seed, first;
static uint32_t when;
static double rate; /* as written */

static void reference(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl__rng r = {seed, (uint32_t)((const kl__drop *)a->attrs)->stream, when};
    const kl_shape s = a->in[0]->desc.shape;
    const uint64_t n = (uint64_t)kl_shape_count(s), each = n / (uint64_t)s.dim[0];
    const uint64_t threshold = (uint64_t)floor(rate * 4294967296.0 + 0.5);
    for (uint64_t j = 0; j < n; j++)
        out[0][j] = kl__rng_u32(r, first * each + j) >= threshold ? in[0][j] / (1 - rate) : 0;
}

static rig_case case_of(const kl__drop *k, kl_shape s)
{
    rig_case c = {
        "dropout", &kl__op_drop, k,   1,   0, {{KL_F32, s, RIG_UNIFORM, 1, 2, NULL, false}},
        reference, {RIG_ULP, 3}, {0}, NULL};
    c.step[KL__STEP_STEP] = when;
    c.step[KL__STEP_SEED_LO] = (uint32_t)seed;
    c.step[KL__STEP_SEED_HI] = (uint32_t)(seed >> 32);
    c.step[KL__STEP_FIRST_LO] = (uint32_t)first;
    c.step[KL__STEP_FIRST_HI] = (uint32_t)(first >> 32);
    return c;
}

static void test_draws(void **state)
{
    (void)state;
    const kl_shape shapes[] = {{1, {1}},     {2, {1, 3}},    {2, {1, 7}},       {2, {5, 3}},
                               {2, {1, 17}}, {2, {3, 31}},   {4, {2, 3, 5, 7}}, {2, {3, 63}},
                               {2, {1, 64}}, {2, {1, 4096}}, {2, {1, 4097}},    {2, {3, 4099}},
                               {2, {9, 33}}};
    const uint64_t firsts[] = {0, 1, 3, 0xffffffffu, (uint64_t)5 << 33};
    const float rates[] = {0.3f, 0.5f, 0.9f};
    when = 3;
    seed = ((uint64_t)7 << 32) + 42;
    for (size_t i = 0; i < COUNT(shapes); i++)
        for (size_t f = 0; f < COUNT(firsts); f++) {
            const kl__drop k = {.rate = rates[(i + f) % 3],
                                .stream = (int)kl__fnv1a("dropout/fc1")};
            rate = (double[]){0.3, 0.5, 0.9}[(i + f) % 3];
            first = firsts[f];
            rig_case c = case_of(&k, shapes[i]);
            rig_run(&c);
        }
}

static void golden_mask(const kl__apply *a, const double *const *in, double *const *out)
{
    (void)a;
    const char *keep = "0111110011110111";
    for (int i = 0; i < 16; i++)
        out[0][i] = keep[i] == '1' ? in[0][i] / 0.7 : 0;
}

static void test_golden_mask(void **state)
{
    (void)state;
    seed = 42;
    when = 3;
    first = 0;
    const kl__drop k = {.rate = 0.3f, .stream = (int)kl__fnv1a("dropout/fc1")};
    assert_int_equal((uint32_t)k.stream, 0x7b992e45u);
    rig_case c = case_of(&k, (kl_shape){2, {1, 16}});
    c.ref = golden_mask;
    rig_run(&c);
}

/* Element 2^34 of seed 42 has word d8c0d705, of seed 2^32 + 42 element 0 has ae9c7140: both lie on
 * the kept side of a threshold just below, on the dropped side of one just above. */
static double expected_of_one;
static void one(const kl__apply *a, const double *const *in, double *const *out)
{
    (void)a;
    out[0][0] = expected_of_one == 0 ? 0 : in[0][0] / (1 - expected_of_one);
}
static void test_high_words(void **state)
{
    (void)state;
    const struct {
        uint64_t seed, first;
        uint32_t word;
    } g[] = {{42, (uint64_t)1 << 34, 0xd8c0d705u},
             {((uint64_t)1 << 32) + 42, 0, 0xae9c7140u},
             {42, 0, 0x42aabd16u}};
    when = 3;
    for (size_t i = 0; i < COUNT(g); i++)
        for (int above = 0; above < 2; above++) {
            const float r = (float)(((double)g[i].word + (above ? 4096 : -4096)) / 4294967296.0);
            const kl__drop k = {.rate = r, .stream = (int)kl__fnv1a("dropout/fc1")};
            seed = g[i].seed;
            first = g[i].first;
            expected_of_one = above ? 0 : (double)r;
            rig_case c = case_of(&k, (kl_shape){1, {1}});
            c.ref = one;
            c.tol.k = 8;
            rig_run(&c);
        }
}

static void test_rate_one_and_nan(void **state)
{
    (void)state;
    double x[70];
    for (int i = 0; i < 70; i++)
        x[i] = i % 3 ? 1 : NAN;
    seed = 42;
    when = 0;
    first = 0;
    rate = 1;
    kl__drop k = {.rate = 1, .stream = 5};
    rig_case c = case_of(&k, (kl_shape){2, {2, 70}});
    rig_run(&c); /* zeros */
    rate = 0.5;
    k.rate = 0.5f;
    c = case_of(&k, (kl_shape){2, {1, 70}});
    c.in[0].fill = RIG_DATA;
    c.in[0].data = x;
    rig_run(&c); /* a kept NaN stays, a dropped one is 0 */
}

static void test_gradient(void **state)
{
    (void)state;
    seed = 1;
    when = 2;
    first = 3;
    const kl__drop k = {.rate = 0.4f, .stream = 9};
    rig_case c = case_of(&k, (kl_shape){2, {4, 9}});
    rig_grad(&c);
}

static void test_lowering(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){2, {KL_BATCH, 8}});
    kl_output(g, "y", kl_dropout(g, x, &(kl_dropout_opts){.name = "fc1"}));
    kl_output(g, "z", kl_dropout(g, x, &(kl_dropout_opts){.rate = (float)KL_NONE}));
    kl_graph *train = kl__graph_lower(g, 2, true, KL_F32, NULL, 0),
             *infer = kl__graph_lower(g, 2, false, KL_F32, NULL, 0);
    assert_non_null(train);
    assert_non_null(infer);
    assert_true(kl__is_input(kl_graph_output(infer, "y")));
    assert_true(kl__is_input(kl_graph_output(train, "z")));
    const kl__apply *a = kl_graph_output(train, "y")->by;
    assert_ptr_equal(a->op, &kl__op_drop);
    assert_int_equal((uint32_t)((const kl__drop *)a->attrs)->stream, 0x7b992e45u);
    assert_true(((const kl__drop *)a->attrs)->rate == 0.5f);
    kl_graph_destroy(train);
    kl_graph_destroy(infer);
    kl_dropout(g, x, &(kl_dropout_opts){.rate = 1.25f});
    assert_int_equal(kl_graph_check(g), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "rate 1.25 is not in 0..1"));
    kl_graph_destroy(g);
}

static void test_fast_variant_ran(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    if (kl__ctx_caps(ctx)->solo)
        assert_true(rig_ran("drop", "solo") > 0);
    kl_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_golden_mask),
        cmocka_unit_test(test_high_words),
        cmocka_unit_test(test_rate_one_and_nan),
        cmocka_unit_test(test_gradient),
        cmocka_unit_test(test_lowering),
        cmocka_unit_test(test_fast_variant_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
