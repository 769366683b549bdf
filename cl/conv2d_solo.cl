/* Direct convolution for CPU-like devices: forward, and backward data as a convolution of dy. One
 * work-item per work-group. Bound: FMA throughput (KB x PX accumulators in registers; each weight
 * vector serves PX pixels, each value of x KB vectors). A work-item owns KB blocks of output
 * channels of a strip of rows. It adds up CT blocks of input channels at a time, whose weights fit
 * L1; partial sums go through y. x carries its padding as halo: no bounds checks; y's own halo is
 * written here. */
#include "epilogue.cl"

#include "conv2d_tile.cl"

/* Zeros around the rows of y that a strip owns: rows `from` to `to` of the storage, columns outside
 * `left` .. `right`; rows outside `top` .. `bottom` whole. */
static void zero_halo(global T *y, int from, int to, int cols, int top, int bottom, int left,
                      int right)
{
    for (int h = from; h < to; h++) {
        bool whole = h < top || h >= bottom;
        for (int w = 0; w < (whole ? cols : left); w++)
            *(global V *)(y + (h * cols + w) * VN) = (V)(0);
        for (int w = whole ? cols : right; w < cols; w++)
            *(global V *)(y + (h * cols + w) * VN) = (V)(0);
    }
}

/* x [N, XC blocks, XH, XW, XB]; w: pieces [KH, KW, VN of x, VN of y], wk apart from one block of y
 * to the next, wblock from one of x, wgroup from group to group; y [N, YC blocks, top + H + bottom,
 * left
 * + W + right, VN]. This launch makes the cells (oy + r osh, ox + q osw) of y, r < OH, q < OW;
 * output r, q reads x at row iy + r SH + j xh, column ix + q SW + i xw for tap (kh + j qh, kw + i
 * qw), j < nh, i < nw. CI channels are added up, in CB blocks per group; KG blocks of y per group.
 * flat: pixels of planes without a halo, in "rows" of OW of the H x W pixels.
 * Global: neighbours among the blocks of y (KB each), strips of RB rows x N, the others. HT: rows
 * of taps whose weights share L1. Rows of x outside xtop .. xbottom are halo. halo: this launch
 * writes y's halo too. */
kernel void conv2d_solo(global const T *x, ulong x0, global const T *w, ulong w0, global const T *b,
                        ulong b0, global T *y, ulong y0, int has_bias, int CI, int CB, int XC,
                        int XH, int XW, int OC, int KG, int YC, int wk, int wblock, int wgroup,
                        int H, int W, int top, int left, int bottom, int right, int OH, int OW,
                        int oy, int ox, int osh, int osw, int iy, int ix, int xtop, int xbottom,
                        int SH, int xh, int xw, int KW, int kh, int kw, int qh, int qw, int nh,
                        int nw, int RB, int HT, int CT, int flat, int halo EPI_PARAMS)
{
    int strips = (OH + RB - 1) / RB, n = get_global_id(1) / strips;
    int r0 = get_global_id(1) % strips * RB, r1 = min(r0 + RB, OH);
    int k0 = (get_global_id(2) * get_global_size(0) + get_global_id(0)) * KB, group = k0 / KG;
    int wtap = VN * VN;
    int yrow = (flat ? 1 : left + W + right) * VN,
        yblock = (top + H + bottom) * (left + W + right) * VN;
    int xrow = (flat ? 1 : XW) * XB, plane = XH * XW * XB, blocks = XB == 1 ? 1 : CB;
    V start[KB];
#pragma unroll
    for (int k = 0; k < KB; k++)
        start[k] = has_bias ? vec_part(b + b0 + (k0 + k) * VN, OC - (k0 + k) * VN) : (V)(0);
    x += x0 + ((ulong)n * XC + (ulong)group * (XB == 1 ? CI : CB)) * plane + (long)iy * xrow +
         (long)ix * XB;
    w += w0 + (ulong)group * wgroup + (ulong)(k0 - group * KG) * wk + (kh * KW + kw) * wtap;
    y += y0 + ((ulong)n * YC + k0) * yblock;
    if (halo)
        for (int k = 0; k < KB; k++)
            zero_halo(y + k * yblock, r0 ? top + r0 * osh : 0,
                      r1 < OH ? top + r1 * osh : top + H + bottom, left + W + right, top, top + H,
                      left, left + W);
    y += (oy + top) * yrow + (ox + left) * VN;
    for (int c = 0; c < blocks; c += CT) {
        int nc = XB == 1 ? CI : min(CT * VN, CI - c * VN);
        for (int j = 0; j == 0 || j < nh; j += HT) {
            int ht = min(HT, nh - j), first = c == 0 && j == 0,
                last = c + CT >= blocks && j + HT >= nh;
            global const T *wc = w + (long)c * wblock + j * qh * KW * wtap;
            for (int r = r0; r < r1; r++) {
                global const T *xr = x + (long)c * plane + (long)(r * SH + j * xh) * xrow;
                /* rows of taps that see only halo add nothing */
                int row = iy + r * SH + j * xh, t0 = 0, t1 = ht;
                while (t0 < t1 && (row + t0 * xh < xtop || row + t0 * xh >= xbottom))
                    t0++;
                while (t0 < t1 && (row + (t1 - 1) * xh < xtop || row + (t1 - 1) * xh >= xbottom))
                    t1--;
                int h = oy + r * osh, cols = flat ? min(OW, H * W - h) : OW;
                for (int q = 0; q < cols; q += PX) {
                    /* the last tile of a row may begin before its first pixel that is still to do
                     */
                    int q0 = min(q, cols - PX), from = q - q0;
                    global T *yt = y + (long)r * osh * yrow + q0 * osw * VN;
                    V acc[KB][PX];
#pragma unroll
                    for (int k = 0; k < KB; k++)
#pragma unroll
                        for (int p = 0; p < PX; p++)
                            acc[k][p] = first ? start[k]
                                              : *(global const V *)(yt + k * yblock + p * osw * VN);
                    tile_add(acc, xr + (long)t0 * xh * xrow + q0 * SW * XB,
                             wc + t0 * qh * KW * wtap, nc, plane, wblock, t1 - t0, nw, xh * xrow,
                             xw * XB, qh * KW * wtap, qw * wtap, wk);
#pragma unroll
                    for (int k = 0; k < KB; k++) {
                        global T *yk = yt + k * yblock;
                        if (last) {
                            EPI_ROW(n, k0 + k, flat ? 0 : h)
#pragma unroll
                            for (int p = 0; p < PX; p++)
                                if (p >= from) {
                                    EPI(value, acc[k][p], (flat ? h : ox) + (q0 + p) * osw)
                                    *(global V *)(yk + p * osw * VN) = value;
                                }
                        } else {
#pragma unroll
                            for (int p = 0; p < PX; p++)
                                if (p >= from)
                                    *(global V *)(yk + p * osw * VN) = acc[k][p];
                        }
                    }
                }
            }
        }
    }
}
