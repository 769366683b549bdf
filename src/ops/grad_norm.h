/* The global norm of a gradient arena. Inputs g [P], groups, table, weight as the optimizers';
 * output [2]: norm of g / weight over trained groups, and the factor that clips it (an optimizer's
 * `clip`). */
#ifndef KL_OPS_GRAD_NORM_H
#define KL_OPS_GRAD_NORM_H

typedef struct kl__grad_norm {
    float max_norm; /* 0: the factor is 1 */
} kl__grad_norm;

#endif
