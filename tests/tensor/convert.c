/* Host conversions between dtypes: every half, rounding to nearest even from both floats, clamping.
 */
#include "base/rng.h"
#include "tensor/tensor.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/** Value of a finite half from its bits, in units of 2^-24: an integer. */
static int64_t units(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    return e ? (int64_t)(1024 + m) << (e - 1) : m;
}

/** The nearest half by looking at all of them; ties to even. Nothing is computed as the library
 * does it. */
static uint16_t nearest(double x)
{
    uint16_t sign = signbit(x) ? 0x8000 : 0, best = 0;
    x = fabs(x) * 16777216.0; /* exact: a power of two, and far from the ends of a double */
    int lo = 0, hi = 0x7bff;
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        if ((double)units((uint16_t)mid) <= x)
            lo = mid;
        else
            hi = mid;
    }
    double below = x - (double)units((uint16_t)lo), above = (double)units((uint16_t)hi) - x;
    best = (uint16_t)(below < above || (below == above && lo % 2 == 0) ? lo : hi);
    /* beyond the largest: half a step more rounds to infinity */
    if (x >= (double)units(0x7bff) + (double)((int64_t)16 << 24))
        best = 0x7c00;
    return (uint16_t)(sign | best);
}

static uint16_t half(double x)
{
    uint16_t h;
    kl__convert(&h, KL_F16, &x, KL_F64, 1);
    return h;
}

static void every_half_survives_both_floats(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t h = (uint16_t)i, back32, back64;
        float f;
        double d;
        kl__convert(&f, KL_F32, &h, KL_F16, 1);
        kl__convert(&d, KL_F64, &h, KL_F16, 1);
        kl__convert(&back32, KL_F16, &f, KL_F32, 1);
        kl__convert(&back64, KL_F16, &d, KL_F64, 1);
        if ((h & 0x7fff) > 0x7c00) {
            if (!isnan(f) || !isnan(d) || (back32 & 0x7fff) <= 0x7c00 ||
                (back64 & 0x7fff) <= 0x7c00)
                fail_msg("the NaN %04x is lost", i);
            continue;
        }
        double want = (h & 0x7fff) == 0x7c00 ? INFINITY : (double)units(h & 0x7fff) / 16777216.0;
        want = h >> 15 ? -want : want;
        if (d != want || (double)f != want || !signbit(d) != !(h >> 15))
            fail_msg("half %04x is %g; got %g and %g", i, want, d, (double)f);
        if (back32 != h || back64 != h)
            fail_msg("half %04x came back as %04x and %04x", i, back32, back64);
    }
}

static void halfs_round_to_nearest_even(void **state)
{
    (void)state;
    static const struct {
        double x;
        uint16_t h;
    } table[] = {
        {0.0, 0x0000},
        {-0.0, 0x8000},
        {1.0, 0x3c00},
        {-2.0, 0xc000},
        {65504.0, 0x7bff},
        {65519.996, 0x7bff},
        {65520.0, 0x7c00},
        {-65520.0, 0xfc00},
        {1e300, 0x7c00},
        {0x1p-24, 0x0001},
        {0x1p-25, 0x0000},
        {0x1.000002p-25, 0x0001},
        {0x3p-25, 0x0002},
        {0x1p-14, 0x0400},
        {0x1.ff8p-15, 0x03ff},
        {0x1.ffcp-15, 0x0400}, /* a denormal rounds up to the first normal */
        {0x1.ffbfffp-15, 0x03ff},
        {1 + 0x1p-11, 0x3c00},
        {1 + 0x3p-11, 0x3c02},
        {2 - 0x1p-11, 0x4000},
        {1 + 0x1p-11 + 0x1p-40,
         0x3c01}, /* rounded to f32 first it would be the tie, and end at 3c00 */
        {DBL_TRUE_MIN, 0x0000},
        {-DBL_TRUE_MIN, 0x8000},
        {0.1, 0x2e66},
        {1.0 / 3, 0x3555},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (half(table[i].x) != table[i].h)
            fail_msg("%a gives %04x, not %04x", table[i].x, half(table[i].x), table[i].h);
    assert_int_equal(half(INFINITY), 0x7c00);
    assert_int_equal(half(-INFINITY), 0xfc00);
    assert_true((half((double)NAN) & 0x7fff) > 0x7c00);
}

static void rounding_agrees_with_a_search(void **state)
{
    (void)state;
    kl__rng r = kl__rng_of(5, "halfs", 0);
    for (uint64_t i = 0; i < 200000; i++) {
        double x = ldexp(kl__rng_normal(r, i), (int)(i % 48) - 30);
        float f = (float)x;
        uint16_t h;
        kl__convert(&h, KL_F16, &f, KL_F32, 1);
        if (half(x) != nearest(x) || h != nearest((double)f))
            fail_msg("%a gives %04x, the nearest is %04x; as a float %04x and %04x", x, half(x),
                     nearest(x), h, nearest((double)f));
    }
    for (uint32_t i = 0; i < 0x7bff; i++) { /* every tie, and its neighbours */
        double tie = (double)(units((uint16_t)i) + units((uint16_t)(i + 1))) / 2 / 16777216.0;
        assert_int_equal(half(tie), i % 2 ? i + 1 : i);
        assert_int_equal(half(nextafter(tie, 0)), i);
        assert_int_equal(half(nextafter(tie, 1e9)), i + 1);
    }
}

static void integers_clamp(void **state)
{
    (void)state;
    const double in[] = {-1e300, -INFINITY,    -2147483649.0, -2147483648.0, -1.5,       -0.5,
                         0,      0.99,         1.5,           254.9,         255,        255.5,
                         256,    2147483647.0, 2147483648.0,  INFINITY,      (double)NAN};
    const int32_t want[] = {INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, -1,       0,
                            0,         0,         1,         254,       255,      255,
                            256,       INT32_MAX, INT32_MAX, INT32_MAX, INT32_MIN};
    const uint8_t bytes[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 254, 255, 255, 255, 255, 255, 255, 0};
    enum { N = sizeof in / sizeof *in };
    int32_t i32[N];
    uint8_t u8[N];
    kl__convert(i32, KL_I32, in, KL_F64, N);
    kl__convert(u8, KL_U8, in, KL_F64, N);
    for (size_t i = 0; i < N; i++)
        if (i32[i] != want[i] || u8[i] != bytes[i])
            fail_msg("%g gives %d and %d, not %d and %d", in[i], i32[i], u8[i], want[i], bytes[i]);
    const int32_t wide[] = {-1, 0, 7, 255, 256, INT32_MAX, INT32_MIN};
    const uint8_t narrow[] = {0, 0, 7, 255, 255, 255, 0};
    kl__convert(u8, KL_U8, wide, KL_I32, 7);
    assert_memory_equal(u8, narrow, 7);
}

static void integers_are_exact_in_doubles(void **state)
{
    (void)state;
    const int32_t in[] = {INT32_MIN, -16777217, -1, 0, 1, 16777217, INT32_MAX};
    int32_t back[7];
    double d[7];
    kl__convert(d, KL_F64, in, KL_I32, 7);
    kl__convert(back, KL_I32, d, KL_F64, 7);
    assert_memory_equal(in, back, sizeof in);
    for (int i = 0; i < 256; i++) {
        uint8_t u = (uint8_t)i, again;
        uint16_t h;
        float f;
        kl__convert(&h, KL_F16, &u, KL_U8, 1);
        kl__convert(&f, KL_F32, &h, KL_F16, 1);
        kl__convert(&again, KL_U8, &f, KL_F32, 1);
        assert_true(f == (float)i && again == u);
    }
}

/* The same dtype is a copy of the bits, NaNs with what they carry included; nothing is copied for
 * none. */
static void the_same_dtype_is_a_copy(void **state)
{
    (void)state;
    const uint32_t in[] = {0x7fc0dead, 0xff800001, 0x80000000, 0x00000001};
    const uint16_t halfs[] = {0x7e01, 0xfc01, 0x8000};
    uint32_t out[4] = {0};
    uint16_t h[3] = {0};
    kl__convert(out, KL_F32, in, KL_F32, 4);
    assert_memory_equal(in, out, sizeof in);
    kl__convert(h, KL_F16, halfs, KL_F16, 3);
    assert_memory_equal(halfs, h, sizeof h);
    kl__convert(NULL, KL_F32, NULL, KL_F32, 0);
    kl__convert(NULL, KL_F16, NULL, KL_F32, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_survives_both_floats),
        cmocka_unit_test(halfs_round_to_nearest_even),
        cmocka_unit_test(rounding_agrees_with_a_search),
        cmocka_unit_test(integers_clamp),
        cmocka_unit_test(integers_are_exact_in_doubles),
        cmocka_unit_test(the_same_dtype_is_a_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
