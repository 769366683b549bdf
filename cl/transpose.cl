/* Swaps of two axes, in batches: x[m * sm + n] -> y[n * tn + m], over up to four outer axes.
 * Elements are moved as bits. Bound: memory bandwidth; the tile is what keeps both sides in whole
 * cache lines. */
#include "common.cl"

#ifndef E /* unsigned type of an element's size: uchar, ushort, uint, ulong */
#define E uint
#endif
#ifndef V /* side of the SOLO tile: 4, 8, 16 */
#define V 4
#endif
#ifndef TILE /* side of the COOP tile; work-groups are TILE x TILE */
#define TILE 16
#endif
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define EV CAT(E, V)
#define LOAD CAT(vload, V)
#define STORE CAT(vstore, V)

/* One rotation of the bits (row, column) of the tile: rows i and i + V/2 are shuffled into rows 2i
 * and 2i + 1. After log2(V) of them rows are columns. */
#define ROTATE(dst, src)                                                                           \
    _Pragma("unroll") for (int i_ = 0; i_ < V / 2; i_++)                                           \
    {                                                                                              \
        dst[2 * i_].even = src[i_].lo;                                                             \
        dst[2 * i_].odd = src[i_ + V / 2].lo;                                                      \
        dst[2 * i_ + 1].even = src[i_].hi;                                                         \
        dst[2 * i_ + 1].odd = src[i_ + V / 2].hi;                                                  \
    }

/* An item: V rows of x (id 0), `piece` columns of it (id 1), one place of the outer axes (id 2). */
kernel void transpose_solo(global const E *restrict x, ulong xo, global E *restrict y, ulong yo,
                           int m, int n, int sm, int tn, int piece, int d1, int d2, int d3, int s0,
                           int s1, int s2, int s3, int t0, int t1, int t2, int t3)
{
    int b = (int)get_global_id(2), i3 = b % d3;
    b /= d3;
    int i2 = b % d2;
    b /= d2;
    int i1 = b % d1, i0 = b / d1;
    int m0 = (int)get_global_id(0) * V, j = (int)get_global_id(1) * piece, end = min(j + piece, n);
    global const E *restrict p = x + xo + (ulong)(i0 * s0 + i1 * s1 + i2 * s2 + i3 * s3 + m0 * sm);
    global E *restrict q = y + yo + (ulong)(i0 * t0 + i1 * t1 + i2 * t2 + i3 * t3 + m0);
    int h = min(V, m - m0);
    if (h == V)
        for (; j + V <= end; j += V) {
            EV r[V], s[V];
#pragma unroll
            for (int i = 0; i < V; i++)
                r[i] = LOAD(0, p + i * sm + j);
            ROTATE(s, r)
            ROTATE(r, s)
#if V > 4
            ROTATE(s, r)
#if V > 8
            ROTATE(r, s)
#else
#pragma unroll
            for (int i = 0; i < V; i++)
                r[i] = s[i];
#endif
#endif
#pragma unroll
            for (int i = 0; i < V; i++)
                STORE(r[i], 0, q + (j + i) * tn);
        }
    for (; j < end; j++)
        for (int i = 0; i < h; i++)
            q[j * tn + i] = p[i * sm + j];
}

/* Groups of TILE x TILE; id 2 runs over the outer axes. */
kernel void transpose_coop(global const E *restrict x, ulong xo, global E *restrict y, ulong yo,
                           int m, int n, int sm, int tn, int d1, int d2, int d3, int s0, int s1,
                           int s2, int s3, int t0, int t1, int t2, int t3)
{
    local E tile[TILE][TILE + 1];
    int b = (int)get_global_id(2), i3 = b % d3;
    b /= d3;
    int i2 = b % d2;
    b /= d2;
    int i1 = b % d1, i0 = b / d1;
    int lx = (int)get_local_id(0), ly = (int)get_local_id(1);
    int n0 = (int)get_group_id(0) * TILE, m0 = (int)get_group_id(1) * TILE;
    if (n0 + lx < n && m0 + ly < m)
        tile[ly][lx] =
            x[xo + (ulong)(i0 * s0 + i1 * s1 + i2 * s2 + i3 * s3 + (m0 + ly) * sm + n0 + lx)];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (m0 + lx < m && n0 + ly < n)
        y[yo + (ulong)(i0 * t0 + i1 * t1 + i2 * t2 + i3 * t3 + (n0 + ly) * tn + m0 + lx)] =
            tile[lx][ly];
}
