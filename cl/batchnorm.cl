/* Statistics of batch normalisation and the sums of its gradient for any device, T in float or
 * double: one group per channel (two passes over the channel, tree sums). Application and dx are
 * element-wise. Memory-bound: statistics read x twice, the second time from cache where a channel
 * fits. */
#include "norm_vec.cl"

/* Element j of channel c: j counts over N and HW. */
#define AT(j) (((size_t)((j) / HW) * C + c) * HW + (j) % HW)

/* mean, 1 / sqrt(var + eps), the variance to keep, and weight / sqrt(var + eps) (has: there is a
 * weight). Without samples all are zero. */
kernel void bn_stats_ref(global const T *x, ulong x_at, global const T *w, ulong w_at,
                         global T *mean, ulong mean_at, global T *inv, ulong inv_at, global T *kept,
                         ulong kept_at, global T *scale, ulong scale_at, int N, int C, int HW,
                         float eps, int biased, int has)
{
    local T s[LS];
    const int c = (int)get_group_id(0), i = (int)get_local_id(0), count = N * HW;
    T sum = 0, dev = 0, sq = 0;
    x += x_at;
    for (int j = i; j < count; j += LS)
        sum += x[AT(j)];
    const T n = (T)max(count, 1), mu = group_sum(sum, s) / n;
    for (int j = i; j < count; j += LS) {
        const T d = x[AT(j)] - mu;
        dev += d;
        sq = fma(d, d, sq);
    }
    dev = group_sum(dev, s) / n; /* what rounding left in the mean */
    const T m2 = group_sum(sq, s) - dev * dev * n;
    if (i == 0) {
        const T r = count > 0 ? (T)1 / sqrt(m2 / n + (T)eps) : (T)0;
        mean[mean_at + c] = mu + dev;
        inv[inv_at + c] = r;
        scale[scale_at + c] = has ? w[w_at + c] * r : r;
        kept[kept_at + c] = m2 / (biased || count < 2 ? n : n - (T)1);
    }
}

/* dw = sum of dy (x - mean) inv, db = sum of dy; and what dx = scale dy + slope (x - mean) + offset
 * wants: slope = -scale inv dw / n, offset = -scale db / n. */
kernel void bn_bwd_stats_ref(global const T *x, ulong x_at, global const T *dy, ulong dy_at,
                             global const T *mean, ulong mean_at, global const T *inv, ulong inv_at,
                             global const T *scale, ulong scale_at, global T *dw, ulong dw_at,
                             global T *db, ulong db_at, global T *slope, ulong slope_at,
                             global T *offset, ulong offset_at, int N, int C, int HW)
{
    local T s[LS];
    const int c = (int)get_group_id(0), i = (int)get_local_id(0), count = N * HW;
    const T mu = mean[mean_at + c];
    T s1 = 0, s2 = 0;
    x += x_at;
    dy += dy_at;
    for (int j = i; j < count; j += LS) {
        const size_t k = AT(j);
        s1 += dy[k];
        s2 = fma(dy[k], x[k] - mu, s2);
    }
    s1 = group_sum(s1, s);
    s2 = group_sum(s2, s);
    if (i == 0) {
        const T r = inv[inv_at + c], k = -scale[scale_at + c] / (T)max(count, 1);
        dw[dw_at + c] = s2 * r;
        db[db_at + c] = s1;
        slope[slope_at + c] = k * r * (s2 * r);
        offset[offset_at + c] = k * s1;
    }
}
