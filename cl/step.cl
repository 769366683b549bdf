/* Indices of the step block: 32-bit words that change per step, written by the host before a pass.
 * The same as KL__STEP_* in src/ops/emit.h. */
#ifndef KL_STEP_CL
#define KL_STEP_CL

#define KL_STEP_STEP 0 /* training step from 0 */
#define KL_STEP_SEED_LO 1
#define KL_STEP_SEED_HI 2
#define KL_STEP_FIRST_LO 3 /* place of this pass's first sample in the whole batch */
#define KL_STEP_FIRST_HI 4
#define KL_STEP_LR 5 /* float: learning rate */
#define KL_STEP_P0 6 /* float: per-step scalars of the optimizer */
#define KL_STEP_P1 7
#define KL_STEP_P2 8
#define KL_STEP_P3 9
#define KL_STEP_SHARDS 10 /* float: number of shards summed */

/* A float word in the type that kernels compute in. */
#define STEP_T(step, i) ((T)as_float((step)[i]))

#endif
