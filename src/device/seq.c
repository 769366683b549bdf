/* Building a sequence: its steps, copies, fills, library calls, slots. Kernels are in seq_kernel.c.
 */
#include "base/mem.h"
#include "device/seq.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

kl__seq *kl__seq_create(kl_ctx *ctx)
{
    kl__seq *s = kl__calloc(1, sizeof *s);
    if (s)
        s->ctx = ctx;
    return s;
}

static void step_free(kl__seq *s, kl__step *t)
{
    if (t->kernel && !kl__ctx_hung(s->ctx))
        s->ctx->cl->clReleaseKernel(t->kernel);
    kl__free(t->label);
    kl__free(t->name);
}

void kl__seq_destroy(kl__seq *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        step_free(s, &s->step[i]);
    for (size_t i = 0; i < s->n_held; i++)
        kl__mem_release(s->held[i]);
    for (size_t i = 0; i < s->n_slot; i++)
        kl__mem_release(s->slot[i].span.mem);
    kl__free(s->step);
    kl__free(s->cross);
    kl__free(s->held);
    kl__free(s->use);
    kl__free(s->slot);
    kl__free(s);
}

/* ---- a step: begun, then kept or dropped ---- */

kl_status kl__step_begin(kl__seq *s, kl__step *t, kl__step_kind kind, const char *name,
                         const char *label)
{
    memset(t, 0, sizeof *t);
    t->kind = kind;
    t->use = s->n_use;
    t->name = kl__strdup(name);
    t->label = kl__strdup(label ? label : name);
    return t->name && t->label ? KL_OK : KL_E_MEMORY;
}

kl_status kl__step_end(kl__seq *s, kl__step *t, kl_status st)
{
    if (!st)
        st = kl__grow(&s->step, &s->cap, s->n + 1, sizeof *s->step);
    if (!st) {
        kl__free(s->cross); /* of the steps before */
        s->cross = NULL;
        t->n_use = s->n_use - t->use;
        s->step[s->n++] = *t;
        return KL_OK;
    }
    step_free(s, t);
    s->n_use = t->use;
    return st;
}

kl_status kl__seq_hold(kl__seq *s, kl__mem *m)
{
    if (m->ctx != s->ctx)
        return kl__fail(KL_E_ARG, "memory of another context is given to a sequence on %s",
                        s->ctx->caps.info.name);
    kl_status st = kl__grow(&s->held, &s->held_cap, s->n_held + 1, sizeof *s->held);
    if (!st)
        s->held[s->n_held++] = kl__mem_retain(m);
    return st;
}

/* ---- copies, fills, calls ---- */

kl_status kl__seq_copy(kl__seq *s, const char *label, kl__span dst, kl__span src, size_t bytes)
{
    kl__step t;
    kl_status st = kl__step_begin(s, &t, KL__STEP_COPY, "copy", label);
    t.dst = dst;
    t.src = src;
    t.bytes = bytes;
    t.skip = !bytes;
    if (!st)
        st = kl__span_check(dst, bytes, t.label);
    if (!st)
        st = kl__span_check(src, bytes, t.label);
    if (!st && bytes && dst.mem == src.mem && dst.offset < src.offset + bytes &&
        src.offset < dst.offset + bytes)
        st = kl__fail(KL_E_ARG,
                      "copy \"%s\": %zu bytes from byte %zu to byte %zu of the same buffer overlap",
                      t.label, bytes, src.offset, dst.offset);
    if (!st)
        st = kl__seq_hold(s, dst.mem);
    if (!st)
        st = kl__seq_hold(s, src.mem);
    return kl__step_end(s, &t, st);
}

kl_status kl__seq_fill(kl__seq *s, const char *label, kl__span dst, uint32_t pattern, size_t bytes)
{
    kl__step t;
    kl_status st = kl__step_begin(s, &t, KL__STEP_FILL, "fill", label);
    t.dst = dst;
    t.pattern = pattern;
    t.bytes = bytes;
    t.skip = !bytes;
    if (!st)
        st = kl__span_check(dst, bytes, t.label);
    if (!st && (bytes % sizeof pattern || dst.offset % sizeof pattern))
        st = kl__fail(KL_E_ARG, "fill \"%s\": %zu bytes from byte %zu on are not whole words",
                      t.label, bytes, dst.offset);
    if (!st)
        st = kl__seq_hold(s, dst.mem);
    return kl__step_end(s, &t, st);
}

/* A matrix of rows x cols with leading dimension ld, row-major: inside its memory and aligned. */
static kl_status check_matrix(const kl__step *t, const char *name, kl__span at, int rows, int cols,
                              int ld)
{
    if (ld < cols)
        return kl__fail(KL_E_ARG, "gemm \"%s\": %s has rows of %d, %d apart", t->label, name, cols,
                        ld);
    if (at.offset % sizeof(float))
        return kl__fail(KL_E_ARG, "gemm \"%s\": %s begins at byte %zu", t->label, name, at.offset);
    size_t elements = (size_t)(rows - 1) * (size_t)ld + (size_t)cols;
    return kl__span_check(at, elements * sizeof(float), t->label);
}

kl_status kl__seq_gemm(kl__seq *s, const char *label, const kl__gemm *g)
{
    kl__step t;
    kl_status st = kl__step_begin(s, &t, KL__STEP_GEMM, "gemm", label);
    t.gemm = *g;
    if (!st && !kl__gemm_available(s->ctx))
        st = kl__fail(KL_E_UNSUPPORTED, "gemm \"%s\": CLBlast is not to be had (libclblast.so.1)",
                      t.label);
    if (!st && (g->m < 0 || g->n < 0 || g->k < 1))
        st = kl__fail(KL_E_ARG, "gemm \"%s\": m %d, n %d, k %d", t.label, g->m, g->n, g->k);
    t.skip = !g->m || !g->n;
    if (!st && !t.skip) {
        st = check_matrix(&t, "A", g->a, g->ta ? g->k : g->m, g->ta ? g->m : g->k, g->lda);
        if (!st)
            st = check_matrix(&t, "B", g->b, g->tb ? g->n : g->k, g->tb ? g->k : g->n, g->ldb);
        if (!st)
            st = check_matrix(&t, "C", g->c, g->m, g->n, g->ldc);
        if (!st)
            st = kl__seq_hold(s, g->a.mem);
        if (!st)
            st = kl__seq_hold(s, g->b.mem);
        if (!st)
            st = kl__seq_hold(s, g->c.mem);
        atomic_store(&s->ctx->used_clblast, true);
    }
    return kl__step_end(s, &t, st);
}

/* ---- slots ---- */

kl_status kl__seq_need_slot(kl__seq *s, int slot)
{
    if (slot < 0 || slot >= KL__MAX_SLOTS)
        return kl__fail(KL_E_ARG, "slot %d: slots are 0 to %d", slot, KL__MAX_SLOTS - 1);
    size_t need = (size_t)slot + 1;
    if (need <= s->n_slot)
        return KL_OK;
    kl_status st = kl__grow(&s->slot, &s->slot_cap, need, sizeof *s->slot);
    if (st)
        return st;
    memset(s->slot + s->n_slot, 0, (need - s->n_slot) * sizeof *s->slot);
    s->n_slot = need;
    return KL_OK;
}

kl_status kl__seq_bind(kl__seq *s, int slot, kl__span span)
{
    if (span.mem && span.mem->ctx != s->ctx)
        return kl__fail(KL_E_ARG, "memory of another context is bound to a slot on %s",
                        s->ctx->caps.info.name);
    kl_status st = kl__seq_need_slot(s, slot);
    if (st)
        return st;
    kl__slot *b = &s->slot[slot];
    b->bound = false; /* until all arguments are set: a run between would mix two buffers */
    for (size_t i = 0; !st && i < s->n_use; i++)
        if (s->use[i].slot == slot)
            st = kl__step_set_slot(s, &s->step[s->use[i].step], &s->use[i], span);
    if (st)
        return st;
    kl__mem_retain(span.mem);
    kl__mem_release(b->span.mem);
    *b = (kl__slot){true, span};
    return KL_OK;
}

bool kl__seq_bound(const kl__seq *s, int slot, kl__span *out)
{
    if (slot < 0 || (size_t)slot >= s->n_slot || !s->slot[slot].bound)
        return false;
    *out = s->slot[slot].span;
    return true;
}

size_t kl__seq_count(const kl__seq *s)
{
    return s ? s->n : 0;
}

const char *kl__seq_label(const kl__seq *s, size_t i)
{
    return s && i < s->n ? s->step[i].label : "";
}

const char *kl__seq_kernel_name(const kl__seq *s, size_t i)
{
    return s && i < s->n ? s->step[i].name : "";
}
