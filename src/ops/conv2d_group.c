/* Convolution in groups that are neither whole blocks (variant solo) nor equal parts of one
 * (variant dw), on blocked storage for CPU-like devices. Parts depend on shapes only, so that sums
 * do too. */
#include "ops/conv2d_group.h"

#include "ops/conv2d_depthwise.h"
#include "ops/conv2d_solo.h"
#include "ops/epilogue.h"

enum {
    ITEM_PIXELS = 512,  /* of the output, per work-item */
    PART_PIXELS = 4096, /* of dy, per part of the gradient by the weights */
    TILE_PIXELS = 8
};

bool kl__conv_group_fits(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    return caps->solo && a->out[0]->desc.dtype == KL_F32 && c.G > 1 &&
           kl__conv_dw_storable(&c, caps->vector);
}

/** dw [K, C/G, T]; taps as vectors of the channels that are made. */
static size_t taps_bytes(const kl__conv *c, int v)
{
    bool data = c->pass == KL__CONV_DATA;
    int64_t out = data ? c->C : c->K, in = (data ? c->K : c->C) / c->G;
    return (size_t)(up(out, v) * v * in * c->kernel[0] * c->kernel[1]) * sizeof(float);
}

/** 0 for an empty batch: the sum over parts is zero. */
static int64_t parts_of(const kl__conv *c)
{
    int64_t pixels = (int64_t)c->N * c->out[0] * c->out[1];
    return least(up(pixels, PART_PIXELS), least(16, (int64_t)c->N * c->out[0]));
}

size_t kl__conv_group_scratch(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    size_t one = taps_bytes(&c, caps->vector);
    return c.pass == KL__CONV_WEIGHTS ? one * (size_t)most(1, parts_of(&c)) : one;
}

static void put(kl__launch *l, const int64_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        kl__launch_arg(l, kl__arg_i32(v[i]));
}
#define PUT(l, ...)                                                                                \
    put(l, (const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static void put_storage(kl__launch *l, const kl__desc *d, int64_t row, int64_t column)
{
    const int *h = d->layout.halo;
    int64_t width = d->shape.dim[3] + h[1] + h[3];
    PUT(l, (d->shape.dim[2] + h[0] + h[2]) * width, width, (h[0] + row) * width + h[1] + column);
}

static kl_status emit_taps(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    bool data = c->pass == KL__CONV_DATA;
    int v = e->caps->vector, t = c->kernel[0] * c->kernel[1], cg = c->C / c->G, kg = c->K / c->G;
    kl__defs d = {{0}};
    kl__def_int(&d, "VN", v);
    kl__launch l = kl__launch_of("conv2d_group.cl", "conv2d_group_weights", &d);
    kl__launch_arg(&l, kl__arg_in(a, c->w));
    kl__launch_arg(&l, kl__arg_scratch(a, 0, sizeof(float)));
    PUT(&l, data ? c->C : c->K, data ? cg : kg, data ? kg : cg, t, (int64_t)kg * cg * t,
        data ? t : cg * t, data ? cg * t : t);
    kl__launch_solo(&l, 1, (size_t)up(data ? c->C : c->K, v), 1, 1);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

static kl_status emit_pass(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    bool data = c->pass == KL__CONV_DATA;
    int v = e->caps->vector, sign = data ? -1 : 1, u = data ? c->stride[1] : 1;
    const kl__desc *x = &a->in[data ? c->y : c->x]->desc, *y = &a->out[0]->desc;
    const int64_t *s = y->shape.dim;
    const int *halo = y->layout.halo;
    kl_status st = emit_taps(e, a, c);
    if (st != KL_OK)
        return st;
    kl__defs d = {{0}};
    kl__def_int(&d, "VN", v);
    kl__def_int(&d, "PX", least(TILE_PIXELS, up(s[3], u)));
    kl__def_int(&d, "SW", data ? 1 : c->stride[1]);
    kl__launch l = kl__launch_of("conv2d_group.cl", "conv2d_group", &d);
    kl__launch_arg(&l, kl__arg_in(a, data ? c->y : c->x));
    kl__launch_arg(&l, kl__arg_scratch(a, 0, sizeof(float)));
    kl__launch_arg(&l, kl__arg_in(a, c->b == KL__CONV_NONE ? c->w : c->b));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    PUT(&l, c->b != KL__CONV_NONE, data ? c->C : c->K, (data ? c->C : c->K) / c->G,
        (data ? c->K : c->C) / c->G, up(data ? c->K : c->C, v));
    put_storage(&l, x, 0, 0);
    int64_t rows = most(1, least(s[2], ITEM_PIXELS / s[3]));
    PUT(&l, s[2], s[3], halo[0], halo[1], halo[2], halo[3], c->kernel[0], c->kernel[1],
        data ? 1 : c->stride[0], data ? c->stride[0] : 1, -sign * c->pad[0],
        sign * c->dilation[0], u, -sign * c->pad[1], sign * c->dilation[1], rows);
    kl__launch_solo(&l, 3, (size_t)up(s[1], v), (size_t)up(s[2], rows), (size_t)s[0]);
    st = kl__epi_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

static kl_status emit_parts(kl__emit *e, const kl__apply *a, const kl__conv *c, const kl__defs *d)
{
    int v = e->caps->vector;
    kl__launch l = kl__launch_of("conv2d_group.cl", "conv2d_group_bww", d);
    kl__launch_arg(&l, kl__arg_in(a, c->x));
    kl__launch_arg(&l, kl__arg_in(a, c->y));
    kl__launch_arg(&l, kl__arg_scratch(a, 0, sizeof(float)));
    PUT(&l, c->N, c->K, c->K / c->G, up(c->C, v));
    put_storage(&l, &a->in[c->x]->desc, -c->pad[0], -c->pad[1]);
    put_storage(&l, &a->in[c->y]->desc, 0, 0);
    PUT(&l, c->out[0], c->out[1], c->kernel[0], c->kernel[1], c->stride[0], c->dilation[0]);
    kl__launch_solo(&l, 3, (size_t)up(c->K, v), (size_t)(c->C / c->G), (size_t)parts_of(c));
    return kl__emit_launch(e, a, &l);
}

static int divisor(int n, int limit)
{
    int d = n < limit ? n : limit;
    while (n % d)
        d--;
    return d;
}

static kl_status emit_weights(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    int v = e->caps->vector, limit = v == 16 ? 14 : 6; /* accumulators, twice */
    int taps = divisor(c->kernel[1], limit);
    kl__defs d = {{0}};
    kl__def_int(&d, "VN", v);
    kl__def_int(&d, "SW", c->stride[1]);
    kl__def_int(&d, "DW", c->dilation[1]);
    kl__def_int(&d, "KT", taps);
    kl__def_int(&d, "HT", divisor(c->kernel[0], limit / taps));
    kl_status st = parts_of(c) > 0 ? emit_parts(e, a, c, &d) : KL_OK;
    if (st == KL_OK) {
        kl__launch l = kl__launch_of("conv2d_group.cl", "conv2d_group_bww_sum", &d);
        kl__launch_arg(&l, kl__arg_scratch(a, 0, sizeof(float)));
        kl__launch_arg(&l, kl__arg_out(a, 0));
        PUT(&l, parts_of(c), c->K, (int64_t)(c->C / c->G) * c->kernel[0] * c->kernel[1]);
        kl__launch_solo(&l, 1, (size_t)up(c->K, v), 1, 1);
        st = kl__emit_launch(e, a, &l);
    }
    kl__defs_free(&d);
    return st;
}

kl_status kl__conv_group_emit(kl__emit *e, const kl__apply *a)
{
    kl__conv c = kl__conv_of(a);
    return c.pass == KL__CONV_WEIGHTS ? emit_weights(e, a, &c) : emit_pass(e, a, &c);
}
