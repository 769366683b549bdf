/* Backward weights on blocked storage for CPU-like devices: sums per part of the images, then over
 * parts. */
#include "ops/conv2d_solo.h"

typedef struct wtile {
    int xb, kb, rows, taps; /* rows: channels, or (channel, row of taps) pairs where xb is 1 */
    int64_t parts;
} wtile;

static wtile weights_tile(const kl__conv *c, int v)
{
    int budget = v == 16 ? 28 : 12; /* accumulators */
    int64_t kg = up(c->K / c->G, v), pairs = (int64_t)c->C * c->kernel[0];
    wtile t = {.xb = kl__conv_x_block(c, v), .kb = kl__conv_tile_blocks(kg), .rows = 1, .taps = 1};
    for (int k = 2; k <= c->kernel[1] && k * t.kb <= budget; k++)
        if (c->kernel[1] % k == 0)
            t.taps = k;
    if (t.xb == 1) {
        for (int r = 2; r <= pairs && r * t.kb * t.taps <= budget * 2 / 3; r++)
            if (pairs % r == 0)
                t.rows = r;
    } else {
        while (t.rows < 8 && v % (t.rows * 2) == 0 && t.rows * 2 * t.kb * t.taps <= budget)
            t.rows *= 2;
    }
    int64_t items = up(c->K, v) / t.kb * (t.xb == 1 ? 1 : up(c->C / c->G, v));
    t.parts = least(c->N, up(64, items)); /* 0 for an empty batch: the sum over parts is zero */
    return t;
}

/** Elements of one part's sums. */
static int64_t weights_elems(const kl__conv *c, int v)
{
    return up(c->K, v) * up(c->C / c->G, v) * c->kernel[0] * c->kernel[1] * v * v;
}

size_t kl__conv_weights_scratch(const kl__conv *c, int v)
{
    return (size_t)(most(1, weights_tile(c, v).parts) * weights_elems(c, v)) * 4;
}

static kl_status emit_parts(kl__emit *e, const kl__apply *a, const kl__conv *c, const wtile *t)
{
    int v = e->caps->vector;
    const int *xh = a->in[c->x]->desc.layout.halo, *yh = a->in[c->y]->desc.layout.halo;
    int64_t cb = t->xb == 1 ? 1 : up(c->C / c->G, v), yc = up(c->K, v);
    int64_t strips = least(c->out[0], up((int64_t)c->out[0] * c->out[1], 256));
    kl__defs defs = {{0}};
    kl__def_int(&defs, "V", v);
    kl__def_int(&defs, "XB", t->xb);
    kl__def_int(&defs, "KB", t->kb);
    kl__def_int(&defs, "CC", t->rows);
    kl__def_int(&defs, "KT", t->taps);
    kl__def_int(&defs, "SW", c->stride[1]);
    kl__def_int(&defs, "DW", c->dilation[1]);
    kl__launch l = kl__launch_of("conv2d_bww.cl", "conv2d_bww", &defs);
    kl__launch_arg(&l, kl__arg_in(a, c->x));
    kl__launch_arg(&l, kl__arg_in(a, c->y));
    kl__launch_arg(&l, kl__arg_scratch(a, 0, 4));
    const int64_t v32[] = {c->N,
                           c->C / c->G,
                           cb,
                           up(c->C, t->xb),
                           xh[0] + c->in[0] + xh[2],
                           xh[1] + c->in[1] + xh[3],
                           up(c->K / c->G, v),
                           yc,
                           yh[0] + c->out[0] + yh[2],
                           yh[1] + c->out[1] + yh[3],
                           c->out[0],
                           c->out[1],
                           yh[0],
                           yh[1],
                           xh[0] - c->pad[0],
                           xh[1] - c->pad[1],
                           c->stride[0],
                           c->dilation[0],
                           c->kernel[0],
                           c->kernel[1],
                           up(c->out[0], strips)};
    for (size_t i = 0; i < sizeof v32 / sizeof *v32; i++)
        kl__launch_arg(&l, kl__arg_i32(v32[i]));
    kl__launch_solo(&l, 3, (size_t)(yc / t->kb), (size_t)cb, (size_t)t->parts);
    kl_status status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}

kl_status kl__conv_weights_emit(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    int v = e->caps->vector;
    wtile t = weights_tile(c, v);
    kl_status status = t.parts > 0 ? emit_parts(e, a, c, &t) : KL_OK;
    if (status != KL_OK)
        return status;
    kl__defs defs = {{0}};
    kl__def_int(&defs, "V", v);
    kl__launch l = kl__launch_of("conv2d_bww.cl", "conv2d_bww_sum", &defs);
    kl__launch_arg(&l, kl__arg_scratch(a, 0, 4));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_i32(t.parts));
    kl__launch_arg(&l, kl__arg_i32(c->K));
    kl__launch_arg(&l, kl__arg_i32(c->C / c->G));
    kl__launch_arg(&l, kl__arg_i32((int64_t)c->kernel[0] * c->kernel[1]));
    kl__launch_solo(&l, 2, (size_t)up(c->K, v), (size_t)up(c->C / c->G, v), 1);
    status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}
