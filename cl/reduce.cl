/* Reductions over any axes and their gradients, plain form. Bound by memory. One work-item per
 * output and part of the reduced positions; parts take every parts-th position and leave partial
 * results [parts][n_keep] for a second launch. Neighbouring items touch neighbouring elements
 * whichever axis is contiguous (keep_fast). */
#include "reduce_fold.cl"

#ifndef KL_MAX /* 1: the largest instead of the sum; NaN is larger than everything */
#define KL_MAX 0
#endif

/* Sums are added in blocks of 64 and blocks of blocks, so that the error grows with the root's root
 * of the length. */
__kernel void reduce_ref(__global const T *x, ulong x_at, __global T *y, ulong y_at, FOLD_PARAMS,
                         int parts, int keep_fast, int divisor)
{
    const int id = (int)get_global_id(0);
    if (id >= n_keep * parts)
        return;
    const int o = keep_fast ? id % n_keep : id / parts;
    const int p = keep_fast ? id / n_keep : id % parts;
    x += x_at + FOLD_KEEP(o);
#if KL_MAX
    T acc = p < n_red ? x[FOLD_RED(p)] : -(T)INFINITY;
    for (uint i = (uint)(p + parts); i < (uint)n_red; i += (uint)parts) {
        const T v = x[FOLD_RED((int)i)];
        acc = v <= acc || acc != acc ? acc : v;
    }
    if (n_red == 0)
        acc = (T)0;
#else
    T a0 = (T)0, a1 = (T)0, acc = (T)0;
    uint n = 0;
    for (uint i = (uint)p; i < (uint)n_red; i += (uint)parts) {
        a0 += x[FOLD_RED((int)i)];
        if ((++n & 63) == 0) {
            a1 += a0;
            a0 = (T)0;
            if ((n & 4095) == 0) {
                acc += a1;
                a1 = (T)0;
            }
        }
    }
    acc = (acc + a1 + a0) / (T)divisor;
#endif
    y[y_at + (ulong)p * (ulong)n_keep + (ulong)o] = acc;
}

/* The other way round: every reduced position of y receives x's kept one. */
__kernel void broadcast_ref(__global const T *x, ulong x_at, __global T *y, ulong y_at, FOLD_PARAMS,
                            int parts, int keep_fast, int divisor)
{
    const int id = (int)get_global_id(0);
    if (id >= n_keep * parts)
        return;
    const int o = keep_fast ? id % n_keep : id / parts;
    const int p = keep_fast ? id / n_keep : id % parts;
    const T v = x[x_at + (ulong)o] / (T)divisor;
    y += y_at + FOLD_KEEP(o);
    for (uint i = (uint)p; i < (uint)n_red; i += (uint)parts)
        y[FOLD_RED((int)i)] = v;
}

/* dx is dy at the first position that holds the maximum (the first NaN where that is it), else 0.
 * One item an output. */
__kernel void reduce_max_bwd_ref(__global const T *x, ulong x_at, __global const T *y, ulong y_at,
                                 __global const T *dy, ulong dy_at, __global T *dx, ulong dx_at,
                                 FOLD_PARAMS)
{
    const int o = (int)get_global_id(0);
    if (o >= n_keep)
        return;
    const int at = FOLD_KEEP(o);
    const T m = y[y_at + (ulong)o], d = dy[dy_at + (ulong)o];
    bool found = false;
    x += x_at + at;
    dx += dx_at + at;
    for (int i = 0; i < n_red; i++) {
        const int j = FOLD_RED(i);
        const bool hit = !found && (x[j] == m || (x[j] != x[j] && m != m));
        dx[j] = hit ? d : (T)0;
        found = found || hit;
    }
}
