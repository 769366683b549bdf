/* Global L2 norm of g / weight over the trained groups of an arena, and the factor that clips it:
 * chunks of blocks of 64 give one partial sum each, one group adds those in fixed order. Bound:
 * memory, 4 bytes per gradient. */
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

kernel void grad_norm_solo(global const float *g, ulong g_at, global const uchar *groups,
                           ulong groups_at, global const float *table, ulong table_at,
                           global const float *weight, ulong weight_at, global float *part,
                           ulong part_at, int P)
{
    const int b0 = (int)get_global_id(0) * BLOCKS, b1 = min(P / 64, b0 + BLOCKS);
    const VF f = (VF)(1 / weight[weight_at]);
    VF a0 = (VF)0, a1 = (VF)0, v;
    for (int k = b0; k < b1; k++) {
        if (table[table_at + 4 * (size_t)groups[groups_at + k] + 2] == 0)
            continue;
        for (int l = 0; l < 64; l += 2 * VN) {
            v = VLD(g + g_at + (size_t)k * 64 + l) * f;
            a0 = fma(v, v, a0);
            v = VLD(g + g_at + (size_t)k * 64 + l + VN) * f;
            a1 = fma(v, v, a1);
        }
    }
    part[part_at + get_global_id(0)] = VSUM(a0 + a1);
}

/* out = {norm, factor}: min(1, max_norm / (norm + 1e-6)) where max_norm > 0, else 1; a NaN norm
 * gives a NaN factor. */
kernel void grad_norm_sum(global const T *part, ulong part_at, global T *out, ulong out_at, int n,
                          float max_norm)
{
    local T s[LS];
    T sum = 0;
    for (int j = (int)get_local_id(0); j < n; j += LS)
        sum += part[part_at + j];
    sum = group_sum(sum, s);
    if (get_local_id(0) == 0) {
        const T norm = sqrt(sum), f = (T)max_norm / (norm + (T)1e-6f);
        out[out_at] = norm;
        out[out_at + 1] = max_norm > 0 && !(f >= 1) ? f : (T)1;
    }
}
