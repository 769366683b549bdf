/* The pass queue: made, fed, ended. queue_inside.h tells how it works. */
#include "sched/queue_inside.h"

#include "base/mem.h"

#include <limits.h>

/* ---- made ---- */

static kl_status check_create(kl_ctx *const *ctx, size_t n, const kl_queue_opts *o)
{
    if (!ctx || !n)
        return kl__fail(KL_E_ARG, "a pass queue needs at least one context");
    if (n > KL_MAX_GROUP)
        return kl__fail(KL_E_ARG, "a pass queue over %zu contexts; at most %d are possible", n,
                        KL_MAX_GROUP);
    for (size_t i = 0; i < n; i++) {
        if (!ctx[i])
            return kl__fail(KL_E_ARG, "context %zu of a pass queue is NULL", i);
        for (size_t k = 0; k < i; k++)
            if (ctx[k] == ctx[i])
                return kl__fail(KL_E_ARG, "contexts %zu and %zu of a pass queue are the same", k,
                                i);
    }
    if (o->depth < 0 || o->in_flight < 0 || o->max_batch < 0)
        return kl__fail(KL_E_ARG, "a pass queue with depth %d, in_flight %d, max_batch %lld",
                        o->depth, o->in_flight, (long long)o->max_batch);
    return KL_OK;
}

kl_queue *kl_queue_create(kl_ctx *const *ctx, size_t n_ctx, const kl_queue_opts *opts)
{
    static const kl_queue_opts none;
    const kl_queue_opts *o = opts ? opts : &none;
    if (check_create(ctx, n_ctx, o) != KL_OK)
        return NULL;
    kl_queue *q = kl__calloc(1, sizeof *q);
    kl__seat *seat = kl__calloc(n_ctx + 1, sizeof *seat);
    if (!q || !seat) {
        kl__free(seat);
        kl__free(q);
        return NULL;
    }
    kl__mutex_init(&q->lock);
    kl__cond_init(&q->changed);
    kl__cond_init(&q->merge_work);
    q->depth = o->depth ? o->depth : 1024;
    q->in_flight = o->in_flight ? o->in_flight : 2;
    q->max_batch = o->max_batch ? o->max_batch : 64;
    q->refs = 1;
    q->ended_end = &q->ended;
    q->calls_end = &q->calls;
    q->seat = seat;
    q->n_seats = (int)n_ctx + 1;
    for (int i = 0; i < q->n_seats; i++) {
        seat[i].queue = q;
        seat[i].index = i;
        seat[i].ctx = (size_t)i < n_ctx ? ctx[i] : NULL;
        kl__cond_init(&seat[i].work);
    }
    return q;
}

/* ---- ended ---- */

void kl__queue_free(kl_queue *q)
{
    for (kl_ticket *t = q->free, *next; t; t = next) {
        next = t->next;
        kl__ticket_free(t);
    }
    for (kl__flow *f = q->free_flows, *next; f; f = next) {
        next = f->next;
        kl__free(f);
    }
    for (kl__batch *b = q->free_batches, *next; b; b = next) {
        next = b->next;
        kl__free(b);
    }
    for (int i = 0; i < q->n_seats; i++)
        kl__cond_finish(&q->seat[i].work);
    kl__cond_finish(&q->merge_work);
    kl__cond_finish(&q->changed);
    kl__mutex_finish(&q->lock);
    kl__free(q->seat);
    kl__free(q);
}

void kl_queue_destroy(kl_queue *q)
{
    if (!q)
        return;
    kl__lock(&q->lock);
    q->closing = true;
    kl__batches_close(q);
    while (q->pending || q->calls || q->calling || q->watchers) {
        kl__queue_help(q);
        kl__queue_call(q);
    }
    q->stop = true;
    kl__batch_stop(q);
    for (int i = 0; i < q->n_seats; i++)
        kl__seat_stop(&q->seat[i]);
    bool last = --q->refs == 0;
    kl__unlock(&q->lock);
    if (last)
        kl__queue_free(q);
}

/* ---- fed ---- */

static kl_status check_pass(kl_queue *q, const kl_pass *p, kl_ticket **out)
{
    if (!q || !p || !out)
        return kl__fail(KL_E_ARG, "kl_queue_submit: %s is NULL",
                        !q   ? "queue"
                        : !p ? "pass"
                             : "out");
    if (p->kind < KL_WORK_FORWARD || p->kind > KL_WORK_STEP)
        return kl__fail(KL_E_ARG, "kl_queue_submit: there is no kind %d of work", (int)p->kind);
    if (p->kind == KL_WORK_FORWARD ? !p->model : !p->trainer)
        return kl__fail(KL_E_ARG, "kl_queue_submit: the pass has no %s",
                        p->kind == KL_WORK_FORWARD ? "model" : "trainer");
    if ((p->n_binds && !p->binds) || (p->n_after && !p->after))
        return kl__fail(KL_E_ARG, "kl_queue_submit: %s is NULL",
                        p->n_binds && !p->binds ? "binds" : "after");
    if (!(p->merge >= 0 && p->merge <= 1e9))
        return kl__fail(KL_E_ARG, "kl_queue_submit: to merge for %g seconds", p->merge);
    for (size_t i = 0; i < p->n_after; i++)
        if (!p->after[i] || p->after[i]->queue != q)
            return kl__fail(KL_E_ARG, "kl_queue_submit: after[%zu] is %s", i,
                            p->after[i] ? "another queue's ticket" : "NULL");
    return KL_OK;
}

/** Waits until there is room; a longer while at once, so that a steady stream does not change
 * threads for every pass. */
static kl_status make_room(kl_queue *q, bool or_full)
{
    if (q->pending < q->depth)
        return KL_OK;
    kl__queue_settle(q);
    if (or_full)
        for (int i = 0; i < q->n_seats; i++)
            kl__seat_reap(&q->seat[i], NULL, KL_OK, false);
    if (q->pending < q->depth)
        return KL_OK;
    if (or_full)
        return kl__fail(KL_E_FULL, "the queue holds %d passes that are not done, as many as it may",
                        q->pending);
    kl__batches_close(q);
    while (q->pending > q->depth - 1 - q->depth / 4)
        kl__queue_help(q);
    return KL_OK;
}

/** Where the pass has to run. -1: nowhere, the error is set; n_seats: the choice is free. */
static int seat_of(kl_queue *q, const kl_pass *p)
{
    const kl_ctx *ctx = NULL;
    if (p->kind != KL_WORK_FORWARD && !(ctx = kl__train_calls_of(p->trainer)->ctx(p->trainer)))
        return q->n_seats - 1;
    for (size_t i = 0; !ctx && i < p->n_binds; i++)
        if (p->binds[i].tensor)
            ctx = p->binds[i].tensor->ctx;
    for (int i = 0; ctx && i < q->n_seats; i++)
        if (q->seat[i].ctx == ctx)
            return i;
    if (!ctx)
        return q->n_seats;
    kl__fail(KL_E_ARG, "a pass on %s, which is not one of the queue's devices",
             kl__ctx_caps(ctx)->info.name);
    return -1;
}

/** Early: what is before it on the same lane need not end first. */
static kl_status come_after(kl_ticket *t, kl_ticket *before)
{
    kl_status st = kl__tickets_add(&t->after, before);
    if (st != KL_OK)
        return st;
    before->refs++;
    if (before->stage == KL__ENDED || kl__runs_behind(t, before))
        return KL_OK;
    if ((st = kl__tickets_add(&before->heirs, t)) == KL_OK) {
        t->refs++;
        t->blockers++;
    }
    return st;
}

/** The lock is held. What goes wrong with the pass itself is the ticket's to tell. */
static kl_status submit(kl_queue *q, const kl_pass *p, kl_ticket **out)
{
    if (q->closing)
        return kl__fail(KL_E_ARG, "kl_queue_submit: the queue is being destroyed");
    kl_status st = make_room(q, p->or_full);
    kl_ticket *t = st == KL_OK ? kl__ticket_take(q) : NULL;
    if (!t)
        return st ? st : KL_E_MEMORY;
    if ((st = kl__ticket_fill(t, p)) != KL_OK) {
        t->stage = KL__ENDED;
        kl__ticket_unref(t);
        return st;
    }
    t->refs++; /* the queue's */
    q->pending++;
    *out = t;
    int seat = seat_of(q, p);
    t->pinned = seat < q->n_seats;
    t->seat = t->pinned ? seat : q->n_seats == 2 ? 0 : -1;
    st = seat < 0 ? kl__last_status() : KL_OK;
    for (size_t i = 0; st == KL_OK && i < p->n_after; i++)
        st = come_after(t, p->after[i]);
    if (st != KL_OK)
        kl__ticket_end(t, st, kl_last_error());
    else if (t->trainer) /* in its list at once: a trainer's passes keep their order */
        kl__flow_push(&q->seat[seat], t);
    else if (!t->blockers)
        kl__ticket_ready(t);
    kl__queue_settle(q);
    for (int i = 0; i < q->n_seats; i++)
        if (q->seat[i].n_ready)
            kl__seat_pump(&q->seat[i], q->in_flight + 1);
    if (!kl__queue_attend(q))
        while (q->pending || (q->calls && !q->calling)) {
            kl__queue_help(q);
            kl__queue_call(q);
        }
    return KL_OK;
}

kl_status kl_queue_submit(kl_queue *q, const kl_pass *pass, kl_ticket **out)
{
    if (out)
        *out = NULL;
    kl_status st = check_pass(q, pass, out);
    if (st != KL_OK)
        return st;
    kl__lock(&q->lock);
    st = submit(q, pass, out);
    kl__unlock(&q->lock);
    return st;
}
