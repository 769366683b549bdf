#include "base/rng.h"

#include "base/hash.h"

#include <math.h>

enum { ROUNDS = 10 };

static const double TWO_PI = 6.283185307179586476925286766559;
static const double ULP24 = 1.0 / 16777216.0;

kl__rng kl__rng_of(uint64_t seed, const char *stream, uint32_t step)
{
    return (kl__rng){seed, kl__fnv1a(stream), step};
}

void kl__philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3], k0 = key[0], k1 = key[1];
    for (int i = 0; i < ROUNDS; i++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static void block_of(kl__rng r, uint64_t i, uint32_t out[4])
{
    const uint64_t b = i / 4;
    const uint32_t ctr[4] = {(uint32_t)b, (uint32_t)(b >> 32), r.stream, r.step};
    const uint32_t key[2] = {(uint32_t)r.seed, (uint32_t)(r.seed >> 32)};
    kl__philox(ctr, key, out);
}

uint32_t kl__rng_u32(kl__rng r, uint64_t i)
{
    uint32_t w[4];
    block_of(r, i, w);
    return w[i % 4];
}

float kl__rng_uniform(kl__rng r, uint64_t i)
{
    return (float)(kl__rng_u32(r, i) >> 8) * (float)ULP24;
}

double kl__rng_normal(kl__rng r, uint64_t i)
{
    uint32_t w[4];
    block_of(r, i, w);
    const uint32_t *pair = w + (i % 4 / 2) * 2;
    const double u1 =
        ((double)(pair[0] >> 8) + 1.0) * ULP24; /* (0, 1]: it goes under a logarithm */
    const double u2 = (double)(pair[1] >> 8) * ULP24;
    const double radius = sqrt(-2.0 * log(u1)), angle = TWO_PI * u2;
    return radius * (i % 2 ? sin(angle) : cos(angle));
}

double kl__rng_trunc_normal(kl__rng r, uint64_t i)
{
    /* One attempt in 22 is rejected; forty in a row happen once in 10^53 draws. */
    double z;
    r.step = 0;
    do {
        z = kl__rng_normal(r, i);
        r.step++;
    } while (fabs(z) > 2.0);
    return z;
}

uint32_t kl__rng_below(kl__rng r, uint64_t i, uint32_t n)
{
    return (uint32_t)(((uint64_t)kl__rng_u32(r, i) * n) >> 32);
}

void kl__rng_shuffle(uint64_t seed, uint32_t epoch, uint32_t *order, uint32_t n)
{
    const kl__rng r = kl__rng_of(seed, "shuffle", epoch);
    for (uint32_t i = 0; i < n; i++) {
        order[i] = i;
    }
    for (uint32_t i = n; i-- > 1;) {
        const uint32_t j = kl__rng_below(r, i, i + 1);
        const uint32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

uint64_t kl__rng_drop_threshold(double rate)
{
    if (!(rate > 0)) {
        return 0;
    }
    return rate >= 1 ? (uint64_t)1 << 32 : (uint64_t)floor(rate * 4294967296.0 + 0.5);
}
