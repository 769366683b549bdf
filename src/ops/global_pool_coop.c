/* Global pooling for devices that run work-groups in step: a group per plane. */
#include "ops/group_coop.h"

bool kl__global_coop_fits(const kl__apply *a, const kl__caps *caps)
{
    const int64_t *x = a->in[0]->desc.shape.dim;
    return kl__coop_f32(a, caps) && x[2] * x[3] >= 16;
}

kl_status kl__global_coop_emit(kl__emit *e, const kl__apply *a)
{
    const int64_t *x = a->in[0]->desc.shape.dim;
    const bool max = a->op == &kl__op_global_maxpool;
    kl__defs defs = {0};
    size_t group = kl__row_group(e->caps, &defs, x[2] * x[3]);
    kl__launch l =
        kl__launch_of("pool2d_global_coop.cl",
                      max ? "global_maxpool_fwd_coop" : "global_avgpool_fwd_coop", &defs);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    for (int i = 0; i < (max ? 2 : 1); i++)
        kl__launch_arg(&l, kl__arg_out(a, i));
    kl__launch_arg(&l, kl__arg_i32(x[2] * x[3]));
    kl__launch_groups(&l, (size_t)(x[0] * x[1]), group);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}
