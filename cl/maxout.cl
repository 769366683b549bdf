/* Channel max pooling: y[g,i] = max over k of x[g * window + k, i], ties to the first k, NaN above
 * all; arg is that k. g runs over samples and groups, i over the `inner` elements behind the
 * channel. Bound: memory bandwidth. */
#include "common.cl"

#ifndef A /* type of arg: uchar for windows of at most 255, else int */
#define A uchar
#endif
#ifndef V /* elements per vector, SOLO kernels */
#define V 4
#endif
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define LOAD CAT(vload, V)
#define STORE CAT(vstore, V)
#define TV CAT(T, V)
#define IV CAT(int, V)
#define TO_INT CAT(convert_int, V)
#ifdef KL_FP64
#define TO_MASK CAT(convert_long, V)
#else
#define TO_MASK TO_INT
#endif
#define TO_ARG CAT(CAT(convert_, A), V)

#define OVER(v, m) (!((v) <= (m)) & ((m) == (m))) /* larger, or the first NaN */
#define OVER_V(v, m) (~((v) <= (m)) & ((m) == (m)))

static inline T column_max(global const T *p, int inner, int window, int *at)
{
    T m = p[0];
    int a = 0;
    for (int k = 1; k < window; k++) {
        T v = p[k * inner];
        if (OVER(v, m)) {
            m = v;
            a = k;
        }
    }
    *at = a;
    return m;
}

/* One item per output element. */
kernel void maxout_fwd_ref(global const T *restrict x, ulong xo, global T *restrict y, ulong yo,
                           global A *restrict arg, ulong ao, int n, int inner, int window)
{
    int id = (int)get_global_id(0), at;
    if (id >= n)
        return;
    int g = id / inner, i = id - g * inner;
    y[yo + (ulong)id] = column_max(x + xo + (ulong)(g * window * inner + i), inner, window, &at);
    arg[ao + (ulong)id] = (A)at;
}

/* One item per input element. */
kernel void maxout_bwd_ref(global const T *restrict dy, ulong dyo, global const A *restrict arg,
                           ulong ao, global T *restrict dx, ulong dxo, int n, int inner, int window)
{
    int id = (int)get_global_id(0);
    if (id >= n)
        return;
    int i = id % inner, k = id / inner % window, g = id / inner / window;
    ulong o = (ulong)(g * inner + i);
    dx[dxo + (ulong)id] = (int)arg[ao + o] == k ? dy[dyo + o] : 0;
}

/* An item: `per` groups. */
kernel void maxout_fwd_solo(global const T *restrict x, ulong xo, global T *restrict y, ulong yo,
                            global A *restrict arg, ulong ao, int groups, int inner, int window,
                            int per)
{
    int g = (int)get_global_id(0) * per, end = min(g + per, groups);
    for (; g < end; g++) {
        global const T *p = x + xo + (ulong)(g * window * inner);
        global T *q = y + yo + (ulong)(g * inner);
        global A *r = arg + ao + (ulong)(g * inner);
        int i = 0, at;
        for (; i + V <= inner; i += V) {
            TV m = LOAD(0, p + i);
            IV a = (IV)0;
            for (int k = 1; k < window; k++) {
                TV v = LOAD(0, p + k * inner + i);
                IV over = TO_INT(OVER_V(v, m));
                m = select(m, v, OVER_V(v, m));
                a = select(a, (IV)k, over);
            }
            STORE(m, 0, q + i);
            STORE(TO_ARG(a), 0, r + i);
        }
        for (; i < inner; i++) {
            q[i] = column_max(p + i, inner, window, &at);
            r[i] = (A)at;
        }
    }
}

kernel void maxout_bwd_solo(global const T *restrict dy, ulong dyo, global const A *restrict arg,
                            ulong ao, global T *restrict dx, ulong dxo, int groups, int inner,
                            int window, int per)
{
    int g = (int)get_global_id(0) * per, end = min(g + per, groups);
    for (; g < end; g++)
        for (int k = 0; k < window; k++) {
            global const T *q = dy + dyo + (ulong)(g * inner);
            global const A *r = arg + ao + (ulong)(g * inner);
            global T *p = dx + dxo + (ulong)((g * window + k) * inner);
            int i = 0;
            for (; i + V <= inner; i += V) {
                TV v = LOAD(0, q + i);
                STORE(select((TV)0, v, TO_MASK(TO_INT(LOAD(0, r + i)) == (IV)k)), 0, p + i);
            }
            for (; i < inner; i++)
                p[i] = (int)r[i] == k ? q[i] : 0;
        }
}
