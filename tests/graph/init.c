/* Initial values: golden bits, and each distribution's bounds and moments. */
#include "graph/init.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint32_t bits(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static float *filled(kl_init init, kl_shape shape, const char *name, uint64_t seed)
{
    const kl__leaf l = {.shape = shape, .init = init, .trainable = true};
    float *v = malloc(((size_t)kl_shape_count(shape) + 1) * sizeof *v);
    assert_non_null(v);
    kl__init_fill(&l, name, seed, v);
    return v;
}

/* The words of stream init/conv1.weight for seed 42, and what the design's table gives for them. */
static void normals_are_the_golden_ones(void **state)
{
    static const uint32_t golden[] = {0x3f3f2ca9, 0x3d04d9f5, 0x3f9534b0, 0x3f944c6c};
    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        float *v = filled((kl_init){.kind = cut ? KL_INIT_TRUNC_NORMAL : KL_INIT_NORMAL},
                          (kl_shape){1, {120}}, "conv1.weight", 42);
        for (int i = 0; i < 4; i++)
            assert_int_equal(bits(v[i]), golden[i]);
        if (cut) { /* drawn anew until within 2 sigma */
            assert_int_equal(bits(v[59]), 0xbdd7dfa1);
            assert_int_equal(bits(v[76]), 0xbf902c9f);
            assert_int_equal(bits(v[110]), 0x3cde3789);
        } else {
            assert_true(v[59] < -2);
        }
        free(v);
    }
}

static void uniforms_are_words_scaled(void **state)
{
    static const uint32_t words[] = {0xc19a9f39, 0x01c4bc4c, 0x4254391a, 0x1fe03119};
    float *v = filled((kl_init){.kind = KL_INIT_UNIFORM, .a = -2, .b = 6}, (kl_shape){1, {4}},
                      "conv1.weight", 42);
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_true(v[i] == (float)(-2 + 8 * ((double)(words[i] >> 8) / 16777216)));
    free(v);
}

static void one_parameter_depends_on_nothing_else(void **state)
{
    const kl_init init = {.kind = KL_INIT_NORMAL};
    float *a = filled(init, (kl_shape){1, {8}}, "a", 1),
          *b = filled(init, (kl_shape){1, {8}}, "b", 1);
    float *c = filled(init, (kl_shape){1, {8}}, "a", 2),
          *d = filled(init, (kl_shape){2, {2, 8}}, "a", 1);
    (void)state;
    assert_memory_not_equal(a, b, 8 * sizeof *a);
    assert_memory_not_equal(a, c, 8 * sizeof *a);
    assert_memory_equal(a, d, 8 * sizeof *a); /* element i is element i */
    free(a), free(b), free(c), free(d);
}

typedef struct expectation {
    kl_init init;
    kl_shape shape;
    double mean, sigma, bound; /* bound 0: none */
} expectation;

/* fan_in of [64,16,3,3]: 144, fan_out: 576. Sigmas from the definitions, not from the code. */
static const expectation all[] = {
    {{.kind = KL_INIT_DEFAULT}, {4, {64, 16, 3, 3}}, 0, 0.11785113, 0},
    {{.kind = KL_INIT_HE_NORMAL}, {4, {64, 16, 3, 3}}, 0, 0.11785113, 0},
    {{.kind = KL_INIT_HE_UNIFORM}, {4, {64, 16, 3, 3}}, 0, 0.11785113, 0.20412415},
    {{.kind = KL_INIT_HE_TRUNC}, {4, {64, 16, 3, 3}}, 0, 0.11785113, 0.26795746},
    {{.kind = KL_INIT_GLOROT_NORMAL}, {4, {64, 16, 3, 3}}, 0, 0.05270463, 0},
    {{.kind = KL_INIT_GLOROT_UNIFORM}, {4, {64, 16, 3, 3}}, 0, 0.05270463, 0.09128709},
    {{.kind = KL_INIT_GLOROT_TRUNC}, {4, {64, 16, 3, 3}}, 0, 0.05270463, 0.11983422},
    {{.kind = KL_INIT_LECUN_NORMAL}, {4, {64, 16, 3, 3}}, 0, 0.08333333, 0},
    {{.kind = KL_INIT_LECUN_UNIFORM}, {4, {64, 16, 3, 3}}, 0, 0.08333333, 0.14433757},
    {{.kind = KL_INIT_LECUN_TRUNC}, {4, {64, 16, 3, 3}}, 0, 0.08333333, 0.18947454},
    {{.kind = KL_INIT_TORCH}, {4, {64, 16, 3, 3}}, 0, 0.04811252, 0.08333333},
    {{.kind = KL_INIT_TORCH}, {2, {100, 64}}, 0, 0.07216878, 0.125},
    {{.kind = KL_INIT_TORCH, .fan_in = 400}, {1, {8000}}, 0, 0.02886751, 0.05},
    {{.kind = KL_INIT_GLOROT_UNIFORM, .fan_in = 100, .fan_out = 200},
     {1, {8000}},
     0,
     0.08164966,
     0.14142136},
    {{.kind = KL_INIT_NORMAL, .a = 3, .b = 0.5f}, {1, {8000}}, 3, 0.5, 0},
    {{.kind = KL_INIT_NORMAL}, {1, {8000}}, 0, 1, 0},
    {{.kind = KL_INIT_TRUNC_NORMAL, .b = 0.05f}, {1, {8000}}, 0, 0.04398128, 0.1},
    {{.kind = KL_INIT_UNIFORM, .a = -1, .b = 1}, {1, {8000}}, 0, 0.57735027, 1},
};

static void distributions_have_their_moments(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        const expectation *e = &all[k];
        size_t n = (size_t)kl_shape_count(e->shape);
        float *v = filled(e->init, e->shape, "w", 5);
        double sum = 0, square = 0, most = 0;
        for (size_t i = 0; i < n; i++) {
            double d = (double)v[i] - e->mean;
            sum += d;
            square += d * d;
            most = fmax(most, fabs(d));
        }
        double off = sum / (double)n, sigma = sqrt(square / (double)n);
        if (fabs(off) > 4 * e->sigma / sqrt((double)n) ||
            fabs(sigma / e->sigma - 1) > 4 / sqrt((double)n))
            fail_msg("case %zu: mean off by %g, sigma %g, expected %g", k, off, sigma, e->sigma);
        if (e->bound > 0 && (most > e->bound * 1.0000001 || most < 0.97 * e->bound))
            fail_msg("case %zu: reaches %g, the bound is %g", k, most, e->bound);
        free(v);
    }
}

static void constants(void **state)
{
    static const struct {
        kl_init init;
        kl_shape shape;
        float value;
    } c[] = {
        {{.kind = KL_INIT_ZEROS}, {2, {3, 4}}, 0},
        {{.kind = KL_INIT_ONES}, {1, {12}}, 1},
        {{.kind = KL_INIT_CONSTANT, .a = -2.5f}, {1, {9}}, -2.5f},
        {{.kind = KL_INIT_DEFAULT}, {1, {9}}, 0},
        {{.kind = KL_INIT_DEFAULT}, {0, {0}}, 0},
    };
    (void)state;
    for (size_t k = 0; k < sizeof c / sizeof *c; k++) {
        float *v = filled(c[k].init, c[k].shape, "w", 5);
        for (int64_t i = 0; i < kl_shape_count(c[k].shape); i++)
            assert_true(v[i] == c[k].value);
        free(v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normals_are_the_golden_ones),
        cmocka_unit_test(uniforms_are_words_scaled),
        cmocka_unit_test(one_parameter_depends_on_nothing_else),
        cmocka_unit_test(distributions_have_their_moments),
        cmocka_unit_test(constants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
