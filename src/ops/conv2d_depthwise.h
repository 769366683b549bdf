/* Variant "dw" of the convolution family: groups that lie inside one vector of channels. */
#ifndef KL_OPS_CONV2D_DEPTHWISE_H
#define KL_OPS_CONV2D_DEPTHWISE_H

#include "ops/conv2d.h"

/** x and dy are not too large in blocks and with the halo that `layouts` asks for. */
bool kl__conv_dw_storable(const kl__conv *c, int v);
bool kl__conv_dw_fits(const kl__apply *a, const kl__caps *caps);
void kl__conv_dw_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in, kl__layout *out);
/** By-channel epilogues, but for the gradient by the weights. */
bool kl__conv_dw_epilogue(const kl__apply *a, const kl__apply *elt);
size_t kl__conv_dw_scratch(const kl__apply *a, const kl__caps *caps);
kl_status kl__conv_dw_emit(kl__emit *e, const kl__apply *a);

#endif
