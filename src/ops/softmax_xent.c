/* Softmax cross-entropy as users write it: one value, the mean. Before differentiation it becomes
 * `xent` (sums of losses and of weights) and `weighted_mean`, so that shards can add up both and
 * divide once. */
#include "ops/xent.h"

#include "base/mem.h"
#include "ops/norm_common.h"

static const kl__attr xent_attrs[] = {
    {"smoothing", KL__ATTR_FLOAT, offsetof(kl_xent_opts, smoothing), 0, NULL, 0,
     "e: (1 - e) y + e / K"},
    {"class_weight", KL__ATTR_FLOATS, offsetof(kl_xent_opts, class_weight), 0, NULL, 0,
     "K numbers"},
    {"ignore_index", KL__ATTR_INT, offsetof(kl_xent_opts, ignore_index), 0, NULL, -100,
     "label that counts nothing"},
    {"compat", KL__ATTR_ENUM, offsetof(kl_xent_opts, compat), 0, kl__compat_words, 0,
     "divide by the sum of weights (torch) or the count (keras)"},
    {"name", KL__ATTR_NAME, offsetof(kl_xent_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};

static kl_node *softmax_xent_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    kl_xent_opts o = *(const kl_xent_opts *)attrs;
    o.smoothing = kl__opt_f(o.smoothing, 0);
    o.ignore_index = kl__opt_i(o.ignore_index, -100);
    return kl__apply_new(g, &kl__op_softmax_xent, o.name, in, n_in, &o);
}

static kl_status softmax_xent_infer(const kl__apply *a, kl__desc *out)
{
    const kl_xent_opts *o = a->attrs;
    kl_status st = kl__xent_check(a, o->smoothing);
    if (st != KL_OK)
        return st;
    const int64_t k = a->in[0]->desc.shape.dim[1];
    if (o->class_weight.n != 0 && (o->class_weight.n != k || !o->class_weight.v))
        return kl__fail(KL_E_ARG, "softmax_xent \"%s\": %d class weights for %lld classes", a->name,
                        o->class_weight.n, (long long)k);
    for (int i = 0; i < o->class_weight.n; i++)
        if (!(o->class_weight.v[i] >= 0 && o->class_weight.v[i] < (float)1e30))
            return kl__fail(
                KL_E_ARG,
                "softmax_xent \"%s\": class weight %d is %g; finite and at least 0 is expected",
                a->name, i, (double)o->class_weight.v[i]);
    out[0] = (kl__desc){.dtype = a->in[0]->desc.dtype};
    return KL_OK;
}

static kl_node *weights_node(kl_graph *g, const kl_floats *w)
{
    const kl_shape s = {1, {w->n}};
    if (g->real == KL_F32)
        return kl_constant(g, NULL, KL_F32, s, w->v);
    void *v = kl__alloc((size_t)w->n * kl_dtype_size(g->real));
    if (!v)
        return kl__graph_fail(g, KL_E_MEMORY, "softmax_xent: out of host memory");
    kl__convert(v, g->real, w->v, KL_F32, (size_t)w->n);
    kl_node *x = kl_constant(g, NULL, g->real, s, v);
    kl__free(v);
    return x;
}

static kl_status softmax_xent_lower(kl_graph *g, const kl__apply *a, kl_node *const *in,
                                    bool training, kl_node **out)
{
    const kl_xent_opts *o = a->attrs;
    const kl__xent k = {.smoothing = o->smoothing,
                        .ignore_index = o->ignore_index,
                        .compat = o->compat,
                        .weights = o->class_weight.n > 0,
                        .hits = in[0]->desc.shape.n_dims == 2 && in[1]->desc.dtype == KL_I32,
                        .grad = training};
    kl_node *args[3] = {in[0], in[1], k.weights ? weights_node(g, &o->class_weight) : NULL};
    kl_node *sum =
        kl__apply_new_n(g, &kl__op_xent, NULL, args, 2 + k.weights, kl__xent_outputs(&k), &k);
    kl_node *parts[2] = {sum, kl__out(sum, 1)};
    if (!sum)
        return kl__last_status();
    out[0] = kl__apply_new(g, &kl__op_weighted_mean, kl__lowered_name(g, a), parts, 2, NULL);
    return out[0] ? KL_OK : kl__last_status();
}

const kl__op kl__op_softmax_xent = {
    .name = "softmax_xent",
    .doc = "mean of -log softmax(logits)[label]: logits [N,K,...], labels i32 [N,...] or as the "
           "logits -> []",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .attrs_bytes = sizeof(kl_xent_opts),
    .attrs = xent_attrs,
    .build = softmax_xent_build,
    .infer = softmax_xent_infer,
    .lower = softmax_xent_lower,
};

kl_node *kl_softmax_xent(kl_graph *g, kl_node *logits, kl_node *labels, const kl_xent_opts *opts)
{
    kl_node *in[2] = {logits, labels};
    return kl__build(g, &kl__op_softmax_xent, in, 2, opts);
}
