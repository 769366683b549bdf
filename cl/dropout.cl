/* Dropout: element j of a pass is number i = first sample x elements per sample + j of its stream,
 * and is kept iff word i of the stream is at least the threshold; kept values are scaled. One
 * work-item per Philox block of four words. Bound: integer arithmetic of Philox on CPUs, memory
 * elsewhere. */
#include "rng.cl"
#include "step.cl"

/* none: drop everything (rate 1, whose threshold 2^32 is no uint). */
kernel void dropout_ref(global const T *x, ulong x_at, global T *y, ulong y_at,
                        global const uint *step, ulong step_at, int count, uint per_sample,
                        uint stream, uint threshold, int none, float scale)
{
    step += step_at;
    const ulong first = (ulong)step[KL_STEP_FIRST_LO] | (ulong)step[KL_STEP_FIRST_HI] << 32;
    const ulong base = first * per_sample, block = (base >> 2) + get_global_id(0);
    const long j0 = (long)(block * 4 - base);
    if (j0 >= count)
        return;
    const uint4 v =
        rng_block(step[KL_STEP_SEED_LO], step[KL_STEP_SEED_HI], stream, step[KL_STEP_STEP], block);
    const uint words[4] = {v.x, v.y, v.z, v.w};
    for (int k = 0; k < 4; k++) {
        const long j = j0 + k;
        if (j >= 0 && j < count)
            y[y_at + j] = words[k] >= threshold && !none ? x[x_at + j] * (T)scale : (T)0;
    }
}
