/* Text and arguments of cl/epilogue.cl. */
#include "ops/epilogue.h"

#include "ops/eltwise.h"

/** Input k of the absorbed apply among a's inputs; -1: the op's own value. */
static int input_of(const kl__apply *a, int k)
{
    int at = a->n_own;
    for (int i = 0; i < k; i++)
        at += a->epilogue.apply->in[i] != a->epilogue.own;
    return a->epilogue.apply->in[k] == a->epilogue.own ? -1 : at;
}

bool kl__epi_by_channel(const kl__apply *a, const kl__apply *elt)
{
    const kl_shape *y = &a->out[0]->desc.shape;
    kl__elt_read read;
    if (y->n_dims != 4 || a->out[0]->desc.dtype != KL_F32 ||
        !kl_shape_equal(*y, elt->out[0]->desc.shape))
        return false;
    for (int i = 0; i < elt->n_in; i++)
        if (elt->in[i]->desc.dtype != KL_F32 || !kl__elt_read_of(&elt->in[i]->desc.shape, y, &read))
            return false;
    return true;
}

/** One value per column of a matrix. */
static bool by_column(const kl_shape *x, const kl_shape *y)
{
    return y->n_dims == 2 && x->n_dims >= 1 && x->dim[x->n_dims - 1] == y->dim[1] &&
           kl_shape_count(*x) == y->dim[1];
}

bool kl__epi_by_rows(const kl__apply *a, const kl__apply *elt)
{
    const kl_shape *y = &a->out[0]->desc.shape;
    if (a->out[0]->desc.dtype != KL_F32 || !kl_shape_equal(*y, elt->out[0]->desc.shape))
        return false;
    for (int i = 0; i < elt->n_in; i++) {
        const kl__desc *x = &elt->in[i]->desc;
        if (x->dtype != KL_F32 || !(kl_shape_equal(x->shape, *y) || by_column(&x->shape, y) ||
                                    kl_shape_count(x->shape) == 1))
            return false;
    }
    return true;
}

void kl__epi_layouts(const kl__apply *a, kl__layout out, kl__layout *in)
{
    for (int i = a->n_own; i < a->n_in; i++)
        if (kl_shape_equal(a->in[i]->desc.shape, a->out[0]->desc.shape))
            in[i] = (kl__layout){.kind = out.kind, .block = out.block};
}

static kl__elt_read read_of(const kl__apply *a, int i)
{
    kl__elt_read read = KL__ELT_FULL;
    kl__elt_read_of(&a->in[i]->desc.shape, &a->out[0]->desc.shape, &read);
    return read;
}

/* ---- arguments ------------------------------------------------------------------------------- */
static void put_args(kl__launch *l, const kl__apply *a)
{
    float v[KL__FUSE_VALUES];
    int n_values = kl__formula_values(a->epilogue.apply, v), block = a->out[0]->desc.layout.block;
    const int64_t *y = a->out[0]->desc.shape.dim;
    for (int i = a->n_own; i < a->n_in; i++) {
        const int *h = a->in[i]->desc.layout.halo;
        int64_t row = y[3] + h[1] + h[3];
        kl__launch_arg(l, kl__arg_in(a, i));
        if (read_of(a, i) != KL__ELT_FULL)
            continue;
        kl__launch_arg(l, kl__arg_i32((y[2] + h[0] + h[2]) * row));
        kl__launch_arg(l, kl__arg_i32(row));
        kl__launch_arg(l, kl__arg_i32(h[0] * row + h[1]));
    }
    for (int i = 0; i < n_values; i++)
        kl__launch_arg(l, kl__arg_f32((double)v[i]));
    block = block ? block : 1;
    kl__launch_arg(l, kl__arg_i32((y[1] + block - 1) / block));
    kl__launch_arg(l, kl__arg_i32(y[1]));
}

/* ---- text ------------------------------------------------------------------------------------ */
static void put_params(kl__text *t, const kl__apply *a, int n_values)
{
    kl__put(t, "#define EPI_PARAMS ");
    for (int i = a->n_own; i < a->n_in; i++) {
        kl__put(t, ", global const T *ep%d, ulong ep%d_at", i, i);
        if (read_of(a, i) == KL__ELT_FULL)
            kl__put(t, ", int ep%d_plane, int ep%d_row, int ep%d_first", i, i, i);
    }
    for (int i = 0; i < n_values; i++)
        kl__put(t, ", float ea%d", i);
    kl__put(t, ", int epi_blocks, int epi_channels\n");
}

static void put_row(kl__text *t, const kl__apply *a)
{
    kl__put(t, "#define EPI_ROW(n, k, h) "
               "const int epi_lanes = min(VN, epi_channels - (k) * VN); (void)epi_lanes; ");
    for (int i = a->n_own; i < a->n_in; i++) {
        switch (read_of(a, i)) {
        case KL__ELT_FULL:
            kl__put(t,
                    "global const T *er%d = ep%d + ep%d_at + ((ulong)((n) * epi_blocks + (k)) * "
                    "ep%d_plane + (h) * ep%d_row + ep%d_first) * VN; ",
                    i, i, i, i, i, i);
            break;
        case KL__ELT_SCALAR:
            kl__put(t, "const V ex%d = (V)ep%d[ep%d_at]; ", i, i, i);
            break;
        case KL__ELT_CHANNEL:
            kl__put(t, "const V ex%d = vec_part(ep%d + ep%d_at + (k) * VN, epi_lanes); ", i, i, i);
            break;
        case KL__ELT_SAMPLE_CHANNEL:
            kl__put(t,
                    "const V ex%d = vec_part(ep%d + ep%d_at + (n) * epi_channels + (k) * VN, "
                    "epi_lanes); ",
                    i, i, i);
            break;
        }
    }
    kl__put(t, "\n");
}

/** The function epi_value of cl/epilogue.cl. */
static void put_function(kl__text *t, const kl__apply *a, int n_values)
{
    static const char *const x[KL__FUSE_IN] = {"x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"};
    const kl__formula_names names = {x, "y", "t", "((V)a", ")", 0};
    const kl__apply *f = a->epilogue.apply;
    kl__put(t, "#define EPI_VALUES ");
    for (int i = 0; i < f->n_in; i++)
        kl__put(t, "%sconst V x%d", i ? ", " : "", i);
    for (int i = 0; i < n_values; i++)
        kl__put(t, ", const float a%d", i);
    kl__put(t, "\n#define EPI_BODY ");
    kl__formula_put(t, f, &names);
    kl__put(t, "\n");
}

/** Its call in EPI (by channel) or EPI_AT (rows). */
static void put_call(kl__text *t, const kl__apply *a, int n_values, bool rows)
{
    const kl__apply *f = a->epilogue.apply;
    kl__put(t, "epi_value(");
    for (int k = 0; k < f->n_in; k++) {
        int i = input_of(a, k);
        kl__put(t, k ? ", " : "");
        if (i < 0)
            kl__put(t, "v");
        else if (rows)
            kl__put(t, kl_shape_count(a->in[i]->desc.shape) == 1 ? "ex%d" : "vec_at(er%d + (j), n)",
                    i);
        else
            kl__put(t, read_of(a, i) == KL__ELT_FULL ? "VLOAD(er%d + (w) * VN)" : "ex%d", i);
    }
    for (int i = 0; i < n_values; i++)
        kl__put(t, ", ea%d", i);
    kl__put(t, ")");
}

/** Adds the launch with `text` before the file and before that what l had. */
static kl_status launch_with(kl__emit *e, const kl__apply *a, kl__launch *l, kl__text *text)
{
    kl_status st;
    const char *before = l->prelude;
    if (text->failed) {
        st = kl__no_memory(text->cap);
    } else {
        l->prelude = text->s;
        st = kl__emit_launch(e, a, l);
        l->prelude = before;
    }
    kl__text_free(text);
    return st;
}

kl_status kl__epi_launch(kl__emit *e, const kl__apply *a, kl__launch *l)
{
    kl__text t = {0};
    float v[KL__FUSE_VALUES];
    if (!a->epilogue.apply)
        return kl__emit_launch(e, a, l);
    const kl__desc *y = &a->out[0]->desc;
    int n_values = kl__formula_values(a->epilogue.apply, v);
    bool padded = y->layout.kind == KL__NCHWC && y->shape.dim[1] % y->layout.block;
    kl__put(&t, "%s", l->prelude ? l->prelude : "");
    put_args(l, a);
    put_params(&t, a, n_values);
    put_row(&t, a);
    put_function(&t, a, n_values);
    kl__put(&t, "#define EPI(y, v, w) const V y = %s", padded ? "vec_lanes(" : "");
    put_call(&t, a, n_values, false);
    kl__put(&t, padded ? ", epi_lanes);\n" : ";\n");
    return launch_with(e, a, l, &t);
}

kl_status kl__epi_launch_rows(kl__emit *e, const kl__apply *a, kl__launch *l, int columns)
{
    kl__text t = {0}, line = {0};
    float v[KL__FUSE_VALUES];
    if (!a->epilogue.apply)
        return kl__emit_launch(e, a, l);
    int n_values = kl__formula_values(a->epilogue.apply, v);
    kl__put(&t, "%s#define EPI_PARAMS ", l->prelude ? l->prelude : "");
    kl__put(&line, "\n#define EPI_LINE(r) ");
    for (int i = a->n_own; i < a->n_in; i++) {
        const kl_shape *x = &a->in[i]->desc.shape;
        bool whole = kl_shape_equal(*x, a->out[0]->desc.shape);
        kl__launch_arg(l, kl__arg_in(a, i));
        kl__put(&t, ", global const T *ep%d, ulong ep%d_at", i, i);
        if (kl_shape_count(*x) == 1)
            kl__put(&line, "const V ex%d = (V)ep%d[ep%d_at]; ", i, i, i);
        else
            kl__put(&line, "global const T *er%d = ep%d + ep%d_at + (ulong)(%s) * (ulong)epi_n; ",
                    i, i, i, whole ? "r" : "0");
    }
    for (int i = 0; i < n_values; i++) {
        kl__launch_arg(l, kl__arg_f32((double)v[i]));
        kl__put(&t, ", float ea%d", i);
    }
    kl__launch_arg(l, kl__arg_i32(columns));
    kl__put(&t, ", int epi_n%s\n", line.s ? line.s : "");
    t.failed = t.failed || line.failed;
    kl__text_free(&line);
    put_function(&t, a, n_values);
    kl__put(&t, "#define EPI_AT(y, v, j, n) const V y = ");
    put_call(&t, a, n_values, true);
    kl__put(&t, ";\n");
    return launch_with(e, a, l, &t);
}
