/* One register tile of conv2d_solo.cl: KB blocks of V output channels times P pixels of a row.
 * Included once for each tile width; the accumulators must never reach memory inside the loops,
 * hence constant bounds everywhere. */
#ifndef P
#define P 4 /* pixels of the tile */
#define TILE conv2d_tile
#endif
#ifndef VF
#define V 4 /* lanes of a vector, channels of a block */
#define VF float4
#define XB V /* channels of a block of x: V or 1 */
#define KB 2 /* blocks of output channels of the tile */
#define SW 1 /* step in x from pixel to pixel */
#define CU 4 /* channels per unrolled round */
#endif

/* x: the tile's first pixel at tap 0. nc: channels to add up (XB 1: planes `cx` apart; else lanes
 * of one block). Taps: nh x nw, (xh, xw) apart in x and (wh, ww) apart in w. wk: from one block of
 * output channels to the next in w; yk and yx: between blocks and pixels of y. */
static inline __attribute__((always_inline, unused)) void
TILE(global const float *x, global const float *w, global float *y, const VF *start, int first,
     int nc, int cx, int nh, int nw, int xh, int xw, int wh, int ww, int wk, int yk, int yx)
{
    VF acc[KB][P];
#pragma unroll
    for (int k = 0; k < KB; k++)
#pragma unroll
        for (int p = 0; p < P; p++)
            acc[k][p] = first ? start[k] : *(global const VF *)(y + k * yk + p * yx);
#if XB == 1
    for (int c = 0; c < nc; c++)
        for (int h = 0; h < nh; h++)
            for (int i = 0; i < nw; i++) {
                global const float *a = x + c * cx + h * xh + i * xw;
                global const float *b = w + h * wh + i * ww + c * V;
                VF wv[KB];
#pragma unroll
                for (int k = 0; k < KB; k++)
                    wv[k] = *(global const VF *)(b + k * wk);
#pragma unroll
                for (int p = 0; p < P; p++) {
                    VF v = (VF)(a[p * SW]);
#pragma unroll
                    for (int k = 0; k < KB; k++)
                        acc[k][p] = fma(v, wv[k], acc[k][p]);
                }
            }
#else
    for (int h = 0; h < nh; h++)
        for (int i = 0; i < nw; i++) {
            global const float *a = x + h * xh + i * xw;
            global const float *b = w + h * wh + i * ww;
            for (int c = 0; c < nc; c += CU)
#pragma unroll
                for (int u = 0; u < CU; u++) {
                    VF wv[KB];
#pragma unroll
                    for (int k = 0; k < KB; k++)
                        wv[k] = *(global const VF *)(b + k * wk + (c + u) * V);
#pragma unroll
                    for (int p = 0; p < P; p++) {
                        VF v = (VF)(a[p * SW * XB + c + u]);
#pragma unroll
                        for (int k = 0; k < KB; k++)
                            acc[k][p] = fma(v, wv[k], acc[k][p]);
                    }
                }
        }
#endif
#pragma unroll
    for (int k = 0; k < KB; k++)
#pragma unroll
        for (int p = 0; p < P; p++)
            *(global VF *)(y + k * yk + p * yx) = acc[k][p];
}
#undef P
#undef TILE
