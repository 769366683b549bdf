/* Direct convolution for CPU-like devices: forward, and backward data as a convolution of dy. One
 * work-item per work-group. Bound: FMA throughput (KB x PX accumulators in registers; each weight
 * vector serves PX pixels, each value of x KB vectors). The partial sums of a block of input
 * channels go through y, which is L1-resident, so that the weights in use fit L1. x carries its
 * padding as halo: no bounds checks. */
#ifndef V
#define V 4 /* lanes of a vector, channels of a block */
#endif
#ifndef XB
#define XB V /* channels of a block of x: V, or 1 for the few channels of a first layer */
#endif
#ifndef KB
#define KB 2 /* blocks of output channels per work-item */
#endif
#ifndef PX
#define PX 4 /* pixels of the register tile */
#endif
#ifndef PT
#define PT 0 /* pixels of the last tile of a row; 0: PX divides the row */
#endif
#ifndef SW
#define SW 1 /* step in x from output pixel to output pixel */
#endif
#ifndef CU
#define CU 4 /* channels per unrolled round; divides V */
#endif
#define KL_CAT_(a, b) a##b
#define KL_CAT(a, b) KL_CAT_(a, b)
#define VF KL_CAT(float, V)

#define P PX
#define TILE conv2d_tile_main
#include "conv2d_tile.cl"
#if PT
#define P PT
#define TILE conv2d_tile_last
#include "conv2d_tile.cl"
#endif

/* x [N, XC blocks, XH, XW, XB]; w [YC, CB, KH, KW, V, V]; y [N, YC blocks, YH, YW, V], this launch
 * writes the pixels (oy + r osh, ox + q osw), r < OH, q < OW; output r, q reads x at row iy + r SH
 * + j xh, column ix + q SW + i xw for tap (kh + j qh, kw + i qw), j < nh, i < nw. CI channels are
 * added up, in CB blocks per group; KG blocks of y per group. Global: YC / KB, ceil(OH / RB), N.
 * HT: rows of taps whose weights share the L1. */
kernel void conv2d_solo(global const float *x, ulong x0, global const float *w, ulong w0,
                        global const float *b, ulong b0, global float *y, ulong y0, int has_bias,
                        int CI, int CB, int XC, int XH, int XW, int OC, int KG, int YC, int YH,
                        int YW, int OH, int OW, int oy, int ox, int osh, int osw, int iy, int ix,
                        int SH, int xh, int xw, int KH, int KW, int kh, int kw, int qh, int qw,
                        int nh, int nw, int RB, int HT)
{
    int k0 = get_global_id(0) * KB, r0 = get_global_id(1) * RB, n = get_global_id(2);
    int r1 = min(r0 + RB, OH), group = k0 / KG;
    int wtap = V * V, wblock = KH * KW * wtap, yblock = YH * YW * V, xrow = XW * XB;
    VF start[KB];
#pragma unroll
    for (int k = 0; k < KB; k++) {
        float lane[V];
        for (int l = 0; l < V; l++) {
            int o = (k0 + k) * V + l;
            lane[l] = has_bias && o < OC ? b[b0 + o] : 0;
        }
        start[k] = KL_CAT(vload, V)(0, lane);
    }
    x += x0 + ((ulong)n * XC + (ulong)group * (XB == 1 ? CI : CB)) * XH * xrow + (long)iy * xrow +
         (long)ix * XB;
    w += w0 + (ulong)k0 * CB * wblock + (kh * KW + kw) * wtap;
    y += y0 + ((ulong)n * YC + k0) * yblock + ((long)oy * YW + ox) * V;
    int blocks = XB == 1 ? 1 : CB, wk = CB * wblock;
    for (int c = 0; c < blocks; c++) {
        int nc = XB == 1 ? CI : min(V, (CI - c * V + CU - 1) / CU * CU);
        for (int j = 0; j == 0 || j < nh; j += HT) {
            int ht = min(HT, nh - j), first = c == 0 && j == 0;
            global const float *wc = w + (long)c * wblock + j * qh * KW * wtap;
            for (int r = r0; r < r1; r++) {
                global const float *xr = x + (long)c * XH * xrow + (long)(r * SH + j * xh) * xrow;
                global float *yr = y + (long)r * osh * YW * V;
                int q = 0;
                for (; q + PX <= OW; q += PX)
                    conv2d_tile_main(xr + q * SW * XB, wc, yr + q * osw * V, start, first, nc,
                                     XH * xrow, ht, nw, xh * xrow, xw * XB, qh * KW * wtap,
                                     qw * wtap, wk, yblock, osw * V);
#if PT
                conv2d_tile_last(xr + q * SW * XB, wc, yr + q * osw * V, start, first, nc,
                                 XH * xrow, ht, nw, xh * xrow, xw * XB, qh * KW * wtap, qw * wtap,
                                 wk, yblock, osw * V);
#endif
            }
        }
    }
}
