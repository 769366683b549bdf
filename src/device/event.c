/* Events: handles of the driver, carried as values. Waiting for them is in wait.c. */
#include "device/ctx.h"

#include <stddef.h>

kl_status kl__event_failed(const kl_ctx *ctx, const char *call, cl_int code)
{
    return kl__fail(KL_E_DEVICE, "%s: a command on %s failed: %s (%d)", call, ctx->caps.info.name,
                    kl__cl_code_name(code), code);
}

int kl__event_poll(kl_ctx *ctx, kl__event e)
{
    if (!e.h)
        return 0;
    kl_status st = kl__ctx_well(ctx);
    if (st)
        return st;
    cl_int status = CL_COMPLETE;
    cl_int code = ctx->cl->clGetEventInfo(kl__event_cl(e), CL_EVENT_COMMAND_EXECUTION_STATUS,
                                          sizeof status, &status, NULL);
    if (code)
        return kl__cl_fail(ctx, "clGetEventInfo", NULL, code);
    if (status < 0)
        return kl__event_failed(ctx, "clGetEventInfo", status);
    return status == CL_COMPLETE ? 0 : 1;
}

void kl__event_retain(kl__event e)
{
    if (e.h)
        kl__cl()->clRetainEvent(kl__event_cl(e));
}

void kl__event_release(kl__event *e)
{
    if (e && e->h)
        kl__cl()->clReleaseEvent(kl__event_cl(*e));
    if (e)
        e->h = NULL;
}

bool kl__event_seconds(kl_ctx *ctx, kl__event e, double *start, double *end)
{
    cl_ulong a = 0, b = 0;
    if (!e.h || !(ctx->flags & KL_CTX_PROFILE) || ctx->caps.times_useless)
        return false;
    if (ctx->cl->clGetEventProfilingInfo(kl__event_cl(e), CL_PROFILING_COMMAND_START, sizeof a, &a,
                                         NULL) ||
        ctx->cl->clGetEventProfilingInfo(kl__event_cl(e), CL_PROFILING_COMMAND_END, sizeof b, &b,
                                         NULL) ||
        b < a)
        return false;
    *start = (double)a * 1e-9;
    *end = (double)b * 1e-9;
    return true;
}
