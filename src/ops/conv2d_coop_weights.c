/* Backward weights on plain storage for devices that run work-groups in step: sums per part of the
 * pixels, then over parts. Parts depend on shapes alone, so results do not change with the number
 * of cores. */
#include "ops/conv2d_coop.h"

#include "ops/norm_common.h"

enum {
    GROUPS = 256,        /* worth having */
    LEAST = 512,         /* pixels worth a part */
    MOST = 32768,        /* more in one sum round too much */
    MOST_BYTES = 1 << 26 /* of scratch, unless MOST says otherwise */
};

typedef struct parts {
    int64_t pixels, per, n;
} parts;

static int64_t elems(const kl__conv *c)
{
    return (int64_t)c->K * (c->C / c->G) * c->kernel[0] * c->kernel[1];
}

static parts parts_of(const kl__conv *c)
{
    int64_t cols = (int64_t)(c->C / c->G) * c->kernel[0] * c->kernel[1];
    int64_t groups = kl__conv_few(c) ? (int64_t)c->K * (c->C / c->G)
                                     : kl__up(c->K / c->G, 64) * kl__up(cols, 64) * c->G;
    parts p = {.pixels = (int64_t)c->N * c->out[0] * c->out[1]};
    int64_t want = kl__up(GROUPS, groups ? groups : 1), most = p.pixels / LEAST;
    int64_t room = MOST_BYTES / 4 / (elems(c) ? elems(c) : 1);
    most = most > room ? room : most;
    want = want > most ? most : want;
    int64_t least = kl__up(p.pixels, MOST);
    want = want < least ? least : want;
    p.per = kl__up(kl__up(p.pixels, want > 0 ? want : 1), 8) * 8;
    p.n = p.per ? kl__up(p.pixels, p.per) : 0;
    return p;
}

size_t kl__conv_coop_weights_scratch(const kl__conv *c)
{
    parts p = parts_of(c);
    return p.n > 1 ? (size_t)(p.n * elems(c)) * sizeof(float) : 0;
}

static kl_status emit_product(kl__emit *e, const kl__apply *a, const kl__conv *c, const parts *p,
                              kl__arg to)
{
    int64_t m = c->K / c->G, cols = elems(c) / c->K;
    kl__coop_tile t = kl__coop_tile_of(e->caps, m, cols, c->G * p->n, a->config);
    kl__defs defs = {{0}};
    kl__coop_tile_defs(&defs, &t);
    kl__launch l = kl__launch_of("conv2d_bww_coop.cl", "conv2d_bww_coop", &defs);
    kl__launch_arg(&l, kl__arg_in(a, c->x));
    kl__launch_arg(&l, kl__arg_in(a, c->y));
    kl__launch_arg(&l, to);
    const int64_t v[] = {p->pixels,      p->per,       c->C,         c->in[0],     c->in[1],
                         c->K,           c->out[0],    c->out[1],    c->C / c->G,  m,
                         c->kernel[0],   c->kernel[1], c->stride[0], c->stride[1], c->dilation[0],
                         c->dilation[1], c->pad[0],    c->pad[1]};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        kl__launch_arg(&l, kl__arg_i32(v[i]));
    kl__coop_tile_launch(&l, &t, kl__up(m, t.bm) * kl__up(cols, t.bn), c->G, p->n);
    kl_status status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}

/** Items of a group: few enough that each has several pixels. */
static size_t few_group(const kl__caps *caps, int64_t pixels)
{
    size_t n = 256;
    while (n > 16 && (n > caps->max_group || n > caps->max_item[0] || (int64_t)n * 4 > pixels))
        n /= 2;
    return n;
}

static kl_status emit_few(kl__emit *e, const kl__apply *a, const kl__conv *c, const parts *p,
                          kl__arg to)
{
    kl__defs defs = {{0}};
    size_t group = few_group(e->caps, p->per);
    kl__def_int(&defs, "LS", (int64_t)group);
    kl__def_int(&defs, "KH", c->kernel[0]);
    kl__def_int(&defs, "KW", c->kernel[1]);
    kl__launch l = kl__launch_of("conv2d_few_bww_coop.cl", "conv2d_few_bww_coop", &defs);
    kl__launch_arg(&l, kl__arg_in(a, c->x));
    kl__launch_arg(&l, kl__arg_in(a, c->y));
    kl__launch_arg(&l, to);
    const int64_t v[] = {p->pixels,      p->per,         c->C,         c->in[0],
                         c->in[1],       c->K,           c->out[0],    c->out[1],
                         c->C / c->G,    c->K / c->G,    c->stride[0], c->stride[1],
                         c->dilation[0], c->dilation[1], c->pad[0],    c->pad[1]};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        kl__launch_arg(&l, kl__arg_i32(v[i]));
    kl__launch_groups(&l, (size_t)(c->K * (int64_t)(c->C / c->G)), group);
    l.dims = 2;
    l.global[1] = (size_t)p->n;
    kl_status status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}

static kl_status emit_sum(kl__emit *e, const kl__apply *a, int64_t total, int64_t n)
{
    kl__launch l = kl__launch_of("matmul_coop.cl", "matmul_sum", NULL);
    kl__launch_arg(&l, kl__arg_scratch(a, 0, sizeof(float)));
    kl__launch_arg(&l, kl__arg_scratch(a, 0, sizeof(float))); /* no bias: not read */
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_i32(total));
    kl__launch_arg(&l, kl__arg_i32(total));
    kl__launch_arg(&l, kl__arg_i32(n));
    kl__launch_arg(&l, kl__arg_i32(0));
    kl__launch_1d(&l, e, (size_t)total);
    return kl__emit_launch(e, a, &l);
}

kl_status kl__conv_coop_weights(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    parts p = parts_of(c);
    if (p.n == 0) { /* an empty batch: its sum is zero */
        kl__span out = a->out[0]->place.span;
        if (a->out[0]->place.kind == KL__AT_SPAN)
            return kl__seq_fill(e->seq, a->name, out, 0, (size_t)elems(c) * sizeof(float));
        return kl__conv_ref_emit(e, a);
    }
    kl__arg to = p.n > 1 ? kl__arg_scratch(a, 0, sizeof(float)) : kl__arg_out(a, 0);
    kl_status status = kl__conv_few(c) ? emit_few(e, a, c, &p, to) : emit_product(e, a, c, &p, to);
    return status == KL_OK && p.n > 1 ? emit_sum(e, a, elems(c), p.n) : status;
}
