/* Softmax cross-entropy of [outer, K, inner], inner > 1 (a class per pixel), for CPU-like devices:
 * VN samples at a time, one per lane. Definitions: xent.cl. Bound: the exponential, then memory. */
#include "norm_vec.cl"
#include "xent_mode.cl"

/* VN samples: labels, whether they are ignored or wrong (soft: never), and their weight. */
typedef struct samples {
    VI label, ignored, wrong;
    VF own;
} samples;

samples labels_of(global const LABEL *t, global const float *cw, int lanes, int K, int inner,
                  int ignore, int mode)
{
    samples s;
    s.label = (VI)0;
    s.ignored = (VI)0;
    s.wrong = (VI)0;
#ifdef SOFT
    if (mode & XENT_KERAS) {
        VF best = VLDN(t, lanes, 0);
        for (int k = 1; k < K; k++) {
            const VF v = VLDN(t + (size_t)k * inner, lanes, 0);
            s.label = v > best ? (VI)k : s.label;
            best = v > best ? v : best;
        }
    }
#else
    s.label = VLDN_INT(t, lanes, ignore);
    s.ignored = s.label == ignore;
    s.wrong = (s.label < 0 || s.label >= K) && !s.ignored;
#endif
    s.own = (VF)1;
    if (mode & XENT_WEIGHTS)
        for (int k = 0; k < K; k++)
            s.own = s.label == k ? (VF)cw[k] : s.own;
    s.own = s.wrong ? (VF)NAN : s.own;
    return s;
}

VF coefficients(const samples *s, global const LABEL *t, global const float *cw, int lanes, int k,
                int K, int inner, float e, int mode)
{
#ifdef SOFT
    const VF target = VLDN(t + (size_t)k * inner, lanes, 0);
#else
    const VF target = s->label == k ? (VF)1 : (VF)0;
#endif
    const VF a = fma(target, (VF)(1 - e), (VF)(e / (float)K));
    return mode & XENT_KERAS ? a * s->own : mode & XENT_WEIGHTS ? a * cw[k] : a;
}

/* Maximum per lane, and the sum of exp(x - max). */
VF col_max(global const float *x, int lanes, int K, int inner)
{
    VF m = (VF)-INFINITY;
    for (int k = 0; k < K; k++) {
        const VF v = VLDN(x + (size_t)k * inner, lanes, 0);
        m = VMAX2(m, v);
    }
    return m;
}
VF col_exp_sum(global const float *x, int lanes, int K, int inner, VF m)
{
    VF s = (VF)0;
    for (int k = 0; k < K; k++)
        s += exp(VLDN(x + (size_t)k * inner, lanes, 0) - m);
    return s;
}

/* The gradient of the samples' losses; exps: sum of exp(x - m). */
void cols_grad(const samples *s, global const float *x, global const LABEL *t,
               global const float *cw, global float *dx, int lanes, int K, int inner, float e,
               int mode, VF m, VF exps)
{
    VF all = (VF)0;
    for (int k = 0; k < K; k++)
        all += coefficients(s, t, cw, lanes, k, K, inner, e, mode);
    const VF f = (s->wrong ? (VF)NAN : all) / exps;
    for (int k = 0; k < K; k++) {
        const size_t j = (size_t)k * inner;
        const VF a = coefficients(s, t, cw, lanes, k, K, inner, e, mode);
        const VF v = fma(exp(VLDN(x + j, lanes, 0) - m), f, -a);
        vstore_tail(s->ignored ? (VF)0 : v, dx + j, lanes);
    }
}

/* Item (g, o): columns g span ... of outer index o; partial sum o groups + g. span is a multiple of
 * VN. */
kernel void xent_cols(XENT_PARAMS, int K, int inner, int span, float e, int ignore, int mode)
{
    const int i0 = (int)get_global_id(0) * span, i1 = min(inner, i0 + span);
    const size_t o = get_global_id(1), part = o * get_global_size(0) + get_global_id(0);
    VF sum = (VF)0, total = (VF)0;
    x += x_at + o * K * inner;
    dx += dx_at + o * K * inner;
    t += t_at + LABEL_AT(o * inner, o * K * inner);
    cw += cw_at;
    for (int i = i0; i < i1; i += VN) {
        const int lanes = min(VN, inner - i);
        const samples s = labels_of(t + i, cw, lanes, K, inner, ignore, mode);
        const VF m = col_max(x + i, lanes, K, inner);
        const VF exps = col_exp_sum(x + i, lanes, K, inner, m), ls = log(exps);
        VF v = (VF)0;
        for (int k = 0; k < K; k++) {
            const VF a = coefficients(&s, t + i, cw, lanes, k, K, inner, e, mode);
            const VF nll = ls - (VLDN(x + i + (size_t)k * inner, lanes, 0) - m);
            v += a == 0 ? (VF)0 : a * nll;
        }
        v = s.wrong ? (VF)NAN : isnan(ls) ? ls : v;
        sum += FIRST(s.ignored ? (VF)0 : v, lanes);
        total += FIRST(s.ignored ? (VF)0 : mode & XENT_COUNT ? (VF)1 : s.own, lanes);
        if (mode & XENT_GRAD)
            cols_grad(&s, x + i, t + i, cw, dx + i, lanes, K, inner, e, mode, m, exps);
    }
    loss[loss_at + part] = VSUM(sum);
    weight[weight_at + part] = VSUM(total);
}
