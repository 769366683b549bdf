/* Buffers kept for reuse. A buffer may be in use by queued commands when its last count goes, so it
 * keeps, for each lane, the number of the last command queued by then, and is given out again only
 * when each lane is known to have ended that command. Nobody waits for that: until then a new
 * buffer is made. What is known comes from the waits that happen anyway (finish, blocking reads and
 * writes), so the pool costs no OpenCL call and no allocation. */
#include "device/ctx.h"

enum { MOST_KEPT = 256 };
static const uint64_t ALWAYS_KEPT = 256u << 20;

/* A quarter of the most that ever lived; on large devices 256 MiB in any case. */
static uint64_t limit(const kl_ctx *ctx)
{
    uint64_t quarter = atomic_load(&ctx->peak_bytes) / 4, room = ctx->caps.global_bytes / 4;
    uint64_t floor = room < ALWAYS_KEPT ? room : ALWAYS_KEPT;
    return quarter > floor ? quarter : floor;
}

static bool idle(const kl__mem *m)
{
    for (int i = 0; i < KL__N_LANES; i++)
        if (atomic_load(&m->ctx->lane[i].ended) < m->last_use[i])
            return false;
    return true;
}

/* The lock is held. */
static kl__mem *take_out(kl_ctx *ctx, kl__mem **at)
{
    kl__mem *m = *at;
    *at = m->next;
    m->next = NULL;
    ctx->pool_count--;
    atomic_fetch_sub(&ctx->pool_bytes, m->held);
    return m;
}

bool kl__pool_put(kl__mem *m)
{
    kl_ctx *ctx = m->ctx;
    uint64_t most = limit(ctx);
    kl__mem *dropped = NULL, **end;
    if (!m->held || kl__ctx_lost(ctx) || atomic_load(&m->given) || m->held > most ||
        ctx->flags & KL_CTX_DEBUG_BUFFERS)
        return false;
    for (int i = 0; i < KL__N_LANES; i++)
        m->last_use[i] = atomic_load(&ctx->lane[i].queued);
    kl__lock(&ctx->pool_lock);
    while (ctx->pool &&
           (ctx->pool_count == MOST_KEPT || atomic_load(&ctx->pool_bytes) > most - m->held)) {
        kl__mem *old = take_out(ctx, &ctx->pool);
        old->next = dropped;
        dropped = old;
    }
    for (end = &ctx->pool; *end; end = &(*end)->next)
        ;
    *end = m;
    ctx->pool_count++;
    atomic_fetch_add(&ctx->pool_bytes, m->held);
    kl__unlock(&ctx->pool_lock);
    kl__mem_free_list(dropped);
    return true;
}

/* A class is what one buffer can stand in for: sizes from four fifths of its own on. */
kl__mem *kl__pool_take(kl_ctx *ctx, size_t size)
{
    kl__mem **best = NULL, *m = NULL;
    kl__lock(&ctx->pool_lock);
    for (kl__mem **at = &ctx->pool; *at; at = &(*at)->next)
        if ((*at)->held >= size && (*at)->held - size <= size / 4 &&
            (!best || (*at)->held < (*best)->held) && idle(*at))
            best = at;
    if (best)
        m = take_out(ctx, best);
    kl__unlock(&ctx->pool_lock);
    return m;
}

bool kl__pool_trim(kl_ctx *ctx)
{
    kl__mem *all;
    kl__lock(&ctx->pool_lock);
    all = ctx->pool;
    ctx->pool = NULL;
    ctx->pool_count = 0;
    atomic_store(&ctx->pool_bytes, 0);
    kl__unlock(&ctx->pool_lock);
    kl__mem_free_list(all);
    return all != NULL;
}
