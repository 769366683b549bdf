/* Arguments and launch sizes: what every emit function shares. */
#include "ops/op.h"

#include <string.h>

static kl__arg place_arg(const kl__place *p, size_t offset, uint32_t elem)
{
    kl__arg arg = {.kind = p->kind == KL__AT_SLOT ? KL__ARG_SLOT : KL__ARG_SPAN,
                   .elem = elem,
                   .span = p->span};
    arg.span.offset += offset;
    if (p->kind == KL__AT_SLOT)
        arg.v.slot = p->slot;
    return arg;
}

kl__arg kl__arg_in(const kl__apply *a, int i)
{
    return place_arg(&a->in[i]->place, 0, (uint32_t)kl_dtype_size(a->in[i]->desc.dtype));
}

kl__arg kl__arg_out(const kl__apply *a, int i)
{
    return place_arg(&a->out[i]->place, 0, (uint32_t)kl_dtype_size(a->out[i]->desc.dtype));
}

kl__arg kl__arg_scratch(const kl__apply *a, size_t offset, uint32_t elem)
{
    return place_arg(&a->scratch, offset, elem);
}

kl__arg kl__arg_step(const kl__emit *e)
{
    return (kl__arg){.kind = KL__ARG_SPAN, .elem = 4, .span = e->step};
}

kl__arg kl__arg_i32(int64_t v)
{
    return (kl__arg){.kind = KL__ARG_I32, .v.i32 = (int32_t)v};
}

kl__arg kl__arg_u32(uint64_t v)
{
    return (kl__arg){.kind = KL__ARG_U32, .v.u32 = (uint32_t)v};
}

kl__arg kl__arg_u64(uint64_t v)
{
    return (kl__arg){.kind = KL__ARG_U64, .v.u64 = v};
}

kl__arg kl__arg_f32(double v)
{
    return (kl__arg){.kind = KL__ARG_F32, .v.f32 = (float)v};
}

kl__arg kl__arg_local(size_t bytes)
{
    return (kl__arg){.kind = KL__ARG_LOCAL, .v.u64 = bytes};
}

kl__launch kl__launch_of(const char *file, const char *kernel, const kl__defs *defs)
{
    kl__launch l;
    memset(&l, 0, sizeof l);
    l.file = file;
    l.kernel = kernel;
    l.defs = defs;
    return l;
}

void kl__launch_arg(kl__launch *l, kl__arg arg)
{
    if (l->n_args < KL__MAX_ARGS)
        l->arg[l->n_args] = arg;
    l->n_args++; /* one too many is reported by kl__emit_launch */
}

void kl__launch_1d(kl__launch *l, const kl__emit *e, size_t n)
{
    size_t group = e->caps->solo ? 64 : 256;
    while (group > 1 &&
           (group > e->caps->max_group || group > e->caps->max_item[0] || group / 2 >= n))
        group /= 2;
    l->dims = 1;
    l->local[0] = group;
    l->global[0] = (n + group - 1) / group * group;
    l->local[1] = l->local[2] = l->global[1] = l->global[2] = 1;
}

void kl__launch_solo(kl__launch *l, int dims, size_t g0, size_t g1, size_t g2)
{
    l->dims = dims;
    l->global[0] = g0;
    l->global[1] = dims > 1 ? g1 : 1;
    l->global[2] = dims > 2 ? g2 : 1;
    l->local[0] = l->local[1] = l->local[2] = 1;
}

kl_status kl__emit_launch(kl__emit *e, const kl__apply *a, const kl__launch *l)
{
    if (l->n_args > KL__MAX_ARGS)
        return kl__fail(KL_E_UNSUPPORTED, "%s \"%s\": %d kernel arguments, at most %d are possible",
                        a->op->name, a->name, l->n_args, KL__MAX_ARGS);
    kl__launch copy = *l;
    copy.label = a->name;
    kl_status st = kl__seq_kernel(e->seq, &copy);
    return st == KL_OK ? st : kl__fail_in(st, "%s \"%s\"", a->op->name, a->name);
}

void kl__defs_real(kl__defs *d, const kl__apply *a)
{
    bool f64 = a->graph->real == KL_F64;
    for (int i = 0; i < a->n_out && !f64; i++)
        f64 = a->out[i]->desc.dtype == KL_F64;
    if (f64) {
        kl__def_word(d, "T", "double");
        kl__def_flag(d, "KL_FP64");
    }
}
