/* Reductions whose contiguous axis is reduced, for devices that run work-groups in step. Bound:
 * memory. A group takes one output and one part of the reduced positions, neighbouring items
 * neighbouring elements; partial results [parts][n_keep] go to a second launch (reduce.cl). */
#include "group_coop.cl"
#include "reduce_fold.cl"

#ifndef KL_MAX /* 1: the largest instead of the sum; NaN is larger than everything */
#define KL_MAX 0
#endif
#define LARGER(a, v) ((v) <= (a) || (a) != (a) ? (a) : (v))

kernel void reduce_coop(global const T *x, ulong x_at, global T *y, ulong y_at, FOLD_PARAMS,
                        int parts, int per, int divisor)
{
    local T s[LS];
    const int id = (int)get_group_id(0), lid = (int)get_local_id(0), o = id / parts;
    const int p = id % parts, first = p * per + lid, last = min(n_red, (p + 1) * per);
    walk w = walk_from(first, r1, r2);
    x += x_at + FOLD_KEEP(o);
    y += y_at + (ulong)p * (ulong)n_keep + (ulong)o;
#if KL_MAX
    T m = -(T)INFINITY;
    for (int i = first; i < last; i += LS) {
        const T v = x[w.a * rs0 + w.b * rs1 + w.c * rs2];
        m = LARGER(m, v);
        walk_on(&w, r1, r2);
    }
    s[lid] = m;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int k = LS / 2; k > 0; k /= 2) {
        if (lid < k)
            s[lid] = LARGER(s[lid], s[lid + k]);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (lid == 0)
        *y = s[0];
#else
    T sum = 0, part = 0;
    int n = 0;
    for (int i = first; i < last; i += LS) {
        part += x[w.a * rs0 + w.b * rs1 + w.c * rs2];
        CHUNKED(sum, part, n)
        n++;
        walk_on(&w, r1, r2);
    }
    sum = group_sum(sum + part, s);
    if (lid == 0)
        *y = sum / (T)divisor;
#endif
}
