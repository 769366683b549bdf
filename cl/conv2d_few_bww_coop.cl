/* Gradient of a convolution with few channels per group by its weights, plain NCHW, for devices
 * that run work-groups in step. Bound: memory. A group makes all taps of one pair of channels over
 * a part of the pixels: items sum every LS-th pixel, then a tree adds the items. Parts are added by
 * matmul_sum in order. */
#include "norm_vec.cl"

#ifndef KH
#define KH 3 /* taps: one sum per tap in registers */
#endif
#ifndef KW
#define KW 3
#endif

/* x [N, C, H, W], dy [N, K, OH, OW], P = N OH OW, `per` pixels for each split; part [splits][K, CG,
 * KH, KW]. Groups: pairs of channels (k, c), splits. M output channels per group of channels. */
kernel void conv2d_few_bww_coop(global const float *x, ulong x0, global const float *dy, ulong dy0,
                                global float *part, ulong part0, int P, int per, int C, int H,
                                int W, int K, int OH, int OW, int CG, int M, int SH, int SW, int DH,
                                int DW, int PH, int PW)
{
    local float s[LS];
    const int id = (int)get_group_id(0), k = id / CG, first = (int)get_group_id(1) * per;
    const int last = min(P, first + per), plane = OH * OW;
    float acc[KH * KW];
    x += x0 + (ulong)(k / M * CG + id % CG) * H * W;
    dy += dy0 + (ulong)k * plane;
#pragma unroll
    for (int t = 0; t < KH * KW; t++)
        acc[t] = 0;
    for (int p = first + (int)get_local_id(0); p < last; p += LS) {
        const int n = p / plane, at = p % plane, row = at / OW * SH - PH, col = at % OW * SW - PW;
        const float d = dy[(ulong)n * K * plane + at];
        global const float *xn = x + (ulong)n * C * H * W;
#pragma unroll
        for (int t = 0; t < KH * KW; t++) {
            const int h = row + t / KW * DH, i = col + t % KW * DW;
            acc[t] = fma((uint)h < (uint)H && (uint)i < (uint)W ? xn[h * W + i] : 0, d, acc[t]);
        }
    }
    part += part0 + ((ulong)get_group_id(1) * get_num_groups(0) + id) * (KH * KW);
#pragma unroll
    for (int t = 0; t < KH * KW; t++) {
        const float sum = group_sum(acc[t], s);
        if (get_local_id(0) == 0)
            part[t] = sum;
    }
}
