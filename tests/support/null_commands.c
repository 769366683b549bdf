/* The null table: commands, which are their own events, and the order in which they are carried out. */
#include "support/null_inside.h"

#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the log ------------------------------------------------------------------------------------- */

static size_t log_entry(const char *call, cl_command_queue q)
{
    if (N.n_log == N.cap_log) {
        N.cap_log = N.cap_log ? 2 * N.cap_log : 64;
        N.log = realloc(N.log, N.cap_log * sizeof *N.log);
        if (!N.log)
            abort();
    }
    N.log[N.n_log] = (null_entry){.call = call, .queue = q->number};
    return N.n_log++;
}

static null_entry *entry_of(cl_event e)
{
    static null_entry nowhere; /* the log was cleared meanwhile */
    return e->entry < N.n_log ? &N.log[e->entry] : &nowhere;
}

size_t null_cl_log_count(void)
{
    return N.n_log;
}

null_entry null_cl_log_at(size_t i)
{
    return N.log[i];
}

void null_cl_log_clear(void)
{
    n_lock();
    n_drain(NULL);
    N.n_log = 0;
    n_unlock();
}

void null_cl_break_launch(uint64_t nth, cl_int status)
{
    N.break_in = nth;
    N.break_status = status;
}

/* ---- commands ------------------------------------------------------------------------------------ */

static void keep_event(cl_event e)
{
    e->o.refs++;
    N.live++;
}

static void forget_deps(cl_event e)
{
    for (size_t i = 0; i < e->n_wait; i++)
        n_release_event(e->wait[i]);
    free(e->wait);
    e->wait = NULL;
    e->n_wait = 0;
    if (e->dst)
        n_release_mem(e->dst);
    if (e->src)
        n_release_mem(e->src);
    for (size_t i = 0; i < e->n_mem; i++)
        n_release_mem(e->mem[i]);
    free(e->mem);
    e->dst = e->src = NULL;
    e->mem = NULL;
    e->n_mem = 0;
}

void n_release_event(cl_event e)
{
    N.live--;
    if (--e->o.refs)
        return;
    free(e);
}

static cl_mem held(cl_mem m)
{
    if (m) {
        m->o.refs++;
        N.live++;
    }
    return m;
}

/* A command with its dependencies: what the queue orders, and the wait list. */
static cl_event begin(cl_command_queue q, const char *call, cl_uint n, const cl_event *wait, bool barrier)
{
    bool in_order = !(q->properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    size_t pending = 0, k = 0;
    for (cl_event x = N.pending; x; x = x->next)
        pending++;
    cl_event e = n_new(sizeof *e);
    e->o.refs = 1;
    N.live++;
    e->queue = q;
    e->context = q->context;
    e->profiled = (q->properties & CL_QUEUE_PROFILING_ENABLE) != 0;
    e->status = CL_QUEUED;
    e->entry = log_entry(call, q);
    e->serial = N.serial++;
    e->wait = n_new((n + pending + 1) * sizeof *e->wait);
    for (cl_uint i = 0; i < n; i++)
        e->wait[k++] = wait[i];
    if (q->last)
        e->wait[k++] = q->last;
    /* A barrier or marker without a wait list is after all that the queue has. */
    for (cl_event x = N.pending; x && barrier && !n && !in_order; x = x->next)
        if (x->queue == q)
            e->wait[k++] = x;
    e->n_wait = k;
    for (size_t i = 0; i < k; i++)
        keep_event(e->wait[i]);
    return e;
}

/* Into the list; carried out now, or later. orders: what comes in this queue is after it. */
static void end(cl_event e, bool orders, cl_event *out)
{
    cl_command_queue q = e->queue;
    bool in_order = !(q->properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    cl_event *p = &N.pending;
    while (*p)
        p = &(*p)->next;
    *p = e;
    if (orders || in_order) {
        if (q->last)
            n_release_event(q->last);
        keep_event(e);
        q->last = e;
    }
    if (out) {
        keep_event(e);
        *out = e;
    }
    while (!N.random && n_step())
        ;
}

static void run_launch(cl_event e)
{
    uint64_t h = e->launch_hash;
    for (size_t i = 0; i < e->n_mem; i++) {
        uint64_t t = n_tag(e->mem[i]);
        h = kl__hash64(&t, sizeof t, h);
    }
    for (size_t i = 0; i < e->n_mem; i++)
        n_mix(e->mem[i], kl__hash64(&i, sizeof i, h));
    entry_of(e)->tag = e->n_mem ? n_tag(e->mem[0]) : h;
}

/* Where in a buffer something was put belongs to its history. */
static void put_into(cl_event e, uint64_t what)
{
    uint64_t h[4] = {n_tag(e->dst), what, e->dst_at, e->bytes};
    n_mix(e->dst, kl__hash64(h, sizeof h, 2));
    entry_of(e)->tag = n_tag(e->dst);
}

static void carry_out(cl_event e)
{
    switch (e->kind) {
    case C_LAUNCH:
        run_launch(e);
        break;
    case C_READ:
        memcpy(e->host_dst, e->src->bytes + e->src_at, e->bytes);
        entry_of(e)->tag = n_tag(e->src);
        break;
    case C_WRITE:
        memcpy(e->dst->bytes + e->dst_at, e->host_src, e->bytes);
        put_into(e, kl__hash64(e->host_src, e->bytes, 1));
        break;
    case C_COPY: {
        uint64_t from[2] = {n_tag(e->src), e->src_at};
        memmove(e->dst->bytes + e->dst_at, e->src->bytes + e->src_at, e->bytes);
        put_into(e, kl__hash64(from, sizeof from, 3));
        break;
    }
    case C_FILL:
        for (size_t i = 0; i < e->bytes; i += e->pattern_bytes)
            memcpy(e->dst->bytes + e->dst_at + i, e->pattern, e->pattern_bytes);
        put_into(e, kl__hash64(e->pattern, e->pattern_bytes, 4));
        break;
    case C_MARK:
        break;
    }
}

static bool ready(cl_event e)
{
    for (size_t i = 0; i < e->n_wait; i++)
        if (e->wait[i]->status > CL_COMPLETE)
            return false;
    return true;
}

static cl_int fate(cl_event e)
{
    for (size_t i = 0; i < e->n_wait; i++)
        if (e->wait[i]->status < 0)
            return CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST;
    return e->breaks;
}

static uint64_t dice(void)
{
    N.random ^= N.random << 13;
    N.random ^= N.random >> 7;
    N.random ^= N.random << 17;
    return N.random;
}

bool n_step(void)
{
    size_t n = 0;
    for (cl_event e = N.pending; e; e = e->next)
        n += ready(e);
    if (!n)
        return false;
    size_t pick = N.random ? (size_t)(dice() % n) : 0;
    cl_event *p = &N.pending;
    while (!ready(*p) || pick--)
        p = &(*p)->next;
    cl_event e = *p;
    *p = e->next;
    e->start = N.clock += 1000;
    e->status = fate(e);
    if (!e->status)
        carry_out(e);
    e->end = N.clock += 1000;
    entry_of(e)->ran = ++N.ran;
    forget_deps(e);
    if (e->callback)
        e->callback(e, e->status, e->user);
    n_release_event(e); /* the list's own */
    return true;
}

static bool has_pending(cl_command_queue q)
{
    for (cl_event e = N.pending; e; e = e->next)
        if (!q || e->queue == q)
            return true;
    return false;
}

void n_drain(cl_command_queue q)
{
    while (has_pending(q) && n_step())
        ;
}

/* ---- the table's functions ----------------------------------------------------------------------- */

static void hash_launch(cl_event e, cl_kernel k, cl_uint dims, const size_t *global, const size_t *local)
{
    uint64_t h = kl__hash64(k->name, strlen(k->name), 5);
    h = kl__hash64(k->program->source, strlen(k->program->source), h);
    h = kl__hash64(k->program->options, strlen(k->program->options), h);
    h = kl__hash64(global, dims * sizeof *global, h);
    if (local)
        h = kl__hash64(local, dims * sizeof *local, h);
    e->mem = n_new((k->n_args + 1) * sizeof *e->mem);
    for (cl_uint i = 0; i < k->n_args; i++) {
        const arg *a = &k->args[i];
        if (a->mem)
            e->mem[e->n_mem++] = held(a->mem);
        else
            h = kl__hash64(a->bytes, a->size < sizeof a->bytes ? a->size : sizeof a->bytes, h + a->size);
    }
    e->launch_hash = h;
}

static cl_int CL_API_CALL launch(cl_command_queue q, cl_kernel k, cl_uint dims, const size_t *offset,
                                 const size_t *global, const size_t *local, cl_uint n, const cl_event *w, cl_event *out)
{
    (void)offset;
    for (cl_uint i = 0; i < k->n_args; i++)
        if (!k->args[i].set)
            return CL_INVALID_KERNEL_ARGS;
    size_t items = 1;
    for (cl_uint i = 0; i < dims; i++) {
        if (!global[i])
            return CL_INVALID_GLOBAL_WORK_SIZE;
        if (local && (!local[i] || global[i] % local[i]))
            return CL_INVALID_WORK_GROUP_SIZE;
        items *= global[i];
    }
    n_lock();
    cl_event e = begin(q, "clEnqueueNDRangeKernel", n, w, false);
    e->kind = C_LAUNCH;
    hash_launch(e, k, dims, global, local);
    snprintf(N.log[e->entry].kernel, sizeof N.log[e->entry].kernel, "%s", k->name);
    N.log[e->entry].bytes = items;
    if (N.break_in && !--N.break_in)
        e->breaks = N.break_status;
    end(e, false, out);
    n_unlock();
    return CL_SUCCESS;
}

static bool fits(cl_mem m, size_t at, size_t bytes)
{
    return bytes && at <= m->size && bytes <= m->size - at;
}

static cl_int CL_API_CALL read_buffer(cl_command_queue q, cl_mem m, cl_bool blocking, size_t at, size_t bytes,
                                      void *dst, cl_uint n, const cl_event *w, cl_event *out)
{
    if (!fits(m, at, bytes))
        return CL_INVALID_VALUE;
    n_lock();
    cl_event e = begin(q, "clEnqueueReadBuffer", n, w, false);
    e->kind = C_READ;
    e->src = held(m);
    e->src_at = at;
    e->host_dst = dst;
    e->bytes = N.log[e->entry].bytes = bytes;
    end(e, false, out);
    if (blocking)
        n_drain(q);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL write_buffer(cl_command_queue q, cl_mem m, cl_bool blocking, size_t at, size_t bytes,
                                       const void *src, cl_uint n, const cl_event *w, cl_event *out)
{
    if (!fits(m, at, bytes))
        return CL_INVALID_VALUE;
    n_lock();
    cl_event e = begin(q, "clEnqueueWriteBuffer", n, w, false);
    e->kind = C_WRITE;
    e->dst = held(m);
    e->dst_at = at;
    e->host_src = src;
    e->bytes = N.log[e->entry].bytes = bytes;
    end(e, false, out);
    if (blocking)
        n_drain(q);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL copy_buffer(cl_command_queue q, cl_mem src, cl_mem dst, size_t src_at, size_t dst_at,
                                      size_t bytes, cl_uint n, const cl_event *w, cl_event *out)
{
    if (!fits(src, src_at, bytes) || !fits(dst, dst_at, bytes))
        return CL_INVALID_VALUE;
    n_lock();
    cl_event e = begin(q, "clEnqueueCopyBuffer", n, w, false);
    e->kind = C_COPY;
    e->src = held(src);
    e->dst = held(dst);
    e->src_at = src_at;
    e->dst_at = dst_at;
    e->bytes = N.log[e->entry].bytes = bytes;
    end(e, false, out);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL fill_buffer(cl_command_queue q, cl_mem m, const void *pattern, size_t pattern_bytes,
                                      size_t at, size_t bytes, cl_uint n, const cl_event *w, cl_event *out)
{
    if (!fits(m, at, bytes) || !pattern_bytes || pattern_bytes > 128 || bytes % pattern_bytes || at % pattern_bytes)
        return CL_INVALID_VALUE;
    n_lock();
    cl_event e = begin(q, "clEnqueueFillBuffer", n, w, false);
    e->kind = C_FILL;
    e->dst = held(m);
    e->dst_at = at;
    memcpy(e->pattern, pattern, pattern_bytes);
    e->pattern_bytes = pattern_bytes;
    e->bytes = N.log[e->entry].bytes = bytes;
    end(e, false, out);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL marker(cl_command_queue q, cl_uint n, const cl_event *w, cl_event *out)
{
    n_lock();
    cl_event e = begin(q, "clEnqueueMarkerWithWaitList", n, w, true);
    e->kind = C_MARK;
    end(e, false, out);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL barrier(cl_command_queue q, cl_uint n, const cl_event *w, cl_event *out)
{
    n_lock();
    cl_event e = begin(q, "clEnqueueBarrierWithWaitList", n, w, true);
    e->kind = C_MARK;
    end(e, true, out);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL wait_events(cl_uint n, const cl_event *list)
{
    cl_int code = CL_SUCCESS;
    n_lock();
    for (cl_uint i = 0; i < n; i++) {
        while (list[i]->status > CL_COMPLETE && n_step())
            ;
        if (list[i]->status < 0)
            code = CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST;
    }
    n_unlock();
    return code;
}

static cl_int CL_API_CALL event_info(cl_event e, cl_event_info what, size_t cap, void *dst, size_t *ret)
{
    cl_int code = CL_INVALID_VALUE;
    n_lock();
    if (what == CL_EVENT_COMMAND_EXECUTION_STATUS) {
        code = n_put(&e->status, sizeof e->status, cap, dst, ret);
        n_step(); /* so that polling comes to an end */
    } else if (what == CL_EVENT_CONTEXT) {
        code = n_put(&e->context, sizeof e->context, cap, dst, ret);
    }
    n_unlock();
    return code;
}

static cl_int CL_API_CALL retain_event(cl_event e)
{
    n_lock();
    keep_event(e);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL release_event(cl_event e)
{
    n_lock();
    n_release_event(e);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL set_callback(cl_event e, cl_int when, callback_fn f, void *user)
{
    (void)when;
    n_lock();
    if (e->status <= CL_COMPLETE) {
        f(e, e->status, user);
    } else {
        e->callback = f;
        e->user = user;
    }
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL profiling_info(cl_event e, cl_profiling_info what, size_t cap, void *dst, size_t *ret)
{
    if (!e->profiled || e->status != CL_COMPLETE)
        return CL_PROFILING_INFO_NOT_AVAILABLE;
    return n_put(what == CL_PROFILING_COMMAND_END ? &e->end : &e->start, sizeof e->end, cap, dst, ret);
}

static cl_int CL_API_CALL flush(cl_command_queue q)
{
    return q ? CL_SUCCESS : CL_INVALID_COMMAND_QUEUE;
}

static cl_int CL_API_CALL finish(cl_command_queue q)
{
    n_lock();
    n_drain(q);
    n_unlock();
    return CL_SUCCESS;
}

void null_fill_commands(kl__cl_table *t)
{
    t->clEnqueueNDRangeKernel = launch;
    t->clEnqueueReadBuffer = read_buffer;
    t->clEnqueueWriteBuffer = write_buffer;
    t->clEnqueueCopyBuffer = copy_buffer;
    t->clEnqueueFillBuffer = fill_buffer;
    t->clEnqueueMarkerWithWaitList = marker;
    t->clEnqueueBarrierWithWaitList = barrier;
    t->clWaitForEvents = wait_events;
    t->clGetEventInfo = event_info;
    t->clRetainEvent = retain_event;
    t->clReleaseEvent = release_event;
    t->clSetEventCallback = set_callback;
    t->clGetEventProfilingInfo = profiling_info;
    t->clFlush = flush;
    t->clFinish = finish;
}
