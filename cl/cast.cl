/* cast: y = scale x + shift, x of any storage type. Bound by memory: 1 to 8 bytes read and 4
 * written an element. */
#include "common.cl"

#ifndef SRC /* storage type of x: uchar, int, half, float, double */
#define SRC uchar
#endif
#ifndef VN /* elements of a SOLO vector: 16, 8, 4 */
#define VN 16
#endif

#define KL_JOIN(a, b) a##b
#define KL_JOIN2(a, b) KL_JOIN(a, b)
#ifdef KL_HALF /* x is f16, which this language loads but does not compute in */
#define LOAD(p) vload_half(0, p)
#define LOAD_V(p) KL_JOIN2(vload_half, VN)(0, p)
#else
#define LOAD(p) (*(p))
#define LOAD_V(p) KL_JOIN2(vload, VN)(0, p)
#endif
#define TV KL_JOIN2(T, VN)

kernel void cast_ref(global const SRC *x, ulong x_at, float scale, float shift, global T *y,
                     ulong y_at, uint n)
{
    const uint i = (uint)get_global_id(0);
    if (i < n)
        y[y_at + i] = fma((T)LOAD(x + x_at + i), (T)scale, (T)shift);
}

/* A work-item takes `chunk` elements. */
kernel void cast_solo(global const SRC *x, ulong x_at, float scale, float shift, global T *y,
                      ulong y_at, int n, int chunk)
{
    const int first = (int)get_global_id(0) * chunk, end = min(n - first, chunk) + first;
    global const SRC *from = x + x_at;
    global T *to = y + y_at;
    int i = first;
    for (; i <= end - VN; i += VN) {
        const TV v = KL_JOIN2(convert_, TV)(LOAD_V(from + i));
        KL_JOIN2(vstore, VN)(fma(v, (TV)(T)scale, (TV)(T)shift), 0, to + i);
    }
    for (; i < end; i++)
        to[i] = fma((T)LOAD(from + i), (T)scale, (T)shift);
}
