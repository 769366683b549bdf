/* Gradient by its weights of a convolution in groups that lie inside one vector of channels, for
 * CPU-like devices. A work-item takes one block of channels and a part of the rows of all images
 * and keeps HT rows of taps in registers; conv2d_dw_bww_sum adds the parts in order. Bound: FMA
 * throughput in the L1 and L2, else memory bandwidth. */
#include "vec.cl"

#ifndef CG /* input and output channels of a group; divides VN */
#define CG 1
#endif
#ifndef KH /* kernel */
#define KH 3
#endif
#ifndef KW
#define KW 3
#endif
#ifndef HT /* rows of taps in registers at a time; divides KH */
#define HT KH
#endif
#ifndef SW /* step in x from column to column of dy */
#define SW 1
#endif
#ifndef DW /* step in x from tap to tap */
#define DW 1
#endif
#ifndef PX /* pixels of an unrolled round */
#define PX 4
#endif
#include "conv2d_lanes.cl"

/* acc += x at a times one pixel of dy. */
static inline __attribute__((always_inline)) void pixel(V acc[HT][KW], V dv, global const T *a,
                                                        int tap_row)
{
#pragma unroll
    for (int h = 0; h < HT; h++)
#pragma unroll
        for (int i = 0; i < KW; i++)
            acc[h][i] = fma(VLOAD(a + h * tap_row + i * DW * VN), dv, acc[h][i]);
}

/* x as in conv2d_dw; dy [N, blocks, y_plane pixels in rows of y_row, VN], cell 0,0 at pixel
 * y_first; part [parts, blocks, KH, KW, CG, VN]: lanes are channels of x, times channel j of dy in
 * their group. Global: blocks, parts. */
kernel void conv2d_dw_bww(global const T *x, ulong x0, global const T *dy, ulong dy0,
                          global T *part, ulong part0, int N, int x_plane, int x_row, int x_first,
                          int y_plane, int y_row, int y_first, int SH, int DH, int OH, int OW)
{
    size_t k = get_global_id(0), blocks = get_global_size(0);
    long p = (long)get_global_id(1), parts = (long)get_global_size(1), rows = (long)N * OH;
    int from = (int)(rows * p / parts), to = (int)(rows * (p + 1) / parts);
    part += part0 + ((size_t)p * blocks + k) * KH * KW * CG * VN;
#pragma unroll
    for (int j = 0; j < CG; j++)
        for (int h0 = 0; h0 < KH; h0 += HT) {
            V acc[HT][KW];
#pragma unroll
            for (int h = 0; h < HT; h++)
#pragma unroll
                for (int i = 0; i < KW; i++)
                    acc[h][i] = (V)(T)0;
            for (int at = from; at < to; at++) {
                size_t plane = (size_t)(at / OH) * blocks + k;
                int r = at % OH;
                global const T *a = x + x0 + plane * (size_t)x_plane * VN +
                                    ((long)x_first + (long)(r * SH + h0 * DH) * x_row) * VN;
                global const T *d =
                    dy + dy0 + (plane * (size_t)y_plane + (size_t)(y_first + r * y_row)) * VN;
                int q = 0;
                for (; q + PX <= OW; q += PX)
#pragma unroll
                    for (int u = 0; u < PX; u++)
                        pixel(acc, lanes(VLOAD(d + (q + u) * VN), j), a + (q + u) * SW * VN,
                              DH * x_row * VN);
                for (; q < OW; q++)
                    pixel(acc, lanes(VLOAD(d + q * VN), j), a + q * SW * VN, DH * x_row * VN);
            }
#pragma unroll
            for (int h = 0; h < HT; h++)
#pragma unroll
                for (int i = 0; i < KW; i++)
                    VSTORE(acc[h][i], part + (((h0 + h) * KW + i) * CG + j) * VN);
        }
}

/* dw [K, CG, KH, KW] = sum over parts. Global: blocks. */
kernel void conv2d_dw_bww_sum(global const T *part, ulong part0, global T *dw, ulong dw0, int parts,
                              int K)
{
    size_t k = get_global_id(0), block = KH * KW * CG * VN, step = get_global_size(0) * block;
    int n = min(VN, K - (int)k * VN);
    part += part0 + k * block;
    dw += dw0 + k * block;
    for (int t = 0; t < KH * KW; t++)
        for (int j = 0; j < CG; j++) {
            V sum = (V)(T)0;
            T lane[VN];
            for (int p = 0; p < parts; p++)
                sum += VLOAD(part + (size_t)p * step + (t * CG + j) * VN);
            VSTORE(sum, lane);
            for (int l = 0; l < n; l++)
                dw[((l - l % CG + j) * CG + l % CG) * KH * KW + t] = lane[l];
        }
}
