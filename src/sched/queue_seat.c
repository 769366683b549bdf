/* Seats: the passes that wait for a context, handing them over, and the context's thread. */
#include "sched/queue_inside.h"

#include "base/mem.h"

/* ---- flows: what waits ---- */

static const void *owner(const kl_ticket *t)
{
    return t->trainer ? (const void *)t->trainer : (const void *)t->model;
}

/** Behind all of its priority: the last to have its turn. */
static void queue_up(kl__seat *s, kl__flow *f)
{
    kl__flow **at = &s->flows;
    while (*at && (*at)->priority >= f->priority)
        at = &(*at)->next;
    f->next = *at;
    *at = f;
}

static void unlink_flow(kl__seat *s, kl__flow *f)
{
    kl__flow **at = &s->flows;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
}

static kl__flow *flow_of(kl__seat *s, const kl_ticket *t)
{
    kl_queue *q = s->queue;
    kl__flow *f = s->flows;
    while (f && (f->owner != owner(t) || (f->priority != t->priority && !t->trainer)))
        f = f->next;
    if (f && f->priority < t->priority) { /* a trainer's passes keep their order: all move up */
        unlink_flow(s, f);
        f->priority = t->priority;
        queue_up(s, f);
    }
    if (f)
        return f;
    if ((f = q->free_flows))
        q->free_flows = f->next;
    else if (!(f = kl__calloc(1, sizeof *f)))
        return NULL;
    *f = (kl__flow){.owner = owner(t), .priority = t->priority};
    queue_up(s, f);
    return f;
}

void kl__flow_push(kl__seat *s, kl_ticket *t)
{
    kl__flow *f = flow_of(s, t);
    if (!f) {
        kl__ticket_end(t, KL_E_MEMORY, kl_last_error());
        return;
    }
    t->stage = KL__READY;
    t->seat = s->index;
    t->flow = f;
    t->prev = f->last;
    t->next = NULL;
    *(f->last ? &f->last->next : &f->first) = t;
    f->last = t;
    s->n_ready++;
    s->load += t->est;
}

static void drop(kl__seat *s, kl_ticket *t)
{
    kl__flow *f = t->flow;
    *(t->prev ? &t->prev->next : &f->first) = t->next;
    *(t->next ? &t->next->prev : &f->last) = t->prev;
    t->prev = t->next = NULL;
    t->flow = NULL;
    s->n_ready--;
}

static void free_if_empty(kl__seat *s, kl__flow *f)
{
    if (f->first)
        return;
    unlink_flow(s, f);
    f->next = s->queue->free_flows;
    s->queue->free_flows = f;
}

void kl__flow_remove(kl__seat *s, kl_ticket *t)
{
    kl__flow *f = t->flow;
    drop(s, t);
    free_if_empty(s, f);
    s->load -= t->est;
}

/** The next pass in turn; NULL: none may start. */
static kl_ticket *take_next(kl__seat *s)
{
    kl__flow *f = s->flows;
    while (f && f->first->blockers)
        f = f->next;
    if (!f)
        return NULL;
    kl_ticket *t = f->first;
    drop(s, t);
    unlink_flow(s, f);
    queue_up(s, f);
    free_if_empty(s, f);
    return t;
}

/* ---- handing over ---- */

static kl_status enqueue(kl_ticket *t, kl_ctx *ctx, kl__event *done)
{
    const kl__train_calls *calls = t->trainer ? kl__train_calls_of(t->trainer) : NULL;
    if (t->members)
        kl__batch_gather(t);
    switch (t->kind) {
    case KL_WORK_BACKWARD:
        return calls->backward(t->trainer, t->binds, t->n_binds, done);
    case KL_WORK_UPDATE:
        return calls->update(t->trainer, done);
    case KL_WORK_STEP:
        return calls->step(t->trainer, t->binds, t->n_binds, done);
    default:
        return kl__model_start(t->model, ctx, t->binds, t->n_binds, done);
    }
}

static void into_flight(kl__seat *s, kl_ticket *t)
{
    t->stage = KL__RUNNING;
    t->prev = s->flight_last;
    t->next = NULL;
    *(s->flight_last ? &s->flight_last->next : &s->flight) = t;
    s->flight_last = t;
    kl__heirs_early(t);
}

static void hand_over(kl__seat *s, kl_ticket *t)
{
    kl_queue *q = s->queue;
    kl__event done = {NULL};
    if (kl__ticket_doomed(t)) {
        s->load -= t->est;
        return;
    }
    t->stage = KL__HANDING;
    s->handing = true;
    s->n_flight++;
    kl__unlock(&q->lock);
    double start = q->n_seats > 2 ? kl__now() : 0;
    kl_status st = enqueue(t, s->ctx, &done);
    kl__lock(&q->lock);
    s->handing = false;
    t->handed = start;
    kl__event_release(&t->done);
    t->done = done;
    if (st == KL_OK && done.h) {
        into_flight(s, t);
    } else {
        s->n_flight--;
        kl__ticket_back(s, t, st);
    }
    kl__queue_settle(q);
    kl__changed(q);
}

static bool has_room(const kl__seat *s)
{
    return !s->handing && s->n_flight < s->queue->in_flight;
}

static bool pump_one(kl__seat *s)
{
    if (!has_room(s))
        return false;
    kl_ticket *t = take_next(s);
    if (!t && (t = kl__seat_steal(s))) {
        kl__seat *from = &s->queue->seat[t->seat];
        kl__flow_remove(from, t);
        t->seat = s->index;
        t->est = kl__price_expect(s, t->key);
        s->load += t->est;
    }
    if (t)
        hand_over(s, t);
    return t != NULL;
}

void kl__seat_pump(kl__seat *s, int most)
{
    if (!s->ctx && (!s->n_ready || kl__seat_attend(s)))
        return; /* its passes are waited for, which is its thread's to do */
    while (most-- > 0 && pump_one(s))
        ;
}

/* ---- the thread ---- */

/** Somebody must see the end of a pass though nobody waits for it. */
static bool wanted(const kl__seat *s)
{
    if (s->n_ready)
        return s->flight != NULL;
    for (const kl_ticket *t = s->flight; t; t = t->next) {
        if (t->on_done || t->heirs.n)
            return true;
        for (const kl_ticket *m = t->members; m; m = m->next)
            if (m->on_done || m->heirs.n)
                return true;
    }
    return false;
}

static void *work(void *arg)
{
    kl__seat *s = arg;
    kl_queue *q = s->queue;
    kl__lock(&q->lock);
    while (!q->stop) {
        if (q->calls && !q->calling)
            kl__queue_call(q);
        else if (pump_one(s))
            kl__queue_attend(q);
        else if (!s->watched && wanted(s)) {
            kl__seat_watch(s, s->flight);
            kl__queue_attend(q);
        } else {
            s->idle = true;
            kl__cond_wait(&s->work, &q->lock);
            s->idle = false;
        }
    }
    kl__unlock(&q->lock);
    return NULL;
}

bool kl__seat_attend(kl__seat *s)
{
    if (!s->started) {
        if (s->queue->stop || kl__thread_start(&s->thread, work, s) != KL_OK)
            return false;
        s->started = true;
    }
    if (s->idle)
        kl__cond_signal(&s->work);
    return true;
}

bool kl__queue_attend(kl_queue *q)
{
    bool ok = true;
    for (int i = 0; i < q->n_seats; i++) {
        kl__seat *s = &q->seat[i];
        if ((has_room(s) && (s->n_ready || kl__seat_steal(s))) || wanted(s) ||
            (q->calls && !q->calling && !i))
            ok = kl__seat_attend(s) && ok;
    }
    return ok;
}

void kl__seat_stop(kl__seat *s)
{
    if (!s->started)
        return;
    kl__cond_signal(&s->work);
    kl__unlock(&s->queue->lock);
    kl__thread_join(s->thread);
    kl__lock(&s->queue->lock);
    s->started = false;
}
