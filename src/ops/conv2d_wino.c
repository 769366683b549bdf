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
} blocking;

static int64_t tiles_of(const kl__conv *c, const int made[2])
{
    int m = 7 - c->kernel[0];
    return (int64_t)c->N * up(made[0], m) * up(made[1], m);
}

static int64_t item_bytes(const blocking *b, int64_t nt, int v)
{
    return 4 * (int64_t)KL__WINO_PLANES * v * ((b->cb + b->kc) * nt + 2);
}

static bool blocking_of(const kl__conv *c, const kl__caps *caps, int config, blocking *b)
{
    side s = side_of(c);
    int v = caps->vector;
    int64_t budget = (int64_t)kl__wino_budget(caps), limit = (int64_t)caps->local_bytes;
    *b = (blocking){.cb = (int)up(s.channels / c->G, v), .kg = (int)up(s.filters / c->G, v)};
    b->kb = kl__conv_tile_blocks(b->kg);
    b->px = v == 16 ? 8 : b->kb == 3 ? 4 : b->kb == 2 ? 6 : 8;
    b->tiles = tiles_of(c, s.made);
    b->kc = (int)least(b->kg, up(64, v * b->kb) * b->kb);
    int64_t want = up(config == 1 ? 16 : config == 2 ? 64 : 32, b->px) * b->px;
    want = least(want, up(b->tiles, b->px) * b->px);
    while (want > b->px && item_bytes(b, want, v) > budget)
        want -= b->px;
    b->nt = (int)want;
    int64_t items = up(b->tiles, b->nt) * c->G, parts = items < 8 ? up(8, most(items, 1)) : 1;
    /* a part makes V of its own: at least two rounds of outputs each */
    b->ks = (int)most(up(up(b->kg, parts), b->kc) * b->kc, least(b->kg, 2 * b->kc));
    return item_bytes(b, b->nt, v) <= limit;
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

/* What it costs, in cycles of two vector FMAs, as measured: products and direct sums run at seven
 * eighths of that; a tile's way in or out takes about 320 per block of channels, the weights' 480
 * per vector (half of which counts: inference does it once); weights beyond the L2 come at 12 bytes
 * per cycle from the next cache, at 6 from memory. */
enum { TILE_COST = 320, WEIGHT_COST = 240 };

static int64_t weights_stream(const kl__caps *caps, int64_t bytes)
{
    return bytes < (int64_t)caps->l2_bytes / 2 ? 0 : bytes < (16 << 20) ? bytes / 12 : bytes / 6;
}

bool kl__conv_wino_pays(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    side s = side_of(&c);
    int64_t v = caps->vector, cb = up(s.channels / c.G, v), kb = up(s.filters, v), cost;
    int64_t direct = (int64_t)c.N * s.made[0] * s.made[1] * kb * v * (s.channels / c.G) *
                     c.kernel[0] * c.kernel[1] / (2 * v) * 8 / 7;
    int64_t tiles = tiles_of(&c, s.made), u = KL__WINO_PLANES * cb * v * kb * v;
    cost = tiles * u / (2 * v) * 8 / 7;
    if (c.pass == KL__CONV_WEIGHTS) {
        cost += kl__wino_weights_cost(&c, caps, TILE_COST, 2 * WEIGHT_COST);
    } else {
        blocking b;
        blocking_of(&c, caps, a->config, &b);
        cost += tiles * TILE_COST * (up(s.channels, v) * up(b.kg, b.ks) + kb) +
                cb * v * kb * WEIGHT_COST + up(b.tiles, b.nt) * weights_stream(caps, 4 * u);
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
    return kl__conv_of(a).pass == KL__CONV_WEIGHTS ? 1 : 3;
}

size_t kl__conv_wino_scratch(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    return c.pass == KL__CONV_WEIGHTS ? kl__wino_weights_scratch(&c, caps) : 0;
}

static kl_status emit_products(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    int v = e->caps->vector, m = 7 - c->kernel[0];
    side s = side_of(c);
    blocking b;
    blocking_of(c, e->caps, a->config, &b);
    const int *xh = a->in[s.in]->desc.layout.halo, *yh = a->out[0]->desc.layout.halo;
    int64_t th = up(s.made[0], m), tw = up(s.made[1], m), rows = (int64_t)b.cb * v;
    int64_t vplane = ((int64_t)b.cb * b.nt + 1) * v, mplane = ((int64_t)b.kc * b.nt + 1) * v;
    /* per block of outputs and per group: forward [K blocks, C of a group], backward data
     * [C blocks of a group, all of K] */
    bool data = c->pass == KL__CONV_DATA;
    int64_t all_rows = data ? up(c->K, v) * v : rows;
    int64_t uplane = (all_rows * (data ? b.kg : up(c->K, v)) + 1) * v;
    kl__defs defs = {{0}};
    kl__def_int(&defs, "VN", v);
    kl__def_int(&defs, "KR", c->kernel[0]);
    kl__def_int(&defs, "KB", b.kb);
    kl__def_int(&defs, "PX", b.px);
    kl__launch l = kl__launch_of("conv2d_wino.cl", "conv2d_wino", &defs);
    kl__launch_arg(&l, kl__arg_in(a, s.in));
    kl__launch_arg(&l, kl__arg_in(a, s.w));
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
                           all_rows * v,
                           data ? rows * v : rows * b.kg * v,
                           b.kg,
                           up(s.filters, v),
                           s.filters,
                           s.made[0],
                           s.made[1],
                           yh[0] + s.made[0] + yh[2],
                           yh[1] + s.made[1] + yh[3],
                           yh[0],
                           yh[1],
                           th,
                           tw,
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
