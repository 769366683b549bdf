/* What the COOP files of the convolution family share. */
#ifndef KL_OPS_CONV2D_COOP_H
#define KL_OPS_CONV2D_COOP_H

#include "ops/conv2d.h"
#include "ops/tile_coop.h"

/** So few channels per group that a tile would be mostly empty. */
bool kl__conv_few(const kl__conv *c);

bool kl__conv_coop_fits(const kl__apply *a, const kl__caps *caps);
void kl__conv_coop_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in,
                           kl__layout *out);
bool kl__conv_coop_epilogue(const kl__apply *a, const kl__apply *elt);
int kl__conv_coop_configs(const kl__apply *a, const kl__caps *caps);
size_t kl__conv_coop_scratch(const kl__apply *a, const kl__caps *caps);
kl_status kl__conv_coop_emit(kl__emit *e, const kl__apply *a);

/* conv2d_coop_weights.c */
size_t kl__conv_coop_weights_scratch(const kl__conv *c);
kl_status kl__conv_coop_weights(kl__emit *e, const kl__apply *a, const kl__conv *c);

#endif
