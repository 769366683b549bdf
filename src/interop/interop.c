/* The door to foreign OpenCL objects. */
#include <kiln/opencl.h>

#include "device/opencl.h"
#include "sched/model.h"
#include "sched/queue.h"
#include "train/trainer.h"

kl_ctx *kl_ctx_from_cl(cl_context context, cl_device_id device, cl_command_queue queue,
                       const kl_ctx_opts *opts)
{
    if (!context || !device) {
        kl__fail(KL_E_ARG, "kl_ctx_from_cl: %s is NULL", context ? "device" : "context");
        return NULL;
    }
    return kl__ctx_wrap(context, device, queue, opts);
}

kl_tensor *kl_tensor_from_cl(kl_ctx *ctx, cl_mem mem, size_t offset_bytes, kl_dtype dtype,
                             kl_shape shape)
{
    kl__desc d = {.dtype = dtype, .shape = shape};
    size_t bytes;
    if (!ctx || !mem) {
        kl__fail(KL_E_ARG, "kl_tensor_from_cl: %s is NULL", ctx ? "mem" : "ctx");
        return NULL;
    }
    if (!kl__desc_legal(&d))
        return NULL;
    if (!kl__desc_bytes(&d, &bytes)) {
        kl__fail(KL_E_SHAPE, "kl_tensor_from_cl: the shape must be known");
        return NULL;
    }
    if (offset_bytes % kl_dtype_size(dtype)) {
        kl__fail(KL_E_ARG, "kl_tensor_from_cl: offset %zu is no multiple of %s's %zu bytes",
                 offset_bytes, kl_dtype_name(dtype), kl_dtype_size(dtype));
        return NULL;
    }
    kl__mem *m = kl__mem_wrap(ctx, mem);
    if (!m)
        return NULL;
    kl_tensor *t = NULL;
    if (offset_bytes > kl__mem_bytes(m) || bytes > kl__mem_bytes(m) - offset_bytes)
        kl__fail(KL_E_ARG, "kl_tensor_from_cl: %zu bytes at %zu do not lie in a buffer of %zu",
                 bytes, offset_bytes, kl__mem_bytes(m));
    else
        t = kl__tensor_wrap(ctx, (kl__span){m, offset_bytes}, dtype, shape);
    kl__mem_release(m);
    return t;
}

cl_mem kl_tensor_cl_mem(const kl_tensor *t, size_t *offset_bytes)
{
    if (!t)
        return NULL;
    if (offset_bytes)
        *offset_bytes = t->span.offset;
    return kl__mem_cl(t->span.mem);
}

cl_context kl_ctx_cl_context(const kl_ctx *ctx)
{
    return ctx ? kl__ctx_cl(ctx) : NULL;
}

cl_command_queue kl_ctx_cl_queue(const kl_ctx *ctx)
{
    return ctx ? kl__lane_cl(kl__ctx_lane((kl_ctx *)(uintptr_t)ctx, KL__COMPUTE)) : NULL;
}

static kl_status wait_for(kl_ctx *ctx, cl_uint n, const cl_event *wait)
{
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE), *up = kl__ctx_lane(ctx, KL__UPLOAD);
    kl_status st = n && !wait ? kl__fail(KL_E_ARG, "a wait list of %u events is NULL", n) : KL_OK;
    for (cl_uint i = 0; st == KL_OK && i < n; i++) {
        st = kl__lane_wait(lane, (kl__event){wait[i]});
        if (st == KL_OK && up != lane)
            st = kl__lane_wait(up, (kl__event){wait[i]});
    }
    return st;
}

kl_status kl_model_enqueue(kl_model *m, kl_ctx *ctx, const kl_bind *binds, size_t n_binds,
                           cl_uint n_wait, const cl_event *wait, cl_event *done)
{
    kl__event end = {NULL};
    if (!m || !ctx)
        return kl__fail(KL_E_ARG, "kl_model_enqueue: %s is NULL", m ? "ctx" : "model");
    kl_status st = wait_for(ctx, n_wait, wait);
    if (st == KL_OK)
        st = kl__model_pass(m, ctx, binds, n_binds, done ? &end : NULL);
    if (st == KL_OK && done)
        *done = kl__event_cl(end);
    return st == KL_OK ? kl__lane_flush(kl__ctx_lane(ctx, KL__COMPUTE)) : st;
}

cl_event kl_ticket_cl_event(const kl_ticket *t)
{
    return t ? kl__event_cl(kl__ticket_event((kl_ticket *)(uintptr_t)t)) : NULL;
}

kl_status kl_trainer_enqueue(kl_trainer *tr, const kl_bind *binds, size_t n_binds, cl_uint n_wait,
                             const cl_event *wait, cl_event *done)
{
    kl__event end = {NULL};
    if (!tr)
        return kl__fail(KL_E_ARG, "kl_trainer_enqueue: trainer is NULL");
    if (!tr->stepper)
        return kl__fail(KL_E_UNSUPPORTED,
                        "kl_trainer_enqueue: events are one context's, and this "
                        "trainer works over several; kl_trainer_step spreads a batch");
    kl_status st = wait_for(tr->ctx[0], n_wait, wait);
    if (st == KL_OK)
        st = kl__trainer_queue(tr, binds, n_binds);
    if (st == KL_OK && done)
        st = kl__stepper_mark(tr->stepper, &end);
    if (st == KL_OK && done)
        *done = kl__event_cl(end);
    return st;
}
