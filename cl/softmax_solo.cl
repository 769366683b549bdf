/* Softmax, its logarithm and their gradients for CPU-like devices: one work-item per group; vectors
 * along K where rows are contiguous (rows), else along inner (cols). Bound: the exponential
 * (about 2.8 G/s per core), then memory. */
#include "norm_vec.cl"

#define TAIL(j) min(VN, K - (j))

/* Item t has rows t span ... y may be x. */
kernel void softmax_rows(global const float *x, ulong x_at, global float *y, ulong y_at, int outer,
                         int K, int span, int log_)
{
    const int n0 = (int)get_global_id(0) * span, n1 = min(outer, n0 + span);
    for (int n = n0; n < n1; n++) {
        global const float *p = x + x_at + (size_t)n * K;
        global float *q = y + y_at + (size_t)n * K;
        VF mv = (VF)-INFINITY, sv = (VF)0;
        for (int j = 0; j < K; j += VN) {
            const VF v = VLDN(p + j, TAIL(j), -INFINITY);
            mv = VMAX2(mv, v);
        }
        const float m = VMAX(mv);
        int j = 0;
        for (; j + VN <= K; j += VN) {
            const VF e = exp(VLD(p + j) - m);
            sv += e;
            if (!log_)
                VST(e, q + j);
        }
        const int rest = K - j;
        VF last = (VF)0; /* lanes past the end stay out of the sum, even where m is not finite */
        if (rest > 0) {
            last = exp(vload_tail(p + j, rest, 0) - m);
            sv += FIRST(last, rest);
        }
        const float s = VSUM(sv), r = 1 / s, ls = log(s);
        for (j = 0; j + VN <= K; j += VN)
            VST(log_ ? VLD(p + j) - m - ls : VLD(q + j) * r, q + j);
        if (rest > 0)
            vstore_tail(log_ ? vload_tail(p + j, rest, 0) - m - ls : last * r, q + j, rest);
    }
}

/* Item (t, o): VN columns of outer index o. */
kernel void softmax_cols(global const float *x, ulong x_at, global float *y, ulong y_at, int K,
                         int inner, int log_)
{
    const int i = (int)get_global_id(0) * VN, lanes = min(VN, inner - i);
    const size_t at = (size_t)get_global_id(1) * K * inner + i;
    VF m = (VF)-INFINITY, s = (VF)0;
    x += x_at + at;
    y += y_at + at;
    for (int k = 0; k < K; k++) {
        const VF v = VLDN(x + (size_t)k * inner, lanes, 0);
        m = VMAX2(m, v);
    }
    for (int k = 0; k < K; k++)
        s += exp(VLDN(x + (size_t)k * inner, lanes, 0) - m);
    const VF r = (VF)1 / s, ls = log(s);
    for (int k = 0; k < K; k++) {
        const VF d = VLDN(x + (size_t)k * inner, lanes, 0) - m;
        const VF v = log_ ? d - ls : exp(d) * r;
        if (lanes == VN)
            VST(v, y + (size_t)k * inner);
        else
            vstore_tail(v, y + (size_t)k * inner, lanes);
    }
}

kernel void softmax_bwd_rows(global const float *y, ulong y_at, global const float *dy, ulong dy_at,
                             global float *dx, ulong dx_at, int outer, int K, int span, int log_)
{
    const int n0 = (int)get_global_id(0) * span, n1 = min(outer, n0 + span);
    for (int n = n0; n < n1; n++) {
        global const float *p = y + y_at + (size_t)n * K, *g = dy + dy_at + (size_t)n * K;
        global float *q = dx + dx_at + (size_t)n * K;
        VF sv = (VF)0;
        int j = 0;
        for (; j < K; j += VN) {
            const VF v = VLDN(g + j, TAIL(j), 0);
            sv = log_ ? sv + v : fma(v, VLDN(p + j, TAIL(j), 0), sv);
        }
        const float s = VSUM(sv);
        for (j = 0; j < K; j += VN) {
            const VF a = VLDN(p + j, TAIL(j), 0), v = VLDN(g + j, TAIL(j), 0);
            const VF d = log_ ? fma(-exp(a), (VF)s, v) : a * (v - s);
            if (j + VN <= K)
                VST(d, q + j);
            else
                vstore_tail(d, q + j, K - j);
        }
    }
}

kernel void softmax_bwd_cols(global const float *y, ulong y_at, global const float *dy, ulong dy_at,
                             global float *dx, ulong dx_at, int K, int inner, int log_)
{
    const int i = (int)get_global_id(0) * VN, lanes = min(VN, inner - i);
    const size_t at = (size_t)get_global_id(1) * K * inner + i;
    VF s = (VF)0;
    y += y_at + at;
    dy += dy_at + at;
    dx += dx_at + at;
    for (int k = 0; k < K; k++) {
        const VF v = VLDN(dy + (size_t)k * inner, lanes, 0);
        s = log_ ? s + v : fma(v, VLDN(y + (size_t)k * inner, lanes, 0), s);
    }
    for (int k = 0; k < K; k++) {
        const size_t j = (size_t)k * inner;
        const VF a = VLDN(y + j, lanes, 0), v = VLDN(dy + j, lanes, 0);
        const VF d = log_ ? fma(-exp(a), s, v) : a * (v - s);
        if (lanes == VN)
            VST(d, dx + j);
        else
            vstore_tail(d, dx + j, lanes);
    }
}
