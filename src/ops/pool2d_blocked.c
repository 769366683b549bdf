/* Pooling on blocked storage, so that no reorder stands between a convolution and the next: chosen
 * where what it reads is in blocks. */
#include "ops/pool2d.h"

#include "ops/conv2d.h"
#include "ops/epilogue.h"

#include <stdio.h>

enum {
    ROW_CELLS = 16384, /* floats of input that one work-item reads */
    FIXED_CELLS = 16,  /* larger windows are left to loops */
    MAX_STEPS = 64     /* back to a convolution */
};

static bool stored_blocked(const kl_node *x, const kl__caps *caps)
{
    return x->desc.layout.kind == KL__NCHWC && x->desc.layout.block == caps->vector;
}

/* Epilogues are chosen before layouts: what will be in blocks is told from where it comes. */
bool kl__pool_is_blocked(const kl_node *x, const kl__caps *caps)
{
    for (int i = 0; i < MAX_STEPS && x->desc.shape.n_dims == 4; i++) {
        const kl__apply *a = x->by;
        if (stored_blocked(x, caps) || a->op->variants == kl__conv_variants)
            return true;
        if (a->n_in == 0 || a->op->flags & KL__OP_VIEW)
            return false;
        x = a->in[0];
    }
    return false;
}

bool kl__pool2d_blocked_fits(const kl__apply *a, const kl__caps *caps)
{
    return kl__pool_solo_fits(a, caps) && kl__pool_is_blocked(a->in[a->n_own - 1], caps);
}

void kl__pool2d_blocked_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in,
                                kl__layout *out)
{
    const kl__layout bare = {KL__NCHWC, caps->vector, {0}};
    for (int i = 0; i < a->n_own; i++)
        in[i] = i == 0 && stored_blocked(a->in[i], caps) ? a->in[i]->desc.layout : bare;
    out[0].kind = bare.kind; /* its halo stays what readers want */
    out[0].block = bare.block;
    for (int i = 1; i < a->n_out; i++)
        out[i] = bare;
    kl__epi_layouts(a, bare, in);
}

void kl__pool_storage_args(kl__launch *l, const kl_node *x)
{
    const int *halo = x->desc.layout.halo; /* top, left, bottom, right */
    int64_t row = x->desc.shape.dim[3] + halo[1] + halo[3];
    kl__launch_arg(l, kl__arg_i32((x->desc.shape.dim[2] + halo[0] + halo[2]) * row));
    kl__launch_arg(l, kl__arg_i32(row));
    kl__launch_arg(l, kl__arg_i32(halo[0] * row + halo[1]));
}

void kl__pool_halo_args(kl__launch *l, const kl_node *y)
{
    for (int i = 0; i < 4; i++)
        kl__launch_arg(l, kl__arg_i32(y->desc.layout.halo[i]));
}

static void window_args(kl__launch *l, kl__defs *d, const kl__geom *g)
{
    static const char *const names[] = {"KH", "KW", "SH", "SW"};
    bool fixed = (int64_t)g->window[0] * g->window[1] <= FIXED_CELLS && g->stride[1] <= 4;
    for (int i = 0; i < 4; i++) {
        int n = i < 2 ? g->window[i] : g->stride[i - 2];
        if (fixed)
            kl__def_int(d, names[i], n);
        kl__launch_arg(l, kl__arg_i32(n));
    }
}

kl_status kl__pool2d_blocked_emit(kl__emit *e, const kl__apply *a)
{
    kl__pool2d p = kl__pool2d_of(a);
    const kl__geom *g = &p.g;
    const int64_t *y = a->out[0]->desc.shape.dim;
    int v = a->out[0]->desc.layout.block;
    int64_t blocks = (y[1] + v - 1) / v, rows = ROW_CELLS * y[2] / (g->in[0] * g->in[1] * v);
    char kernel[32];
    rows = rows < 1 ? 1 : rows < y[2] ? rows : y[2];
    snprintf(kernel, sizeof kernel, "%s_c", p.stem);
    kl__defs d = {0};
    kl__def_int(&d, "VN", v);
    kl__launch l = kl__launch_of("pool2d_c.cl", kernel, &d);
    kl__pool2d_args(&l, &d, a, &p);
    kl__launch_arg(&l, kl__arg_i32(rows));
    kl__launch_arg(&l, kl__arg_i32(blocks));
    kl__pool_storage_args(&l, a->in[0]);
    for (int i = 0; i < 4; i++)
        kl__launch_arg(&l, kl__arg_i32(i < 2 ? g->in[i] : g->out[i - 2]));
    kl__pool_halo_args(&l, a->out[0]);
    window_args(&l, &d, g);
    for (int i = 0; i < (p.max ? 2 : 4); i++)
        kl__launch_arg(&l, kl__arg_i32(g->pad[i]));
    if (!p.max)
        kl__launch_arg(&l, kl__arg_i32(p.skip));
    kl__launch_solo(&l, 2, (size_t)((y[2] + rows - 1) / rows), (size_t)(y[0] * blocks), 1);
    kl_status st = kl__epi_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}
