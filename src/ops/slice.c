/* slice: a range of one axis; kl_split is several of them. The gradient pads with zeros. */
#include "ops/copy_nd.h"

#include "base/str.h"

static kl_status slice_infer(const kl__apply *a, kl__desc *out)
{
    const kl_slice_opts *o = a->attrs;
    kl_shape s = a->in[0]->desc.shape;
    char b[96];
    if (o->axis < 0 || o->axis >= s.n_dims)
        return kl__fail(KL_E_ARG, "slice \"%s\": axis %d is not in input %s", a->name, o->axis,
                        kl__shape_str(s, b));
    int64_t d = s.dim[o->axis];
    *out = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = s};
    if (d == KL_BATCH) {
        if (o->start == 0 && o->size == 0)
            return KL_OK; /* all of it */
        return kl__fail(KL_E_SHAPE,
                        "slice \"%s\": axis %d is the batch, whose size is not known yet", a->name,
                        o->axis);
    }
    int64_t start = o->start < 0 ? o->start + d : o->start, size = o->size ? o->size : d - start;
    if (start < 0 || size < 0 || start > d || size > d - start)
        return kl__fail(KL_E_SHAPE,
                        "slice \"%s\": start %d and size %d do not fit axis %d of input %s",
                        a->name, o->start, o->size, o->axis, kl__shape_str(s, b));
    out->shape.dim[o->axis] = size;
    return KL_OK;
}

static kl_node *slice_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    kl_slice_opts o = *(const kl_slice_opts *)attrs;
    o.axis = kl__opt_i(o.axis, 1);
    if (o.axis < 0)
        o.axis += in[0]->desc.shape.n_dims;
    return kl__apply_new(g, &kl__op_slice, o.name, in, n_in, &o);
}

/** First element of the slice along its axis. */
static int64_t first(const kl__apply *a)
{
    const kl_slice_opts *o = a->attrs;
    return o->start < 0 ? o->start + a->in[0]->desc.shape.dim[o->axis] : o->start;
}

static kl_status slice_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                            kl_node **dx)
{
    const kl_slice_opts *o = a->attrs;
    int64_t d = a->in[0]->desc.shape.dim[o->axis], size = a->out[0]->desc.shape.dim[o->axis];
    if (!need[0])
        return KL_OK;
    if (d == size) {
        dx[0] = dy[0];
        return KL_OK;
    }
    kl_pad_opts p = {.fill = KL_FILL_CONSTANT};
    p.before[o->axis] = (int)first(a);
    p.after[o->axis] = (int)(d - first(a) - size);
    dx[0] = kl__build(g, &kl__op_pad, dy, 1, &p);
    return dx[0] ? KL_OK : g->status;
}

static kl_status emit(kl__emit *e, const kl__apply *a, bool solo)
{
    const kl_slice_opts *o = a->attrs;
    kl_shape s = a->out[0]->desc.shape;
    kl__copy_nd c = {.n_dims = s.n_dims};
    for (int i = 0; i < s.n_dims; i++)
        c.dim[i] = s.dim[i];
    kl__strides(s, c.to);
    kl__strides(a->in[0]->desc.shape, c.from);
    c.from_first = first(a) * c.from[o->axis];
    return kl__emit_copy(e, a, kl__arg_in(a, 0), kl__arg_out(a, 0), &c, solo);
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
    {"axis", KL__ATTR_INT, offsetof(kl_slice_opts, axis), 0, NULL, 1, "axis that is cut"},
    {"start", KL__ATTR_INT, offsetof(kl_slice_opts, start), 0, NULL, 0,
     "first element; negative: from the end"},
    {"size", KL__ATTR_INT, offsetof(kl_slice_opts, size), 0, NULL, 0, "elements; 0: to the end"},
    {"name", KL__ATTR_NAME, offsetof(kl_slice_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
static const kl__variant variants[] = {
    {.name = "solo", .fits = kl__copy_solo_fits, .emit = emit_solo},
    {.name = "ref", .emit = emit_ref},
    {.name = NULL},
};
const kl__op kl__op_slice = {
    .name = "slice",
    .doc = "elements start..start+size-1 of one axis",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attrs_bytes = sizeof(kl_slice_opts),
    .attrs = attrs,
    .build = slice_build,
    .infer = slice_infer,
    .grad = slice_grad,
    .variants = variants,
};

kl_node *kl_slice(kl_graph *g, kl_node *x, const kl_slice_opts *opts)
{
    return kl__build(g, &kl__op_slice, &x, 1, opts);
}

kl_node *kl__slice(kl_graph *g, kl_node *x, int axis, int64_t start, int64_t size)
{
    kl_slice_opts o = {.axis = axis, .start = (int)start, .size = (int)size};
    return kl__apply_new(g, &kl__op_slice, NULL, &x, 1, &o);
}

kl_status kl_split(kl_graph *g, kl_node *x, const kl_axis_opts *opts, const int *sizes, int n,
                   kl_node **out)
{
    if (!g || !sizes || !out || n < 1)
        return kl__fail(KL_E_ARG,
                        "split: graph, sizes and room for at least one output are needed");
    for (int i = 0; i < n; i++)
        out[i] = NULL;
    if (!x || g->status != KL_OK) {
        if (g->status == KL_OK)
            kl__graph_fail(g, KL_E_ARG, "split: input is NULL");
        return g->status;
    }
    kl_slice_opts o = {.axis = kl__opt_i(opts ? opts->axis : 0, 1)};
    const char *name = opts ? opts->name : NULL;
    kl_shape s = x->desc.shape;
    char b[96];
    if (o.axis < 0)
        o.axis += s.n_dims;
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += sizes[i] > 0 ? sizes[i] : INT_MIN;
    if (o.axis < 0 || o.axis >= s.n_dims || sum != s.dim[o.axis]) {
        kl__graph_fail(g, KL_E_SHAPE,
                       "split \"%s\": %d positive sizes must add up to axis %d of input %s",
                       name ? name : "", n, o.axis, kl__shape_str(s, b));
        return g->status;
    }
    for (int i = 0; i < n; i++) {
        kl__text t = {0};
        if (name)
            kl__put(&t, "%s.%d", name, i);
        o.size = sizes[i];
        if (t.failed)
            kl__graph_fail(g, KL_E_MEMORY, "split \"%s\": out of host memory", name);
        out[i] = kl__apply_new(g, &kl__op_slice, t.s, &x, 1, &o);
        kl__text_free(&t);
        o.start += sizes[i];
    }
    return g->status;
}
