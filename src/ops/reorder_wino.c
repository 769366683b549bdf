/* Weights to Winograd form: kinds KL__WINO and KL__WINO_SWAP of tensor.h. */
#include "ops/reorder.h"

static int64_t blocks(int64_t n, int c)
{
    return (n + c - 1) / c;
}

static bool swapped(const kl__apply *a)
{
    return a->out[0]->desc.layout.kind == KL__WINO_SWAP;
}

bool kl__reorder_wino_fits(const kl__apply *a, const kl__caps *caps)
{
    const kl__layout *from = &a->in[0]->desc.layout, *to = a->attrs;
    return caps->solo && a->in[0]->desc.dtype == KL_F32 && from->kind == KL__PLAIN &&
           kl__is_wino(to->kind) && to->block == caps->vector;
}

kl_status kl__reorder_wino_emit(kl__emit *e, const kl__apply *a)
{
    const int64_t *d = a->in[0]->desc.shape.dim;
    bool swap = swapped(a);
    int v = e->caps->vector;
    int64_t ob = blocks(d[0], v), ib = blocks(d[1], v);
    kl__defs defs = {{0}};
    kl__def_int(&defs, "VN", v);
    kl__def_int(&defs, "KR", d[2]);
    kl__launch l = kl__launch_of("wino_weights.cl",
                                 swap ? "wino_weights_swap_solo" : "wino_weights_solo", &defs);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_i32(d[0]));
    kl__launch_arg(&l, kl__arg_i32(d[1]));
    kl__launch_arg(&l, kl__arg_i32((ob * ib * v + 1) * v));
    kl__launch_solo(&l, 2, (size_t)(swap ? ib : ob), (size_t)(swap ? ob : ib), 1);
    kl_status status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}

kl_status kl__reorder_wino_ref(kl__emit *e, const kl__apply *a)
{
    const kl__desc *x = &a->in[0]->desc;
    kl__desc y = *x;
    size_t n;
    y.layout = *(const kl__layout *)a->attrs;
    if (!kl__desc_elems(&y, &n))
        return kl__fail(KL_E_UNSUPPORTED, "reorder \"%s\": more than 2^31 - 1 elements in storage",
                        a->name);
    kl__defs defs = {{0}};
    kl__defs_real(&defs, a);
    kl__def_int(&defs, "KR", x->shape.dim[2]);
    kl__launch l = kl__launch_of("wino_weights.cl", "wino_weights_ref", &defs);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    const int64_t v32[] = {(int64_t)n,     x->shape.dim[0], x->shape.dim[1],
                           x->layout.kind, x->layout.block, y.layout.kind == KL__WINO_SWAP,
                           y.layout.block};
    for (size_t i = 0; i < sizeof v32 / sizeof *v32; i++) {
        kl__launch_arg(&l, kl__arg_i32(v32[i]));
        if (i == 4)
            for (int k = 0; k < 4; k++)
                kl__launch_arg(&l, kl__arg_i32(x->layout.halo[k]));
    }
    kl__launch_1d(&l, e, n);
    kl_status status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}
