/* Philox4x32-10 as a function of (seed, stream, step, index): the device twin of src/base/rng.h,
 * word for word. Integers up to rng_uniform, which is exact, so every device draws the same. */
#ifndef KL_RNG_CL
#define KL_RNG_CL

#include "common.cl"

uint4 philox4x32_10(uint4 c, uint2 k)
{
    for (int i = 0; i < 10; i++) {
        const uint hi0 = mul_hi(0xD2511F53u, c.x), lo0 = 0xD2511F53u * c.x;
        const uint hi1 = mul_hi(0xCD9E8D57u, c.z), lo1 = 0xCD9E8D57u * c.z;
        c = (uint4)(hi1 ^ c.y ^ k.x, lo1, hi0 ^ c.w ^ k.y, lo0);
        k += (uint2)(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

/* Words of elements 4b .. 4b+3, for kernels that take four at a time. */
uint4 rng_block(uint seed_lo, uint seed_hi, uint stream, uint step, ulong b)
{
    const uint4 counter = (uint4)((uint)b, (uint)(b >> 32), stream, step);
    return philox4x32_10(counter, (uint2)(seed_lo, seed_hi));
}

/* The word of element i. */
uint rng_u32(uint seed_lo, uint seed_hi, uint stream, uint step, ulong i)
{
    const uint4 w = rng_block(seed_lo, seed_hi, stream, step, i >> 2);
    const uint j = (uint)i & 3u;
    return j < 2u ? (j == 0u ? w.x : w.y) : (j == 2u ? w.z : w.w);
}

/* [0, 1): 24 bits, so that 2^-24 times them is exact in float (and its literal in every T). */
T rng_uniform(uint seed_lo, uint seed_hi, uint stream, uint step, ulong i)
{
    return (T)(rng_u32(seed_lo, seed_hi, stream, step, i) >> 8) * (T)0x1.0p-24f;
}

#endif
