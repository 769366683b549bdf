/* The doctor's stages that call OpenCL: what there is, and whether a device computes. */
#include "device/doctor.h"

#include "base/mem.h"
#include "base/thread.h"
#include "device/ctx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- platforms and devices ---- */
/** A driver that answers and offers nothing: the usual reasons. */
static void explain_empty(kl__doctor *d, cl_uint p, const char *name)
{
    char *cache = kl__pocl_cache_dir();
    bool unwritable = cache && !kl__can_write_dir(cache);
    if (kl__contains_nocase(name, "Portable Computing Language"))
        kl__find(d, KL_FINDING_BAD,
                 unwritable ? "set POCL_CACHE_DIR to a folder that can be written"
                            : "look at what POCL_DEBUG=err prints; unset POCL_DEVICES",
                 unwritable ? "platform %u %s has no device: its cache %s cannot be written"
                            : "platform %u %s has no device",
                 p, name, cache);
    else if (kl__contains_nocase(name, "rusticl"))
        kl__find(
            d, KL_FINDING_NOTE,
            "set RUSTICL_ENABLE=radeonsi (AMD), iris (Intel), nouveau (NVIDIA) or llvmpipe (CPU)",
            "platform %u %s has no device%s", p, name,
            getenv("RUSTICL_ENABLE") ? "" : ": RUSTICL_ENABLE is not set");
    else
        kl__find(d, KL_FINDING_NOTE,
                 "check that the GPU is there (lspci) and that this user is in the groups render "
                 "and video",
                 "platform %u %s has no device", p, name);
    kl__free(cache);
}

static void tell_device(kl__doctor *d, const kl__caps *c)
{
    const kl_device_info *i = &c->info;
    kl__record r;
    memset(&r, 0, sizeof r);
    r.kind = KL__RECORD_DEVICE;
    r.info = *i;
    kl__record_put(d, &r);
    if (i->usable)
        kl__find(d, KL_FINDING_OK, NULL, "device %d:%d %.60s (%s, %.20s, driver %.30s)",
                 i->platform, i->device, i->name, i->type, i->version, i->driver);
    else
        kl__find(d, KL_FINDING_NOTE, "update its driver, or use another device",
                 "device %d:%d %.60s is not usable: %s", i->platform, i->device, i->name,
                 i->why_not);
    if (i->usable && c->short_loops)
        kl__find(d, KL_FINDING_NOTE, "use it for tests of small shapes only",
                 "device %d:%d ends a work-item's loops after 65,535 iterations in all: what large "
                 "layers compute is wrong",
                 i->platform, i->device);
}

static void tell_platform(kl__doctor *d, const kl__cl_table *cl, cl_platform_id id, cl_uint p)
{
    char name[256] = "", version[128] = "";
    cl_uint n = 0;
    kl__trying(d, "asking platform %u", p);
    if (cl->clGetPlatformInfo(id, CL_PLATFORM_NAME, sizeof name - 1, name, NULL))
        snprintf(name, sizeof name, "without a name");
    cl->clGetPlatformInfo(id, CL_PLATFORM_VERSION, sizeof version - 1, version, NULL);
    kl__trying(d, "listing the devices of platform %u %.90s", p, name);
    cl_int code = cl->clGetDeviceIDs(id, CL_DEVICE_TYPE_ALL, 0, NULL, &n);
    if (code && code != CL_DEVICE_NOT_FOUND)
        kl__find(d, KL_FINDING_BAD, "update the driver, or remove its .icd file",
                 "platform %u %.90s: clGetDeviceIDs: %s (%d)", p, name, kl__cl_code_name(code),
                 code);
    else if (code || !n)
        explain_empty(d, p, name);
    else
        kl__find(d, KL_FINDING_OK, NULL, "platform %u %.60s, %.60s", p, name, version);
    if (kl__contains_nocase(name, "Clover"))
        kl__find(d, KL_FINDING_NOTE, "use rusticl in its place: RUSTICL_ENABLE=radeonsi",
                 "platform %u Clover is OpenCL 1.1 and no longer kept up: it is not used", p);
}

void kl__doctor_list(kl__doctor *d)
{
    const kl__cl_table *cl = kl__cl();
    cl_platform_id ids[64];
    cl_uint n = 0;
    if (!cl)
        return; /* open_loader has told */
    cl_int code = cl->clGetPlatformIDs(64, ids, &n);
    if (code || !n) {
        kl__find(d, KL_FINDING_BAD, "install a driver; see the lines about .icd files",
                 "the loader finds no platform%s%s", code ? ": " : "",
                 code ? kl__cl_code_name(code) : "");
        return;
    }
    for (cl_uint p = 0; p < n && p < 64; p++)
        tell_platform(d, cl, ids[p], p);
    kl__found *found = NULL;
    size_t count = 0;
    kl__trying(d, "asking the devices what they can do");
    if (kl__found_all(cl, &found, &count) != KL_OK)
        kl__find(d, KL_FINDING_BAD, NULL, "%s", kl_last_error());
    for (size_t i = 0; i < count; i++)
        tell_device(d, &found[i].caps);
    kl__free(found);
}

/* ---- one device ---- */
enum { N = 4096, GROUP = 8, STREAM_BYTES = 64 << 20, STREAM_RUNS = 4, PER_ITEM = 1024 };

typedef struct probe {
    kl__doctor *d;
    kl_ctx *ctx;
    kl__lane *lane;
    char who[40];
    uint32_t in[N], out[N];
} probe;

static kl_status launch(kl__seq *s, const char *kernel, const kl__arg *args, int n, size_t global,
                        size_t local)
{
    kl__launch l = {.file = "selfprobe.cl",
                    .kernel = kernel,
                    .label = "probe",
                    .n_args = n,
                    .dims = 1,
                    .global = {global, 1, 1},
                    .local = {local, 1, 1},
                    .local_bytes = local * sizeof(uint32_t)};
    memcpy(l.arg, args, (size_t)n * sizeof *args);
    return kl__seq_kernel(s, &l);
}

static kl__arg span_arg(kl__mem *m, uint32_t elem)
{
    return (kl__arg){.kind = KL__ARG_SPAN, .elem = elem, .span = {m, 0}};
}

static kl__arg u32_arg(uint32_t v)
{
    return (kl__arg){.kind = KL__ARG_U32, .v = {.u32 = v}};
}

/** Runs one kernel from x to y and reads y. */
static kl_status run(probe *p, const char *kernel, size_t local, int n_args)
{
    kl__mem *x = kl__mem_create(p->ctx, sizeof p->in),
            *y = x ? kl__mem_create(p->ctx, sizeof p->out) : NULL;
    kl__seq *s = y ? kl__seq_create(p->ctx) : NULL;
    kl__arg args[3] = {span_arg(x, 4), span_arg(y, 4), u32_arg(N)};
    kl_status st = s ? launch(s, kernel, args, n_args, N, local) : kl__last_status();
    if (st == KL_OK)
        st = kl__lane_write(p->lane, (kl__span){x, 0}, p->in, sizeof p->in, NULL);
    if (st == KL_OK)
        st = kl__seq_run(s, p->lane, 0, 1);
    if (st == KL_OK)
        st = kl__lane_read(p->lane, (kl__span){y, 0}, p->out, sizeof p->out, NULL);
    kl__seq_destroy(s);
    kl__mem_release(y);
    kl__mem_release(x);
    return st;
}

static uint32_t mixed(const probe *p, uint32_t i)
{
    return (p->in[i] * 2654435761u) ^ (p->in[i] >> 7) ^ i;
}

static uint32_t turned(const probe *p, uint32_t i)
{
    return p->in[i / GROUP * GROUP + (GROUP - 1 - i % GROUP)];
}

/** One kernel, and each of its numbers compared. */
static bool verify(probe *p, const char *kernel, const char *what, size_t local, int n_args,
                   uint32_t (*want)(const probe *, uint32_t))
{
    double start = kl__now();
    kl__trying(p->d, "%s: building and running %s", p->who, what);
    memset(p->out, 0, sizeof p->out);
    if (run(p, kernel, local, n_args) != KL_OK) {
        kl__find(p->d, KL_FINDING_BAD, "update the driver, or choose another device by KILN_DEVICE",
                 "%s: %s", p->who, kl_last_error());
        return false;
    }
    for (uint32_t i = 0; i < N; i++)
        if (p->out[i] != want(p, i)) {
            kl__find(p->d, KL_FINDING_BAD,
                     "do not use this driver: update it, or choose another device by KILN_DEVICE",
                     "%s computes wrong numbers: %s gave %u at %u, %u is right", p->who, what,
                     p->out[i], i, want(p, i));
            return false;
        }
    kl__find(p->d, KL_FINDING_OK, NULL, "%s: %s builds, runs and is right (%.1f s)", p->who, what,
             kl__now() - start);
    return true;
}

static kl_status stream(probe *p, kl__mem *x, kl__mem *y, size_t bytes, double *seconds)
{
    uint32_t n = (uint32_t)(bytes / 16);
    static const uint32_t zero;
    kl__seq *s = kl__seq_create(p->ctx);
    kl__arg args[4] = {span_arg(x, 16), span_arg(y, 16), u32_arg(n), u32_arg(PER_ITEM)};
    kl_status st = s ? launch(s, "selfprobe_stream", args, 4, (n + PER_ITEM - 1) / PER_ITEM, 0)
                     : kl__last_status();
    if (st == KL_OK)
        st = kl__lane_fill(p->lane, (kl__span){x, 0}, &zero, 4, bytes);
    *seconds = 1e30;
    for (int i = 0; st == KL_OK && i < STREAM_RUNS; i++) {
        double start = kl__now();
        st = kl__seq_run(s, p->lane, 0, 1);
        if (st == KL_OK)
            st = kl__lane_finish(p->lane);
        double t = kl__now() - start;
        if (i && t < *seconds) /* the first one compiles and touches pages */
            *seconds = t;
    }
    kl__seq_destroy(s);
    return st;
}

static bool bandwidth(probe *p)
{
    uint64_t most = kl__ctx_caps(p->ctx)->max_alloc / 2;
    size_t bytes = (most < STREAM_BYTES ? (size_t)most : STREAM_BYTES) / 4096 * 4096;
    double seconds = 0;
    kl__trying(p->d, "%s: copying %zu MiB", p->who, bytes >> 20);
    kl__mem *x = kl__mem_create(p->ctx, bytes), *y = x ? kl__mem_create(p->ctx, bytes) : NULL;
    kl_status st = y ? stream(p, x, y, bytes, &seconds) : kl__last_status();
    kl__mem_release(y);
    kl__mem_release(x);
    if (st != KL_OK)
        kl__find(p->d, KL_FINDING_BAD,
                 getenv("POCL_MEMORY_LIMIT") ? "unset POCL_MEMORY_LIMIT"
                                             : "close what else uses the device's memory",
                 "%s: %s", p->who, kl_last_error());
    else
        kl__find(p->d, KL_FINDING_OK, NULL, "%s: %zu MiB read and written at %.1f GB/s", p->who,
                 bytes >> 20, 2 * (double)bytes / seconds / 1e9);
    return st == KL_OK;
}

static void tell_limits(probe *p)
{
    const kl__caps *c = kl__ctx_caps(p->ctx);
    kl__find(p->d, KL_FINDING_OK, NULL,
             "%s: double precision %s, half %s; local memory %llu KiB; %.1f GiB, %.1f at once",
             p->who, c->fp64 ? "yes" : "no", c->fp16 ? "yes" : "no",
             (unsigned long long)c->local_bytes / 1024, (double)c->global_bytes / 1073741824.0,
             (double)c->max_alloc / 1073741824.0);
}

void kl__doctor_probe(kl__doctor *d)
{
    probe *p = kl__calloc(1, sizeof *p);
    const kl_device_info *i = &d->device[d->now];
    char choice[32];
    if (!p) {
        d->status = KL_E_MEMORY;
        return;
    }
    p->d = d;
    for (uint32_t k = 0; k < N; k++)
        p->in[k] = k * 40503u + 12345u;
    snprintf(choice, sizeof choice, "%d:%d", i->platform, i->device);
    snprintf(p->who, sizeof p->who, "device %s", choice);
    kl__trying(d, "%s: opening %.90s", p->who, i->name);
    p->ctx = kl_ctx_create(&(kl_ctx_opts){.device = choice, .cache_dir = ""});
    if (!p->ctx) {
        kl__find(d, KL_FINDING_BAD, "update the driver, or choose another device by KILN_DEVICE",
                 "%s: %s", p->who, kl_last_error());
    } else {
        p->lane = kl__ctx_lane(p->ctx, KL__COMPUTE);
        if (verify(p, "selfprobe_mix", "a kernel", 0, 3, mixed) &&
            verify(p, "selfprobe_turn", "local memory", GROUP, 2, turned) && bandwidth(p))
            kl__record_put(d, &(kl__record){.kind = KL__RECORD_PASSED});
        tell_limits(p);
        kl_ctx_destroy(p->ctx);
    }
    kl__free(p);
}
