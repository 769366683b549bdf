/* Convolution in groups that lie inside one vector of channels (depthwise: groups of one), on
 * blocked storage for CPU-like devices. Weights stay plain: a work-item gathers those of its block
 * once. Tiles and parts depend on shapes only, so that sums do too. */
#include "ops/conv2d_depthwise.h"

#include "ops/conv2d_solo.h"
#include "ops/epilogue.h"

#include <stdio.h>

enum {
    MAX_TAPS = 121,       /* of a kernel */
    MAX_TAP_COLUMNS = 25, /* whose sums are in registers */
    MAX_STRIDE = 8,       /* whose phases are */
    ITEM_PIXELS = 2048,   /* of the output, per work-item */
    PART_PIXELS = 4096    /* of dy, per part of the gradient by the weights */
};

/* ---- storage --------------------------------------------------------------------------------- */
/** dy with what the gradient by x reads of it; columns of x in whole strides. */
static kl__layout y_layout(const kl__conv *c, int v)
{
    kl__layout l = {KL__NCHWC, v, {0}};
    for (int i = 0; i < 2; i++) {
        int64_t s = c->stride[i], lo = 0, hi = c->out[i] - 1;
        int64_t cells = i ? up(c->in[i], s) * s : c->in[i];
        for (int k = 0; k < c->kernel[i]; k++) {
            /* first and last cell of x that is a whole number of strides from this tap */
            int64_t t = c->pad[i] - (int64_t)k * c->dilation[i], first = ((-t % s) + s) % s;
            if (first >= cells)
                continue;
            int64_t last = first + (cells - 1 - first) / s * s;
            lo = least(lo, (first + t) / s);
            hi = most(hi, (last + t) / s);
        }
        l.halo[i] = (int)-lo;
        l.halo[i + 2] = (int)(hi - (c->out[i] - 1));
    }
    return l;
}

void kl__conv_dw_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in, kl__layout *out)
{
    kl__conv c = kl__conv_of(a);
    int v = caps->vector;
    if (c.pass != KL__CONV_DATA)
        in[c.x] = kl__conv_x_layout(&c, v);
    if (c.pass != KL__CONV_FWD)
        in[c.y] = y_layout(&c, v); /* by the weights too: both gradients read one dy */
    if (c.pass == KL__CONV_WEIGHTS)
        return;
    out[0].kind = KL__NCHWC; /* its halo stays what readers want */
    out[0].block = v;
    kl__epi_layouts(a, out[0], in);
}

bool kl__conv_dw_storable(const kl__conv *c, int v)
{
    size_t n;
    kl__desc d[2] = {{KL_F32, kl__shape4(c->N, c->C, c->in[0], c->in[1]), kl__conv_x_layout(c, v)},
                     {KL_F32, kl__shape4(c->N, c->K, c->out[0], c->out[1]), y_layout(c, v)}};
    return kl__desc_elems(&d[0], &n) && kl__desc_elems(&d[1], &n);
}

bool kl__conv_dw_fits(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    int v = caps->vector, group = c.C / c.G;
    if (!caps->solo || a->out[0]->desc.dtype != KL_F32 || c.G == 1 || c.K != c.C || v % group ||
        group > 8 || group == v || (int64_t)c.kernel[0] * c.kernel[1] > MAX_TAPS ||
        (c.pass == KL__CONV_WEIGHTS && c.kernel[1] > MAX_TAP_COLUMNS) ||
        (c.pass == KL__CONV_DATA && most(c.stride[0], c.stride[1]) > MAX_STRIDE))
        return false;
    return kl__conv_dw_storable(&c, v);
}

bool kl__conv_dw_epilogue(const kl__apply *a, const kl__apply *elt)
{
    return kl__conv_of(a).pass != KL__CONV_WEIGHTS && kl__epi_by_channel(a, elt);
}

/* ---- launches -------------------------------------------------------------------------------- */
static void defs_of(kl__defs *d, const kl__conv *c, int v, int px)
{
    static const char hex[] = "0123456789abcdef";
    int group = c->C / c->G;
    kl__def_int(d, "VN", v);
    kl__def_int(d, "CG", group);
    kl__def_int(d, "KH", c->kernel[0]);
    kl__def_int(d, "KW", c->kernel[1]);
    kl__def_int(d, "DW", c->dilation[1]);
    kl__def_int(d, "PX", px);
    for (int j = 0; group > 1 && j < group; j++) {
        char name[16], word[24] = "s";
        snprintf(name, sizeof name, "LANES%d", j);
        for (int l = 0; l < v; l++)
            word[1 + l] = hex[l / group * group + j];
        kl__def_word(d, name, word);
    }
}

/** Pixels of a register tile for rows of `width`: few widths, so few programs. */
static int tile_pixels(int64_t width, int limit)
{
    int64_t px = width % 7 == 0 ? 7 : 8;
    while (px > 1 && (px > width || px > limit))
        px--;
    return (int)px;
}

static void put_storage(kl__launch *l, const kl__desc *d, int64_t row, int64_t column)
{
    const int *h = d->layout.halo;
    int64_t width = d->shape.dim[3] + h[1] + h[3];
    kl__launch_arg(l, kl__arg_i32((d->shape.dim[2] + h[0] + h[2]) * width));
    kl__launch_arg(l, kl__arg_i32(width));
    kl__launch_arg(l, kl__arg_i32((h[0] + row) * width + h[1] + column));
}

static void put_halo(kl__launch *l, const kl__desc *d)
{
    kl__launch_arg(l, kl__arg_i32(d->shape.dim[2]));
    kl__launch_arg(l, kl__arg_i32(d->shape.dim[3]));
    for (int i = 0; i < 4; i++)
        kl__launch_arg(l, kl__arg_i32(d->layout.halo[i]));
}

/** Rows and images of a work-item, and how many of these there are. */
static void put_items(kl__launch *l, const kl__desc *y, const kl__caps *caps, int v)
{
    const int64_t *s = y->shape.dim;
    int64_t blocks = up(s[1], v), want = 8 * most(caps->compute_units, 1);
    int64_t strips = least(s[2], most(1, s[2] * s[3] / ITEM_PIXELS));
    int64_t images = strips > 1 ? 1 : most(1, least(s[0], ITEM_PIXELS / (s[2] * s[3])));
    images = most(1, least(images, s[0] * blocks / want));
    int64_t rows = up(s[2], strips);
    kl__launch_arg(l, kl__arg_i32(rows));
    kl__launch_arg(l, kl__arg_i32(images));
    kl__launch_solo(l, 3, (size_t)blocks, (size_t)up(s[2], rows), (size_t)up(s[0], images));
}

static kl_status emit_pass(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    bool data = c->pass == KL__CONV_DATA, strided = data && (c->stride[0] > 1 || c->stride[1] > 1);
    int v = e->caps->vector, group = c->C / c->G, taps = c->kernel[0] * c->kernel[1];
    const kl__desc *x = &a->in[data ? c->y : c->x]->desc, *y = &a->out[0]->desc;
    int sw = c->stride[1];
    int64_t width = strided ? up(c->in[1], sw) : y->shape.dim[3];
    kl__defs d = {{0}};
    defs_of(&d, c, v, tile_pixels(width, strided ? (int)most(1, 16 / sw) : 8));
    kl__def_int(&d, "SW", data && !strided ? 1 : sw);
    if (strided)
        kl__def_int(&d, "PL", c->pad[1]);
    kl__launch l =
        kl__launch_of("conv2d_depthwise.cl", strided ? "conv2d_dw_data" : "conv2d_dw", &d);
    kl__launch_arg(&l, kl__arg_in(a, data ? c->y : c->x));
    kl__launch_arg(&l, kl__arg_in(a, c->w));
    kl__launch_arg(&l, kl__arg_in(a, c->b == KL__CONV_NONE ? c->w : c->b));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_i32(c->b != KL__CONV_NONE));
    kl__launch_arg(&l, kl__arg_i32(c->N));
    kl__launch_arg(&l, kl__arg_i32(c->C));
    if (strided)
        put_storage(&l, x, 0, 0);
    else if (data) /* taps turned round: the first one reads where the last one did */
        put_storage(&l, x, c->pad[0] - (c->kernel[0] - 1) * c->dilation[0],
                    c->pad[1] - (c->kernel[1] - 1) * c->dilation[1]);
    else
        put_storage(&l, x, -c->pad[0], -c->pad[1]);
    kl__launch_arg(&l, kl__arg_i32(c->stride[0]));
    kl__launch_arg(&l, kl__arg_i32(c->dilation[0]));
    if (strided)
        kl__launch_arg(&l, kl__arg_i32(c->pad[0]));
    put_halo(&l, y);
    kl__launch_arg(&l, kl__arg_i32(data ? taps : group * taps));
    kl__launch_arg(&l, kl__arg_i32(data ? group * taps : taps));
    if (!strided)
        kl__launch_arg(&l, kl__arg_i32(data));
    put_items(&l, y, e->caps, v);
    kl_status st = kl__epi_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

/* ---- gradient by the weights ----------------------------------------------------------------- */
/** 0 for an empty batch: the sum over parts is zero. */
static int64_t parts_of(const kl__conv *c)
{
    int64_t pixels = (int64_t)c->N * c->out[0] * c->out[1];
    return least(up(pixels, PART_PIXELS), least(64, (int64_t)c->N * c->out[0]));
}

size_t kl__conv_dw_scratch(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    int v = caps->vector;
    if (c.pass != KL__CONV_WEIGHTS)
        return 0;
    return (size_t)(most(1, parts_of(&c)) * up(c.K, v) * v * (c.C / c.G) * c.kernel[0] *
                    c.kernel[1]) *
           sizeof(float);
}

static kl_status emit_parts(kl__emit *e, const kl__apply *a, const kl__conv *c, kl__defs *d)
{
    const kl__desc *x = &a->in[c->x]->desc, *y = &a->in[c->y]->desc;
    kl__launch l = kl__launch_of("conv2d_depthwise_bww.cl", "conv2d_dw_bww", d);
    kl__launch_arg(&l, kl__arg_in(a, c->x));
    kl__launch_arg(&l, kl__arg_in(a, c->y));
    kl__launch_arg(&l, kl__arg_scratch(a, 0, sizeof(float)));
    kl__launch_arg(&l, kl__arg_i32(c->N));
    put_storage(&l, x, -c->pad[0], -c->pad[1]);
    put_storage(&l, y, 0, 0);
    kl__launch_arg(&l, kl__arg_i32(c->stride[0]));
    kl__launch_arg(&l, kl__arg_i32(c->dilation[0]));
    kl__launch_arg(&l, kl__arg_i32(c->out[0]));
    kl__launch_arg(&l, kl__arg_i32(c->out[1]));
    kl__launch_solo(&l, 2, (size_t)up(c->K, e->caps->vector), (size_t)parts_of(c), 1);
    return kl__emit_launch(e, a, &l);
}

static kl_status emit_weights(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    int v = e->caps->vector, limit = v == 16 ? 25 : 12, rows = c->kernel[0]; /* accumulators */
    while (rows > 1 && (c->kernel[0] % rows || rows * c->kernel[1] > limit))
        rows--;
    kl__defs d = {{0}};
    defs_of(&d, c, v, c->out[1] % 7 == 0 ? 7 : 4);
    kl__def_int(&d, "SW", c->stride[1]);
    kl__def_int(&d, "HT", rows);
    kl_status st = parts_of(c) > 0 ? emit_parts(e, a, c, &d) : KL_OK;
    if (st == KL_OK) {
        kl__launch l = kl__launch_of("conv2d_depthwise_bww.cl", "conv2d_dw_bww_sum", &d);
        kl__launch_arg(&l, kl__arg_scratch(a, 0, sizeof(float)));
        kl__launch_arg(&l, kl__arg_out(a, 0));
        kl__launch_arg(&l, kl__arg_i32(parts_of(c)));
        kl__launch_arg(&l, kl__arg_i32(c->K));
        kl__launch_solo(&l, 1, (size_t)up(c->K, v), 1, 1);
        st = kl__emit_launch(e, a, &l);
    }
    kl__defs_free(&d);
    return st;
}

kl_status kl__conv_dw_emit(kl__emit *e, const kl__apply *a)
{
    kl__conv c = kl__conv_of(a);
    return c.pass == KL__CONV_WEIGHTS ? emit_weights(e, a, &c) : emit_pass(e, a, &c);
}
