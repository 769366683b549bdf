/* Pooling on blocked storage, so that no reorder stands between a convolution and the next: chosen
 * where what it reads comes blocked. */
#include "ops/pool2d.h"

enum { ROW_CELLS = 16384 }; /* floats of input that one work-item reads */

static bool is_blocked(const kl_node *x, const kl__caps *caps)
{
    return x->desc.layout.kind == KL__NCHWC && x->desc.layout.block == caps->vector;
}

bool kl__pool2d_blocked_fits(const kl__apply *a, const kl__caps *caps)
{
    return kl__pool_solo_fits(a, caps) && is_blocked(a->in[a->n_in - 1], caps);
}

void kl__pool2d_blocked_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in,
                                kl__layout *out)
{
    const kl__layout bare = {KL__NCHWC, caps->vector, {0}};
    for (int i = 0; i < a->n_in; i++)
        in[i] = i == 0 && is_blocked(a->in[i], caps) ? a->in[i]->desc.layout : bare;
    for (int i = 0; i < a->n_out; i++)
        out[i] = bare;
}

/** Pixels of a plane and of a row of x's storage, and those before its first cell. */
static void storage_args(kl__launch *l, const kl_node *x)
{
    const int *halo = x->desc.layout.halo; /* top, left, bottom, right */
    int64_t row = x->desc.shape.dim[3] + halo[1] + halo[3];
    kl__launch_arg(l, kl__arg_i32((x->desc.shape.dim[2] + halo[0] + halo[2]) * row));
    kl__launch_arg(l, kl__arg_i32(row));
    kl__launch_arg(l, kl__arg_i32(halo[0] * row + halo[1]));
}

kl_status kl__pool2d_blocked_emit(kl__emit *e, const kl__apply *a, const kl__pool2d_launch *p)
{
    const kl__geom *g = &p->g;
    const int64_t *y = a->out[0]->desc.shape.dim;
    int v = a->out[0]->desc.layout.block;
    int64_t planes = y[0] * ((y[1] + v - 1) / v);
    int64_t rows = ROW_CELLS * y[2] / (g->in[0] * g->in[1] * v);
    rows = rows < 1 ? 1 : rows < y[2] ? rows : y[2];
    kl__defs d = {0};
    kl__def_int(&d, "V", v);
    if (p->arg_word)
        kl__def_word(&d, "A", p->arg_word);
    kl__launch l = kl__launch_of("pool2d_c.cl", p->kernel, &d);
    for (int i = 0; i < p->n_args; i++)
        kl__launch_arg(&l, p->arg[i]);
    kl__launch_arg(&l, kl__arg_i32(rows));
    storage_args(&l, a->in[0]);
    for (int i = 0; i < 4; i++)
        kl__launch_arg(&l, kl__arg_i32(i < 2 ? g->in[i] : g->out[i - 2]));
    for (int i = 0; i < 4; i++)
        kl__launch_arg(&l, kl__arg_i32(i < 2 ? g->window[i] : g->stride[i - 2]));
    for (int i = 0; i < (p->skip < 0 ? 2 : 4); i++)
        kl__launch_arg(&l, kl__arg_i32(g->pad[i]));
    if (p->skip >= 0)
        kl__launch_arg(&l, kl__arg_i32(p->skip));
    kl__launch_solo(&l, 2, (size_t)((y[2] + rows - 1) / rows), (size_t)planes, 1);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}
