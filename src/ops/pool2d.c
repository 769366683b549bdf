/* Pooling windows: options, shapes, and how both poolings launch their kernels on plain storage. */
#include "ops/pool2d.h"

#include "ops/epilogue.h"

#include <stdio.h>

enum {
    ROW_CELLS = 16384, /* input cells of one SOLO work-item */
    MAX_UNROLL = 11    /* wider windows are left to scalar loops */
};

kl_node *kl__pool2d_build(kl_graph *g, const kl__op *op, kl_node *const *in, int n_in,
                          const void *attrs)
{
    kl_pool2d_opts o = *(const kl_pool2d_opts *)attrs;
    kl__geom_pair(o.window, 0, o.window);
    if (o.stride[0] == 0 && o.stride[1] == 0)
        o.stride[1] = o.window[1];
    kl__geom_pair(o.stride, o.window[0], o.stride);
    return kl__apply_new(g, op, o.name, in, n_in, &o);
}

kl_status kl__pool_check_dtype(const kl__apply *a)
{
    kl_dtype t = a->in[0]->desc.dtype;
    if (t != KL_F32 && t != KL_F64)
        return kl__fail(KL_E_SHAPE, "%s \"%s\": input is %s, f32 is needed", a->op->name, a->name,
                        kl_dtype_name(t));
    return KL_OK;
}

bool kl__pool_solo_fits(const kl__apply *a, const kl__caps *caps)
{
    return caps->solo && a->in[0]->desc.dtype == KL_F32;
}

static kl_status resolve(const kl__apply *a, const kl_pool2d_opts *o, int64_t h, int64_t w,
                         kl__geom *g)
{
    int stride[2] = {o->stride[0] ? o->stride[0] : o->window[0], o->stride[1]};
    if (!stride[1])
        stride[1] = o->stride[0] ? o->stride[0] : o->window[1];
    return kl__geom_resolve(a->op->name, a->name, o->window, stride, NULL, o->pad, o->ceil_mode, h,
                            w, g);
}

kl_status kl__pool2d_infer(const kl__apply *a, kl__desc *y)
{
    const kl__desc *x = &a->in[0]->desc;
    const kl_pool2d_opts *o = a->attrs;
    kl__geom g;
    char b[96];
    kl_status st = kl__pool_check_dtype(a);
    if (st != KL_OK)
        return st;
    if (x->shape.n_dims != 4)
        return kl__fail(KL_E_SHAPE, "%s \"%s\": input %s is not [N,C,H,W]", a->op->name, a->name,
                        kl__shape_str(x->shape, b));
    st = resolve(a, o, x->shape.dim[2], x->shape.dim[3], &g);
    if (st != KL_OK)
        return st;
    for (int i = 0; i < 4; i++)
        if (g.pad[i] >= g.window[i % 2])
            return kl__fail(
                KL_E_SHAPE,
                "%s \"%s\": padding (%d, %d, %d, %d) must be less than the window %dx%d",
                a->op->name, a->name, g.pad[0], g.pad[1], g.pad[2], g.pad[3], g.window[0],
                g.window[1]);
    *y = (kl__desc){.dtype = x->dtype, .shape = x->shape};
    y->shape.dim[2] = g.out[0];
    y->shape.dim[3] = g.out[1];
    return KL_OK;
}

kl__geom kl__pool2d_geom(const kl__apply *a)
{
    kl_shape s = a->in[0]->desc.shape;
    kl__geom g;
    (void)resolve(a, a->attrs, s.dim[2], s.dim[3], &g);
    return g;
}

kl__geom kl__pool2d_bwd_geom(const kl__apply *a)
{
    const kl__pool2d_bwd *o = a->attrs;
    kl__geom g;
    (void)resolve(a, &o->pool, o->size[0], o->size[1], &g);
    return g;
}

kl_status kl__pool2d_bwd_infer(const kl__apply *a, kl__desc *dx)
{
    const kl__pool2d_bwd *o = a->attrs;
    *dx = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = a->in[0]->desc.shape};
    dx->shape.dim[2] = o->size[0];
    dx->shape.dim[3] = o->size[1];
    return KL_OK;
}

kl__pool2d kl__pool2d_of(const kl__apply *a)
{
    kl__pool2d p = {.max = a->op == &kl__op_maxpool2d || a->op == &kl__op_maxpool2d_bwd,
                    .back = a->op == &kl__op_maxpool2d_bwd || a->op == &kl__op_avgpool2d_bwd};
    const kl_pool2d_opts *o = p.back ? &((const kl__pool2d_bwd *)a->attrs)->pool : a->attrs;
    p.g = p.back ? kl__pool2d_bwd_geom(a) : kl__pool2d_geom(a);
    p.skip = o->skip_pad;
    if (p.max) {
        p.stem = p.back ? "maxpool2d_bwd" : "maxpool2d_fwd";
        p.places = p.back ? a->in[1] : a->n_out > 1 ? a->out[1] : NULL;
    } else {
        p.stem = p.back ? "avgpool2d_bwd" : "avgpool2d_fwd";
    }
    return p;
}

void kl__pool2d_args(kl__launch *l, kl__defs *d, const kl__apply *a, const kl__pool2d *p)
{
    for (int i = 0; i < a->n_own; i++)
        kl__launch_arg(l, kl__arg_in(a, i));
    for (int i = 0; i < a->n_out; i++)
        kl__launch_arg(l, kl__arg_out(a, i));
    if (p->places)
        kl__def_word(d, "A", p->places->desc.dtype == KL_U8 ? "uchar" : "int");
    else if (p->max)
        kl__def_flag(d, "NO_PLACES");
}

/* ---- plain storage --------------------------------------------------------------------------- */
/** Windows per vector: as many as the device has lanes and a row has windows wholly inside; 1: no
 * vectors. */
static int vector_of(const kl__geom *g, int most)
{
    int64_t sw = g->stride[1], reach = g->window[1] > sw ? g->window[1] : sw;
    int64_t first = (g->pad[1] + sw - 1) / sw, end = (g->in[1] + g->pad[1] - reach) / sw + 1;
    int v = most;
    if (end > g->out[1])
        end = g->out[1];
    while (v >= 4 && v > end - first)
        v /= 2;
    return sw > 2 || g->window[1] > MAX_UNROLL || v < 4 ? 1 : v;
}

static void solo_defs(kl__defs *d, const kl__geom *g, int vector)
{
    kl__def_int(d, "KH", g->window[0]);
    kl__def_int(d, "KW", g->window[1]);
    kl__def_int(d, "SH", g->stride[0]);
    kl__def_int(d, "SW", g->stride[1]);
    kl__def_int(d, "V", vector_of(g, vector));
}

/** solo: window and vector as -D, an item takes some rows of windows, or backward a plane; ref:
 * window as arguments, an item per element of the output. */
static kl_status emit_plain(kl__emit *e, const kl__apply *a, bool solo)
{
    kl__pool2d p = kl__pool2d_of(a);
    const kl__geom *g = &p.g;
    kl_shape s = a->out[0]->desc.shape;
    int64_t planes = s.dim[0] * s.dim[1], rows = ROW_CELLS / (g->in[1] * g->stride[0]);
    size_t items = (size_t)kl_shape_count(s);
    char kernel[32];
    rows = rows < 1 ? 1 : rows < g->out[0] ? rows : g->out[0];
    snprintf(kernel, sizeof kernel, "%s_%s", p.stem, solo ? "solo" : "ref");
    kl__defs d = {0};
    kl__defs_real(&d, a);
    if (solo)
        solo_defs(&d, g, e->caps->vector);
    kl__launch l = kl__launch_of(p.max ? "pool2d_max.cl" : "pool2d_avg.cl", kernel, &d);
    kl__pool2d_args(&l, &d, a, &p);
    if (!solo || !p.back)
        kl__launch_arg(&l, solo ? kl__arg_i32(rows) : kl__arg_i32((int64_t)items));
    for (int i = 0; i < 4; i++)
        kl__launch_arg(&l, kl__arg_i32(i < 2 ? g->in[i] : g->out[i - 2]));
    for (int i = 0; i < 4 && !solo; i++)
        kl__launch_arg(&l, kl__arg_i32(i < 2 ? g->window[i] : g->stride[i - 2]));
    for (int i = 0; i < (p.max ? 2 : 4); i++)
        kl__launch_arg(&l, kl__arg_i32(g->pad[i]));
    if (!p.max)
        kl__launch_arg(&l, kl__arg_i32(p.skip));
    if (!solo)
        kl__launch_1d(&l, e, items);
    else if (p.back)
        kl__launch_solo(&l, 1, (size_t)planes, 1, 1);
    else
        kl__launch_solo(&l, 2, (size_t)((g->out[0] + rows - 1) / rows), (size_t)planes, 1);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

static kl_status emit_solo(kl__emit *e, const kl__apply *a)
{
    return emit_plain(e, a, true);
}

static kl_status emit_ref(kl__emit *e, const kl__apply *a)
{
    return emit_plain(e, a, false);
}

const kl__variant kl__pool2d_variants[] = {
    {.name = "solo_c",
     .fits = kl__pool2d_blocked_fits,
     .needs = "a CPU with vectors, and an input stored in blocks of channels",
     .layouts = kl__pool2d_blocked_layouts,
     .wide_halo = true,
     .epilogue = kl__epi_by_channel,
     .emit = kl__pool2d_blocked_emit},
    {.name = "solo", .fits = kl__pool_solo_fits, .emit = emit_solo},
    {.name = "ref", .emit = emit_ref},
    {.name = NULL},
};

void kl__pool2d_window(const kl__apply *a, int extent[2], int stride[2])
{
    kl__geom g = kl__pool2d_geom(a);
    for (int i = 0; i < 2; i++) {
        extent[i] = g.window[i];
        stride[i] = g.stride[i];
    }
}
