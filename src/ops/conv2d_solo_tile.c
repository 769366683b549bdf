/* Tiles and blocking of direct convolution. No sum depends on them: each output adds its products
 * in one order, whatever the tile and the caches, so that bits are the same on every device of one
 * vector width. */
#include "ops/conv2d_solo.h"

/* ---- register tile --------------------------------------------------------------------------- */
typedef struct tile {
    int px, kb;
    int64_t cost;
} tile;

/** Half cycles of a row per block of output channels and step, in 240ths: two FMAs and two loads a
 * cycle, and an accumulator waits 4 cycles for itself. The last tile of a row overlaps the one
 * before. A twentieth is in favour of 7, so that one program serves a net of many widths. */
static int64_t tile_cost(int px, int kb, int64_t cols)
{
    int64_t work = most(most(px * kb, px + kb), 8);
    return up(cols, px) * (work + 1) * (px == 7 ? 228 : 240) / kb;
}

/** Few widths, so that few programs serve a net: 7 divides the maps of nets for 224 x 224 pixels, 8
 * and 4 powers of two, 6 fits 16 registers. Of the tiles whose sums, weights and one value of x fit
 * the registers (32, or 16 of narrower vectors), the `rank`th best. */
static tile tile_of(const kl__conv_shape *s, int rank)
{
    static const int px[] = {7, 8, 6, 4, 2, 1};
    int registers = s->v == 16 ? 32 : 16;
    tile best[4] = {{0}};
    int n = 0;
    for (int kb = 4; kb > 0; kb--)
        for (int i = 0; i < 6; i++) {
            tile t = {px[i], kb, tile_cost(px[i], kb, s->cols)};
            if (s->kg % kb || (s->v == 16 && t.px == 6) || t.px * kb + kb + 1 > registers ||
                t.px > s->cols)
                continue;
            int at = n < 4 ? n++ : 4;
            for (; at > 0 && t.cost < best[at - 1].cost; at--)
                if (at < 4)
                    best[at] = best[at - 1];
            if (at < 4)
                best[at] = t;
        }
    return best[rank < n ? rank : n - 1];
}

/* ---- cache blocking -------------------------------------------------------------------------- */
static int divisor(int64_t n, int64_t limit)
{
    for (int64_t d = least(n, limit); d > 1; d--)
        if (n % d == 0)
            return (int)d;
    return 1;
}

/** Blocks of input channels whose weights fit half of L1; where one block does not, rows of taps.
 */
static void weights_in_l1(const kl__conv_shape *s, const kl__caps *caps, kl__conv_blocking *t)
{
    int64_t tap = (int64_t)s->v * s->v * t->kb * 4, taps = (int64_t)s->taps[0] * s->taps[1];
    int64_t l1 = (int64_t)caps->l1_bytes;
    t->blocks = (int)most(1, least(s->blocks, l1 / 2 / most(1, tap * taps)));
    t->tap_rows = (int)most(s->taps[0], 1);
    if (s->xb != 1 && tap * taps > l1 * 3 / 4)
        t->tap_rows = (int)most(1, l1 * 3 / 4 / (tap * s->taps[1]));
}

/** Pixels per work-item: what keeps x of all channels in half of L2, and eight work-items for every
 * core. */
static void strips(const kl__conv_shape *s, const kl__caps *caps, int64_t want,
                   kl__conv_blocking *t)
{
    int64_t cells = (int64_t)s->rows * s->cols, l2 = (int64_t)caps->l2_bytes / 2;
    int64_t x_bytes =
        s->x_cells * (int64_t)(s->xb == 1 ? 4 : s->blocks * s->v * 4) / most(cells, 1);
    int64_t pixels = most(t->px, least(want, l2 / most(x_bytes, 1)));
    int64_t items = 8 * (int64_t)most(caps->compute_units, 1),
            others = (int64_t)s->yc / t->kb * s->n;
    int64_t n = most(up(cells, pixels), up(items, most(others, 1)));
    if (s->rows == 1)
        t->strip = (int)(up(up(s->cols, t->px), least(n, up(s->cols, t->px))) * t->px);
    else
        t->strip = (int)up(s->rows, least(n, s->rows));
}

kl__conv_blocking kl__conv_blocking_of(const kl__conv_shape *s, const kl__caps *caps, int config)
{
    tile reg = tile_of(s, config & 1);
    kl__conv_blocking t = {.px = reg.px, .kb = reg.kb};
    weights_in_l1(s, caps, &t);
    strips(s, caps, config & 2 ? 128 : 256, &t);
    int64_t group = s->yc / t.kb,
            bytes = (int64_t)s->blocks * s->taps[0] * s->taps[1] * s->v * s->v * 4 * t.kb;
    t.inner = divisor(group, most(1, (int64_t)caps->l2_bytes / 2 / most(bytes, 1)));
    return t;
}
