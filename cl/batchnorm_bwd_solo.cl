/* Backward of batch normalisation for CPU-like devices: one pass for the two sums per channel, one
 * that writes dx; one work-item per group, vectors along HW (rows) or along C for [N,C] (cols).
 * Bound: memory bandwidth (reads x and dy twice, the second time from cache where they fit; writes
 * dx). */
#include "norm_vec.cl"

/* dw = sum of dy (x - mean) / sqrt(var + eps), db = sum of dy; vectors are folded every `chunk`
 * rows. */
kernel void bn_bwd_sums_rows(global const float *x, ulong x_at, global const float *dy, ulong dy_at,
                             global const float *mean, ulong mean_at, global const float *var,
                             ulong var_at, global float *dw, ulong dw_at, global float *db,
                             ulong db_at, int N, int C, int HW, int chunk, float eps)
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
    dw[dw_at + c] = s2 / sqrt(var[var_at + c] + eps);
    db[db_at + c] = s1;
}

kernel void bn_bwd_sums_cols(global const float *x, ulong x_at, global const float *dy, ulong dy_at,
                             global const float *mean, ulong mean_at, global const float *var,
                             ulong var_at, global float *dw, ulong dw_at, global float *db,
                             ulong db_at, int N, int C, int chunk, float eps)
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
    vstore_tail(s2 / sqrt(VLDN(var + var_at + c, lanes, 1) + eps), dw + dw_at + c, lanes);
    vstore_tail(s1, db + db_at + c, lanes);
}

/* dx = k (dy - m - (x - mean) q): k = w r, m = db / n, q = r dw / n, r = 1 / sqrt(var + eps).
 * Frozen: k dy. */
kernel void bn_bwd_rows(global const float *x, ulong x_at, global const float *dy, ulong dy_at,
                        global const float *mean, ulong mean_at, global const float *var,
                        ulong var_at, global const float *w, ulong w_at, global const float *dw,
                        ulong dw_at, global const float *db, ulong db_at, global float *dx,
                        ulong dx_at, int N, int C, int HW, int span, float eps, int has, int frozen)
{
    const int c = (int)get_global_id(0), n0 = (int)get_global_id(1) * span, n1 = min(N, n0 + span);
    const float r = 1 / sqrt(var[var_at + c] + eps), k = (has & 1 ? w[w_at + c] : 1) * r;
    const float count = (float)(N * HW), mu = mean[mean_at + c];
    const float m = db[db_at + c] / count, q = r * dw[dw_at + c] / count;
    for (int n = n0; n < n1; n++) {
        const size_t at = ((size_t)n * C + c) * HW;
        global const float *p = x + x_at + at, *g = dy + dy_at + at;
        global float *o = dx + dx_at + at;
        int j = 0;
        if (frozen) {
            for (; j + VN <= HW; j += VN)
                VST(VLD(g + j) * k, o + j);
            for (; j < HW; j++)
                o[j] = g[j] * k;
            continue;
        }
        for (; j + VN <= HW; j += VN)
            VST(fma(VLD(p + j) - mu, (VF)(-q), VLD(g + j) - m) * k, o + j);
        for (; j < HW; j++)
            o[j] = fma(p[j] - mu, -q, g[j] - m) * k;
    }
}

kernel void bn_bwd_cols(global const float *x, ulong x_at, global const float *dy, ulong dy_at,
                        global const float *mean, ulong mean_at, global const float *var,
                        ulong var_at, global const float *w, ulong w_at, global const float *dw,
                        ulong dw_at, global const float *db, ulong db_at, global float *dx,
                        ulong dx_at, int N, int C, int span, float eps, int has, int frozen)
{
    const int c = (int)get_global_id(0) * VN, lanes = min(VN, C - c);
    const int n0 = (int)get_global_id(1) * span, n1 = min(N, n0 + span);
    const VF one = (VF)1;
    const VF r = one / sqrt(VLDN(var + var_at + c, lanes, 1) + eps);
    const VF k = (has & 1 ? VLDN(w + w_at + c, lanes, 0) : one) * r,
             mu = VLDN(mean + mean_at + c, lanes, 0);
    const VF m = VLDN(db + db_at + c, lanes, 0) / (float)N,
             q = r * VLDN(dw + dw_at + c, lanes, 0) / (float)N;
    for (int n = n0; n < n1; n++) {
        const size_t at = (size_t)n * C + c;
        VF d = VLDN(dy + dy_at + at, lanes, 0);
        if (!frozen)
            d = fma(VLDN(x + x_at + at, lanes, 0) - mu, -q, d - m);
        if (lanes == VN)
            VST(d * k, dx + dx_at + at);
        else
            vstore_tail(d * k, dx + dx_at + at, lanes);
    }
}
