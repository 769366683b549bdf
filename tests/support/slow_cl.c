#include "support/slow_cl.h"

#include <stdatomic.h>
#include <time.h>

static const kl__cl_table *in;
static kl__cl_table table;
static _Atomic(cl_context) slow; /* of the device: a context has one */
static atomic_uint_fast64_t thousandths, nanoseconds, launches;

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pause_for(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    while (nanosleep(&t, &t))
        ;
}

static bool is_slow(cl_command_queue q)
{
    cl_context c = NULL, want = atomic_load(&slow);
    return want && !in->clGetCommandQueueInfo(q, CL_QUEUE_CONTEXT, sizeof c, &c, NULL) && c == want;
}

static cl_int CL_API_CALL launch(cl_command_queue q, cl_kernel k, cl_uint dims, const size_t *off,
                                 const size_t *global, const size_t *local, cl_uint n,
                                 const cl_event *w, cl_event *e)
{
    uint64_t m = atomic_load(&thousandths);
    if (m <= 1000 || !is_slow(q))
        return in->clEnqueueNDRangeKernel(q, k, dims, off, global, local, n, w, e);
    in->clFinish(q); /* what came before is not this launch's time */
    uint64_t start = now();
    cl_int code = in->clEnqueueNDRangeKernel(q, k, dims, off, global, local, n, w, e);
    if (!code)
        code = in->clFinish(q);
    uint64_t took = now() - start;
    atomic_fetch_add(&nanoseconds, took);
    atomic_fetch_add(&launches, 1);
    pause_for(took * (m - 1000) / 1000);
    return code;
}

void slow_cl_wrap(const kl__cl_table *inner)
{
    in = inner;
    table = *inner;
    table.clEnqueueNDRangeKernel = launch;
    atomic_store(&slow, NULL);
    atomic_store(&thousandths, 1000);
    atomic_store(&nanoseconds, 0);
    atomic_store(&launches, 0);
}

const kl__cl_table *slow_cl_table(void)
{
    return &table;
}

void slow_cl_set(const kl_ctx *ctx, double m)
{
    atomic_store(&slow, kl__ctx_cl(ctx));
    atomic_store(&thousandths, (uint64_t)(m * 1000));
}

double slow_cl_seconds(void)
{
    return (double)atomic_load(&nanoseconds) * 1e-9;
}

uint64_t slow_cl_launches(void)
{
    return atomic_load(&launches);
}
