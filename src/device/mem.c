/* Device memory, counted, with what is held and what was held at most. */
#include "base/mem.h"
#include "device/ctx.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SMALLEST = 64, GUARD = 4096 };
static const uint32_t GUARD_WORD = 0x7fc0dead; /* a NaN with a name */

static const char *bytes_text(char out[32], uint64_t n)
{
    if (n < 1024 * 1024)
        snprintf(out, 32, "%" PRIu64 " bytes", n);
    else
        snprintf(out, 32, "%" PRIu64 ".%" PRIu64 " MiB", n >> 20, ((n & 0xfffff) * 10) >> 20);
    return out;
}

static void refuse(kl_ctx *ctx, size_t bytes, const char *why)
{
    char want[32], held[32], all[32], one[32];
    kl__fail(KL_E_MEMORY, "cannot get %s of memory on %s: %s (this context holds %s; the device has %s, at most %s "
             "in one piece)", bytes_text(want, bytes), ctx->caps.info.name, why,
             bytes_text(held, atomic_load(&ctx->live_bytes)), bytes_text(all, ctx->caps.global_bytes),
             bytes_text(one, ctx->caps.max_alloc));
}

static void account(kl_ctx *ctx, size_t bytes)
{
    atomic_fetch_add(&ctx->live_buffers, 1);
    uint_fast64_t now = atomic_fetch_add(&ctx->live_bytes, bytes) + bytes;
    uint_fast64_t peak = atomic_load(&ctx->peak_bytes);
    while (peak < now && !atomic_compare_exchange_weak(&ctx->peak_bytes, &peak, now))
        ;
}

/* Poison inside and guards around: the same word, written by one fill. */
static cl_int poison(kl__mem *m)
{
    kl__lane *lane = kl__ctx_lane(m->ctx, KL__COMPUTE);
    kl__link link;
    kl__lock(&m->ctx->lock);
    kl__link_begin(lane, &link, true);
    cl_event e = NULL;
    cl_int code = m->ctx->cl->clEnqueueFillBuffer(lane->queue, m->mem, &GUARD_WORD, sizeof GUARD_WORD, 0,
                                                  m->held & ~(size_t)3, link.n, link.wait, link.out);
    kl__link_end(lane, &link, code, &e);
    kl__unlock(&m->ctx->lock);
    if (!code) {
        /* Other lanes may write first thing. */
        code = m->ctx->cl->clWaitForEvents(1, &e);
        m->ctx->cl->clReleaseEvent(e);
    }
    return code;
}

/* Buffer behind m; a cl code. */
static cl_int make_buffer(kl__mem *m, size_t size)
{
    cl_int code;
    m->mem = m->ctx->cl->clCreateBuffer(m->ctx->context, CL_MEM_READ_WRITE, size, NULL, &code);
    if (!m->mem)
        return code ? code : CL_MEM_OBJECT_ALLOCATION_FAILURE;
    kl__count_create(m->ctx);
    m->held = size;
    code = m->guard ? poison(m) : CL_SUCCESS;
    if (code) {
        m->ctx->cl->clReleaseMemObject(m->mem);
        m->mem = NULL;
    }
    return code;
}

kl__mem *kl__mem_create(kl_ctx *ctx, size_t bytes)
{
    size_t guard = ctx->flags & KL_CTX_DEBUG_BUFFERS ? GUARD : 0, size;
    if (!kl__add(bytes < SMALLEST ? SMALLEST : (bytes + 3) & ~(size_t)3, 2 * guard, &size) || bytes > SIZE_MAX - 3
        || size > ctx->caps.max_alloc) {
        refuse(ctx, bytes, "more than one buffer may have");
        return NULL;
    }
    if (atomic_load(&ctx->live_bytes) + size > ctx->caps.global_bytes) {
        refuse(ctx, bytes, "the device is full");
        return NULL;
    }
    kl__mem *m = kl__calloc(1, sizeof *m);
    if (!m)
        return NULL;
    atomic_init(&m->refs, 1);
    m->ctx = ctx;
    m->bytes = bytes;
    m->guard = guard;
    cl_int code = make_buffer(m, size);
    if (code) {
        char why[96];
        snprintf(why, sizeof why, "%s: %s (%d)", m->held ? "filling it" : "clCreateBuffer", kl__cl_code_name(code),
                 code);
        refuse(ctx, bytes, why);
        kl__free(m);
        return NULL;
    }
    account(ctx, size);
    return m;
}

kl__mem *kl__mem_wrap(kl_ctx *ctx, cl_mem mem)
{
    size_t size = 0;
    cl_context home = NULL;
    cl_int code = ctx->cl->clGetMemObjectInfo(mem, CL_MEM_SIZE, sizeof size, &size, NULL);
    if (!code)
        code = ctx->cl->clGetMemObjectInfo(mem, CL_MEM_CONTEXT, sizeof home, &home, NULL);
    if (code) {
        kl__cl_fail(ctx, "clGetMemObjectInfo", "the caller's buffer", code);
        return NULL;
    }
    if (home != ctx->context) {
        kl__fail(KL_E_ARG, "the buffer belongs to another OpenCL context than this Kiln context");
        return NULL;
    }
    kl__mem *m = kl__calloc(1, sizeof *m);
    if (!m)
        return NULL;
    if ((code = ctx->cl->clRetainMemObject(mem))) {
        kl__cl_fail(ctx, "clRetainMemObject", "the caller's buffer", code);
        kl__free(m);
        return NULL;
    }
    atomic_init(&m->refs, 1);
    m->ctx = ctx;
    m->mem = mem;
    m->bytes = size;
    return m;
}

kl__mem *kl__mem_retain(kl__mem *m)
{
    if (m)
        atomic_fetch_add(&m->refs, 1);
    return m;
}

void kl__mem_release(kl__mem *m)
{
    if (!m || atomic_fetch_sub(&m->refs, 1) != 1)
        return;
    m->ctx->cl->clReleaseMemObject(m->mem);
    if (m->held) {
        atomic_fetch_sub(&m->ctx->live_buffers, 1);
        atomic_fetch_sub(&m->ctx->live_bytes, m->held);
    }
    kl__free(m);
}

size_t kl__mem_bytes(const kl__mem *m)
{
    return m ? m->bytes : 0;
}

kl_ctx *kl__mem_ctx(const kl__mem *m)
{
    return m ? m->ctx : NULL;
}

cl_mem kl__mem_cl(const kl__mem *m)
{
    return m ? m->mem : NULL;
}


kl_status kl__span_check(kl__span span, size_t bytes, const char *what)
{
    if (!span.mem)
        return kl__fail(KL_E_ARG, "%s: no memory given", what);
    if (span.offset > span.mem->bytes || bytes > span.mem->bytes - span.offset)
        return kl__fail(KL_E_ARG, "%s: %zu bytes from byte %zu on do not fit in a buffer of %zu", what, bytes,
                        span.offset, span.mem->bytes);
    return KL_OK;
}

static kl_status check_band(kl__mem *m, kl__lane *lane, size_t at, size_t bytes, const char *label)
{
    uint32_t word[GUARD / 4];
    kl_ctx *ctx = m->ctx;
    kl__link link;
    cl_event e = NULL;
    kl__lock(&ctx->lock);
    kl__link_begin(lane, &link, true);
    cl_int code = ctx->cl->clEnqueueReadBuffer(lane->queue, m->mem, CL_FALSE, at, bytes, word, link.n, link.wait,
                                               link.out);
    kl__link_end(lane, &link, code, &e);
    kl__unlock(&ctx->lock);
    if (!code)
        code = ctx->cl->clWaitForEvents(1, &e);
    if (e)
        ctx->cl->clReleaseEvent(e);
    if (code)
        return kl__cl_fail(ctx, "clEnqueueReadBuffer", label, code);
    for (size_t i = 0; i < bytes / 4; i++)
        if (word[i] != GUARD_WORD)
            return kl__fail(KL_E_DEVICE, "\"%s\" wrote outside its memory: %s byte %zu of a buffer of %zu bytes",
                            label, at ? "past" : "before",
                            at ? at + 4 * i - m->guard : m->guard - 4 * i, m->bytes);
    return KL_OK;
}

kl_status kl__mem_check_guards(kl__mem *m, kl__lane *lane, const char *label)
{
    if (!m->guard)
        return KL_OK;
    kl_status st = check_band(m, lane, 0, m->guard, label);
    return st ? st : check_band(m, lane, m->held - m->guard, m->guard, label);
}
