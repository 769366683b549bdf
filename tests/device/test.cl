/* Small kernels for the tests of the device floor. */
#include "common.cl"

#ifndef STEP /* what `add` adds */
#define STEP 1
#endif

__kernel void add(__global T *x, ulong xo)
{
    x[xo + get_global_id(0)] += (T)STEP;
}

__kernel void scale(__global T *y, ulong yo, __global const T *x, ulong xo, float by, int n)
{
    int i = (int)get_global_id(0);
    if (i < n)
        y[yo + i] = x[xo + i] * (T)by;
}

/* Sums a group through local memory: 1 kernel argument of it, and 256 bytes of its own. */
__kernel void group_sum(__global T *y, ulong yo, __global const T *x, ulong xo, __local T *scratch)
{
    __local float own[64];
    int i = (int)get_local_id(0), n = (int)get_local_size(0);
    scratch[i] = x[xo + get_global_id(0)];
    own[i & 63] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int s = n / 2; s > 0; s /= 2) {
        if (i < s)
            scratch[i] += scratch[i + s];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (!i)
        y[yo + get_group_id(0)] = scratch[0] + own[0];
}

/* Takes its time, then writes: what overtakes it reads the old value. */
__kernel void slow_set(__global T *x, ulong xo, int rounds, T value)
{
    T v = x[xo];
    for (int i = 0; i < rounds; i++)
        v = v * (T)0.5 + (T)i;
    x[xo] = v < (T)0 ? v : value;
}

__kernel __attribute__((reqd_work_group_size(4, 1, 1))) void fours(__global T *x, ulong xo)
{
    x[xo + get_global_id(0)] = (T)get_local_size(0);
}
