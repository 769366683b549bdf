/* Direct convolution on blocked storage for CPU-like devices: layouts, forward, and backward data
 * as forward over dy. */
#include "ops/conv2d_solo.h"

#include "ops/epilogue.h"

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

kl__layout kl__conv_x_layout(const kl__conv *c, int block)
{
    kl__layout l = {KL__NCHWC, block, {0}};
    for (int i = 0; i < 2; i++) {
        int64_t end = (int64_t)(c->out[i] - 1) * c->stride[i] +
                      (int64_t)c->dilation[i] * (c->kernel[i] - 1) - c->pad[i];
        l.halo[i] = c->pad[i];
        l.halo[i + 2] = (int)most(0, end - (c->in[i] - 1));
    }
    return l;
}

static kl__layout x_layout(const kl__conv *c, int v)
{
    return kl__conv_x_layout(c, kl__conv_x_block(c, v));
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

/** NCHWc with the halo that `out` is preset to. */
static kl__layout out_layout(int v, const kl__layout *out)
{
    kl__layout l = {KL__NCHWC, v, {0}};
    for (int i = 0; i < 4; i++)
        l.halo[i] = out->halo[i];
    return l;
}

void kl__conv_solo_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in,
                           kl__layout *out)
{
    kl__conv c = kl__conv_of(a);
    int v = caps->vector;
    if (c.pass == KL__CONV_FWD) {
        in[c.x] = x_layout(&c, v);
        in[c.w] = (kl__layout){KL__OIHWC, v, {0}};
        out[0] = out_layout(v, out);
        kl__epi_layouts(a, out[0], in);
    } else if (c.pass == KL__CONV_DATA) {
        in[c.y] = y_layout(&c, v);
        in[c.w] = (kl__layout){KL__OIHWCT, v, {0}};
        out[0] = out_layout(v, out);
        kl__epi_layouts(a, out[0], in);
    } else {
        in[c.x] = x_layout(&c, v);
        in[c.y] = (kl__layout){KL__NCHWC, v, {0}};
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
    kl__layout bare = {KL__NCHWC, v, {0}};
    kl__desc d[2] = {{KL_F32, kl__shape4(c.N, c.C, c.in[0], c.in[1]),
                      c.pass == KL__CONV_DATA ? bare : x_layout(&c, v)},
                     {KL_F32, kl__shape4(c.N, c.K, c.out[0], c.out[1]),
                      c.pass == KL__CONV_DATA ? y_layout(&c, v) : bare}};
    return kl__desc_elems(&d[0], &n) && kl__desc_elems(&d[1], &n);
}

/* ---- one launch ---------------------------------------------------------------------------- */
typedef struct axis {
    int count, out0, out_step; /* output cells of this launch */
    int in0, in_step,
        tap_step;         /* where cell 0 and tap 0 read, from cell to cell, from tap to tap */
    int k0, k_step, taps; /* taps of the kernel that are used */
} axis;

typedef struct direct {
    int x, w, b;    /* slots; b may be KL__CONV_NONE */
    int xb;         /* block of x */
    int ci, cb, xc; /* channels and blocks to add up per group, blocks (xb 1: planes) of x */
    int oc, kg, yc; /* output channels, blocks per group, blocks */
    int wk, wblock,
        wgroup; /* in w: from output block to block, input block to block, group to group */
    int n, xh, xw, kernel[2];
    int x_rows[2]; /* of the storage, from and to: not halo */
    const kl__desc *y;
    axis h, w_axis;
    bool halo; /* y's halo is written by this launch */
} direct;

static bool no_halo(const kl__layout *l)
{
    return !(l->halo[0] | l->halo[1] | l->halo[2] | l->halo[3]);
}

/** Pixels of x and y correspond one to one in storage, so that a plane is one long row. */
static bool is_flat(const kl__apply *a, const direct *d)
{
    const axis *ax[2] = {&d->h, &d->w_axis};
    int cells[2] = {d->xh, d->xw};
    for (int i = 0; i < 2; i++)
        if (ax[i]->taps != 1 || ax[i]->in_step != 1 || ax[i]->out_step != 1 || ax[i]->in0 ||
            ax[i]->count != cells[i])
            return false;
    for (int i = a->n_own; i < a->n_in; i++)
        if (!no_halo(&a->in[i]->desc.layout))
            return false;
    return no_halo(&d->y->layout);
}

/** A flat plane as rows of `row` pixels, of which the last is not shorter than a tile. */
static void flatten(direct *d, const kl__conv_blocking *t)
{
    int pixels = d->h.count * d->w_axis.count, row = t->strip;
    while (row < pixels && pixels % row && pixels % row < t->px)
        row += t->px;
    row = (int)least(row, pixels);
    d->h.count = (int)up(pixels, row);
    d->w_axis.count = row;
    d->h.in_step = d->h.out_step = row;
    d->x_rows[1] = pixels;
}

static void put_axes(kl__launch *l, const direct *d)
{
    const axis *h = &d->h, *w = &d->w_axis;
    const int v[] = {h->count,    w->count,    h->out0,     w->out0,      h->out_step,
                     w->out_step, h->in0,      w->in0,      d->x_rows[0], d->x_rows[1],
                     h->in_step,  h->tap_step, w->tap_step, d->kernel[1], h->k0,
                     w->k0,       h->k_step,   w->k_step,   h->taps,      w->taps};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        kl__launch_arg(l, kl__arg_i32(v[i]));
}

static void put_sizes(kl__launch *l, const direct *d)
{
    const int64_t *y = d->y->shape.dim;
    const int *halo = d->y->layout.halo;
    const int64_t v[] = {d->b != KL__CONV_NONE,
                         d->ci,
                         d->cb,
                         d->xc,
                         d->xh,
                         d->xw,
                         d->oc,
                         d->kg,
                         d->yc,
                         d->wk,
                         d->wblock,
                         d->wgroup,
                         y[2],
                         y[3],
                         halo[0],
                         halo[1],
                         halo[2],
                         halo[3]};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        kl__launch_arg(l, kl__arg_i32(v[i]));
}

static kl_status emit_direct(kl__emit *e, const kl__apply *a, const direct *given)
{
    direct d = *given;
    bool flat = is_flat(a, &d);
    kl__conv_shape s = {.v = e->caps->vector,
                        .xb = d.xb,
                        .blocks = d.cb,
                        .kg = d.kg,
                        .yc = d.yc,
                        .n = d.n,
                        .rows = flat ? 1 : d.h.count,
                        .cols = flat ? d.h.count * d.w_axis.count : d.w_axis.count,
                        .taps = {d.h.taps, d.w_axis.taps},
                        .x_cells = d.xh * d.xw};
    kl__conv_blocking t = kl__conv_blocking_of(&s, e->caps, a->config);
    if (flat)
        flatten(&d, &t);
    kl__defs defs = {{0}};
    kl__def_int(&defs, "VN", s.v);
    kl__def_int(&defs, "XB", d.xb);
    kl__def_int(&defs, "KB", t.kb);
    kl__def_int(&defs, "PX", t.px);
    kl__def_int(&defs, "SW", d.w_axis.in_step);
    kl__launch l = kl__launch_of("conv2d_solo.cl", "conv2d_solo", &defs);
    kl__launch_arg(&l, kl__arg_in(a, d.x));
    kl__launch_arg(&l, kl__arg_in(a, d.w));
    kl__launch_arg(&l, kl__arg_in(a, d.b == KL__CONV_NONE ? d.w : d.b));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    put_sizes(&l, &d);
    put_axes(&l, &d);
    int rows = flat ? 1 : t.strip;
    const int64_t v[] = {rows, t.tap_rows, t.blocks, flat, d.halo};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        kl__launch_arg(&l, kl__arg_i32(v[i]));
    kl__launch_solo(&l, 3, (size_t)t.inner, (size_t)(up(d.h.count, rows) * d.n),
                    (size_t)(d.yc / t.kb / t.inner));
    kl_status status = kl__epi_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}

/* ---- forward, and backward data as forward over dy ----------------------------------------- */
static kl_status emit_forward(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    int v = e->caps->vector, xb = kl__conv_x_block(c, v), taps = c->kernel[0] * c->kernel[1];
    const int *halo = a->in[c->x]->desc.layout.halo;
    direct d = {.x = c->x,
                .w = c->w,
                .b = c->b,
                .y = &a->out[0]->desc,
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
                .x_rows = {halo[0], halo[0] + c->in[0]},
                .kernel = {c->kernel[0], c->kernel[1]}};
    d.wblock = taps * v * v;
    d.wk = d.cb * d.wblock;
    d.wgroup = d.kg * d.wk;
    d.halo = !no_halo(&d.y->layout);
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

static kl_status emit_data(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    int v = e->caps->vector, taps = c->kernel[0] * c->kernel[1];
    const int *halo = a->in[c->y]->desc.layout.halo;
    direct d = {.x = c->y,
                .w = c->w,
                .b = c->b,
                .y = &a->out[0]->desc,
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
                .x_rows = {halo[0], halo[0] + c->out[0]},
                .kernel = {c->kernel[0], c->kernel[1]}};
    d.wk = taps * v * v;
    d.wblock = d.kg * d.wk;
    d.wgroup = d.cb * d.wblock;
    kl_status status = KL_OK;
    for (int i = 0; i < c->stride[0] && i < c->in[0]; i++)
        for (int j = 0; status == KL_OK && j < c->stride[1] && j < c->in[1]; j++) {
            d.h = phase_axis(c, 0, i, halo[0]);
            d.w_axis = phase_axis(c, 1, j, halo[1]);
            d.halo = i == 0 && j == 0 && !no_halo(&d.y->layout);
            status = emit_direct(e, a, &d);
        }
    return status;
}

/* ---- the variant's functions --------------------------------------------------------------- */
bool kl__conv_solo_epilogue(const kl__apply *a, const kl__apply *elt)
{
    return kl__conv_of(a).pass != KL__CONV_WEIGHTS && kl__epi_by_channel(a, elt);
}

int kl__conv_solo_configs(const kl__apply *a, const kl__caps *caps)
{
    (void)a;
    (void)caps;
    return 4;
}

size_t kl__conv_solo_scratch(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    return c.pass == KL__CONV_WEIGHTS ? kl__conv_weights_scratch(&c, caps->vector) : 0;
}

kl_status kl__conv_solo_emit(kl__emit *e, const kl__apply *a)
{
    kl__conv c = kl__conv_of(a);
    return c.pass == KL__CONV_FWD    ? emit_forward(e, a, &c)
           : c.pass == KL__CONV_DATA ? emit_data(e, a, &c)
                                     : kl__conv_weights_emit(e, a, &c);
}
