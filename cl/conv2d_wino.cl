/* Winograd convolution for CPU-like devices, stride 1: forward, and backward data as a convolution
 * of dy. One work-item per work-group owns `nt` tiles: it transforms them (V), multiplies them in
 * 36 small products with the weights (M, `kc` blocks of output channels at a time) and transforms
 * back; V and M stay in the L2. Bound: FMA throughput of the products. Cells outside of x are taken
 * as zeros, so no halo is needed; where there is one, fewer tiles take the slow way in. */
#include "epilogue.cl"
#ifndef FLY
#define FLY 0 /* 1: weights are transformed as they are needed, not before */
#endif
#if FLY
#define SPACE local
#include "wino_taps.cl"
#else
#define SPACE global
#endif
#include "wino_gemm.cl"

/* KB x PX sums over cb blocks of channels: tiles from v (blocks vb apart), weights from u (blocks
 * of outputs uk apart), to m (blocks mk apart), added to what is there where `more`. */
static inline void wino_products(local const T *v, int vb, SPACE const T *u, int uk, int cb,
                                 local T *m, int mk, bool more)
{
    V acc[KB][PX];
#pragma unroll
    for (int k = 0; k < KB; k++)
#pragma unroll
        for (int p = 0; p < PX; p++)
            acc[k][p] = more ? VLOAD(m + k * mk + p * VN) : (V)0;
    for (int b = 0; b < cb; b++) {
        for (int c = 0; c < VN; c++) {
            V w[KB];
#pragma unroll
            for (int k = 0; k < KB; k++)
                w[k] = VLOAD(u + k * uk + c * VN);
#pragma unroll
            for (int p = 0; p < PX; p++) {
                V a = (V)v[p * VN + c];
#pragma unroll
                for (int k = 0; k < KB; k++)
                    acc[k][p] = fma(a, w[k], acc[k][p]);
            }
        }
        v += vb;
        u += VN * VN;
    }
#pragma unroll
    for (int k = 0; k < KB; k++)
#pragma unroll
        for (int p = 0; p < PX; p++)
            VSTORE(acc[k][p], m + k * mk + p * VN);
}

/* Zeros in the cells of rows r0..r1-1, columns c0..c1-1 that are no outputs. y: output (0, 0). */
static void wino_zeros(global T *y, int row, int r0, int r1, int c0, int c1, int OH, int OW)
{
    for (int r = r0; r < r1; r++)
        for (int c = c0; c < c1; c++)
            if (r < 0 || r >= OH || c < 0 || c >= OW)
                VSTORE((V)0, y + (long)r * row + c * VN);
}

/* Tiles t0..t0+even-1 of channel blocks c0..c0+nc-1 to V; those beyond `live` repeat the last. */
static void wino_put_tiles(global const T *x, int XC, int XH, int XW, int rx, int cx, int nc, int n,
                           int ty, int tx, int TH, int TW, int live, int even, local T *vs, int vb,
                           int vplane)
{
    int n0 = n, ty0 = ty, tx0 = tx;
    for (int b = 0; b < nc; b++) {
        n = n0, ty = ty0, tx = tx0;
        for (int t = 0; t < even; t++) {
            wino_put_x(x + ((ulong)n * XC + b) * XH * XW * VN, ty * WM + rx, tx * WM + cx, XH, XW,
                       vs + b * vb + t * VN, vplane);
            if (t + 1 < live && ++tx == TW) {
                tx = 0;
                if (++ty == TH)
                    ty = 0, n++;
            }
        }
    }
}

#if FLY
/* Weights of KB blocks of outputs from k on and nc of channels from c on; `first` is the group's
 * first block among those that are counted over all groups. Blocks of outputs lie cc blocks apart.
 */
static void wino_put_square(global const T *w, int WO, int WI, int turned, int first, int k, int c,
                            int nc, int cc, local T *us, int plane)
{
    for (int i = 0; i < KB * nc; i++) {
        local T *to = us + (i / nc * cc + i % nc) * VN * VN;
        if (turned)
            wino_put_turned(w, WO, WI, first + c + i % nc, k + i / nc, to, plane);
        else
            wino_put_weights(w, WO, WI, first + k + i / nc, c + i % nc, to, plane);
    }
}
#endif

/* x [N, XC blocks, XH, XW, VN] stored cells, output (0, 0) reads from (rx, cx) on; y [N, YC blocks,
 * YH, YW, VN], output (0, 0) at (top, left). A group has CB blocks of channels, KG of outputs. TH x
 * TW tiles per image. Global: groups of nt tiles, parts of ks output blocks of a group, groups.
 * Weights u: planes uplane apart, output blocks uk, groups ug apart. FLY: plain weights [WO, WI,
 * KR, KR] instead, turned round for backward data; V and weights are made cc blocks of channels at
 * a time (us), and kc is ks. vplane, mplane, uplane: elements. */
#if FLY
#define WEIGHT_PARAMS global const T *w, ulong w0, local T *us, int cc, int WO, int WI, int turned
#else
#define WEIGHT_PARAMS global const T *u, ulong u0, int uk, int ug
#endif
kernel void conv2d_wino(global const T *x, ulong x0, WEIGHT_PARAMS, global const T *bias, ulong b0,
                        global T *y, ulong y0, local T *vs, local T *ms, int has_bias, int N,
                        int CB, int XC, int XH, int XW, int rx, int cx, int uplane, int KG, int YC,
                        int K, int OH, int OW, int YH, int YW, int top, int left, int TH, int TW,
                        int nt, int ks, int kc, int vplane, int mplane EPI_PARAMS)
{
    int t0 = get_global_id(0) * nt, group = get_global_id(2), per = TH * TW;
    int live = min(nt, N * per - t0), k1 = min((int)(get_global_id(1) + 1) * ks, KG);
    int n0 = t0 / per, ty0 = t0 % per / TW, tx0 = t0 % TW;
    int even = (live + PX - 1) / PX * PX;
    x += x0 + (ulong)group * CB * XH * XW * VN;
    y += y0 + (ulong)group * KG * YH * YW * VN;
#if !FLY
    u += u0 + (ulong)group * ug;
    wino_put_tiles(x, XC, XH, XW, rx, cx, CB, n0, ty0, tx0, TH, TW, live, even, vs, nt * VN,
                   vplane);
#endif
    for (int k0 = get_global_id(1) * ks; k0 < k1; k0 += kc) {
        int nk = min(kc, k1 - k0);
#if FLY
        for (int c0 = 0; c0 < CB; c0 += cc) {
            int nc = min(cc, CB - c0);
            wino_put_tiles(x + (ulong)c0 * XH * XW * VN, XC, XH, XW, rx, cx, nc, n0, ty0, tx0, TH,
                           TW, live, even, vs, nt * VN, vplane);
            for (int k = 0; k < nk; k += KB) {
                wino_put_square(w + w0, WO, WI, turned, group * (turned ? CB : KG), k0 + k, c0, nc,
                                cc, us, uplane);
                for (int xi = 0; xi < 36; xi++)
                    for (int t = 0; t < even; t += PX)
                        wino_products(vs + xi * vplane + t * VN, nt * VN, us + xi * uplane,
                                      cc * VN * VN, nc, ms + xi * mplane + (k * nt + t) * VN,
                                      nt * VN, c0 > 0);
            }
        }
#else
        for (int xi = 0; xi < 36; xi++)
            for (int k = 0; k < nk; k += KB)
                for (int t = 0; t < even; t += PX)
                    wino_products(vs + xi * vplane + t * VN, nt * VN,
                                  u + (ulong)xi * uplane + (ulong)(k0 + k) * uk, uk, CB,
                                  ms + xi * mplane + (k * nt + t) * VN, nt * VN, false);
#endif
        for (int k = 0; k < nk; k++) {
            int n = n0, ty = ty0, tx = tx0, kb = group * KG + k0 + k;
            V add = has_bias ? vec_part(bias + b0 + kb * VN, K - kb * VN) : (V)0;
            for (int t = 0; t < live; t++) {
                local const T *m = ms + (k * nt + t) * VN;
                int r = ty * WM, c = tx * WM, nr = min(WM, OH - r), nc = min(WM, OW - c);
                global T *to = y + (((ulong)n * YC + k0 + k) * YH + top) * YW * VN + left * VN;
                V h[WM][6], d[6], o[WM];
#pragma unroll
                for (int j = 0; j < 6; j++) {
#pragma unroll
                    for (int i = 0; i < 6; i++)
                        d[i] = VLOAD(m + (i * 6 + j) * mplane);
                    wino_out(d, o);
#pragma unroll
                    for (int i = 0; i < WM; i++)
                        h[i][j] = o[i];
                }
                for (int i = 0; i < nr; i++) {
                    global T *cell = to + (long)((r + i) * YW + c) * VN;
                    wino_out(h[i], o);
                    EPI_ROW(n, kb, r + i)
#pragma unroll
                    for (int j = 0; j < WM; j++)
                        if (j < nc) {
                            EPI(z, o[j] + add, c + j)
                            VSTORE(z, cell + j * VN);
                        }
                }
                if (ty == 0 || tx == 0 || ty == TH - 1 || tx == TW - 1)
                    wino_zeros(to, YW * VN, ty ? r : -top, ty == TH - 1 ? YH - top : r + WM,
                               tx ? c : -left, tx == TW - 1 ? YW - left : c + WM, OH, OW);
                if (++tx == TW) {
                    tx = 0;
                    if (++ty == TH)
                        ty = 0, n++;
                }
            }
        }
    }
}
