/* The null table: functions that enqueue, and those of events. */
#include "support/null_inside.h"

#include "base/hash.h"

#include <stdio.h>
#include <string.h>

/* ---- the table's functions ---- */

static void hash_launch(cl_event e, cl_kernel k, cl_uint dims, const size_t *global,
                        const size_t *local)
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
            e->mem[e->n_mem++] = n_held(a->mem);
        else
            h = kl__hash64(a->bytes, a->size < sizeof a->bytes ? a->size : sizeof a->bytes,
                           h + a->size);
    }
    e->launch_hash = h;
}

static cl_int CL_API_CALL launch(cl_command_queue q, cl_kernel k, cl_uint dims,
                                 const size_t *offset, const size_t *global, const size_t *local,
                                 cl_uint n, const cl_event *w, cl_event *out)
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
    cl_event e = n_begin(q, "clEnqueueNDRangeKernel", n, w, false);
    e->kind = C_LAUNCH;
    hash_launch(e, k, dims, global, local);
    snprintf(N.log[e->entry].kernel, sizeof N.log[e->entry].kernel, "%s", k->name);
    N.log[e->entry].bytes = items;
    if (N.break_in && !--N.break_in)
        e->breaks = N.break_status;
    n_end(e, false, out);
    n_unlock();
    return CL_SUCCESS;
}

static bool fits(cl_mem m, size_t at, size_t bytes)
{
    return bytes && at <= m->size && bytes <= m->size - at;
}

static cl_int CL_API_CALL read_buffer(cl_command_queue q, cl_mem m, cl_bool blocking, size_t at,
                                      size_t bytes, void *dst, cl_uint n, const cl_event *w,
                                      cl_event *out)
{
    if (!fits(m, at, bytes))
        return CL_INVALID_VALUE;
    n_lock();
    cl_event e = n_begin(q, "clEnqueueReadBuffer", n, w, false);
    e->kind = C_READ;
    e->src = n_held(m);
    e->src_at = at;
    e->host_dst = dst;
    e->bytes = N.log[e->entry].bytes = bytes;
    n_end(e, false, out);
    if (blocking)
        n_drain(q);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL write_buffer(cl_command_queue q, cl_mem m, cl_bool blocking, size_t at,
                                       size_t bytes, const void *src, cl_uint n, const cl_event *w,
                                       cl_event *out)
{
    if (!fits(m, at, bytes))
        return CL_INVALID_VALUE;
    n_lock();
    cl_event e = n_begin(q, "clEnqueueWriteBuffer", n, w, false);
    e->kind = C_WRITE;
    e->dst = n_held(m);
    e->dst_at = at;
    e->host_src = src;
    e->bytes = N.log[e->entry].bytes = bytes;
    n_end(e, false, out);
    if (blocking)
        n_drain(q);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL copy_buffer(cl_command_queue q, cl_mem src, cl_mem dst, size_t src_at,
                                      size_t dst_at, size_t bytes, cl_uint n, const cl_event *w,
                                      cl_event *out)
{
    if (!fits(src, src_at, bytes) || !fits(dst, dst_at, bytes))
        return CL_INVALID_VALUE;
    n_lock();
    cl_event e = n_begin(q, "clEnqueueCopyBuffer", n, w, false);
    e->kind = C_COPY;
    e->src = n_held(src);
    e->dst = n_held(dst);
    e->src_at = src_at;
    e->dst_at = dst_at;
    e->bytes = N.log[e->entry].bytes = bytes;
    n_end(e, false, out);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL fill_buffer(cl_command_queue q, cl_mem m, const void *pattern,
                                      size_t pattern_bytes, size_t at, size_t bytes, cl_uint n,
                                      const cl_event *w, cl_event *out)
{
    if (!fits(m, at, bytes) || !pattern_bytes || pattern_bytes > 128 || bytes % pattern_bytes ||
        at % pattern_bytes)
        return CL_INVALID_VALUE;
    n_lock();
    cl_event e = n_begin(q, "clEnqueueFillBuffer", n, w, false);
    e->kind = C_FILL;
    e->dst = n_held(m);
    e->dst_at = at;
    memcpy(e->pattern, pattern, pattern_bytes);
    e->pattern_bytes = pattern_bytes;
    e->bytes = N.log[e->entry].bytes = bytes;
    n_end(e, false, out);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL marker(cl_command_queue q, cl_uint n, const cl_event *w, cl_event *out)
{
    n_lock();
    cl_event e = n_begin(q, "clEnqueueMarkerWithWaitList", n, w, true);
    e->kind = C_MARK;
    n_end(e, false, out);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL barrier(cl_command_queue q, cl_uint n, const cl_event *w, cl_event *out)
{
    n_lock();
    cl_event e = n_begin(q, "clEnqueueBarrierWithWaitList", n, w, true);
    e->kind = C_MARK;
    n_end(e, true, out);
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

static cl_int CL_API_CALL event_info(cl_event e, cl_event_info what, size_t cap, void *dst,
                                     size_t *ret)
{
    cl_int code = CL_INVALID_VALUE;
    n_lock();
    if (what == CL_EVENT_COMMAND_EXECUTION_STATUS) {
        code = n_put(&e->status, sizeof e->status, cap, dst, ret);
        if (e->status > CL_COMPLETE)
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
    n_keep_event(e);
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
    callback *c = n_new(sizeof *c);
    *c = (callback){e->callbacks, f, e, user};
    if (e->status <= CL_COMPLETE) {
        n_owe_callback(c);
    } else {
        e->callbacks = c;
        n_wake();
    }
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL profiling_info(cl_event e, cl_profiling_info what, size_t cap, void *dst,
                                         size_t *ret)
{
    if (!e->profiled || e->status != CL_COMPLETE)
        return CL_PROFILING_INFO_NOT_AVAILABLE;
    return n_put(what == CL_PROFILING_COMMAND_END ? &e->end : &e->start, sizeof e->end, cap, dst,
                 ret);
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
