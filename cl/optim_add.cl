/* State that is overwritten in place: sums of gradients, running statistics. Bound: memory. */
#include "norm_vec.cl"
#include "step.cl"

/* a += b over n numbers. */
kernel void tree_add_ref(global T *a, ulong a_at, global const T *b, ulong b_at, int n)
{
    const size_t i = get_global_id(0);
    if (i < (size_t)n)
        a[a_at + i] += b[b_at + i];
}

/* Item t: numbers t span ..; span is a multiple of VN. */
kernel void tree_add_solo(global float *a, ulong a_at, global const float *b, ulong b_at, int n,
                          int span)
{
    const int i0 = (int)get_global_id(0) * span, i1 = min(n, i0 + span);
    int i = i0;
    a += a_at;
    b += b_at;
    for (; i + VN <= i1; i += VN)
        VST(VLD(a + i) + VLD(b + i), a + i);
    for (; i < i1; i++)
        a[i] += b[i];
}

/* state = keep state + share value / shards; a value that is not finite is left out, as the step's
 * update is. */
kernel void running_update_ref(global T *state, ulong state_at, global const T *value,
                               ulong value_at, global const uint *step, ulong step_at, int n,
                               float keep, float share)
{
    const size_t i = get_global_id(0);
    if (i < (size_t)n && isfinite(value[value_at + i]))
        state[state_at + i] =
            fma((T)keep, state[state_at + i],
                (T)share * (value[value_at + i] / STEP_T(step + step_at, KL_STEP_SHARDS)));
}

#ifndef KL_FP64
/* Item t: numbers t span ..; span is a multiple of VN. */
kernel void running_update_solo(global float *state, ulong state_at, global const float *value,
                                ulong value_at, global const uint *step, ulong step_at, int n,
                                float keep, float share, int span)
{
    const int i1 = min(n, ((int)get_global_id(0) + 1) * span);
    const VF shards = (VF)STEP_T(step + step_at, KL_STEP_SHARDS);
    state += state_at;
    value += value_at;
    for (int i = (int)get_global_id(0) * span; i < i1; i += VN) {
        const VF s = VLDN(state + i, n - i, 0), v = VLDN(value + i, n - i, 0);
        const VF next = isfinite(v) ? fma((VF)keep, s, (VF)share * (v / shards)) : s;
        if (i + VN <= n)
            VST(next, state + i);
        else
            vstore_tail(next, state + i, n - i);
    }
}
#endif
