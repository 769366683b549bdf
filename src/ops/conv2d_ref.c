/* The convolution family on plain storage: any geometry, any device, f32 and f64. */
#include "ops/conv2d.h"

static void sizes_args(kl__launch *l, const kl__conv *c, int64_t items)
{
    const int64_t v[] = {items,       c->C,         c->in[0],     c->in[1],       c->K,
                         c->out[0],   c->out[1],    c->kernel[0], c->kernel[1],   c->C / c->G,
                         c->K / c->G, c->stride[0], c->stride[1], c->dilation[0], c->dilation[1],
                         c->pad[0],   c->pad[1]};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        kl__launch_arg(l, kl__arg_i32(v[i]));
}

kl_status kl__conv_ref_emit(kl__emit *e, const kl__apply *a)
{
    static const char *const kernels[] = {"conv2d_fwd_ref", "conv2d_bwd_data_ref",
                                          "conv2d_bwd_weights_ref"};
    kl__conv c = kl__conv_of(a);
    int first = c.pass == KL__CONV_DATA ? c.w : c.x, second = c.pass == KL__CONV_FWD ? c.w : c.y;
    int64_t items = kl_shape_count(a->out[0]->desc.shape);
    kl__defs defs = {{0}};
    kl__defs_real(&defs, a);
    kl__launch l = kl__launch_of("conv2d.cl", kernels[c.pass], &defs);
    kl__launch_arg(&l, kl__arg_in(a, first));
    kl__launch_arg(&l, kl__arg_in(a, second));
    if (c.pass != KL__CONV_WEIGHTS) /* without a bias its argument is any valid memory */
        kl__launch_arg(&l, kl__arg_in(a, c.b == KL__CONV_NONE ? c.w : c.b));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_i32(c.pass == KL__CONV_WEIGHTS ? c.N : c.b != KL__CONV_NONE));
    sizes_args(&l, &c, items);
    kl__launch_1d(&l, e, (size_t)items);
    kl_status status = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return status;
}
