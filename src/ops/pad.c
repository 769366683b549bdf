/* pad: extends or cuts the axes of a value. The gradient of a constant fill is a pad by the negated
 * amounts; of the others, which copy elements, one pad_bwd per padded axis. */
#include "ops/copy_nd.h"

enum { ROWS_BYTES = 128 * 1024 }; /* what one SOLO work-item writes */

static kl_status pad_infer(const kl__apply *a, kl__desc *out)
{
    const kl_pad_opts *o = a->attrs;
    kl_shape s = a->in[0]->desc.shape;
    char b[96];
    *out = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = s};
    for (int i = 0; i < KL_MAX_DIMS; i++) {
        int before = o->before[i], after = o->after[i];
        if (before == 0 && after == 0)
            continue;
        if (i >= s.n_dims)
            return kl__fail(
                KL_E_ARG, "pad \"%s\": amounts %d and %d for axis %d, which input %s does not have",
                a->name, before, after, i, kl__shape_str(s, b));
        if (s.dim[i] == KL_BATCH)
            return kl__fail(KL_E_SHAPE,
                            "pad \"%s\": axis %d is the batch, whose size is not known yet",
                            a->name, i);
        int64_t most = o->fill == KL_FILL_REFLECT ? s.dim[i] - 1 : s.dim[i] > 0 ? INT_MAX : 0;
        if (o->fill != KL_FILL_CONSTANT && (before > most || after > most))
            return kl__fail(KL_E_SHAPE,
                            "pad \"%s\": axis %d of input %s has too few elements to %s %d and %d",
                            a->name, i, kl__shape_str(s, b),
                            o->fill == KL_FILL_REFLECT ? "reflect" : "repeat", before, after);
        out->shape.dim[i] = s.dim[i] + before + after;
        if (out->shape.dim[i] < 0)
            return kl__fail(KL_E_SHAPE,
                            "pad \"%s\": amounts %d and %d cut more than axis %d of input %s has",
                            a->name, before, after, i, kl__shape_str(s, b));
    }
    return KL_OK;
}

/** Gradient by one axis of a reflect or edge fill. */
typedef struct pad_bwd_opts {
    int axis, before;
    int size; /* of the input's axis */
    kl_pad_fill fill;
} pad_bwd_opts;

static kl_status pad_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                          kl_node **dx)
{
    const kl_pad_opts *o = a->attrs;
    kl_node *x = dy[0];
    if (!need[0])
        return KL_OK;
    if (o->fill == KL_FILL_CONSTANT) {
        kl_pad_opts p = {.fill = KL_FILL_CONSTANT};
        for (int i = 0; i < KL_MAX_DIMS; i++) {
            p.before[i] = -o->before[i];
            p.after[i] = -o->after[i];
        }
        x = kl__apply_new(g, &kl__op_pad, NULL, &x, 1, &p);
    } else {
        for (int i = 0; i < a->in[0]->desc.shape.n_dims; i++) {
            pad_bwd_opts p = {i, o->before[i], (int)a->in[0]->desc.shape.dim[i], o->fill};
            if (o->before[i] || o->after[i])
                x = kl__apply_new(g, &kl__op_pad_bwd, NULL, &x, 1, &p);
        }
    }
    dx[0] = x;
    return x ? KL_OK : g->status;
}

/** The problem with as few axes as it has: output o, input d, amount before b, right-aligned in six
 * places. */
typedef struct pad_axes {
    int64_t o[KL_MAX_DIMS], d[KL_MAX_DIMS], b[KL_MAX_DIMS];
} pad_axes;

static pad_axes merge(const kl__apply *a)
{
    const kl_pad_opts *opts = a->attrs;
    kl_shape in = a->in[0]->desc.shape, out = a->out[0]->desc.shape;
    pad_axes p;
    int at = KL_MAX_DIMS;
    bool whole = false; /* the axis at `at` is not padded: its elements are a run */
    for (int i = in.n_dims - 1; i >= 0; i--) {
        bool plain = opts->before[i] == 0 && opts->after[i] == 0;
        if (at < KL_MAX_DIMS && whole && (plain || opts->fill == KL_FILL_CONSTANT)) {
            p.b[at] = opts->before[i] * p.d[at];
            p.o[at] *= out.dim[i];
            p.d[at] *= in.dim[i];
        } else {
            at--;
            p.b[at] = opts->before[i];
            p.o[at] = out.dim[i];
            p.d[at] = in.dim[i];
        }
        whole = plain;
    }
    while (at-- > 0) {
        p.o[at] = p.d[at] = 1;
        p.b[at] = 0;
    }
    return p;
}

/** The constant as the kernel's float: f16 is moved as its bits. */
static double fill_value(const kl__apply *a)
{
    const kl_pad_opts *o = a->attrs;
    uint16_t half;
    if (a->in[0]->desc.dtype != KL_F16)
        return (double)o->value;
    kl__convert(&half, KL_F16, &o->value, KL_F32, 1);
    return half;
}

static kl_status emit(kl__emit *e, const kl__apply *a, bool solo)
{
    static const char *const word[] = {[KL_F32] = "float",
                                       [KL_F16] = "ushort",
                                       [KL_I32] = "int",
                                       [KL_U8] = "uchar",
                                       [KL_F64] = "double"};
    const kl_pad_opts *o = a->attrs;
    pad_axes p = merge(a);
    int64_t rows = 1, run = p.o[5];
    for (int i = 0; i < 5; i++)
        rows *= p.o[i];
    int64_t per = ROWS_BYTES / (run * (int64_t)kl_dtype_size(a->out[0]->desc.dtype));
    per = per < 1 ? 1 : per < rows ? per : rows;
    kl__defs d = {0};
    kl__defs_real(&d, a);
    kl__def_word(&d, "E", word[a->out[0]->desc.dtype]);
    if (solo)
        kl__def_int(&d, "V", e->caps->vector);
    kl__launch l = kl__launch_of("copy_nd_pad.cl", solo ? "pad_solo" : "pad_ref", &d);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_i32(solo ? rows : rows * run));
    if (solo)
        kl__launch_arg(&l, kl__arg_i32(per));
    kl__launch_arg(&l, kl__arg_i32(o->fill));
    kl__launch_arg(&l, kl__arg_f32(fill_value(a)));
    for (int i = 1; i < KL_MAX_DIMS; i++)
        kl__launch_arg(&l, kl__arg_i32(p.o[i]));
    for (int i = 0; i < KL_MAX_DIMS; i++)
        kl__launch_arg(&l, kl__arg_i32(p.d[i]));
    for (int i = 0; i < KL_MAX_DIMS; i++)
        kl__launch_arg(&l, kl__arg_i32(p.b[i]));
    if (solo)
        kl__launch_solo(&l, 1, (size_t)((rows + per - 1) / per), 1, 1);
    else
        kl__launch_1d(&l, e, (size_t)(rows * run));
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

static kl_status emit_solo(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, true);
}

static kl_status emit_ref(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, false);
}

static const char *const fills[] = {"constant", "reflect", "edge", NULL};
static const kl__attr attrs[] = {
    {"before", KL__ATTR_INTS, offsetof(kl_pad_opts, before), 6, NULL, 0,
     "elements before each axis; negative cuts"},
    {"after", KL__ATTR_INTS, offsetof(kl_pad_opts, after), 6, NULL, 0,
     "elements after each axis; negative cuts"},
    {"fill", KL__ATTR_ENUM, offsetof(kl_pad_opts, fill), 0, fills, 0, "what the new elements are"},
    {"value", KL__ATTR_FLOAT, offsetof(kl_pad_opts, value), 0, NULL, 0, "the constant"},
    {"name", KL__ATTR_NAME, offsetof(kl_pad_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
static const kl__variant variants[] = {
    {.name = "solo", .fits = kl__copy_solo_fits, .emit = emit_solo},
    {.name = "ref", .emit = emit_ref},
    {.name = NULL},
};
const kl__op kl__op_pad = {
    .name = "pad",
    .doc = "extends axis i by before[i] and after[i] elements; negative cuts",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attrs_bytes = sizeof(kl_pad_opts),
    .attrs = attrs,
    .infer = pad_infer,
    .grad = pad_grad,
    .variants = variants,
};

kl_node *kl_pad_nd(kl_graph *g, kl_node *x, const kl_pad_opts *opts)
{
    return kl__build(g, &kl__op_pad, &x, 1, opts);
}

/* ---- pad_bwd ---- */
static kl_status bwd_infer(const kl__apply *a, kl__desc *out)
{
    const pad_bwd_opts *o = a->attrs;
    *out = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = a->in[0]->desc.shape};
    out->shape.dim[o->axis] = o->size;
    return KL_OK;
}

static kl_status bwd_emit(kl__emit *e, const kl__apply *a)
{
    const pad_bwd_opts *o = a->attrs;
    kl_shape s = a->out[0]->desc.shape;
    int64_t inner = 1;
    for (int i = o->axis + 1; i < s.n_dims; i++)
        inner *= s.dim[i];
    kl__defs d = {0};
    kl__defs_real(&d, a);
    kl__def_word(&d, "E", a->out[0]->desc.dtype == KL_F64 ? "double" : "float");
    kl__launch l = kl__launch_of("copy_nd_pad.cl", "pad_bwd_ref", &d);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_i32(kl_shape_count(s)));
    kl__launch_arg(&l, kl__arg_i32(o->fill));
    kl__launch_arg(&l, kl__arg_i32(o->size));
    kl__launch_arg(&l, kl__arg_i32(a->in[0]->desc.shape.dim[o->axis]));
    kl__launch_arg(&l, kl__arg_i32(inner));
    kl__launch_arg(&l, kl__arg_i32(o->before));
    kl__launch_1d(&l, e, (size_t)kl_shape_count(s));
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

static const kl__variant bwd_variants[] = {{.name = "ref", .emit = bwd_emit}, {.name = NULL}};
const kl__op kl__op_pad_bwd = {
    .name = "pad_bwd",
    .doc = "gradient of a reflect or edge pad along one axis",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(pad_bwd_opts),
    .infer = bwd_infer,
    .variants = bwd_variants,
};
