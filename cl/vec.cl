/* The vector that SOLO kernels work on: V is VN lanes of T, or T itself where VN is 1. */
#include "common.cl"
#ifndef KL_VEC_CL
#define KL_VEC_CL

#ifndef VN /* elements of a vector: 16, 8, 4; 1 on devices without */
#define VN 1
#endif
#define KL_JOIN(a, b) a##b
#define KL_JOIN2(a, b) KL_JOIN(a, b)
#if VN == 1
#define V T
#define VLOAD(p) (*(p))
#define VSTORE(v, p) (*(p) = (v))
#else
#define V KL_JOIN2(T, VN)
#define VLOAD(p) KL_JOIN2(vload, VN)(0, p)
#define VSTORE(v, p) KL_JOIN2(vstore, VN)(v, 0, p)
#endif

/* The first n elements at p; the rest of the vector is zero. */
static inline __attribute__((unused)) V vec_part(global const T *p, int n)
{
    if (n >= VN)
        return VLOAD(p);
    T part[VN];
    for (int k = 0; k < VN; k++)
        part[k] = k < n ? p[k] : (T)0;
    return VLOAD(part);
}

/* The same where n may be more than a vector. */
static inline __attribute__((unused)) V vec_at(global const T *p, int n)
{
    return n >= VN ? VLOAD(p) : vec_part(p, n);
}

#if VN == 16 /* the number of each lane */
#define VEC_LANE ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#elif VN == 8
#define VEC_LANE ((int8)(0, 1, 2, 3, 4, 5, 6, 7))
#elif VN == 4
#define VEC_LANE ((int4)(0, 1, 2, 3))
#endif
/* The first n lanes, then zeros (also where they hold NaN). Vectors are of float. */
static inline __attribute__((unused)) V vec_lanes(V v, int n)
{
#if VN == 1
    return n > 0 ? v : (V)0;
#else
    return VEC_LANE < n ? v : (V)0;
#endif
}
#endif
