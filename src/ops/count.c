/* elements: how many elements a value has, as a number on the device; the weight of losses that are
 * means over elements. It is an op rather than a constant so that it is right for each batch size.
 */
#include "ops/op.h"

static kl_status elements_infer(const kl__apply *a, kl__desc *out)
{
    out->dtype = a->graph->real;
    return a->n_in == 1 ? KL_OK : KL_E_ARG;
}

/** A count does not depend on the values. */
static kl_status elements_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy,
                               const bool *need, kl_node **dx)
{
    (void)a, (void)dy, (void)need, (void)dx;
    return kl_graph_check(g);
}

static kl_status elements_emit(kl__emit *e, const kl__apply *a)
{
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    kl__launch l = kl__launch_of("count.cl", "elements_ref", &defs);
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_u32((uint64_t)kl_shape_count(a->in[0]->desc.shape)));
    kl__launch_solo(&l, 1, 1, 1, 1);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}

static const kl__variant variants[] = {
    {.name = "ref", .emit = elements_emit},
    {.name = NULL},
};

const kl__op kl__op_elements = {
    .name = "elements",
    .doc = "number of elements of x -> []",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .infer = elements_infer,
    .grad = elements_grad,
    .variants = variants,
};
