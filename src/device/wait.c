/* Waiting, with an end to it, and losing a device.
 *
 * clWaitForEvents cannot give up, so a wait is for a callback of the event's, and what the callback
 * touches must outlive a device that hangs: it lives in the hub, which is counted by its context
 * and by each callback that is still to come. Only when the callback has come (or a look at the
 * event says so) is the event waited for as OpenCL wants it, which then takes no time and makes the
 * command's results visible. */
#include "base/mem.h"
#include "device/wait.h"

#include <stdio.h>

/* How long a driver may owe a callback of a command that has ended. */
static const double LOOK_SECONDS = 0.5;

/* ---- the hub ---- */

static void add_spare(kl__hub *h, kl__pending *p)
{
    p->hub = h;
    p->next = h->spare;
    h->spare = p;
}

kl__hub *kl__hub_create(void)
{
    kl__hub *h = kl__calloc(1, sizeof *h);
    if (!h)
        return NULL;
    kl__mutex_init(&h->lock);
    kl__cond_init(&h->settled);
    h->refs = 1;
    for (int i = 0; i < KL__USUAL_WAITS; i++) {
        kl__cond_init(&h->usual[i].cond);
        add_spare(h, &h->usual[i]);
    }
    return h;
}

/* Nobody holds it any more. */
static void destroy(kl__hub *h)
{
    for (kl__pending *p = h->spare, *next; p; p = next) {
        next = p->next;
        kl__cond_finish(&p->cond);
        if (p < h->usual || p >= h->usual + KL__USUAL_WAITS)
            kl__free(p);
    }
    kl__cond_finish(&h->settled);
    kl__mutex_finish(&h->lock);
    kl__free(h);
}

void kl__hub_drop(kl__hub *h)
{
    kl__lock(&h->lock);
    bool last = --h->refs == 0;
    kl__unlock(&h->lock);
    if (last)
        destroy(h);
}

/* No allocation once as many were needed at a time. */
static kl__pending *take(kl__hub *h, void (*fn)(void *, kl_status), void *user)
{
    kl__lock(&h->lock);
    kl__pending *p = h->spare;
    if (p) {
        h->spare = p->next;
    } else if ((p = kl__calloc(1, sizeof *p))) {
        kl__cond_init(&p->cond);
        p->hub = h;
    }
    if (p) {
        p->over = false;
        p->wanted = !fn;
        p->fn = fn;
        p->user = user;
        p->next = h->active;
        p->at = &h->active;
        if (p->next)
            p->next->at = &p->next;
        h->active = p;
        h->refs++;
    }
    kl__unlock(&h->lock);
    return p;
}

/* The lock is held. */
static void put_back(kl__pending *p)
{
    *p->at = p->next;
    if (p->next)
        p->next->at = p->at;
    add_spare(p->hub, p);
}

static void CL_CALLBACK on_end(cl_event e, cl_int status, void *user)
{
    kl__pending *p = user;
    kl__hub *h = p->hub;
    (void)e;
    kl__lock(&h->lock);
    void (*fn)(void *, kl_status) = p->fn;
    void *whose = p->user;
    p->over = true;
    p->fn = NULL;
    if (p->wanted)
        kl__cond_signal(&p->cond);
    else
        put_back(p);
    bool last = --h->refs == 0; /* before anybody wakes and thinks that the callback is over */
    kl__unlock(&h->lock);
    if (last)
        destroy(h);
    if (fn)
        fn(whose, status < 0 ? KL_E_DEVICE : KL_OK);
}

/** clSetEventCallback said no: there will be no callback. false: somebody has told `fn` already. */
static bool no_callback(kl__pending *p)
{
    kl__hub *h = p->hub;
    kl__lock(&h->lock);
    bool told = !p->wanted && !p->fn;
    put_back(p);
    kl__unlock(&h->lock);
    kl__hub_drop(h);
    return !told;
}

void kl__hub_tell(kl__hub *h, bool notified)
{
    for (;;) {
        void (*fn)(void *, kl_status) = NULL;
        void *user = NULL;
        kl__lock(&h->lock);
        for (kl__pending *p = h->active; p && !fn; p = p->next) {
            if (p->wanted)
                kl__cond_signal(&p->cond);
            if (notified && p->fn) {
                fn = p->fn;
                user = p->user;
                p->fn = NULL;
            }
        }
        kl__unlock(&h->lock);
        if (!fn)
            return;
        fn(user, KL_E_DEVICE);
    }
}

/* ---- waits ---- */

/** Has it ended, one way or another? The sentence is set where `code`. */
static bool ended(kl_ctx *ctx, cl_event e, kl_status *st)
{
    cl_int status = CL_COMPLETE;
    cl_int code = ctx->cl->clGetEventInfo(e, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status,
                                          &status, NULL);
    if (code)
        *st = kl__cl_fail(ctx, "clGetEventInfo", NULL, code);
    return code || status <= CL_COMPLETE;
}

/** Until the callback has come, the device is lost, or `until`; p NULL: only by looks. Each look at
 * the event costs a call, and is for drivers that forget a callback. */
static bool wait_for_end(kl_ctx *ctx, kl__pending *p, cl_event e, double until, kl_status *st)
{
    kl__hub *h = ctx->hub;
    bool over = false;
    double look = p ? LOOK_SECONDS : 1e-4;
    while (!over && !kl__ctx_lost(ctx) && kl__now() < until) {
        double left = until - kl__now();
        kl__lock(&h->lock);
        if (!kl__ctx_lost(ctx) && (!p || !p->over))
            kl__cond_wait_for(p ? &p->cond : &h->settled, &h->lock, left < look ? left : look);
        over = p && p->over;
        kl__unlock(&h->lock);
        over = over || ended(ctx, e, st);
    }
    if (!p)
        return over;
    kl__lock(&h->lock);
    p->wanted = false;
    if (p->over)
        put_back(p);
    kl__unlock(&h->lock);
    return over;
}

static kl_status gave_up(kl_ctx *ctx, const char *what)
{
    char why[200];
    snprintf(why, sizeof why, "%s did not end in %g seconds", what, ctx->timeout);
    kl__ctx_lose(ctx, true, why);
    return kl__ctx_well(ctx);
}

/** KL_OK: the command has ended, well or not. */
static kl_status await(kl_ctx *ctx, cl_event e, const char *what)
{
    kl_status st = KL_OK;
    if (ended(ctx, e, &st))
        return st;
    double until = kl__now() + ctx->timeout;
    kl__pending *p = take(ctx->hub, NULL, NULL);
    if (p && ctx->cl->clSetEventCallback(e, CL_COMPLETE, on_end, p)) {
        no_callback(p);
        p = NULL;
    }
    if (wait_for_end(ctx, p, e, until, &st))
        return st;
    return kl__ctx_lost(ctx) ? kl__ctx_well(ctx) : gave_up(ctx, what);
}

static kl_status failed_command(kl_ctx *ctx, cl_event e, cl_int code)
{
    cl_int why = code;
    ctx->cl->clGetEventInfo(e, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof why, &why, NULL);
    return kl__event_failed(ctx, "clWaitForEvents", why < 0 ? why : code);
}

kl_status kl__event_wait_for(kl_ctx *ctx, kl__event e, const char *what)
{
    if (!e.h)
        return KL_OK;
    cl_event h = kl__event_cl(e);
    kl_status st = kl__ctx_well(ctx);
    if (!st)
        st = await(ctx, h, what);
    if (st) { /* it may still be under way, and so may what it uses */
        kl__ctx_quiesce(ctx);
        return st;
    }
    cl_int code = ctx->cl->clWaitForEvents(1, &h);
    if (code == CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST)
        return failed_command(ctx, h, code);
    return code ? kl__cl_fail(ctx, "clWaitForEvents", NULL, code) : KL_OK;
}

kl_status kl__event_wait(kl_ctx *ctx, kl__event e)
{
    return kl__event_wait_for(ctx, e, "a command");
}

kl_status kl__event_notify(kl_ctx *ctx, kl__event e, void (*fn)(void *user, kl_status st),
                           void *user)
{
    if (!e.h) {
        fn(user, KL_OK);
        return KL_OK;
    }
    kl_status st = kl__ctx_well(ctx);
    if (st)
        return st;
    kl__pending *p = take(ctx->hub, fn, user);
    if (!p)
        return KL_E_MEMORY;
    cl_int code = ctx->cl->clSetEventCallback(kl__event_cl(e), CL_COMPLETE, on_end, p);
    return code && no_callback(p) ? kl__cl_fail(ctx, "clSetEventCallback", NULL, code) : KL_OK;
}
