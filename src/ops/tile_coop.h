/* The tiles of cl/tile_coop.cl, for matrix products and what is made into one. */
#ifndef KL_OPS_TILE_COOP_H
#define KL_OPS_TILE_COOP_H

#include "ops/op.h"

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

#endif
