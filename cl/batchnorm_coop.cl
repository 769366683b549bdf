/* Statistics of batch normalisation and the sums of its gradient on plain [N,C,HW], for devices
 * that run work-groups in step. Bound: memory. A group takes a part of a channel's elements, and
 * its mean and squares about that mean (x read twice, the second time from cache); a second launch
 * joins the parts in a fixed order, one group per channel. */
#include "group_coop.cl"

#define PART                                                                                       \
    local T s[LS];                                                                                 \
    const int id = (int)get_group_id(0), lid = (int)get_local_id(0), c = id / parts;               \
    const int p = id % parts, begin = p * per, last = min(N * HW, begin + per);                    \
    const int first = begin + lid

/* part [C][parts]: mean, and sum of squares about it. */
kernel void bn_stats_coop(global const T *x, ulong x_at, global T *part, ulong part_at, int N,
                          int C, int HW, int parts, int per)
{
    PART;
    T sum = 0, dev = 0, sq = 0;
    x += x_at + (ulong)c * HW;
    walk w = walk_from(first, 1, HW), v = w;
    for (int i = first; i < last; i += LS) {
        sum += x[(ulong)(w.a * C) * HW + w.c];
        walk_on(&w, 1, HW);
    }
    const T n = (T)(last - begin), mu = group_sum(sum, s) / n;
    for (int i = first; i < last; i += LS) {
        const T d = x[(ulong)(v.a * C) * HW + v.c] - mu;
        dev += d;
        sq = fma(d, d, sq);
        walk_on(&v, 1, HW);
    }
    dev = group_sum(dev, s) / n; /* what rounding left in the mean */
    sq = group_sum(sq, s) - dev * dev * n;
    part += part_at + 2 * (ulong)id;
    if (lid == 0) {
        part[0] = mu + dev;
        part[1] = sq;
    }
}

/* Outputs as bn_stats_ref of batchnorm.cl. */
kernel void bn_stats_join_coop(global const T *part, ulong part_at, global const T *w, ulong w_at,
                               global T *mean, ulong mean_at, global T *inv, ulong inv_at,
                               global T *kept, ulong kept_at, global T *scale, ulong scale_at,
                               int count, int parts, int per, float eps, int biased, int has)
{
    local T s[LS];
    const int c = (int)get_group_id(0), lid = (int)get_local_id(0);
    const T n = (T)count;
    T sum = 0, m2 = 0;
    part += part_at + 2 * (ulong)(c * parts);
    for (int p = lid; p < parts; p += LS)
        sum = fma((T)min(per, count - p * per), part[2 * p], sum);
    const T mu = group_sum(sum, s) / n;
    for (int p = lid; p < parts; p += LS) {
        const T d = part[2 * p] - mu;
        m2 += fma((T)min(per, count - p * per) * d, d, part[2 * p + 1]);
    }
    m2 = group_sum(m2, s);
    if (lid == 0) {
        const T r = (T)1 / sqrt(m2 / n + (T)eps);
        mean[mean_at + c] = mu;
        inv[inv_at + c] = r;
        scale[scale_at + c] = has ? w[w_at + c] * r : r;
        kept[kept_at + c] = m2 / (biased || count < 2 ? n : n - (T)1);
    }
}

/* part [C][parts]: sum of dy, and of dy (x - mean). */
kernel void bn_bwd_stats_coop(global const T *x, ulong x_at, global const T *dy, ulong dy_at,
                              global const T *mean, ulong mean_at, global T *part, ulong part_at,
                              int N, int C, int HW, int parts, int per)
{
    PART;
    const T mu = mean[mean_at + c];
    T s1 = 0, s2 = 0;
    x += x_at + (ulong)c * HW;
    dy += dy_at + (ulong)c * HW;
    walk w = walk_from(first, 1, HW);
    for (int i = first; i < last; i += LS) {
        const ulong at = (ulong)(w.a * C) * HW + w.c;
        const T d = dy[at];
        s1 += d;
        s2 = fma(d, x[at] - mu, s2);
        walk_on(&w, 1, HW);
    }
    s1 = group_sum(s1, s);
    s2 = group_sum(s2, s);
    part += part_at + 2 * (ulong)id;
    if (lid == 0) {
        part[0] = s1;
        part[1] = s2;
    }
}

/* Outputs as bn_bwd_stats_ref of batchnorm.cl. */
kernel void bn_bwd_stats_join_coop(global const T *part, ulong part_at, global const T *inv,
                                   ulong inv_at, global const T *scale, ulong scale_at,
                                   global T *dw, ulong dw_at, global T *db, ulong db_at,
                                   global T *slope, ulong slope_at, global T *offset,
                                   ulong offset_at, int count, int parts)
{
    local T s[LS];
    const int c = (int)get_group_id(0), lid = (int)get_local_id(0);
    T s1 = 0, s2 = 0;
    part += part_at + 2 * (ulong)(c * parts);
    for (int p = lid; p < parts; p += LS) {
        s1 += part[2 * p];
        s2 += part[2 * p + 1];
    }
    s1 = group_sum(s1, s);
    s2 = group_sum(s2, s);
    if (lid == 0) {
        const T r = inv[inv_at + c], k = -scale[scale_at + c] / (T)count;
        dw[dw_at + c] = s2 * r;
        db[db_at + c] = s1;
        slope[slope_at + c] = k * r * (s2 * r);
        offset[offset_at + c] = k * s1;
    }
}
