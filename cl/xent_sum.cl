/* The sums behind a loss, and the weighted mean of them. One group; latency-bound. */
#include "norm_vec.cl"

/* loss[0] = sum of part[0..n), weight[0] = sum of part[n..2n). */
kernel void xent_sum(global const T *part, ulong part_at, global T *loss, ulong loss_at,
                     global T *weight, ulong weight_at, int n)
{
    local T s[LS];
    const int i = (int)get_local_id(0);
    T a = 0, b = 0;
    part += part_at;
    for (int j = i; j < n; j += LS) {
        a += part[j];
        b += part[(size_t)n + j];
    }
    a = group_sum(a, s);
    b = group_sum(b, s);
    if (i == 0) {
        loss[loss_at] = a;
        weight[weight_at] = b;
    }
}

kernel void weighted_mean_ref(global const T *sum, ulong sum_at, global const T *weight,
                              ulong weight_at, global T *y, ulong y_at)
{
    if (get_global_id(0) == 0)
        y[y_at] = sum[sum_at] / weight[weight_at];
}

/* d sum = dy / weight, d weight = -dy sum / weight^2. */
kernel void weighted_mean_bwd_ref(global const T *dy, ulong dy_at, global const T *sum,
                                  ulong sum_at, global const T *weight, ulong weight_at,
                                  global T *dsum, ulong dsum_at, global T *dweight,
                                  ulong dweight_at)
{
    if (get_global_id(0) == 0) {
        const T w = weight[weight_at], d = dy[dy_at] / w;
        dsum[dsum_at] = d;
        dweight[dweight_at] = -d * (sum[sum_at] / w);
    }
}
