/* Global L2 norm of g / weight over the trained groups of an arena, and the factor that clips it:
 * chunks of blocks of 64 give one partial sum each, one group adds those in fixed order; SOLO takes
 * a small arena in one launch. Bound: memory, 4 bytes per gradient. */
#include "norm_vec.cl"

#define BLOCKS 64 /* blocks of 64 per partial sum: 4096 gradients */

/* One group per chunk. */
kernel void grad_norm_ref(global const T *g, ulong g_at, global const uchar *groups,
                          ulong groups_at, global const T *table, ulong table_at,
                          global const T *weight, ulong weight_at, global T *part, ulong part_at,
                          int P)
{
    local T s[LS];
    const int b0 = (int)get_group_id(0) * BLOCKS, b1 = min(P / 64, b0 + BLOCKS);
    const T f = (T)1 / weight[weight_at];
    T sum = 0;
    for (int j = b0 * 64 + (int)get_local_id(0); j < b1 * 64; j += LS) {
        const T v = g[g_at + j] * f;
        if (table[table_at + 4 * (size_t)groups[groups_at + j / 64] + 2] != 0)
            sum = fma(v, v, sum);
    }
    sum = group_sum(sum, s);
    if (get_local_id(0) == 0)
        part[part_at + get_group_id(0)] = sum;
}

/* Blocks b0 .. b1 of g. */
float norm_part(global const float *g, global const uchar *groups, global const float *table,
                float factor, int b0, int b1)
{
    const VF f = (VF)factor;
    VF a0 = (VF)0, a1 = (VF)0, v;
    for (int k = b0; k < b1; k++) {
        if (table[4 * (size_t)groups[k] + 2] == 0)
            continue;
        for (int l = 0; l < 64; l += 2 * VN) {
            v = VLD(g + (size_t)k * 64 + l) * f;
            a0 = fma(v, v, a0);
            v = VLD(g + (size_t)k * 64 + l + VN) * f;
            a1 = fma(v, v, a1);
        }
    }
    return VSUM(a0 + a1);
}

kernel void grad_norm_solo(global const float *g, ulong g_at, global const uchar *groups,
                           ulong groups_at, global const float *table, ulong table_at,
                           global const float *weight, ulong weight_at, global float *part,
                           ulong part_at, int P)
{
    const int b0 = (int)get_global_id(0) * BLOCKS;
    part[part_at + get_global_id(0)] =
        norm_part(g + g_at, groups + groups_at, table + table_at, 1 / weight[weight_at], b0,
                  min(P / 64, b0 + BLOCKS));
}

/* out = {norm, factor}: min(1, max_norm / (norm + 1e-6)) where max_norm > 0, else 1; a NaN norm
 * gives a NaN factor. */
void norm_store(T sum, global T *out, float max_norm)
{
    const T norm = sqrt(sum), f = (T)max_norm / (norm + (T)1e-6f);
    out[0] = norm;
    out[1] = max_norm > 0 && !(f >= 1) ? f : (T)1;
}

/* One work-item. */
kernel void grad_norm_small(global const float *g, ulong g_at, global const uchar *groups,
                            ulong groups_at, global const float *table, ulong table_at,
                            global const float *weight, ulong weight_at, global T *out,
                            ulong out_at, int P, float max_norm)
{
    float sum = 0;
    for (int b0 = 0; b0 < P / 64; b0 += BLOCKS)
        sum += norm_part(g + g_at, groups + groups_at, table + table_at, 1 / weight[weight_at], b0,
                         min(P / 64, b0 + BLOCKS));
    norm_store((T)sum, out + out_at, max_norm);
}

kernel void grad_norm_sum(global const T *part, ulong part_at, global T *out, ulong out_at, int n,
                          float max_norm)
{
    local T s[LS];
    T sum = 0;
    for (int j = (int)get_local_id(0); j < n; j += LS)
        sum += part[part_at + j];
    sum = group_sum(sum, s);
    if (get_local_id(0) == 0)
        norm_store(sum, out + out_at, max_norm);
}
