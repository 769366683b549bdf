/* Dropout for CPU-like devices: VN Philox blocks at a time, one per lane, four words each,
 * interleaved back to the order of elements. One work-item per group takes `span` elements. Bound:
 * integer arithmetic of Philox. */
#include "norm_vec.cl"
#include "rng.cl"
#include "step.cl"

/* Wide products: one instruction for the low and the high half, where mul_hi() goes lane by lane.
 */
#define VL VCAT(ulong, VN)
#define TO_VL VCAT(convert_ulong, VN)
#define TO_VU VCAT(convert_uint, VN)

/* Lanes a0 b0 a1 b1 ... of two vectors, in two vectors. */
#define INTERLEAVE(lo_, hi_, a, b)                                                                 \
    lo_.even = (a).lo;                                                                             \
    lo_.odd = (b).lo;                                                                              \
    hi_.even = (a).hi;                                                                             \
    hi_.odd = (b).hi

#define STORE(k, w) VST((w) >= (VU)threshold ? VLD(x + j + (k)*VN) * scale : (VF)0, y + j + (k)*VN)

/* Item t has the elements whose number i lies in [t span, (t + 1) span) from base rounded down to a
 * multiple of 4 VN, so that vectors begin where blocks do; span is a multiple of 4 VN. */
kernel void dropout_solo(global const float *x, ulong x_at, global float *y, ulong y_at,
                         global const uint *step, ulong step_at, int count, uint per_sample,
                         uint stream, uint threshold, int none, float scale, int span)
{
    step += step_at;
    x += x_at;
    y += y_at;
    const uint k0 = step[KL_STEP_SEED_LO], k1 = step[KL_STEP_SEED_HI], when = step[KL_STEP_STEP];
    const ulong first = (ulong)step[KL_STEP_FIRST_LO] | (ulong)step[KL_STEP_FIRST_HI] << 32;
    const ulong base = first * per_sample,
                begin = base / (4 * VN) * (4 * VN) + get_global_id(0) * (ulong)span;
    for (int g = 0; g < span; g += 4 * VN) {
        const ulong i0 = begin + g;
        const long j = (long)(i0 - base);
        if (j >= count)
            return;
        if (none || j < 0 || j + 4 * VN > count) { /* the ends of the range */
            for (int k = 0; k < 4 * VN; k++)
                if (j + k >= 0 && j + k < count)
                    y[j + k] = !none && rng_u32(k0, k1, stream, when, i0 + k) >= threshold
                                   ? x[j + k] * scale
                                   : 0;
            continue;
        }
        /* VN divides the first block's number, so no carry leaves the low word within a vector */
        VU a = (VU)(uint)(i0 >> 2) + TO_VU(LANE), b = (VU)(uint)(i0 >> 34), c = (VU)stream,
           d = (VU)when;
        uint p = k0, q = k1;
#pragma unroll
        for (int r = 0; r < 10; r++) {
            const VL m0 = TO_VL(a) * 0xD2511F53u, m1 = TO_VL(c) * 0xCD9E8D57u;
            const VU h0 = TO_VU(m0 >> 32), l0 = TO_VU(m0), h1 = TO_VU(m1 >> 32), l1 = TO_VU(m1);
            a = h1 ^ b ^ p;
            b = l1;
            c = h0 ^ d ^ q;
            d = l0;
            p += 0x9E3779B9u;
            q += 0xBB67AE85u;
        }
        VU e0, e1, o0, o1, w0, w1, w2, w3;
        INTERLEAVE(e0, e1, a, c);
        INTERLEAVE(o0, o1, b, d);
        INTERLEAVE(w0, w1, e0, o0);
        INTERLEAVE(w2, w3, e1, o1);
        STORE(0, w0);
        STORE(1, w1);
        STORE(2, w2);
        STORE(3, w3);
    }
}
