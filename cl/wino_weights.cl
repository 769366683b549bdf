/* Weights [O, I, KR, KR] in Winograd form, storage kinds of tensor.h: 36 planes of [O blocks, I, VN
 * of O], or turned round for backward data, taps reversed: [I blocks, O, VN of I]. I (O) is padded
 * to whole blocks, each plane by one vector. Bound: memory; the result is 4 (KR 3) or 1.4 times the
 * weights. */
#include "position.cl"
#include "wino_taps.cl"

/* The vector after each plane. */
static inline void weights_gap(global T *u, int plane)
{
    for (int xi = 1; xi <= 36; xi++)
        VSTORE((V)0, u + (ulong)xi * plane - VN);
}

/* Global: O blocks, I blocks. */
kernel void wino_weights_solo(global const T *w, ulong w0, global T *u, ulong u0, int O, int I,
                              int plane)
{
    int ob = get_global_id(0), ib = get_global_id(1), deep = get_global_size(1);
    if (ob == 0 && ib == 0)
        weights_gap(u + u0, plane);
    wino_put_weights(w + w0, O, I, ob, ib, u + u0 + ((ulong)ob * deep + ib) * VN * VN, plane);
}

/* Global: I blocks, O blocks. */
kernel void wino_weights_swap_solo(global const T *w, ulong w0, global T *u, ulong u0, int O, int I,
                                   int plane)
{
    int ib = get_global_id(0), ob = get_global_id(1), deep = get_global_size(1);
    if (ob == 0 && ib == 0)
        weights_gap(u + u0, plane);
    wino_put_turned(w + w0, O, I, ob, ib, u + u0 + ((ulong)ib * deep + ob) * VN * VN, plane);
}

/* Factor of tap t (of KR) at point p. */
static inline T wino_factor(int p, int t)
{
    if (p == 0 || p == 5)
        return t == (p == 0 ? 0 : KR - 1) ? (p == 0 ? (T)1 / (T)4 : (T)1) : (T)0;
    T at = p == 1   ? (T)1
           : p == 2 ? (T)-1
           : p == 3 ? (T)2
                    : (T)-2,
      f = p < 3 ? (T)-1 / (T)6 : (T)1 / (T)24;
    for (int i = 0; i < t; i++)
        f *= at;
    return f;
}

/* One work-item per element of the result's storage, from any layout; swap: turned round. */
kernel void wino_weights_ref(global const T *x, ulong x0, global T *u, ulong u0, int n, int O,
                             int I, int kind, int block, int top, int left, int bottom, int right,
                             int swap, int vn)
{
    int i = get_global_id(0), lanes = swap ? I : O, rows = swap ? O : I;
    int rb = (rows + vn - 1) / vn * vn, lb = (lanes + vn - 1) / vn, plane = (lb * rb + 1) * vn;
    if (i >= n)
        return;
    int at = i % plane, xi = i / plane, lane = at / vn / rb * vn + at % vn, row = at / vn % rb;
    int o = swap ? row : lane, c = swap ? lane : row;
    T sum = (T)0;
    if (at / vn < lb * rb && o < O && c < I)
        for (int h = 0; h < KR; h++)
            for (int w = 0; w < KR; w++)
                sum += wino_factor(xi / 6, swap ? KR - 1 - h : h) *
                       wino_factor(xi % 6, swap ? KR - 1 - w : w) *
                       x[x0 + position(kind, block, (int4)(top, left, bottom, right), I, KR, KR, o,
                                       c, h, w)];
    u[u0 + i] = sum;
}
