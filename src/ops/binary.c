/* add, sub, mul, div with NumPy broadcasting. A gradient is summed down to its input's shape. */
#include "ops/eltwise.h"
#include "ops/reduce.h"

/** An op without attributes, with its builder. */
#define BINARY(id, about, text)                                                                    \
    const kl__op kl__op_##id = {KL__ELT(id, 2, about, text), .flags = KL__OP_ELEMENTWISE,          \
                                .attrs_bytes = sizeof(kl__named), .attrs = kl__named_attrs,        \
                                .grad = id##_grad};                                                \
    kl_node *kl_##id(kl_graph *g, kl_node *a, kl_node *b)                                          \
    {                                                                                              \
        kl_node *in[2] = {a, b};                                                                   \
        return kl__build(g, &kl__op_##id, in, 2, NULL);                                            \
    }

static kl_node *sum_to_input(kl_graph *g, const kl__apply *a, int i, kl_node *d)
{
    return d ? kl__sum_to(g, d, a->in[i]->desc.shape) : NULL;
}

static kl_status add_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                          kl_node **dx)
{
    for (int i = 0; i < 2; i++)
        if (need[i])
            dx[i] = sum_to_input(g, a, i, dy[0]);
    return kl_graph_check(g);
}
BINARY(add, "a + b", "x0 + x1")

static kl_status sub_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                          kl_node **dx)
{
    if (need[0])
        dx[0] = sum_to_input(g, a, 0, dy[0]);
    if (need[1]) /* the smaller of the two is negated */
        dx[1] = kl_neg(g, sum_to_input(g, a, 1, dy[0]));
    return kl_graph_check(g);
}
BINARY(sub, "a - b", "x0 - x1")

static kl_status mul_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                          kl_node **dx)
{
    for (int i = 0; i < 2; i++)
        if (need[i])
            dx[i] = sum_to_input(g, a, i, kl_mul(g, dy[0], a->in[1 - i]));
    return kl_graph_check(g);
}
BINARY(mul, "a b", "x0 * x1")

static kl_status div_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                          kl_node **dx)
{
    kl_node *in[3] = {dy[0], a->out[0], a->in[1]};
    if (need[0])
        dx[0] = sum_to_input(g, a, 0, kl_div(g, dy[0], a->in[1]));
    if (need[1])
        dx[1] = sum_to_input(g, a, 1, kl__apply_new(g, &kl__op_div_bwd, NULL, in, 3, NULL));
    return kl_graph_check(g);
}
BINARY(div, "a / b", "x0 / x1")
KL__ELT_BWD(div_bwd, 3, "(dy, y, b) -> -dy y / b: the gradient by b", "-x0 * x1 / x2");
