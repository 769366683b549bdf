/* Events: handles of the driver, carried as values. */
#include "device/ctx.h"

#include <stddef.h>

static kl_status failed_command(kl_ctx *ctx, const char *call, cl_int code)
{
    return kl__fail(KL_E_DEVICE, "%s: a command on %s failed: %s (%d)", call, ctx->caps.info.name,
                    kl__cl_code_name(code), code);
}

kl_status kl__event_wait(kl_ctx *ctx, kl__event e)
{
    if (!e.h)
        return KL_OK;
    cl_event h = kl__event_cl(e);
    cl_int code = ctx->cl->clWaitForEvents(1, &h);
    if (code == CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST) {
        cl_int why = code;
        ctx->cl->clGetEventInfo(h, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof why, &why, NULL);
        return failed_command(ctx, "clWaitForEvents", why < 0 ? why : code);
    }
    return code ? kl__cl_fail(ctx, "clWaitForEvents", NULL, code) : KL_OK;
}

int kl__event_poll(kl_ctx *ctx, kl__event e)
{
    if (!e.h)
        return 0;
    cl_int status = CL_COMPLETE;
    cl_int code = ctx->cl->clGetEventInfo(kl__event_cl(e), CL_EVENT_COMMAND_EXECUTION_STATUS,
                                          sizeof status, &status, NULL);
    if (code)
        return kl__cl_fail(ctx, "clGetEventInfo", NULL, code);
    if (status < 0)
        return failed_command(ctx, "clGetEventInfo", status);
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
