/* Convolution with few channels per group (depthwise most of all), forward and backward data, on
 * plain NCHW for devices that run work-groups in step. Bound: memory. An item makes RB outputs of a
 * column, so that a row of x is loaded once for all windows that cover it; neighbouring items make
 * neighbouring columns. */
#include "epilogue.cl"

#ifndef NH
#define NH 3 /* rows of taps in use */
#endif
#ifndef NW
#define NW 3 /* taps in use of a row */
#endif
#ifndef SH
#define SH 1 /* rows of x from output row to output row */
#endif
#ifndef XH
#define XH 1 /* rows of x from tap to tap, positive */
#endif
#define RB 4 /* rows of outputs per item */

/* As conv2d_coop of conv2d_coop.cl, with xrows x xcols the size of x's planes and `strips` =
 * ceil(OH / RB); items count over columns, strips, channels of y, images. */
kernel void conv2d_few_coop(global const float *x, ulong x0, global const float *w, ulong w0,
                            global const float *b, ulong b0, global float *y, ulong y0,
                            int has_bias, int items, int M, int XC, int CG, int xrows, int xcols,
                            int YC, int YH, int YW, int OH, int OW, int strips, int oy, int ox,
                            int osh, int osw, int iy, int ix, int SW, int xw, int wg, int wm,
                            int wc, int KW, int kh, int kw, int qh, int qw EPI_PARAMS)
{
    const int id = (int)get_global_id(0);
    if (id >= items)
        return;
    const int q = id % OW, r0 = id / OW % strips * RB, nc = id / OW / strips;
    const int c = nc % YC, n = nc / YC, g = c / M;
    const int row = iy + r0 * SH, col = ix + q * SW;
    float acc[RB];
    x += x0 + ((ulong)n * XC + g * CG) * xrows * xcols;
    w += w0 + (ulong)g * wg + c % M * wm + kh * KW + kw;
#pragma unroll
    for (int r = 0; r < RB; r++)
        acc[r] = has_bias ? b[b0 + (ulong)c] : 0;
    for (int k = 0; k < CG; k++) {
        float tap[NH * NW];
#pragma unroll
        for (int t = 0; t < NH * NW; t++)
            tap[t] = w[k * wc + t / NW * qh * KW + t % NW * qw];
#pragma unroll
        for (int u = 0; u <= (RB - 1) * SH + (NH - 1) * XH; u++) {
            const int in = (uint)(row + u) < (uint)xrows;
            global const float *at = x + (k * xrows + row + u) * xcols + col;
            float v[NW];
#pragma unroll
            for (int i = 0; i < NW; i++)
                v[i] = in && (uint)(col + i * xw) < (uint)xcols ? at[i * xw] : 0;
#pragma unroll
            for (int r = 0; r < RB; r++)
#pragma unroll
                for (int j = 0; j < NH; j++)
                    if (r * SH + j * XH == u) {
#pragma unroll
                        for (int i = 0; i < NW; i++)
                            acc[r] = fma(v[i], tap[j * NW + i], acc[r]);
                    }
        }
    }
    y += y0 + ((ulong)n * YC + c) * YH * YW;
    EPI_ROW(n, c, 0)
#pragma unroll
    for (int r = 0; r < RB; r++)
        if (r0 + r < OH) {
            const int at = (oy + (r0 + r) * osh) * YW + ox + q * osw;
            EPI(v, acc[r], at)
            y[at] = v;
        }
}
