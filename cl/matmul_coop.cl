/* C = op(A) op(B) (+ bias) for devices that run work-groups in step: a group makes a TS x TS tile
 * of C from TS x 16 slices of A and B in local memory, each item 4 x 4 elements that lie TS / 4
 * apart, so that loads of local memory and stores to C are contiguous across items. Bound by local
 * memory: 8 loads for 16 FMAs. */
#include "common.cl"

#ifndef TS /* tile of C: 64 with 256 items, 32 with 64 */
#define TS 64
#endif
#define SIDE (TS / 4)
#define ITEMS (SIDE * SIDE)
#define KS 16

/* to[k][i] = x[i * ld + k], or x[k * ld + i] where the source lies across; zero outside.
 * Neighbouring items read neighbouring addresses. */
void slice(__local float to[KS][TS + 1], __global const float *x, int ld, int across, int rows,
           int n, int item)
{
    for (int e = item; e < TS * KS; e += ITEMS) {
        const int i = across ? e % TS : e / KS, k = across ? e / TS : e % KS;
        to[k][i] = i < rows && k < n ? (across ? x[k * ld + i] : x[i * ld + k]) : 0;
    }
}

/* Groups (n tile, m tile, batch x splits + split); with splits > 1 C is scratch
 * [splits][batch][M,N]. */
__kernel __attribute__((reqd_work_group_size(SIDE, SIDE, 1))) void
matmul_coop(__global const float *a, ulong a_at, __global const float *b, ulong b_at,
            __global const float *bias, ulong bias_at, __global float *c, ulong c_at, int M, int N,
            int K, int ta, int tb, int has_bias, int splits, int k_per)
{
    __local float as[KS][TS + 1], bs[KS][TS + 1];
    const int x = (int)get_local_id(0), y = (int)get_local_id(1), item = y * SIDE + x;
    const int m0 = (int)get_group_id(1) * TS, n0 = (int)get_group_id(0) * TS;
    const int batch = (int)get_group_id(2) / splits, split = (int)get_group_id(2) % splits;
    const int k_last = min(K, (split + 1) * k_per), lda = ta ? M : K, ldb = tb ? K : N;
    a += a_at + (ulong)batch * (ulong)M * (ulong)K;
    b += b_at + (ulong)batch * (ulong)K * (ulong)N;
    c += c_at +
         ((ulong)split * (get_num_groups(2) / (ulong)splits) + (ulong)batch) * (ulong)M * (ulong)N;
    float acc[4][4];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            acc[i][j] = 0;
    for (int k0 = split * k_per; k0 < k_last; k0 += KS) {
        const int n = min(KS, k_last - k0);
        slice(as, a + (ta ? k0 * lda + m0 : m0 * lda + k0), lda, ta, M - m0, n, item);
        slice(bs, b + (tb ? n0 * ldb + k0 : k0 * ldb + n0), ldb, !tb, N - n0, n, item);
        barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
        for (int k = 0; k < KS; k++) {
            float av[4], bv[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                av[i] = as[k][y + i * SIDE];
                bv[i] = bs[k][x + i * SIDE];
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    acc[i][j] = fma(av[i], bv[j], acc[i][j]);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int row = m0 + y + i * SIDE, col = n0 + x + j * SIDE;
            if (row < M && col < N)
                c[(ulong)row * (ulong)N + (ulong)col] =
                    has_bias && splits == 1 ? acc[i][j] + bias[bias_at + (ulong)col] : acc[i][j];
        }
}

/* c = sum over splits of part [splits][total] in order, plus bias by column; one item per element.
 */
__kernel void matmul_sum(__global const float *part, ulong part_at, __global const float *bias,
                         ulong bias_at, __global float *c, ulong c_at, int total, int N, int splits,
                         int has_bias)
{
    const int id = (int)get_global_id(0);
    if (id >= total)
        return;
    part += part_at + (ulong)id;
    float s = 0;
    for (int i = 0; i < splits; i++)
        s += part[(ulong)i * (ulong)total];
    c[c_at + (ulong)id] = has_bias ? s + bias[bias_at + (ulong)(id % N)] : s;
}

/* c = bias by column: what a library's product then adds to. */
__kernel void matmul_bias(__global const float *bias, ulong bias_at, __global float *c, ulong c_at,
                          int total, int N)
{
    const int id = (int)get_global_id(0);
    if (id < total)
        c[c_at + (ulong)id] = bias[bias_at + (ulong)(id % N)];
}
