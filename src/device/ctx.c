/* A context: one device, its queues and what is kept for it. */
#include "base/file.h"
#include "base/mem.h"
#include "device/ctx.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool env_is_one(const char *name)
{
    const char *s = getenv(name);
    return s && !strcmp(s, "1");
}

static const char *env_or_null(const char *name)
{
    const char *s = getenv(name);
    return s && *s ? s : NULL;
}

/* Drivers call this from threads of their own, some also with mere hints, so it is for the log
 * only. */
static void CL_CALLBACK notify(const char *text, const void *data, size_t n, void *user)
{
    (void)data, (void)n, (void)user;
    kl__log(KL_LOG_WARN, "OpenCL driver: %s", text ? text : "");
}

/* Cache folder: option, environment, the user's; "" is none. Having none is no error. */
static kl_status take_cache_dir(kl_ctx *ctx, const char *opt)
{
    const char *dir = opt ? opt : getenv("KILN_CACHE_DIR");
    if (!dir) {
        ctx->cache_dir = kl__cache_dir();
        return KL_OK;
    }
    if (!*dir)
        return KL_OK;
    ctx->cache_dir = kl__strdup(dir);
    return ctx->cache_dir ? KL_OK : KL_E_MEMORY;
}

static void take_winners(kl_ctx *ctx, const char *tuned)
{
    if (ctx->flags & KL_CTX_NO_TUNE || (tuned && !*tuned))
        return;
    kl__winners_load(ctx, tuned, &ctx->winners);
    ctx->caps.winners = ctx->winners.n ? &ctx->winners : NULL;
}

/* kl_ctx_opts.timeout, or KILN_TIMEOUT; no bound is a very long one. */
static kl_status take_timeout(kl_ctx *ctx, double seconds)
{
    const char *s = env_or_null("KILN_TIMEOUT");
    ctx->timeout = HUGE_VAL;
    if (seconds == 0 && s && !strcmp(s, "none"))
        return KL_OK;
    if (seconds == 0 && s && (!kl__parse_double(s, &seconds) || !(seconds > 0)))
        return kl__fail(KL_E_ARG, "KILN_TIMEOUT is \"%.40s\": it can be seconds, or none", s);
    if (!(seconds >= 0) && seconds != KL_NONE)
        return kl__fail(KL_E_ARG, "a time-out of %g seconds", seconds);
    if (seconds != KL_NONE)
        ctx->timeout = seconds > 0 ? seconds : 600;
    return KL_OK;
}

static kl_status take_opts(kl_ctx *ctx, const kl_ctx_opts *o)
{
    const char *tune = getenv("KILN_TUNE");
    ctx->flags = o->flags;
    if (tune && !strcmp(tune, "0"))
        ctx->flags |= KL_CTX_NO_TUNE;
    if (env_is_one("KILN_SYNC"))
        ctx->flags |= KL_CTX_SYNC;
    if (env_is_one("KILN_DEBUG_BUFFERS"))
        ctx->flags |= KL_CTX_DEBUG_BUFFERS;
    if (env_is_one("KILN_EXACT"))
        ctx->flags |= KL_CTX_EXACT;
    ctx->caps.exact = (ctx->flags & KL_CTX_EXACT) != 0;
    ctx->on_compile = o->on_compile;
    ctx->user = o->user;
    const char *kernels = o->kernel_dir ? o->kernel_dir : env_or_null("KILN_CL_DIR");
    if (kernels && !(ctx->kernel_dir = kl__strdup(kernels)))
        return KL_E_MEMORY;
    kl_status st = take_timeout(ctx, o->timeout);
    st = st ? st : take_cache_dir(ctx, o->cache_dir);
    st = st ? st : kl__caps_override(&ctx->caps);
    if (!st)
        take_winners(ctx, o->tuned);
    return st;
}

static kl_ctx *alloc_ctx(const kl__cl_table *cl)
{
    kl_ctx *ctx = kl__calloc(1, sizeof *ctx);
    if (!ctx)
        return NULL;
    ctx->cl = cl;
    ctx->hub = kl__hub_create();
    if (!ctx->hub) {
        kl__free(ctx);
        return NULL;
    }
    kl__mutex_init(&ctx->lock);
    kl__mutex_init(&ctx->build_lock);
    kl__mutex_init(&ctx->pool_lock);
    kl__cond_init(&ctx->built);
    for (int i = 0; i < KL__ALL_LANES; i++)
        ctx->lane[i].ctx = ctx;
    return ctx;
}

static kl_status make_queues(kl_ctx *ctx)
{
    cl_command_queue_properties p = ctx->flags & KL_CTX_PROFILE ? CL_QUEUE_PROFILING_ENABLE : 0;
    for (int i = 0; i < KL__N_LANES; i++) {
        cl_int code;
        ctx->lane[i].queue = ctx->cl->clCreateCommandQueue(ctx->context, ctx->device, p, &code);
        if (!ctx->lane[i].queue)
            return kl__cl_fail(ctx, "clCreateCommandQueue", NULL, code);
        kl__count_create(ctx);
    }
    return KL_OK;
}

static kl_status open_device(kl_ctx *ctx, const kl__found *f)
{
    ctx->device = f->device;
    cl_int code = ctx->cl->clRetainDevice(f->device);
    if (code) {
        ctx->device = NULL;
        return kl__cl_fail(ctx, "clRetainDevice", NULL, code);
    }
    cl_context_properties p[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)f->platform, 0};
    ctx->context = ctx->cl->clCreateContext(p, 1, &f->device, notify, NULL, &code);
    if (!ctx->context)
        return kl__cl_fail(ctx, "clCreateContext", NULL, code);
    kl__count_create(ctx);
    return make_queues(ctx);
}

const char *kl__ctx_choice(const kl_ctx_opts *o)
{
    return o->device ? o->device : env_or_null("KILN_DEVICE");
}

kl_ctx *kl__ctx_open(const kl__cl_table *cl, const kl__found *f, const kl_ctx_opts *o)
{
    kl_ctx *ctx = alloc_ctx(cl);
    if (!ctx)
        return NULL;
    ctx->caps = f->caps;
    ctx->part = f->owned;
    if (take_opts(ctx, o) || open_device(ctx, f)) {
        kl_ctx_destroy(ctx);
        return NULL;
    }
    const kl_device_info *d = &f->caps.info;
    kl__log(KL_LOG_INFO, "device %d:%d %s (%s)", d->platform, d->device, d->name, d->platform_name);
    if (ctx->caps.short_loops)
        kl__log(KL_LOG_WARN,
                "%s: its driver ends the loops of a work-item after 65,535 iterations in all, and "
                "what a large layer computes is wrong then: good for tests of small shapes",
                d->name);
    return ctx;
}

kl_ctx *kl_ctx_create(const kl_ctx_opts *opts)
{
    static const kl_ctx_opts defaults;
    const kl_ctx_opts *o = opts ? opts : &defaults;
    const kl__cl_table *cl = kl__cl();
    kl__found f;
    if (!cl || kl__found_one(cl, kl__ctx_choice(o), &f))
        return NULL;
    kl_ctx *ctx = kl__ctx_open(cl, &f, o);
    kl__found_release(cl, &f);
    return ctx;
}

/* ---- in the caller's OpenCL context ---- */

static kl_status retain_all(kl_ctx *ctx, cl_context context, cl_device_id device,
                            cl_command_queue queue)
{
    cl_int code = ctx->cl->clRetainDevice(device);
    if (code)
        return kl__cl_fail(ctx, "clRetainDevice", NULL, code);
    ctx->device = device;
    if ((code = ctx->cl->clRetainContext(context)))
        return kl__cl_fail(ctx, "clRetainContext", NULL, code);
    ctx->context = context;
    if (!queue)
        return make_queues(ctx);
    if ((code = ctx->cl->clRetainCommandQueue(queue)))
        return kl__cl_fail(ctx, "clRetainCommandQueue", NULL, code);
    ctx->foreign = true;
    ctx->lane[KL__COMPUTE].queue = queue;
    return KL_OK;
}

static kl_status check_context(const kl__cl_table *cl, cl_context context, cl_device_id device)
{
    cl_device_id ids[64];
    size_t bytes = 0;
    cl_int code = cl->clGetContextInfo(context, CL_CONTEXT_DEVICES, sizeof ids, ids, &bytes);
    if (code)
        return kl__cl_fail(NULL, "clGetContextInfo", NULL, code);
    for (size_t i = 0; i < bytes / sizeof *ids; i++)
        if (ids[i] == device)
            return KL_OK;
    return kl__fail(KL_E_ARG, "the device is not one of the OpenCL context's");
}

static kl_status take_queue(kl_ctx *ctx, cl_context context, cl_device_id device,
                            cl_command_queue queue)
{
    cl_context home = NULL;
    cl_device_id dev = NULL;
    cl_command_queue_properties p = 0;
    cl_int code = ctx->cl->clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof home, &home, NULL);
    if (!code)
        code = ctx->cl->clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof dev, &dev, NULL);
    if (!code)
        code = ctx->cl->clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof p, &p, NULL);
    if (code)
        return kl__cl_fail(ctx, "clGetCommandQueueInfo", NULL, code);
    if (home != context || dev != device)
        return kl__fail(KL_E_ARG, "the queue belongs to another OpenCL %s",
                        home != context ? "context" : "device");
    ctx->lane[KL__COMPUTE].chained = (p & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) != 0;
    if (!(p & CL_QUEUE_PROFILING_ENABLE))
        ctx->flags &= ~(uint32_t)KL_CTX_PROFILE;
    return KL_OK;
}

kl_ctx *kl__ctx_wrap(cl_context context, cl_device_id device, cl_command_queue queue,
                     const kl_ctx_opts *opts)
{
    static const kl_ctx_opts defaults;
    const kl__cl_table *cl = kl__cl();
    if (!cl)
        return NULL;
    if (!context || !device) {
        kl__fail(KL_E_ARG, "an OpenCL context and a device of it are needed; %s is NULL",
                 context ? "the device" : "the context");
        return NULL;
    }
    if (check_context(cl, context, device))
        return NULL;
    cl_platform_id platform = NULL;
    cl_int code = cl->clGetDeviceInfo(device, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL);
    if (code) {
        kl__cl_fail(NULL, "clGetDeviceInfo", "CL_DEVICE_PLATFORM", code);
        return NULL;
    }
    kl_ctx *ctx = alloc_ctx(cl);
    if (!ctx)
        return NULL;
    kl__caps_query(cl, platform, device, &ctx->caps);
    kl_status st = KL_OK;
    if (!ctx->caps.info.usable)
        st = kl__fail(KL_E_UNSUPPORTED, "device \"%s\" is not usable: %s", ctx->caps.info.name,
                      ctx->caps.info.why_not);
    if (st || take_opts(ctx, opts ? opts : &defaults) ||
        (queue && take_queue(ctx, context, device, queue)) ||
        retain_all(ctx, context, device, queue)) {
        kl_ctx_destroy(ctx);
        return NULL;
    }
    return ctx;
}

/* ---- end ---- */

/* A context should hold its device, but there is a driver whose contexts do not hold parts: its
 * threads touch the part when they let go of a command, after they have told that it ended.
 * Commands hold the context, so the part may go when nobody else does. false: it may not. */
static bool part_is_idle(kl_ctx *ctx)
{
    cl_uint holders = 0;
    const double until = kl__now() + 1;
    while (!ctx->cl->clGetContextInfo(ctx->context, CL_CONTEXT_REFERENCE_COUNT, sizeof holders,
                                      &holders, NULL) &&
           holders > 1) {
        if (kl__now() > until)
            return false;
        kl__lock(&ctx->build_lock);
        kl__cond_wait_for(&ctx->built, &ctx->build_lock, 1e-4);
        kl__unlock(&ctx->build_lock);
    }
    return true;
}

/* The objects of a hung device are left: its driver may still use them. */
static void release_objects(kl_ctx *ctx)
{
    if (atomic_load(&ctx->used_clblast))
        kl__clblast_clear();
    for (int i = 0; i < KL__ALL_LANES; i++)
        if (ctx->lane[i].queue)
            ctx->cl->clReleaseCommandQueue(ctx->lane[i].queue);
    bool idle = !ctx->part || !ctx->context || part_is_idle(ctx);
    if (ctx->context)
        ctx->cl->clReleaseContext(ctx->context);
    if (ctx->device && idle)
        ctx->cl->clReleaseDevice(ctx->device);
}

void kl_ctx_destroy(kl_ctx *ctx)
{
    if (!ctx)
        return;
    for (int i = 0; i < KL__ALL_LANES; i++)
        if (ctx->lane[i].queue && !kl__ctx_lost(ctx))
            kl__lane_finish(&ctx->lane[i]);
    kl__ctx_settle(ctx);
    kl__trace_destroy(ctx);
    kl__programs_release(ctx);
    kl__pool_trim(ctx);
    for (int i = 0; i < KL__ALL_LANES; i++)
        if (ctx->lane[i].last)
            ctx->cl->clReleaseEvent(ctx->lane[i].last);
    if (!kl__ctx_hung(ctx))
        release_objects(ctx);
    kl__hub_leave(ctx->hub);
    kl__cond_finish(&ctx->built);
    kl__mutex_finish(&ctx->pool_lock);
    kl__mutex_finish(&ctx->build_lock);
    kl__mutex_finish(&ctx->lock);
    kl__winners_free(&ctx->winners);
    kl__free(ctx->cache_dir);
    kl__free(ctx->kernel_dir);
    kl__free(ctx);
}

kl_status kl_ctx_finish(kl_ctx *ctx)
{
    kl_status st = KL_OK;
    if (!ctx)
        return kl__fail(KL_E_ARG, "kl_ctx_finish: the context is NULL");
    for (int i = 0; i < (ctx->foreign ? 1 : KL__N_LANES); i++) {
        kl_status one = kl__lane_finish(&ctx->lane[i]);
        st = st ? st : one;
    }
    return st;
}

/* ---- what it knows ---- */

kl_status kl_ctx_save_tuned(const kl_ctx *ctx, const char *path)
{
    if (!ctx || !path)
        return kl__fail(KL_E_ARG, "kl_ctx_save_tuned: %s is NULL", ctx ? "path" : "the context");
    return kl__winners_write(ctx, &ctx->winners, path);
}

kl_status kl_ctx_info(const kl_ctx *ctx, kl_device_info *out)
{
    if (!ctx || !out)
        return kl__fail(KL_E_ARG, "kl_ctx_info: %s is NULL", ctx ? "out" : "the context");
    *out = ctx->caps.info;
    return KL_OK;
}

const kl__caps *kl__ctx_caps(const kl_ctx *ctx)
{
    return &ctx->caps;
}

uint32_t kl__ctx_flags(const kl_ctx *ctx)
{
    return ctx->flags;
}

cl_context kl__ctx_cl(const kl_ctx *ctx)
{
    return ctx->context;
}

void kl_ctx_stats_get(const kl_ctx *ctx, kl_ctx_stats *out)
{
    if (!out)
        return;
    memset(out, 0, sizeof *out);
    if (!ctx)
        return;
    out->kernels_built = atomic_load(&ctx->n_built);
    out->kernels_from_cache = atomic_load(&ctx->n_from_cache);
    out->build_seconds = (double)atomic_load(&ctx->build_ns) * 1e-9;
    out->live_buffers = atomic_load(&ctx->live_buffers);
    out->live_bytes = atomic_load(&ctx->live_bytes);
    out->peak_bytes = atomic_load(&ctx->peak_bytes);
    out->pooled_bytes = atomic_load(&ctx->pool_bytes);
    out->launches = atomic_load(&ctx->launches);
    out->creates = atomic_load(&ctx->creates);
}
