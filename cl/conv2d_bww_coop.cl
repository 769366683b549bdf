/* Gradient of a convolution by its weights, plain NCHW, for devices that run work-groups in step:
 * a matrix product whose inner dimension are the pixels of dy and whose second factor is gathered
 * from x. Bound: FMA throughput. Rows are output channels of a group, columns its channels of x
 * times taps. The pixels are cut into splits, each with sums of its own, which matmul_sum adds in
 * order. */
#include "tile_coop.cl"

/* x [N, C, H, W], dy [N, K, OH, OW], P = N OH OW pixels, `per` for each split; part [splits][K, R],
 * R = CG KH KW. Groups of items: (tiles of R, tiles of M), group, split. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
conv2d_bww_coop(global const float *x, ulong x0, global const float *dy, ulong dy0,
                global float *part, ulong part0, int P, int per, int C, int H, int W, int K, int OH,
                int OW, int CG, int M, int KH, int KW, int SH, int SW, int DH, int DW, int PH,
                int PW)
{
    TILE_LOCALS;
    const int item = (int)get_local_id(0), tx = item % TX, ty = item / TX;
    const int g = (int)get_group_id(1), split = (int)get_group_id(2), R = CG * KH * KW;
    const int m_tiles = (M + BM - 1) / BM, dplane = OH * OW;
    const int m0 = (int)get_group_id(0) % m_tiles * BM, r0 = (int)get_group_id(0) / m_tiles * BN;
    const int first = split * per, last = min(P, first + per);
    float acc[TM][TN], a[A_EACH], f[B_EACH];
    int off[B_EACH], down[B_EACH], right[B_EACH]; /* of the columns that this item fetches */
#pragma unroll
    for (int s = 0; s < B_EACH; s++) {
        const int r = r0 + item / BK + s * (ITEMS / BK), t = r % (KH * KW);
        down[s] = r < R ? t / KW * DH - PH : -(1 << 30);
        right[s] = t % KW * DW - PW;
        off[s] = r < R ? (r / (KH * KW) * H + down[s]) * W + right[s] : 0;
    }
    x += x0 + (ulong)(g * CG) * H * W;
    dy += dy0 + (ulong)(g * M + m0 + item / BK) * dplane;
    tile_clear(acc);
    for (int k = first, buf = 0; k < last + BK; k += BK, buf ^= 1) {
        if (k < last) {
            const int p = k + item % BK, n = p / dplane, at = p % dplane;
            const int row = at / OW * SH, col = at % OW * SW;
            global const float *d = dy + (ulong)n * K * dplane + at;
            global const float *xn = x + (ulong)n * C * H * W + row * W + col;
#pragma unroll
            for (int s = 0; s < A_EACH; s++)
                a[s] = p < last && m0 + item / BK + s * (ITEMS / BK) < M
                           ? d[s * (ITEMS / BK) * dplane]
                           : 0;
#pragma unroll
            for (int s = 0; s < B_EACH; s++)
                f[s] = p < last && (uint)(row + down[s]) < (uint)H &&
                               (uint)(col + right[s]) < (uint)W
                           ? xn[off[s]]
                           : 0;
        }
        if (k > first)
            tile_add(as[buf ^ 1], bs[buf ^ 1], acc, tx, ty);
        if (k < last) {
            tile_put(as[buf], a, A_EACH, A_ROW, item);
            tile_put(bs[buf], f, B_EACH, B_ROW, item);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    part += part0 + ((ulong)split * K + g * M) * R;
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) {
            const int m = m0 + TILE_AT(i, ty, TY), r = r0 + TILE_AT(j, tx, TX);
            if (m < M && r < R)
                part[(ulong)m * R + r] = acc[i][j];
        }
}
