/* Strided copies: concat, slice, and the transposes that keep their last axis. Elements are moved
 * as bits, so one kernel serves every dtype of a size. Bound: memory bandwidth, one read and one
 * write per element. */
#include "common.cl"

#ifndef E /* unsigned type of an element's size: uchar, ushort, uint, ulong */
#define E uint
#endif
#ifndef V /* elements per vector in the SOLO kernel */
#define V 4
#endif
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define LOAD CAT(vload, V)
#define STORE CAT(vstore, V)

/* n elements over six axes (leading ones are 1): d1..d5 extents, s* strides in x, t* strides in y.
 * One item per element, in the order of y. */
kernel void copy_nd_ref(global const E *restrict x, ulong xo, global E *restrict y, ulong yo, int n,
                        int d1, int d2, int d3, int d4, int d5, int s0, int s1, int s2, int s3,
                        int s4, int s5, int t0, int t1, int t2, int t3, int t4, int t5)
{
    int i = (int)get_global_id(0);
    if (i >= n)
        return;
    int i5 = i % d5;
    i /= d5;
    int i4 = i % d4;
    i /= d4;
    int i3 = i % d3;
    i /= d3;
    int i2 = i % d2;
    i /= d2;
    int i1 = i % d1, i0 = i / d1;
    y[yo + (ulong)(i0 * t0 + i1 * t1 + i2 * t2 + i3 * t3 + i4 * t4 + i5 * t5)] =
        x[xo + (ulong)(i0 * s0 + i1 * s1 + i2 * s2 + i3 * s3 + i4 * s4 + i5 * s5)];
}

/* The same where the last axis is contiguous on both sides: `rows` runs of `run` elements over
 * d0..d4. An item copies the part [piece * id0, + piece) of `per` neighbouring runs. */
kernel void copy_nd_solo(global const E *restrict x, ulong xo, global E *restrict y, ulong yo,
                         int rows, int per, int run, int piece, int d1, int d2, int d3, int d4,
                         int s0, int s1, int s2, int s3, int s4, int t0, int t1, int t2, int t3,
                         int t4)
{
    int from = (int)get_global_id(0) * piece, n = min(piece, run - from);
    int r = (int)get_global_id(1) * per, end = min(r + per, rows), i = r;
    int i4 = i % d4;
    i /= d4;
    int i3 = i % d3;
    i /= d3;
    int i2 = i % d2;
    i /= d2;
    int i1 = i % d1, i0 = i / d1;
    for (; r < end; r++) {
        global const E *restrict p =
            x + xo + (ulong)(i0 * s0 + i1 * s1 + i2 * s2 + i3 * s3 + i4 * s4 + from);
        global E *restrict q =
            y + yo + (ulong)(i0 * t0 + i1 * t1 + i2 * t2 + i3 * t3 + i4 * t4 + from);
        int k = 0;
        for (; k + 4 * V <= n; k += 4 * V) {
            STORE(LOAD(0, p + k), 0, q + k);
            STORE(LOAD(1, p + k), 1, q + k);
            STORE(LOAD(2, p + k), 2, q + k);
            STORE(LOAD(3, p + k), 3, q + k);
        }
        for (; k + V <= n; k += V)
            STORE(LOAD(0, p + k), 0, q + k);
        for (; k < n; k++)
            q[k] = p[k];
        if (++i4 == d4) {
            i4 = 0;
            if (++i3 == d3) {
                i3 = 0;
                if (++i2 == d2) {
                    i2 = 0;
                    if (++i1 == d1) {
                        i1 = 0;
                        i0++;
                    }
                }
            }
        }
    }
}
