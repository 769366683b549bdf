/* What the Winograd files of the convolution family share. */
#ifndef KL_OPS_CONV2D_WINO_H
#define KL_OPS_CONV2D_WINO_H

#include "ops/conv2d_solo.h"

enum { KL__WINO_PLANES = 36 };

/** Blocks of output channels per register tile; divides the blocks of a group. */
static inline int kl__wino_tile_blocks(int64_t blocks)
{
    return blocks % 2 == 0 ? 2 : blocks % 3 == 0 ? 3 : 1;
}
/** Bytes that a work-item may keep in the L2 beside the weights that stream through it. */
size_t kl__wino_budget(const kl__caps *caps);
size_t kl__wino_weights_scratch(const kl__conv *c, const kl__caps *caps);
/** Blocks of input and output channels and tiles fit the device's local memory. */
bool kl__wino_weights_fits(const kl__conv *c, const kl__caps *caps);
/** Cycles beside the products: `tile` per transformed tile and block, `weight` per vector of dw. */
int64_t kl__wino_weights_cost(const kl__conv *c, const kl__caps *caps, int64_t tile,
                              int64_t weight);
kl_status kl__wino_weights_emit(kl__emit *e, const kl__apply *a, const kl__conv *c);

#endif
