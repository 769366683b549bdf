/* Giving a device up: one that failed ends what it has under way first, one that hangs is left as
 * it is. Nothing here takes the context's lock, and OpenCL is called in a thread of its own: any
 * thread may do it, also a driver's. */
#include "base/mem.h"
#include "device/wait.h"

#include <stdio.h>

/* A device that failed is to end what it has under way within this time. */
static const double SETTLE_SECONDS = 20;

/* ---- settling: what a failed device has under way must be over before anybody frees its memory
 * ---- */

static void finish_queue(const kl__settler *s, cl_command_queue queue)
{
    cl_event end = NULL;
    if (!s->foreign)
        s->cl->clFinish(queue);
    else if (!s->cl->clEnqueueMarkerWithWaitList(queue, 0, NULL, &end) && end) {
        s->cl->clWaitForEvents(1, &end);
        s->cl->clReleaseEvent(end);
    }
}

static void *settle_thread(void *arg)
{
    kl__settler *s = arg;
    kl__hub *h = s->hub;
    for (int i = 0; i < s->n; i++)
        finish_queue(s, s->queue[i]);
    kl__lock(&h->lock);
    s->done = true;
    bool mine = s->abandoned, failed = h->settler == s;
    kl__cond_broadcast(&h->settled);
    kl__unlock(&h->lock);
    if (failed)
        kl__hub_tell(h, true);
    if (mine)
        kl__free(s);
    kl__hub_drop(h);
    return NULL;
}

/** Begins; NULL: it cannot. */
static kl__settler *settle_begin(kl_ctx *ctx)
{
    kl__settler *s = kl__calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->hub = ctx->hub;
    s->cl = ctx->cl;
    s->foreign = ctx->foreign;
    for (int i = 0; i < KL__ALL_LANES; i++)
        if (ctx->lane[i].queue)
            s->queue[s->n++] = ctx->lane[i].queue;
    kl__lock(&ctx->hub->lock);
    ctx->hub->refs++;
    kl__unlock(&ctx->hub->lock);
    if (!kl__thread_start(&s->thread, settle_thread, s))
        return s;
    kl__hub_drop(ctx->hub);
    kl__free(s);
    return NULL;
}

static double settle_seconds(const kl_ctx *ctx)
{
    return ctx->timeout < SETTLE_SECONDS ? ctx->timeout : SETTLE_SECONDS;
}

/** false: the time went by. */
static bool settle_wait(kl_ctx *ctx, const kl__settler *s)
{
    double until = kl__now() + settle_seconds(ctx), left;
    kl__lock(&ctx->hub->lock);
    while (!s->done && (left = until - kl__now()) > 0)
        kl__cond_wait_for(&ctx->hub->settled, &ctx->hub->lock, left);
    bool done = s->done;
    kl__unlock(&ctx->hub->lock);
    return done;
}

/** Its thread has ended, or is left to end when it may. */
static void settle_end(kl__settler *s)
{
    kl__hub *h = s->hub;
    kl__lock(&h->lock);
    bool done = s->done;
    s->abandoned = !done;
    kl__thread thread = s->thread;
    kl__unlock(&h->lock);
    if (done) {
        kl__thread_join(thread);
        kl__free(s);
    } else {
        kl__thread_detach(thread);
    }
}

bool kl__ctx_quiesce(kl_ctx *ctx)
{
    if (atomic_load(&ctx->state) != KL__CTX_WELL)
        return kl__ctx_settle(ctx);
    kl__settler *s = settle_begin(ctx);
    bool done = s && settle_wait(ctx, s);
    if (!done)
        kl__ctx_lose(ctx, true, "after a call that failed, its queues did not end");
    if (s)
        settle_end(s);
    return done;
}

bool kl__ctx_settle(kl_ctx *ctx)
{
    kl__lock(&ctx->hub->lock);
    const kl__settler *s = ctx->hub->settler;
    kl__unlock(&ctx->hub->lock);
    if (atomic_load(&ctx->state) == KL__CTX_FAILED && (!s || !settle_wait(ctx, s)))
        kl__ctx_lose(ctx, true, "it did not end what it had under way");
    return atomic_load(&ctx->state) != KL__CTX_HUNG;
}

void kl__hub_leave(kl__hub *h)
{
    if (!h)
        return;
    if (h->settler)
        settle_end(h->settler);
    kl__hub_drop(h);
}

/* ---- losing a device ---- */

void kl__ctx_lose(kl_ctx *ctx, bool hung, const char *why)
{
    kl__hub *h = ctx->hub;
    kl__settler *s = hung || kl__ctx_lost(ctx) ? NULL : settle_begin(ctx);
    int to = s ? KL__CTX_FAILED : KL__CTX_HUNG;
    kl__lock(&h->lock);
    int was = atomic_load(&ctx->state);
    if (!hung && was != KL__CTX_WELL)
        to = was; /* no news */
    if (was == KL__CTX_WELL)
        snprintf(h->why, sizeof h->why, "%s", why);
    if (was < to)
        atomic_store(&ctx->state, to);
    bool told = to == KL__CTX_HUNG || (s && s->done);
    if (s && was == KL__CTX_WELL) {
        h->settler = s;
        s = NULL;
    }
    kl__unlock(&h->lock);
    if (s)
        settle_end(s); /* another thread was first */
    if (was >= to)
        return;
    kl__log(KL_LOG_WARN, "%s is lost: %s%s", ctx->caps.info.name, why,
            to == KL__CTX_HUNG ? "; what it holds is left behind" : "");
    kl__hub_tell(h, told);
}

bool kl__ctx_lost(const kl_ctx *ctx)
{
    return atomic_load(&ctx->state) != KL__CTX_WELL;
}

bool kl__ctx_hung(const kl_ctx *ctx)
{
    return atomic_load(&ctx->state) == KL__CTX_HUNG;
}

kl_status kl__ctx_well(const kl_ctx *ctx)
{
    if (!kl__ctx_lost(ctx))
        return KL_OK;
    return kl__fail(KL_E_DEVICE, "%s was lost: %s", ctx->caps.info.name, ctx->hub->why);
}
