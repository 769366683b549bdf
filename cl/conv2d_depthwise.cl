/* Convolution in groups that lie inside one vector of channels (depthwise: one channel each) for
 * CPU-like devices: forward, and backward data as a convolution of dy. One work-item per
 * work-group: one block of channels, some rows, some images. Bound: memory bandwidth (CG FMAs of a
 * vector per tap and pixel); the weights of the block are gathered from plain storage once per
 * work-item, x carries its padding as halo. */
#include "epilogue.cl"
#include "halo.cl"

#ifndef CG /* input and output channels of a group; divides VN */
#define CG 1
#endif
#ifndef KH /* kernel */
#define KH 3
#endif
#ifndef KW
#define KW 3
#endif
#ifndef SW /* step in x from column to column; backward data: in dx from column to column of dy */
#define SW 1
#endif
#ifndef DW /* step from tap to tap */
#define DW 1
#endif
#ifndef PL /* backward data with a stride: columns of padding at the left */
#define PL 0
#endif
#ifndef PX /* pixels of the register tile; a row has at least as many */
#define PX 1
#endif
#include "conv2d_lanes.cl"

#if KH * KW <= 25
#define UNROLL_ROWS _Pragma("unroll")
#else
#define UNROLL_ROWS
#endif
#if KW <= 11
#define UNROLL_TAPS _Pragma("unroll")
#else
#define UNROLL_TAPS
#endif

#define TAPS (KH * KW)
#define WEIGHT(h, i, j) VLOAD(taps + (((h)*KW + (i)) * CG + (j)) * VN)

/* Weights of channel block k as vectors [KH, KW, CG]: input channel j of a lane's group stands wj
 * elements from j - 1, the lane's own place in the group counts wo. flip: last tap first. */
static inline void gather(T *taps, global const T *w, int k, int K, int wo, int wj, int flip)
{
    for (int l = 0; l < VN; l++) {
        int o = k * VN + l;
        global const T *p = w + (o / CG) * CG * CG * TAPS + o % CG * wo;
        for (int t = 0; t < TAPS; t++)
            for (int j = 0; j < CG; j++)
                taps[(t * CG + j) * VN + l] = o < K ? p[j * wj + (flip ? TAPS - 1 - t : t)] : (T)0;
    }
}

/* x [N, blocks, plane of x_plane pixels in rows of x_row, VN], tap 0 of output 0,0 at pixel
 * x_first; y [N, blocks, OH, OW, VN] in its halo. K output channels. Item: RB rows of NB images of
 * a block.
 */
kernel void conv2d_dw(global const T *x, ulong x0, global const T *w, ulong w0, global const T *b,
                      ulong b0, global T *y, ulong y0, int has_bias, int N, int K, int x_plane,
                      int x_row, int x_first, int SH, int DH, int OH, int OW, int top, int left,
                      int bottom, int right, int wo, int wj, int flip, int RB, int NB EPI_PARAMS)
{
    int k = (int)get_global_id(0), r0 = (int)get_global_id(1) * RB, n = (int)get_global_id(2) * NB;
    int r1 = min(r0 + RB, OH), last = min(n + NB, N), y_row = left + OW + right;
    size_t blocks = get_global_size(0), y_plane = (size_t)(top + OH + bottom) * (size_t)y_row;
    T taps[TAPS * CG * VN];
    gather(taps, w + w0, k, K, wo, wj, flip);
    V start = (V)(T)0;
    if (has_bias)
        start = vec_part(b + b0 + k * VN, min(VN, K - k * VN));
    for (; n < last; n++) {
        size_t plane = (size_t)n * blocks + (size_t)k;
        global const T *xp = x + x0 + (plane * (size_t)x_plane) * VN + (long)x_first * VN;
        global T *yp = y + y0 + plane * y_plane * VN;
        zero_halo(yp, OH, OW, (int4)(top, left, bottom, right), r0, r1);
        for (int r = r0; r < r1; r++) {
            global const T *xr = xp + (long)r * SH * x_row * VN;
            global T *yr = yp + ((size_t)(top + r) * (size_t)y_row + (size_t)left) * VN;
            EPI_ROW(n, k, r)
            for (int q = 0; q < OW; q += PX) {
                int at = min(q, OW - PX); /* the last tile may overlap the one before */
                V acc[PX];
#pragma unroll
                for (int p = 0; p < PX; p++)
                    acc[p] = start;
                UNROLL_ROWS
                for (int h = 0; h < KH; h++) {
                    global const T *a = xr + (h * DH * x_row + at * SW) * VN;
#pragma unroll
                    for (int j = 0; j < CG; j++)
                        UNROLL_TAPS
                        for (int i = 0; i < KW; i++) {
                            V tap = WEIGHT(h, i, j);
#pragma unroll
                            for (int p = 0; p < PX; p++)
                                acc[p] =
                                    fma(lanes(VLOAD(a + (p * SW + i * DW) * VN), j), tap, acc[p]);
                        }
                }
#pragma unroll
                for (int p = 0; p < PX; p++) {
                    EPI(v, acc[p], at + p)
                    VSTORE(v, yr + (at + p) * VN);
                }
            }
        }
    }
}

/* dx [N, blocks, H, W, VN] in its halo from dy [N, blocks, d_plane pixels in rows of d_row, VN]
 * with cell 0,0 at pixel d_first, where a stride is 2 or more. A tile is PX columns of dy, and the
 * SW PX columns of dx whose taps they are. The rest as above; PT: rows of padding. */
kernel void conv2d_dw_data(global const T *dy, ulong dy0, global const T *w, ulong w0,
                           global const T *b, ulong b0, global T *dx, ulong dx0, int has_bias,
                           int N, int K, int d_plane, int d_row, int d_first, int SH, int DH,
                           int PT, int H, int W, int top, int left, int bottom, int right, int wo,
                           int wj, int RB, int NB EPI_PARAMS)
{
    int k = (int)get_global_id(0), r0 = (int)get_global_id(1) * RB, n = (int)get_global_id(2) * NB;
    int r1 = min(r0 + RB, H), last = min(n + NB, N), x_row = left + W + right;
    int Q = (W + SW - 1) / SW;
    size_t blocks = get_global_size(0), x_plane = (size_t)(top + H + bottom) * (size_t)x_row;
    T taps[TAPS * CG * VN];
    gather(taps, w + w0, k, K, wo, wj, 0);
    V start = (V)(T)0;
    if (has_bias)
        start = vec_part(b + b0 + k * VN, min(VN, K - k * VN));
    for (; n < last; n++) {
        size_t plane = (size_t)n * blocks + (size_t)k;
        global const T *dp = dy + dy0 + (plane * (size_t)d_plane + (size_t)d_first) * VN;
        global T *xp = dx + dx0 + plane * x_plane * VN;
        zero_halo(xp, H, W, (int4)(top, left, bottom, right), r0, r1);
        for (int r = r0; r < r1; r++) {
            global T *xr = xp + ((size_t)(top + r) * (size_t)x_row + (size_t)left) * VN;
            EPI_ROW(n, k, r)
            for (int q = 0; q < Q; q += PX) {
                int at = min(q, Q - PX);
                V acc[SW][PX];
#pragma unroll
                for (int s = 0; s < SW; s++)
#pragma unroll
                    for (int p = 0; p < PX; p++)
                        acc[s][p] = start;
                for (int h = 0; h < KH; h++) {
                    int t = r + PT - h * DH;
                    if (t % SH != 0)
                        continue;
                    global const T *a = dp + ((long)(t / SH) * d_row + at) * VN;
#pragma unroll
                    for (int j = 0; j < CG; j++)
                        UNROLL_TAPS
                        for (int i = 0; i < KW; i++) {
                            V tap = WEIGHT(h, i, j);
#pragma unroll
                            for (int s = 0; s < SW; s++)
                                if ((s + PL - i * DW) % SW == 0) {
#pragma unroll
                                    for (int p = 0; p < PX; p++)
                                        acc[s][p] = fma(
                                            lanes(VLOAD(a + (p + (s + PL - i * DW) / SW) * VN), j),
                                            tap, acc[s][p]);
                                }
                        }
                }
#pragma unroll
                for (int p = 0; p < PX; p++)
#pragma unroll
                    for (int s = 0; s < SW; s++)
                        if ((at + p) * SW + s < W) {
                            EPI(v, acc[s][p], (at + p) * SW + s)
                            VSTORE(v, xr + ((at + p) * SW + s) * VN);
                        }
            }
        }
    }
}
