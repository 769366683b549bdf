/* transpose: a permutation of axes. Its gradient is the inverse permutation. */
#include "ops/copy_nd.h"

static kl_status transpose_infer(const kl__apply *a, kl__desc *out)
{
    const kl_transpose_opts *o = a->attrs;
    kl_shape s = a->in[0]->desc.shape;
    char b[96], c[96];
    unsigned seen = 0;
    *out = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = s};
    bool fits = o->perm.n_dims == s.n_dims;
    for (int i = 0; fits && i < s.n_dims; i++) {
        int64_t p = o->perm.dim[i];
        fits = p >= 0 && p < s.n_dims && !(seen >> p & 1);
        if (fits) {
            seen |= 1u << p;
            out->shape.dim[i] = s.dim[p];
        }
    }
    if (!fits)
        return kl__fail(KL_E_SHAPE,
                        "transpose \"%s\": %s is no permutation of the axes of input %s", a->name,
                        kl__shape_str(o->perm, b), kl__shape_str(s, c));
    return KL_OK;
}

static kl_node *transpose_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    kl_transpose_opts o = *(const kl_transpose_opts *)attrs;
    int n = in[0]->desc.shape.n_dims;
    if (o.perm.n_dims == 0) {
        o.perm.n_dims = n;
        for (int i = 0; i < n; i++)
            o.perm.dim[i] = n - 1 - i;
    }
    for (int i = 0; i < n && i < o.perm.n_dims; i++)
        if (o.perm.dim[i] < 0)
            o.perm.dim[i] += n;
    return kl__apply_new(g, &kl__op_transpose, o.name, in, n_in, &o);
}

static kl_status transpose_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy,
                                const bool *need, kl_node **dx)
{
    const kl_transpose_opts *o = a->attrs;
    kl_transpose_opts inverse = {.perm.n_dims = o->perm.n_dims};
    if (!need[0])
        return KL_OK;
    for (int i = 0; i < o->perm.n_dims; i++)
        inverse.perm.dim[o->perm.dim[i]] = i;
    dx[0] = kl__apply_new(g, &kl__op_transpose, NULL, dy, 1, &inverse);
    return dx[0] ? KL_OK : g->status;
}

static kl__copy_nd copy_of(const kl__apply *a)
{
    const kl_transpose_opts *o = a->attrs;
    kl_shape s = a->out[0]->desc.shape;
    kl__copy_nd c = {.n_dims = s.n_dims};
    int64_t from[KL_MAX_DIMS];
    kl__strides(a->in[0]->desc.shape, from);
    kl__strides(s, c.to);
    for (int i = 0; i < s.n_dims; i++) {
        c.dim[i] = s.dim[i];
        c.from[i] = from[o->perm.dim[i]];
    }
    return c;
}

static bool coop_fits(const kl__apply *a, const kl__caps *caps)
{
    int m, n;
    kl__copy_nd c = copy_of(a);
    kl__copy_merge(&c);
    return caps->max_group >= 256 && kl__copy_swap(&c, &m, &n) && c.dim[m] >= 16 && c.dim[n] >= 16;
}

static kl_status emit_coop(kl__emit *e, const kl__apply *a)
{
    int m, n;
    kl__copy_nd c = copy_of(a);
    kl__copy_merge(&c);
    kl__copy_swap(&c, &m, &n);
    return kl__emit_swap(e, a, kl__arg_in(a, 0), kl__arg_out(a, 0), &c, m, n, false);
}

static kl_status emit_solo(kl__emit *e, const kl__apply *a)
{
    kl__copy_nd c = copy_of(a);
    return kl__emit_copy(e, a, kl__arg_in(a, 0), kl__arg_out(a, 0), &c, true);
}

static kl_status emit_ref(kl__emit *e, const kl__apply *a)
{
    kl__copy_nd c = copy_of(a);
    return kl__emit_copy(e, a, kl__arg_in(a, 0), kl__arg_out(a, 0), &c, false);
}

static const kl__attr attrs[] = {
    {"perm", KL__ATTR_SHAPE, offsetof(kl_transpose_opts, perm), 0, NULL, 0,
     "input axis that becomes axis i"},
    {"name", KL__ATTR_NAME, offsetof(kl_transpose_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
static const kl__variant variants[] = {
    {.name = "solo", .fits = kl__copy_solo_fits, .emit = emit_solo},
    {.name = "coop", .fits = coop_fits, .emit = emit_coop},
    {.name = "ref", .emit = emit_ref},
    {.name = NULL},
};
const kl__op kl__op_transpose = {
    .name = "transpose",
    .doc = "permutes axes: axis i of the output is axis perm[i] of the input",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attrs_bytes = sizeof(kl_transpose_opts),
    .attrs = attrs,
    .build = transpose_build,
    .infer = transpose_infer,
    .grad = transpose_grad,
    .variants = variants,
};

kl_node *kl_transpose(kl_graph *g, kl_node *x, const kl_transpose_opts *opts)
{
    return kl__build(g, &kl__op_transpose, &x, 1, opts);
}
