/* Tickets: what the caller may do with them, and their memory. */
#include "sched/queue_inside.h"

#include "base/mem.h"

#include <string.h>

/* ---- memory ---- */

kl_ticket *kl__ticket_take(kl_queue *q)
{
    kl_ticket *t = q->free;
    if (t) {
        q->free = t->next;
        q->n_free--;
        t->next = NULL;
    } else if (!(t = kl__calloc(1, sizeof *t))) {
        return NULL;
    }
    t->queue = q;
    t->refs = 1;
    t->stage = KL__BLOCKED;
    q->refs++;
    return t;
}

void kl__ticket_free(kl_ticket *t)
{
    kl__free(t->binds);
    kl__free(t->names);
    kl__free(t->after.at);
    kl__free(t->heirs.at);
    kl__free(t->host);
    kl__free(t);
}

/** Back to a new ticket's state, keeping its memory. */
static void wipe(kl_ticket *t)
{
    kl_ticket old = *t;
    *t = (kl_ticket){.binds = old.binds,
                     .cap_binds = old.cap_binds,
                     .names = old.names,
                     .cap_names = old.cap_names,
                     .after = {old.after.at, 0, old.after.cap},
                     .heirs = {old.heirs.at, 0, old.heirs.cap},
                     .host = old.host,
                     .cap_host = old.cap_host};
}

void kl__ticket_unref(kl_ticket *t)
{
    kl_queue *q = t->queue;
    if (--t->refs)
        return;
    kl__event_release(&t->done);
    kl__free(t->error);
    q->refs--;
    if (q->n_free < (size_t)q->depth + KL__KEPT_TICKETS) {
        wipe(t);
        t->next = q->free;
        q->free = t;
        q->n_free++;
    } else {
        kl__ticket_free(t);
    }
}

kl_status kl__tickets_add(kl__tickets *list, kl_ticket *t)
{
    kl_status st = kl__grow(&list->at, &list->cap, list->n + 1, sizeof *list->at);
    if (st == KL_OK)
        list->at[list->n++] = t;
    return st;
}

kl_status kl__ticket_fill(kl_ticket *t, const kl_pass *p)
{
    size_t bytes = 0;
    for (size_t i = 0; i < p->n_binds; i++)
        bytes += p->binds[i].name ? strlen(p->binds[i].name) + 1 : 0;
    kl_status st = kl__grow(&t->binds, &t->cap_binds, p->n_binds, sizeof *t->binds);
    if (st == KL_OK)
        st = kl__grow(&t->names, &t->cap_names, bytes, 1);
    if (st != KL_OK)
        return st;
    char *at = t->names;
    for (size_t i = 0; i < p->n_binds; i++) {
        kl_bind *b = &t->binds[i];
        *b = p->binds[i];
        if (b->tensor)
            kl_tensor_retain(b->tensor);
        if (b->name) {
            size_t n = strlen(b->name) + 1;
            b->name = memcpy(at, b->name, n);
            at += n;
        }
    }
    t->n_binds = p->n_binds;
    t->kind = p->kind;
    t->model = p->kind == KL_WORK_FORWARD ? p->model : NULL;
    t->trainer = p->kind == KL_WORK_FORWARD ? NULL : p->trainer;
    t->priority = p->priority;
    t->merge = p->kind == KL_WORK_FORWARD ? p->merge : 0;
    t->on_done = p->on_done;
    t->user = p->user;
    t->to_call = p->on_done != NULL;
    return KL_OK;
}

/* ---- waiting ---- */

void kl__changed(kl_queue *q)
{
    if (q->waiting)
        kl__cond_broadcast(&q->changed);
}

void kl__changed_wait(kl_queue *q)
{
    q->waiting++;
    kl__cond_wait(&q->changed, &q->lock);
    q->waiting--;
}

/** Whether a pass was handed over that could be. */
static bool pump_all(kl_queue *q)
{
    size_t before = 0, after = 0;
    for (int i = 0; i < q->n_seats; i++) {
        kl__seat *s = &q->seat[i];
        size_t n = s->n_ready;
        kl__seat_pump(s, q->in_flight + 1);
        before += n;
        after += s->n_ready;
    }
    return after < before;
}

void kl__queue_help(kl_queue *q)
{
    kl__queue_settle(q);
    if (pump_all(q))
        return;
    for (int i = 0; i < q->n_seats; i++)
        if (q->seat[i].flight && !q->seat[i].watched) {
            kl__seat_watch(&q->seat[i], q->seat[i].flight);
            return;
        }
    if (q->calls && !q->calling)
        kl__queue_call(q);
    else if (q->pending || q->calling || q->watchers)
        kl__changed_wait(q);
}

/** One pass's way to its end, or until it was handed over. */
static void wait_for(kl_ticket *t, bool handed)
{
    kl_queue *q = t->queue;
    while (t->stage != KL__ENDED) {
        kl_ticket *run = t->batch ? t->batch : t;
        if (run->stage == KL__RUNNING && handed && run == t)
            return;
        if (run->stage == KL__RUNNING) {
            kl__seat_watch(&q->seat[run->seat], run);
            kl__queue_attend(q);
            continue;
        }
        if (run->stage == KL__READY) {
            kl__seat_pump(&q->seat[run->seat], q->in_flight + 1);
            kl__queue_attend(q);
        }
        /* unless the lock was let go and something happened to it */
        if (t->stage != KL__ENDED && run == (t->batch ? t->batch : t) &&
            run->stage != KL__RUNNING)
            kl__changed_wait(q);
    }
}

static bool in_callback(const kl_queue *q)
{
    return q->calling && pthread_equal(q->caller, pthread_self());
}

kl_status kl_ticket_wait(kl_ticket *t)
{
    if (!t)
        return kl__fail(KL_E_ARG, "kl_ticket_wait: ticket is NULL");
    kl_queue *q = t->queue;
    kl__lock(&q->lock);
    wait_for(t, false);
    while (t->to_call && !in_callback(q)) { /* what on_done uses is the caller's again as well */
        kl__queue_call(q);
        if (t->to_call)
            kl__changed_wait(q);
    }
    kl_status st = t->status;
    if (st != KL_OK)
        kl__fail(st, "%s", t->error ? t->error : "the pass failed");
    kl__unlock(&q->lock);
    return st;
}

bool kl_ticket_done(kl_ticket *t)
{
    if (!t)
        return true;
    kl_queue *q = t->queue;
    kl__lock(&q->lock);
    kl_ticket *run = t->batch ? t->batch : t;
    if (run->stage == KL__RUNNING) {
        kl__seat_reap(&q->seat[run->seat], NULL, KL_OK, false);
        kl__queue_attend(q);
    }
    bool done = t->stage == KL__ENDED;
    kl__unlock(&q->lock);
    return done;
}

kl__event kl__ticket_event(kl_ticket *t)
{
    kl_queue *q = t->queue;
    kl__lock(&q->lock);
    wait_for(t, true);
    kl__event e = t->done;
    t->borrowed = true;
    kl__unlock(&q->lock);
    return e;
}

/* ---- the rest ---- */

kl_status kl_ticket_cancel(kl_ticket *t)
{
    if (!t)
        return kl__fail(KL_E_ARG, "kl_ticket_cancel: ticket is NULL");
    kl_queue *q = t->queue;
    kl_status st = KL_OK;
    kl__lock(&q->lock);
    if (t->stage == KL__READY)
        kl__flow_remove(&q->seat[t->seat], t);
    else if (t->stage == KL__GATHERING)
        kl__batch_leave(t);
    else if (t->stage != KL__BLOCKED)
        st = kl__fail(KL_E_ARG, "the pass has begun");
    if (st == KL_OK) {
        kl__ticket_end(t, KL_E_CANCELLED, "the pass was cancelled");
        kl__queue_settle(q);
        kl__queue_attend(q);
    }
    kl__unlock(&q->lock);
    return st;
}

void kl_ticket_release(kl_ticket *t)
{
    if (!t)
        return;
    kl_queue *q = t->queue;
    kl__lock(&q->lock);
    wait_for(t, false);
    while (t->to_call && !in_callback(q)) {
        kl__queue_call(q);
        if (t->to_call)
            kl__changed_wait(q);
    }
    kl__ticket_unref(t);
    bool last = !q->refs;
    kl__unlock(&q->lock);
    if (last)
        kl__queue_free(q);
}
