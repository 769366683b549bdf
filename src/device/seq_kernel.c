/* A kernel as a step: program, arguments, limits. Everything that can fail for a known reason fails
 * here, with a sentence. */
#include "base/mem.h"
#include "device/seq.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- kernels: arguments ---- */

static kl_status set_arg(kl__seq *s, const kl__step *t, cl_uint index, size_t bytes,
                         const void *value)
{
    cl_int code = s->ctx->cl->clSetKernelArg(t->kernel, index, bytes, value);
    if (!code)
        return KL_OK;
    char what[160];
    snprintf(what, sizeof what, "argument %u of %.100s", index, t->name);
    return kl__cl_fail(s->ctx, "clSetKernelArg", what, code);
}

/* The pointer, and after it the offset in elements. */
static kl_status set_span(kl__seq *s, const kl__step *t, cl_uint index, kl__span span,
                          uint32_t elem)
{
    size_t at = span.offset;
    if (!elem || at % elem)
        return kl__fail(
            KL_E_ARG,
            "%s \"%s\": argument %u begins at byte %zu, which is no multiple of its element's %u",
            t->name, t->label, index, at, elem);
    if (span.mem && span.offset > span.mem->bytes)
        return kl__fail(KL_E_ARG, "%s \"%s\": argument %u begins at byte %zu of a buffer of %zu",
                        t->name, t->label, index, span.offset, span.mem->bytes);
    cl_mem mem = span.mem ? span.mem->mem : NULL;
    cl_ulong elements = at / elem;
    kl_status st = set_arg(s, t, index, sizeof mem, &mem);
    return st ? st : set_arg(s, t, index + 1, sizeof elements, &elements);
}

kl_status kl__step_set_slot(kl__seq *s, const kl__step *t, const kl__slot_use *u, kl__span span)
{
    if (span.mem)
        span.offset += u->offset;
    return set_span(s, t, u->index, span, u->elem);
}

static kl_status add_use(kl__seq *s, const kl__step *t, cl_uint index, const kl__arg *a)
{
    kl_status st = kl__seq_need_slot(s, a->v.slot);
    if (!st)
        st = kl__grow(&s->use, &s->use_cap, s->n_use + 1, sizeof *s->use);
    if (st)
        return st;
    s->use[s->n_use++] = (kl__slot_use){s->n, index, a->elem, a->v.slot, a->span.offset};
    const kl__slot *b = &s->slot[a->v.slot];
    return b->bound ? kl__step_set_slot(s, t, &s->use[s->n_use - 1], b->span) : KL_OK;
}

static kl_status set_args(kl__seq *s, kl__step *t, const kl__launch *l)
{
    kl_status st = KL_OK;
    cl_uint index = 0;
    for (int i = 0; !st && i < l->n_args; i++, index++) {
        const kl__arg *a = &l->arg[i];
        switch (a->kind) {
        case KL__ARG_SPAN:
            st = set_span(s, t, index, a->span, a->elem);
            if (!st && a->span.mem)
                st = kl__seq_hold(s, a->span.mem);
            index++;
            break;
        case KL__ARG_SLOT:
            st = add_use(s, t, index, a);
            index++;
            break;
        case KL__ARG_I32:
            st = set_arg(s, t, index, sizeof a->v.i32, &a->v.i32);
            break;
        case KL__ARG_U32:
            st = set_arg(s, t, index, sizeof a->v.u32, &a->v.u32);
            break;
        case KL__ARG_U64:
            st = set_arg(s, t, index, sizeof a->v.u64, &a->v.u64);
            break;
        case KL__ARG_F32:
            st = set_arg(s, t, index, sizeof a->v.f32, &a->v.f32);
            break;
        case KL__ARG_LOCAL:
            st = set_arg(s, t, index, a->v.u64 ? (size_t)a->v.u64 : 16, NULL);
            break;
        }
    }
    return st;
}

/* ---- kernels: limits ---- */

/* Some drivers end the process where a group takes more local memory than there is, so it is
 * counted here. */
static kl_status check_local_memory(kl__seq *s, const kl__step *t, const kl__launch *l)
{
    const kl__caps *c = &s->ctx->caps;
    cl_ulong inside = 0;
    cl_int code = s->ctx->cl->clGetKernelWorkGroupInfo(
        t->kernel, s->ctx->device, CL_KERNEL_LOCAL_MEM_SIZE, sizeof inside, &inside, NULL);
    if (code)
        return kl__cl_fail(s->ctx, "clGetKernelWorkGroupInfo", t->name, code);
    uint64_t need = l->local_bytes > inside ? l->local_bytes : inside;
    for (int i = 0; i < l->n_args; i++)
        if (l->arg[i].kind == KL__ARG_LOCAL) {
            uint64_t v = l->arg[i].v.u64;
            need = v > UINT64_MAX - need ? UINT64_MAX : need + v;
        }
    if (need <= c->local_bytes)
        return KL_OK;
    return kl__fail(KL_E_UNSUPPORTED,
                    "%s \"%s\" needs %" PRIu64 " bytes of local memory; %s has %" PRIu64, t->name,
                    t->label, need, c->info.name, c->local_bytes);
}

/* One row of items, as long as divides the work and fits; the other dimensions are 1. */
static void choose_local(const kl__caps *c, kl__step *t, size_t max)
{
    size_t cap = 256;
    cap = max && max < cap ? max : cap;
    cap = c->max_item[0] && c->max_item[0] < cap ? c->max_item[0] : cap;
    size_t n = cap;
    while (n > 1 && t->global[0] % n)
        n--;
    t->local[0] = n;
    t->local[1] = t->local[2] = 1;
}

static kl_status check_local_size(kl__seq *s, const kl__step *t, size_t max)
{
    const kl__caps *c = &s->ctx->caps;
    size_t items = 1;
    for (cl_uint d = 0; d < t->dims; d++) {
        size_t n = t->local[d];
        if (!n || t->global[d] % n)
            return kl__fail(KL_E_ARG,
                            "%s \"%s\": groups of %zu do not divide %zu items in dimension %u",
                            t->name, t->label, n, t->global[d], d);
        if ((c->max_item[d] && n > c->max_item[d]) || !kl__mul(items, n, &items))
            return kl__fail(KL_E_UNSUPPORTED,
                            "%s \"%s\": groups of %zu in dimension %u; %s takes %zu", t->name,
                            t->label, n, d, c->info.name, c->max_item[d]);
    }
    size_t limit = max && max < c->max_group ? max : c->max_group;
    if (items > limit)
        return kl__fail(KL_E_UNSUPPORTED,
                        "%s \"%s\": groups of %zu items; %s takes %zu for this kernel", t->name,
                        t->label, items, c->info.name, limit);
    return KL_OK;
}

static kl_status set_sizes(kl__seq *s, kl__step *t, const kl__launch *l)
{
    const kl__cl_table *cl = s->ctx->cl;
    size_t max = 0, fixed[3] = {0};
    cl_int code = cl->clGetKernelWorkGroupInfo(t->kernel, s->ctx->device, CL_KERNEL_WORK_GROUP_SIZE,
                                               sizeof max, &max, NULL);
    if (!code)
        code = cl->clGetKernelWorkGroupInfo(t->kernel, s->ctx->device,
                                            CL_KERNEL_COMPILE_WORK_GROUP_SIZE, sizeof fixed, fixed,
                                            NULL);
    if (code)
        return kl__cl_fail(s->ctx, "clGetKernelWorkGroupInfo", t->name, code);
    if (s->ctx->caps.groups_useless)
        max = 0;
    t->dims = (cl_uint)l->dims;
    for (int d = 0; d < l->dims; d++) {
        t->global[d] = l->global[d];
        t->local[d] = l->local[0] ? l->local[d] : fixed[0] ? fixed[d] : 0;
        t->skip |= !l->global[d];
    }
    if (t->skip)
        return KL_OK;
    if (!t->local[0])
        choose_local(&s->ctx->caps, t, max);
    for (int d = 0; fixed[0] && d < l->dims; d++)
        if (t->local[d] != fixed[d])
            return kl__fail(
                KL_E_ARG, "%s \"%s\": groups of %zu in dimension %d; the kernel is written for %zu",
                t->name, t->label, t->local[d], d, fixed[d]);
    return check_local_size(s, t, max);
}

kl_status kl__seq_kernel(kl__seq *s, const kl__launch *l)
{
    kl__step t;
    kl_ctx *ctx = s->ctx;
    kl_status st = kl__step_begin(s, &t, KL__STEP_KERNEL, l->kernel, l->label);
    if (!st && (l->n_args < 0 || l->n_args > KL__MAX_ARGS || l->dims < 1 || l->dims > 3))
        st = kl__fail(KL_E_ARG, "%s: %d arguments in %d dimensions", l->kernel, l->n_args, l->dims);
    cl_program program = st ? NULL : kl__program_get(ctx, l);
    if (!st && !program)
        st = kl__last_status();
    if (!st) {
        cl_int code;
        t.kernel = ctx->cl->clCreateKernel(program, l->kernel, &code);
        if (t.kernel)
            kl__count_create(ctx);
        else
            st = kl__cl_fail(ctx, "clCreateKernel", l->kernel, code);
    }
    if (!st)
        st = check_local_memory(s, &t, l);
    if (!st)
        st = set_args(s, &t, l);
    if (!st)
        st = set_sizes(s, &t, l);
    return kl__step_end(s, &t, st);
}
