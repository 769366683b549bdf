/* Traces: when each command of a context ran, for a viewer. */
#include "base/file.h"
#include "base/mem.h"
#include "device/ctx.h"

#include <kiln/inspect.h>

#include <stdio.h>
#include <string.h>

enum { MAX_RECORDS = 100000 };

typedef struct record {
    cl_event event;
    int lane;
    size_t bytes;
    char name[64], label[96]; /* copies: the sequence may be gone when the trace is written */
    double start, end;
} record;

struct kl__trace {
    record *r;
    size_t n, cap;
};

/* ---- recording ---- */
void kl__trace_add(kl_ctx *ctx, const kl__lane *lane, const kl__link *link)
{
    kl__trace *t = ctx->trace;
    if (t->n == MAX_RECORDS || kl__grow(&t->r, &t->cap, t->n + 1, sizeof *t->r) != KL_OK ||
        ctx->cl->clRetainEvent(link->event))
        return;
    record *r = &t->r[t->n++];
    *r = (record){.event = link->event, .lane = (int)(lane - ctx->lane), .bytes = link->bytes};
    snprintf(r->name, sizeof r->name, "%s", link->name);
    snprintf(r->label, sizeof r->label, "%s", link->label ? link->label : "");
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
    destroy(ctx, take(ctx, t));
    return KL_OK;
}

/* ---- writing ---- */
/** Times of all that ran; the others are left out. *zero: the earliest start. */
static void read_times(kl_ctx *ctx, kl__trace *t, double *zero)
{
    size_t n = 0;
    *zero = 0;
    for (size_t i = 0; i < t->n; i++) {
        record r = t->r[i];
        if (!kl__event_seconds(ctx, (kl__event){r.event}, &r.start, &r.end)) {
            ctx->cl->clReleaseEvent(r.event);
            continue;
        }
        *zero = n == 0 || r.start < *zero ? r.start : *zero;
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

static void put_head(kl__text *t, const kl_ctx *ctx)
{
    static const char *const lanes[KL__ALL_LANES] = {"compute", "upload", "download", "side"};
    kl__put(t, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"
               "{\"ph\":\"M\",\"pid\":1,\"name\":\"process_name\",\"args\":{\"name\":");
    put_string(t, ctx->caps.info.name);
    kl__put(t, "}}");
    int n = ctx->foreign ? 1 : ctx->lane[KL__SIDE].queue ? KL__ALL_LANES : KL__N_LANES;
    for (int i = 0; i < n; i++)
        kl__put(t,
                ",\n{\"ph\":\"M\",\"pid\":1,\"tid\":%d,\"name\":\"thread_name\",\"args\":"
                "{\"name\":\"%s\"}}",
                i, lanes[i]);
}

static void put_record(kl__text *t, const record *r, double zero)
{
    kl__put(t, ",\n{\"ph\":\"X\",\"pid\":1,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f,\"name\":", r->lane,
            1e6 * (r->start - zero), 1e6 * (r->end - r->start));
    put_string(t, r->name);
    kl__put(t, ",\"args\":{\"node\":");
    put_string(t, r->label);
    if (r->bytes)
        kl__put(t, ",\"bytes\":%zu", r->bytes);
    kl__put(t, "}}");
}

kl_status kl_ctx_trace_write(kl_ctx *const *list, size_t n_ctx, const char *path)
{
    kl_ctx *ctx = list && n_ctx ? list[0] : NULL;
    double zero;
    if (!ctx)
        return kl__fail(KL_E_ARG, "kl_ctx_trace_write: the context is NULL");
    kl__trace *t = take(ctx, NULL);
    if (!t)
        return kl__fail(KL_E_ARG, "kl_ctx_trace_write: no trace was begun");
    kl_status st = KL_OK;
    for (int i = 0; st == KL_OK && i < (ctx->foreign ? 1 : KL__N_LANES); i++)
        st = kl__lane_drain(&ctx->lane[i]);
    kl__text text = {0};
    if (st == KL_OK && path) {
        read_times(ctx, t, &zero);
        put_head(&text, ctx);
        for (size_t i = 0; i < t->n; i++)
            put_record(&text, &t->r[i], zero);
        kl__put(&text, "\n]}\n");
        st = text.failed ? KL_E_MEMORY : kl__file_write(path, text.s, text.len);
    }
    kl__text_free(&text);
    destroy(ctx, t);
    return st;
}
