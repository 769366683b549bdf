/* The hidden ops of batch normalisation (batchnorm_ops.c): the two sums over a channel are ops of
 * their own, what is left is element-wise and fuses with its neighbours. */
#ifndef KL_OPS_BATCHNORM_H
#define KL_OPS_BATCHNORM_H

#include "ops/op.h"

/** bn_stats. */
typedef struct kl__bn {
    float eps;
    bool scale;  /* there is a weight */
    bool biased; /* the variance kept for inference divides by n, not n - 1 */
} kl__bn;
/** Outputs of bn_stats, each [C]. */
enum {
    KL__BN_MEAN,
    KL__BN_INV,   /* 1 / sqrt(biased variance + eps) */
    KL__BN_KEPT,  /* variance for the running statistics */
    KL__BN_SCALE, /* weight INV */
    KL__BN_STATS
};
/** Outputs of bn_bwd_stats, each [C]: the gradients of weight and bias, and the terms of
 * dx = SCALE dy + SLOPE (x - MEAN) + OFFSET. */
enum { KL__BN_DW, KL__BN_DB, KL__BN_SLOPE, KL__BN_OFFSET, KL__BN_BWD_STATS };

/** bn_meet, bn_bwd_meet: of `bn` the latter reads nothing. */
typedef struct kl__bn_meet {
    kl__bn bn;
    int each; /* values per channel and sample */
} kl__bn_meet;

/* kl__op.meet of bn_stats and bn_bwd_stats */
kl_status kl__bn_stats_meet(kl_graph *g, const kl__apply *a, const kl__meeting *m, kl_node **out);
kl_status kl__bn_bwd_stats_meet(kl_graph *g, const kl__apply *a, const kl__meeting *m,
                                kl_node **out);

/** x [N,C,...] is in[0]; inputs first.. are [C], n_in in all; all of x's dtype. */
kl_status kl__bn_check(const kl__apply *a, int first, int n_in);
/** v [C] as it broadcasts to x [N,C,...]: a view where it must be one. */
kl_node *kl__bn_channels(kl_graph *g, kl_node *v, const kl_node *x);

#endif
