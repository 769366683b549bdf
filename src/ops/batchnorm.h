/* The hidden ops of batch normalisation (batchnorm_ops.c). */
#ifndef KL_OPS_BATCHNORM_H
#define KL_OPS_BATCHNORM_H

#include "ops/op.h"

typedef struct kl__bn {
    float eps;
    bool scale, shift; /* there is a weight, a bias */
    bool biased;       /* bn_stats: the variance kept for inference divides by n, not n - 1 */
    bool frozen;       /* bn_bwd: the statistics were given, nothing goes through them */
} kl__bn;

/** x [N,C,...] is in[0]; inputs first.. are [C], n_in in all; all of x's dtype. */
kl_status kl__bn_check(const kl__apply *a, int first, int n_in);

#endif
