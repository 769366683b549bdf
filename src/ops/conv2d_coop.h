/* What the COOP files of the convolution family share. */
#ifndef KL_OPS_CONV2D_COOP_H
#define KL_OPS_CONV2D_COOP_H

#include "ops/conv2d.h"

/** Tiles of cl/tile_coop.cl: the group's, and an item's. */
typedef struct kl__coop_tile {
    int bm, bn, tm, tn;
} kl__coop_tile;
/** Items of a group. */
static inline int kl__coop_items(const kl__coop_tile *t)
{
    return t->bm / t->tm * (t->bn / t->tn);
}
/** How many tiles this device can run. */
int kl__coop_tiles(const kl__caps *caps);
/** The tile for `count` products of m rows and n columns that comes `which`-th by estimated time,
 * of kl__coop_tiles. Sums do not depend on it. */
kl__coop_tile kl__coop_tile_of(const kl__caps *caps, int64_t m, int64_t n, int64_t count,
                               int which);
void kl__coop_tile_defs(kl__defs *d, const kl__coop_tile *t);
/** Sizes and local memory of a launch of `tiles` x `count` x `splits` groups. */
void kl__coop_tile_launch(kl__launch *l, const kl__coop_tile *t, int64_t tiles, int64_t count,
                          int64_t splits);

static inline int64_t kl__up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit;
}

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
