/* A sequence over two lanes of one device. Each lane is in order, so a step waits for one step of
 * the other lane at most: the last one that it depends on. */
#include "base/mem.h"
#include "device/seq.h"

kl__lane *kl__ctx_side(kl_ctx *ctx)
{
    kl__lane *lane = &ctx->lane[KL__SIDE];
    cl_int code = CL_SUCCESS;
    if (ctx->foreign) {
        kl__fail(KL_E_UNSUPPORTED, "a queue that the caller brought is one lane");
        return NULL;
    }
    kl__lock(&ctx->lock);
    if (!lane->queue) {
        cl_command_queue_properties p = ctx->flags & KL_CTX_PROFILE ? CL_QUEUE_PROFILING_ENABLE : 0;
        lane->queue = ctx->cl->clCreateCommandQueue(ctx->context, ctx->device, p, &code);
        if (lane->queue)
            kl__count_create(ctx);
    }
    kl__unlock(&ctx->lock);
    if (lane->queue)
        return lane;
    kl__cl_fail(ctx, "clCreateCommandQueue", "a second compute queue", code);
    return NULL;
}

/* ---- splitting ---- */

/* The last step of the lane `side` at or before i that enqueues anything. */
static size_t real_step(const kl__seq *s, const bool *side, bool lane, size_t i)
{
    for (size_t k = i + 1; k-- > 0;)
        if (side[k] == lane && !s->step[k].skip)
            return k;
    return SIZE_MAX;
}

static bool later(size_t a, size_t b)
{
    return a != SIZE_MAX && (b == SIZE_MAX || a > b);
}

kl_status kl__seq_split(kl__seq *s, const bool *side, const size_t *after)
{
    kl__cross *cross = kl__calloc(s->n + 1, sizeof *cross);
    size_t want[2] = {SIZE_MAX, SIZE_MAX}, has[2] = {SIZE_MAX, SIZE_MAX};
    if (!cross)
        return KL_E_MEMORY;
    for (size_t i = 0; i < s->n; i++) {
        const bool lane = side[i];
        cross[i] = (kl__cross){.side = lane, .after = SIZE_MAX};
        if (after[i] != SIZE_MAX && (after[i] >= i || side[after[i]] == lane)) {
            kl__free(cross);
            return kl__fail(KL_E_ARG, "step %zu of a split sequence cannot wait for step %zu", i,
                            after[i]);
        }
        size_t real = after[i] == SIZE_MAX ? SIZE_MAX : real_step(s, side, !lane, after[i]);
        if (later(real, want[lane]))
            want[lane] = real;
        /* A step that enqueues nothing hands its wait to the next one of its lane. */
        if (s->step[i].skip || !later(want[lane], has[lane]))
            continue;
        cross[i].after = has[lane] = want[lane];
        cross[want[lane]].signals = true;
    }
    kl__free(s->cross);
    s->cross = cross;
    return KL_OK;
}

/* ---- running ---- */

/* What comes on `later_one` starts after all that `first` has. */
static cl_int order(kl__lane *first, kl__lane *later_one, const char **call)
{
    const kl__cl_table *cl = first->ctx->cl;
    cl_event e = NULL;
    *call = "clEnqueueMarkerWithWaitList";
    cl_int code = cl->clEnqueueMarkerWithWaitList(first->queue, 0, NULL, &e);
    if (code)
        return code;
    *call = "clFlush"; /* before another queue waits for it */
    code = cl->clFlush(first->queue);
    if (!code) {
        *call = "clEnqueueBarrierWithWaitList";
        code = cl->clEnqueueBarrierWithWaitList(later_one->queue, 1, &e, NULL);
    }
    cl->clReleaseEvent(e);
    atomic_fetch_add(&later_one->queued, 1);
    return code;
}

typedef struct run {
    kl__seq *s;
    kl__lane *lane[2];
    size_t first;
    size_t unflushed[2]; /* the first step of a lane that was not flushed yet; SIZE_MAX: none */
    bool begun;          /* something was enqueued on the side lane */
    const char *call;
} run;

static cl_int flush(run *r, bool lane)
{
    if (r->unflushed[lane] == SIZE_MAX)
        return CL_SUCCESS;
    r->call = "clFlush";
    r->unflushed[lane] = SIZE_MAX;
    return r->s->ctx->cl->clFlush(r->lane[lane]->queue);
}

static cl_int run_step(run *r, size_t i)
{
    kl__cross *c = &r->s->cross[i];
    const bool lane = c->side;
    /* What ran before this range was joined. */
    const cl_event *after = c->after != SIZE_MAX && c->after >= r->first
                                ? &r->s->cross[c->after].event
                                : NULL;
    cl_int code = CL_SUCCESS;
    if (after && c->after >= r->unflushed[!lane])
        code = flush(r, !lane);
    if (!code && lane && !r->begun && !after)
        code = order(r->lane[0], r->lane[1], &r->call);
    if (code)
        return code;
    r->begun |= lane;
    if (r->unflushed[lane] == SIZE_MAX)
        r->unflushed[lane] = i;
    return kl__step_enqueue(r->s, &r->s->step[i], r->lane[lane], after, &r->call,
                            c->signals ? &c->event : NULL);
}

/* Also after an error. */
static cl_int join(run *r)
{
    const char *call;
    cl_int code = order(r->lane[1], r->lane[0], &call);
    if (code)
        r->call = call;
    return code;
}

static void release_events(run *r, size_t last)
{
    for (size_t i = r->first; i < last; i++)
        if (r->s->cross[i].event) {
            r->s->ctx->cl->clReleaseEvent(r->s->cross[i].event);
            r->s->cross[i].event = NULL;
        }
}

kl_status kl__seq_run_lanes(kl__seq *s, kl__lane *main, kl__lane *side, size_t first, size_t last)
{
    if (!s->cross || main->chained || side->ctx != s->ctx)
        return kl__seq_run(s, main, first, last);
    kl_status st = kl__seq_check_range(s, main, first, last);
    st = st ? st : kl__ctx_well(s->ctx);
    if (st || first == last)
        return st;
    run r = {s, {main, side}, first, {SIZE_MAX, SIZE_MAX}, false, ""};
    cl_int code = CL_SUCCESS;
    size_t i;
    kl__lock(&s->ctx->lock);
    for (i = first; i < last; i++)
        if (!s->step[i].skip && (code = run_step(&r, i)))
            break;
    const char *call = r.call;
    cl_int joined = r.begun ? join(&r) : CL_SUCCESS;
    cl_int flushed = s->ctx->cl->clFlush(main->queue); /* the device may begin */
    release_events(&r, last);
    kl__unlock(&s->ctx->lock);
    if (joined) /* what is queued uses memory that may go */
        kl__ctx_quiesce(s->ctx);
    if (code)
        return kl__step_failed(s, &s->step[i], call, code);
    if (joined)
        return kl__cl_fail(s->ctx, r.call, "the end of the second lane", joined);
    return flushed ? kl__cl_fail(s->ctx, "clFlush", NULL, flushed) : KL_OK;
}
