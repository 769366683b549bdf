/* Backward weights by Winograd for CPU-like devices, stride 1: products of transformed tiles of x
 * and dy, summed over tiles, transformed back once. One work-item per work-group has a square of
 * input and output channels (its sums fit the L2) and a part of the tiles, `nt` at a time. Sums
 * over tiles are in order whatever nt is; parts are added in order by conv2d_wino_bww_sum. Bound:
 * FMA throughput of the products. */
#include "wino_gemm.cl"
#if VN > 1
#include "vec_transpose.cl"
#else
#define TRANSPOSE(r, t) (void)(t);
#endif
#define TAPS (KR * KR)
#ifndef WHOLE
#define WHOLE 0 /* 1: one part, sums in local memory, transformed back at once */
#endif
#if WHOLE
#define SUMS local
#else
#define SUMS global
#endif

/* The WM x WM cells of dy from row r, column c on, zeros beyond rows x cols, to six by six planes.
 * row: elements of a stored row. */
static inline void wino_put_dy(global const T *y, int r, int c, int rows, int cols, int row,
                               local T *m, int plane)
{
    bool whole = r + WM <= rows && c + WM <= cols;
    V h[6][WM], d[WM], o[6];
    global const T *p = y + (long)r * row + c * VN;
#pragma unroll
    for (int j = 0; j < WM; j++) {
#pragma unroll
        for (int i = 0; i < WM; i++)
            d[i] = whole || (r + i < rows && c + j < cols) ? VLOAD(p + i * row + j * VN) : (V)0;
        wino_dy(d, o);
#pragma unroll
        for (int i = 0; i < 6; i++)
            h[i][j] = o[i];
    }
#pragma unroll
    for (int i = 0; i < 6; i++) {
        wino_dy(h[i], o);
#pragma unroll
        for (int j = 0; j < 6; j++)
            VSTORE(o[j], m + (i * 6 + j) * plane);
    }
}

/* PX channels from v and KB blocks of outputs from m (mk apart), summed over nt tiles, to s (blocks
 * of outputs sk apart), which they replace where `first`. */
static inline void wino_sums(local const T *v, local const T *m, int mk, int nt, SUMS T *s, int sk,
                             int first)
{
    V acc[KB][PX];
#pragma unroll
    for (int k = 0; k < KB; k++)
#pragma unroll
        for (int p = 0; p < PX; p++)
            acc[k][p] = first ? (V)0 : VLOAD(s + k * sk + p * VN);
    for (int t = 0; t < nt; t++) {
        V w[KB];
#pragma unroll
        for (int k = 0; k < KB; k++)
            w[k] = VLOAD(m + k * mk + t * VN);
#pragma unroll
        for (int p = 0; p < PX; p++) {
            V a = (V)v[t * VN + p];
#pragma unroll
            for (int k = 0; k < KB; k++)
                acc[k][p] = fma(a, w[k], acc[k][p]);
        }
    }
#pragma unroll
    for (int k = 0; k < KB; k++)
#pragma unroll
        for (int p = 0; p < PX; p++)
            VSTORE(acc[k][p], s + k * sk + p * VN);
}

/* A block of dw [K, C, KR, KR] at dw, nk x nc of it, from the sums of all parts (`apart` elements
 * from one to the next): planes of [VN of C, VN of K]. */
static void wino_put_dw(SUMS const T *sums, int plane, int parts, ulong apart, global T *dw, int C,
                        int nk, int nc)
{
    V g[VN * TAPS];
    for (int c = 0; c < VN; c++) {
        V h[KR][6], d[6], o[KR];
#pragma unroll
        for (int j = 0; j < 6; j++) {
#pragma unroll
            for (int i = 0; i < 6; i++) {
                SUMS const T *s = sums + (ulong)(i * 6 + j) * plane + c * VN;
                d[i] = VLOAD(s);
                for (int q = 1; q < parts; q++)
                    d[i] += VLOAD(s + q * apart);
            }
            wino_dw(d, o);
#pragma unroll
            for (int i = 0; i < KR; i++)
                h[i][j] = o[i];
        }
#pragma unroll
        for (int i = 0; i < KR; i++) {
            wino_dw(h[i], o);
#pragma unroll
            for (int j = 0; j < KR; j++)
                g[c * TAPS + i * KR + j] = o[j];
        }
    }
    if (nk == VN && nc == VN) {
        for (int q = 0; q < TAPS; q++) {
            V r[VN], t[VN];
#pragma unroll
            for (int p = 0; p < VN; p++)
                r[p] = g[q * VN + p];
            TRANSPOSE(r, t)
#pragma unroll
            for (int k = 0; k < VN; k++)
                VSTORE(r[k], dw + (ulong)k * C * TAPS + q * VN);
        }
        return;
    }
    for (int q = 0; q < nc * TAPS; q++) {
        T lane[VN];
        VSTORE(g[q], lane);
        for (int k = 0; k < nk; k++)
            dw[(ulong)k * C * TAPS + q] = lane[k];
    }
}

/* x and dy as in conv2d_wino.cl: stored cells, dy (0, 0) at (top, left) and its tap (0, 0) at x
 * (rx, cx). sums [parts, 36 planes of [YC, CB, VN of C, VN of K]], planes splane apart; of a
 * WHOLE sum only this work-item's, [kc, cc, ...]. Global:
 * squares of cc blocks of channels (fastest) by kc blocks of outputs in a group, groups, parts of
 * `part` tiles. */
#if WHOLE
#define SUMS_PARAMS global T *dw, ulong d0, int K, int C, local T *sums
#else
#define SUMS_PARAMS global T *sums, ulong s0
#endif
kernel void conv2d_wino_bww(global const T *x, ulong x0, global const T *dy, ulong y0, SUMS_PARAMS,
                            local T *vs, local T *ms, int N, int CB, int XC, int XH, int XW, int rx,
                            int cx, int KG, int YC, int OH, int OW, int YH, int YW, int top,
                            int left, int TH, int TW, int nt, int part, int cc, int kc, int vplane,
                            int mplane, int splane)
{
    int squares = (CB + cc - 1) / cc, group = get_global_id(1), per = TH * TW;
    int c0 = get_global_id(0) % squares * cc, k0 = get_global_id(0) / squares * kc;
    int nc = min(cc, CB - c0), nk = min(kc, KG - k0), kg = group * KG + k0;
    int from = get_global_id(2) * part, end = min(from + part, N * per);
    int n1 = from / per, ty1 = from % per / TW, tx1 = from % TW;
    x += x0 + ((ulong)group * CB + c0) * XH * XW * VN;
    dy += y0 + (ulong)kg * YH * YW * VN + (top * YW + left) * VN;
#if WHOLE
    int row = cc * VN * VN;
#else
    int row = CB * VN * VN;
    sums += s0 + (ulong)get_global_id(2) * 36 * splane + (ulong)kg * row + c0 * VN * VN;
#endif
    for (int t0 = from; t0 < end; t0 += nt) {
        int live = min(nt, end - t0), n = n1, ty = ty1, tx = tx1;
        for (int b = 0; b < nc + nk; b++) {
            n = n1, ty = ty1, tx = tx1;
            for (int t = 0; t < live; t++) {
                if (b < nc)
                    wino_put_x(x + ((ulong)n * XC + b) * XH * XW * VN, ty * WM + rx, tx * WM + cx,
                               XH, XW, vs + (b * nt + t) * VN, vplane);
                else
                    wino_put_dy(dy + ((ulong)n * YC + b - nc) * YH * YW * VN, ty * WM, tx * WM, OH,
                                OW, YW * VN, ms + ((b - nc) * nt + t) * VN, mplane);
                if (++tx == TW) {
                    tx = 0;
                    if (++ty == TH)
                        ty = 0, n++;
                }
            }
        }
        n1 = n, ty1 = ty, tx1 = tx;
        for (int xi = 0; xi < 36; xi++)
            for (int k = 0; k < nk; k += KB)
                for (int c = 0; c < nc * VN; c += PX)
                    wino_sums(vs + xi * vplane + c / VN * nt * VN + c % VN,
                              ms + xi * mplane + k * nt * VN, nt * VN, live,
                              sums + (ulong)xi * splane + k * row + c * VN, row, t0 == from);
    }
#if WHOLE
    for (int k = 0; k < nk; k++)
        for (int c = 0; c < nc; c++)
            wino_put_dw(sums + k * row + c * VN * VN, splane, 1, 0,
                        dw + d0 + ((ulong)(kg + k) * VN * C + (c0 + c) * VN) * TAPS, C,
                        min(VN, K - (kg + k) * VN), min(VN, C - (c0 + c) * VN));
#endif
}

#if !WHOLE
/* dw from the sums of all parts; C channels of a group. Global: blocks of outputs, blocks of
 * channels. */
kernel void conv2d_wino_bww_sum(global const T *sums, ulong s0, global T *dw, ulong d0, int parts,
                                int splane, int K, int C)
{
    int kb = get_global_id(0), cb = get_global_id(1), cbs = get_global_size(1);
    wino_put_dw(sums + s0 + ((ulong)kb * cbs + cb) * VN * VN, splane, parts, (ulong)36 * splane,
                dw + d0 + ((ulong)kb * VN * C + cb * VN) * TAPS, C, min(VN, K - kb * VN),
                min(VN, C - cb * VN));
}
#endif
