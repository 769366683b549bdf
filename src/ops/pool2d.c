/* Pooling windows: options, shapes, and the one way both poolings launch their kernels. */
#include "ops/pool2d.h"

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

kl_status kl__pool2d_emit(kl__emit *e, const kl__apply *a, const kl__pool2d_launch *p)
{
    const kl__geom *g = &p->g;
    int64_t rows = ROW_CELLS / (g->in[1] * g->stride[0]);
    rows = rows < 1 ? 1 : rows < g->out[0] ? rows : g->out[0];
    kl__defs d = {0};
    kl__defs_real(&d, a);
    if (p->arg_word)
        kl__def_word(&d, "A", p->arg_word);
    if (p->solo)
        solo_defs(&d, g, e->caps->vector);
    kl__launch l = kl__launch_of(p->file, p->kernel, &d);
    for (int i = 0; i < p->n_args; i++)
        kl__launch_arg(&l, p->arg[i]);
    if (!p->solo || p->by_rows)
        kl__launch_arg(&l, kl__arg_i32(p->solo ? rows : p->items));
    for (int i = 0; i < 2; i++)
        kl__launch_arg(&l, kl__arg_i32(g->in[i]));
    for (int i = 0; i < 2; i++)
        kl__launch_arg(&l, kl__arg_i32(g->out[i]));
    for (int i = 0; i < 4 && !p->solo; i++)
        kl__launch_arg(&l, kl__arg_i32(i < 2 ? g->window[i] : g->stride[i - 2]));
    for (int i = 0; i < (p->skip < 0 ? 2 : 4); i++)
        kl__launch_arg(&l, kl__arg_i32(g->pad[i]));
    if (p->skip >= 0)
        kl__launch_arg(&l, kl__arg_i32(p->skip));
    if (!p->solo)
        kl__launch_1d(&l, e, (size_t)p->items);
    else if (p->by_rows)
        kl__launch_solo(&l, 2, (size_t)((g->out[0] + rows - 1) / rows), (size_t)p->planes, 1);
    else
        kl__launch_solo(&l, 1, (size_t)p->planes, 1, 1);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

void kl__pool2d_window(const kl__apply *a, int extent[2], int stride[2])
{
    kl__geom g = kl__pool2d_geom(a);
    for (int i = 0; i < 2; i++) {
        extent[i] = g.window[i];
        stride[i] = g.stride[i];
    }
}
