/* Global pooling for devices that run work-groups in step: one group per plane. Bound: memory. */
#include "group_coop.cl"

kernel void global_avgpool_fwd_coop(global const T *x, ulong xo, global T *y, ulong yo, int hw)
{
    local T s[LS];
    T sum = 0;
    x += xo + (ulong)get_group_id(0) * hw;
    for (int i = (int)get_local_id(0); i < hw; i += LS)
        sum += x[i];
    sum = group_sum(sum, s);
    if (get_local_id(0) == 0)
        y[yo + get_group_id(0)] = sum / (T)hw;
}

/* a stands before b where both are the largest: NaN is, then the smaller place. */
#define BEFORE(a, i, b, j)                                                                         \
    ((a) != (a) ? (b) == (b) || (i) < (j) : (b) == (b) && ((a) > (b) || ((a) == (b) && (i) < (j))))

kernel void global_maxpool_fwd_coop(global const T *x, ulong xo, global T *y, ulong yo,
                                    global int *arg, ulong ao, int hw)
{
    local T s[LS];
    local int at[LS];
    const int lid = (int)get_local_id(0);
    int best = min(lid, hw - 1); /* an item without cells repeats the last */
    x += xo + (ulong)get_group_id(0) * hw;
    T m = x[best];
    for (int i = lid + LS; i < hw; i += LS) {
        const T v = x[i];
        if (BEFORE(v, i, m, best)) {
            m = v;
            best = i;
        }
    }
    s[lid] = m;
    at[lid] = best;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int k = LS / 2; k > 0; k /= 2) {
        if (lid < k && BEFORE(s[lid + k], at[lid + k], s[lid], at[lid])) {
            s[lid] = s[lid + k];
            at[lid] = at[lid + k];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (lid == 0) {
        y[yo + get_group_id(0)] = s[0];
        arg[ao + get_group_id(0)] = at[0];
    }
}
