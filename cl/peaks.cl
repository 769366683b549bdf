/* What a device can do at most: multiply-adds from registers, and bytes moved over working sets
 * that fit one cache or another. `kiln bench` tells kernels' times as shares of these. Every
 * work-item of a group takes every LS-th vector of the group's chunk; one body serves groups of one
 * item with wide vectors and groups of many with narrow ones. */
#include "vec.cl"

#define EACH(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)

/* 24 rounds VN operations per work-item; named accumulators, so that no index is left to chance. */
kernel void peaks_fma(global T *y, ulong y0, uint rounds, T a, T b)
{
    const V va = (V)(a), vb = (V)(b);
#define START(i) V s##i = (V)(a * (T)i);
#define STEP(i) s##i = fma(s##i, va, vb);
#define SUM(i) +s##i
    EACH(START)
    for (uint r = 0; r < rounds; r++) {
        EACH(STEP)
    }
    VSTORE(EACH(SUM), y + y0 + get_global_id(0) * VN);
#undef START
#undef STEP
#undef SUM
}

/* `rounds` times over a chunk of `n` vectors per group, a multiple of 8 groups' width. */
kernel void peaks_read(global const T *x, ulong x0, global T *y, ulong y0, uint n, uint rounds)
{
    const uint ls = (uint)get_local_size(0);
    global const T *p = x + x0 + (get_group_id(0) * (size_t)n + get_local_id(0)) * VN;
    V s0 = (V)((T)0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
    for (uint r = 0; r < rounds; r++)
        for (uint k = 0; k < n; k += 8 * ls) {
            global const T *q = p + (size_t)k * VN;
            s0 += VLOAD(q);
            s1 += VLOAD(q + (size_t)ls * VN);
            s2 += VLOAD(q + (size_t)ls * 2 * VN);
            s3 += VLOAD(q + (size_t)ls * 3 * VN);
            s4 += VLOAD(q + (size_t)ls * 4 * VN);
            s5 += VLOAD(q + (size_t)ls * 5 * VN);
            s6 += VLOAD(q + (size_t)ls * 6 * VN);
            s7 += VLOAD(q + (size_t)ls * 7 * VN);
        }
    VSTORE(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7, y + y0 + get_global_id(0) * VN);
}

/* The same with as much written as read. */
kernel void peaks_copy(global const T *x, ulong x0, global T *y, ulong y0, uint n, uint rounds)
{
    const uint ls = (uint)get_local_size(0);
    const size_t at = (get_group_id(0) * (size_t)n + get_local_id(0)) * VN;
    for (uint r = 0; r < rounds; r++)
        for (uint k = 0; k < n; k += 8 * ls) {
            global const T *q = x + x0 + at + (size_t)k * VN;
            global T *to = y + y0 + at + (size_t)k * VN;
#pragma unroll
            for (uint i = 0; i < 8; i++)
                VSTORE(VLOAD(q + (size_t)i * ls * VN) + (V)((T)r), to + (size_t)i * ls * VN);
        }
}

/* A launch that does next to nothing. */
kernel void peaks_empty(global T *y, ulong y0)
{
    y[y0 + get_global_id(0)] = (T)0;
}
