/* Convolution in groups that are not whole vectors of channels, for CPU-like devices: forward,
 * backward data, backward weights. A vector holds output channels of several groups; for each of
 * them in turn the whole vector is computed from that group's input channels, and its own lanes are
 * kept. Bound: FMA throughput, of which the groups of a vector share one part each. */
#include "epilogue.cl"
#include "halo.cl"

#ifndef PX /* pixels of the register tile; a row has at least as many */
#define PX 1
#endif
#ifndef SW /* step in x from pixel to pixel */
#define SW 1
#endif
#ifndef DW /* backward weights: step in x from tap to tap */
#define DW 1
#endif
#ifndef HT /* backward weights: rows of taps in registers at a time, and taps of a row */
#define HT 1
#endif
#ifndef KT
#define KT 1
#endif

#if VN == 1
#define IV int
#define LOAD_INT(p) (*(p))
#else
#define IV KL_JOIN2(int, VN)
#define LOAD_INT(p) KL_JOIN2(vload, VN)(0, p)
#endif

/* Lanes of block k that are output channels of group g, which has `out` of them. */
static inline IV lanes_of(int k, int g, int out)
{
    int lane[VN];
    for (int l = 0; l < VN; l++)
        lane[l] = (k * VN + l) / out == g ? -1 : 0;
    return LOAD_INT(lane);
}

/* taps [blocks, in, T, VN]: output channel o of a group takes its channel j by the weight at
 * g ws + (o of the group) wo + j wj. Global: blocks. */
kernel void conv2d_group_weights(global const T *w, ulong w0, global T *taps, ulong taps0, int K,
                                 int out, int in, int n_taps, int ws, int wo, int wj)
{
    int k = (int)get_global_id(0);
    taps += taps0 + (size_t)k * (size_t)(in * n_taps) * VN;
    for (int l = 0; l < VN; l++) {
        int o = k * VN + l;
        global const T *p = w + w0 + (o / out) * ws + o % out * wo;
        for (int j = 0; j < in; j++)
            for (int t = 0; t < n_taps; t++)
                taps[(j * n_taps + t) * VN + l] = o < K ? p[j * wj + t] : (T)0;
    }
}

/* Row r, column s + u (q + p) of y takes taps h, i of x at row t / uh, t = r sh + ph + h dh, and
 * column (q + p) SW + t / u, t = s + pw + i dw, where these divide. x [N, x_blocks, x_plane pixels
 * in rows of x_row, VN], cell 0,0 at pixel x_first; y [N, blocks, OH, OW, VN] in its halo. Global:
 * blocks, parts of RB rows, N. */
kernel void conv2d_group(global const T *x, ulong x0, global const T *taps, ulong taps0,
                         global const T *b, ulong b0, global T *y, ulong y0, int has_bias, int K,
                         int out, int in, int x_blocks, int x_plane, int x_row, int x_first, int OH,
                         int OW, int top, int left, int bottom, int right, int KH, int KW, int sh,
                         int uh, int ph, int dh, int u, int pw, int dw, int RB EPI_PARAMS)
{
    int k = (int)get_global_id(0), r0 = (int)get_global_id(1) * RB, n = (int)get_global_id(2);
    int r1 = min(r0 + RB, OH), y_row = left + OW + right, Q = (OW + u - 1) / u;
    size_t plane = (size_t)n * get_global_size(0) + (size_t)k;
    int g0 = k * VN / out, g1 = min(K - 1, k * VN + VN - 1) / out;
    IV own[VN];
    for (int g = g0; g <= g1; g++)
        own[g - g0] = lanes_of(k, g, out);
    V start = (V)(T)0;
    if (has_bias)
        start = vec_part(b + b0 + k * VN, min(VN, K - k * VN));
    x += x0 + ((size_t)n * (size_t)x_blocks * (size_t)x_plane + (size_t)x_first) * VN;
    taps += taps0 + (size_t)k * (size_t)(in * KH * KW) * VN;
    y += y0 + plane * (size_t)((top + OH + bottom) * y_row) * VN;
    zero_halo(y, OH, OW, (int4)(top, left, bottom, right), r0, r1);
    for (int r = r0; r < r1; r++) {
        global T *yr = y + ((top + r) * y_row + left) * VN;
        EPI_ROW(n, k, r)
        for (int s = 0; s < u; s++)
            for (int q = 0; q < Q; q += PX) {
                int at = min(q, Q - PX); /* the last tile may overlap the one before */
                V sum[PX];
#pragma unroll
                for (int p = 0; p < PX; p++)
                    sum[p] = (V)(T)0;
                for (int g = g0; g <= g1; g++) {
                    V acc[PX];
#pragma unroll
                    for (int p = 0; p < PX; p++)
                        acc[p] = start;
                    for (int j = 0; j < in; j++) {
                        int c = g * in + j;
                        global const T *xc =
                            x + ((size_t)(c / VN) * (size_t)x_plane + (size_t)(at * SW)) * VN +
                            c % VN;
                        for (int h = 0; h < KH; h++) {
                            int row = r * sh + ph + h * dh;
                            if (row % uh != 0)
                                continue;
                            for (int i = 0; i < KW; i++) {
                                int column = s + pw + i * dw;
                                if (column % u != 0)
                                    continue;
                                global const T *a =
                                    xc + ((long)(row / uh) * x_row + column / u) * VN;
                                V tap = VLOAD(taps + ((j * KH + h) * KW + i) * VN);
#pragma unroll
                                for (int p = 0; p < PX; p++)
                                    acc[p] = fma((V)(a[p * SW * VN]), tap, acc[p]);
                            }
                        }
                    }
#pragma unroll
                    for (int p = 0; p < PX; p++)
                        sum[p] = select(sum[p], acc[p], own[g - g0]);
                }
#pragma unroll
                for (int p = 0; p < PX; p++)
                    if ((at + p) * u + s < OW) {
                        EPI(v, sum[p], (at + p) * u + s)
                        VSTORE(v, yr + ((at + p) * u + s) * VN);
                    }
            }
    }
}

/* x as above (tap 0,0 of output 0,0 at pixel x_first, which may be before it); dy [N, blocks,
 * y_plane pixels in rows of y_row, VN], cell 0,0 at pixel y_first; part [parts, blocks, in, KH, KW,
 * VN]. Global: blocks, in, parts. */
kernel void conv2d_group_bww(global const T *x, ulong x0, global const T *dy, ulong dy0,
                             global T *part, ulong part0, int N, int K, int out, int x_blocks,
                             int x_plane, int x_row, int x_first, int y_plane, int y_row,
                             int y_first, int OH, int OW, int KH, int KW, int sh, int dh)
{
    int k = (int)get_global_id(0), j = (int)get_global_id(1), blocks = (int)get_global_size(0);
    int in = (int)get_global_size(1), g0 = k * VN / out, g1 = min(K - 1, k * VN + VN - 1) / out;
    long id = (long)get_global_id(2), parts = (long)get_global_size(2), rows = (long)N * OH;
    int from = (int)(rows * id / parts), to = (int)(rows * (id + 1) / parts);
    part += part0 + (((size_t)id * (size_t)blocks + (size_t)k) * (size_t)in + (size_t)j) *
                        (size_t)(KH * KW) * VN;
    for (int h0 = 0; h0 < KH; h0 += HT)
        for (int i0 = 0; i0 < KW; i0 += KT) {
            V sum[HT][KT];
#pragma unroll
            for (int h = 0; h < HT; h++)
#pragma unroll
                for (int i = 0; i < KT; i++)
                    sum[h][i] = (V)(T)0;
            for (int g = g0; g <= g1; g++) {
                int c = g * in + j;
                IV own = lanes_of(k, g, out);
                V acc[HT][KT];
#pragma unroll
                for (int h = 0; h < HT; h++)
#pragma unroll
                    for (int i = 0; i < KT; i++)
                        acc[h][i] = (V)(T)0;
                for (int row = from; row < to; row++) {
                    int n = row / OH, r = row % OH;
                    global const T *a =
                        x + x0 +
                        ((size_t)n * (size_t)x_blocks + (size_t)(c / VN)) * (size_t)x_plane * VN +
                        ((long)x_first + (long)(r * sh + h0 * dh) * x_row + i0 * DW) * VN + c % VN;
                    global const T *d =
                        dy + dy0 +
                        (((size_t)n * (size_t)blocks + (size_t)k) * (size_t)y_plane +
                         (size_t)(y_first + r * y_row)) *
                            VN;
                    for (int q = 0; q < OW; q++) {
                        V dv = VLOAD(d + q * VN);
#pragma unroll
                        for (int h = 0; h < HT; h++)
#pragma unroll
                            for (int i = 0; i < KT; i++)
                                acc[h][i] =
                                    fma((V)(a[(h * dh * x_row + q * SW + i * DW) * VN]), dv,
                                        acc[h][i]);
                    }
                }
#pragma unroll
                for (int h = 0; h < HT; h++)
#pragma unroll
                    for (int i = 0; i < KT; i++)
                        sum[h][i] = select(sum[h][i], acc[h][i], own);
            }
#pragma unroll
            for (int h = 0; h < HT; h++)
#pragma unroll
                for (int i = 0; i < KT; i++)
                    VSTORE(sum[h][i], part + ((h0 + h) * KW + i0 + i) * VN);
        }
}

/* dw [K, weights] = sum over parts [parts, blocks, weights, VN]. Global: blocks. */
kernel void conv2d_group_bww_sum(global const T *part, ulong part0, global T *dw, ulong dw0,
                                 int parts, int K, int weights)
{
    size_t k = get_global_id(0), block = (size_t)weights * VN, step = get_global_size(0) * block;
    int n = min(VN, K - (int)k * VN);
    part += part0 + k * block;
    dw += dw0 + k * block;
    for (int t = 0; t < weights; t++) {
        V sum = (V)(T)0;
        T lane[VN];
        for (int p = 0; p < parts; p++)
            sum += VLOAD(part + (size_t)p * step + t * VN);
        VSTORE(sum, lane);
        for (int l = 0; l < n; l++)
            dw[l * weights + t] = lane[l];
    }
}
