/* Leaves: input, param, constant. */
#include "ops/op.h"

#include "base/mem.h"

#include <string.h>

static kl_status leaf_infer(const kl__apply *a, kl__desc *out)
{
    const kl__leaf *l = a->attrs;
    out->dtype = l->dtype;
    out->shape = l->shape;
    return KL_OK;
}

const char *const kl__dtype_words[] = {"f32", "f16", "i32", "u8", "f64", NULL};

static const kl__attr input_attrs[] = {
    {"shape", KL__ATTR_SHAPE, offsetof(kl__leaf, shape), 0, NULL, 0, "dimensions; N is the batch"},
    {"dtype", KL__ATTR_ENUM, offsetof(kl__leaf, dtype), 0, kl__dtype_words, 0, "element type"},
    {"name", KL__ATTR_NAME, offsetof(kl__leaf, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
static const kl__attr param_attrs[] = {
    {"shape", KL__ATTR_SHAPE, offsetof(kl__leaf, shape), 0, NULL, 0, "dimensions"},
    {"init", KL__ATTR_INIT, offsetof(kl__leaf, init), 0, NULL, 0, "initial values"},
    {"trainable", KL__ATTR_BOOL, offsetof(kl__leaf, trainable), 0, NULL, 0,
     "trained, or kept state"},
    {"name", KL__ATTR_NAME, offsetof(kl__leaf, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
const kl__op kl__op_input = {
    .name = "input",
    .doc = "data bound by name when the graph runs",
    .n_out = 1,
    .flags = KL__OP_LEAF,
    .attrs_bytes = sizeof(kl__leaf),
    .attrs = input_attrs,
    .infer = leaf_infer,
};
const kl__op kl__op_param = {
    .name = "param",
    .doc = "a parameter: trained, or kept state",
    .n_out = 1,
    .flags = KL__OP_LEAF,
    .attrs_bytes = sizeof(kl__leaf),
    .attrs = param_attrs,
    .infer = leaf_infer,
};
const kl__op kl__op_constant = {
    .name = "constant",
    .doc = "fixed data",
    .n_out = 1,
    .flags = KL__OP_LEAF,
    .attrs_bytes = sizeof(kl__leaf),
    .attrs = input_attrs,
    .infer = leaf_infer,
};

kl_node *kl_input(kl_graph *g, const char *name, kl_dtype dtype, kl_shape shape)
{
    kl__leaf l = {.dtype = dtype, .shape = shape};
    for (int i = 1; g && i < shape.n_dims && i < KL_MAX_DIMS; i++)
        if (shape.dim[i] < 0)
            return kl__graph_fail(g, KL_E_SHAPE, "input \"%s\": only dimension 0 may be the batch",
                                  name ? name : "");
    return kl__apply_new(g, &kl__op_input, name, NULL, 0, &l);
}

kl_node *kl_param(kl_graph *g, const char *name, kl_shape shape, kl_init init, bool trainable)
{
    kl__leaf l = {
        .dtype = g ? g->real : KL_F32, .shape = shape, .init = init, .trainable = trainable};
    if (g && kl_shape_count(shape) < 0)
        return kl__graph_fail(g, KL_E_SHAPE,
                              "param \"%s\": its shape must be known and fit in memory",
                              name ? name : "");
    return kl__apply_new(g, &kl__op_param, name, NULL, 0, &l);
}

kl_node *kl_constant(kl_graph *g, const char *name, kl_dtype dtype, kl_shape shape,
                     const void *data)
{
    kl__leaf l = {.dtype = dtype, .shape = shape};
    int64_t n = kl_shape_count(shape);
    if (!g || g->status != KL_OK)
        return NULL;
    if (n < 0 || (n > 0 && !data))
        return kl__graph_fail(g, KL_E_ARG, "constant \"%s\": %s", name ? name : "",
                              n < 0 ? "its shape must be known and fit in memory" : "data is NULL");
    if (!kl__desc_legal(
            &(kl__desc){.dtype = dtype, .shape = shape})) /* before its data is copied */
        return kl__graph_fail(g, KL_E_SHAPE, "constant \"%s\": %s", name ? name : "",
                              kl_last_error());
    l.bytes = (size_t)n * kl_dtype_size(dtype);
    void *copy = kl__graph_alloc(g, l.bytes + 1);
    if (!copy)
        return NULL;
    if (l.bytes)
        memcpy(copy, data, l.bytes);
    l.data = copy;
    return kl__apply_new(g, &kl__op_constant, name, NULL, 0, &l);
}

bool kl__is_input(const kl_node *x)
{
    return x->by->op == &kl__op_input;
}

bool kl__is_param(const kl_node *x)
{
    return x->by->op == &kl__op_param;
}

bool kl__is_constant(const kl_node *x)
{
    return x->by->op == &kl__op_constant;
}
