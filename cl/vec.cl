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

/* The first n lanes, then zeros (also where they hold NaN). */
static inline __attribute__((unused)) V vec_lanes(V v, int n)
{
    T part[VN];
    VSTORE(v, part);
    for (int k = 0; k < VN; k++)
        part[k] = k < n ? part[k] : (T)0;
    return VLOAD(part);
}
#endif
