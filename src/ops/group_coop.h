/* What the COOP variants share that give a row or a channel to a group of items. */
#ifndef KL_OPS_GROUP_COOP_H
#define KL_OPS_GROUP_COOP_H

#include "ops/norm_common.h"

/** How many elements of one long sum a group takes, and how many groups share the sum. */
typedef struct kl__parts {
    int64_t n, per;
} kl__parts;
/** `sums` of `count` elements each, by shape alone: enough groups for a GPU, each with enough to
 * do.
 */
kl__parts kl__parts_of(int64_t sums, int64_t count);

/** Items of a group for rows of n elements (LS of cl/norm_vec.cl): a power of two up to 256, with
 * several elements per item where there are many. Defines LS. */
size_t kl__row_group(const kl__caps *caps, kl__defs *d, int64_t n);

/** For `fits`: runs groups in step, computes in f32. */
static inline bool kl__coop_f32(const kl__apply *a, const kl__caps *caps)
{
    return !caps->solo && a->in[0]->desc.dtype == KL_F32 && caps->max_group >= 64;
}

/* batchnorm_coop.c: bn_stats and bn_bwd_stats */
bool kl__bn_coop_fits(const kl__apply *a, const kl__caps *caps);
size_t kl__bn_coop_scratch(const kl__apply *a, const kl__caps *caps);
kl_status kl__bn_coop_emit(kl__emit *e, const kl__apply *a);
/* softmax_coop.c: softmax, log_softmax and their gradients */
bool kl__softmax_coop_fits(const kl__apply *a, const kl__caps *caps);
kl_status kl__softmax_coop_emit(kl__emit *e, const kl__apply *a);
/* global_pool_coop.c: global_avgpool and global_maxpool */
bool kl__global_coop_fits(const kl__apply *a, const kl__caps *caps);
kl_status kl__global_coop_emit(kl__emit *e, const kl__apply *a);

#endif
