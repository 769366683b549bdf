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

/* A sample's label among its logits: 1 it is the first largest, 0 it is not, -1 there is no such
 * class. A NaN is never the largest. */
int hit_of(global const T *x, int K, int inner, int label)
{
    int best = 0;
    for (int k = 1; k < K; k++) {
        const T v = x[(size_t)k * inner], b = x[(size_t)best * inner];
        best = v > b || b != b ? k : best;
    }
    return label < 0 || label >= K ? -1 : best == label;
}

/* dx = sum of a exp(x_k) / sum exp x - a_k. */
void sample_grad(global const T *x, global const LABEL *t, global const T *cw, global T *dx, int K,
                 int inner, T own, int label, T e, int mode, T m, T s)
{
    T all = own != own ? own : (T)0, part = 0;
    for (int k = 0; k < K; k++) {
        part += coefficient(t, inner, cw, own, label, k, K, e, mode);
        CHUNKED(all, part, k)
    }
    const T f = (all + part) / s;
    for (int k = 0; k < K; k++) {
        const T a = coefficient(t, inner, cw, own, label, k, K, e, mode);
        dx[(size_t)k * inner] = fma(exp(x[(size_t)k * inner] - m), f, -a);
    }
}

kernel void xent_ref(XENT_PARAMS, int outer, int K, int inner, float smoothing, int ignore,
                     int mode)
{
    const size_t i = get_global_id(0), n = (size_t)outer * inner;
    if (i >= n)
        return;
    const size_t at = i / inner * K * inner + i % inner;
    int label;
    x += x_at + at;
    dx += dx_at + at;
    cw += cw_at;
    t += t_at + LABEL_AT(i, at);
    const T own = label_weight(t, inner, cw, K, ignore, mode, &label), e = (T)smoothing;
    if (mode & XENT_HITS) {
        const int hit = hit_of(x, K, inner, label);
        hits[hits_at + i] = hit > 0 ? (T)1 : (T)0;
        hits[hits_at + n + i] = hit < 0 ? (T)0 : (T)1;
    }
    if (own < 0 && XENT_CAN_IGNORE) {
        loss[loss_at + i] = 0;
        weight[weight_at + i] = 0;
        for (int k = 0; mode & XENT_GRAD && k < K; k++)
            dx[(size_t)k * inner] = 0;
        return;
    }
    T m = (T)-INFINITY, s = 0, part = 0, sum = own != own ? own : (T)0;
    for (int k = 0; k < K; k++)
        m = VMAX2(m, x[(size_t)k * inner]);
    for (int k = 0; k < K; k++) {
        part += exp(x[(size_t)k * inner] - m);
        CHUNKED(s, part, k)
    }
    s += part;
    const T ls = log(s);
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
    if (mode & XENT_GRAD)
        sample_grad(x, t, cw, dx, K, inner, own, label, e, mode, m, s);
}
