/* V x V tiles turned in registers: TRANSPOSE(r, u) of r[V] with u[V] for room. Who includes it
 * names lanes and vector. */
#ifndef KL_TRANSPOSE_N
#include "vec.cl"
#define KL_TRANSPOSE_N VN /* lanes */
#define KL_TRANSPOSE_V V  /* the vector */
#endif

#if KL_TRANSPOSE_N == 16
#define LO(a, b)                                                                                   \
    (KL_TRANSPOSE_V)(a.s0, b.s0, a.s1, b.s1, a.s2, b.s2, a.s3, b.s3, a.s4, b.s4, a.s5, b.s5, a.s6, \
                     b.s6, a.s7, b.s7)
#define HI(a, b)                                                                                   \
    (KL_TRANSPOSE_V)(a.s8, b.s8, a.s9, b.s9, a.sa, b.sa, a.sb, b.sb, a.sc, b.sc, a.sd, b.sd, a.se, \
                     b.se, a.sf, b.sf)
#elif KL_TRANSPOSE_N == 8
#define LO(a, b) (KL_TRANSPOSE_V)(a.s0, b.s0, a.s1, b.s1, a.s2, b.s2, a.s3, b.s3)
#define HI(a, b) (KL_TRANSPOSE_V)(a.s4, b.s4, a.s5, b.s5, a.s6, b.s6, a.s7, b.s7)
#else
#define LO(a, b) (KL_TRANSPOSE_V)(a.s0, b.s0, a.s1, b.s1)
#define HI(a, b) (KL_TRANSPOSE_V)(a.s2, b.s2, a.s3, b.s3)
#endif

/* One round: the index (row bits, lane bits) rotates left by one; after log2 V rounds r is
 * transposed. */
#define ROUND(r, t)                                                                                \
    _Pragma("unroll") for (int i_ = 0; i_ < KL_TRANSPOSE_N / 2; i_++)                              \
    {                                                                                              \
        t[2 * i_] = LO(r[i_], r[i_ + KL_TRANSPOSE_N / 2]);                                         \
        t[2 * i_ + 1] = HI(r[i_], r[i_ + KL_TRANSPOSE_N / 2]);                                     \
    }
#if KL_TRANSPOSE_N == 16
#define TRANSPOSE(r, t) ROUND(r, t) ROUND(t, r) ROUND(r, t) ROUND(t, r)
#elif KL_TRANSPOSE_N == 8
#define TRANSPOSE(r, t)                                                                            \
    ROUND(r, t)                                                                                    \
    ROUND(t, r)                                                                                    \
    ROUND(r, t) _Pragma("unroll") for (int i_ = 0; i_ < KL_TRANSPOSE_N; i_++) r[i_] = t[i_];
#else
#define TRANSPOSE(r, t) ROUND(r, t) ROUND(t, r)
#endif
