/* Convolution on plain NCHW for devices that run work-groups in step: forward, and backward data
 * as a convolution of dy, as a matrix product whose second factor is gathered from x while it is
 * staged (no copy of x is made). Bound: FMA throughput; each value of x is fetched once per BM
 * output channels and tap. Rows are output channels of a group, columns the pixels (n, r, q) of
 * this launch, the inner dimension channels of x times taps. Sums are in that order whatever the
 * tile. */
#include "tile_coop.cl"
#include "epilogue.cl"

#ifndef NH
#define NH 3 /* rows of taps in use; constants, since the compiler divides by them */
#endif
#ifndef NW
#define NW 3 /* taps in use of a row */
#endif
#define TAPS (NH * NW)

/* x [N, XC, XH, XW]; y [N, YC, YH, YW], this launch writes the pixels (oy + r osh, ox + q osw),
 * r < OH, q < OW, P in all; output (r, q) reads x at row iy + r SH + j xh, column ix + q SW + i xw
 * for tap (kh + j qh, kw + i qw) of w, whose element for output channel m and channel c of a group
 * is at m wm + c wc + tap. M output channels and CG channels of x per group, R = CG TAPS.
 * Groups of items: (pixel tile, tiles of m), group. quads: planes of y are whole and hold a
 * multiple of four. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
conv2d_coop(global const float *x, ulong x0, global const float *w, ulong w0, global const float *b,
            ulong b0, global float *y, ulong y0, int has_bias, int P, int M, int R, int XC, int CG,
            int XH, int XW, int YC, int YH, int YW, int OH, int OW, int oy, int ox, int osh,
            int osw, int iy, int ix, int SH, int SW, int xh, int xw, int wg, int wm, int wc, int KW,
            int kh, int kw, int qh, int qw, int quads EPI_PARAMS)
{
    TILE_LOCALS;
    const int item = (int)get_local_id(0), tx = item % TX, ty = item / TX;
    const int m_tiles = (M + BM - 1) / BM, g = (int)get_group_id(1);
    const int m0 = (int)get_group_id(0) % m_tiles * BM, p0 = (int)get_group_id(0) / m_tiles * BN;
    float acc[TM][TN], a[A_EACH], f[B_EACH];
    /* the pixel whose values this item fetches; none: far outside */
    const int p = p0 + item % BN, pq = p % OW, pr = p / OW % OH, pn = p / OW / OH;
    const int row = p < P ? iy + pr * SH : -(1 << 30), col = ix + pq * SW;
    x += x0 + ((ulong)(p < P ? pn : 0) * XC + g * CG) * XH * XW;
    w += w0 + (ulong)g * wg + (ulong)(m0 + item / BK) * wm;
    tile_clear(acc);
    for (int k = 0, buf = 0; k < R + BK; k += BK, buf ^= 1) {
        if (k < R) { /* fetched before the sums of the step before, which hide the wait */
            const int ra = k + item % BK, t = ra % TAPS;
            const int at = ra / TAPS * wc + (kh + t / NW * qh) * KW + kw + t % NW * qw;
#pragma unroll
            for (int s = 0; s < A_EACH; s++)
                a[s] = ra < R && m0 + item / BK + s * (ITEMS / BK) < M
                           ? w[s * (ITEMS / BK) * wm + at]
                           : 0;
#pragma unroll
            for (int s = 0; s < B_EACH; s++) {
                const int r = k + item / BN + s * (ITEMS / BN), u = r % TAPS;
                const int h = row + u / NW * xh, i = col + u % NW * xw;
                f[s] = r < R && (uint)h < (uint)XH && (uint)i < (uint)XW
                           ? x[(r / TAPS * XH + h) * XW + i]
                           : 0;
            }
        }
        if (k > 0)
            tile_add(as[buf ^ 1], bs[buf ^ 1], acc, tx, ty);
        if (k < R) {
            tile_put(as[buf], a, A_EACH, A_ROW, item);
#pragma unroll
            for (int s = 0; s < B_EACH; s++)
                ((local float *)bs[buf])[(item / BN + s * (ITEMS / BN)) * (B_ROW * 4) +
                                         item % BN] = f[s];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const int plane = YH * YW;
    float bias[TM];
    y += y0;
    quads = quads && ((size_t)y & 15) == 0;
#pragma unroll
    for (int i = 0; i < TM; i++) {
        const int m = m0 + TILE_AT(i, ty, TY);
        bias[i] = has_bias && m < M ? b[b0 + (ulong)(g * M + m)] : 0;
    }
#pragma unroll
    for (int j = 0; j < TN; j++) {
        const int o = p0 + TILE_AT(j, tx, TX);
        const int n = o / OW / OH, at = (oy + o / OW % OH * osh) * YW + ox + o % OW * osw;
        if (o >= P || (quads && j % 4))
            continue;
#pragma unroll
        for (int i = 0; i < TM; i++) {
            const int m = m0 + TILE_AT(i, ty, TY), c = g * M + m;
            if (m >= M)
                continue;
            global float *to = y + ((ulong)n * YC + c) * plane + at;
            EPI_ROW(n, c, 0)
            EPI(v, acc[i][j] + bias[i], at)
            if (quads && j % 4 == 0) {
                EPI(v1, acc[i][j / 4 * 4 + 1] + bias[i], at + 1)
                EPI(v2, acc[i][j / 4 * 4 + 2] + bias[i], at + 2)
                EPI(v3, acc[i][j / 4 * 4 + 3] + bias[i], at + 3)
                *(global float4 *)to = (float4)(v, v1, v2, v3);
            } else {
                *to = v;
            }
        }
    }
}
