/* Host conversions between dtypes. */
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

static double half_value(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double v = e == 0 ? ldexp(m, -24) : e == 31 ? (m ? NAN : INFINITY) : ldexp(m + 1024, e - 25);
    return h >> 15 ? -v : v;
}

/** Nearest, ties to even, straight from double so that nothing is rounded twice. */
static uint16_t half_of(double x)
{
    uint16_t sign = signbit(x) ? 0x8000 : 0;
    x = fabs(x);
    if (isnan(x))
        return (uint16_t)(sign | 0x7e00);
    if (x >= 65520)
        return (uint16_t)(sign | 0x7c00);
    int e = 0;
    frexp(x, &e);
    int unit = e - 11 < -24 ? -24 : e - 11; /* exponent of the last place */
    double n = rint(ldexp(x, -unit));       /* rint: to even in the default rounding mode */
    if (n >= 2048) {
        n /= 2;
        unit++;
    }
    int bits = n < 1024 ? (int)n : ((unit + 25) << 10 | ((int)n - 1024));
    return (uint16_t)(sign | bits);
}

static double load(const void *p, kl_dtype t, size_t i)
{
    switch (t) {
    case KL_F32:
        return (double)((const float *)p)[i];
    case KL_F16:
        return half_value(((const uint16_t *)p)[i]);
    case KL_I32:
        return ((const int32_t *)p)[i];
    case KL_U8:
        return ((const uint8_t *)p)[i];
    case KL_F64:
        return ((const double *)p)[i];
    }
    return 0;
}

static double clamp(double v, double lo, double hi)
{
    return v >= lo ? (v <= hi ? v : hi) : lo; /* NaN becomes lo */
}

static void store(void *p, kl_dtype t, size_t i, double v)
{
    switch (t) {
    case KL_F32:
        ((float *)p)[i] = (float)v;
        break;
    case KL_F16:
        ((uint16_t *)p)[i] = half_of(v);
        break;
    case KL_I32:
        ((int32_t *)p)[i] = (int32_t)clamp(v, INT32_MIN, INT32_MAX);
        break;
    case KL_U8:
        ((uint8_t *)p)[i] = (uint8_t)clamp(v, 0, 255);
        break;
    case KL_F64:
        ((double *)p)[i] = v;
        break;
    }
}

void kl__convert(void *dst, kl_dtype to, const void *src, kl_dtype from, size_t n)
{
    if (to == from) {
        if (n)
            memcpy(dst, src, n * kl_dtype_size(to));
        return;
    }
    for (size_t i = 0; i < n; i++)
        store(dst, to, i, load(src, from, i));
}
