/* The register tile of conv2d_solo.cl: KB blocks of VN output channels times PX pixels. The
 * accumulators must never reach memory inside the loops, hence constant bounds everywhere. */
#include "vec.cl"

#ifndef XB
#define XB VN /* channels of a block of x: VN, or 1 for the few channels of a first layer */
#endif
#ifndef KB
#define KB 2 /* blocks of output channels of the tile */
#endif
#ifndef PX
#define PX 4 /* pixels of the tile */
#endif
#ifndef SW
#define SW 1 /* step in x from pixel to pixel */
#endif
#ifndef CU
#define CU (VN < 4 ? VN : 4) /* channels per unrolled round; divides VN */
#endif

/* acc += one channel's weights at b (blocks of output channels wk apart) times its pixels at a. */
#define TILE_ROUND(a, b, wk)                                                                       \
    {                                                                                              \
        V wv[KB];                                                                                  \
        _Pragma("unroll") for (int k_ = 0; k_ < KB; k_++) wv[k_] =                                 \
            *(global const V *)((b) + k_ * (wk));                                                  \
        _Pragma("unroll") for (int p_ = 0; p_ < PX; p_++)                                          \
        {                                                                                          \
            V v_ = (V)((a)[p_ * SW * XB]);                                                         \
            _Pragma("unroll") for (int k_ = 0; k_ < KB; k_++) acc[k_][p_] =                        \
                fma(v_, wv[k_], acc[k_][p_]);                                                      \
        }                                                                                          \
    }

/* Adds `channels` channels from x on (the tile's first pixel at tap 0): XB 1, planes `plane` apart;
 * else lanes of blocks that lie `plane` apart in x and `wblock` in w. Taps: nh x nw, (xh, xw) apart
 * in x and (wh, ww) in w. */
static inline __attribute__((always_inline)) void tile_add(V acc[KB][PX], global const T *x,
                                                           global const T *w, int channels,
                                                           int plane, int wblock, int nh, int nw,
                                                           int xh, int xw, int wh, int ww, int wk)
{
#if XB == 1
    for (int c = 0; c < channels; c++)
        for (int h = 0; h < nh; h++)
            for (int i = 0; i < nw; i++)
                TILE_ROUND(x + c * plane + h * xh + i * xw, w + h * wh + i * ww + c * VN, wk)
#else
    for (; channels > 0; channels -= VN, x += plane, w += wblock) {
        int nc = min(VN, (channels + CU - 1) / CU * CU);
        for (int h = 0; h < nh; h++)
            for (int i = 0; i < nw; i++) {
                global const T *a = x + h * xh + i * xw;
                global const T *b = w + h * wh + i * ww;
                for (int c = 0; c < nc; c += CU, a += CU, b += CU * VN)
#pragma unroll
                    for (int u = 0; u < CU; u++)
                        TILE_ROUND(a + u, b + u * VN, wk)
            }
    }
#endif
}
