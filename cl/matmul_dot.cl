/* C = A B^T (+ bias), rows of both contiguous along K (a dense layer's forward pass): tiles of DM x
 * DN dot products read both in place, W of K at a time, and add up lanes at the end of each kc with
 * perfect shuffles. Nothing is packed, so it wins where M or N is too small to pay for packing.
 * Bound by FMA issue while DM rows of kc stay in L1 and B comes from L2, else by memory. */
#include "matmul_vector.cl"

#if W == 16
#define DM 4
#define DN 4
#elif W == 8
#define DM 2
#define DN 4
#else
#define DM 2
#define DN 2
#endif

/* Sums of neighbouring pairs of lanes by turns: W accumulators become one vector of their W sums,
 * in order. */
V fold(V a, V b)
{
    return zip_lo(a, b) + zip_hi(a, b);
}

void put_row(__global float *c, __private const float *v, int n, int add,
             __global const float *bias)
{
    for (int i = 0; i < n; i++)
        c[i] = v[i] + (add ? c[i] : bias ? bias[i] : 0);
}

#define MASK(x) select((V)(0), x, keep)
#if W == 16
#define COLS(X, m) X(m, 0) X(m, 1) X(m, 2) X(m, 3)
#define EACH(X) COLS(X, 0) COLS(X, 1) COLS(X, 2) COLS(X, 3)
#define SIDES(X) X(a, 0) X(a, 1) X(a, 2) X(a, 3) X(b, 0) X(b, 1) X(b, 2) X(b, 3)
#elif W == 8
#define COLS(X, m) X(m, 0) X(m, 1) X(m, 2) X(m, 3)
#define EACH(X) COLS(X, 0) COLS(X, 1)
#define SIDES(X) X(a, 0) X(a, 1) X(b, 0) X(b, 1) X(b, 2) X(b, 3)
#else
#define COLS(X, m) X(m, 0) X(m, 1)
#define EACH(X) COLS(X, 0) COLS(X, 1)
#define SIDES(X) X(a, 0) X(a, 1) X(b, 0) X(b, 1)
#endif

/* DM x DN dot products of length n; rows past the last repeat it and are not stored. */
void dots(__global const float *a, __global const float *b, int ld, int n, __global float *c,
          int ldc, int rows, int cols, int add, __global const float *bias)
{
    const int a_last = rows - 1, b_last = cols - 1;
#define AT(s, i) __global const float *s##i = s + min(i, s##_last) * ld;
#define ZERO(m, n) V s##m##n = (V)(0);
#define GET(s, i) const V v##s##i = VLOAD(s##i + k);
#define FMA(m, n) s##m##n = fma(va##m, vb##n, s##m##n);
    SIDES(AT)
    EACH(ZERO)
    int k = 0;
    for (; k + W <= n; k += W) {
        SIDES(GET)
        EACH(FMA)
    }
    if (k < n && n >= W) { /* the last W again, without those that were counted */
        int lane[W];
        for (int i = 0; i < W; i++)
            lane[i] = i >= W - (n - k) ? -1 : 0;
        const CAT(int, W) keep = CAT(vload, W)(0, lane);
        k = n - W;
#define GET_END(s, i) const V v##s##i = MASK(VLOAD(s##i + k));
        SIDES(GET_END)
        EACH(FMA)
        k = n;
    }
#if W == 16
    const V p0 = fold(fold(s00, s20), fold(s10, s30)), p1 = fold(fold(s01, s21), fold(s11, s31));
    const V p2 = fold(fold(s02, s22), fold(s12, s32)), p3 = fold(fold(s03, s23), fold(s13, s33));
    const V sum = fold(fold(p0, p2), fold(p1, p3));
#elif W == 8
    const V sum = fold(fold(fold(s00, s10), fold(s02, s12)), fold(fold(s01, s11), fold(s03, s13)));
#else
    const V sum = fold(fold(s00, s10), fold(s01, s11));
#endif
    float v[W];
    VSTORE(sum, v);
    for (; k < n; k++) { /* n < W */
#define LAST(m, n) v[m * DN + n] += a##m[k] * b##n[k];
        EACH(LAST)
    }
    for (int i = 0; i < min(rows, DM); i++)
        put_row(c + i * ldc, v + i * DN, min(cols, DN), add, bias);
}

/* Arguments as matmul_solo's, with A [M,K] and B [N,K]; kc a multiple of W, k_per of kc where
 * splits > 1. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
matmul_dot(__global const float *a, ulong a_at, __global const float *b, ulong b_at,
           __global const float *bias, ulong bias_at, __global float *c, ulong c_at, int M, int N,
           int K, int has_bias, int mt, int nt, int kc, int splits, int k_per EPI_PARAMS)
{
    const int m0 = (int)get_global_id(1) * mt, n0 = (int)get_global_id(0) * nt;
    const int batch = (int)get_global_id(2) / splits, split = (int)get_global_id(2) % splits;
    const int rows = min(mt, M - m0), cols = min(nt, N - n0);
    const int k_first = split * k_per, k_last = min(K, k_first + k_per);
    a += a_at + ((ulong)batch * (ulong)M + (ulong)m0) * (ulong)K;
    b += b_at + ((ulong)batch * (ulong)N + (ulong)n0) * (ulong)K;
    c +=
        c_at +
        ((ulong)split * (get_global_size(2) / (ulong)splits) + (ulong)batch) * (ulong)M * (ulong)N +
        (ulong)m0 * (ulong)N + (ulong)n0;
    for (int k0 = k_first; k0 < k_last; k0 += kc) {
        const int n = min(kc, k_last - k0);
        for (int i = 0; i < rows; i += DM)
            for (int j = 0; j < cols; j += DN)
                dots(a + (ulong)i * (ulong)K + (ulong)k0, b + (ulong)j * (ulong)K + (ulong)k0, K, n,
                     c + (ulong)i * (ulong)N + (ulong)j, N, rows - i, cols - j, k0 > k_first,
                     has_bias && splits == 1 ? bias + bias_at + n0 + j : 0);
    }
    if (splits == 1) {
        FINISH(c, N, m0, n0, rows, cols)
    }
}
