/* Vectors of the SOLO kernels for normalisation, softmax and optimizers, and the tree sum of the
 * ref kernels. Widths are explicit: no driver's auto-vectoriser is relied on. */
#ifndef KL_NORM_VEC_CL
#define KL_NORM_VEC_CL

#include "common.cl"

#ifndef VN /* floats per vector: 16, 8 or 4 */
#define VN 16
#endif
#ifndef LS /* work-items of a group that sums by tree, a power of two */
#define LS 64
#endif

#define VCAT_(a, b) a##b
#define VCAT(a, b) VCAT_(a, b)
#define VF VCAT(float, VN)
#define VI VCAT(int, VN)
#define VU VCAT(uint, VN)
#define VLD(p) VCAT(vload, VN)(0, p)
#define VST(v, p) VCAT(vstore, VN)(v, 0, p)
#if VN == 16 /* the number of each lane */
#define LANE ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#elif VN == 8
#define LANE ((int8)(0, 1, 2, 3, 4, 5, 6, 7))
#else
#define LANE ((int4)(0, 1, 2, 3))
#endif
/* v with 0 in the lanes from n on. */
#define FIRST(v, n) (LANE < (VI)(n) ? (v) : (VF)0)
/* The larger one; a NaN never wins, and comes back through the exponential that follows. */
#define VMAX2(a, b) ((b) > (a) ? (b) : (a))

/* Lanes added by halves, a fixed order. */
float vsum4(float4 v)
{
    const float2 a = v.lo + v.hi;
    return a.x + a.y;
}
float vsum8(float8 v)
{
    return vsum4(v.lo + v.hi);
}
float vsum16(float16 v)
{
    return vsum8(v.lo + v.hi);
}
float vmax4(float4 v)
{
    const float2 a = VMAX2(v.lo, v.hi);
    return VMAX2(a.x, a.y);
}
float vmax8(float8 v)
{
    return vmax4(VMAX2(v.lo, v.hi));
}
float vmax16(float16 v)
{
    return vmax8(VMAX2(v.lo, v.hi));
}
#define VSUM(v) VCAT(vsum, VN)(v)
#define VMAX(v) VCAT(vmax, VN)(v)

/* The first n < VN floats at p; the other lanes hold `fill`. */
VF vload_tail(global const float *p, int n, float fill)
{
    float t[VN];
    VST((VF)fill, t);
    for (int i = 0; i < n; i++)
        t[i] = p[i];
    return VLD(t);
}
void vstore_tail(VF v, global float *p, int n)
{
    float t[VN];
    VST(v, t);
    for (int i = 0; i < n; i++)
        p[i] = t[i];
}
VI vload_tail_int(global const int *p, int n, int fill)
{
    int t[VN];
    VST((VI)fill, t);
    for (int i = 0; i < n; i++)
        t[i] = p[i];
    return VLD(t);
}
#define VLDN(p, n, fill) ((n) >= VN ? VLD(p) : vload_tail(p, n, fill))
#define VLDN_INT(p, n, fill) ((n) >= VN ? VLD(p) : vload_tail_int(p, n, fill))

/* Maximum of K contiguous floats, and where it stands first (all NaN: K - 1). */
float row_max(global const float *p, int K)
{
    VF m = (VF)-INFINITY;
    for (int j = 0; j < K; j += VN) {
        const VF v = VLDN(p + j, min(VN, K - j), -INFINITY);
        m = VMAX2(m, v);
    }
    return VMAX(m);
}
int row_first(global const float *p, int K, float m)
{
    VI first = (VI)K;
    int lane[VN], best = K;
    for (int j = 0; j < K; j += VN)
        first = min(first, VLDN(p + j, min(VN, K - j), NAN) == m ? LANE + j : (VI)K);
    VCAT(vstore, VN)(first, 0, lane);
    for (int i = 0; i < VN; i++)
        best = min(best, lane[i]);
    return min(best, K - 1);
}

/* A long sum by one work-item: term k goes into `part`, and every 64th moves it to `sum`; add both
 * at the end. */
#define CHUNKED(sum, part, k)                                                                      \
    if (((k)&63) == 63) {                                                                          \
        sum += part;                                                                               \
        part = 0;                                                                                  \
    }

/* Sum over the group, the same for all its items. Every item must come here. s: LS numbers. */
T group_sum(T v, local T *s)
{
    const int i = (int)get_local_id(0);
    s[i] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int k = LS / 2; k > 0; k /= 2) {
        if (i < k)
            s[i] += s[i + k];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const T sum = s[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return sum;
}

#endif
