/* Sums of batch normalisation's gradient for CPU-like devices, in one pass over x and dy: one
 * work-item per group, vectors along HW (rows) or along C for [N,C] (cols). Outputs: batchnorm.cl.
 * Bound: memory bandwidth. */
#include "norm_vec.cl"

#define BWD_PARAMS                                                                                 \
    global const float *x, ulong x_at, global const float *dy, ulong dy_at,                        \
        global const float *mean, ulong mean_at, global const float *inv, ulong inv_at,            \
        global const float *scale, ulong scale_at, global float *dw, ulong dw_at,                  \
        global float *db, ulong db_at, global float *slope, ulong slope_at, global float *offset,  \
        ulong offset_at

/* Vectors are folded every `chunk` rows. */
kernel void bn_bwd_stats_rows(BWD_PARAMS, int N, int C, int HW, int chunk)
{
    const int c = (int)get_global_id(0);
    const float mu = mean[mean_at + c];
    float s1 = 0, s2 = 0;
    for (int n0 = 0; n0 < N; n0 += chunk) {
        VF a0 = (VF)0, a1 = (VF)0, b0 = (VF)0, b1 = (VF)0;
        float t1 = 0, t2 = 0;
        for (int n = n0; n < min(N, n0 + chunk); n++) {
            global const float *p = x + x_at + ((size_t)n * C + c) * HW;
            global const float *g = dy + dy_at + ((size_t)n * C + c) * HW;
            int j = 0;
            for (; j + 2 * VN <= HW; j += 2 * VN) {
                const VF g0 = VLD(g + j), g1 = VLD(g + j + VN);
                a0 += g0;
                a1 += g1;
                b0 = fma(g0, VLD(p + j) - mu, b0);
                b1 = fma(g1, VLD(p + j + VN) - mu, b1);
            }
            for (; j + VN <= HW; j += VN) {
                const VF g0 = VLD(g + j);
                a0 += g0;
                b0 = fma(g0, VLD(p + j) - mu, b0);
            }
            for (; j < HW; j++) {
                t1 += g[j];
                t2 = fma(g[j], p[j] - mu, t2);
            }
        }
        s1 += VSUM(a0 + a1) + t1;
        s2 += VSUM(b0 + b1) + t2;
    }
    const float r = inv[inv_at + c], k = -scale[scale_at + c] / (float)max(N * HW, 1);
    dw[dw_at + c] = s2 * r;
    db[db_at + c] = s1;
    slope[slope_at + c] = k * r * (s2 * r);
    offset[offset_at + c] = k * s1;
}

kernel void bn_bwd_stats_cols(BWD_PARAMS, int N, int C, int chunk)
{
    const int c = (int)get_global_id(0) * VN, lanes = min(VN, C - c);
    const VF mu = VLDN(mean + mean_at + c, lanes, 0);
    VF s1 = (VF)0, s2 = (VF)0;
    for (int n0 = 0; n0 < N; n0 += chunk) {
        VF a = (VF)0, b = (VF)0;
        for (int n = n0; n < min(N, n0 + chunk); n++) {
            const size_t at = (size_t)n * C + c;
            const VF g = VLDN(dy + dy_at + at, lanes, 0);
            a += g;
            b = fma(g, VLDN(x + x_at + at, lanes, 0) - mu, b);
        }
        s1 += a;
        s2 += b;
    }
    const VF r = VLDN(inv + inv_at + c, lanes, 0);
    const VF k = -VLDN(scale + scale_at + c, lanes, 0) / (float)max(N, 1);
    vstore_tail(s2 * r, dw + dw_at + c, lanes);
    vstore_tail(s1, db + db_at + c, lanes);
    vstore_tail(k * r * (s2 * r), slope + slope_at + c, lanes);
    vstore_tail(k * s1, offset + offset_at + c, lanes);
}
