/* The sums behind a loss, and the weighted mean of them. One group; latency-bound. */
#include "norm_vec.cl"

/* The sums of part[0..n), part[n..2n) and, counted: part[2n..3n), part[3n..4n). */
kernel void xent_sum(global const T *part, ulong part_at, global T *loss, ulong loss_at,
                     global T *weight, ulong weight_at, global T *hits, ulong hits_at, int n,
                     int counted)
{
    local T s[LS];
    const int i = (int)get_local_id(0);
    T sum[4] = {(T)0, (T)0, (T)0, (T)0};
    part += part_at;
    for (int k = 0; k < (counted ? 4 : 2); k++)
        for (int j = i; j < n; j += LS)
            sum[k] += part[(size_t)k * n + j];
    for (int k = 0; k < 4; k++)
        sum[k] = group_sum(sum[k], s);
    if (i == 0) {
        loss[loss_at] = sum[0];
        weight[weight_at] = sum[1];
    }
    if (i == 0 && counted) {
        hits[hits_at] = sum[2];
        hits[hits_at + 1] = sum[3];
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
