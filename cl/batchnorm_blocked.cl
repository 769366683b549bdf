/* Statistics of batch normalisation and the sums of its gradient on NCHWc storage, for CPU-like
 * devices: one work-item per group, a vector is VN channels of one pixel. Each pass goes once over
 * memory: statistics take pieces that fit a core's L1 twice (the second time from there) and join
 * them by Chan's formula in fixed order. Item (k, p): channel block k, samples p span ..; where
 * there are several p, each leaves a partial result [p][k][2] and a *_join kernel puts them
 * together. Outputs: batchnorm.cl. Bound: memory bandwidth. */
#include "norm_vec.cl"

/* A piece: `across` samples of a whole plane, or `down` rows of one sample. Rows are W vectors. */
#define WALK_PARAMS int N, int C, int blocks, int H, int W, int span, int across, int down
#define PLACE(x, x_at) global const float *x, ulong x_at, int x##_row, int x##_plane, int x##_first
#define ROW_OF(x, n, h)                                                                            \
    (x + ((size_t)((n)*blocks + block) * x##_plane + (size_t)(h)*x##_row + x##_first) * VN)

typedef struct moments {
    VF shift, mu, m2; /* the mean is shift + mu: the first piece's mean, and what came after */
    float seen;
} moments;

/* `count` more, whose mean is m + dev / count and whose squares of (x - m) add up to sq. */
void moments_join(moments *s, float count, VF m, VF dev, VF sq)
{
    s->shift = s->seen == 0 ? m : s->shift;
    /* what rounding left in m matters where the mean is large against the deviation */
    const VF left = dev / count, d = m - s->shift - s->mu + left;
    const float f = count / (s->seen + count);
    s->mu = fma(d, (VF)f, s->mu);
    s->m2 += fma(d * d, (VF)(s->seen * f), fma(-left, dev, sq));
    s->seen += count;
}

#define STATS_OUT                                                                                  \
    global const float *w, ulong w_at, global float *mean, ulong mean_at, global float *inv,       \
        ulong inv_at, global float *kept, ulong kept_at, global float *scale, ulong scale_at
#define STATS_STORE(s)                                                                             \
    {                                                                                              \
        const int c = block * VN, lanes = min(VN, C - c);                                          \
        const float n = fmax(s.seen, (float)1);                                                    \
        const VF r = s.seen > 0 ? (VF)1 / sqrt(s.m2 / n + (VF)eps) : (VF)0;                        \
        vstore_tail(s.shift + s.mu, mean + mean_at + c, lanes);                                    \
        vstore_tail(r, inv + inv_at + c, lanes);                                                   \
        vstore_tail(s.m2 / (biased || n < 2 ? n : n - 1), kept + kept_at + c, lanes);              \
        vstore_tail(has ? VLDN(w + w_at + c, lanes, 0) * r : r, scale + scale_at + c, lanes);      \
    }

kernel void bn_stats_blocked(PLACE(x, x_at), global float *part, ulong part_at, STATS_OUT,
                             WALK_PARAMS, float eps, int biased, int has)
{
    const int block = (int)get_global_id(0), p = (int)get_global_id(1);
    const int first = p * span, last = min(N, first + span);
    moments s = {(VF)0, (VF)0, (VF)0, 0};
    x += x_at;
    for (int n0 = first; n0 < last; n0 += across) {
        const int n1 = min(last, n0 + across);
        for (int h0 = 0; h0 < H; h0 += down) {
            const int h1 = min(H, h0 + down);
            const float count = (float)((n1 - n0) * (h1 - h0) * W);
            VF a0 = (VF)0, a1 = (VF)0, a2 = (VF)0, a3 = (VF)0;
            for (int n = n0; n < n1; n++)
                for (int h = h0; h < h1; h++) {
                    global const float *v = ROW_OF(x, n, h);
                    int j = 0;
                    for (; j + 4 <= W; j += 4) {
                        a0 += VLD(v + j * VN);
                        a1 += VLD(v + (j + 1) * VN);
                        a2 += VLD(v + (j + 2) * VN);
                        a3 += VLD(v + (j + 3) * VN);
                    }
                    for (; j < W; j++)
                        a0 += VLD(v + j * VN);
                }
            const VF m = ((a0 + a1) + (a2 + a3)) / count;
            VF d0 = (VF)0, d1 = (VF)0, q0 = (VF)0, q1 = (VF)0;
            for (int n = n0; n < n1; n++)
                for (int h = h0; h < h1; h++) {
                    global const float *v = ROW_OF(x, n, h);
                    int j = 0;
                    for (; j + 2 <= W; j += 2) {
                        const VF e0 = VLD(v + j * VN) - m, e1 = VLD(v + (j + 1) * VN) - m;
                        d0 += e0;
                        d1 += e1;
                        q0 = fma(e0, e0, q0);
                        q1 = fma(e1, e1, q1);
                    }
                    for (; j < W; j++) {
                        const VF e = VLD(v + j * VN) - m;
                        d0 += e;
                        q0 = fma(e, e, q0);
                    }
                }
            moments_join(&s, count, m, d0 + d1, q0 + q1);
        }
    }
    if (span < N) {
        part += part_at + (size_t)(p * blocks + block) * 2 * VN;
        VST(s.shift + s.mu, part);
        VST(s.m2, part + VN);
        return;
    }
    STATS_STORE(s)
}

/* count: of the N samples' pixels in one part. */
kernel void bn_stats_join(global const float *part, ulong part_at, STATS_OUT, int N, int C,
                          int blocks, int pixels, int span, float eps, int biased, int has)
{
    const int block = (int)get_global_id(0);
    moments s = {(VF)0, (VF)0, (VF)0, 0};
    for (int n = 0, p = 0; n < N; n += span, p++) {
        global const float *q = part + part_at + (size_t)(p * blocks + block) * 2 * VN;
        moments_join(&s, (float)min(span, N - n) * (float)pixels, VLD(q), (VF)0, VLD(q + VN));
    }
    STATS_STORE(s)
}

#define BWD_OUT                                                                                    \
    global const float *inv, ulong inv_at, global const float *scale, ulong scale_at,              \
        global float *dw, ulong dw_at, global float *db, ulong db_at, global float *slope,         \
        ulong slope_at, global float *offset, ulong offset_at
#define BWD_STORE(s1, s2, count)                                                                   \
    {                                                                                              \
        const int c = block * VN, lanes = min(VN, C - c);                                          \
        const VF r = VLDN(inv + inv_at + c, lanes, 0);                                             \
        const VF k = -VLDN(scale + scale_at + c, lanes, 0) / fmax((float)(count), (float)1);       \
        vstore_tail(s2 *r, dw + dw_at + c, lanes);                                                 \
        vstore_tail(s1, db + db_at + c, lanes);                                                    \
        vstore_tail(k *r *(s2 * r), slope + slope_at + c, lanes);                                  \
        vstore_tail(k *s1, offset + offset_at + c, lanes);                                         \
    }

kernel void bn_bwd_stats_blocked(PLACE(x, x_at), PLACE(dy, dy_at), global const float *mean,
                                 ulong mean_at, global float *part, ulong part_at, BWD_OUT,
                                 WALK_PARAMS)
{
    const int block = (int)get_global_id(0), p = (int)get_global_id(1);
    const int first = p * span, last = min(N, first + span);
    const VF mu = VLDN(mean + mean_at + block * VN, C - block * VN, 0);
    VF s1 = (VF)0, s2 = (VF)0;
    x += x_at;
    dy += dy_at;
    for (int n0 = first; n0 < last; n0 += across) {
        const int n1 = min(last, n0 + across);
        for (int h0 = 0; h0 < H; h0 += down) {
            VF a0 = (VF)0, a1 = (VF)0, b0 = (VF)0, b1 = (VF)0;
            for (int n = n0; n < n1; n++)
                for (int h = h0; h < min(H, h0 + down); h++) {
                    global const float *v = ROW_OF(x, n, h), *g = ROW_OF(dy, n, h);
                    int j = 0;
                    for (; j + 2 <= W; j += 2) {
                        const VF g0 = VLD(g + j * VN), g1 = VLD(g + (j + 1) * VN);
                        a0 += g0;
                        a1 += g1;
                        b0 = fma(g0, VLD(v + j * VN) - mu, b0);
                        b1 = fma(g1, VLD(v + (j + 1) * VN) - mu, b1);
                    }
                    for (; j < W; j++) {
                        const VF g0 = VLD(g + j * VN);
                        a0 += g0;
                        b0 = fma(g0, VLD(v + j * VN) - mu, b0);
                    }
                }
            s1 += a0 + a1;
            s2 += b0 + b1;
        }
    }
    if (span < N) {
        part += part_at + (size_t)(p * blocks + block) * 2 * VN;
        VST(s1, part);
        VST(s2, part + VN);
        return;
    }
    BWD_STORE(s1, s2, (float)N * (float)(H * W))
}

kernel void bn_bwd_stats_join(global const float *part, ulong part_at, BWD_OUT, int N, int C,
                              int blocks, int pixels, int span)
{
    const int block = (int)get_global_id(0);
    VF s1 = (VF)0, s2 = (VF)0;
    for (int n = 0, p = 0; n < N; n += span, p++) {
        global const float *q = part + part_at + (size_t)(p * blocks + block) * 2 * VN;
        s1 += VLD(q);
        s2 += VLD(q + VN);
    }
    BWD_STORE(s1, s2, (float)N * (float)pixels)
}
