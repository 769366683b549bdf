/* Backward weights on blocked storage for CPU-like devices: sums per part of the images, then over
 * parts. The parts depend on shapes only, and within one every sum is in one order whatever the
 * tile and the caches: bits are the same on every device of one vector width. */
#include "ops/conv2d_solo.h"

typedef struct wtile {
    int xb, kb, rows, taps; /* rows: channels, or (channel, row of taps) pairs where xb is 1 */
    int64_t cost;
} wtile;

/** Half cycles per multiply-add, in 1/1024: two FMAs and two loads a cycle, an accumulator waits 4
 * cycles for itself. */
static int64_t cost_of(const wtile *t)
{
    int64_t sums = (int64_t)t->kb * t->rows * t->taps, loads = t->kb + (int64_t)t->rows * t->taps;
    if (t->xb == 1) /* each row has an address of its own */
        loads += t->rows > 1 ? 2 * t->rows : 0;
    return (most(most(sums, loads), 8) + 2) * 1024 / sums;
}

/** The `rank`th best (0 or 1) of the tiles that fit the registers. */
static wtile tile_of(const kl__conv *c, int v, int rank)
{
    int registers = v == 16 ? 32 : 16, xb = kl__conv_x_block(c, v);
    int rows = xb == 1 ? c->C * c->kernel[0] : v;
    wtile best[2] = {{xb, 1, 1, 1, INT64_MAX}, {xb, 1, 1, 1, INT64_MAX}};
    for (int kb = 4; kb > 0; kb--)
        for (int kt = 1; kt <= c->kernel[1]; kt++)
            for (int r = 1; r <= rows && r * kt * kb + kb < registers; r++) {
                wtile t = {xb, kb, r, kt, 0};
                if (up(c->K / c->G, v) % kb || c->kernel[1] % kt || rows % r)
                    continue;
                t.cost = cost_of(&t);
                if (t.cost < best[0].cost) {
                    best[1] = best[0];
                    best[0] = t;
                } else if (t.cost < best[1].cost) {
                    best[1] = t;
                }
            }
    return best[rank].cost == INT64_MAX ? best[0] : best[rank];
}

/** Parts of the images, 0 for an empty batch (the sum over parts is zero): enough for many cores,
 * more where a weight has so many products that a part's sum costs little. */
static int64_t parts_of(const kl__conv *c, int v)
{
    int64_t blocks = up(c->K, v) * (kl__conv_x_block(c, v) == 1 ? 1 : up(c->C / c->G, v));
    int64_t products = (int64_t)c->N * c->out[0] * c->out[1];
    return least(c->N, most(up(128, blocks), least(16, products / 2048)));
}

/** Elements of one part's sums. */
static int64_t weights_elems(const kl__conv *c, int v)
{
    return up(c->K, v) * up(c->C / c->G, v) * c->kernel[0] * c->kernel[1] * v * v;
}

size_t kl__conv_weights_scratch(const kl__conv *c, int v)
{
    return (size_t)(most(1, parts_of(c, v)) * weights_elems(c, v)) * 4;
}

/* ---- cache blocking -------------------------------------------------------------------------- */
typedef struct share {
    int k, c; /* blocks of output and input channels of a work-item */
} share;

/** Sums that fit a quarter of L2, a strip of x that fits half, and eight work-items per core. */
static share share_of(const kl__conv *c, const kl__caps *caps, const wtile *t, int64_t strip)
{
    int v = caps->vector;
    int64_t kg = up(c->K / c->G, v), cb = t->xb == 1 ? 1 : up(c->C / c->G, v), k = kg, cn = cb;
    int64_t want = 8 * (int64_t)most(caps->compute_units, 1), l2 = (int64_t)caps->l2_bytes;
    int64_t piece = (int64_t)c->kernel[0] * c->kernel[1] * v * v * 4;
    for (;;) {
        int64_t items = up(kg, k) * c->G * up(cb, cn) * most(1, parts_of(c, v));
        bool fits = k * cn * piece <= l2 / 4 && cn * strip * v * 4 <= l2 / 2 && items >= want;
        if (fits || (k <= t->kb && cn <= 1))
            break;
        if (cn > 1 && (cn >= k || k <= t->kb))
            cn = up(cn, 2);
        else
            k = up(up(k, 2), t->kb) * t->kb;
        if (k <= t->kb)
            k = t->kb;
    }
    return (share){(int)k, (int)cn};
}

static bool no_halo(const int *h)
{
    return !(h[0] | h[1] | h[2] | h[3]);
}

static bool is_flat(const kl__conv *c, const int *xh, const int *yh)
{
    for (int i = 0; i < 2; i++)
        if (c->kernel[i] != 1 || c->stride[i] != 1 || c->pad[i] || c->in[i] != c->out[i])
            return false;
    return no_halo(xh) && no_halo(yh);
}

/* ---- launches -------------------------------------------------------------------------------- */
static void put_sizes(kl__launch *l, const kl__apply *a, const kl__conv *c, int v, int xb)
{
    const int *xh = a->in[c->x]->desc.layout.halo, *yh = a->in[c->y]->desc.layout.halo;
    const int64_t v32[] = {c->N,
                           c->C / c->G,
                           xb == 1 ? 1 : up(c->C / c->G, v),
                           up(c->C, xb),
                           xh[0] + c->in[0] + xh[2],
                           xh[1] + c->in[1] + xh[3],
                           up(c->K / c->G, v),
                           up(c->K, v),
                           yh[0] + c->out[0] + yh[2],
                           yh[1] + c->out[1] + yh[3]};
    for (size_t i = 0; i < sizeof v32 / sizeof *v32; i++)
        kl__launch_arg(l, kl__arg_i32(v32[i]));
}

static kl_status emit_parts(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    int v = e->caps->vector, config = a->config;
    wtile t = tile_of(c, v, config & 1);
    const int *xh = a->in[c->x]->desc.layout.halo, *yh = a->in[c->y]->desc.layout.halo;
    int64_t pixels = (int64_t)c->out[0] * c->out[1], cols = c->out[1];
    /* a strip of KB blocks of dy takes half of L1 */
    int64_t strip = most(16, (int64_t)e->caps->l1_bytes / (config & 2 ? 4 : 2) / (t.kb * v * 4));
    bool flat = is_flat(c, xh, yh);
    if (flat)
        cols = up(pixels, up(pixels, strip));
    int64_t rows = flat ? 1 : most(1, (strip + cols / 2) / cols);
    int64_t images = most(1, (strip + pixels / 2) / pixels);
    share s = share_of(c, e->caps, &t, images * rows * cols * c->stride[0] * c->stride[1]);
    kl__defs defs = {{0}};
    kl__def_int(&defs, "VN", v);
    kl__def_int(&defs, "XB", t.xb);
    kl__def_int(&defs, "KB", t.kb);
    kl__def_int(&defs, "CC", t.rows);
    kl__def_int(&defs, "KT", t.taps);
    kl__def_int(&defs, "SW", c->stride[1]);
    kl__def_int(&defs, "DW", t.taps == 1 ? 1 : c->dilation[1]);
    kl__launch l = kl__launch_of("conv2d_bww.cl", "conv2d_bww", &defs);
    kl__launch_arg(&l, kl__arg_in(a, c->x));
    kl__launch_arg(&l, kl__arg_in(a, c->y));
    kl__launch_arg(&l, kl__arg_scratch(a, 0, 4));
    put_sizes(&l, a, c, v, t.xb);
    const int64_t v32[] = {flat ? up(pixels, cols) : c->out[0],
                           cols,
                           yh[0],
                           yh[1],
                           xh[0] - c->pad[0],
                           xh[1] - c->pad[1],
                           xh[0],
                           xh[0] + c->in[0],
                           c->stride[0],
                           c->dilation[0],
                           c->dilation[1],
                           c->kernel[0],
                           c->kernel[1],
                           rows,
                           images,
                           flat ? pixels : 0,
                           s.k,
                           s.c};
    for (size_t i = 0; i < sizeof v32 / sizeof *v32; i++)
        kl__launch_arg(&l, kl__arg_i32(v32[i]));
    kl__launch_solo(&l, 3, (size_t)(up(up(c->K / c->G, v), s.k) * c->G),
                    (size_t)(t.xb == 1 ? 1 : up(up(c->C / c->G, v), s.c)), (size_t)parts_of(c, v));
    kl_status status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}

kl_status kl__conv_weights_emit(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    int v = e->caps->vector;
    int64_t parts = parts_of(c, v);
    kl_status status = parts > 0 ? emit_parts(e, a, c) : KL_OK;
    if (status != KL_OK)
        return status;
    kl__defs defs = {{0}};
    kl__def_int(&defs, "VN", v);
    kl__launch l = kl__launch_of("conv2d_bww.cl", "conv2d_bww_sum", &defs);
    kl__launch_arg(&l, kl__arg_scratch(a, 0, 4));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_i32(parts));
    kl__launch_arg(&l, kl__arg_i32(c->K));
    kl__launch_arg(&l, kl__arg_i32(c->C / c->G));
    kl__launch_arg(&l, kl__arg_i32((int64_t)c->kernel[0] * c->kernel[1]));
    kl__launch_solo(&l, 2, (size_t)up(c->K, v), (size_t)up(c->C / c->G, v), 1);
    status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}
