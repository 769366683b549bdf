/* Statistics of batch normalisation over all shards of a batch, from a row that each shard gives:
 * tables [S, 2C], two numbers per channel. Added by index, so all devices of a kind get the same
 * bits, whoever made which row. Tiny: one item per channel. */
#include "common.cl"

/* Rows are mean and kept variance of a shard's samples[i] each values per channel; rows of shards
 * without samples are not read. Gives what bn_stats gives, of all values together: squared
 * deviations from the common mean are a shard's own and the square of its mean's. */
kernel void bn_meet_ref(global const T *table, ulong table_at, global const int *samples,
                        ulong samples_at, global const T *w, ulong w_at, global T *mean,
                        ulong mean_at, global T *inv, ulong inv_at, global T *kept, ulong kept_at,
                        global T *scale, ulong scale_at, int S, int C, int each, float eps,
                        int biased, int has)
{
    const int c = (int)get_global_id(0);
    T n = 0, first = 0, far = 0, m2 = 0;
    if (c >= C)
        return;
    table += table_at + c;
    samples += samples_at;
    for (int i = 0; i < S; i++)
        if (samples[i] > 0) {
            const T k = (T)samples[i] * (T)each, mu = table[(size_t)i * 2 * C];
            first = n > 0 ? first : mu; /* means differ little: their differences keep the digits */
            far = fma(k, mu - first, far);
            n += k;
        }
    const T mu = first + far / max(n, (T)1);
    for (int i = 0; i < S; i++)
        if (samples[i] > 0) {
            const T k = (T)samples[i] * (T)each, d = table[(size_t)i * 2 * C] - mu;
            const T own = table[((size_t)i * 2 + 1) * C] * (biased || k < 2 ? k : k - (T)1);
            m2 += fma(k * d, d, own);
        }
    const T r = n > 0 ? (T)1 / sqrt(m2 / n + (T)eps) : (T)0;
    mean[mean_at + c] = mu;
    inv[inv_at + c] = r;
    scale[scale_at + c] = has ? w[w_at + c] * r : r;
    kept[kept_at + c] = m2 / (biased || n < 2 ? max(n, (T)1) : n - (T)1);
}

/* Rows are dw and db of a shard. Gives slope and offset of bn_bwd_stats for all values together. */
kernel void bn_bwd_meet_ref(global const T *table, ulong table_at, global const int *samples,
                            ulong samples_at, global const T *inv, ulong inv_at,
                            global const T *scale, ulong scale_at, global T *slope, ulong slope_at,
                            global T *offset, ulong offset_at, int S, int C, int each)
{
    const int c = (int)get_global_id(0);
    T n = 0, dw = 0, db = 0;
    if (c >= C)
        return;
    table += table_at + c;
    samples += samples_at;
    for (int i = 0; i < S; i++)
        if (samples[i] > 0) {
            n += (T)samples[i] * (T)each;
            dw += table[(size_t)i * 2 * C];
            db += table[((size_t)i * 2 + 1) * C];
        }
    const T k = -scale[scale_at + c] / max(n, (T)1);
    slope[slope_at + c] = k * inv[inv_at + c] * dw;
    offset[offset_at + c] = k * db;
}
