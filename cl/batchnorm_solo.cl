/* Statistics of batch normalisation for CPU-like devices: one work-item per group, plain [N,C,HW]
 * rows taken in vectors along HW (rows) or, for [N,C], along C (cols). They go once over memory:
 * chunks of rows that fit a core's L1 are summed in two passes (the second one from L1) and joined
 * by Chan's formula in fixed order. Bound: memory bandwidth. */
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

/* Outputs: batchnorm.cl. */
#define STATS_PARAMS                                                                               \
    global const float *x, ulong x_at, global const float *w, ulong w_at, global float *mean,      \
        ulong mean_at, global float *inv, ulong inv_at, global float *kept, ulong kept_at,         \
        global float *scale, ulong scale_at

/* chunk: rows taken together. */
kernel void bn_stats_rows(STATS_PARAMS, int N, int C, int HW, int chunk, float eps, int biased,
                          int has)
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
    const float n = fmax(seen, (float)1), r = seen > 0 ? 1 / sqrt(m2 / n + eps) : 0;
    mean[mean_at + c] = shift + mu;
    inv[inv_at + c] = r;
    scale[scale_at + c] = has ? w[w_at + c] * r : r;
    kept[kept_at + c] = m2 / (biased || n < 2 ? n : n - 1);
}

kernel void bn_stats_cols(STATS_PARAMS, int N, int C, int chunk, float eps, int biased, int has)
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
    const VF k = m2 / (biased || n < 2 ? n : n - 1);
    const VF r = seen > 0 ? (VF)1 / sqrt(m2 / n + (VF)eps) : (VF)0;
    vstore_tail(shift + mu, mean + mean_at + c, lanes);
    vstore_tail(r, inv + inv_at + c, lanes);
    vstore_tail(has ? VLDN(w + w_at + c, lanes, 0) * r : r, scale + scale_at + c, lanes);
    vstore_tail(k, kept + kept_at + c, lanes);
}
