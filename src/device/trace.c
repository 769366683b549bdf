/* Traces: when each command ran, for a viewer. Drivers have clocks of their own: a context's is set
 * against the host's when its trace begins and when it ends, so that the rows of several devices
 * are in one time. */
#include "base/file.h"
#include "base/mem.h"
#include "device/ctx.h"

#include <kiln/inspect.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_RECORDS = 100000 };

typedef struct record {
    cl_event event;
    int lane;
    size_t bytes;
    char name[64], label[96]; /* copies: the sequence may be gone when the trace is written */
    double start, end;        /* the device's seconds; the host's once they are read */
    kl__flow flow;
} record;

/** One moment on both clocks. */
typedef struct moment {
    bool known;
    double device, host;
} moment;

struct kl__trace {
    record *r;
    size_t n, cap;
    moment begin, end;
};

/* ---- recording ---- */
void kl__trace_add(kl_ctx *ctx, kl__lane *lane, const kl__link *link)
{
    kl__trace *t = ctx->trace;
    kl__flow flow = lane->flow;
    lane->flow = (kl__flow){0};
    if (t->n == MAX_RECORDS || kl__grow(&t->r, &t->cap, t->n + 1, sizeof *t->r) != KL_OK ||
        ctx->cl->clRetainEvent(link->event))
        return;
    record *r = &t->r[t->n++];
    *r = (record){.event = link->event,
                  .lane = (int)(lane - ctx->lane),
                  .bytes = link->bytes,
                  .flow = flow};
    snprintf(r->name, sizeof r->name, "%s", link->name);
    snprintf(r->label, sizeof r->label, "%s", link->label ? link->label : "");
}

void kl__lane_flow(kl__lane *lane, uint64_t id, bool begins)
{
    kl__lock(&lane->ctx->lock);
    if (lane->ctx->trace)
        lane->flow = (kl__flow){id, begins, !begins};
    kl__unlock(&lane->ctx->lock);
}

uint64_t kl__flow_ids(size_t n)
{
    static atomic_uint_fast64_t next = 1;
    return atomic_fetch_add(&next, n);
}

static void destroy(const kl_ctx *ctx, kl__trace *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        ctx->cl->clReleaseEvent(t->r[i].event);
    kl__free(t->r);
    kl__free(t);
}

static kl__trace *take(kl_ctx *ctx, kl__trace *instead)
{
    kl__lock(&ctx->lock);
    kl__trace *t = ctx->trace;
    ctx->trace = instead;
    kl__unlock(&ctx->lock);
    return t;
}

void kl__trace_destroy(kl_ctx *ctx)
{
    destroy(ctx, ctx->trace);
    ctx->trace = NULL;
}

/** Drains the lane, then looks at both clocks at the end of a command: the shortest time that the
 * news took over a few tries is nearest to the truth. */
static kl_status compare_clocks(kl_ctx *ctx, kl__lane *lane, moment *m)
{
    enum { TRIES = 8 };
    double a, b;
    *m = (moment){0};
    kl_status st = kl__lane_drain(lane);
    for (int i = 0; !st && i < TRIES; i++) {
        kl__event e;
        st = kl__lane_mark(lane, &e);
        if (!st)
            st = kl__event_wait(ctx, e);
        double now = kl__now();
        if (!st && kl__event_seconds(ctx, e, &a, &b) &&
            (!m->known || now - b < m->host - m->device))
            *m = (moment){true, b, now};
        kl__event_release(&e);
    }
    return st;
}

kl_status kl_ctx_trace(kl_ctx *ctx)
{
    if (!ctx)
        return kl__fail(KL_E_ARG, "kl_ctx_trace: the context is NULL");
    if (!(ctx->flags & KL_CTX_PROFILE) || ctx->caps.times_useless)
        return kl__fail(KL_E_UNSUPPORTED, "no trace: %s %s", ctx->caps.info.name,
                        ctx->caps.times_useless ? "gives no times of its commands"
                                                : "was opened without profiling");
    kl__trace *t = kl__calloc(1, sizeof *t);
    if (!t)
        return KL_E_MEMORY;
    kl_status st = compare_clocks(ctx, &ctx->lane[0], &t->begin);
    if (st)
        kl__free(t);
    else
        destroy(ctx, take(ctx, t));
    return st;
}

/* ---- writing ---- */
/** The host's time of a device's. Clocks drift apart by parts in a million: between the two moments
 * in proportion. */
static double host_time(const kl__trace *t, double device)
{
    double at_begin = t->begin.host - t->begin.device;
    if (!t->begin.known)
        return device;
    double span = t->end.device - t->begin.device;
    if (!t->end.known || span < 1e-3)
        return device + at_begin;
    double share = (device - t->begin.device) / span;
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    return device + at_begin + share * (t->end.host - t->end.device - at_begin);
}

/** Times of all that ran; the others are left out. */
static void read_times(kl_ctx *ctx, kl__trace *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) {
        record r = t->r[i];
        if (!kl__event_seconds(ctx, (kl__event){r.event}, &r.start, &r.end)) {
            ctx->cl->clReleaseEvent(r.event);
            continue;
        }
        double length = r.end - r.start;
        r.start = host_time(t, r.start);
        r.end = r.start + length;
        t->r[n++] = r;
    }
    t->n = n;
}

static void put_string(kl__text *t, const char *s)
{
    kl__put_n(t, "\"", 1);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            kl__put_n(t, "\\", 1);
        kl__put_n(t, (unsigned char)*s < 0x20 ? " " : s, 1);
    }
    kl__put_n(t, "\"", 1);
}

static void put_head(kl__text *t, const kl_ctx *ctx, size_t pid)
{
    static const char *const lanes[KL__ALL_LANES] = {"compute", "upload", "download", "side"};
    char name[160];
    const kl_device_info *d = &ctx->caps.info;
    snprintf(name, sizeof name, "%d:%d %s", d->platform, d->device, d->name);
    kl__put(t, "%s{\"ph\":\"M\",\"pid\":%zu,\"name\":\"process_name\",\"args\":{\"name\":",
            pid > 1 ? ",\n" : "", pid);
    put_string(t, name);
    kl__put(t, "}}");
    int n = ctx->foreign ? 1 : ctx->lane[KL__SIDE].queue ? KL__ALL_LANES : KL__N_LANES;
    for (int i = 0; i < n; i++)
        kl__put(t,
                ",\n{\"ph\":\"M\",\"pid\":%zu,\"tid\":%d,\"name\":\"thread_name\",\"args\":"
                "{\"name\":\"%s\"}}",
                pid, i, lanes[i]);
}

/** An arrow's end: viewers tie it to the slice around its time. */
static void put_flow(kl__text *t, const record *r, size_t pid, double at)
{
    if (r->flow.begins || r->flow.ends)
        kl__put(t,
                ",\n{\"ph\":\"%s\",\"pid\":%zu,\"tid\":%d,\"ts\":%.3f,\"id\":%" PRIu64
                ",\"name\":\"transfer\",\"cat\":\"transfer\"%s}",
                r->flow.begins ? "s" : "f", pid, r->lane, 1e6 * at, r->flow.id,
                r->flow.begins ? "" : ",\"bp\":\"e\"");
}

static void put_record(kl__text *t, const record *r, size_t pid, double zero)
{
    double start = r->start - zero, length = r->end - r->start;
    kl__put(t, ",\n{\"ph\":\"X\",\"pid\":%zu,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f,\"name\":", pid,
            r->lane, 1e6 * start, 1e6 * length);
    put_string(t, r->name);
    kl__put(t, ",\"args\":{\"node\":");
    put_string(t, r->label);
    if (r->bytes)
        kl__put(t, ",\"bytes\":%zu", r->bytes);
    kl__put(t, "}}");
    put_flow(t, r, pid, r->flow.begins ? start + 0.75 * length : start + 0.25 * length);
}

/** What one context ran, one list of them for the file. */
typedef struct taken {
    kl_ctx *ctx;
    kl__trace *trace;
} taken;

/** Waits for what the traces have recorded; a device that was lost shows what it ended. */
static kl_status close_trace(kl_ctx *ctx, kl__trace *t)
{
    kl_status st = KL_OK;
    for (int i = ctx->foreign ? 0 : KL__N_LANES - 1; !st && i > 0; i--)
        st = kl__lane_drain(&ctx->lane[i]);
    if (!st)
        st = compare_clocks(ctx, &ctx->lane[0], &t->end);
    return kl__ctx_lost(ctx) ? KL_OK : st;
}

static kl_status write_all(const taken *list, size_t n, const char *path)
{
    kl__text text = {0};
    bool any = false;
    double zero = 0;
    for (size_t c = 0; c < n; c++) {
        read_times(list[c].ctx, list[c].trace);
        for (size_t i = 0; i < list[c].trace->n; i++) {
            zero = !any || list[c].trace->r[i].start < zero ? list[c].trace->r[i].start : zero;
            any = true;
        }
    }
    kl__put(&text, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
    for (size_t c = 0; c < n; c++) {
        put_head(&text, list[c].ctx, c + 1);
        for (size_t i = 0; i < list[c].trace->n; i++)
            put_record(&text, &list[c].trace->r[i], c + 1, zero);
    }
    kl__put(&text, "\n]}\n");
    kl_status st = text.failed ? KL_E_MEMORY : kl__file_write(path, text.s, text.len);
    kl__text_free(&text);
    return st;
}

kl_status kl_ctx_trace_write(kl_ctx *const *ctx, size_t n_ctx, const char *path)
{
    size_t n = 0;
    kl_status st = KL_OK;
    for (size_t i = 0; i < n_ctx; i++)
        if (!ctx || !ctx[i])
            return kl__fail(KL_E_ARG, "kl_ctx_trace_write: a context is NULL");
    taken *list = kl__calloc(n_ctx + 1, sizeof *list);
    if (!list)
        return KL_E_MEMORY;
    for (size_t i = 0; i < n_ctx; i++)
        if ((list[n].trace = take(ctx[i], NULL)) != NULL)
            list[n++].ctx = ctx[i];
    if (!n)
        st = kl__fail(KL_E_ARG, "kl_ctx_trace_write: no trace was begun");
    for (size_t i = 0; !st && i < n; i++)
        st = close_trace(list[i].ctx, list[i].trace);
    if (!st && path)
        st = write_all(list, n, path);
    for (size_t i = 0; i < n; i++)
        destroy(list[i].ctx, list[i].trace);
    kl__free(list);
    return st;
}
