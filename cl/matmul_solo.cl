/* C = op(A) op(B) (+ bias) for devices with wide vectors: one work-item per mt x nt block of C and
 * share of K. It packs kc of K at a time into panels in local memory (the core's L2): A
 * [mt/MR][k][MR], B [nt/NR][k][NR], transposing where the source asks for it, and then runs MR x NR
 * register tiles with an A panel in L1. Bound by FMA issue: 16 FMAs to 10 loads at W 16. */
#include "matmul_vector.cl"

#if W == 16
#define MR 8
#define ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#else
#define MR 4
#define ROWS(X) X(0) X(1) X(2) X(3)
#endif
#define NR (2 * W)

/* to[k * step + r] = from[r * ld + k] for MR rows (those past the last are copies of it, never
 * stored) and n of k. */
void pack_rows(__local float *to, int step, __global const float *from, int ld, int rows, int n)
{
    int k = 0;
#define AT(i) __global const float *f##i = from + min(i, rows - 1) * ld;
    ROWS(AT)
    for (; k + W <= n; k += W) {
#define GET(i) const V r##i = VLOAD(f##i + k);
        ROWS(GET)
        __local float *t = to + k * step;
#if W == 16
#define PUT2(j, v)                                                                                 \
    vstore8((v).lo, 0, t + (2 * j) * step);                                                        \
    vstore8((v).hi, 0, t + (2 * j + 1) * step);
        const V a0 = zip_lo(r0, r4), a1 = zip_hi(r0, r4), b0 = zip_lo(r1, r5), b1 = zip_hi(r1, r5);
        const V c0 = zip_lo(r2, r6), c1 = zip_hi(r2, r6), d0 = zip_lo(r3, r7), d1 = zip_hi(r3, r7);
        const V p0 = zip_lo(a0, c0), p1 = zip_hi(a0, c0), p2 = zip_lo(a1, c1), p3 = zip_hi(a1, c1);
        const V q0 = zip_lo(b0, d0), q1 = zip_hi(b0, d0), q2 = zip_lo(b1, d1), q3 = zip_hi(b1, d1);
        PUT2(0, zip_lo(p0, q0))
        PUT2(1, zip_hi(p0, q0))
        PUT2(2, zip_lo(p1, q1))
        PUT2(3, zip_hi(p1, q1)) PUT2(4, zip_lo(p2, q2)) PUT2(5, zip_hi(p2, q2))
            PUT2(6, zip_lo(p3, q3)) PUT2(7, zip_hi(p3, q3))
#else
        const V p0 = zip_lo(r0, r2), p1 = zip_hi(r0, r2), q0 = zip_lo(r1, r3), q1 = zip_hi(r1, r3);
        const V t0 = zip_lo(p0, q0), t1 = zip_hi(p0, q0), t2 = zip_lo(p1, q1), t3 = zip_hi(p1, q1);
#if W == 8
#define PUT2(j, v)                                                                                 \
    vstore4((v).lo, 0, t + (2 * j) * step);                                                        \
    vstore4((v).hi, 0, t + (2 * j + 1) * step);
        PUT2(0, t0) PUT2(1, t1) PUT2(2, t2) PUT2(3, t3)
#else
        vstore4(t0, 0, t);
        vstore4(t1, 0, t + step);
        vstore4(t2, 0, t + 2 * step);
        vstore4(t3, 0, t + 3 * step);
#endif
#endif
    }
    for (; k < n; k++) {
#define ONE(i) to[k * step + i] = f##i[k];
        ROWS(ONE)
    }
}

/* to[panel c / wide][k][c % wide] = from[k * ld + c] for n of k and `cols` columns; what is past
 * the last is zero. A few panels at a time: the same row of many would share one set of L1. */
void pack_cols(__local float *to, int wide, __global const float *from, int ld, int cols, int n)
{
#define COPY_B(i)                                                                                  \
    VSTORE(VLOAD(f + (i)*NR), t + (i)*step);                                                       \
    VSTORE(VLOAD(f + (i)*NR + W), t + (i)*step + W);
#define COPY_A(i) CAT(vstore, MR)(CAT(vload, MR)(0, f + (i)*MR), 0, t + (i)*step);
    const int step = n * wide, many = wide == NR ? 4 * NR : 8 * MR;
    int c = 0;
    while (c < cols) {
        const int left = cols - c, take = left >= many ? many : min(left, wide);
        __global const float *f = from + c;
        __local float *t = to + c * n;
        for (int k = 0; k < n; k++, f += ld, t += wide) {
            if (take < wide)
                for (int i = 0; i < wide; i++)
                    t[i] = i < take ? f[i] : 0;
            else if (wide == NR) {
                COPY_B(0)
                if (take == many) {
                    COPY_B(1) COPY_B(2) COPY_B(3)
                }
            } else {
                COPY_A(0)
                if (take == many) {
                    COPY_A(1) COPY_A(2) COPY_A(3) COPY_A(4) COPY_A(5) COPY_A(6) COPY_A(7)
                }
            }
        }
        c += take;
    }
}

/* Panels of `wide` from `count` rows (by_rows, each contiguous along k) or columns. */
void pack(__local float *to, int wide, __global const float *from, int ld, int by_rows, int count,
          int n)
{
    if (!by_rows) {
        pack_cols(to, wide, from, ld, count, n);
        return;
    }
    /* whole vectors of B: the lanes behind the last column are read, never stored */
    const int end = wide == NR ? (count + W - 1) / W * W : count;
    for (int i = 0; i < end; i += MR) {
        const int at = min(i, count - 1);
        pack_rows(to + i / wide * wide * n + i % wide, wide, from + (ulong)at * (ulong)ld, ld,
                  count - at, n);
    }
}

/* MR x NR of C from one panel of each. */
void tile_wide(__local const float *a, __local const float *b, int n, __global float *c, int ldc,
               int rows, int cols, int add, __global const float *bias)
{
#define ZERO2(i) V l##i = (V)(0), h##i = (V)(0);
    ROWS(ZERO2)
    for (int k = 0; k < n; k++) {
        const V b0 = VLOAD(b), b1 = VLOAD(b + W);
#define STEP2(i)                                                                                   \
    {                                                                                              \
        const V v = (V)(a[i]);                                                                     \
        l##i = fma(v, b0, l##i);                                                                   \
        h##i = fma(v, b1, h##i);                                                                   \
    }
        ROWS(STEP2)
        a += MR;
        b += NR;
    }
    __global const float *more = bias ? bias + W : bias;
#define STORE2(i)                                                                                  \
    if (i < rows) {                                                                                \
        put(c + i * ldc, l##i, cols, add, bias);                                                   \
        put(c + i * ldc + W, h##i, cols - W, add, more);                                           \
    }
    ROWS(STORE2)
}

/* The same for the last W columns or fewer. */
void tile_thin(__local const float *a, __local const float *b, int n, __global float *c, int ldc,
               int rows, int cols, int add, __global const float *bias)
{
#define ZERO1(i) V l##i = (V)(0);
    ROWS(ZERO1)
    for (int k = 0; k < n; k++) {
        const V b0 = VLOAD(b);
#define STEP1(i) l##i = fma((V)(a[i]), b0, l##i);
        ROWS(STEP1)
        a += MR;
        b += NR;
    }
#define STORE1(i)                                                                                  \
    if (i < rows)                                                                                  \
        put(c + i * ldc, l##i, cols, add, bias);
    ROWS(STORE1)
}

/* rows x cols of C from their panels. Along rows first: a panel of A stays in L1, those of B come
 * from L2 in order, and so do the lines of C. */
void block(__local const float *a, __local const float *b, int n, __global float *c, int ldc,
           int rows, int cols, int add, __global const float *bias)
{
    for (int i = 0; i < rows; i += MR)
        for (int j = 0; j < cols; j += NR) {
            __global float *to = c + (ulong)i * (ulong)ldc + (ulong)j;
            __global const float *bj = bias ? bias + j : bias;
            if (cols - j > W)
                tile_wide(a + i * n, b + j * n, n, to, ldc, rows - i, cols - j, add, bj);
            else
                tile_thin(a + i * n, b + j * n, n, to, ldc, rows - i, cols - j, add, bj);
        }
}

/* A is [M,K] with row step lda, or [K,M] with ta; B [K,N], or [N,K] with tb; C [M,N]. Items (n
 * block, m block, batch x splits + split). With splits > 1 C is scratch [splits][batch][M,N] and
 * matmul_sum_solo adds up. Local memory: a_pack mt x kc floats, b_pack nt x kc; mt a multiple of
 * MR, nt of NR. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
matmul_solo(__global const float *a, ulong a_at, __global const float *b, ulong b_at,
            __global const float *bias, ulong bias_at, __global float *c, ulong c_at, int M, int N,
            int K, int ta, int tb, int has_bias, int mt, int nt, int kc, int splits, int k_per,
            __local float *a_pack, __local float *b_pack EPI_PARAMS)
{
    const int m0 = (int)get_global_id(1) * mt, n0 = (int)get_global_id(0) * nt;
    const int batch = (int)get_global_id(2) / splits, split = (int)get_global_id(2) % splits;
    const int rows = min(mt, M - m0), cols = min(nt, N - n0), lda = ta ? M : K, ldb = tb ? K : N;
    const int k_first = split * k_per, k_last = min(K, k_first + k_per);
    a += a_at + (ulong)batch * (ulong)M * (ulong)K;
    b += b_at + (ulong)batch * (ulong)K * (ulong)N;
    c +=
        c_at +
        ((ulong)split * (get_global_size(2) / (ulong)splits) + (ulong)batch) * (ulong)M * (ulong)N +
        (ulong)m0 * (ulong)N + (ulong)n0;
    for (int k0 = k_first; k0 < k_last; k0 += kc) {
        const int n = min(kc, k_last - k0);
        pack(a_pack, MR,
             ta ? a + (ulong)k0 * (ulong)lda + (ulong)m0 : a + (ulong)m0 * (ulong)lda + (ulong)k0,
             lda, !ta, rows, n);
        pack(b_pack, NR,
             tb ? b + (ulong)n0 * (ulong)ldb + (ulong)k0 : b + (ulong)k0 * (ulong)ldb + (ulong)n0,
             ldb, tb, cols, n);
        block(a_pack, b_pack, n, c, N, rows, cols, k0 > k_first,
              has_bias && splits == 1 ? bias + bias_at + n0 : 0);
    }
    if (splits == 1) {
        FINISH(c, N, m0, n0, rows, cols)
    }
}

/* c = sum over splits of part [splits][total] in order, plus bias by column. Item: `per` rows of N.
 */
__kernel void matmul_sum_solo(__global const float *part, ulong part_at, __global const float *bias,
                              ulong bias_at, __global float *c, ulong c_at, int rows, int N,
                              int splits, int has_bias, int per EPI_PARAMS)
{
    const int last = min(rows, (int)(get_global_id(0) + 1) * per);
    const ulong total = (ulong)rows * (ulong)N;
    bias += bias_at;
    for (int r = (int)get_global_id(0) * per; r < last; r++) {
        __global const float *p = part + part_at + (ulong)r * (ulong)N;
        __global float *to = c + c_at + (ulong)r * (ulong)N;
        int j = 0;
        for (; j + W <= N; j += W) {
            V s = VLOAD(p + j);
            for (int i = 1; i < splits; i++)
                s += VLOAD(p + (ulong)i * total + j);
            put(to + j, s, W, 0, has_bias ? bias + j : 0);
        }
        for (; j < N; j++) {
            float s = p[j];
            for (int i = 1; i < splits; i++)
                s += p[(ulong)i * total + (ulong)j];
            to[j] = has_bias ? s + bias[j] : s;
        }
        FINISH(to, N, r, 0, 1, N)
    }
}
