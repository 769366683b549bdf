/* Element-wise ops: broadcasting, and the two variants that all of them share. */
#include "ops/eltwise.h"

#include "base/mem.h"

#include <string.h>

const kl__attr kl__named_attrs[] = {
    {"name", KL__ATTR_NAME, offsetof(kl__named, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};

/* ---- shapes ---------------------------------------------------------------------------------- */
static kl_status misfit(const kl__apply *a, int i, kl_shape so_far)
{
    char s[2][96];
    return kl__fail(KL_E_SHAPE,
                    "%s \"%s\": input %d has shape %s, which does not broadcast with %s",
                    a->op->name, a->name, i, kl__shape_str(a->in[i]->desc.shape, s[0]),
                    kl__shape_str(so_far, s[1]));
}

kl_status kl__eltwise_infer(const kl__apply *a, kl__desc *out)
{
    out->dtype = a->in[0]->desc.dtype;
    for (int i = 0; i < a->n_in; i++) {
        const kl__desc *x = &a->in[i]->desc;
        if (x->dtype != KL_F32 && x->dtype != KL_F64)
            return kl__fail(KL_E_SHAPE,
                            "%s \"%s\": input %d is %s; arithmetic takes f32 (op cast makes it)",
                            a->op->name, a->name, i, kl_dtype_name(x->dtype));
        if (x->dtype != out->dtype)
            return kl__fail(KL_E_SHAPE, "%s \"%s\": input %d is %s, input 0 is %s", a->op->name,
                            a->name, i, kl_dtype_name(x->dtype), kl_dtype_name(out->dtype));
        if (x->shape.n_dims > out->shape.n_dims)
            out->shape.n_dims = x->shape.n_dims;
    }
    for (int d = 0; d < out->shape.n_dims; d++)
        out->shape.dim[d] = 1;
    for (int i = 0; i < a->n_in; i++) {
        const kl_shape *x = &a->in[i]->desc.shape;
        int64_t *to = out->shape.dim + out->shape.n_dims - x->n_dims;
        for (int d = 0; d < x->n_dims; d++) {
            if (x->dim[d] != 1 && to[d] != 1 && x->dim[d] != to[d])
                return misfit(a, i, out->shape);
            if (x->dim[d] != 1)
                to[d] = x->dim[d];
        }
    }
    return KL_OK;
}

void kl__elt_collapse(const kl__apply *a, kl__elt_space *s)
{
    const kl_shape *y = &a->out[0]->desc.shape;
    memset(s, 0, sizeof *s);
    s->n_in = a->n_in;
    for (int d = 0; d < y->n_dims; d++) {
        if (y->dim[d] == 1)
            continue;
        uint32_t mask = 0;
        for (int i = 0; i < a->n_in; i++) {
            const kl_shape *x = &a->in[i]->desc.shape;
            int at = d - (y->n_dims - x->n_dims);
            mask |= (uint32_t)(at >= 0 && x->dim[at] != 1) << i;
        }
        if (s->n_dims && s->mask[s->n_dims - 1] == mask) {
            s->n[s->n_dims - 1] *= y->dim[d];
        } else {
            s->n[s->n_dims] = y->dim[d];
            s->mask[s->n_dims++] = mask;
        }
    }
    if (!s->n_dims) { /* one element */
        s->n_dims = 1;
        s->n[0] = 1;
        s->mask[0] = (1u << a->n_in) - 1;
    }
}

/* ---- blocked storage ------------------------------------------------------------------------- */
static bool is_blocked(const kl__desc *d)
{
    return d->layout.kind == KL__NCHWC;
}

static bool any_blocked(const kl__apply *a)
{
    bool any = is_blocked(&a->out[0]->desc);
    for (int i = 0; i < a->n_in; i++)
        any = any || is_blocked(&a->in[i]->desc);
    return any;
}

bool kl__elt_read_of(const kl_shape *x, const kl_shape *y, kl__elt_read *read)
{
    bool at[4] = {false, false, false, false};
    for (int d = 0; d < x->n_dims; d++)
        at[4 - x->n_dims + d] = x->dim[d] != 1;
    if (kl_shape_equal(*x, *y))
        *read = KL__ELT_FULL;
    else if (at[2] || at[3] || (at[0] && !at[1]))
        return false;
    else
        *read = !at[1]                    ? KL__ELT_SCALAR
                : at[0] && y->dim[0] != 1 ? KL__ELT_SAMPLE_CHANNEL
                                          : KL__ELT_CHANNEL;
    return true;
}

static int halo_sum(const kl__layout *l)
{
    return l->halo[0] + l->halo[1] + l->halo[2] + l->halo[3];
}

static bool can_block(const kl__apply *a, kl__elt_read read[KL__FUSE_IN])
{
    const kl_shape *y = &a->out[0]->desc.shape;
    if (y->n_dims != 4)
        return false;
    for (int i = 0; i < a->n_in; i++)
        if (!kl__elt_read_of(&a->in[i]->desc.shape, y, &read[i]))
            return false;
    return true;
}

/** Blocked where an input comes so, with the halo that readers want; plain inputs of the whole
 * shape are reordered. */
static void layouts_solo(const kl__apply *a, const kl__caps *caps, kl__layout *in, kl__layout *out)
{
    kl__elt_read read[KL__FUSE_IN];
    const kl__layout blocked = {.kind = KL__NCHWC, .block = caps->vector};
    bool any = false;
    if (!can_block(a, read))
        return;
    for (int i = 0; i < a->n_in; i++) {
        const kl__layout *l = &a->in[i]->desc.layout;
        any = any || (read[i] == KL__ELT_FULL && l->kind == KL__NCHWC && l->block == caps->vector);
    }
    if (!any)
        return;
    for (int i = 0; i < a->n_in; i++)
        if (read[i] == KL__ELT_FULL)
            in[i] = blocked;
    out->kind = blocked.kind;
    out->block = blocked.block;
}

/* ---- launches -------------------------------------------------------------------------------- */
static void put_args(kl__launch *l, const kl__apply *a, const kl__elt_space *s)
{
    float v[KL__FUSE_VALUES];
    int n_values = kl__formula_values(a, v);
    for (int i = 0; i < a->n_in; i++)
        kl__launch_arg(l, kl__arg_in(a, i));
    for (int i = 0; i < n_values; i++)
        kl__launch_arg(l, kl__arg_f32((double)v[i]));
    for (int d = 0; s && d < s->n_dims; d++)
        kl__launch_arg(l, kl__arg_i32(s->n[d]));
}

/** Rows and columns of a plane in storage, and where its first element is. */
static void put_storage(kl__launch *l, const int halo[4], int64_t h, int64_t w)
{
    const int64_t columns = w + halo[1] + halo[3];
    kl__launch_arg(l, kl__arg_i32(h + halo[0] + halo[2]));
    kl__launch_arg(l, kl__arg_i32(columns));
    kl__launch_arg(l, kl__arg_i32(halo[0] * columns + halo[1]));
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/** Elements per work-item: enough to hide its start (4 ns), few enough that every core gets
 * several. */
static int64_t chunk_of(const kl__emit *e, int64_t n)
{
    int64_t c = n / (4 * (int64_t)(e->caps->compute_units > 0 ? e->caps->compute_units : 1));
    c = c < 1024 ? 1024 : c > 8192 ? 8192 : c;
    return c / 16 * 16;
}

static kl_status emit_with(kl__emit *e, const kl__apply *a, kl__launch *l, kl__text *prelude)
{
    kl_status st;
    if (prelude->failed) {
        st = kl__no_memory(prelude->cap);
    } else {
        l->prelude = prelude->s;
        st = kl__emit_launch(e, a, l);
    }
    kl__text_free(prelude);
    return st;
}

static kl_status emit_flat(kl__emit *e, const kl__apply *a, const kl__defs *defs)
{
    kl__elt_space s;
    kl__elt_collapse(a, &s);
    kl__text prelude = {0};
    kl__elt_prelude_solo(&prelude, a, &s);
    kl__launch l = kl__launch_of("eltwise.cl", "eltwise_solo", defs);
    put_args(&l, a, &s);
    kl__launch_arg(&l, kl__arg_out(a, 0));
    int64_t rows = 1, inner = s.n[s.n_dims - 1];
    for (int d = 0; d < s.n_dims - 1; d++)
        rows *= s.n[d];
    int64_t chunk = chunk_of(e, rows * inner);
    int64_t each = inner < chunk ? chunk / inner : 1;
    kl__launch_arg(&l, kl__arg_i32(rows));
    kl__launch_arg(&l, kl__arg_i32(each));
    kl__launch_arg(&l, kl__arg_i32(inner));
    kl__launch_arg(&l, kl__arg_i32(chunk));
    kl__launch_solo(&l, 1, (size_t)(ceil_div(rows, each) * ceil_div(inner, chunk)), 1, 1);
    return emit_with(e, a, &l, &prelude);
}

static kl_status emit_blocked(kl__emit *e, const kl__apply *a, const kl__defs *defs)
{
    kl__elt_read read[KL__FUSE_IN];
    if (!can_block(a, read))
        return kl__fail(KL_E_UNSUPPORTED,
                        "%s \"%s\": its inputs cannot be read next to a blocked output",
                        a->op->name, a->name);
    const kl__desc *y = &a->out[0]->desc;
    const int *halo = y->layout.halo;
    kl__text prelude = {0};
    kl__elt_prelude_blocked(&prelude, a, read);
    kl__launch l = kl__launch_of("eltwise.cl", "eltwise_blocked", defs);
    int64_t h = y->shape.dim[2], w = y->shape.dim[3],
            blocks = ceil_div(y->shape.dim[1], y->layout.block);
    int haloed = halo_sum(&y->layout);
    for (int i = 0; i < a->n_in; i++)
        haloed += halo_sum(&a->in[i]->desc.layout);
    if (!haloed) { /* a plane is one row */
        w *= h;
        h = 1;
    }
    put_args(&l, a, NULL);
    for (int i = 0; i < a->n_in; i++)
        if (read[i] == KL__ELT_FULL)
            put_storage(&l, a->in[i]->desc.layout.halo, h, w);
    kl__launch_arg(&l, kl__arg_out(a, 0));
    int64_t rows = y->shape.dim[0] * blocks * (h + halo[0] + halo[2]);
    int64_t width = (w + halo[1] + halo[3]) * y->layout.block, chunk = chunk_of(e, rows * width);
    int64_t each = width < chunk ? chunk / width : 1;
    const int64_t sizes[] = {rows, each, h, w, blocks, y->shape.dim[1], h + halo[0] + halo[2],
                             halo[0], halo[1], halo[3]};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        kl__launch_arg(&l, kl__arg_i32(sizes[i]));
    kl__launch_solo(&l, 1, (size_t)ceil_div(rows, each), 1, 1);
    return emit_with(e, a, &l, &prelude);
}

static kl_status emit_solo(kl__emit *e, const kl__apply *a)
{
    kl__defs defs = {0};
    kl__def_int(&defs, "VN", e->caps->vector);
    kl_status st = any_blocked(a) ? emit_blocked(e, a, &defs) : emit_flat(e, a, &defs);
    kl__defs_free(&defs);
    return st;
}

static bool fits_solo(const kl__apply *a, const kl__caps *caps)
{
    return caps->solo && caps->vector > 1 && a->out[0]->desc.dtype == KL_F32 &&
           a->graph->real == KL_F32;
}

static kl_status emit_ref(kl__emit *e, const kl__apply *a)
{
    kl__elt_space s;
    kl__elt_collapse(a, &s);
    kl__text prelude = {0};
    kl__elt_prelude_ref(&prelude, a, &s);
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    kl__launch l = kl__launch_of("eltwise.cl", "eltwise_ref", &defs);
    put_args(&l, a, &s);
    kl__launch_arg(&l, kl__arg_out(a, 0));
    size_t n = (size_t)kl_shape_count(a->out[0]->desc.shape);
    kl__launch_arg(&l, kl__arg_u32(n));
    kl__launch_1d(&l, e, n);
    kl_status st = emit_with(e, a, &l, &prelude);
    kl__defs_free(&defs);
    return st;
}

const kl__variant kl__eltwise_variants[] = {
    {.name = "solo",
     .fits = fits_solo,
     .layouts = layouts_solo,
     .wide_halo = true,
     .emit = emit_solo},
    {.name = "ref", .emit = emit_ref},
    {.name = NULL},
};

const char *kl__formula(const kl__apply *a)
{
    if (a->op->formula)
        return a->op->formula;
    const char *text = NULL; /* op `fused`: its text attribute */
    for (const kl__attr *t = a->op->attrs; t && t->name; t++)
        if (t->type == KL__ATTR_TEXT)
            memcpy(&text, (const char *)a->attrs + t->offset, sizeof text);
    return text ? text : "x0";
}
