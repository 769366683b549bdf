/* Winograd convolution on blocked storage for CPU-like devices: F(4x4,3x3) and F(2x2,5x5),
 * stride 1. Sums are those of any blocking: channels are added in their order, whatever the tiles
 * per group. */
#include "ops/conv2d_wino.h"

#include "ops/epilogue.h"

size_t kl__wino_budget(const kl__caps *caps)
{
    size_t l2 = caps->l2_bytes * 5 / 8;
    return caps->local_bytes < l2 ? (size_t)caps->local_bytes : l2;
}

/* ---- the pass as a convolution of `in` by taps turned or not -----------------------------------
 */
typedef struct side {
    int in, out, w;        /* slots; KL__CONV_OUT for the output */
    int channels, filters; /* of the input, of the output, all groups */
    int size[2], made[2];  /* of the input, of the output */
    int pad[2];            /* output 0 reads from -pad on */
} side;

static side side_of(const kl__conv *c)
{
    side s = {c->x, c->y, c->w, c->C, c->K, {0}, {0}, {0}};
    if (c->pass == KL__CONV_DATA)
        s = (side){c->y, c->x, c->w, c->K, c->C, {0}, {0}, {0}};
    for (int i = 0; i < 2; i++) {
        bool data = c->pass == KL__CONV_DATA;
        s.size[i] = data ? c->out[i] : c->in[i];
        s.made[i] = data ? c->in[i] : c->out[i];
        s.pad[i] = data ? c->kernel[i] - 1 - c->pad[i] : c->pad[i];
    }
    return s;
}

/* ---- blocking ----------------------------------------------------------------------------------
 */
typedef struct blocking {
    int px, kb;    /* register tile: tiles, blocks of outputs */
    int cb, kg;    /* blocks of a group's channels and outputs */
    int64_t tiles; /* of all images */
    int nt, kc;    /* tiles and blocks of outputs of a work-item at a time */
    int ks;        /* blocks of outputs of a work-item */
    /* weights are transformed where they are needed, cc blocks of channels at a time; 0: before */
    int cc;
} blocking;

static int64_t tiles_of(const kl__conv *c, const int made[2])
{
    int m = 7 - c->kernel[0];
    return (int64_t)c->N * up(made[0], m) * up(made[1], m);
}

static int64_t item_bytes(const blocking *b, int64_t nt, int v)
{
    int64_t held = b->cc ? b->cc : b->cb;
    return 4 * (int64_t)KL__WINO_PLANES * v *
           ((held + b->kc) * nt + 3 + (int64_t)b->cc * b->kb * v);
}

/** Tiles at a time: `want`, or as many as the budget lets. */
static bool take_tiles(blocking *b, const kl__caps *caps, int want)
{
    int64_t nt = least(up(want, b->px), up(b->tiles, b->px)) * b->px;
    while (nt > b->px && item_bytes(b, nt, caps->vector) > (int64_t)kl__wino_budget(caps))
        nt -= b->px;
    b->nt = (int)nt;
    return item_bytes(b, nt, caps->vector) <= (int64_t)caps->local_bytes;
}

static bool weights_before(blocking *b, const kl__conv *c, const kl__caps *caps, int tiles)
{
    b->cc = 0;
    b->kc = (int)least(b->kg, up(64, caps->vector * b->kb) * b->kb);
    if (!take_tiles(b, caps, tiles))
        return false;
    int64_t items = up(b->tiles, b->nt) * c->G, parts = items < 8 ? up(8, most(items, 1)) : 1;
    /* a part makes V of its own: at least two rounds of outputs each */
    b->ks = (int)most(up(up(b->kg, parts), b->kc) * b->kc, least(b->kg, 2 * b->kc));
    return true;
}

/** Products of all the outputs of a work-item grow as channels come in, so that the weights of a
 * few blocks of channels are made, used once for all tiles and forgotten. */
static bool weights_on_the_fly(blocking *b, const kl__caps *caps, int tiles)
{
    int v = caps->vector;
    for (int width = 128; width >= 32; width /= 2) {
        b->cc = (int)least(b->cb, up(width, 2 * v));
        b->ks = b->kc = (int)least(b->kg, up(width, v * b->kb) * b->kb);
        if (take_tiles(b, caps, tiles) && b->nt >= least(tiles, b->tiles))
            return true;
    }
    return false;
}

/* What it costs beside the products, in cycles of two vector FMAs, as measured: a tile's way in or
 * out takes about 320 per block of channels, the weights' 480 per vector (half of which counts:
 * inference does it once), on the fly 260; weights beyond the L2 come at 12 bytes per cycle from
 * the next cache, at 6 from memory. */
enum { TILE_COST = 320, WEIGHT_COST = 240, FLY_COST = 260 };

static int64_t cost_of(const blocking *b, const kl__conv *c, const kl__caps *caps)
{
    int64_t v = caps->vector, groups = up(b->tiles, b->nt), vectors = b->cb * v * b->kg * c->G;
    int64_t tiles = b->tiles * c->G * (b->cb * up(b->kg, b->ks) + b->kg) * TILE_COST;
    int64_t bytes = 4 * KL__WINO_PLANES * v * vectors;
    if (b->cc)
        return tiles + groups * vectors * FLY_COST;
    return tiles + vectors * WEIGHT_COST +
           (bytes < (int64_t)caps->l2_bytes / 2 ? 0
                                                : groups * bytes / (bytes < (16 << 20) ? 12 : 6));
}

/** Sets: 0 by cost, 1 and 2 fewer and more tiles, 3 the other way with weights. */
enum { N_CONFIGS = 4 };

static bool blocking_of(const kl__conv *c, const kl__caps *caps, int config, blocking *b)
{
    side s = side_of(c);
    int v = caps->vector, tiles = config == 1 ? 16 : config == 2 ? 64 : 32;
    *b = (blocking){.cb = (int)up(s.channels / c->G, v), .kg = (int)up(s.filters / c->G, v)};
    b->kb = kl__wino_tile_blocks(b->kg);
    b->px = v == 16 ? 8 : b->kb == 3 ? 4 : b->kb == 2 ? 6 : 8;
    b->tiles = tiles_of(c, s.made);
    blocking fly = *b;
    bool before = weights_before(b, c, caps, tiles),
         may_fly = weights_on_the_fly(&fly, caps, tiles);
    if (may_fly && (!before || (config == 3) != (cost_of(&fly, c, caps) < cost_of(b, c, caps))))
        *b = fly;
    return before || may_fly;
}

/* ---- the variant's functions --------------------------------------------------------------------
 */
static kl__layout image(const kl__conv *c, int v, const int size[2], const int made[2],
                        const int pad[2])
{
    kl__layout l = {KL__NCHWC, v, {0}};
    for (int i = 0; i < 2; i++) {
        l.halo[i] = (int)most(0, pad[i]);
        l.halo[i + 2] = (int)most(0, made[i] - 1 - pad[i] + c->kernel[i] - size[i]);
    }
    return l;
}

bool kl__conv_wino_fits(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    blocking b;
    int v = caps->vector, r = c.kernel[0];
    size_t n;
    if (!caps->solo || caps->exact || a->out[0]->desc.dtype != KL_F32 || c.N < 1)
        return false;
    if (c.kernel[1] != r || (r != 3 && r != 5) || c.in[0] < 1 || c.in[1] < 1)
        return false;
    for (int i = 0; i < 2; i++)
        if (c.stride[i] != 1 || c.dilation[i] != 1)
            return false;
    if (c.G > 1 && (c.C / c.G % v || c.K / c.G % v))
        return false;
    /* halos are never wider than what the padding asks for; a value of that size must be possible
     */
    int pad[2] = {c.pad[0], c.pad[1]}, back[2] = {r - 1 - pad[0], r - 1 - pad[1]};
    kl__desc d[3] = {
        {KL_F32, kl__shape4(c.N, c.C, c.in[0], c.in[1]), image(&c, v, c.in, c.out, pad)},
        {KL_F32, kl__shape4(c.N, c.K, c.out[0], c.out[1]), image(&c, v, c.out, c.in, back)},
        {KL_F32, kl__shape4(c.K, c.C / c.G, r, r), {KL__WINO, v, {0}}}};
    for (int i = 0; i < 3; i++)
        if (!kl__desc_elems(&d[i], &n))
            return false;
    return c.pass == KL__CONV_WEIGHTS ? kl__wino_weights_fits(&c, caps)
                                      : blocking_of(&c, caps, a->config, &b);
}

bool kl__conv_wino_pays(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    side s = side_of(&c);
    int64_t v = caps->vector, cb = up(s.channels / c.G, v), kb = up(s.filters, v), cost;
    int64_t direct = (int64_t)c.N * s.made[0] * s.made[1] * kb * v * (s.channels / c.G) *
                     c.kernel[0] * c.kernel[1] / (2 * v) * 8 / 7;
    int64_t tiles = tiles_of(&c, s.made), u = KL__WINO_PLANES * cb * v * kb * v;
    /* products and direct sums run at seven eighths of the peak */
    cost = tiles * u / (2 * v) * 8 / 7;
    if (c.pass == KL__CONV_WEIGHTS) {
        cost += kl__wino_weights_cost(&c, caps, TILE_COST, 2 * WEIGHT_COST);
    } else {
        blocking b;
        if (!blocking_of(&c, caps, a->config, &b))
            return false;
        cost += cost_of(&b, &c, caps);
    }
    return cost + cost / 16 < direct;
}

void kl__conv_wino_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in,
                           kl__layout *out)
{
    kl__conv c = kl__conv_of(a);
    side s = side_of(&c);
    int v = caps->vector, back[2] = {c.kernel[0] - 1 - c.pad[0], c.kernel[1] - 1 - c.pad[1]};
    if (c.pass == KL__CONV_WEIGHTS) {
        in[c.x] = image(&c, v, c.in, c.out, c.pad);
        in[c.y] = image(&c, v, c.out, c.in, back); /* as backward data wants it */
        out[0] = (kl__layout){KL__PLAIN, 0, {0}};
        return;
    }
    in[s.in] = image(&c, v, s.size, s.made, s.pad);
    blocking b;
    blocking_of(&c, caps, a->config, &b);
    if (!b.cc)
        in[s.w] = (kl__layout){c.pass == KL__CONV_FWD ? KL__WINO : KL__WINO_SWAP, v, {0}};
    out[0].kind = KL__NCHWC;
    out[0].block = v;
    kl__epi_layouts(a, out[0], in);
}

bool kl__conv_wino_epilogue(const kl__apply *a, const kl__apply *elt)
{
    return kl__conv_of(a).pass != KL__CONV_WEIGHTS && kl__epi_by_channel(a, elt);
}

int kl__conv_wino_configs(const kl__apply *a, const kl__caps *caps)
{
    (void)caps;
    return kl__conv_of(a).pass == KL__CONV_WEIGHTS ? 1 : N_CONFIGS;
}

size_t kl__conv_wino_scratch(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    return c.pass == KL__CONV_WEIGHTS ? kl__wino_weights_scratch(&c, caps) : 0;
}

/* ---- launch ------------------------------------------------------------------------------------
 */
/** Arguments of the weights; returns elements from plane to plane. */
static int64_t weight_args(kl__launch *l, const kl__apply *a, const kl__conv *c, const blocking *b,
                           int v)
{
    /* before: per block of outputs and per group [K blocks, C of a group], of backward data [C
     * blocks of a group, all of K] */
    bool data = c->pass == KL__CONV_DATA;
    int64_t rows = (int64_t)b->cb * v, all_rows = data ? up(c->K, v) * v : rows;
    int64_t plane = (all_rows * (data ? b->kg : up(c->K, v)) + 1) * v;
    kl__launch_arg(l, kl__arg_in(a, c->w));
    if (!b->cc) {
        kl__launch_arg(l, kl__arg_i32(all_rows * v));
        kl__launch_arg(l, kl__arg_i32(data ? rows * v : rows * b->kg * v));
        return plane;
    }
    plane = ((int64_t)b->cc * b->kb * v + 1) * v;
    kl__launch_arg(l, kl__arg_local((size_t)(KL__WINO_PLANES * plane * 4)));
    kl__launch_arg(l, kl__arg_i32(b->cc));
    kl__launch_arg(l, kl__arg_i32(c->K));
    kl__launch_arg(l, kl__arg_i32(c->C / c->G));
    kl__launch_arg(l, kl__arg_i32(data));
    return plane;
}

static kl_status emit_products(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    int v = e->caps->vector, m = 7 - c->kernel[0];
    side s = side_of(c);
    blocking b;
    blocking_of(c, e->caps, a->config, &b);
    const int *xh = a->in[s.in]->desc.layout.halo, *yh = a->out[0]->desc.layout.halo;
    int64_t vplane = ((int64_t)(b.cc ? b.cc : b.cb) * b.nt + 1) * v,
            mplane = ((int64_t)b.kc * b.nt + 1) * v;
    kl__defs defs = {{0}};
    kl__def_int(&defs, "VN", v);
    kl__def_int(&defs, "KR", c->kernel[0]);
    kl__def_int(&defs, "KB", b.kb);
    kl__def_int(&defs, "PX", b.px);
    kl__def_int(&defs, "FLY", b.cc > 0);
    kl__launch l = kl__launch_of("conv2d_wino.cl", "conv2d_wino", &defs);
    kl__launch_arg(&l, kl__arg_in(a, s.in));
    int64_t uplane = weight_args(&l, a, c, &b, v);
    kl__launch_arg(&l, kl__arg_in(a, c->b == KL__CONV_NONE ? s.w : c->b));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_local((size_t)(KL__WINO_PLANES * vplane * 4)));
    kl__launch_arg(&l, kl__arg_local((size_t)(KL__WINO_PLANES * mplane * 4)));
    const int64_t v32[] = {c->b != KL__CONV_NONE,
                           c->N,
                           b.cb,
                           up(s.channels, v),
                           xh[0] + s.size[0] + xh[2],
                           xh[1] + s.size[1] + xh[3],
                           xh[0] - s.pad[0],
                           xh[1] - s.pad[1],
                           uplane,
                           b.kg,
                           up(s.filters, v),
                           s.filters,
                           s.made[0],
                           s.made[1],
                           yh[0] + s.made[0] + yh[2],
                           yh[1] + s.made[1] + yh[3],
                           yh[0],
                           yh[1],
                           up(s.made[0], m),
                           up(s.made[1], m),
                           b.nt,
                           b.ks,
                           b.kc,
                           vplane,
                           mplane};
    for (size_t i = 0; i < sizeof v32 / sizeof *v32; i++)
        kl__launch_arg(&l, kl__arg_i32(v32[i]));
    kl__launch_solo(&l, 3, (size_t)up(b.tiles, b.nt), (size_t)up(b.kg, b.ks), (size_t)c->G);
    kl_status status = kl__epi_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}

kl_status kl__conv_wino_emit(kl__emit *e, const kl__apply *a)
{
    kl__conv c = kl__conv_of(a);
    return c.pass == KL__CONV_WEIGHTS ? kl__wino_weights_emit(e, a, &c) : emit_products(e, a, &c);
}
