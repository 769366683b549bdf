/* What the SOLO matrix kernels share: the vector, perfect shuffles, stores of part of a row. */
#ifndef KL_MATMUL_VECTOR_CL
#define KL_MATMUL_VECTOR_CL

#ifndef VN /* floats per vector: 16, 8 or 4 */
#define VN 16
#endif
#include "epilogue.cl"

#define W VN
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)

/* Lanes of a and b by turns: of their first halves, of their second halves. Written out, so that
 * every compiler makes one permutation of it. */
#if W == 16
V zip_lo(V a, V b)
{
    return (V)(a.s0, b.s0, a.s1, b.s1, a.s2, b.s2, a.s3, b.s3, a.s4, b.s4, a.s5, b.s5, a.s6, b.s6,
               a.s7, b.s7);
}
V zip_hi(V a, V b)
{
    return (V)(a.s8, b.s8, a.s9, b.s9, a.sa, b.sa, a.sb, b.sb, a.sc, b.sc, a.sd, b.sd, a.se, b.se,
               a.sf, b.sf);
}
#elif W == 8
V zip_lo(V a, V b)
{
    return (V)(a.s0, b.s0, a.s1, b.s1, a.s2, b.s2, a.s3, b.s3);
}
V zip_hi(V a, V b)
{
    return (V)(a.s4, b.s4, a.s5, b.s5, a.s6, b.s6, a.s7, b.s7);
}
#else
V zip_lo(V a, V b)
{
    return (V)(a.s0, b.s0, a.s1, b.s1);
}
V zip_hi(V a, V b)
{
    return (V)(a.s2, b.s2, a.s3, b.s3);
}
#endif

/* c[0..n) = v, plus c itself (add) or the bias where there is one; n <= W. */
void put(__global float *c, V v, int n, int add, __global const float *bias)
{
    if (n >= W) {
        if (add)
            v += VLOAD(c);
        else if (bias)
            v += VLOAD(bias);
        VSTORE(v, c);
        return;
    }
    float part[W];
    VSTORE(v, part);
    for (int i = 0; i < n; i++)
        c[i] = part[i] + (add ? c[i] : bias ? bias[i] : 0);
}

/* The epilogue of `rows` x `cols` of C at c, which start at row m0 and column n0: to be put where
 * they are complete, and still in cache. */
#ifdef EPI_VALUES
#define FINISH(c, ldc, m0, n0, rows, cols)                                                         \
    for (int r_ = 0; r_ < (rows); r_++) {                                                          \
        EPI_LINE((m0) + r_)                                                                        \
        for (int j_ = 0; j_ < (cols); j_ += W) {                                                   \
            __global float *to_ = (c) + (ulong)r_ * (ulong)(ldc) + (ulong)j_;                      \
            const int n_ = (cols) - j_;                                                            \
            EPI_AT(y_, vec_at(to_, n_), (n0) + j_, n_)                                             \
            put(to_, y_, n_, 0, 0);                                                                \
        }                                                                                          \
    }
#else
#define FINISH(c, ldc, m0, n0, rows, cols)
#endif

#endif
