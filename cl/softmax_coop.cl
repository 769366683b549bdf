/* Softmax and its logarithm over rows of K, and their gradients, for devices that run work-groups
 * in step: one group per row. Bound: memory, three readings of a row, of which a cache serves two.
 * Rules for NaN and infinity as in softmax.cl. */
#include "group_coop.cl"

/* y may be x. */
kernel void softmax_coop(global const T *x, ulong x_at, global T *y, ulong y_at, int K, int log_)
{
    local T s[LS];
    const int lid = (int)get_local_id(0);
    T m = (T)-INFINITY, sum = 0;
    x += x_at + (ulong)get_group_id(0) * K;
    y += y_at + (ulong)get_group_id(0) * K;
    for (int k = lid; k < K; k += LS)
        m = VMAX2(m, x[k]);
    m = group_max(m, s);
    for (int k = lid; k < K; k += LS)
        sum += exp(x[k] - m);
    sum = group_sum(sum, s);
    const T r = (T)1 / sum, ls = log(sum);
    for (int k = lid; k < K; k += LS) {
        const T d = x[k] - m;
        y[k] = log_ ? d - ls : exp(d) * r;
    }
}

/* dx = y (dy - sum of dy y); of the logarithm: dx = dy - exp(y) sum of dy. dx may be dy. */
kernel void softmax_bwd_coop(global const T *y, ulong y_at, global const T *dy, ulong dy_at,
                             global T *dx, ulong dx_at, int K, int log_)
{
    local T s[LS];
    const int lid = (int)get_local_id(0);
    T sum = 0;
    y += y_at + (ulong)get_group_id(0) * K;
    dy += dy_at + (ulong)get_group_id(0) * K;
    dx += dx_at + (ulong)get_group_id(0) * K;
    for (int k = lid; k < K; k += LS)
        sum = log_ ? sum + dy[k] : fma(dy[k], y[k], sum);
    sum = group_sum(sum, s);
    for (int k = lid; k < K; k += LS)
        dx[k] = log_ ? fma(-exp(y[k]), sum, dy[k]) : y[k] * (dy[k] - sum);
}
