/* y = x + b by channel; x is [N,C,S] with S the product of what follows C. Bound by memory. */
#include "common.cl"

__kernel void bias_ref(__global const T *x, ulong x_at, __global const T *b, ulong b_at,
                       __global T *y, ulong y_at, int n, int C, int S)
{
    const int i = (int)get_global_id(0);
    if (i < n)
        y[y_at + (ulong)i] = x[x_at + (ulong)i] + b[b_at + (ulong)(i / S % C)];
}

#ifndef W /* floats per vector of the SOLO kernel: 16, 8 or 4 */
#define W 16
#endif
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define V CAT(float, W)
#define VLOAD(p) CAT(vload, W)(0, p)
#define VSTORE(v, p) CAT(vstore, W)(v, 0, p)

/* Item: `per` runs of S floats with one bias each, or, where S is 1, of C floats with the whole
 * bias. */
__kernel void bias_solo(__global const float *x, ulong x_at, __global const float *b, ulong b_at,
                        __global float *y, ulong y_at, int rows, int C, int S, int per)
{
    const int last = min(rows, (int)(get_global_id(0) + 1) * per), run = S > 1 ? S : C;
    b += b_at;
    for (int r = (int)get_global_id(0) * per; r < last; r++) {
        __global const float *from = x + x_at + (ulong)r * (ulong)run;
        __global float *to = y + y_at + (ulong)r * (ulong)run;
        int i = 0;
        if (S > 1) {
            const float v = b[r % C];
            for (; i + W <= run; i += W)
                VSTORE(VLOAD(from + i) + (V)(v), to + i);
            for (; i < run; i++)
                to[i] = from[i] + v;
        } else {
            for (; i + W <= run; i += W)
                VSTORE(VLOAD(from + i) + VLOAD(b + i), to + i);
            for (; i < run; i++)
                to[i] = from[i] + b[i];
        }
    }
}
