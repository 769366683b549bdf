/* Gradient of a convolution by its weights for CPU-like devices. One work-item per work-group.
 * Bound: FMA throughput (KB x CC x KT accumulators; each vector of dy serves CC x KT taps and
 * channels, each value of x KB vectors). A work-item owns KN blocks of output and CN of input
 * channels over a part of the images and goes through them in strips: KB blocks of a strip of dy
 * stay in L1 for all of x's blocks, x's strip and the sums in L2. Sums live in scratch, one set per
 * part, and conv2d_bww_sum adds the parts in order. */
#ifndef VN
#define VN 4 /* lanes of a vector, channels of a block */
#endif
#include "vec.cl"
#include "vec_transpose.cl"

#ifndef XB
#define XB VN /* channels of a block of x: VN, or 1 for the few channels of a first layer */
#endif
#ifndef KB
#define KB 2 /* blocks of output channels of the tile */
#endif
#ifndef CC
#define CC 1 /* rows of the tile: input channels of a block, XB 1: pairs (channel, row of taps) */
#endif
#ifndef KT
#define KT 1 /* taps of a row in the tile; divides the kernel's width */
#endif
#ifndef SW
#define SW 1 /* step in x from column to column of dy */
#endif
#ifndef KL_PREFETCH /* the compiler knows how: without, hardware guesses */
#ifdef __has_builtin
#define KL_PREFETCH __has_builtin(__builtin_prefetch)
#else
#define KL_PREFETCH 0
#endif
#endif
#ifndef DW
#define DW 1 /* step in x from tap to tap of a tile: xw */
#endif

/* Asks for n elements ahead of use; no memory is read, so they may be anywhere. */
static inline void fetch(global const T *p, int n)
{
#if KL_PREFETCH
    for (int i = 0; i < n; i += VN)
        __builtin_prefetch((const void *)(ulong)(p + i), 0, 2);
#endif
}

/* Adds a strip of `rows` rows of `cols` columns, in each of so many images, into sum[k][i][t] at
 * sum
 * + k ks + t ts + so[i]. */
static inline __attribute__((always_inline)) void strip(global const T *x, global const T *dy,
                                                        global T *sum, const int *xo, const int *so,
                                                        int ks, int ts, int first, int images,
                                                        int rows, int cols, ulong ximage,
                                                        ulong dyimage, int xrow, int dyrow, int dyk)
{
    V acc[KB][CC][KT];
#pragma unroll
    for (int k = 0; k < KB; k++)
#pragma unroll
        for (int i = 0; i < CC; i++)
#pragma unroll
            for (int t = 0; t < KT; t++)
                acc[k][i][t] = first ? (V)(0) : *(global const V *)(sum + k * ks + t * ts + so[i]);
    for (int m = 0; m < images * rows; m++) {
        global const T *a = x + m / rows * ximage + (long)(m % rows) * xrow;
        global const T *d = dy + m / rows * dyimage + (long)(m % rows) * dyrow;
        for (int q = 0; q < cols; q++) {
            V dv[KB];
#pragma unroll
            for (int k = 0; k < KB; k++)
                dv[k] = *(global const V *)(d + k * dyk + q * VN);
#pragma unroll
            for (int t = 0; t < KT; t++)
#pragma unroll
                for (int i = 0; i < CC; i++) {
                    V v = (V)(a[(q * SW + t * DW) * XB + xo[i]]);
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
                *(global V *)(sum + k * ks + t * ts + so[i]) = acc[k][i][t];
}

/* x [N, XC blocks, XH, XW, XB]; dy [N, YC, YH, YW, VN] with its first pixel at (oy, ox); part
 * [parts][YC, CB, KH, KW, VN of I, VN of O]; tap (h, i) of output (r, q) is x at row iy + r SH + h
 * xh, column ix + q SW + i xw. CI channels in CB blocks per group, KG blocks of dy per group. flat:
 * OH "rows" of OW pixels of planes of `flat` pixels without a halo. Strips have RB rows of NB
 * images. Rows of x outside xtop .. xbottom are halo.
 * Global: KN blocks of a group of dy each, CN blocks of x each, parts. */
kernel void conv2d_bww(global const T *x, ulong x0, global const T *dy, ulong dy0, global T *part,
                       ulong part0, int N, int CI, int CB, int XC, int XH, int XW, int KG, int YC,
                       int YH, int YW, int OH, int OW, int oy, int ox, int iy, int ix, int xtop,
                       int xbottom, int SH, int xh, int xw, int KH, int KW, int RB, int NB,
                       int flat, int KN, int CN)
{
    int shares = (KG + KN - 1) / KN, group = get_global_id(0) / shares;
    int k0 = group * KG + get_global_id(0) % shares * KN, k1 = min(k0 + KN, (group + 1) * KG);
    int c0 = get_global_id(1) * CN, c1 = min(c0 + CN, CB), p = get_global_id(2);
    int n0 = (int)((long)N * p / get_global_size(2)),
        n1 = (int)((long)N * (p + 1) / get_global_size(2));
    int xrow = flat ? XB : XW * XB, dyrow = flat ? VN : YW * VN, xplane = XH * XW * XB;
    int dyk = YH * YW * VN, ts = VN * VN, cs = KH * KW * ts, ks = CB * cs;
    x += x0 + (ulong)group * CB * xplane + (long)iy * xrow + (long)ix * XB;
    dy += dy0 + (long)oy * dyrow + ox * VN;
    part += part0 + (ulong)p * YC * ks;
    for (int n = n0; n < n1; n += NB)
        for (int r = 0; r < OH; r += RB) {
            int first = n == n0 && r == 0, rows = min(RB, OH - r), images = min(NB, n1 - n), xo[CC],
                so[CC];
            int cols = flat ? min(OW, flat - r * OW) : OW, step = flat ? OW : 1;
            for (int k = k0; k < k1; k += KB) {
                global const T *dk = dy + ((ulong)n * YC + k) * dyk + (ulong)r * step * dyrow;
                for (int cb = c0; cb < c1; cb++) {
                    global const T *xk =
                        x + ((ulong)n * XC + cb) * xplane + (ulong)r * step * SH * xrow;
                    global T *sum = part + (ulong)k * ks + (ulong)cb * cs;
                    int nc = XB == 1 ? CI * KH : min(VN, CI - cb * VN);
                    /* what comes next is asked for a piece at a time: the following block of x in
                     * as many pieces as there are tiles, of dy in as many for all of x's blocks */
                    int tiles = (XB == 1 ? 1 : KH) * (KW / KT) * ((nc + CC - 1) / CC);
                    int piece = rows * step * SH * xrow / tiles + VN;
                    int dpiece = rows * step * dyrow / (tiles * (c1 - c0)) + VN;
                    global const T *dnext =
                        (k + KB < k1 ? dk + KB * dyk : dk - (k - k0) * dyk + RB * step * dyrow) +
                        (cb - c0) * tiles * dpiece;
                    global const T *next =
                        xk + (cb + 1 < c1
                                  ? xplane
                                  : (c0 - cb) * xplane + (k + KB < k1 ? 0 : RB * step * SH * xrow));
                    for (int h = 0; h < (XB == 1 ? 1 : KH); h++) {
                        /* rows that a tap sees as halo add nothing */
                        int r0 = 0, r1 = rows, row = iy + r * SH + h * xh,
                            trim = flat ? 0 : XB != 1;
                        for (; trim && r0 < r1 && row + r0 * SH < xtop; r0++)
                            ;
                        for (; trim && r0 < r1 && row + (r1 - 1) * SH >= xbottom; r1--)
                            ;
                        if (r0 == r1 && !first)
                            continue;
                        for (int i = 0; i < KW; i += KT)
                            for (int c = 0; c < nc; c += CC) {
                                fetch(next, piece);
                                next += piece;
#pragma unroll
                                for (int j = 0; j < KB; j++)
                                    fetch(dnext + j * dyk, dpiece);
                                dnext += dpiece;
#pragma unroll
                                for (int j = 0; j < CC; j++) {
#if XB == 1
                                    xo[j] = (c + j) / KH * xplane + (c + j) % KH * xh * xrow;
                                    so[j] = (c + j) % KH * KW * ts + (c + j) / KH * VN;
#else
                                    xo[j] = j;
                                    so[j] = j * VN;
#endif
                                }
                                strip(xk + (XB == 1 ? 0 : (h * xh + r0 * SH) * xrow + c) +
                                          i * xw * XB,
                                      dk + r0 * dyrow,
                                      sum + (h * KW + i) * ts + (XB == 1 ? 0 : c * VN), xo, so, ks,
                                      ts, first, images, r1 - r0, cols, (ulong)XC * xplane,
                                      (ulong)YC * dyk, SH * xrow, dyrow, dyk);
                            }
                    }
                }
            }
        }
}

/* dw [OC, CI, TN] = sum over parts of part [parts][YC, CB, TN, VN of I, VN of O]. Global: YC, CB.
 * Memory-bound: TN x VN neighbours in dw make VN x VN tiles of output channels and (I, T). */
kernel void conv2d_bww_sum(global const T *part, ulong part0, global T *dw, ulong dw0, int parts,
                           int OC, int CI, int TN)
{
    int k = get_global_id(0), cb = get_global_id(1), YC = get_global_size(0),
        CB = get_global_size(1);
    ulong block = (ulong)TN * VN * VN, next = (ulong)YC * CB * block;
    int lanes = min(VN, OC - k * VN), cells = min(VN, CI - cb * VN) * TN;
    part += part0 + ((ulong)k * CB + cb) * block;
    dw += dw0 + ((ulong)k * VN * CI + cb * VN) * TN;
    for (int t = 0; t < cells; t += VN) {
        V r[VN], u[VN];
#pragma unroll
        for (int m = 0; m < VN; m++) {
            int cell = min(t + m, cells - 1);
            global const T *p = part + (cell % TN * VN + cell / TN) * VN;
            r[m] = (V)(0);
            for (int i = 0; i < parts; i++)
                r[m] += *(global const V *)(p + i * next);
        }
        TRANSPOSE(r, u)
#pragma unroll
        for (int l = 0; l < VN; l++) {
            global T *d = dw + (ulong)l * CI * TN + t;
            if (l < lanes && t + VN <= cells)
                VSTORE(r[l], d);
            else if (l < lanes) {
                T lane[VN];
                VSTORE(r[l], lane);
                for (int m = 0; t + m < cells; m++)
                    d[m] = lane[m];
            }
        }
    }
}
