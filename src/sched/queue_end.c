/* The end of passes: seen, told to what comes after them, called back. */
#include "sched/queue_inside.h"

#include "base/mem.h"

#include <stdio.h>

enum { WHY = 768 };

/* ---- one pass ---- */

void kl__ticket_end(kl_ticket *t, kl_status st, const char *error)
{
    kl_queue *q = t->queue;
    t->stage = KL__ENDED;
    t->status = st;
    if (st != KL_OK)
        t->error = kl__strdup(error);
    t->next_ended = NULL;
    *q->ended_end = t;
    q->ended_end = &t->next_ended;
}

bool kl__ticket_doomed(kl_ticket *t)
{
    for (size_t i = 0; i < t->after.n; i++) {
        const kl_ticket *d = t->after.at[i];
        if (d->stage != KL__ENDED || d->status == KL_OK)
            continue;
        char why[WHY];
        snprintf(why, sizeof why, "a pass that this one comes after: %s",
                 d->error ? d->error : kl_status_name(d->status));
        kl__ticket_end(t, d->status, why);
        return true;
    }
    return false;
}

void kl__ticket_ready(kl_ticket *t)
{
    kl_queue *q = t->queue;
    if (t->stage == KL__READY) { /* a trainer's: in its list from the start */
        if (kl__ticket_doomed(t))
            kl__flow_remove(&q->seat[t->seat], t);
        return;
    }
    if (kl__ticket_doomed(t) || (t->merge > 0 && kl__batch_join(t)))
        return;
    int seat = t->seat;
    if (q->n_seats > 2) {
        t->key = kl__price_key(t);
        if (!t->pinned)
            seat = kl__choose_seat(t, kl__now());
        if (seat >= 0)
            t->est = kl__price_expect(&q->seat[seat], t->key);
    }
    if (seat < 0)
        kl__ticket_end(t, KL_E_DEVICE, "every device of the queue has failed");
    else
        kl__flow_push(&q->seat[seat], t);
}

/* ---- passes that run behind others on one lane ---- */

static bool writes(const kl_ticket *t, const kl_bind *b)
{
    const kl_node *x = t->model && b->name ? kl_graph_find(t->model->graph, b->name) : NULL;
    return t->model && !(x && kl__is_input(x));
}

/** Host memory that one writes and the other uses. */
static bool overlap(const kl_ticket *a, const kl_ticket *b)
{
    for (size_t i = 0; i < a->n_binds; i++)
        for (size_t k = 0; k < b->n_binds; k++) {
            const kl_bind *x = &a->binds[i], *y = &b->binds[k];
            if (x->host && y->host && (uintptr_t)x->host < (uintptr_t)y->host + y->host_bytes &&
                (uintptr_t)y->host < (uintptr_t)x->host + x->host_bytes &&
                (writes(a, x) || writes(b, y)))
                return true;
        }
    return false;
}

bool kl__runs_behind(const kl_ticket *t, const kl_ticket *before)
{
    const kl__seat *s = before->stage == KL__RUNNING ? &before->queue->seat[before->seat] : NULL;
    if (!s || t->seat != s->index || kl__can_retry(before))
        return false;
    /* Host memory is read as a pass is handed over, by trainers and by some drivers: what is still
     * to be written must be there. */
    for (const kl_ticket *f = s->flight; f; f = f->next)
        if (overlap(t, f))
            return false;
    return true;
}

void kl__heirs_early(kl_ticket *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->heirs.n; i++) {
        kl_ticket *h = t->heirs.at[i];
        if (h->stage == KL__ENDED || !kl__runs_behind(h, t)) {
            t->heirs.at[n++] = h;
            continue;
        }
        if (--h->blockers == 0)
            kl__ticket_ready(h);
        kl__ticket_unref(h);
    }
    t->heirs.n = n;
}

static bool behind_running(const kl_ticket *t)
{
    for (size_t i = 0; i < t->after.n; i++)
        if (t->after.at[i]->stage == KL__RUNNING)
            return true;
    return false;
}

/* ---- back from the device ---- */

static void end_batch(kl_ticket *inner, kl_status st, const char *why)
{
    kl_queue *q = inner->queue;
    if (st == KL_OK) {
        kl__unlock(&q->lock);
        kl__batch_scatter(inner);
        kl__lock(&q->lock);
    }
    for (kl_ticket *m = inner->members, *next; m; m = next) {
        next = m->next;
        m->prev = m->next = m->batch = NULL;
        m->done = inner->done;
        kl__event_retain(m->done);
        if (st == KL_OK || st == KL_E_DEVICE) {
            kl__ticket_end(m, st, why);
        } else { /* each alone, so that it carries its own error */
            kl__event_release(&m->done);
            m->merge = 0;
            m->stage = KL__BLOCKED;
            kl__ticket_ready(m);
        }
        kl__ticket_unref(inner);
    }
    inner->stage = KL__ENDED;
    kl__ticket_unref(inner);
}

void kl__ticket_back(kl__seat *s, kl_ticket *t, kl_status st)
{
    char why[WHY] = "";
    if (st != KL_OK)
        snprintf(why, sizeof why, "%s", kl_last_error());
    s->load = s->load > t->est ? s->load - t->est : 0;
    s->failures = st == KL_E_DEVICE ? s->failures + 1 : 0;
    if (st == KL_E_DEVICE && kl__can_retry(t)) {
        t->tried |= (uint64_t)1 << s->index;
        int seat = kl__choose_seat(t, kl__now());
        if (seat >= 0) {
            kl__unlock(&s->queue->lock); /* a log is the caller's code */
            kl__log(KL_LOG_WARN, "a pass failed and is run again on another device: %s", why);
            kl__lock(&s->queue->lock);
            t->est = kl__price_expect(&s->queue->seat[seat], t->key);
            kl__flow_push(&s->queue->seat[seat], t);
            return;
        }
    }
    if (t->members)
        end_batch(t, st, why);
    else if (st != KL_OK || !kl__ticket_doomed(t))
        kl__ticket_end(t, st, why);
}

static void out_of_flight(kl__seat *s, kl_ticket *t)
{
    *(t->prev ? &t->prev->next : &s->flight) = t->next;
    *(t->next ? &t->next->prev : &s->flight_last) = t->prev;
    t->prev = t->next = NULL;
    t->stage = KL__HANDING; /* in the hands of this thread */
    s->n_flight--;
}

/** The first of the flight that has ended, out of it. */
static kl_ticket *next_landed(kl__seat *s, const kl_ticket *known, kl_status known_st,
                              const char *why, kl_status *st)
{
    for (kl_ticket *t = s->flight; t; t = t->next) {
        int poll = t == known ? 0 : kl__event_poll(s->ctx, t->done);
        if (poll == 1 || behind_running(t))
            continue;
        *st = t == known ? known_st : poll < 0 ? KL_E_DEVICE : KL_OK;
        if (t == known && known_st != KL_OK)
            kl__fail(known_st, "%s", why);
        out_of_flight(s, t);
        return t;
    }
    return NULL;
}

void kl__seat_reap(kl__seat *s, const kl_ticket *known, kl_status known_st, bool exact)
{
    kl_queue *q = s->queue;
    char why[WHY] = "";
    if (known_st != KL_OK)
        snprintf(why, sizeof why, "%s", kl_last_error());
    kl_status st = KL_OK;
    double now = q->n_seats > 2 ? kl__now() : 0;
    for (kl_ticket *t; (t = next_landed(s, known, known_st, why, &st));) {
        if (q->n_seats > 2 && st == KL_OK)
            kl__price_learn(s, t, now, exact && t == known);
        kl__ticket_back(s, t, st);
    }
    kl__queue_settle(q);
    kl__changed(q);
}

void kl__seat_watch(kl__seat *s, kl_ticket *t)
{
    kl_queue *q = s->queue;
    kl__event e = t->done;
    bool head = t == s->flight && !s->watched;
    kl__event_retain(e);
    t->refs++;
    q->watchers++;
    if (head)
        s->watched = true;
    kl__unlock(&q->lock);
    int poll = kl__event_poll(s->ctx, e);
    kl_status st = poll == 1 ? kl__event_wait(s->ctx, e) : poll < 0 ? KL_E_DEVICE : KL_OK;
    kl__lock(&q->lock);
    if (head)
        s->watched = false;
    q->watchers--;
    if (t->stage == KL__RUNNING && t->done.h == e.h)
        kl__seat_reap(s, t, st, poll == 1);
    else
        kl__changed(q);
    kl__event_release(&e);
    kl__ticket_unref(t);
}

/* ---- what follows from an end ---- */

static void drop_binds(kl_ticket *t)
{
    for (size_t i = 0; i < t->n_binds; i++)
        kl_tensor_release(t->binds[i].tensor);
    t->n_binds = 0;
}

static void tell_heirs(kl_ticket *t)
{
    for (size_t i = 0; i < t->heirs.n; i++) {
        kl_ticket *h = t->heirs.at[i];
        if (h->stage != KL__ENDED && --h->blockers == 0)
            kl__ticket_ready(h);
        kl__ticket_unref(h);
    }
    t->heirs.n = 0;
    for (size_t i = 0; i < t->after.n; i++)
        kl__ticket_unref(t->after.at[i]);
    t->after.n = 0;
}

void kl__queue_settle(kl_queue *q)
{
    bool any = q->ended != NULL;
    for (kl_ticket *t; (t = q->ended);) {
        if (!(q->ended = t->next_ended))
            q->ended_end = &q->ended;
        t->next_ended = NULL;
        drop_binds(t);
        tell_heirs(t);
        q->pending--;
        if (t->to_call) {
            *q->calls_end = t;
            q->calls_end = &t->next_ended;
        } else {
            kl__ticket_unref(t);
        }
    }
    if (any)
        kl__changed(q);
}

void kl__queue_call(kl_queue *q)
{
    for (kl_ticket *t; !q->calling && (t = q->calls);) {
        if (!(q->calls = t->next_ended))
            q->calls_end = &q->calls;
        q->calling = true;
        q->caller = pthread_self();
        kl__unlock(&q->lock);
        t->on_done(t->user, t, t->status);
        kl__lock(&q->lock);
        q->calling = false;
        t->to_call = false;
        kl__ticket_unref(t);
        kl__changed(q);
    }
}
