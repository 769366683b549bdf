/* Direct convolution on blocked storage for CPU-like devices: tiles, layouts, launches. Tile
 * choices were measured on 3x3 and 5x5 kernels with 32 to 256 channels; they depend on shapes only,
 * so that sums are the same on every device of one vector width, whatever its number of cores. */
#include "ops/conv2d_solo.h"

/* ---- storage ------------------------------------------------------------------------------- */
int kl__conv_x_block(const kl__conv *c, int v)
{
    return c->pass != KL__CONV_DATA && c->C <= 4 && c->C < v && c->G == 1 ? 1 : v;
}

/** Rows (axis 0) or columns of y that backward data reads: from *lo to *hi, outside 0..out-1 in the
 * halo. */
static void y_reach(const kl__conv *c, int axis, int64_t *lo, int64_t *hi)
{
    *lo = 0;
    *hi = c->out[axis] - 1;
    for (int k = 0; k < c->kernel[axis]; k++) {
        /* first and last cell h of x with (h + pad - k dilation) a multiple of the stride */
        int64_t s = c->stride[axis], t = c->pad[axis] - (int64_t)k * c->dilation[axis];
        int64_t first = ((-t % s) + s) % s, end = c->in[axis] - 1;
        if (first > end)
            continue;
        int64_t last = first + (end - first) / s * s;
        *lo = least(*lo, (first + t) / s);
        *hi = most(*hi, (last + t) / s);
    }
}

static kl__layout x_layout(const kl__conv *c, int v)
{
    kl__layout l = {KL__NCHWC, kl__conv_x_block(c, v), {0}};
    for (int i = 0; i < 2; i++) {
        int64_t end = (int64_t)(c->out[i] - 1) * c->stride[i] +
                      (int64_t)c->dilation[i] * (c->kernel[i] - 1) - c->pad[i];
        l.halo[i] = c->pad[i];
        l.halo[i + 2] = (int)most(0, end - (c->in[i] - 1));
    }
    return l;
}

static kl__layout y_layout(const kl__conv *c, int v)
{
    kl__layout l = {KL__NCHWC, v, {0}};
    for (int i = 0; i < 2; i++) {
        int64_t lo, hi;
        y_reach(c, i, &lo, &hi);
        l.halo[i] = (int)-lo;
        l.halo[i + 2] = (int)(hi - (c->out[i] - 1));
    }
    return l;
}

static kl__layout out_layout(int v)
{
    return (kl__layout){KL__NCHWC, v, {0}};
}

void kl__conv_solo_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in,
                           kl__layout *out)
{
    kl__conv c = kl__conv_of(a);
    int v = caps->vector;
    if (c.pass == KL__CONV_FWD) {
        in[c.x] = x_layout(&c, v);
        in[c.w] = (kl__layout){KL__OIHWC, v, {0}};
        out[0] = out_layout(v);
    } else if (c.pass == KL__CONV_DATA) {
        in[c.y] = y_layout(&c, v); /* w stays plain: it is turned round in scratch */
        out[0] = out_layout(v);
    } else {
        in[c.x] = x_layout(&c, v);
        in[c.y] = y_layout(
            &c, v); /* the halo is that of backward data, so that both read one reordered dy */
    }
}

bool kl__conv_solo_fits(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    int v = caps->vector;
    size_t n;
    if (!caps->solo || a->out[0]->desc.dtype != KL_F32)
        return false;
    if (c.G > 1 && (c.C / c.G % v || c.K / c.G % v))
        return false;
    kl__desc d[2] = {{KL_F32, kl__shape4(c.N, c.C, c.in[0], c.in[1]),
                      c.pass == KL__CONV_DATA ? out_layout(v) : x_layout(&c, v)},
                     {KL_F32, kl__shape4(c.N, c.K, c.out[0], c.out[1]),
                      c.pass == KL__CONV_FWD ? out_layout(v) : y_layout(&c, v)}};
    return kl__desc_elems(&d[0], &n) && kl__desc_elems(&d[1], &n);
}

/* ---- tiles --------------------------------------------------------------------------------- */
int kl__conv_tile_blocks(int64_t blocks)
{
    return blocks % 2 == 0 ? 2 : blocks % 3 == 0 ? 3 : 1;
}

/** Pixels per tile and of the last tile of a row (0: none). Vector registers: 32 where v is 16,
 * else 16. */
static void tile_pixels(int v, int kb, int64_t width, int *px, int *pt)
{
    int regs = v == 16 ? 32 : 16, limit = (regs - 2 - kb) / kb, cap = kb == 1 ? 12 : 8;
    int64_t best = INT64_MAX;
    limit = limit < cap ? limit : cap;
    for (int p = limit; p > 0; p--) {
        int64_t tail = width % p,
                narrow = p * kb < 8 ? 8 / kb : p; /* few accumulators wait for each other */
        int64_t cost = width / p * (narrow + 1) + (tail ? most(tail, 8 / kb) + 1 : 0);
        if (cost < best && p <= width) {
            best = cost;
            *px = p;
            *pt = (int)tail;
        }
    }
}

/* ---- forward, and backward data as forward over dy ----------------------------------------- */
typedef struct axis {
    int count, out0, out_step; /* output cells of this launch in storage */
    int in0, in_step,
        tap_step;         /* where cell 0 and tap 0 read, from cell to cell, from tap to tap */
    int k0, k_step, taps; /* taps of the kernel that are used */
} axis;

typedef struct direct {
    kl__arg x, w, b, y;
    bool has_bias;
    int xb;         /* block of x */
    int ci, cb, xc; /* channels and blocks to add up per group, blocks (xb 1: planes) of x */
    int oc, kg, yc; /* output channels, blocks per group, blocks */
    int n, xh, xw, yh, yw, kernel[2];
    axis h, w_axis;
} direct;

static kl_status emit_direct(kl__emit *e, const kl__apply *a, const direct *d)
{
    const kl__caps *caps = e->caps;
    int v = caps->vector, kb = kl__conv_tile_blocks(d->kg), px = 1, pt = 0;
    tile_pixels(v, kb, d->w_axis.count, &px, &pt);
    /* strips of about 256 pixels, shorter where that leaves fewer than 8 work-items per core */
    int64_t others = (int64_t)d->yc / kb * d->n, want = 8 * (int64_t)most(caps->compute_units, 1);
    int64_t strips = most(up((int64_t)d->h.count * d->w_axis.count, 256), up(want, others));
    int64_t rows = up(d->h.count, least(strips, d->h.count));
    /* rows of taps whose weights share L1 with a strip of x */
    int64_t row_bytes = (int64_t)d->w_axis.taps * v * v * kb * 4;
    int64_t tap_rows = d->xb == 1 || row_bytes == 0
                           ? most(d->h.taps, 1)
                           : most(1, (int64_t)caps->l1_bytes * 3 / 4 / row_bytes);
    kl__defs defs = {{0}};
    kl__def_int(&defs, "V", v);
    kl__def_int(&defs, "XB", d->xb);
    kl__def_int(&defs, "KB", kb);
    kl__def_int(&defs, "PX", px);
    kl__def_int(&defs, "PT", pt);
    kl__def_int(&defs, "SW", d->w_axis.in_step);
    kl__launch l = kl__launch_of("conv2d_solo.cl", "conv2d_solo", &defs);
    const kl__arg spans[] = {d->x, d->w, d->b, d->y};
    for (int i = 0; i < 4; i++)
        kl__launch_arg(&l, spans[i]);
    const int64_t v32[] = {d->has_bias,
                           d->ci,
                           d->cb,
                           d->xc,
                           d->xh,
                           d->xw,
                           d->oc,
                           d->kg,
                           d->yc,
                           d->yh,
                           d->yw,
                           d->h.count,
                           d->w_axis.count,
                           d->h.out0,
                           d->w_axis.out0,
                           d->h.out_step,
                           d->w_axis.out_step,
                           d->h.in0,
                           d->w_axis.in0,
                           d->h.in_step,
                           d->h.tap_step,
                           d->w_axis.tap_step,
                           d->kernel[0],
                           d->kernel[1],
                           d->h.k0,
                           d->w_axis.k0,
                           d->h.k_step,
                           d->w_axis.k_step,
                           d->h.taps,
                           d->w_axis.taps,
                           rows,
                           tap_rows};
    for (size_t i = 0; i < sizeof v32 / sizeof *v32; i++)
        kl__launch_arg(&l, kl__arg_i32(v32[i]));
    kl__launch_solo(&l, 3, (size_t)(d->yc / kb), (size_t)up(d->h.count, rows), (size_t)d->n);
    kl_status status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}

static kl_status emit_forward(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    int v = e->caps->vector, xb = kl__conv_x_block(c, v);
    const int *halo = a->in[c->x]->desc.layout.halo;
    direct d = {.x = kl__arg_in(a, c->x),
                .w = kl__arg_in(a, c->w),
                .y = kl__arg_out(a, 0),
                .b = kl__arg_in(a, c->b == KL__CONV_NONE ? c->w : c->b),
                .has_bias = c->b != KL__CONV_NONE,
                .xb = xb,
                .ci = c->C / c->G,
                .cb = (int)up(c->C / c->G, v),
                .xc = (int)up(c->C, xb),
                .oc = c->K,
                .kg = (int)up(c->K / c->G, v),
                .yc = (int)up(c->K, v),
                .n = c->N,
                .xh = halo[0] + c->in[0] + halo[2],
                .xw = halo[1] + c->in[1] + halo[3],
                .yh = c->out[0],
                .yw = c->out[1],
                .kernel = {c->kernel[0], c->kernel[1]}};
    axis *ax[2] = {&d.h, &d.w_axis};
    for (int i = 0; i < 2; i++)
        *ax[i] = (axis){c->out[i],      0, 1, halo[i] - c->pad[i], c->stride[i],
                        c->dilation[i], 0, 1, c->kernel[i]};
    return emit_direct(e, a, &d);
}

static int gcd(int a, int b)
{
    return b ? gcd(b, a % b) : a;
}

/** The cells phase, phase + stride, ... of x along axis i as a stride-1 convolution of y. */
static axis phase_axis(const kl__conv *c, int i, int phase, int halo)
{
    int s = c->stride[i], q = s / gcd(s, c->dilation[i]);
    axis ax = {.count = (int)up(c->in[i] - phase, s),
               .out0 = phase,
               .out_step = s,
               .in0 = halo,
               .in_step = 1,
               .tap_step = -(int)((int64_t)q * c->dilation[i] / s),
               .k_step = q};
    for (int k = 0; k < c->kernel[i]; k++) {
        int64_t t = phase + c->pad[i] - (int64_t)k * c->dilation[i];
        if (t % s == 0) {
            ax.k0 = k;
            ax.in0 = halo + (int)(t / s);
            ax.taps = (c->kernel[i] - 1 - k) / q + 1;
            break;
        }
    }
    return ax;
}

/** w [K, C/G, KH, KW] turned round in scratch: input channels become the vector. */
static kl_status emit_swap(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    int v = e->caps->vector;
    kl__defs defs = {{0}};
    kl__def_int(&defs, "V", v);
    kl__launch l = kl__launch_of("reorder.cl", "reorder_weights_swap_solo", &defs);
    kl__launch_arg(&l, kl__arg_in(a, c->w));
    kl__launch_arg(&l, kl__arg_scratch(a, 0, 4));
    kl__launch_arg(&l, kl__arg_i32(c->K / c->G));
    kl__launch_arg(&l, kl__arg_i32(c->C / c->G));
    kl__launch_arg(&l, kl__arg_i32((int64_t)c->kernel[0] * c->kernel[1]));
    kl__launch_solo(&l, 2, (size_t)up(c->C, v), (size_t)up(c->K / c->G, v), 1);
    kl_status status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}

static kl_status emit_data(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    int v = e->caps->vector;
    const int *halo = a->in[c->y]->desc.layout.halo;
    direct d = {.x = kl__arg_in(a, c->y),
                .w = kl__arg_scratch(a, 0, 4),
                .y = kl__arg_out(a, 0),
                .b = kl__arg_in(a, c->b == KL__CONV_NONE ? c->w : c->b),
                .has_bias = c->b != KL__CONV_NONE,
                .xb = v,
                .ci = c->K / c->G,
                .cb = (int)up(c->K / c->G, v),
                .xc = (int)up(c->K, v),
                .oc = c->C,
                .kg = (int)up(c->C / c->G, v),
                .yc = (int)up(c->C, v),
                .n = c->N,
                .xh = halo[0] + c->out[0] + halo[2],
                .xw = halo[1] + c->out[1] + halo[3],
                .yh = c->in[0],
                .yw = c->in[1],
                .kernel = {c->kernel[0], c->kernel[1]}};
    kl_status status = emit_swap(e, a, c);
    for (int i = 0; i < c->stride[0] && i < c->in[0]; i++)
        for (int j = 0; status == KL_OK && j < c->stride[1] && j < c->in[1]; j++) {
            d.h = phase_axis(c, 0, i, halo[0]);
            d.w_axis = phase_axis(c, 1, j, halo[1]);
            status = emit_direct(e, a, &d);
        }
    return status;
}

/* ---- the variant's functions --------------------------------------------------------------- */
size_t kl__conv_solo_scratch(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    int v = caps->vector;
    if (c.pass == KL__CONV_FWD)
        return 0;
    if (c.pass == KL__CONV_DATA)
        return (size_t)(up(c.C, v) * up(c.K / c.G, v) * c.kernel[0] * c.kernel[1] * v * v) * 4;
    return kl__conv_weights_scratch(&c, v);
}

kl_status kl__conv_solo_emit(kl__emit *e, const kl__apply *a)
{
    kl__conv c = kl__conv_of(a);
    return c.pass == KL__CONV_FWD    ? emit_forward(e, a, &c)
           : c.pass == KL__CONV_DATA ? emit_data(e, a, &c)
                                     : kl__conv_weights_emit(e, a, &c);
}
