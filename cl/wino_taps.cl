/* A block of VN x VN weights of w [O, I, KR, KR] in Winograd form, to memory of kind SPACE. */
#include "wino_math.cl"
#if VN > 1
#include "vec_transpose.cl"
#else
#define TRANSPOSE(r, t) (void)(t);
#endif
#ifndef SPACE
#define SPACE global
#endif
#define TAPS (KR * KR)

/* Two rounds of the transform: taps g to the planes at u. */
static inline void wino_put_taps(const V *g, bool turn, SPACE T *u, int plane)
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

/* Lanes are the outputs of block ob; inputs of block ib from u on, VN elements apart. */
static inline __attribute__((unused)) void wino_put_weights(global const T *w, int O, int I, int ob,
                                                            int ib, SPACE T *u, int plane)
{
    int no = min(VN, O - ob * VN), ni = min(VN, I - ib * VN);
    V g[VN * TAPS];
    w += ((ulong)ob * VN * I + ib * VN) * TAPS;
    if (no == VN && ni == VN) {
        for (int q = 0; q < TAPS; q++) {
            V r[VN], t[VN];
#pragma unroll
            for (int o = 0; o < VN; o++)
                r[o] = VLOAD(w + (ulong)o * I * TAPS + q * VN);
            TRANSPOSE(r, t)
#pragma unroll
            for (int p = 0; p < VN; p++)
                g[q * VN + p] = r[p];
        }
    } else {
        for (int q = 0; q < VN * TAPS; q++) {
            T lane[VN];
            for (int o = 0; o < VN; o++)
                lane[o] = o < no && q < ni * TAPS ? w[(ulong)o * I * TAPS + q] : (T)0;
            g[q] = VLOAD(lane);
        }
    }
    for (int i = 0; i < VN; i++)
        wino_put_taps(g + i * TAPS, false, u + i * VN, plane);
}

/* Lanes are the inputs of block ib, taps reversed; outputs of block ob from u on. */
static inline __attribute__((unused)) void wino_put_turned(global const T *w, int O, int I, int ob,
                                                           int ib, SPACE T *u, int plane)
{
    int ni = min(VN, I - ib * VN);
    for (int o = 0; o < VN; o++) {
        V g[TAPS + VN];
        int row = ob * VN + o;
        ulong at = ((ulong)row * I + ib * VN) * TAPS;
        /* whole vectors are read, the last ones beyond the block */
        if (row < O && ni == VN &&
            at + (VN - 1) * TAPS + (TAPS + VN - 1) / VN * VN <= (ulong)O * I * TAPS) {
#pragma unroll
            for (int q = 0; q < TAPS; q += VN) {
                V r[VN], t[VN];
#pragma unroll
                for (int i = 0; i < VN; i++)
                    r[i] = VLOAD(w + at + i * TAPS + q);
                TRANSPOSE(r, t)
#pragma unroll
                for (int p = 0; p < VN; p++)
                    g[q + p] = r[p];
            }
        } else {
            for (int q = 0; q < TAPS; q++) {
                T lane[VN];
                for (int i = 0; i < VN; i++)
                    lane[i] = row < O && i < ni ? w[at + i * TAPS + q] : (T)0;
                g[q] = VLOAD(lane);
            }
        }
        wino_put_taps(g, true, u + o * VN, plane);
    }
}
