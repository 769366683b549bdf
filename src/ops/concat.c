/* concat: joins values along an axis. Its gradients are slices. */
#include "ops/copy_nd.h"

static kl_status concat_infer(const kl__apply *a, kl__desc *out)
{
    const kl_axis_opts *o = a->attrs;
    const kl__desc *first = &a->in[0]->desc;
    char s[96], t[96];
    if (o->axis < 0 || o->axis >= first->shape.n_dims)
        return kl__fail(KL_E_ARG, "concat \"%s\": axis %d is not in input %s", a->name, o->axis,
                        kl__shape_str(first->shape, s));
    *out = (kl__desc){.dtype = first->dtype, .shape = first->shape};
    for (int k = 0; k < a->n_in; k++) {
        const kl__desc *x = &a->in[k]->desc;
        bool fits = x->shape.n_dims == first->shape.n_dims && x->dtype == first->dtype;
        for (int i = 0; fits && i < x->shape.n_dims; i++)
            fits = i == o->axis || x->shape.dim[i] == first->shape.dim[i];
        if (!fits)
            return kl__fail(
                KL_E_SHAPE,
                "concat \"%s\": input %d, %s %s, does not join with input 0, %s %s, on axis %d",
                a->name, k, kl_dtype_name(x->dtype), kl__shape_str(x->shape, s),
                kl_dtype_name(first->dtype), kl__shape_str(first->shape, t), o->axis);
        if (a->n_in > 1 && x->shape.dim[o->axis] == KL_BATCH)
            return kl__fail(KL_E_SHAPE,
                            "concat \"%s\": axis %d is the batch, whose size is not known yet",
                            a->name, o->axis);
        if (k > 0)
            out->shape.dim[o->axis] += x->shape.dim[o->axis];
    }
    return KL_OK;
}

static kl_node *concat_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    kl_axis_opts o = *(const kl_axis_opts *)attrs;
    o.axis = kl__opt_i(o.axis, 1);
    if (o.axis < 0 && n_in > 0)
        o.axis += in[0]->desc.shape.n_dims;
    return kl__apply_new(g, &kl__op_concat, o.name, in, n_in, &o);
}

static kl_status concat_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                             kl_node **dx)
{
    const kl_axis_opts *o = a->attrs;
    int64_t start = 0;
    for (int k = 0; k < a->n_in; k++) {
        int64_t size = a->in[k]->desc.shape.dim[o->axis];
        if (size == 0)
            continue; /* nothing to give a gradient to, and a slice of size 0 runs to the end */
        if (need[k] && size == dy[0]->desc.shape.dim[o->axis])
            dx[k] = dy[0]; /* the only input that has elements */
        else if (need[k] && !(dx[k] = kl__slice(g, dy[0], o->axis, start, size)))
            return g->status;
        start += size;
    }
    return KL_OK;
}

static kl_status emit(kl__emit *e, const kl__apply *a, bool solo)
{
    const kl_axis_opts *o = a->attrs;
    kl__copy_nd c = {.n_dims = a->out[0]->desc.shape.n_dims};
    kl__strides(a->out[0]->desc.shape, c.to);
    for (int k = 0; k < a->n_in; k++) {
        kl_shape s = a->in[k]->desc.shape;
        for (int i = 0; i < s.n_dims; i++)
            c.dim[i] = s.dim[i];
        kl__strides(s, c.from);
        kl_status st = kl__emit_copy(e, a, kl__arg_in(a, k), kl__arg_out(a, 0), &c, solo);
        if (st != KL_OK)
            return st;
        c.to_first += s.dim[o->axis] * c.to[o->axis];
    }
    return KL_OK;
}

static kl_status emit_solo(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, true);
}

static kl_status emit_ref(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, false);
}

static const kl__attr attrs[] = {
    {"axis", KL__ATTR_INT, offsetof(kl_axis_opts, axis), 0, NULL, 1,
     "axis along which the inputs are joined"},
    {"name", KL__ATTR_NAME, offsetof(kl_axis_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
static const kl__variant variants[] = {
    {.name = "solo", .fits = kl__copy_solo_fits, .emit = emit_solo},
    {.name = "ref", .emit = emit_ref},
    {.name = NULL},
};
const kl__op kl__op_concat = {
    .name = "concat",
    .doc = "joins [..,A,..], [..,B,..], ... along an axis to [..,A+B+...,..]",
    .min_in = 1,
    .max_in = -1,
    .n_out = 1,
    .attrs_bytes = sizeof(kl_axis_opts),
    .attrs = attrs,
    .build = concat_build,
    .infer = concat_infer,
    .grad = concat_grad,
    .variants = variants,
};

kl_node *kl_concat(kl_graph *g, kl_node *const *x, int n, const kl_axis_opts *opts)
{
    if (g && (n < 1 || !x))
        return kl__graph_fail(g, KL_E_ARG, "concat: takes at least one input, %d given", x ? n : 0);
    return kl__build(g, &kl__op_concat, x, n, opts);
}
