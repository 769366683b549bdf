/* Reorder: one logical value, another storage layout. Made by the layout pass. */
#include "ops/reorder.h"

#include "ops/op.h"

#include <stddef.h>

/* Its attributes are a kl__layout: that of the result. */
static const char *const kind_words[] = {"plain", "nchwc",     "oihwc", "oihwct",
                                         "wino",  "wino_swap", NULL};
static const kl__attr attrs[] = {
    {"layout", KL__ATTR_ENUM, offsetof(kl__layout, kind), 0, kind_words, 0,
     "storage of the result"},
    {"block", KL__ATTR_INT, offsetof(kl__layout, block), 0, NULL, 0, "channels per block"},
    {"halo", KL__ATTR_INTS, offsetof(kl__layout, halo), 4, NULL, 0,
     "zeros at top, left, bottom, right"},
    KL__ATTR_END,
};

static const kl__layout *to_of(const kl__apply *a)
{
    return a->attrs;
}

static kl_status infer(const kl__apply *a, kl__desc *out)
{
    const kl__desc *x = &a->in[0]->desc;
    const kl__layout *to = to_of(a);
    char shape[96];
    if (x->shape.n_dims != 4 && (to->kind != KL__PLAIN || x->layout.kind != KL__PLAIN))
        return kl__fail(KL_E_SHAPE, "reorder \"%s\": blocked storage needs rank 4, %s given",
                        a->name, kl__shape_str(x->shape, shape));
    if (to->kind != KL__PLAIN && (to->block < 1 || to->block > 64))
        return kl__fail(KL_E_ARG, "reorder \"%s\": block %d; 1 to 64 are possible", a->name,
                        to->block);
    for (int i = 0; i < 4; i++)
        if (to->halo[i] < 0 || (to->halo[i] > 0 && to->kind != KL__NCHWC))
            return kl__fail(
                KL_E_ARG, "reorder \"%s\": halo (%d, %d, %d, %d) is not possible in layout %s",
                a->name, to->halo[0], to->halo[1], to->halo[2], to->halo[3], kind_words[to->kind]);
    if (kl__is_wino(x->layout.kind))
        return kl__fail(KL_E_ARG, "reorder \"%s\": there is no way back from layout %s", a->name,
                        kind_words[x->layout.kind]);
    if (kl__is_wino(to->kind) &&
        (x->shape.dim[2] != x->shape.dim[3] || (x->shape.dim[2] != 3 && x->shape.dim[2] != 5)))
        return kl__fail(KL_E_SHAPE,
                        "reorder \"%s\": layout %s is for kernels of 3x3 and 5x5, %s given",
                        a->name, kind_words[to->kind], kl__shape_str(x->shape, shape));
    *out = *x;
    out->layout = *to;
    return KL_OK;
}

static void layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in, kl__layout *out)
{
    (void)caps;
    in[0] = a->in[0]->desc.layout;
    out[0] = *to_of(a);
}

/* ---- SOLO ---------------------------------------------------------------------------------- */
/* Floats per pixel where the storage is planes of pixels with a halo; plain is 1 without halo. 0:
 * weights. */
static int pixel(const kl__layout *l)
{
    return l->kind == KL__PLAIN ? 1 : l->kind == KL__NCHWC ? l->block : 0;
}

typedef enum path { NONE, BLOCK, UNBLOCK, HALO, WEIGHTS } path;

static path path_of(const kl__apply *a, const kl__caps *caps)
{
    const kl__layout *from = &a->in[0]->desc.layout, *to = to_of(a);
    if (a->in[0]->desc.shape.n_dims != 4 || kl__is_wino(to->kind))
        return NONE;
    if (from->kind == KL__PLAIN && (to->kind == KL__OIHWC || to->kind == KL__OIHWCT))
        return to->block == caps->vector ? WEIGHTS : NONE;
    if (pixel(from) && pixel(from) == pixel(to))
        return HALO;
    if (from->kind == KL__PLAIN && pixel(to) == caps->vector)
        return BLOCK;
    if (to->kind == KL__PLAIN && pixel(from) == caps->vector)
        return UNBLOCK;
    return NONE;
}

static bool solo_fits(const kl__apply *a, const kl__caps *caps)
{
    return caps->solo && a->in[0]->desc.dtype == KL_F32 && path_of(a, caps) != NONE;
}

static void halo_args(kl__launch *l, const kl__layout *layout)
{
    for (int i = 0; i < 4; i++)
        kl__launch_arg(l, kl__arg_i32(layout->halo[i]));
}

/* Blocks of a dimension. */
static size_t blocks(int64_t n, int c)
{
    return (size_t)((n + c - 1) / c);
}

/** Strips of the pixels, so that every compute unit gets about 8 work-items. */
static size_t strips(const kl__caps *caps, size_t planes, int64_t pixels)
{
    size_t want = 8 * (size_t)(caps->compute_units > 0 ? caps->compute_units : 1);
    size_t most = blocks(pixels, 8 * caps->vector),
           n = planes < want ? blocks((int64_t)want, (int)planes) : 1;
    return n < most ? n : most;
}

static kl_status solo_emit(kl__emit *e, const kl__apply *a)
{
    static const char *const kernels[] = {NULL, "reorder_block_solo", "reorder_plain_solo",
                                          "reorder_halo_solo", "reorder_weights_solo"};
    const kl__layout *from = &a->in[0]->desc.layout, *to = to_of(a);
    const int64_t *d = a->in[0]->desc.shape.dim;
    path way = path_of(a, e->caps);
    int v = e->caps->vector;
    kl__defs defs = {{0}};
    kl__def_int(&defs, "V", v);
    kl__launch l = kl__launch_of("reorder.cl", kernels[way], &defs);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    if (way == WEIGHTS) {
        kl__launch_arg(&l, kl__arg_i32(d[0]));
        kl__launch_arg(&l, kl__arg_i32(d[1]));
        kl__launch_arg(&l, kl__arg_i32(d[2] * d[3]));
        kl__launch_arg(&l, kl__arg_i32(to->kind == KL__OIHWCT));
        kl__launch_solo(&l, 2, blocks(d[0], v), blocks(d[1], v), 1);
    } else {
        kl__launch_arg(&l, kl__arg_i32(way == HALO ? pixel(to) : d[1]));
        kl__launch_arg(&l, kl__arg_i32(d[2]));
        kl__launch_arg(&l, kl__arg_i32(d[3]));
        if (way != BLOCK)
            halo_args(&l, from);
        if (way != UNBLOCK)
            halo_args(&l, to);
        size_t n = (size_t)d[0], cb = blocks(d[1], way == HALO ? pixel(to) : v);
        if (way == HALO)
            kl__launch_solo(&l, 1, n * cb, 1, 1);
        else
            kl__launch_solo(&l, 3, cb, n, strips(e->caps, n * cb, d[2] * d[3]));
    }
    kl_status status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}

/* ---- ref ----------------------------------------------------------------------------------- */
static kl_status ref_emit(kl__emit *e, const kl__apply *a)
{
    const kl__layout *side[2] = {&a->in[0]->desc.layout, to_of(a)};
    const kl__desc *x = &a->in[0]->desc;
    kl__desc y = *x;
    size_t n;
    y.layout = *to_of(a);
    if (kl__is_wino(y.layout.kind))
        return kl__reorder_wino_ref(e, a);
    if (!kl__desc_elems(&y, &n))
        return kl__fail(KL_E_UNSUPPORTED, "reorder \"%s\": more than 2^31 - 1 elements in storage",
                        a->name);
    int64_t dim[4] = {1, 1, 1, 1};
    if (x->shape.n_dims == 4)
        for (int i = 0; i < 4; i++)
            dim[i] = x->shape.dim[i];
    else
        dim[3] = (int64_t)n;
    kl__defs defs = {{0}};
    if (kl_dtype_size(x->dtype) == 1)
        kl__def_word(&defs, "T", "uchar");
    else if (x->dtype == KL_F16)
        kl__def_word(&defs, "T", "ushort"); /* bits are moved, zero is zero */
    else if (x->dtype == KL_I32)
        kl__def_word(&defs, "T", "int");
    else
        kl__defs_real(&defs, a);
    kl__launch l = kl__launch_of("reorder.cl", "reorder_ref", &defs);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_i32((int64_t)n));
    for (int i = 0; i < 4; i++)
        kl__launch_arg(&l, kl__arg_i32(dim[i]));
    for (int i = 0; i < 2; i++) {
        kl__launch_arg(&l, kl__arg_i32((int)side[i]->kind));
        kl__launch_arg(&l, kl__arg_i32(side[i]->block));
        halo_args(&l, side[i]);
    }
    kl__launch_1d(&l, e, n);
    kl_status status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}

static const kl__variant variants[] = {
    {.name = "wino",
     .fits = kl__reorder_wino_fits,
     .layouts = layouts,
     .emit = kl__reorder_wino_emit},
    {.name = "solo", .fits = solo_fits, .layouts = layouts, .emit = solo_emit},
    {.name = "ref", .layouts = layouts, .emit = ref_emit},
    {.name = NULL},
};
const kl__op kl__op_reorder = {
    .name = "reorder",
    .doc = "the same value in another storage layout",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__layout),
    .attrs = attrs,
    .infer = infer,
    .variants = variants,
};

kl_node *kl__reorder(kl_graph *g, kl_node *x, const kl__layout *to)
{
    return kl__apply_new(g, &kl__op_reorder, NULL, &x, 1, to);
}
