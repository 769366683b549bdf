/* Weights [O, I, KR, KR] in Winograd form, storage kinds of tensor.h: 36 planes of [O blocks, I, VN
 * of O], or turned round for backward data, taps reversed: [I blocks, O, VN of I]. I (O) is padded
 * to whole blocks, each plane by one vector. Bound: memory; the result is 4 (KR 3) or 1.4 times the
 * weights. */
#include "position.cl"
#include "wino_math.cl"
#if VN > 1
#include "vec_transpose.cl"
#else
#define TRANSPOSE(r, t) (void)(t);
#endif
#define TAPS (KR * KR)

/* Two rounds of the transform: taps g to the planes at u. */
static inline void weights_put(const V *g, bool turn, global T *u, int plane)
{
    V h[6][KR], c[KR], o[6];
#pragma unroll
    for (int j = 0; j < KR; j++) {
#pragma unroll
        for (int i = 0; i < KR; i++)
            c[i] = g[turn ? TAPS - 1 - (i * KR + j) : i * KR + j];
        wino_taps(c, o);
#pragma unroll
        for (int i = 0; i < 6; i++)
            h[i][j] = o[i];
    }
#pragma unroll
    for (int i = 0; i < 6; i++) {
        wino_taps(h[i], o);
#pragma unroll
        for (int j = 0; j < 6; j++)
            VSTORE(o[j], u + (i * 6 + j) * plane);
    }
}

/* The vector after each plane. */
static inline void weights_gap(global T *u, int plane)
{
    for (int xi = 1; xi <= 36; xi++)
        VSTORE((V)0, u + (ulong)xi * plane - VN);
}

/* Lanes are outputs. Global: O blocks, I blocks. */
kernel void wino_weights_solo(global const T *x, ulong x0, global T *u, ulong u0, int O, int I,
                              int plane)
{
    int ob = get_global_id(0), ib = get_global_id(1), no = min(VN, O - ob * VN),
        ni = min(VN, I - ib * VN);
    V g[VN * TAPS];
    x += x0 + ((ulong)ob * VN * I + ib * VN) * TAPS;
    if (ob == 0 && ib == 0)
        weights_gap(u + u0, plane);
    u += u0 + ((ulong)ob * get_global_size(1) + ib) * VN * VN;
    if (no == VN && ni == VN) {
        for (int q = 0; q < TAPS; q++) {
            V r[VN], t[VN];
#pragma unroll
            for (int o = 0; o < VN; o++)
                r[o] = VLOAD(x + (ulong)o * I * TAPS + q * VN);
            TRANSPOSE(r, t)
#pragma unroll
            for (int p = 0; p < VN; p++)
                g[q * VN + p] = r[p];
        }
    } else {
        for (int q = 0; q < VN * TAPS; q++) {
            T lane[VN];
            for (int o = 0; o < VN; o++)
                lane[o] = o < no && q < ni * TAPS ? x[(ulong)o * I * TAPS + q] : (T)0;
            g[q] = VLOAD(lane);
        }
    }
    for (int i = 0; i < VN; i++)
        weights_put(g + i * TAPS, false, u + i * VN, plane);
}

/* Lanes are inputs, taps reversed. Global: I blocks, O blocks. */
kernel void wino_weights_swap_solo(global const T *x, ulong x0, global T *u, ulong u0, int O, int I,
                                   int plane)
{
    int ib = get_global_id(0), ob = get_global_id(1), ni = min(VN, I - ib * VN);
    if (ob == 0 && ib == 0)
        weights_gap(u + u0, plane);
    u += u0 + ((ulong)ib * get_global_size(1) + ob) * VN * VN;
    for (int o = 0; o < VN; o++) {
        T cells[VN * TAPS + VN];
        V g[TAPS + VN];
        int row = ob * VN + o;
        global const T *w = x + x0 + ((ulong)row * I + ib * VN) * TAPS;
        if (row < O && ni == VN) {
            for (int q = 0; q < TAPS; q++)
                VSTORE(VLOAD(w + q * VN), cells + q * VN);
        } else {
            for (int q = 0; q < VN * TAPS; q++)
                cells[q] = row < O && q < ni * TAPS ? w[q] : (T)0;
        }
        VSTORE((V)0, cells + VN * TAPS);
#pragma unroll
        for (int q = 0; q < TAPS; q += VN) {
            V r[VN], t[VN];
#pragma unroll
            for (int i = 0; i < VN; i++)
                r[i] = VLOAD(cells + i * TAPS + q);
            TRANSPOSE(r, t)
#pragma unroll
            for (int p = 0; p < VN; p++)
                g[q + p] = r[p];
        }
        weights_put(g, true, u + o * VN, plane);
    }
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
