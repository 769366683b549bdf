/* Winograd's transforms from the points 0, 1, -1, 2, -2 and infinity: six values along each side of
 * a tile. KR taps give WM = 7 - KR outputs: F(4,3) and F(2,5); backward weights swap taps and
 * outputs. Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016); the scales
 * of the points are on the weights' side. */
#include "vec.cl"
#ifndef KL_WINO_MATH_CL
#define KL_WINO_MATH_CL

#ifndef KR
#define KR 3 /* taps along a side: 3 or 5 */
#endif
#define WM (7 - KR)

/* Input: six cells. */
static inline void wino_in(const V *d, V *o)
{
    V p = fma((V)-4, d[2], d[4]), q = fma((V)-4, d[1], d[3]), r = d[4] - d[2],
      s = (V)2 * (d[3] - d[1]);
    o[0] = fma((V)4, d[0], fma((V)-5, d[2], d[4]));
    o[1] = p + q;
    o[2] = p - q;
    o[3] = r + s;
    o[4] = r - s;
    o[5] = fma((V)4, d[1], fma((V)-5, d[3], d[5]));
}

/* Weights: KR taps. */
static inline void wino_taps(const V *g, V *o)
{
#if KR == 3
    V s = (g[0] + g[2]) * (V)((T)-1 / (T)6),
      u = fma(g[0], (V)((T)1 / (T)24), g[2] * (V)((T)1 / (T)6));
    V t = g[1] * (V)((T)1 / (T)6), v = g[1] * (V)((T)1 / (T)12);
    o[1] = s - t;
    o[2] = s + t;
#else
    V s = (g[0] + g[2] + g[4]) * (V)((T)-1 / (T)6), t = (g[1] + g[3]) * (V)((T)1 / (T)6);
    V u = fma(g[0], (V)((T)1 / (T)24), fma(g[2], (V)((T)1 / (T)6), g[4] * (V)((T)2 / (T)3)));
    V v = fma(g[1], (V)((T)1 / (T)12), g[3] * (V)((T)1 / (T)3));
    o[1] = s - t;
    o[2] = s + t;
#endif
    o[0] = g[0] * (V)((T)1 / (T)4);
    o[3] = u + v;
    o[4] = u - v;
    o[5] = g[KR - 1];
}

/* Outputs from the six products: WM cells. */
static inline void wino_out(const V *m, V *o)
{
    V s = m[1] + m[2], t = m[1] - m[2], u = m[3] + m[4], v = m[3] - m[4];
    o[0] = m[0] + s + u;
#if KR == 3
    o[1] = fma((V)2, v, t);
    o[2] = fma((V)4, u, s);
    o[3] = fma((V)8, v, t) + m[5];
#else
    o[1] = fma((V)2, v, t) + m[5];
#endif
}

/* Backward weights: WM cells of dy. */
static inline void wino_dy(const V *d, V *o)
{
#if KR == 3
    V s = d[0] + d[2], t = d[1] + d[3], u = fma((V)4, d[2], d[0]), v = (V)2 * fma((V)4, d[3], d[1]);
#else
    V s = d[0], t = d[1], u = d[0], v = (V)2 * d[1];
#endif
    o[0] = d[0];
    o[1] = s + t;
    o[2] = s - t;
    o[3] = u + v;
    o[4] = u - v;
    o[5] = d[WM - 1];
}

/* Backward weights: KR taps of dw from six sums. */
static inline void wino_dw(const V *d, V *o)
{
    V s = (d[1] + d[2]) * (V)((T)-1 / (T)6), t = (d[2] - d[1]) * (V)((T)1 / (T)6),
      u = (d[3] + d[4]) * (V)((T)1 / (T)24), v = (d[3] - d[4]) * (V)((T)1 / (T)12);
    o[0] = fma((V)((T)1 / (T)4), d[0], s + u);
    o[1] = t + v;
#if KR == 3
    o[2] = fma((V)4, u, s) + d[5];
#else
    o[2] = fma((V)4, u, s);
    o[3] = fma((V)4, v, t);
    o[4] = fma((V)16, u, s) + d[5];
#endif
}
#endif
