/* Softmax cross-entropy for CPU-like devices: one work-item per group takes `span` samples and
 * leaves one partial sum of losses and one of weights; vectors along K where a sample's logits are
 * contiguous (rows), else along samples (cols). Definitions: xent.cl. Bound: the exponential, then
 * memory. */
#include "norm_vec.cl"
#include "xent_mode.cl"

#define TAIL(j) min(VN, K - (j))

/* Lanes j .. j + VN of sum-to-be a (xent.cl) for a contiguous sample; lanes past K are 0. own: the
 * label's weight. */
VF row_coefficients(global const LABEL *t, global const float *cw, float own, int label, int j,
                    int K, float e, int mode)
{
    const int n = TAIL(j);
    const VF even = (VF)(e / (float)K);
#ifdef SOFT
    const VF t_ = fma(VLDN(t + j, n, 0), (VF)(1 - e), even);
#else
    const VF t_ = LANE == (VI)(label - j) ? even + (1 - e) : even;
#endif
    const VF a = mode & XENT_KERAS ? t_ * own : mode & XENT_WEIGHTS ? t_ * VLDN(cw + j, n, 0) : t_;
    return n < VN ? FIRST(a, n) : a;
}

/* Sum of a over the classes. */
float row_total(global const LABEL *t, global const float *cw, float own, int label, int K, float e,
                int mode)
{
#ifndef SOFT
    if (e == 0 || !(mode & XENT_WEIGHTS) || mode & XENT_KERAS || own != own)
        return own;
#endif
    VF all = (VF)0;
    for (int j = 0; j < K; j += VN)
        all += row_coefficients(t, cw, own, label, j, K, e, mode);
    return VSUM(all);
}

float row_label(global const LABEL *t, global const float *cw, int K, int ignore, int mode,
                int *label)
{
    int y = 0;
#ifdef SOFT
    if (mode & XENT_KERAS)
        for (int k = 1; k < K; k++)
            y = t[k] > t[y] ? k : y;
#else
    y = *t;
    if (y == ignore)
        return -1;
    if (y < 0 || y >= K)
        return NAN;
#endif
    *label = y;
    return mode & XENT_WEIGHTS ? cw[y] : 1;
}

/* Sum of exp(x - m). */
float row_exp_sum(global const float *p, int K, float m)
{
    VF s = (VF)0;
    int j = 0;
    for (; j + VN <= K; j += VN)
        s += exp(VLD(p + j) - m);
    if (j < K)
        s += FIRST(exp(vload_tail(p + j, K - j, 0) - m), K - j);
    return VSUM(s);
}

/* The gradient of a row's loss; s: sum of exp(x - m). */
void row_grad(global const float *p, global const LABEL *t, global const float *cw, global float *q,
              float own, int label, int K, float e, int mode, float m, float s)
{
    const float f = row_total(t, cw, own, label, K, e, mode) / s;
    for (int j = 0; j < K; j += VN) {
        const VF a = row_coefficients(t, cw, own, label, j, K, e, mode);
        const VF v = fma(exp(VLDN(p + j, TAIL(j), 0) - m), (VF)f, -a);
        if (j + VN <= K)
            VST(v, q + j);
        else
            vstore_tail(v, q + j, K - j);
    }
}

kernel void xent_rows(XENT_PARAMS, int outer, int K, int span, float e, int ignore, int mode)
{
    const int g = (int)get_global_id(0), n0 = g * span, n1 = min(outer, n0 + span);
    float sum = 0, total = 0;
    int right = 0, counted = 0;
    x += x_at;
    t += t_at;
    cw += cw_at;
    for (int n = n0; n < n1; n++) {
        global const float *p = x + (size_t)n * K;
        global float *q = dx + dx_at + (size_t)n * K;
        global const LABEL *y = t + LABEL_AT((size_t)n, (size_t)n * K);
        int label = 0;
        const float own = row_label(y, cw, K, ignore, mode, &label), m = row_max(p, K);
#ifndef SOFT
        if (mode & XENT_HITS && *y >= 0 && *y < K) {
            counted++;
            right += row_first(p, K, m) == *y;
        }
#endif
        if (own < 0 && XENT_CAN_IGNORE) {
            for (int j = 0; mode & XENT_GRAD && j < K; j++)
                q[j] = 0;
            continue;
        }
        const float s = row_exp_sum(p, K, m), ls = log(s);
        total += mode & XENT_COUNT ? 1 : own;
        if (own != own || ls != ls)
            sum += own + ls; /* NaN; classes without weight must not hide it */
#ifndef SOFT
        else if (e == 0)
            sum += own == 0 ? 0 : own * (ls - (p[label] - m));
#endif
        else {
            VF v = (VF)0;
            for (int j = 0; j < K; j += VN) {
                const VF a = row_coefficients(y, cw, own, label, j, K, e, mode);
                const VF nll = ls - (VLDN(p + j, TAIL(j), 0) - m);
                v += a == 0 ? (VF)0 : a * nll;
            }
            sum += VSUM(v);
        }
        if (mode & XENT_GRAD)
            row_grad(p, y, cw, q, own, label, K, e, mode, m, s);
    }
    loss[loss_at + g] = sum;
    weight[weight_at + g] = total;
    if (mode & XENT_HITS) {
        hits[hits_at + g] = (float)right;
        hits[hits_at + get_global_size(0) + g] = (float)counted;
    }
}
