/* Softmax over the last axis for devices that run work-groups in step: a group per row. */
#include "ops/group_coop.h"

static kl__around rows_of(const kl__apply *a)
{
    return kl__around_axis(a->in[0]->desc.shape, ((const kl_axis_opts *)a->attrs)->axis);
}

/* Short rows are read whole by one item each, from few lines of cache; across an inner axis
 * neighbouring items of ref read neighbouring elements. */
bool kl__softmax_coop_fits(const kl__apply *a, const kl__caps *caps)
{
    kl__around r = rows_of(a);
    return kl__coop_f32(a, caps) && r.inner == 1 && r.k >= 32;
}

kl_status kl__softmax_coop_emit(kl__emit *e, const kl__apply *a)
{
    const kl__around r = rows_of(a);
    const bool bwd = a->n_in == 2,
               log_ = a->op == &kl__op_log_softmax || a->op == &kl__op_log_softmax_bwd;
    kl__defs defs = {0};
    size_t group = kl__row_group(e->caps, &defs, r.k);
    kl__launch l =
        kl__launch_of("softmax_coop.cl", bwd ? "softmax_bwd_coop" : "softmax_coop", &defs);
    for (int i = 0; i < a->n_in; i++)
        kl__launch_arg(&l, kl__arg_in(a, i));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_i32(r.k));
    kl__launch_arg(&l, kl__arg_i32(log_));
    kl__launch_groups(&l, (size_t)r.outer, group);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}
