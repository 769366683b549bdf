/* C = op(A) op(B) (+ bias) for devices with wide vectors: one work-item per mt x nt block of C and
 * share of K. It packs kc of K at a time into panels in local memory (the core's L2): A
 * [mt/MR][k][MR], B [nt/NR][k][NR], transposing where the source asks for it, and then runs MR x NR
 * register tiles with a B panel in L1. Bound by FMA issue: 16 FMAs to 10 loads at W 16; packing is
 * about 5 % of it at 256 x 256. */
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
        PUT2(1, zip_hi(p0, q0)) PUT2(2, zip_lo(p1, q1)) PUT2(3, zip_hi(p1, q1))
            PUT2(4, zip_lo(p2, q2)) PUT2(5, zip_hi(p2, q2)) PUT2(6, zip_lo(p3, q3))
                PUT2(7, zip_hi(p3, q3))
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
 * the last is zero. */
void pack_cols(__local float *to, int wide, __global const float *from, int ld, int cols, int n)
{
    for (int k = 0; k < n; k++) {
        __global const float *f = from + k * ld;
        __local float *t = to + k * wide;
        int c = 0;
        if (wide == NR)
            for (; c + NR <= cols; c += NR, t += n * NR) {
                VSTORE(VLOAD(f + c), t);
                VSTORE(VLOAD(f + c + W), t + W);
            }
        else
            for (; c + MR <= cols; c += MR, t += n * MR)
                CAT(vstore, MR)(CAT(vload, MR)(0, f + c), 0, t);
        if (c < cols)
            for (int i = 0; i < wide; i++)
                t[i] = c + i < cols ? f[c + i] : 0;
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
        if (ta)
            pack_cols(a_pack, MR, a + (ulong)k0 * (ulong)lda + (ulong)m0, lda, rows, n);
        else
            for (int i = 0; i < rows; i += MR)
                pack_rows(a_pack + i * n, MR, a + (ulong)(m0 + i) * (ulong)lda + (ulong)k0, lda,
                          rows - i, n);
        if (!tb)
            pack_cols(b_pack, NR, b + (ulong)k0 * (ulong)ldb + (ulong)n0, ldb, cols, n);
        else
            /* whole vectors: the lanes behind the last column are read, never stored */
            for (int j = 0; j < (cols + W - 1) / W * W; j += MR) {
                const int at = min(j, cols - 1);
                pack_rows(b_pack + j / NR * NR * n + j % NR, NR,
                          b + (ulong)(n0 + at) * (ulong)ldb + (ulong)k0, ldb, cols - at, n);
            }
        for (int j = 0; j < cols; j += NR) {
            __global const float *bj = has_bias && splits == 1 ? bias + bias_at + n0 + j : 0;
            __local const float *bp = b_pack + j * n;
            for (int i = 0; i < rows; i += MR) {
                __global float *to = c + (ulong)i * (ulong)N + (ulong)j;
                if (cols - j > W)
                    tile_wide(a_pack + i * n, bp, n, to, N, rows - i, cols - j, k0 > k_first, bj);
                else
                    tile_thin(a_pack + i * n, bp, n, to, N, rows - i, cols - j, k0 > k_first, bj);
            }
        }
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
