/* Running a sequence: enqueueing only, no allocation, no clCreate*. */
#include "device/seq.h"

#include <stdio.h>

kl_status kl__step_failed(const kl__seq *s, const kl__step *t, const char *call, cl_int code)
{
    char what[256];
    snprintf(what, sizeof what, "%.100s \"%.100s\"", t->name, t->label);
    return kl__cl_fail(s->ctx, call, what, code);
}

static cl_int enqueue_gemm(kl__step *t, kl__lane *lane, const cl_event *after, kl__link *link)
{
    /* CLBlast knows no wait list, and its event is that of its last kernel: on an out-of-order
     * queue a barrier on either side keeps its kernels in their place. */
    cl_int code = after ? lane->ctx->cl->clEnqueueBarrierWithWaitList(lane->queue, 1, after, NULL)
                        : kl__lane_barrier(lane);
    if (!code)
        code = kl__clblast_sgemm(&t->gemm, &lane->queue, link->out);
    return code ? code : kl__lane_barrier(lane);
}

cl_int kl__step_enqueue(kl__seq *s, kl__step *t, kl__lane *lane, const cl_event *after,
                        const char **call, cl_event *done)
{
    const kl__cl_table *cl = s->ctx->cl;
    kl__link link;
    cl_int code = CL_SUCCESS;
    kl__link_begin(lane, &link, done != NULL);
    kl__link_name(&link, t->name, t->label, t->bytes);
    if (after) { /* lanes that wait for each other are in order by themselves */
        link.n = 1;
        link.wait = after;
    }
    switch (t->kind) {
    case KL__STEP_KERNEL:
        *call = "clEnqueueNDRangeKernel";
        code =
            cl->clEnqueueNDRangeKernel(lane->queue, t->kernel, t->dims, NULL, t->global,
                                       t->local[0] ? t->local : NULL, link.n, link.wait, link.out);
        break;
    case KL__STEP_COPY:
        *call = "clEnqueueCopyBuffer";
        code = cl->clEnqueueCopyBuffer(lane->queue, t->src.mem->mem, t->dst.mem->mem, t->src.offset,
                                       t->dst.offset, t->bytes, link.n, link.wait, link.out);
        break;
    case KL__STEP_FILL:
        *call = "clEnqueueFillBuffer";
        code = cl->clEnqueueFillBuffer(lane->queue, t->dst.mem->mem, &t->pattern, sizeof t->pattern,
                                       t->dst.offset, t->bytes, link.n, link.wait, link.out);
        break;
    case KL__STEP_GEMM:
        *call = "CLBlastSgemm";
        code = enqueue_gemm(t, lane, after, &link);
        break;
    }
    kl__link_end(lane, &link, code, done);
    if (!code && (t->kind == KL__STEP_KERNEL || t->kind == KL__STEP_GEMM))
        atomic_fetch_add_explicit(&s->ctx->launches, 1, memory_order_relaxed);
    return code;
}

kl_status kl__seq_check_range(const kl__seq *s, const kl__lane *lane, size_t first, size_t last)
{
    if (lane->ctx != s->ctx)
        return kl__fail(KL_E_ARG, "the lane belongs to another context than the sequence");
    if (first > last || last > s->n)
        return kl__fail(KL_E_ARG, "steps %zu to %zu of a sequence of %zu", first, last, s->n);
    for (size_t i = first; i < last; i++)
        for (size_t k = 0; k < s->step[i].n_use; k++) {
            int slot = s->use[s->step[i].use + k].slot;
            if (!s->slot[slot].bound)
                return kl__fail(KL_E_ARG, "%s \"%s\": slot %d is not bound", s->step[i].name,
                                s->step[i].label, slot);
        }
    return KL_OK;
}

kl_status kl__seq_run(kl__seq *s, kl__lane *lane, size_t first, size_t last)
{
    kl_status st = kl__seq_check_range(s, lane, first, last);
    st = st ? st : kl__ctx_well(s->ctx);
    if (st || first == last)
        return st;
    const char *call = "";
    cl_int code = CL_SUCCESS;
    size_t i;
    kl__lock(&s->ctx->lock);
    for (i = first; i < last; i++)
        if (!s->step[i].skip && (code = kl__step_enqueue(s, &s->step[i], lane, NULL, &call, NULL)))
            break;
    cl_int flushed = s->ctx->cl->clFlush(lane->queue); /* the device may begin */
    kl__unlock(&s->ctx->lock);
    if (code)
        return kl__step_failed(s, &s->step[i], call, code);
    return flushed ? kl__cl_fail(s->ctx, "clFlush", NULL, flushed) : KL_OK;
}

/* The queue must be idle, so that the host's clock sees this step alone. */
static kl_status profile_step(kl__seq *s, kl__step *t, kl__lane *lane, double *seconds)
{
    cl_event done = NULL;
    const char *call = "";
    double a, b, start = kl__now();
    kl__lock(&s->ctx->lock);
    cl_int code = kl__step_enqueue(s, t, lane, NULL, &call, &done);
    kl__unlock(&s->ctx->lock);
    if (code)
        return kl__step_failed(s, t, call, code);
    kl__event e = {done};
    kl_status st = kl__event_wait(s->ctx, e);
    *seconds = kl__now() - start;
    /* CLBlast's event is of its last kernel only. */
    if (!st && t->kind != KL__STEP_GEMM && kl__event_seconds(s->ctx, e, &a, &b))
        *seconds = b - a;
    kl__event_release(&e);
    return st ? kl__fail_in(st, "%s \"%s\"", t->name, t->label) : KL_OK;
}

kl_status kl__seq_profile(kl__seq *s, kl__lane *lane, double *seconds)
{
    kl__event idle;
    kl_status st = kl__seq_check_range(s, lane, 0, s->n);
    if (!st)
        st = kl__lane_mark(lane, &idle);
    if (st)
        return st;
    st = kl__event_wait(s->ctx, idle);
    kl__event_release(&idle);
    for (size_t i = 0; !st && i < s->n; i++) {
        seconds[i] = 0;
        if (!s->step[i].skip)
            st = profile_step(s, &s->step[i], lane, &seconds[i]);
    }
    return st;
}
