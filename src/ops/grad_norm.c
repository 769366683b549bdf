/* Global L2 norm of the gradients and clipping by it. */
#include "ops/grad_norm.h"

#include "ops/norm_common.h"
#include "ops/optim.h"

enum {
    CHUNK = 4096, /* gradients per partial sum: BLOCKS of cl/grad_norm.cl */
    SMALL = 65536 /* gradients that one core adds sooner than a second launch starts */
};

static const kl__attr norm_attrs[] = {
    {"max_norm", KL__ATTR_FLOAT, offsetof(kl__grad_norm, max_norm), 0, NULL, 0,
     "norm to clip to; 0: none"},
    KL__ATTR_END,
};

static kl_status norm_infer(const kl__apply *a, kl__desc *out)
{
    const kl__grad_norm *o = a->attrs;
    if (!(o->max_norm >= 0))
        return kl__fail(KL_E_ARG, "grad_norm \"%s\": max_norm %g is below 0", a->name,
                        (double)o->max_norm);
    out[0] = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = {1, {2}}};
    return kl__arena_check(a, 1, 3);
}

static size_t chunks(const kl__apply *a)
{
    return kl__ceil_div((size_t)a->in[0]->desc.shape.dim[0], CHUNK);
}

static size_t norm_scratch(const kl__apply *a, const kl__caps *caps)
{
    (void)caps;
    return chunks(a) * kl_dtype_size(a->in[0]->desc.dtype);
}

/** Partial sums, by groups of items where solo_items is 0; by one item: the whole. */
static kl_status launch_sums(kl__emit *e, const kl__apply *a, const char *kernel,
                             const kl__defs *defs, kl__arg to, size_t solo_items, size_t group)
{
    const kl__grad_norm *o = a->attrs;
    kl__launch l = kl__launch_of("grad_norm.cl", kernel, defs);
    for (int i = 0; i < 4; i++)
        kl__launch_arg(&l, kl__arg_in(a, i));
    kl__launch_arg(&l, to);
    kl__launch_arg(&l, kl__arg_i32(a->in[0]->desc.shape.dim[0]));
    if (solo_items == 1)
        kl__launch_arg(&l, kl__arg_f32((double)o->max_norm));
    if (solo_items)
        kl__launch_solo(&l, 1, solo_items, 1, 1);
    else
        kl__launch_groups(&l, chunks(a), group);
    return kl__emit_launch(e, a, &l);
}

static kl_status norm_emit(kl__emit *e, const kl__apply *a, bool solo)
{
    const kl__grad_norm *o = a->attrs;
    const size_t n = chunks(a);
    const uint32_t real = (uint32_t)kl_dtype_size(a->in[0]->desc.dtype);
    const kl__arg part = n ? kl__arg_scratch(a, 0, real) : kl__arg_out(a, 0);
    kl_status st = KL_OK;
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    const size_t group = kl__tree_group(e, &defs);
    if (solo)
        kl__def_int(&defs, "VN", e->caps->vector);
    if (solo && a->in[0]->desc.shape.dim[0] <= SMALL) {
        st = launch_sums(e, a, "grad_norm_small", &defs, kl__arg_out(a, 0), 1, group);
        goto out;
    }
    if (n)
        st = launch_sums(e, a, solo ? "grad_norm_solo" : "grad_norm_ref", &defs, part, solo ? n : 0,
                         group);
    if (st == KL_OK) {
        kl__launch l = kl__launch_of("grad_norm.cl", "grad_norm_sum", &defs);
        kl__launch_arg(&l, part);
        kl__launch_arg(&l, kl__arg_out(a, 0));
        kl__launch_arg(&l, kl__arg_i32((int64_t)n));
        kl__launch_arg(&l, kl__arg_f32((double)o->max_norm));
        kl__launch_groups(&l, 1, group);
        st = kl__emit_launch(e, a, &l);
    }
out:
    kl__defs_free(&defs);
    return st;
}

static kl_status norm_solo(kl__emit *e, const kl__apply *a)
{
    return norm_emit(e, a, true);
}
static kl_status norm_ref(kl__emit *e, const kl__apply *a)
{
    return norm_emit(e, a, false);
}
static const kl__variant norm_variants[] = {
    {.name = "solo", .fits = kl__solo_f32, .scratch_bytes = norm_scratch, .emit = norm_solo},
    {.name = "ref", .scratch_bytes = norm_scratch, .emit = norm_ref},
    {.name = NULL}};

const kl__op kl__op_grad_norm = {
    .name = "grad_norm",
    .doc = "g, groups, table, weight -> [2]: norm of g / weight, factor min(1, max / norm)",
    .min_in = 4,
    .max_in = 4,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__grad_norm),
    .attrs = norm_attrs,
    .infer = norm_infer,
    .variants = norm_variants,
};
