/* The pass queue: submit from any thread, a ticket for each pass. The submitting thread enqueues; a
 * pass's error is carried by its ticket. */
#include "sched/model.h"

#include "base/mem.h"

#include <string.h>

struct kl_queue {
    kl_ctx *ctx;
};

struct kl_ticket {
    kl_ctx *ctx;
    kl__event done;
    kl_status status; /* of submission, or of the end once known */
    char *error;
    bool ended;
};

kl_queue *kl_queue_create(kl_ctx *const *ctx, size_t n_ctx, const kl_queue_opts *opts)
{
    (void)opts;
    if (!ctx || n_ctx != 1 || !ctx[0]) {
        kl__fail(n_ctx > 1 ? KL_E_UNSUPPORTED : KL_E_ARG,
                 "a pass queue works on one context, %zu were given", n_ctx);
        return NULL;
    }
    kl_queue *q = kl__calloc(1, sizeof *q);
    if (q)
        q->ctx = ctx[0];
    return q;
}

void kl_queue_destroy(kl_queue *q)
{
    if (!q)
        return;
    kl__lane_drain(kl__ctx_lane(q->ctx, KL__COMPUTE));
    kl__free(q);
}

static void keep_error(kl_ticket *t, kl_status st)
{
    t->status = st;
    t->ended = true;
    if (st != KL_OK)
        t->error = kl__strdup(kl_last_error());
}

kl_status kl_queue_submit(kl_queue *q, const kl_pass *pass, kl_ticket **out)
{
    if (!q || !pass || !out)
        return kl__fail(KL_E_ARG, "kl_queue_submit: %s is NULL",
                        !q      ? "queue"
                        : !pass ? "pass"
                                : "out");
    kl_ticket *t = *out = kl__calloc(1, sizeof *t);
    if (!t)
        return KL_E_MEMORY;
    t->ctx = q->ctx;
    kl_status st = kl__model_pass(pass->model, q->ctx, pass->binds, pass->n_binds, &t->done);
    if (st == KL_OK)
        st = kl__lane_flush(kl__ctx_lane(q->ctx, KL__COMPUTE));
    if (st != KL_OK)
        keep_error(t, st);
    return KL_OK;
}

kl_status kl_ticket_wait(kl_ticket *t)
{
    if (!t)
        return kl__fail(KL_E_ARG, "kl_ticket_wait: ticket is NULL");
    if (!t->ended)
        keep_error(t, kl__event_wait(t->ctx, t->done));
    else if (t->status != KL_OK)
        kl__fail(t->status, "%s", t->error ? t->error : "the pass failed");
    return t->status;
}

kl__event kl__ticket_event(const kl_ticket *t)
{
    return t->done;
}

bool kl_ticket_done(kl_ticket *t)
{
    return !t || t->ended || kl__event_poll(t->ctx, t->done) != 1;
}

void kl_ticket_release(kl_ticket *t)
{
    if (!t)
        return;
    if (!t->ended) /* host memory of the binds is the caller's again after this */
        kl__event_wait(t->ctx, t->done);
    kl__event_release(&t->done);
    kl__free(t->error);
    kl__free(t);
}
