/* C = op(A) op(B) (+ bias) for devices that run work-groups in step: the tiles of tile_coop.cl.
 * Bound: FMA throughput. Fetches go along whichever axis is contiguous. */
#include "tile_coop.cl"

/* What an item fetches of the `side` rows of op(x) from i0 on, of `rows` in all, and of the BK
 * columns from k on, up to k_last. across: x is [k][i]. */
static inline __attribute__((always_inline, unused)) void
fetch(float *v, int each, int side, __global const float *x, int ld, int across, int i0, int rows,
      int k, int k_last, int item)
{
    const int i = i0 + (across ? item % side : item / BK);
    const int at = k + (across ? item / side : item % BK);
    const int di = across ? 0 : ITEMS / BK, dk = across ? ITEMS / side : 0;
#pragma unroll
    for (int s = 0; s < each; s++) {
        const int r = i + s * di, c = at + s * dk;
        v[s] = r < rows && c < k_last ? (across ? x[c * ld + r] : x[r * ld + c]) : 0;
    }
}

static inline __attribute__((always_inline, unused)) void
put(__local float4 *to, const float *v, int each, int side, int row, int across, int item)
{
    __local float *p = (__local float *)to;
    if (!across) {
        tile_put(to, v, each, row, item);
        return;
    }
#pragma unroll
    for (int s = 0; s < each; s++)
        p[(item / side + s * (ITEMS / side)) * (row * 4) + item % side] = v[s];
}

/* Groups (tiles of N x tiles of M, batch, split); with splits > 1 C is scratch
 * [splits][batch][M,N]. */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
matmul_coop(__global const float *a, ulong a_at, __global const float *b, ulong b_at,
            __global const float *bias, ulong bias_at, __global float *c, ulong c_at, int M, int N,
            int K, int ta, int tb, int has_bias, int splits, int k_per)
{
    TILE_LOCALS;
    const int item = (int)get_local_id(0), tx = item % TX, ty = item / TX;
    const int m_tiles = (M + BM - 1) / BM, batch = (int)get_group_id(1);
    const int m0 = (int)get_group_id(0) % m_tiles * BM, n0 = (int)get_group_id(0) / m_tiles * BN;
    const int split = (int)get_group_id(2), k_first = split * k_per;
    const int k_last = min(K, k_first + k_per), lda = ta ? M : K, ldb = tb ? K : N;
    float acc[TM][TN], av[A_EACH], bv[B_EACH];
    a += a_at + (ulong)batch * (ulong)M * (ulong)K;
    b += b_at + (ulong)batch * (ulong)K * (ulong)N;
    c += c_at + ((ulong)split * get_num_groups(1) + (ulong)batch) * (ulong)M * (ulong)N;
    tile_clear(acc);
    for (int k = k_first, buf = 0; k < k_last + BK; k += BK, buf ^= 1) {
        if (k < k_last) { /* fetched before the sums of the step before, which hide the wait */
            fetch(av, A_EACH, BM, a, lda, ta, m0, M, k, k_last, item);
            fetch(bv, B_EACH, BN, b, ldb, !tb, n0, N, k, k_last, item);
        }
        if (k > k_first)
            tile_add(as[buf ^ 1], bs[buf ^ 1], acc, tx, ty);
        if (k < k_last) {
            put(as[buf], av, A_EACH, BM, A_ROW, ta, item);
            put(bs[buf], bv, B_EACH, BN, B_ROW, !tb, item);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) {
            const int row = m0 + TILE_AT(i, ty, TY), col = n0 + TILE_AT(j, tx, TX);
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
