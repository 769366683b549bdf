/* Convolution on plain storage for devices that run work-groups in step: forward and backward data
 * as matrix products with a gathered factor, or directly where a group has few channels. */
#include "ops/conv2d_coop.h"

#include "ops/epilogue.h"

/* ---- one axis of forward, and of backward data as forward over dy ---------------------------- */
typedef struct axis {
    int count, out0, out_step;  /* cells of the result that a launch makes */
    int in0, in_step, tap_step; /* where cell 0 and tap 0 read, from cell to cell, tap to tap */
    int k0, k_step, taps;       /* taps of the kernel that are used */
} axis;

static int gcd(int a, int b)
{
    return b ? gcd(b, a % b) : a;
}

static axis forward_axis(const kl__conv *c, int i)
{
    return (axis){c->out[i], 0, 1, -c->pad[i], c->stride[i], c->dilation[i], 0, 1, c->kernel[i]};
}

/** The cells phase, phase + stride, ... of x along axis i as a convolution of y with stride 1; taps
 * from the last on, so that they go forward in y. */
static axis phase_axis(const kl__conv *c, int i, int phase)
{
    int s = c->stride[i], q = s / gcd(s, c->dilation[i]);
    axis ax = {.count = (int)kl__up(c->in[i] - phase, s),
               .out0 = phase,
               .out_step = s,
               .in_step = 1,
               .tap_step = (int)((int64_t)q * c->dilation[i] / s),
               .k_step = -q};
    for (int k = c->kernel[i] - 1; k >= 0; k--) {
        int64_t t = phase + c->pad[i] - (int64_t)k * c->dilation[i];
        if (t % s)
            continue;
        ax.k0 = k;
        ax.in0 = (int)(t / s);
        ax.taps = k / q + 1;
        break;
    }
    return ax;
}

/* ---- which form ------------------------------------------------------------------------------ */
bool kl__conv_few(const kl__conv *c)
{
    return c->G > 1 && (c->C / c->G < 8 || c->K / c->G < 8) && c->kernel[0] * c->kernel[1] <= 49 &&
           c->kernel[0] * c->dilation[0] <= 64;
}

/** Offsets within an image, and counts of pixels, are 32 bits wide. */
static bool sizes_fit(const kl__conv *c)
{
    const int64_t limit = INT32_MAX / 2;
    int64_t x = (int64_t)c->in[0] * c->in[1], y = (int64_t)c->out[0] * c->out[1];
    int64_t taps = (int64_t)c->kernel[0] * c->kernel[1];
    for (int i = 0; i < 2; i++)
        if ((int64_t)c->dilation[i] * c->kernel[i] > 1 << 20 || c->pad[i] > 1 << 20 ||
            (int64_t)c->out[i] * c->stride[i] > 1 << 28)
            return false;
    return x * c->C < limit && y * c->K < limit && x * c->N < limit && y * c->N < limit &&
           taps * c->C / c->G * c->K < limit &&
           (!kl__conv_few(c) || (x * c->C * c->N < limit && y * c->K * c->N < limit));
}

bool kl__conv_coop_fits(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    return !caps->solo && a->out[0]->desc.dtype == KL_F32 && sizes_fit(&c) && c.G <= 65535 &&
           kl__coop_tiles(caps) > 0;
}

void kl__conv_coop_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in,
                           kl__layout *out)
{
    (void)caps;
    out[0] = (kl__layout){.kind = KL__PLAIN};
    kl__epi_layouts(a, out[0], in);
}

bool kl__conv_coop_epilogue(const kl__apply *a, const kl__apply *elt)
{
    return kl__conv_of(a).pass != KL__CONV_WEIGHTS && kl__epi_by_channel(a, elt);
}

int kl__conv_coop_configs(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    return kl__conv_few(&c) ? 1 : kl__coop_tiles(caps);
}

size_t kl__conv_coop_scratch(const kl__apply *a, const kl__caps *caps)
{
    kl__conv c = kl__conv_of(a);
    (void)caps;
    return c.pass == KL__CONV_WEIGHTS ? kl__conv_coop_weights_scratch(&c) : 0;
}

/* ---- launches -------------------------------------------------------------------------------- */
/** Forward or one phase of backward data, as the kernels see it. */
typedef struct side {
    int xslot, channels, per_group, size[2]; /* read */
    int out_channels, out_per_group, out_size[2];
    int wm, wc; /* steps in the weights from output to output and from input to input channel */
    axis h, w;
} side;

static side side_of(const kl__conv *c)
{
    int cg = c->C / c->G, kg = c->K / c->G, taps = c->kernel[0] * c->kernel[1];
    if (c->pass == KL__CONV_FWD)
        return (side){
            c->x, c->C, cg, {c->in[0], c->in[1]}, c->K, kg, {c->out[0], c->out[1]}, cg * taps,
            taps, {0},  {0}};
    return (side){c->y,      c->K, kg, {c->out[0], c->out[1]}, c->C, cg, {c->in[0], c->in[1]}, taps,
                  cg * taps, {0},  {0}};
}

static void ints(kl__launch *l, const int64_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        kl__launch_arg(l, kl__arg_i32(v[i]));
}

static void spans(kl__launch *l, const kl__apply *a, const kl__conv *c, const side *s)
{
    kl__launch_arg(l, kl__arg_in(a, s->xslot));
    kl__launch_arg(l, kl__arg_in(a, c->w));
    kl__launch_arg(l, kl__arg_in(a, c->b == KL__CONV_NONE ? c->w : c->b)); /* not read if none */
    kl__launch_arg(l, kl__arg_out(a, 0));
    kl__launch_arg(l, kl__arg_i32(c->b != KL__CONV_NONE));
}

static kl_status emit_product(kl__emit *e, const kl__apply *a, const kl__conv *c, const side *s)
{
    int64_t pixels = (int64_t)c->N * s->h.count * s->w.count;
    int taps = s->h.taps * s->w.taps, m = s->out_per_group;
    bool whole = s->h.out_step == 1 && s->w.out_step == 1;
    kl__coop_tile t = kl__coop_tile_of(e->caps, m, pixels, c->G, a->config);
    kl__defs defs = {{0}};
    kl__coop_tile_defs(&defs, &t);
    kl__def_int(&defs, "NH", taps ? s->h.taps : 1);
    kl__def_int(&defs, "NW", taps ? s->w.taps : 1);
    kl__launch l = kl__launch_of("conv2d_coop.cl", "conv2d_coop", &defs);
    spans(&l, a, c, s);
    const int64_t v[] = {pixels,
                         m,
                         (int64_t)s->per_group * taps,
                         s->channels,
                         s->per_group,
                         s->size[0],
                         s->size[1],
                         s->out_channels,
                         s->out_size[0],
                         s->out_size[1],
                         s->h.count,
                         s->w.count,
                         s->h.out0,
                         s->w.out0,
                         s->h.out_step,
                         s->w.out_step,
                         s->h.in0,
                         s->w.in0,
                         s->h.in_step,
                         s->w.in_step,
                         s->h.tap_step,
                         s->w.tap_step,
                         (int64_t)c->K / c->G * (c->C / c->G) * c->kernel[0] * c->kernel[1],
                         s->wm,
                         s->wc,
                         c->kernel[1],
                         s->h.k0,
                         s->w.k0,
                         s->h.k_step,
                         s->w.k_step,
                         whole && (s->h.count * (int64_t)s->w.count) % 4 == 0};
    ints(&l, v, sizeof v / sizeof *v);
    kl__coop_tile_launch(&l, &t, kl__up(m, t.bm) * kl__up(pixels, t.bn), c->G, 1);
    kl_status status = kl__epi_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}

static kl_status emit_few(kl__emit *e, const kl__apply *a, const kl__conv *c, const side *s)
{
    enum { ROWS = 4 }; /* RB */
    int64_t strips = kl__up(s->h.count, ROWS);
    int64_t items = c->N * (int64_t)s->out_channels * strips * s->w.count;
    bool none = s->h.taps == 0 || s->w.taps == 0;
    kl__defs defs = {{0}};
    kl__def_int(&defs, "NH", none ? 1 : s->h.taps);
    kl__def_int(&defs, "NW", none ? 1 : s->w.taps);
    kl__def_int(&defs, "SH", s->h.in_step);
    kl__def_int(&defs, "XH", s->h.tap_step);
    kl__launch l = kl__launch_of("conv2d_few_coop.cl", "conv2d_few_coop", &defs);
    spans(&l, a, c, s);
    const int64_t v[] = {items,
                         s->out_per_group,
                         s->channels,
                         none ? 0 : s->per_group,
                         s->size[0],
                         s->size[1],
                         s->out_channels,
                         s->out_size[0],
                         s->out_size[1],
                         s->h.count,
                         s->w.count,
                         strips,
                         s->h.out0,
                         s->w.out0,
                         s->h.out_step,
                         s->w.out_step,
                         s->h.in0,
                         s->w.in0,
                         s->w.in_step,
                         s->w.tap_step,
                         (int64_t)c->K / c->G * (c->C / c->G) * c->kernel[0] * c->kernel[1],
                         s->wm,
                         s->wc,
                         c->kernel[1],
                         s->h.k0,
                         s->w.k0,
                         s->h.k_step,
                         s->w.k_step};
    ints(&l, v, sizeof v / sizeof *v);
    kl__launch_1d(&l, e, (size_t)items);
    kl_status status = kl__epi_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}

static kl_status emit_side(kl__emit *e, const kl__apply *a, const kl__conv *c, const side *s)
{
    return kl__conv_few(c) ? emit_few(e, a, c, s) : emit_product(e, a, c, s);
}

/** One launch for each pair of phases: no product with the zeros between dy's cells. */
static kl_status emit_data(kl__emit *e, const kl__apply *a, const kl__conv *c)
{
    side s = side_of(c);
    kl_status status = KL_OK;
    for (int i = 0; i < c->stride[0] && i < c->in[0]; i++)
        for (int j = 0; status == KL_OK && j < c->stride[1] && j < c->in[1]; j++) {
            s.h = phase_axis(c, 0, i);
            s.w = phase_axis(c, 1, j);
            status = emit_side(e, a, c, &s);
        }
    return status;
}

kl_status kl__conv_coop_emit(kl__emit *e, const kl__apply *a)
{
    kl__conv c = kl__conv_of(a);
    if (c.pass == KL__CONV_WEIGHTS)
        return kl__conv_coop_weights(e, a, &c);
    if (c.pass == KL__CONV_DATA)
        return emit_data(e, a, &c);
    side s = side_of(&c);
    s.h = forward_axis(&c, 0);
    s.w = forward_axis(&c, 1);
    return emit_side(e, a, &c, &s);
}
