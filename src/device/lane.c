/* Lanes: in-order streams of commands, also over a queue that is not in order. */
#include "device/ctx.h"

#include <stdio.h>

/* ---- the chain ---- */

void kl__link_begin(kl__lane *lane, kl__link *link, bool want_event)
{
    atomic_fetch_add(&lane->queued, 1);
    link->event = NULL;
    link->n = lane->last ? 1 : 0;
    link->wait = lane->last ? &lane->last : NULL;
    link->out = lane->chained || want_event || lane->ctx->trace ? &link->event : NULL;
    kl__link_name(link, "command", NULL, 0);
}

void kl__link_end(kl__lane *lane, kl__link *link, cl_int code, cl_event *done)
{
    const kl__cl_table *cl = lane->ctx->cl;
    if (done)
        *done = NULL;
    if (code || !link->event)
        return;
    if (lane->ctx->trace)
        kl__trace_add(lane->ctx, lane, link);
    if (lane->chained) {
        if (done && !cl->clRetainEvent(link->event))
            *done = link->event;
        else if (done)
            kl__event_wait(lane->ctx, (kl__event){link->event}); /* none to give: it must be over */
        if (lane->last)
            cl->clReleaseEvent(lane->last);
        lane->last = link->event;
    } else if (done) {
        *done = link->event;
    } else {
        cl->clReleaseEvent(link->event);
    }
}

cl_int kl__lane_barrier(kl__lane *lane)
{
    if (!lane->chained)
        return CL_SUCCESS;
    return lane->ctx->cl->clEnqueueBarrierWithWaitList(lane->queue, 0, NULL, NULL);
}

/* ---- order ---- */

kl__lane *kl__ctx_lane(kl_ctx *ctx, kl__lane_kind kind)
{
    return &ctx->lane[ctx->foreign ? KL__COMPUTE : kind];
}

kl_ctx *kl__lane_ctx(const kl__lane *lane)
{
    return lane->ctx;
}

cl_command_queue kl__lane_cl(const kl__lane *lane)
{
    return lane->queue;
}

kl_status kl__lane_wait(kl__lane *lane, kl__event e)
{
    if (!e.h)
        return KL_OK;
    kl_ctx *ctx = lane->ctx;
    kl_status st = kl__ctx_well(ctx);
    if (st)
        return st;
    cl_event wait[2] = {kl__event_cl(e), lane->last};
    cl_int code;
    const char *call;
    kl__lock(&ctx->lock);
    if (lane->chained) {
        /* A marker orders nothing but itself, and that is enough: the chain goes on from it. */
        cl_event mark = NULL;
        call = "clEnqueueMarkerWithWaitList";
        wait[1] = lane->last;
        code = ctx->cl->clEnqueueMarkerWithWaitList(lane->queue, lane->last ? 2 : 1, wait, &mark);
        if (!code) {
            if (lane->last)
                ctx->cl->clReleaseEvent(lane->last);
            lane->last = mark;
        }
    } else {
        call = "clEnqueueBarrierWithWaitList";
        code = ctx->cl->clEnqueueBarrierWithWaitList(lane->queue, 1, wait, NULL);
    }
    kl__unlock(&ctx->lock);
    return code ? kl__cl_fail(ctx, call, NULL, code) : KL_OK;
}

kl_status kl__lane_mark(kl__lane *lane, kl__event *done)
{
    kl_ctx *ctx = lane->ctx;
    const char *call = "clEnqueueMarkerWithWaitList";
    cl_event e = NULL;
    cl_int code = CL_SUCCESS;
    done->h = NULL;
    kl_status st = kl__ctx_well(ctx);
    if (st)
        return st;
    kl__lock(&ctx->lock);
    if (!lane->chained) {
        code = ctx->cl->clEnqueueMarkerWithWaitList(lane->queue, 0, NULL, &e);
    } else if (lane->last) {
        call = "clRetainEvent";
        code = ctx->cl->clRetainEvent(lane->last);
        e = lane->last;
    }
    if (!code) {
        done->h = e;
        /* Whoever waits for this event from another queue, or polls, must not wait for a flush. */
        call = "clFlush";
        code = ctx->cl->clFlush(lane->queue);
        if (code)
            kl__event_release(done);
    }
    kl__unlock(&ctx->lock);
    return code ? kl__cl_fail(ctx, call, NULL, code) : KL_OK;
}

kl_status kl__lane_flush(kl__lane *lane)
{
    kl_status st = kl__ctx_well(lane->ctx);
    if (st)
        return st;
    kl__lock(&lane->ctx->lock);
    cl_int code = lane->ctx->cl->clFlush(lane->queue);
    kl__unlock(&lane->ctx->lock);
    return code ? kl__cl_fail(lane->ctx, "clFlush", NULL, code) : KL_OK;
}

/* By an event also where clFinish would do: that one cannot give up. */
static kl_status finish(kl__lane *lane)
{
    static const char *const what[KL__ALL_LANES] = {
        "what its compute lane has queued", "what its upload lane has queued",
        "what its download lane has queued", "what its second compute lane has queued"};
    kl__lock(&lane->ctx->lock); /* what is counted is then also enqueued */
    uint64_t n = atomic_load(&lane->queued);
    kl__unlock(&lane->ctx->lock);
    kl__event end = {NULL};
    kl_status st = kl__lane_mark(lane, &end);
    if (st) /* no event to wait for, and this must not fail to wait */
        kl__ctx_quiesce(lane->ctx);
    else
        st = kl__event_wait_for(lane->ctx, end, what[lane - lane->ctx->lane]);
    kl__event_release(&end);
    if (!st)
        kl__lane_ended(lane, n);
    return st;
}

kl_status kl__lane_finish(kl__lane *lane)
{
    return finish(lane);
}

kl_status kl__lane_drain(kl__lane *lane)
{
    return finish(lane);
}

void kl__lane_ended(kl__lane *lane, uint64_t n)
{
    uint_fast64_t before = atomic_load(&lane->ended);
    while (before < n && !atomic_compare_exchange_weak(&lane->ended, &before, n))
        ;
}

/* ---- transfers ---- */

/* Reading and writing by waiting for an event, not by a blocking call: that one would hold the
 * lock. */
static kl_status transfer(kl__lane *lane, kl__span span, const void *src, void *dst, size_t bytes,
                          kl__event *done)
{
    kl_ctx *ctx = lane->ctx;
    const char *call = src ? "clEnqueueWriteBuffer" : "clEnqueueReadBuffer";
    if (done)
        done->h = NULL;
    if (!bytes)
        return KL_OK;
    if (!src && !dst)
        return kl__fail(KL_E_ARG, "%s: no host memory given", call);
    kl_status st = kl__span_check(span, bytes, src ? "write" : "read");
    st = st ? st : kl__ctx_well(ctx);
    if (st)
        return st;
    kl__link link;
    cl_event e = NULL;
    kl__lock(&ctx->lock);
    kl__link_begin(lane, &link, true);
    kl__link_name(&link, src ? "write" : "read", NULL, bytes);
    cl_int code =
        src ? ctx->cl->clEnqueueWriteBuffer(lane->queue, span.mem->mem, CL_FALSE, span.offset,
                                            bytes, src, link.n, link.wait, link.out)
            : ctx->cl->clEnqueueReadBuffer(lane->queue, span.mem->mem, CL_FALSE, span.offset, bytes,
                                           dst, link.n, link.wait, link.out);
    kl__link_end(lane, &link, code, &e);
    uint64_t n = atomic_load(&lane->queued);
    cl_int flushed = code ? CL_SUCCESS : ctx->cl->clFlush(lane->queue);
    kl__unlock(&ctx->lock);
    kl__event event = {e};
    if (code)
        return kl__cl_fail(ctx, call, NULL, code);
    if (done && !flushed) {
        *done = event;
        return KL_OK;
    }
    /* Also after a flush that failed: the caller's memory is in use until the command is over. */
    char what[64];
    snprintf(what, sizeof what, "a %s of %zu bytes", src ? "write" : "read", bytes);
    st = kl__event_wait_for(ctx, event, what);
    if (!st && e)
        kl__lane_ended(lane, n);
    if (st)
        st = kl__fail_in(st, "%s", call);
    else if (flushed)
        st = kl__cl_fail(ctx, "clFlush", NULL, flushed);
    kl__event_release(&event);
    return st;
}

kl_status kl__lane_write(kl__lane *lane, kl__span dst, const void *src, size_t bytes,
                         kl__event *done)
{
    return transfer(lane, dst, src, NULL, bytes, done);
}

kl_status kl__lane_read(kl__lane *lane, kl__span src, void *dst, size_t bytes, kl__event *done)
{
    return transfer(lane, src, NULL, dst, bytes, done);
}

kl_status kl__lane_copy(kl__lane *lane, kl__span dst, kl__span src, size_t bytes)
{
    kl_ctx *ctx = lane->ctx;
    kl_status st;
    if (!bytes)
        return KL_OK;
    if ((st = kl__span_check(src, bytes, "copy from")) ||
        (st = kl__span_check(dst, bytes, "copy to")) || (st = kl__ctx_well(ctx)))
        return st;
    kl__link link;
    kl__lock(&ctx->lock);
    kl__link_begin(lane, &link, false);
    kl__link_name(&link, "copy", NULL, bytes);
    cl_int code = ctx->cl->clEnqueueCopyBuffer(lane->queue, src.mem->mem, dst.mem->mem, src.offset,
                                               dst.offset, bytes, link.n, link.wait, link.out);
    kl__link_end(lane, &link, code, NULL);
    kl__unlock(&ctx->lock);
    return code ? kl__cl_fail(ctx, "clEnqueueCopyBuffer", NULL, code) : KL_OK;
}

kl_status kl__lane_fill(kl__lane *lane, kl__span dst, const void *pattern, size_t pattern_bytes,
                        size_t bytes)
{
    kl_ctx *ctx = lane->ctx;
    if (!bytes)
        return KL_OK;
    kl_status st = kl__span_check(dst, bytes, "fill");
    st = st ? st : kl__ctx_well(ctx);
    if (st)
        return st;
    if ((pattern_bytes != 1 && pattern_bytes != 4 && pattern_bytes != 8) || bytes % pattern_bytes ||
        dst.offset % pattern_bytes)
        return kl__fail(KL_E_ARG, "fill: %zu bytes from byte %zu on with a pattern of %zu", bytes,
                        dst.offset, pattern_bytes);
    kl__link link;
    kl__lock(&ctx->lock);
    kl__link_begin(lane, &link, false);
    kl__link_name(&link, "fill", NULL, bytes);
    cl_int code = ctx->cl->clEnqueueFillBuffer(lane->queue, dst.mem->mem, pattern, pattern_bytes,
                                               dst.offset, bytes, link.n, link.wait, link.out);
    kl__link_end(lane, &link, code, NULL);
    kl__unlock(&ctx->lock);
    return code ? kl__cl_fail(ctx, "clEnqueueFillBuffer", NULL, code) : KL_OK;
}
