/* Waiting, with an end to it, and losing a device.
 *
 * clWaitForEvents cannot give up, so a wait is for a callback of the event's, and what the callback
 * touches must outlive a device that hangs: it lives in the hub, which is counted by its context
 * and by each callback that is still to come. Only when the callback has come (or a look at the
 * event says so) is the event waited for as OpenCL wants it, which then takes no time and makes the
 * command's results visible. */
#include "base/mem.h"
#include "device/ctx.h"

#include <stdio.h>

/* A device that failed is to end what it has under way within this time. */
static const double SETTLE_SECONDS = 20;
/* How long a driver may owe a callback of a command that has ended. */
static const double LOOK_SECONDS = 0.5;

typedef struct pending {
    kl__hub *hub;
    kl__cond cond;
    bool over;   /* the callback has come */
    bool wanted; /* somebody waits and gives it back; else the callback does */
    void (*fn)(void *user, kl_status st); /* to be called, once; NULL: a wait, or it has been */
    void *user;
    struct pending *next, **at; /* in `active`, or `spare` */
} pending;

/** Waits for all queues of a device in a thread, since that may last for ever. */
typedef struct settler {
    kl__hub *hub;
    kl__thread thread;
    const kl__cl_table *cl;
    cl_command_queue queue[KL__ALL_LANES];
    int n;
    bool foreign, done, abandoned;
} settler;

enum { USUAL_WAITS = 8 }; /* at a time: they need no allocation */
struct kl__hub {
    kl__mutex lock;
    kl__cond settled;
    int refs;
    pending usual[USUAL_WAITS];
    pending *active, *spare;
    settler *settler; /* of a device that failed */
    char why[256];    /* it was lost */
};

/* ---- the hub ---- */

static void add_spare(kl__hub *h, pending *p)
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
    for (int i = 0; i < USUAL_WAITS; i++) {
        kl__cond_init(&h->usual[i].cond);
        add_spare(h, &h->usual[i]);
    }
    return h;
}

/* Nobody holds it any more. */
static void destroy(kl__hub *h)
{
    for (pending *p = h->spare, *next; p; p = next) {
        next = p->next;
        kl__cond_finish(&p->cond);
        if (p < h->usual || p >= h->usual + USUAL_WAITS)
            kl__free(p);
    }
    kl__cond_finish(&h->settled);
    kl__mutex_finish(&h->lock);
    kl__free(h);
}

static void leave(kl__hub *h)
{
    kl__lock(&h->lock);
    bool last = --h->refs == 0;
    kl__unlock(&h->lock);
    if (last)
        destroy(h);
}

/* No allocation once as many were needed at a time. */
static pending *take(kl__hub *h, void (*fn)(void *, kl_status), void *user)
{
    kl__lock(&h->lock);
    pending *p = h->spare;
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
static void put_back(pending *p)
{
    *p->at = p->next;
    if (p->next)
        p->next->at = p->at;
    add_spare(p->hub, p);
}

static void CL_CALLBACK on_end(cl_event e, cl_int status, void *user)
{
    pending *p = user;
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
static bool no_callback(pending *p)
{
    kl__hub *h = p->hub;
    kl__lock(&h->lock);
    bool told = !p->wanted && !p->fn;
    put_back(p);
    kl__unlock(&h->lock);
    leave(h);
    return !told;
}

/** Tells all that wait for a callback that it is not to be waited for. */
static void tell_all(kl__hub *h, bool notified)
{
    for (;;) {
        void (*fn)(void *, kl_status) = NULL;
        void *user = NULL;
        kl__lock(&h->lock);
        for (pending *p = h->active; p && !fn; p = p->next) {
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

/* ---- settling: what a failed device has under way must be over before anybody frees its memory
 * ---- */

static void finish_queue(const settler *s, cl_command_queue queue)
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
    settler *s = arg;
    kl__hub *h = s->hub;
    for (int i = 0; i < s->n; i++)
        finish_queue(s, s->queue[i]);
    kl__lock(&h->lock);
    s->done = true;
    bool mine = s->abandoned, failed = h->settler == s;
    kl__cond_broadcast(&h->settled);
    kl__unlock(&h->lock);
    if (failed)
        tell_all(h, true);
    if (mine)
        kl__free(s);
    leave(h);
    return NULL;
}

/** Begins; NULL: it cannot. */
static settler *settle_begin(kl_ctx *ctx)
{
    settler *s = kl__calloc(1, sizeof *s);
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
    leave(ctx->hub);
    kl__free(s);
    return NULL;
}

static double settle_seconds(const kl_ctx *ctx)
{
    return ctx->timeout < SETTLE_SECONDS ? ctx->timeout : SETTLE_SECONDS;
}

/** false: the time went by. */
static bool settle_wait(kl_ctx *ctx, const settler *s)
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
static void settle_end(settler *s)
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
    settler *s = settle_begin(ctx);
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
    const settler *s = ctx->hub->settler;
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
    leave(h);
}

/* ---- losing a device ---- */

void kl__ctx_lose(kl_ctx *ctx, bool hung, const char *why)
{
    kl__hub *h = ctx->hub;
    settler *s = hung || kl__ctx_lost(ctx) ? NULL : settle_begin(ctx);
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
    tell_all(h, told);
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
static bool wait_for_end(kl_ctx *ctx, pending *p, cl_event e, double until, kl_status *st)
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
    pending *p = take(ctx->hub, NULL, NULL);
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
    pending *p = take(ctx->hub, fn, user);
    if (!p)
        return KL_E_MEMORY;
    cl_int code = ctx->cl->clSetEventCallback(kl__event_cl(e), CL_COMPLETE, on_end, p);
    return code && no_callback(p) ? kl__cl_fail(ctx, "clSetEventCallback", NULL, code) : KL_OK;
}
