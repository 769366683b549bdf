/* Batch normalisation for CPU-like devices: one work-item per group, plain [N,C,HW] rows taken in
 * vectors along HW (rows) or, for [N,C], along C (cols). Statistics go once over memory: chunks of
 * rows that fit a core's L1 are summed in two passes (the second one from L1) and joined by Chan's
 * formula in fixed order. Bound: memory bandwidth. */
#include "norm_vec.cl"

float row_sum(global const float *p, int n, float acc)
{
    VF a0 = (VF)0, a1 = (VF)0, a2 = (VF)0, a3 = (VF)0;
    int j = 0;
    for (; j + 4 * VN <= n; j += 4 * VN) {
        a0 += VLD(p + j);
        a1 += VLD(p + j + VN);
        a2 += VLD(p + j + 2 * VN);
        a3 += VLD(p + j + 3 * VN);
    }
    for (; j + VN <= n; j += VN)
        a0 += VLD(p + j);
    acc += VSUM((a0 + a1) + (a2 + a3));
    for (; j < n; j++)
        acc += p[j];
    return acc;
}

/* (sum of x - mean, sum of (x - mean)^2) added to acc. */
float2 row_moments(global const float *p, int n, float mean, float2 acc)
{
    VF a0 = (VF)0, a1 = (VF)0, s0 = (VF)0, s1 = (VF)0, d0, d1;
    int j = 0;
    for (; j + 2 * VN <= n; j += 2 * VN) {
        d0 = VLD(p + j) - mean;
        d1 = VLD(p + j + VN) - mean;
        s0 += d0;
        s1 += d1;
        a0 = fma(d0, d0, a0);
        a1 = fma(d1, d1, a1);
    }
    for (; j + VN <= n; j += VN) {
        d0 = VLD(p + j) - mean;
        s0 += d0;
        a0 = fma(d0, d0, a0);
    }
    acc += (float2)(VSUM(s0 + s1), VSUM(a0 + a1));
    for (; j < n; j++) {
        const float d = p[j] - mean;
        acc += (float2)(d, d * d);
    }
    return acc;
}

/* chunk: rows taken together. */
kernel void bn_stats_rows(global const float *x, ulong x_at, global float *mean, ulong mean_at,
                          global float *var, ulong var_at, global float *kept, ulong kept_at, int N,
                          int C, int HW, int chunk, int biased)
{
    const int c = (int)get_global_id(0);
    const size_t stride = (size_t)C * HW;
    float shift = 0, mu = 0, m2 = 0,
          seen = 0; /* mu counts from shift, the first chunk's mean, and so keeps its digits */
    x += x_at + (size_t)c * HW;
    for (int n0 = 0; n0 < N && HW > 0; n0 += chunk) {
        const int n1 = min(N, n0 + chunk);
        const float count = (float)((n1 - n0) * HW);
        float sum = 0;
        float2 q = (float2)0;
        for (int n = n0; n < n1; n++)
            sum = row_sum(x + n * stride, HW, sum);
        const float m = sum / count;
        shift = n0 == 0 ? m : shift;
        for (int n = n0; n < n1; n++)
            q = row_moments(x + n * stride, HW, m, q);
        /* q.x is what rounding left in m: it matters where the mean is large against the deviation
         */
        const float left = q.x / count, d = m - shift - mu + left, f = count / (seen + count);
        mu = fma(d, f, mu);
        m2 += fma(d * d, seen * f, fma(-left, q.x, q.y));
        seen += count;
    }
    const float n = fmax(seen, (float)1);
    mean[mean_at + c] = shift + mu;
    var[var_at + c] = m2 / n;
    kept[kept_at + c] = m2 / (biased || n < 2 ? n : n - 1);
}

kernel void bn_stats_cols(global const float *x, ulong x_at, global float *mean, ulong mean_at,
                          global float *var, ulong var_at, global float *kept, ulong kept_at, int N,
                          int C, int chunk, int biased)
{
    const int c = (int)get_global_id(0) * VN, lanes = min(VN, C - c);
    VF shift = (VF)0, mu = (VF)0, m2 = (VF)0;
    float seen = 0;
    x += x_at + c;
    for (int n0 = 0; n0 < N; n0 += chunk) {
        const int n1 = min(N, n0 + chunk);
        const float count = (float)(n1 - n0);
        VF sum = (VF)0, dev = (VF)0, sq = (VF)0;
        for (int n = n0; n < n1; n++)
            sum += VLDN(x + (size_t)n * C, lanes, 0);
        const VF m = sum / count;
        shift = n0 == 0 ? m : shift;
        for (int n = n0; n < n1; n++) {
            const VF e = VLDN(x + (size_t)n * C, lanes, 0) - m;
            dev += e;
            sq = fma(e, e, sq);
        }
        const VF left = dev / count, d = m - shift - mu + left;
        const float f = count / (seen + count);
        mu = fma(d, (VF)f, mu);
        m2 += fma(d * d, (VF)(seen * f), fma(-left, dev, sq));
        seen += count;
    }
    const float n = fmax(seen, (float)1);
    const VF v = m2 / n, k = m2 / (biased || n < 2 ? n : n - 1);
    vstore_tail(shift + mu, mean + mean_at + c, lanes);
    vstore_tail(v, var + var_at + c, lanes);
    vstore_tail(k, kept + kept_at + c, lanes);
}

/* y = (x - mean) / sqrt(var + eps) w + b; has: 1 w, 2 b. Item (c, k): rows k span .. of channel c.
 */
kernel void bn_apply_rows(global const float *x, ulong x_at, global const float *mean,
                          ulong mean_at, global const float *var, ulong var_at,
                          global const float *w, ulong w_at, global const float *b, ulong b_at,
                          global float *y, ulong y_at, int N, int C, int HW, int span, float eps,
                          int has)
{
    const int c = (int)get_global_id(0), n0 = (int)get_global_id(1) * span, n1 = min(N, n0 + span);
    const float a = (has & 1 ? w[w_at + c] : 1) / sqrt(var[var_at + c] + eps);
    const float mu = mean[mean_at + c], shift = has & 2 ? b[b_at + c] : 0;
    for (int n = n0; n < n1; n++) {
        const size_t at = ((size_t)n * C + c) * HW;
        global const float *p = x + x_at + at;
        global float *q = y + y_at + at;
        int j = 0;
        for (; j + 2 * VN <= HW; j += 2 * VN) {
            const VF v0 = fma(VLD(p + j) - mu, (VF)a, (VF)shift);
            const VF v1 = fma(VLD(p + j + VN) - mu, (VF)a, (VF)shift);
            VST(v0, q + j);
            VST(v1, q + j + VN);
        }
        for (; j + VN <= HW; j += VN)
            VST(fma(VLD(p + j) - mu, (VF)a, (VF)shift), q + j);
        for (; j < HW; j++)
            q[j] = fma(p[j] - mu, a, shift);
    }
}

kernel void bn_apply_cols(global const float *x, ulong x_at, global const float *mean,
                          ulong mean_at, global const float *var, ulong var_at,
                          global const float *w, ulong w_at, global const float *b, ulong b_at,
                          global float *y, ulong y_at, int N, int C, int span, float eps, int has)
{
    const int c = (int)get_global_id(0) * VN, lanes = min(VN, C - c);
    const int n0 = (int)get_global_id(1) * span, n1 = min(N, n0 + span);
    const VF one = (VF)1, zero = (VF)0;
    const VF a = (has & 1 ? VLDN(w + w_at + c, lanes, 0) : one) /
                 sqrt(VLDN(var + var_at + c, lanes, 1) + eps);
    const VF mu = VLDN(mean + mean_at + c, lanes, 0),
             shift = has & 2 ? VLDN(b + b_at + c, lanes, 0) : zero;
    for (int n = n0; n < n1; n++) {
        const size_t at = (size_t)n * C + c;
        const VF v = fma(VLDN(x + x_at + at, lanes, 0) - mu, a, shift);
        if (lanes == VN)
            VST(v, y + y_at + at);
        else
            vstore_tail(v, y + y_at + at, lanes);
    }
}
