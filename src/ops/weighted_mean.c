/* The end of every loss: sum / weight, both added up over shards before the division. */
#include "ops/norm_common.h"

static kl_status mean_infer(const kl__apply *a, kl__desc *out)
{
    const kl_dtype t = a->in[0]->desc.dtype;
    for (int i = 0; i < a->n_in; i++)
        if (!kl__real_dtype(t) || a->in[i]->desc.dtype != t || a->in[i]->desc.shape.n_dims != 0)
            return kl__fail(KL_E_SHAPE, "%s \"%s\": input %d is no f32 scalar", a->op->name,
                            a->name, i);
    for (int i = 0; i < a->n_out; i++)
        out[i] = (kl__desc){.dtype = t};
    return KL_OK;
}

static kl_status mean_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                           kl_node **dx)
{
    kl_node *in[3] = {dy[0], a->in[0], a->in[1]};
    kl_node *d = kl__apply_new(g, &kl__op_weighted_mean_bwd, NULL, in, 3, NULL);
    dx[0] = need[0] ? d : NULL;
    dx[1] = need[1] ? kl__out(d, 1) : NULL;
    return d ? KL_OK : kl__last_status();
}

static kl_status mean_ref(kl__emit *e, const kl__apply *a)
{
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    kl__tree_group(e, &defs); /* the program of the loss's sums */
    kl__launch l = kl__launch_of(
        "xent_sum.cl", a->n_in == 2 ? "weighted_mean_ref" : "weighted_mean_bwd_ref", &defs);
    for (int i = 0; i < a->n_in; i++)
        kl__launch_arg(&l, kl__arg_in(a, i));
    for (int i = 0; i < a->n_out; i++)
        kl__launch_arg(&l, kl__arg_out(a, i));
    kl__launch_solo(&l, 1, 1, 1, 1);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}
static const kl__variant mean_variants[] = {{.name = "ref", .emit = mean_ref}, {.name = NULL}};

const kl__op kl__op_weighted_mean = {
    .name = "weighted_mean",
    .doc = "sum [] / weight [] -> []",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = KL__OP_MEAN | KL__OP_HIDDEN,
    .infer = mean_infer,
    .grad = mean_grad,
    .variants = mean_variants,
};
const kl__op kl__op_weighted_mean_bwd = {
    .name = "weighted_mean_bwd",
    .doc = "dy, sum, weight -> gradients of sum and weight",
    .min_in = 3,
    .max_in = 3,
    .n_out = 2,
    .flags = KL__OP_HIDDEN,
    .infer = mean_infer,
    .variants = mean_variants,
};
