/* Variant "group" of the convolution family: groups of any size. Layouts and epilogues are those of
 * "dw". */
#ifndef KL_OPS_CONV2D_GROUP_H
#define KL_OPS_CONV2D_GROUP_H

#include "ops/conv2d.h"

bool kl__conv_group_fits(const kl__apply *a, const kl__caps *caps);
size_t kl__conv_group_scratch(const kl__apply *a, const kl__caps *caps);
kl_status kl__conv_group_emit(kl__emit *e, const kl__apply *a);

#endif
