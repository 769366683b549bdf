/* Sums per channel on blocked storage: the gradient of a convolution's bias without a reorder. */
#include "ops/reduce_launch.h"

enum { WORTH = 16384 /* floats of a part: less is sooner added than launched */ };

/** Parts of the batch's rows; by shape alone. */
typedef struct cut {
    int64_t blocks, rows, each, parts;
} cut;

static cut cut_of(const kl__apply *a, int v)
{
    const int64_t *s = a->in[0]->desc.shape.dim;
    cut c = {.blocks = (s[1] + v - 1) / v, .rows = s[0] * s[2]};
    int64_t most = c.blocks < 32 ? (32 + c.blocks - 1) / c.blocks : 1;
    c.each = (c.rows + most - 1) / most;
    if (c.each * s[3] * v < WORTH)
        c.each = (WORTH + s[3] * v - 1) / (s[3] * v);
    c.parts = (c.rows + c.each - 1) / c.each;
    return c;
}

bool kl__reduce_channels_fits(const kl__apply *a, const kl__caps *caps)
{
    const kl__desc *x = &a->in[0]->desc;
    return caps->solo && x->dtype == KL_F32 && x->layout.kind == KL__NCHWC &&
           x->layout.block == caps->vector && a->op != &kl__op_reduce_max &&
           kl__reduce_mask_of(a) == 13 && kl_shape_count(x->shape) > 0; /* axes 0, 2, 3 */
}

void kl__reduce_channels_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in,
                                 kl__layout *out)
{
    (void)a;
    (void)out;
    in[0] = (kl__layout){.kind = KL__NCHWC, .block = caps->vector};
}

size_t kl__reduce_channels_scratch(const kl__apply *a, const kl__caps *caps)
{
    cut c = cut_of(a, caps->vector);
    return c.parts > 1 ? (size_t)(c.parts * c.blocks * caps->vector) * sizeof(float) : 0;
}

kl_status kl__reduce_channels_emit(kl__emit *e, const kl__apply *a)
{
    const kl__desc *x = &a->in[0]->desc;
    const int64_t *s = x->shape.dim;
    const int *h = x->layout.halo;
    const int64_t row = s[3] + h[1] + h[3];
    cut c = cut_of(a, e->caps->vector);
    kl__defs defs = {0};
    kl__def_int(&defs, "VN", e->caps->vector);
    kl__launch l = kl__launch_of("reduce_channels.cl", "reduce_channels", &defs);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, c.parts > 1 ? kl__arg_scratch(a, 0, sizeof(float)) : kl__arg_out(a, 0));
    const int64_t divisor = a->op == &kl__op_reduce_mean ? s[0] * s[2] * s[3] : 1;
    const int64_t sizes[] = {s[0], c.blocks,          s[2],   s[3], (s[2] + h[0] + h[2]) * row,
                             row,  h[0] * row + h[1], c.each, s[1], divisor};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        kl__launch_arg(&l, kl__arg_i32(sizes[i]));
    kl__launch_solo(&l, 2, (size_t)c.blocks, (size_t)c.parts, 1);
    kl_status st = kl__emit_launch(e, a, &l);
    if (st == KL_OK && c.parts > 1) {
        l = kl__launch_of("reduce_channels.cl", "reduce_channels_end", &defs);
        kl__launch_arg(&l, kl__arg_scratch(a, 0, sizeof(float)));
        kl__launch_arg(&l, kl__arg_out(a, 0));
        kl__launch_arg(&l, kl__arg_i32(c.parts));
        kl__launch_arg(&l, kl__arg_i32(c.blocks));
        kl__launch_arg(&l, kl__arg_i32(s[1]));
        kl__launch_arg(&l, kl__arg_i32(divisor));
        kl__launch_solo(&l, 1, (size_t)c.blocks, 1, 1);
        st = kl__emit_launch(e, a, &l);
    }
    kl__defs_free(&defs);
    return st;
}
