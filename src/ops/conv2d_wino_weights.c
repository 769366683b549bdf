/* Backward weights by Winograd: F(3x3,4x4) and F(5x5,2x2). Which parts the tiles are summed in
 * depends on shapes only, so that sums are the same on every device of one vector width. */
#include "ops/conv2d_wino.h"

typedef struct blocking {
    int px, kb;     /* register tile: channels, blocks of outputs */
    int cb, kg, yc; /* blocks of a group's channels and outputs, of all outputs */
    int cc, kc;     /* blocks of channels and outputs of a work-item */
    int nt;         /* tiles at a time */
    bool whole;     /* one part: the sums stay in local memory */
    int64_t tiles, part, parts;
    int64_t splane; /* elements of a plane of sums */
} blocking;

static int64_t squares(const blocking *b)
{
    return up(b->cb, b->cc) * up(b->kg, b->kc);
}

static blocking blocking_of(const kl__conv *c, int v)
{
    int m = 7 - c->kernel[0];
    blocking b = {.cb = (int)up(c->C / c->G, v),
                  .kg = (int)up(c->K / c->G, v),
                  .yc = (int)up(c->K, v),
                  .tiles = (int64_t)c->N * up(c->out[0], m) * up(c->out[1], m)};
    b.kb = kl__wino_tile_blocks(b.kg);
    b.px = v == 16 ? 8 : 4;
    b.cc = (int)least(b.cb, up(64, v));
    b.kc = (int)least(b.kg, up(64, v * b.kb) * b.kb);
    b.splane = ((int64_t)b.yc * b.cb * v + 1) * v;
    /* enough work-items for a few cores, as long as a part is worth its sums */
    b.parts = most(1, least(up(8, squares(&b) * c->G), b.tiles / 64));
    b.part = up(b.tiles, b.parts);
    b.parts = up(b.tiles, b.part);
    return b;
}

static int64_t item_bytes(const blocking *b, int64_t nt, int v)
{
    return 4 * (int64_t)KL__WINO_PLANES * v * ((b->cc + b->kc) * nt + 2);
}

/** Elements of a plane of a work-item's own sums. */
static int64_t own_plane(const blocking *b, int v)
{
    return ((int64_t)b->cc * b->kc * v + 1) * v;
}

/** Tiles at a time: as many as leave room for the sums in the L2. */
static int tiles_at_a_time(const blocking *b, const kl__caps *caps)
{
    int v = caps->vector;
    int64_t sums = 4 * (int64_t)KL__WINO_PLANES * b->cc * b->kc * v * v, nt = least(b->part, 64),
            room = most((int64_t)caps->l2_bytes * 7 / 8 - sums, (int64_t)caps->l2_bytes / 4);
    room = least(room, (int64_t)caps->local_bytes);
    while (nt > 8 && item_bytes(b, nt, v) > room)
        nt -= 4;
    return (int)nt;
}

/** The whole of it, on this device. */
static blocking blocking_on(const kl__conv *c, const kl__caps *caps)
{
    int v = caps->vector;
    blocking b = blocking_of(c, v);
    b.nt = tiles_at_a_time(&b, caps);
    b.whole = b.parts == 1 && 4 * KL__WINO_PLANES * own_plane(&b, v) + item_bytes(&b, b.nt, v) <=
                                  (int64_t)caps->local_bytes;
    return b;
}

bool kl__wino_weights_fits(const kl__conv *c, const kl__caps *caps)
{
    blocking b = blocking_on(c, caps);
    return item_bytes(&b, b.nt, caps->vector) <= (int64_t)caps->local_bytes &&
           b.parts * KL__WINO_PLANES * b.splane < INT32_MAX;
}

int64_t kl__wino_weights_cost(const kl__conv *c, const kl__caps *caps, int64_t tile, int64_t weight)
{
    blocking b = blocking_of(c, caps->vector);
    int64_t v = caps->vector;
    return b.tiles * tile * c->G * (b.cb * up(b.kg, b.kc) + b.kg * up(b.cb, b.cc)) +
           b.cb * v * b.yc * weight * b.parts;
}

size_t kl__wino_weights_scratch(const kl__conv *c, const kl__caps *caps)
{
    blocking b = blocking_on(c, caps);
    return b.whole ? 0 : (size_t)(b.parts * KL__WINO_PLANES * b.splane) * 4;
}

static kl_status emit_sums(kl__emit *e, const kl__apply *a, const kl__conv *c, const blocking *b)
{
    int v = e->caps->vector, m = 7 - c->kernel[0];
    const int *xh = a->in[c->x]->desc.layout.halo, *yh = a->in[c->y]->desc.layout.halo;
    int64_t vplane = ((int64_t)b->cc * b->nt + 1) * v, mplane = ((int64_t)b->kc * b->nt + 1) * v;
    kl__defs defs = {{0}};
    kl__def_int(&defs, "VN", v);
    kl__def_int(&defs, "KR", c->kernel[0]);
    kl__def_int(&defs, "KB", b->kb);
    kl__def_int(&defs, "PX", b->px);
    kl__def_int(&defs, "WHOLE", b->whole);
    kl__launch l = kl__launch_of("conv2d_wino_bww.cl", "conv2d_wino_bww", &defs);
    kl__launch_arg(&l, kl__arg_in(a, c->x));
    kl__launch_arg(&l, kl__arg_in(a, c->y));
    if (b->whole) {
        kl__launch_arg(&l, kl__arg_out(a, 0));
        kl__launch_arg(&l, kl__arg_i32(c->K));
        kl__launch_arg(&l, kl__arg_i32(c->C / c->G));
        kl__launch_arg(&l, kl__arg_local((size_t)(KL__WINO_PLANES * own_plane(b, v) * 4)));
    } else {
        kl__launch_arg(&l, kl__arg_scratch(a, 0, 4));
    }
    kl__launch_arg(&l, kl__arg_local((size_t)(KL__WINO_PLANES * vplane * 4)));
    kl__launch_arg(&l, kl__arg_local((size_t)(KL__WINO_PLANES * mplane * 4)));
    const int64_t v32[] = {c->N,
                           b->cb,
                           up(c->C, v),
                           xh[0] + c->in[0] + xh[2],
                           xh[1] + c->in[1] + xh[3],
                           xh[0] - c->pad[0],
                           xh[1] - c->pad[1],
                           b->kg,
                           b->yc,
                           c->out[0],
                           c->out[1],
                           yh[0] + c->out[0] + yh[2],
                           yh[1] + c->out[1] + yh[3],
                           yh[0],
                           yh[1],
                           up(c->out[0], m),
                           up(c->out[1], m),
                           b->nt,
                           b->part,
                           b->cc,
                           b->kc,
                           vplane,
                           mplane,
                           b->whole ? own_plane(b, v) : b->splane};
    for (size_t i = 0; i < sizeof v32 / sizeof *v32; i++)
        kl__launch_arg(&l, kl__arg_i32(v32[i]));
    kl__launch_solo(&l, 3, (size_t)squares(b), (size_t)c->G, (size_t)b->parts);
    kl_status status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}

kl_status kl__wino_weights_emit(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    int v = e->caps->vector;
    blocking b = blocking_on(c, e->caps);
    kl_status status = emit_sums(e, a, c, &b);
    if (status != KL_OK || b.whole)
        return status;
    kl__defs defs = {{0}};
    kl__def_int(&defs, "VN", v);
    kl__def_int(&defs, "KR", c->kernel[0]);
    kl__def_int(&defs, "KB", b.kb);
    kl__def_int(&defs, "PX", b.px);
    kl__def_int(&defs, "WHOLE", 0);
    kl__launch l = kl__launch_of("conv2d_wino_bww.cl", "conv2d_wino_bww_sum", &defs);
    kl__launch_arg(&l, kl__arg_scratch(a, 0, 4));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_i32(b.parts));
    kl__launch_arg(&l, kl__arg_i32(b.splane));
    kl__launch_arg(&l, kl__arg_i32(c->K));
    kl__launch_arg(&l, kl__arg_i32(c->C / c->G));
    kl__launch_solo(&l, 2, (size_t)b.yc, (size_t)b.cb, 1);
    status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}
