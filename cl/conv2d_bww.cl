/* Gradient of a convolution by its weights for CPU-like devices. One work-item per work-group.
 * Bound: FMA throughput (KB x CC x KT accumulators; each vector of dy serves CC x KT taps and
 * channels, each value of x KB vectors). A work-item owns KB blocks of output channels and one
 * block of input channels over a part of the images and goes through them in strips of RB rows, so
 * that x and dy of a strip and the sums stay in L1. Sums live in scratch, one set per part, and
 * conv2d_bww_sum adds the parts in order. */
#ifndef V
#define V 4 /* lanes of a vector, channels of a block */
#endif
#ifndef XB
#define XB V /* channels of a block of x: V, or 1 for the few channels of a first layer */
#endif
#ifndef KB
#define KB 2 /* blocks of output channels per work-item */
#endif
#ifndef CC
#define CC                                                                                         \
    2 /* rows of the tile: input channels of a block (divides V); XB 1: pairs (channel, row of     \
         taps) */
#endif
#ifndef KT
#define KT 1 /* taps of a row in the tile; divides the kernel's width */
#endif
#ifndef SW
#define SW 1 /* step in x from column to column of dy */
#endif
#ifndef DW
#define DW 1 /* step in x from tap to tap */
#endif
#define KL_CAT_(a, b) a##b
#define KL_CAT(a, b) KL_CAT_(a, b)
#define VF KL_CAT(float, V)

/* Adds a strip of `rows` rows of `cols` columns into sum[k][i][t] at sum + k ks + t ts + so[i]. */
static inline __attribute__((always_inline)) void
strip(global const float *x, global const float *dy, global float *sum, const int *xo,
      const int *so, int ks, int ts, int first, int rows, int cols, int xrow, int dyrow, int dyk)
{
    VF acc[KB][CC][KT];
#pragma unroll
    for (int k = 0; k < KB; k++)
#pragma unroll
        for (int i = 0; i < CC; i++)
#pragma unroll
            for (int t = 0; t < KT; t++)
                acc[k][i][t] =
                    first ? (VF)(0) : *(global const VF *)(sum + k * ks + t * ts + so[i]);
    for (int r = 0; r < rows; r++) {
        global const float *a = x + (long)r * xrow;
        global const float *d = dy + (long)r * dyrow;
        for (int q = 0; q < cols; q++) {
            VF dv[KB];
#pragma unroll
            for (int k = 0; k < KB; k++)
                dv[k] = *(global const VF *)(d + k * dyk + q * V);
#pragma unroll
            for (int t = 0; t < KT; t++)
#pragma unroll
                for (int i = 0; i < CC; i++) {
                    VF v = (VF)(a[(q * SW + t * DW) * XB + xo[i]]);
#pragma unroll
                    for (int k = 0; k < KB; k++)
                        acc[k][i][t] = fma(v, dv[k], acc[k][i][t]);
                }
        }
    }
#pragma unroll
    for (int k = 0; k < KB; k++)
#pragma unroll
        for (int i = 0; i < CC; i++)
#pragma unroll
            for (int t = 0; t < KT; t++)
                *(global VF *)(sum + k * ks + t * ts + so[i]) = acc[k][i][t];
}

/* x [N, XC blocks, XH, XW, XB]; dy [N, YC, YH, YW, V] with its first pixel at (oy, ox); part
 * [parts][YC, CB, KH, KW, V of I, V of O]; tap (h, i) of output (r, q) is x at row iy + r SH + h
 * xh, column ix + q SW + i DW. CI channels in CB blocks per group, KG blocks of dy per group.
 * Global: YC / KB, CB, parts. */
kernel void conv2d_bww(global const float *x, ulong x0, global const float *dy, ulong dy0,
                       global float *part, ulong part0, int N, int CI, int CB, int XC, int XH,
                       int XW, int KG, int YC, int YH, int YW, int OH, int OW, int oy, int ox,
                       int iy, int ix, int SH, int xh, int KH, int KW, int RB)
{
    int k0 = get_global_id(0) * KB, cb = get_global_id(1), p = get_global_id(2),
        parts = get_global_size(2);
    int n0 = (int)((long)N * p / parts), n1 = (int)((long)N * (p + 1) / parts);
    int xrow = XW * XB, dyrow = YW * V, dyk = YH * dyrow, ts = V * V, ks = CB * KH * KW * ts;
    int nc = XB == 1 ? CI * KH : min(V, CI - cb * V);
    x += x0 + (ulong)(k0 / KG * CB + cb) * XH * xrow + (long)iy * xrow + (long)ix * XB;
    dy += dy0 + (ulong)k0 * dyk + (long)oy * dyrow + ox * V;
    part += part0 + ((ulong)p * YC + k0) * ks + (ulong)cb * KH * KW * ts;
    for (int n = n0; n < n1; n++)
        for (int r = 0; r < OH; r += RB) {
            global const float *xn = x + ((ulong)n * XC * XH + (ulong)r * SH) * xrow;
            global const float *dn = dy + (ulong)n * YC * dyk + (ulong)r * dyrow;
            int first = n == n0 && r == 0, rows = min(RB, OH - r), xo[CC], so[CC];
            for (int h = 0; h < (XB == 1 ? 1 : KH); h++)
                for (int i = 0; i < KW; i += KT)
                    for (int c = 0; c < nc; c += CC) {
#pragma unroll
                        for (int j = 0; j < CC; j++) {
#if XB == 1
                            xo[j] = (c + j) / KH * XH * xrow + (c + j) % KH * xh * xrow;
                            so[j] = (c + j) % KH * KW * ts + (c + j) / KH * V;
#else
                            xo[j] = j;
                            so[j] = j * V;
#endif
                        }
                        strip(xn + (XB == 1 ? 0 : h * xh * xrow + c) + i * DW * XB, dn,
                              part + (h * KW + i) * ts + (XB == 1 ? 0 : c * V), xo, so, ks, ts,
                              first, rows, OW, SH * xrow, dyrow, dyk);
                    }
        }
}

/* dw [OC, CI, T] = sum over parts of part [parts][YC, CB, T, V of I, V of O]. Global: YC, CB.
 * Memory-bound; a block of dw is written in order of the sums and stays in L1. */
kernel void conv2d_bww_sum(global const float *part, ulong part0, global float *dw, ulong dw0,
                           int parts, int OC, int CI, int T)
{
    int k = get_global_id(0), cb = get_global_id(1), YC = get_global_size(0),
        CB = get_global_size(1);
    ulong block = (ulong)T * V * V, step = (ulong)YC * CB * block;
    int lanes = min(V, OC - k * V), nc = min(V, CI - cb * V);
    part += part0 + ((ulong)k * CB + cb) * block;
    dw += dw0 + ((ulong)k * V * CI + cb * V) * T;
    for (int t = 0; t < T; t++)
        for (int c = 0; c < nc; c++) {
            VF s = (VF)(0);
            float lane[V];
            for (int p = 0; p < parts; p++)
                s += *(global const VF *)(part + p * step + (t * V + c) * V);
            KL_CAT(vstore, V)(s, 0, lane);
            for (int l = 0; l < lanes; l++)
                dw[((ulong)l * CI + c) * T + t] = lane[l];
        }
}
