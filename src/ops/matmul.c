/* matmul: shapes and gradient. Launches, shared with the dense layer, are in matmul_emit.c. */
#include "ops/matmul.h"

#include <stddef.h>

/* Rows and columns of op(x). */
static void op_dims(kl_shape x, bool t, int64_t *rows, int64_t *cols)
{
    const int64_t *d = x.dim + x.n_dims - 2;
    *rows = t ? d[1] : d[0];
    *cols = t ? d[0] : d[1];
}

static kl_status matmul_infer(const kl__apply *a, kl__desc *out)
{
    const kl_matmul_opts *o = a->attrs;
    const kl__desc *x = &a->in[0]->desc, *y = &a->in[1]->desc;
    char sx[96], sy[96];
    int64_t m, k, k2, n;
    if ((x->dtype != KL_F32 && x->dtype != KL_F64) || y->dtype != x->dtype)
        return kl__fail(KL_E_SHAPE, "matmul \"%s\": inputs are %s and %s, expected f32", a->name,
                        kl_dtype_name(x->dtype), kl_dtype_name(y->dtype));
    if (x->shape.n_dims < 2 || x->shape.n_dims > 3 || y->shape.n_dims != x->shape.n_dims)
        return kl__fail(
            KL_E_SHAPE,
            "matmul \"%s\": inputs %s and %s, expected both of rank 2 or both of rank 3", a->name,
            kl__shape_str(x->shape, sx), kl__shape_str(y->shape, sy));
    op_dims(x->shape, o->ta, &m, &k);
    op_dims(y->shape, o->tb, &k2, &n);
    if (k != k2 || (x->shape.n_dims == 3 && x->shape.dim[0] != y->shape.dim[0]))
        return kl__fail(KL_E_SHAPE, "matmul \"%s\": %s%s does not fit %s%s", a->name,
                        kl__shape_str(x->shape, sx), o->ta ? " transposed" : "",
                        kl__shape_str(y->shape, sy), o->tb ? " transposed" : "");
    out[0] = (kl__desc){.dtype = x->dtype, .shape = x->shape};
    out[0].shape.dim[x->shape.n_dims - 2] = m;
    out[0].shape.dim[x->shape.n_dims - 1] = n;
    return KL_OK;
}

static kl_node *product(kl_graph *g, kl_node *a, kl_node *b, bool ta, bool tb)
{
    kl_node *in[2] = {a, b};
    kl_matmul_opts o = {.ta = ta, .tb = tb};
    return kl__apply_new(g, &kl__op_matmul, NULL, in, 2, &o);
}

static kl_status matmul_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                             kl_node **dx)
{
    const kl_matmul_opts *o = a->attrs;
    kl_node *x = a->in[0], *y = a->in[1];
    if (need[0])
        dx[0] = o->ta ? product(g, y, dy[0], o->tb, true) : product(g, dy[0], y, false, !o->tb);
    if (need[1])
        dx[1] = o->tb ? product(g, dy[0], x, true, o->ta) : product(g, x, dy[0], !o->ta, false);
    return g->status;
}

/* One table of shapes for the whole family, so that the launches need not know whose product it is.
 */
kl__product kl__product_of(const kl__apply *a)
{
    kl_shape x = a->in[0]->desc.shape, y = a->out[0]->desc.shape;
    kl__product p = {.batch = 1, .a = 0, .b = 1, .bias = -1};
    if (a->op == &kl__op_matmul) {
        const kl_matmul_opts *o = a->attrs;
        p.ta = o->ta;
        p.tb = o->tb;
        p.batch = x.n_dims == 3 ? (int)x.dim[0] : 1;
        p.m = (int)y.dim[y.n_dims - 2];
        p.n = (int)y.dim[y.n_dims - 1];
        p.k = (int)x.dim[x.n_dims - (o->ta ? 2 : 1)];
        return p;
    }
    if (a->op == &kl__op_dense) { /* y [N,U] = x [N,I] w [U,I]^T + b */
        p.tb = true;
        p.m = (int)y.dim[0];
        p.n = (int)y.dim[1];
        p.k = (int)a->in[1]->desc.shape.dim[1];
        p.bias = a->n_own > 2 ? 2 : -1;
    } else if (a->op == &kl__op_dense_bwd_data) { /* dx [N,I] = dy [N,U] w [U,I] */
        p.m = (int)x.dim[0];
        p.n = (int)a->in[1]->desc.shape.dim[1];
        p.k = (int)x.dim[1];
    } else { /* dw [U,I] = dy [N,U]^T x [N,I] */
        p.ta = true;
        p.m = (int)y.dim[0];
        p.n = (int)y.dim[1];
        p.k = (int)x.dim[0];
    }
    return p;
}

int64_t kl__product_macs(const kl__apply *a)
{
    kl__product p = kl__product_of(a);
    return (int64_t)p.batch * p.m * p.n * p.k;
}

void kl__product_window(const kl__apply *a, int extent[2], int stride[2])
{
    (void)a;
    extent[0] = extent[1] = 0;
    stride[0] = stride[1] = 1;
}

kl_node *kl_matmul(kl_graph *g, kl_node *a, kl_node *b, const kl_matmul_opts *opts)
{
    kl_node *in[2] = {a, b};
    return kl__build(g, &kl__op_matmul, in, 2, opts);
}

static const kl__attr attrs[] = {
    {"ta", KL__ATTR_BOOL, offsetof(kl_matmul_opts, ta), 0, NULL, 0, "transpose a"},
    {"tb", KL__ATTR_BOOL, offsetof(kl_matmul_opts, tb), 0, NULL, 0, "transpose b"},
    {"name", KL__ATTR_NAME, offsetof(kl_matmul_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
const kl__op kl__op_matmul = {
    .name = "matmul",
    .doc = "op(a) op(b); a [M,K], b [K,N] -> [M,N], or [B,M,K], [B,K,N] -> [B,M,N]",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .attrs_bytes = sizeof(kl_matmul_opts),
    .attrs = attrs,
    .infer = matmul_infer,
    .grad = matmul_grad,
    .macs = kl__product_macs,
    .window = kl__product_window,
    .variants = kl__matmul_variants,
};
