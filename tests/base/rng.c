/* Random numbers: the golden values of their one definition, and an independent Philox. */
#include "rig.h"

#include "base/rng.h"

#include <math.h>
#include <string.h>

#ifdef HAVE_RANDOM123
#include <Random123/philox.h>
#endif

static uint32_t bits_of(double x)
{
    const float f = (float)x;
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static void philox_golden(void **state)
{
    (void)state;
    static const uint32_t in[3][6] = {
        {0, 0, 0, 0, 0, 0}, {1, 0, 0, 0, 42, 0}, {~0u, ~0u, ~0u, ~0u, ~0u, ~0u}};
    static const uint32_t want[3][4] = {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                        {0xfcdb2127, 0x53ba6cfd, 0x838f5a6e, 0x744e06fb},
                                        {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}};
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        kl__philox(in[i], in[i] + 4, out);
        assert_memory_equal(out, want[i], sizeof out);
    }
}

static void philox_is_random123_s(void **state)
{
    (void)state;
#ifdef HAVE_RANDOM123
    uint32_t x = 12345;
    for (int i = 0; i < 20000; i++) {
        uint32_t v[6], out[4];
        for (int k = 0; k < 6; k++) {
            x = x * 1664525u + 1013904223u;
            v[k] = x ^ (x >> 15);
        }
        philox4x32_ctr_t c = {{v[0], v[1], v[2], v[3]}};
        philox4x32_key_t key = {{v[4], v[5]}};
        const philox4x32_ctr_t want = philox4x32_R(10, c, key);
        kl__philox(v, v + 4, out);
        assert_memory_equal(out, want.v, sizeof out);
    }
#else
    skip();
#endif
}

static void words_golden(void **state)
{
    (void)state;
    static const uint32_t want[8] = {0x42aabd16, 0x4d481282, 0x7e41e9d6, 0x97ee0a5a,
                                     0x4d2ea4ac, 0x72ae2c45, 0x45ff7a11, 0x13fbe5cb};
    static const uint32_t init[4] = {0xc19a9f39, 0x01c4bc4c, 0x4254391a, 0x1fe03119};
    const kl__rng r = kl__rng_of(42, "dropout/fc1", 3);
    assert_int_equal(r.stream, 0x7b992e45u);
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(kl__rng_u32(r, i), want[i]);
    }
    assert_int_equal(kl__rng_u32(r, (uint64_t)1 << 34), 0xd8c0d705u);
    assert_int_equal(kl__rng_u32(kl__rng_of(((uint64_t)1 << 32) + 42, "dropout/fc1", 3), 0),
                     0xae9c7140u);
    const kl__rng w = kl__rng_of(42, "init/conv1.weight", 0);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(kl__rng_u32(w, i), init[i]);
    }
}

static void uniforms_golden(void **state)
{
    (void)state;
    static const double scaled[8] = {4369085, 5064722, 8274409, 9956874,
                                     5058212, 7515692, 4587386, 1309669};
    static const double plain[8] = {.2604177594, .3018809557, .4931932092, .5934759378,
                                    .3014929295, .4479701519, .2734295130, .0780623555};
    const kl__rng r = kl__rng_of(42, "dropout/fc1", 3);
    for (uint64_t i = 0; i < 8; i++) {
        assert_true((double)kl__rng_uniform(r, i) * 16777216.0 == scaled[i]);
        assert_true(fabs((double)kl__rng_uniform(r, i) - plain[i]) < 1e-10);
    }
}

static void dropout_golden(void **state)
{
    (void)state;
    const kl__rng r = kl__rng_of(42, "dropout/fc1", 3);
    const uint64_t t = kl__rng_drop_threshold(.3);
    char keep[17] = "";
    for (uint64_t i = 0; i < 16; i++) {
        keep[i] = kl__rng_u32(r, i) >= t ? '1' : '0';
    }
    assert_true(t == 1288490189u);
    assert_true(kl__rng_drop_threshold((double)(float).3) == 1288490240u);
    assert_string_equal(keep, "0111110011110111");
    assert_true(kl__rng_drop_threshold(1) == (uint64_t)1 << 32);
    assert_true(kl__rng_drop_threshold(.5) == (uint64_t)1 << 31);
    assert_true(kl__rng_drop_threshold(0) == 0);
    assert_true(kl__rng_drop_threshold(-1) == 0);
    assert_true(kl__rng_drop_threshold(2) == (uint64_t)1 << 32);
    assert_true(kl__rng_drop_threshold((double)NAN) == 0);
}

static void normals_golden(void **state)
{
    (void)state;
    static const double want[4] = {.746775191, .032434421, 1.165670339, 1.158582251};
    static const uint32_t bits[4] = {0x3f3f2ca9, 0x3d04d9f5, 0x3f9534b0, 0x3f944c6c};
    const kl__rng r = kl__rng_of(42, "init/conv1.weight", 0);
    for (uint64_t i = 0; i < 4; i++) {
        assert_true(fabs(kl__rng_normal(r, i) - want[i]) < 1e-9);
        assert_int_equal(bits_of(kl__rng_normal(r, i)), bits[i]);
        assert_int_equal(bits_of(kl__rng_trunc_normal(r, i)), bits[i]);
    }
}

static void truncated_normals_golden(void **state)
{
    (void)state;
    static const double attempts[3] = {-2.112912662, -2.023138229, -.105407008};
    for (uint32_t a = 0; a < 3; a++) {
        const double z = kl__rng_normal(kl__rng_of(42, "init/conv1.weight", a), 59);
        assert_true(fabs(z - attempts[a]) < 1e-9);
    }
    /* The step given is ignored: the attempts take its place. */
    const kl__rng r = kl__rng_of(42, "init/conv1.weight", 9);
    assert_int_equal(bits_of(kl__rng_trunc_normal(r, 59)), 0xbdd7dfa1u);
    assert_int_equal(bits_of(kl__rng_trunc_normal(r, 76)), 0xbf902c9fu);
    assert_int_equal(bits_of(kl__rng_trunc_normal(r, 110)), 0x3cde3789u);
    assert_true(fabs(kl__rng_trunc_normal(r, 76) + 1.126361768) < 1e-9);
    assert_true(fabs(kl__rng_trunc_normal(r, 110) - .027126091) < 1e-9);
}

static void normals_have_their_moments(void **state)
{
    (void)state;
    enum { N = 100000 };
    const kl__rng r = kl__rng_of(7, "init/x", 0);
    double sum = 0, squares = 0, far = 0, most = 0;
    for (uint64_t i = 0; i < N; i++) {
        const double z = kl__rng_normal(r, i);
        sum += z;
        squares += z * z;
        far += fabs(z) > 2;
        most = fmax(most, fabs(kl__rng_trunc_normal(r, i)));
    }
    assert_true(fabs(sum / N) < 0.015);
    assert_true(fabs(squares / N - 1) < 0.025);
    assert_true(fabs(far / N - 0.0455) < 0.004);
    assert_true(most <= 2 && most > 1.99);
}

static void shuffles_golden(void **state)
{
    (void)state;
    static const uint32_t want[2][10] = {{9, 8, 6, 5, 0, 2, 4, 7, 1, 3},
                                         {3, 7, 9, 6, 1, 5, 4, 8, 0, 2}};
    uint32_t order[10];
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        kl__rng_shuffle(42, epoch, order, 10);
        assert_memory_equal(order, want[epoch], sizeof order);
    }
    order[0] = 77;
    kl__rng_shuffle(42, 0, order, 0);
    assert_int_equal(order[0], 77);
    kl__rng_shuffle(42, 0, order, 1);
    assert_int_equal(order[0], 0);
}

static void below_stays_below(void **state)
{
    (void)state;
    const kl__rng r = kl__rng_of(1, "augment", 0);
    int hits[7] = {0};
    for (uint64_t i = 0; i < 7000; i++) {
        const uint32_t x = kl__rng_below(r, i, 7);
        assert_true(x < 7);
        hits[x]++;
    }
    for (int i = 0; i < 7; i++) {
        assert_in_range(hits[i], 850, 1150);
    }
    assert_int_equal(kl__rng_below(r, 0, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_golden),
        cmocka_unit_test(philox_is_random123_s),
        cmocka_unit_test(words_golden),
        cmocka_unit_test(uniforms_golden),
        cmocka_unit_test(dropout_golden),
        cmocka_unit_test(normals_golden),
        cmocka_unit_test(truncated_normals_golden),
        cmocka_unit_test(normals_have_their_moments),
        cmocka_unit_test(shuffles_golden),
        cmocka_unit_test(below_stays_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
