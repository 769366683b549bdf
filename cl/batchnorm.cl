/* Batch normalisation for any device, T in float or double: statistics and backward sums by one
 * group per channel (two passes over the channel, tree sums), application by one item per element.
 * Memory-bound: statistics read x twice (the second time from cache where a channel fits),
 * application reads x and writes y. */
#include "norm_vec.cl"

/* Element j of channel c: j counts over N and HW. */
#define AT(j) (((size_t)((j) / HW) * C + c) * HW + (j) % HW)

kernel void bn_stats_ref(global const T *x, ulong x_at, global T *mean, ulong mean_at,
                         global T *var, ulong var_at, global T *kept, ulong kept_at, int N, int C,
                         int HW, int biased)
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
        mean[mean_at + c] = mu + dev;
        var[var_at + c] = m2 / n;
        kept[kept_at + c] = m2 / (biased || count < 2 ? n : n - (T)1);
    }
}

/* y = (x - mean) / sqrt(var + eps) w + b; has: 1 w, 2 b. */
kernel void bn_apply_ref(global const T *x, ulong x_at, global const T *mean, ulong mean_at,
                         global const T *var, ulong var_at, global const T *w, ulong w_at,
                         global const T *b, ulong b_at, global T *y, ulong y_at, int count, int C,
                         int HW, float eps, int has)
{
    const size_t i = get_global_id(0);
    if (i >= (size_t)count)
        return;
    const size_t c = i / HW % C;
    const T a = (has & 1 ? w[w_at + c] : (T)1) / sqrt(var[var_at + c] + (T)eps);
    y[y_at + i] = fma(x[x_at + i] - mean[mean_at + c], a, has & 2 ? b[b_at + c] : (T)0);
}

/* dw = sum of dy (x - mean) / sqrt(var + eps), db = sum of dy. */
kernel void bn_bwd_sums_ref(global const T *x, ulong x_at, global const T *dy, ulong dy_at,
                            global const T *mean, ulong mean_at, global const T *var, ulong var_at,
                            global T *dw, ulong dw_at, global T *db, ulong db_at, int N, int C,
                            int HW, float eps)
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
        dw[dw_at + c] = s2 / sqrt(var[var_at + c] + (T)eps);
        db[db_at + c] = s1;
    }
}

/* dx = w / sqrt(var + eps) (dy - db / n - xhat dw / n); frozen statistics: the first factor times
 * dy. */
kernel void bn_bwd_ref(global const T *x, ulong x_at, global const T *dy, ulong dy_at,
                       global const T *mean, ulong mean_at, global const T *var, ulong var_at,
                       global const T *w, ulong w_at, global const T *dw, ulong dw_at,
                       global const T *db, ulong db_at, global T *dx, ulong dx_at, int count, int C,
                       int HW, int n, float eps, int has, int frozen)
{
    const size_t i = get_global_id(0);
    if (i >= (size_t)count)
        return;
    const size_t c = i / HW % C;
    const T r = (T)1 / sqrt(var[var_at + c] + (T)eps), k = (has & 1 ? w[w_at + c] : (T)1) * r;
    T d = dy[dy_at + i];
    if (!frozen)
        d -= fma((x[x_at + i] - mean[mean_at + c]) * r, dw[dw_at + c], db[db_at + c]) / (T)n;
    dx[dx_at + i] = k * d;
}
