/* One bug per kernel, and one kernel without: what Oclgrind must report, and must not. 64 items in
 * groups of 16; a and b hold 64 floats, nobody wrote b. */
kernel void planted_nothing(global float *a, ulong ao, global const float *b, ulong bo)
{
    local float l[16];
    int i = get_global_id(0), j = get_local_id(0);
    l[j] = a[ao + i];
    barrier(CLK_LOCAL_MEM_FENCE);
    a[ao + i] = l[15 - j] + (float)(b + bo != 0);
}

kernel void planted_global_bounds(global float *a, ulong ao, global const float *b, ulong bo)
{
    int i = get_global_id(0);
    a[ao + i + 1] = (float)(b + bo != 0);
}

kernel void planted_read_bounds(global float *a, ulong ao, global const float *b, ulong bo)
{
    int i = get_global_id(0);
    float v = a[ao + 63 + (i == 63)];
    if (i == 63)
        a[ao + i] = v + (float)(b + bo != 0);
}

kernel void planted_local_bounds(global float *a, ulong ao, global const float *b, ulong bo)
{
    local float l[16];
    int i = get_global_id(0), j = get_local_id(0);
    l[j] = a[ao + i];
    barrier(CLK_LOCAL_MEM_FENCE);
    a[ao + i] = l[j + 1] + (float)(b + bo != 0);
}

kernel void planted_local_race(global float *a, ulong ao, global const float *b, ulong bo)
{
    local float l[16];
    int i = get_global_id(0), j = get_local_id(0);
    l[j] = a[ao + i];
    a[ao + i] = l[15 - j] + (float)(b + bo != 0); /* no barrier before */
}

kernel void planted_group_race(global float *a, ulong ao, global const float *b, ulong bo)
{
    if (get_local_id(0) == 0)
        a[ao] = (float)get_group_id(0) + (float)(b + bo != 0);
}

kernel void planted_uninitialised(global float *a, ulong ao, global const float *b, ulong bo)
{
    int i = get_global_id(0);
    if (b[bo + i] > 0)
        a[ao + i] = 1;
}

kernel void planted_barrier(global float *a, ulong ao, global const float *b, ulong bo)
{
    int i = get_global_id(0);
    if (get_local_id(0) < 8)
        barrier(CLK_GLOBAL_MEM_FENCE);
    a[ao + i] = (float)(b + bo != 0);
}

kernel void planted_misaligned(global float *a, ulong ao, global const float *b, ulong bo)
{
    if (get_global_id(0) == 0)
        *(global float4 *)(a + ao + 1) = (float4)(b + bo != 0);
}
