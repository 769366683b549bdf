/* What `doctor` runs on a device that nobody has tried: integer arithmetic, local memory with a
 * barrier, and a copy whose time tells the bandwidth. Alone on purpose: it includes nothing. */
#ifndef GROUP
#define GROUP 8 /* work-items per group of selfprobe_turn; the sizes are multiples of it */
#endif

/* y[i] = 2654435761 x[i] ^ x[i] >> 7 ^ i */
__kernel void selfprobe_mix(__global const uint *x, ulong x0, __global uint *y, ulong y0, uint n)
{
    const uint i = (uint)get_global_id(0);
    if (i < n)
        y[y0 + i] = x[x0 + i] * 2654435761u ^ x[x0 + i] >> 7 ^ i;
}

/* Each group's numbers in reverse order, through local memory. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
selfprobe_turn(__global const uint *x, ulong x0, __global uint *y, ulong y0)
{
    __local uint t[GROUP];
    const uint k = (uint)get_local_id(0), i = (uint)get_global_id(0);
    t[k] = x[x0 + i];
    barrier(CLK_LOCAL_MEM_FENCE);
    y[y0 + i] = t[GROUP - 1 - k];
}

/* y = x / 2 + 1 for n vectors, `per` to a work-item. */
__kernel void selfprobe_stream(__global const float4 *x, ulong x0, __global float4 *y, ulong y0,
                               uint n, uint per)
{
    const uint first = (uint)get_global_id(0) * per;
    for (uint i = first; i < first + per && i < n; i++)
        y[y0 + i] = x[x0 + i] * (float4)(0.5f) + (float4)(1.0f);
}
