/* Pooling of whole planes: [N,C,H,W] -> [N,C,1,1]. hw: elements of a plane. Bound: memory
 * bandwidth. */
#include "common.cl"

#ifndef V /* elements per vector, SOLO kernels */
#define V 4
#endif
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define LOAD CAT(vload, V)
#define STORE CAT(vstore, V)
#define TV CAT(T, V)

#ifdef NO_PLACES /* nobody reads the places of the maxima: inference */
#define PLACES
#define SET_PLACE(at, v) (void)(v)
#else
#define PLACES , global int *restrict arg, ulong ao
#define SET_PLACE(at, v) arg[ao + (ulong)(at)] = (v)
#endif
#define OVER(v, m) (!((v) <= (m)) & ((m) == (m))) /* larger, or the first NaN */
#define OVER_V(v, m) (~((v) <= (m)) & ((m) == (m)))

/* One item per plane; partial sums of 32 keep the error of a long sum small. */
kernel void global_avgpool_fwd_ref(global const T *restrict x, ulong xo, global T *restrict y,
                                   ulong yo, int planes, int hw)
{
    int id = (int)get_global_id(0);
    if (id >= planes)
        return;
    global const T *p = x + xo + (ulong)id * (ulong)hw;
    T sum = 0;
    for (int i = 0; i < hw; i += 32) {
        T s = 0;
        for (int j = i; j < min(i + 32, hw); j++)
            s += p[j];
        sum += s;
    }
    y[yo + (ulong)id] = sum / (T)hw;
}

/* One item per element. */
kernel void global_avgpool_bwd_ref(global const T *restrict dy, ulong dyo, global T *restrict dx,
                                   ulong dxo, int n, int hw)
{
    int id = (int)get_global_id(0);
    if (id < n)
        dx[dxo + (ulong)id] = dy[dyo + (ulong)(id / hw)] / (T)hw;
}

kernel void global_maxpool_fwd_ref(global const T *restrict x, ulong xo, global T *restrict y,
                                   ulong yo PLACES, int planes, int hw)
{
    int id = (int)get_global_id(0);
    if (id >= planes)
        return;
    global const T *p = x + xo + (ulong)id * (ulong)hw;
    T m = p[0];
    int at = 0;
    for (int i = 1; i < hw; i++) {
        T v = p[i];
        if (OVER(v, m)) {
            m = v;
            at = i;
        }
    }
    y[yo + (ulong)id] = m;
    SET_PLACE(id, at);
}

kernel void global_maxpool_bwd_ref(global const T *restrict dy, ulong dyo,
                                   global const int *restrict arg, ulong ao, global T *restrict dx,
                                   ulong dxo, int n, int hw)
{
    int id = (int)get_global_id(0);
    if (id >= n)
        return;
    int plane = id / hw;
    dx[dxo + (ulong)id] = arg[ao + (ulong)plane] == id - plane * hw ? dy[dyo + (ulong)plane] : 0;
}

/* An item: `per` planes. */
kernel void global_avgpool_fwd_solo(global const T *restrict x, ulong xo, global T *restrict y,
                                    ulong yo, int planes, int hw, int per)
{
    int plane = (int)get_global_id(0) * per, end = min(plane + per, planes);
    for (; plane < end; plane++) {
        global const T *p = x + xo + (ulong)plane * (ulong)hw;
        TV a = (TV)0, b = (TV)0, c = (TV)0, d = (TV)0;
        T sum = 0, lane[V];
        int i = 0;
        for (; i + 4 * V <= hw; i += 4 * V) {
            a += LOAD(0, p + i);
            b += LOAD(1, p + i);
            c += LOAD(2, p + i);
            d += LOAD(3, p + i);
        }
        for (; i + V <= hw; i += V)
            a += LOAD(0, p + i);
        for (; i < hw; i++)
            sum += p[i];
        STORE((a + b) + (c + d), 0, lane);
#pragma unroll
        for (int k = 0; k < V; k++)
            sum += lane[k];
        y[yo + (ulong)plane] = sum / (T)hw;
    }
}

static inline void fill_run(global T *p, int n, T v)
{
    int k = 0;
    for (; k + V <= n; k += V)
        STORE((TV)v, 0, p + k);
    for (; k < n; k++)
        p[k] = v;
}

kernel void global_avgpool_bwd_solo(global const T *restrict dy, ulong dyo, global T *restrict dx,
                                    ulong dxo, int planes, int hw, int per)
{
    int plane = (int)get_global_id(0) * per, end = min(plane + per, planes);
    for (; plane < end; plane++)
        fill_run(dx + dxo + (ulong)plane * (ulong)hw, hw, dy[dyo + (ulong)plane] / (T)hw);
}

/* First the maximum in vectors, then the place where it stands first: the plane is in the cache by
 * then. */
kernel void global_maxpool_fwd_solo(global const T *restrict x, ulong xo, global T *restrict y,
                                    ulong yo PLACES, int planes, int hw, int per)
{
    int plane = (int)get_global_id(0) * per, end = min(plane + per, planes);
    for (; plane < end; plane++) {
        global const T *p = x + xo + (ulong)plane * (ulong)hw;
        T m = p[0], lane[V];
        int i = 0;
        if (hw >= V) {
            TV a = LOAD(0, p);
            for (i = V; i + V <= hw; i += V) {
                TV v = LOAD(0, p + i);
                a = select(a, v, OVER_V(v, a));
            }
            STORE(a, 0, lane);
            for (int k = 0; k < V; k++)
                m = OVER(lane[k], m) ? lane[k] : m;
        }
        for (; i < hw; i++)
            m = OVER(p[i], m) ? p[i] : m;
        for (i = 0; m == m ? p[i] != m : p[i] == p[i];)
            i++;
        y[yo + (ulong)plane] = p[i];
        SET_PLACE(plane, i);
    }
}

kernel void global_maxpool_bwd_solo(global const T *restrict dy, ulong dyo,
                                    global const int *restrict arg, ulong ao, global T *restrict dx,
                                    ulong dxo, int planes, int hw, int per)
{
    int plane = (int)get_global_id(0) * per, end = min(plane + per, planes);
    for (; plane < end; plane++) {
        global T *p = dx + dxo + (ulong)plane * (ulong)hw;
        fill_run(p, hw, 0);
        p[arg[ao + (ulong)plane]] = dy[dyo + (ulong)plane];
    }
}
