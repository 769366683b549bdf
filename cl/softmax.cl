/* Softmax and its logarithm over K of [outer, K, inner], and their gradients, for any device: one
 * work-item per row, T in float or double. Stable by the row's maximum; a NaN or a row without
 * finite values gives NaN. Bound: memory, three readings of a row, of which a cache serves two. */
#include "norm_vec.cl"

#define ROW                                                                                        \
    const size_t i = get_global_id(0);                                                             \
    if (i >= (size_t)outer * inner)                                                                \
        return;                                                                                    \
    const size_t at = i / inner * K * inner + i % inner

/* y may be x. */
kernel void softmax_ref(global const T *x, ulong x_at, global T *y, ulong y_at, int outer, int K,
                        int inner, int log_)
{
    ROW;
    x += x_at + at;
    y += y_at + at;
    T m = (T)-INFINITY, s = 0, part = 0;
    for (int k = 0; k < K; k++)
        m = VMAX2(m, x[(size_t)k * inner]);
    for (int k = 0; k < K; k++) {
        part += exp(x[(size_t)k * inner] - m);
        CHUNKED(s, part, k)
    }
    s += part;
    const T r = (T)1 / s, ls = log(s);
    for (int k = 0; k < K; k++) {
        const T d = x[(size_t)k * inner] - m;
        y[(size_t)k * inner] = log_ ? d - ls : exp(d) * r;
    }
}

/* dx = y (dy - sum of dy y); of the logarithm: dx = dy - exp(y) sum of dy. dx may be dy. */
kernel void softmax_bwd_ref(global const T *y, ulong y_at, global const T *dy, ulong dy_at,
                            global T *dx, ulong dx_at, int outer, int K, int inner, int log_)
{
    ROW;
    y += y_at + at;
    dy += dy_at + at;
    dx += dx_at + at;
    T s = 0, part = 0;
    for (int k = 0; k < K; k++) {
        const size_t j = (size_t)k * inner;
        part = log_ ? part + dy[j] : fma(dy[j], y[j], part);
        CHUNKED(s, part, k)
    }
    s += part;
    for (int k = 0; k < K; k++) {
        const size_t j = (size_t)k * inner;
        dx[j] = log_ ? fma(-exp(y[j]), s, dy[j]) : y[j] * (dy[j] - s);
    }
}
