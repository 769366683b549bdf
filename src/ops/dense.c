/* The dense layer: a product with the transposed weights and the bias in one launch, and its two
 * gradients. */
#include "ops/matmul.h"

#include "base/mem.h"

#include <stddef.h>

/* Elements per sample; -1 where a dimension but the first is not known or the product does not fit.
 */
static int64_t features(kl_shape x)
{
    kl_shape s = {x.n_dims - 1, {0}};
    for (int i = 1; i < x.n_dims; i++)
        s.dim[i - 1] = x.dim[i];
    return x.n_dims < 1 ? -1 : kl_shape_count(s);
}

static bool same_real(const kl__apply *a)
{
    kl_dtype t = a->in[0]->desc.dtype;
    for (int i = 0; i < a->n_in; i++)
        if (a->in[i]->desc.dtype != t)
            return false;
    return t == KL_F32 || t == KL_F64;
}

static kl_status dense_infer(const kl__apply *a, kl__desc *out)
{
    kl_shape x = a->in[0]->desc.shape, w = a->in[1]->desc.shape;
    char s1[96], s2[96];
    if (!same_real(a))
        return kl__fail(KL_E_SHAPE, "dense \"%s\": input is %s, weights are %s, expected f32",
                        a->name, kl_dtype_name(a->in[0]->desc.dtype),
                        kl_dtype_name(a->in[1]->desc.dtype));
    if (x.n_dims < 2)
        return kl__fail(KL_E_SHAPE, "dense \"%s\": input is %s, expected [N,...]", a->name,
                        kl__shape_str(x, s1));
    if (w.n_dims != 2 || w.dim[1] != features(x))
        return kl__fail(KL_E_SHAPE, "dense \"%s\": weights %s do not fit input %s", a->name,
                        kl__shape_str(w, s1), kl__shape_str(x, s2));
    if (a->n_in > 2) {
        kl_shape b = a->in[2]->desc.shape;
        if (b.n_dims != 1 || b.dim[0] != w.dim[0])
            return kl__fail(KL_E_SHAPE, "dense \"%s\": bias %s does not fit weights %s", a->name,
                            kl__shape_str(b, s1), kl__shape_str(w, s2));
    }
    out[0] = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = {2, {x.dim[0], w.dim[0]}}};
    return KL_OK;
}

static kl_status dense_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                            kl_node **dx)
{
    if (need[0]) {
        kl_node *in[2] = {dy[0], a->in[1]};
        kl__dense_shape s = {.shape = a->in[0]->desc.shape};
        dx[0] = kl__apply_new(g, &kl__op_dense_bwd_data, NULL, in, 2, &s);
    }
    if (need[1]) {
        kl_node *in[2] = {dy[0], a->in[0]};
        dx[1] = kl__apply_new(g, &kl__op_dense_bwd_weights, NULL, in, 2, NULL);
    }
    if (a->n_in > 2 && need[2]) {
        kl_reduce_opts rows = {.axes = {1, {0}}};
        dx[2] = kl_reduce_sum(g, dy[0], &rows);
    }
    return g->status;
}

/* ---- gradients as ops: both flatten x without a view of it ----------------------------------- */
static kl_status bwd_data_infer(const kl__apply *a, kl__desc *out)
{
    kl_shape dy = a->in[0]->desc.shape, w = a->in[1]->desc.shape,
             x = ((const kl__dense_shape *)a->attrs)->shape;
    char s1[96], s2[96], s3[96];
    if (x.n_dims > 0 && x.dim[0] == KL_BATCH && a->graph->batch > 0)
        x.dim[0] = a->graph->batch;
    if (dy.n_dims != 2 || w.n_dims != 2 || x.n_dims < 2 || dy.dim[1] != w.dim[0] ||
        x.dim[0] != dy.dim[0] || features(x) != w.dim[1] || !same_real(a))
        return kl__fail(KL_E_SHAPE,
                        "dense_bwd_data \"%s\": gradient %s and weights %s do not give %s", a->name,
                        kl__shape_str(dy, s1), kl__shape_str(w, s2), kl__shape_str(x, s3));
    out[0] = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = x};
    return KL_OK;
}

static kl_status bwd_weights_infer(const kl__apply *a, kl__desc *out)
{
    kl_shape dy = a->in[0]->desc.shape, x = a->in[1]->desc.shape;
    char s1[96], s2[96];
    if (dy.n_dims != 2 || x.n_dims < 2 || dy.dim[0] != x.dim[0] || features(x) < 0 || !same_real(a))
        return kl__fail(KL_E_SHAPE, "dense_bwd_weights \"%s\": gradient %s does not fit input %s",
                        a->name, kl__shape_str(dy, s1), kl__shape_str(x, s2));
    out[0] = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = {2, {dy.dim[1], features(x)}}};
    return KL_OK;
}

/* ---- builders -------------------------------------------------------------------------------- */
static kl_node *param_of(kl_graph *g, const char *name, const char *what, kl_shape shape,
                         kl_init init)
{
    char *full = kl__asprintf("%s.%s", name, what);
    if (!full)
        return kl__graph_fail(g, KL_E_MEMORY, "%s", kl_last_error());
    kl_node *p = kl_param(g, full, shape, init, true);
    kl__free(full);
    return p;
}

static kl_node *dense_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    kl_dense_opts o = *(const kl_dense_opts *)attrs;
    kl_node *all[3] = {in[0], n_in > 1 ? in[1] : NULL, n_in > 2 ? in[2] : NULL};
    o.name = kl__graph_name(g, &kl__op_dense, o.name);
    if (!o.name)
        return NULL;
    if (n_in == 1) {
        char sx[96];
        int64_t i = features(in[0]->desc.shape);
        if (o.units < 1 || i < 0)
            return kl__graph_fail(
                g, KL_E_ARG,
                "dense \"%s\": %d units on input %s; units must be positive and the "
                "input [N,...] known but for N",
                o.name, o.units, kl__shape_str(in[0]->desc.shape, sx));
        if (o.init.kind == KL_INIT_DEFAULT)
            o.init.kind = KL_INIT_HE_NORMAL;
        all[1] = param_of(g, o.name, "weight", (kl_shape){2, {o.units, i}}, o.init);
        kl_init bias = {.kind = o.init.kind == KL_INIT_TORCH ? KL_INIT_TORCH : KL_INIT_ZEROS,
                        .fan_in = (int)i};
        if (!o.no_bias)
            all[2] = param_of(g, o.name, "bias", (kl_shape){1, {o.units}}, bias);
        if (!all[1] || (!o.no_bias && !all[2]))
            return NULL;
    } else if (in[1]->desc.shape.n_dims == 2) {
        o.units = (int)in[1]->desc.shape.dim[0];
        o.no_bias = n_in < 3;
    }
    return kl__apply_new(g, &kl__op_dense, o.name, all, all[2] ? 3 : 2, &o);
}

kl_node *kl_dense(kl_graph *g, kl_node *x, const kl_dense_opts *opts)
{
    return kl__build(g, &kl__op_dense, &x, 1, opts);
}
kl_node *kl_dense_with(kl_graph *g, kl_node *x, kl_node *w, kl_node *b, const kl_dense_opts *opts)
{
    kl_node *in[3] = {x, w, b};
    return kl__build(g, &kl__op_dense, in, b ? 3 : 2, opts);
}

/* ---- tables ---------------------------------------------------------------------------------- */
static const kl__attr attrs[] = {
    {"units", KL__ATTR_INT, offsetof(kl_dense_opts, units), 0, NULL, 0, "outputs per sample"},
    {"no_bias", KL__ATTR_BOOL, offsetof(kl_dense_opts, no_bias), 0, NULL, 0, "no bias"},
    {"init", KL__ATTR_INIT, offsetof(kl_dense_opts, init), 0, NULL, 0, "initial weights"},
    {"name", KL__ATTR_NAME, offsetof(kl_dense_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
const kl__op kl__op_dense = {
    .name = "dense",
    .doc = "x w^T + b; x [N,...] flattened to [N,I], w [units,I], b [units] -> [N,units]",
    .min_in = 1,
    .max_in = 3,
    .n_out = 1,
    .attrs_bytes = sizeof(kl_dense_opts),
    .attrs = attrs,
    .build = dense_build,
    .infer = dense_infer,
    .grad = dense_grad,
    .macs = kl__product_macs,
    .window = kl__product_window,
    .variants = kl__matmul_variants,
};

static const kl__attr bwd_data_attrs[] = {
    {"shape", KL__ATTR_SHAPE, offsetof(kl__dense_shape, shape), 0, NULL, 0, "shape of the result"},
    {"name", KL__ATTR_NAME, offsetof(kl__dense_shape, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
const kl__op kl__op_dense_bwd_data = {
    .name = "dense_bwd_data",
    .doc = "gradient of dense by x: dy w; dy [N,U], w [U,I] -> x's shape",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__dense_shape),
    .attrs = bwd_data_attrs,
    .infer = bwd_data_infer,
    .macs = kl__product_macs,
    .variants = kl__matmul_variants,
};
const kl__op kl__op_dense_bwd_weights = {
    .name = "dense_bwd_weights",
    .doc = "gradient of dense by w: dy^T x; dy [N,U], x [N,...] -> [U,I]",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .infer = bwd_weights_infer,
    .macs = kl__product_macs,
    .variants = kl__matmul_variants,
};
