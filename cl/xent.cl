/* Softmax cross-entropy for any device: one work-item per sample of [outer, K, inner], T in float
 * or double; then the sums, by one group and a tree. Loss of a sample: sum over c of a_c (log sum
 * exp x - x_c), with a_c = weight_c (smoothed target)_c                    (torch) a_c =
 * weight_of_the_label (smoothed target)_c         (keras) and a target smoothed by e: (1 - e) t + e
 * / K. Bound: memory (logits). */
#include "norm_vec.cl"
#include "xent_mode.cl"

/* What a sample's label says: its class (soft: the first largest), its weight; < 0: ignored, NaN
 * where there is no such class. */
T label_weight(global const LABEL *t, size_t stride, global const T *cw, int K, int ignore,
               int mode, int *label)
{
#ifdef SOFT
    int y = 0;
    for (int k = 1; k < K; k++)
        y = t[k * stride] > t[y * stride] ? k : y;
    *label = y;
#else
    const int y = *t;
    *label = y;
    if (y == ignore)
        return (T)-1;
    if (y < 0 || y >= K)
        return (T)NAN;
#endif
    return mode & XENT_WEIGHTS ? cw[y] : (T)1;
}

/* a_c of class k. own: the label's weight. */
T coefficient(global const LABEL *t, size_t stride, global const T *cw, T own, int label, int k,
              int K, T e, int mode)
{
#ifdef SOFT
    const T target = t[k * stride];
#else
    const T target = k == label ? (T)1 : (T)0;
#endif
    const T smooth = fma(target, (T)1 - e, e / (T)K);
    return smooth * (mode & XENT_KERAS ? own : mode & XENT_WEIGHTS ? cw[k] : (T)1);
}

#define SAMPLE                                                                                     \
    const size_t i = get_global_id(0);                                                             \
    if (i >= (size_t)outer * inner)                                                                \
        return;                                                                                    \
    const size_t at = i / inner * K * inner + i % inner;                                           \
    int label;                                                                                     \
    x += x_at + at;                                                                                \
    cw += cw_at;                                                                                   \
    t += t_at + LABEL_AT(i, at);                                                                   \
    const T own = label_weight(t, inner, cw, K, ignore, mode, &label);                             \
    const T e = (T)smoothing

/* loss[i] and weight[i] of each sample. */
kernel void xent_ref(global const T *x, ulong x_at, global const LABEL *t, ulong t_at,
                     global const T *cw, ulong cw_at, global T *loss, ulong loss_at,
                     global T *weight, ulong weight_at, int outer, int K, int inner,
                     float smoothing, int ignore, int mode)
{
    SAMPLE;
    if (own < 0 && XENT_CAN_IGNORE) {
        loss[loss_at + i] = 0;
        weight[weight_at + i] = 0;
        return;
    }
    T m = (T)-INFINITY, s = 0, part = 0, sum = own != own ? own : (T)0;
    for (int k = 0; k < K; k++)
        m = VMAX2(m, x[(size_t)k * inner]);
    for (int k = 0; k < K; k++) {
        part += exp(x[(size_t)k * inner] - m);
        CHUNKED(s, part, k)
    }
    const T ls = log(s + part);
    part = 0;
    if (ls != ls)
        sum = ls; /* classes without weight must not hide a NaN */
    for (int k = 0; k < K; k++) {
        const T a = coefficient(t, inner, cw, own, label, k, K, e, mode);
        const T nll = ls - (x[(size_t)k * inner] - m);
        part += a == 0 ? (T)0 : a * nll; /* 0 x inf: a class that does not count */
        CHUNKED(sum, part, k)
    }
    loss[loss_at + i] = sum + part;
    weight[weight_at + i] = mode & XENT_COUNT ? (T)1 : own;
}

/* dx = d (sum of a exp(x_k) / sum exp x - a_k). */
kernel void xent_bwd_ref(global const T *x, ulong x_at, global const LABEL *t, ulong t_at,
                         global const T *cw, ulong cw_at, global const T *d, ulong d_at,
                         global T *dx, ulong dx_at, int outer, int K, int inner, float smoothing,
                         int ignore, int mode)
{
    SAMPLE;
    dx += dx_at + at;
    const bool ignored = own < 0 && XENT_CAN_IGNORE;
    T m = (T)-INFINITY, s = 0, part = 0, all = own != own ? own : (T)0, more = 0;
    for (int k = 0; k < K; k++)
        m = VMAX2(m, x[(size_t)k * inner]);
    for (int k = 0; k < K; k++) {
        part += exp(x[(size_t)k * inner] - m);
        more += coefficient(t, inner, cw, own, label, k, K, e, mode);
        CHUNKED(s, part, k)
        CHUNKED(all, more, k)
    }
    const T scale = d[d_at], f = (all + more) / (s + part);
    for (int k = 0; k < K; k++) {
        const T a = coefficient(t, inner, cw, own, label, k, K, e, mode);
        const T v = scale * fma(exp(x[(size_t)k * inner] - m), f, -a);
        dx[(size_t)k * inner] = ignored ? (T)0 : v;
    }
}
