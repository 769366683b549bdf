/* Device memory, counted, with what is held and what was held at most. */
#include "base/mem.h"
#include "device/ctx.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SMALLEST = 64 }; /* what a buffer of 0 bytes gets: drivers refuse 0 */

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
    kl__fail(
        KL_E_MEMORY,
        "cannot get %s of memory on %s: %s (this context holds %s; the device has %s, at most %s "
        "in one piece)",
        bytes_text(want, bytes), ctx->caps.info.name, why,
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

static bool full(kl_ctx *ctx, size_t size)
{
    return size > ctx->caps.global_bytes ||
           atomic_load(&ctx->live_bytes) + atomic_load(&ctx->pool_bytes) >
               ctx->caps.global_bytes - size;
}

/* What is kept for reuse goes before a creation fails. */
static cl_mem create(kl_ctx *ctx, size_t size, cl_int *code)
{
    cl_mem mem;
    do
        mem = ctx->cl->clCreateBuffer(ctx->context, CL_MEM_READ_WRITE, size, NULL, code);
    while (!mem && kl__pool_trim(ctx));
    return mem;
}

static kl__mem *give_out(kl__mem *m, size_t bytes)
{
    atomic_store(&m->refs, 1);
    m->bytes = bytes;
    account(m->ctx, m->held);
    return m;
}

kl__mem *kl__mem_create(kl_ctx *ctx, size_t bytes)
{
    bool exact = bytes && ctx->flags & KL_CTX_BARE_BUFFERS;
    size_t size = bytes < SMALLEST && !exact ? SMALLEST : bytes;
    kl__mem *m;
    if (kl__ctx_well(ctx))
        return NULL;
    if (size > ctx->caps.max_alloc) {
        refuse(ctx, bytes, "more than one buffer may have");
        return NULL;
    }
    if (!exact && (m = kl__pool_take(ctx, size)))
        return give_out(m, bytes);
    if (full(ctx, size) && (!kl__pool_trim(ctx) || full(ctx, size))) {
        refuse(ctx, bytes, "the device is full");
        return NULL;
    }
    if (!(m = kl__calloc(1, sizeof *m)))
        return NULL;
    cl_int code;
    if (!(m->mem = create(ctx, size, &code))) {
        char why[96];
        snprintf(why, sizeof why, "clCreateBuffer: %s (%d)", kl__cl_code_name(code), code);
        refuse(ctx, bytes, why);
        kl__free(m);
        return NULL;
    }
    kl__count_create(ctx);
    m->ctx = ctx;
    m->held = size;
    return give_out(m, bytes);
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
    if (m->held) {
        atomic_fetch_sub(&m->ctx->live_buffers, 1);
        atomic_fetch_sub(&m->ctx->live_bytes, m->held);
    }
    if (!kl__pool_put(m))
        kl__mem_free_list(m);
}

void kl__mem_free_list(kl__mem *m)
{
    for (kl__mem *next; m; m = next) {
        next = m->next;
        if (!kl__ctx_hung(m->ctx))
            m->ctx->cl->clReleaseMemObject(m->mem);
        kl__free(m);
    }
}

size_t kl__mem_bytes(const kl__mem *m)
{
    return m ? m->bytes : 0;
}

kl_ctx *kl__mem_ctx(const kl__mem *m)
{
    return m ? m->ctx : NULL;
}

cl_mem kl__mem_cl(kl__mem *m)
{
    if (!m)
        return NULL;
    atomic_store(&m->given, true);
    return m->mem;
}

kl_status kl__span_check(kl__span span, size_t bytes, const char *what)
{
    if (!span.mem)
        return kl__fail(KL_E_ARG, "%s: no memory given", what);
    if (span.offset > span.mem->bytes || bytes > span.mem->bytes - span.offset)
        return kl__fail(KL_E_ARG, "%s: %zu bytes from byte %zu on do not fit in a buffer of %zu",
                        what, bytes, span.offset, span.mem->bytes);
    return KL_OK;
}
