/* Choice among the tiles of cl/tile_coop.cl. */
#include "ops/tile_coop.h"

enum { INNER = 8, BUFFERS = 2 }; /* BK; see cl/tile_coop.cl */

static const kl__coop_tile tiles[] = {
    {32, 32, 4, 4}, {32, 64, 4, 8},  {64, 32, 8, 4},  {32, 128, 4, 8},
    {64, 64, 8, 8}, {64, 128, 8, 8}, {128, 64, 8, 8}, {128, 128, 8, 8},
};
enum { N_TILES = sizeof tiles / sizeof *tiles };

static size_t local_of(const kl__coop_tile *t)
{
    return sizeof(float) * BUFFERS * INNER * (size_t)(t->bm + 4 + t->bn + 4);
}

/** Half of the local memory: two groups take turns on a unit, and there is a driver that counts
 * declared arrays twice. */
static bool runs(const kl__caps *caps, const kl__coop_tile *t)
{
    return (size_t)kl__coop_items(t) <= caps->max_group && 2 * local_of(t) <= caps->local_bytes &&
           t->tm * t->tn * 2 <= caps->item_floats;
}

int kl__coop_tiles(const kl__caps *caps)
{
    int n = 0;
    for (int i = 0; i < N_TILES; i++)
        n += runs(caps, &tiles[i]);
    return n;
}

/** Time of the busiest unit. What an item of 8 x 8 sums needs from local memory is half of what one
 * of 4 x 4 needs, per sum; and a unit with few items waits for memory. */
static double cost(const kl__caps *caps, const kl__coop_tile *t, int64_t m, int64_t n,
                   int64_t count)
{
    double groups = (double)(kl__up(m, t->bm) * kl__up(n, t->bn) * count);
    double units = caps->compute_units > 0 ? caps->compute_units : 1;
    double rounds = groups > units ? groups / units : 1;
    double resident = (groups < units ? 1 : rounds < 4 ? rounds : 4) * kl__coop_items(t);
    double each = t->bm * t->bn * (1 + 2.0 * (1.0 / t->tm + 1.0 / t->tn));
    return rounds * each * (resident < 256 ? 256 / resident : 1);
}

kl__coop_tile kl__coop_tile_of(const kl__caps *caps, int64_t m, int64_t n, int64_t count, int which)
{
    int order[N_TILES], k = 0;
    double costs[N_TILES];
    for (int i = 0; i < N_TILES; i++) {
        if (!runs(caps, &tiles[i]))
            continue;
        costs[i] = cost(caps, &tiles[i], m, n, count);
        int at = k++;
        for (; at > 0 && costs[order[at - 1]] > costs[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    return tiles[k == 0 ? 0 : order[which < k ? which : k - 1]];
}

void kl__coop_tile_defs(kl__defs *d, const kl__coop_tile *t)
{
    kl__def_int(d, "BM", t->bm);
    kl__def_int(d, "BN", t->bn);
    kl__def_int(d, "TM", t->tm);
    kl__def_int(d, "TN", t->tn);
}

void kl__coop_tile_launch(kl__launch *l, const kl__coop_tile *t, int64_t n_tiles, int64_t count,
                          int64_t splits)
{
    size_t items = (size_t)kl__coop_items(t);
    l->dims = 3;
    l->local[0] = items;
    l->local[1] = l->local[2] = 1;
    l->global[0] = (size_t)n_tiles * items;
    l->global[1] = (size_t)count;
    l->global[2] = (size_t)splits;
    l->local_bytes = local_of(t);
}
