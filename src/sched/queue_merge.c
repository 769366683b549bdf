/* Passes of one kind that gather until a deadline and run as one batch. The batch is a ticket of
 * its own that binds host memory of the queue's: inputs in a row, padded to a power of two with
 * copies of the first sample, so that few plans are made. In a batch of another size kernels may
 * sum in another order: a sample's result differs from that of its pass alone by rounding, as it
 * does between any two batch sizes (1e-5 of its size is usual for f32). Only what has a batch
 * dimension is merged; a graph that mixes samples in inference must not ask for it. */
#include "sched/queue_inside.h"

#include "base/mem.h"

#include <string.h>

enum { ALIGN = 64 };

/* ---- which passes go together ---- */

static bool batched(const kl_model *m, const char *name)
{
    const kl_node *x = name ? kl_graph_find(m->graph, name) : NULL;
    if (!x || !kl__is_input(x))
        x = name ? kl_graph_output(m->graph, name) : NULL;
    return x && x->desc.shape.n_dims > 0 && x->desc.shape.dim[0] == KL_BATCH;
}

/** Samples of a pass that can be merged; 0: it cannot. What is wrong with it, it says when it runs.
 */
static int64_t samples_of(const kl_ticket *t)
{
    for (size_t i = 0; i < t->n_binds; i++)
        if (!t->binds[i].host || !batched(t->model, t->binds[i].name))
            return 0;
    return t->n_binds ? kl__binds_batch(t->model, t->binds, t->n_binds) : 0;
}

static bool alike(const kl_ticket *a, const kl_ticket *b)
{
    if (a->model != b->model || a->priority != b->priority || a->n_binds != b->n_binds)
        return false;
    for (size_t i = 0; i < a->n_binds; i++)
        if (strcmp(a->binds[i].name, b->binds[i].name) != 0)
            return false;
    return true;
}

/* ---- gathering ---- */

static void unlink_batch(kl_queue *q, kl__batch *b)
{
    kl__batch **at = &q->batches;
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    b->next = q->free_batches;
    q->free_batches = b;
}

void kl__batch_leave(kl_ticket *t)
{
    kl__batch *b = t->gathering;
    *(t->prev ? &t->prev->next : &b->first) = t->next;
    *(t->next ? &t->next->prev : &b->last) = t->prev;
    t->prev = t->next = NULL;
    t->gathering = NULL;
    b->samples -= t->samples;
    if (!b->first)
        unlink_batch(t->queue, b);
}

/** The ticket that runs them all; NULL: no memory. */
static kl_ticket *make_inner(kl__batch *b)
{
    const kl_ticket *m = b->first;
    kl_queue *q = m->queue;
    int64_t n = 1;
    size_t bytes = 0;
    while (n < b->samples)
        n *= 2;
    n = n < q->max_batch ? n : q->max_batch;
    kl_ticket *t = kl__ticket_take(q);
    if (!t)
        return NULL;
    kl_status st = kl__grow(&t->binds, &t->cap_binds, m->n_binds, sizeof *t->binds);
    for (size_t i = 0; st == KL_OK && i < m->n_binds; i++) {
        size_t one = m->binds[i].host_bytes / (size_t)m->samples;
        t->binds[i] = (kl_bind){.name = m->binds[i].name, .host_bytes = one * (size_t)n};
        bytes += (one * (size_t)n + ALIGN - 1) / ALIGN * ALIGN;
    }
    if (st == KL_OK)
        st = kl__grow(&t->host, &t->cap_host, bytes, 1);
    if (st != KL_OK) {
        kl__ticket_unref(t);
        return NULL;
    }
    unsigned char *at = t->host;
    for (size_t i = 0; i < m->n_binds; i++) {
        t->binds[i].host = at;
        at += (t->binds[i].host_bytes + ALIGN - 1) / ALIGN * ALIGN;
    }
    t->n_binds = m->n_binds;
    t->model = m->model;
    t->priority = m->priority;
    t->samples = n;
    t->seat = q->n_seats == 2 ? 0 : -1;
    return t;
}

/** The batch is made up: its passes become READY as one, or alone. */
static void close_batch(kl_queue *q, kl__batch *b)
{
    kl_ticket *first = b->first, *inner = first->next ? make_inner(b) : NULL;
    unlink_batch(q, b);
    for (kl_ticket *m = first, *next; m; m = next) {
        next = m->next;
        m->gathering = NULL;
        if (inner) {
            m->stage = KL__BATCHED;
            m->batch = inner;
            inner->refs++;
        } else {
            m->prev = m->next = NULL;
            m->merge = 0;
            m->stage = KL__BLOCKED;
            kl__ticket_ready(m);
        }
    }
    if (inner) {
        inner->members = first;
        kl__ticket_ready(inner);
    }
}

void kl__batches_close(kl_queue *q)
{
    while (q->batches)
        close_batch(q, q->batches);
}

/* ---- deadlines ---- */

static void *work(void *arg)
{
    kl_queue *q = arg;
    kl__lock(&q->lock);
    while (!q->stop) {
        kl__batch *b = q->batches;
        for (kl__batch *at = b; at; at = at->next)
            b = at->deadline < b->deadline ? at : b;
        double left = b ? b->deadline - kl__now() : 0;
        if (b && left <= 0) {
            close_batch(q, b);
            kl__queue_settle(q);
            for (int i = 0; i < q->n_seats; i++)
                kl__seat_pump(&q->seat[i], q->in_flight + 1);
            kl__queue_attend(q);
            kl__changed(q);
        } else if (b) {
            kl__cond_wait_for(&q->merge_work, &q->lock, left);
        } else {
            kl__cond_wait(&q->merge_work, &q->lock);
        }
    }
    kl__unlock(&q->lock);
    return NULL;
}

static bool clock_runs(kl_queue *q)
{
    if (!q->merging)
        q->merging = kl__thread_start(&q->merge_thread, work, q) == KL_OK;
    return q->merging;
}

void kl__batch_stop(kl_queue *q)
{
    if (!q->merging)
        return;
    kl__cond_signal(&q->merge_work);
    kl__unlock(&q->lock);
    kl__thread_join(q->merge_thread);
    kl__lock(&q->lock);
    q->merging = false;
}

/* ---- joining ---- */

static kl__batch *batch_for(kl_queue *q, const kl_ticket *t)
{
    kl__batch *b = q->batches;
    while (b && !alike(b->first, t))
        b = b->next;
    if (b && b->samples + t->samples > q->max_batch) {
        close_batch(q, b);
        b = NULL;
    }
    if (b)
        return b;
    if ((b = q->free_batches))
        q->free_batches = b->next;
    else if (!(b = kl__calloc(1, sizeof *b)))
        return NULL;
    *b = (kl__batch){.next = q->batches, .deadline = kl__now() + t->merge};
    q->batches = b;
    return b;
}

bool kl__batch_join(kl_ticket *t)
{
    kl_queue *q = t->queue;
    t->samples = q->closing ? 0 : samples_of(t);
    if (t->samples < 1 || t->samples >= q->max_batch || !clock_runs(q))
        return false;
    kl__batch *b = batch_for(q, t);
    if (!b)
        return false;
    double deadline = kl__now() + t->merge;
    b->deadline = deadline < b->deadline ? deadline : b->deadline;
    t->stage = KL__GATHERING;
    t->gathering = b;
    t->prev = b->last;
    t->next = NULL;
    *(b->last ? &b->last->next : &b->first) = t;
    b->last = t;
    b->samples += t->samples;
    if (b->samples == q->max_batch)
        close_batch(q, b);
    else
        kl__cond_signal(&q->merge_work);
    return true;
}

/* ---- the batch's memory ---- */

void kl__batch_gather(kl_ticket *inner)
{
    for (size_t i = 0; i < inner->n_binds; i++) {
        const kl_bind *b = &inner->binds[i];
        unsigned char *at = b->host;
        size_t one = b->host_bytes / (size_t)inner->samples, left = b->host_bytes;
        const kl_node *x = kl_graph_find(inner->model->graph, b->name);
        if (!x || !kl__is_input(x))
            continue;
        for (const kl_ticket *m = inner->members; m; m = m->next) {
            memcpy(at, m->binds[i].host, m->binds[i].host_bytes);
            at += m->binds[i].host_bytes;
            left -= m->binds[i].host_bytes;
        }
        for (; left; left -= one, at += one)
            memcpy(at, b->host, one);
    }
}

void kl__batch_scatter(kl_ticket *inner)
{
    for (size_t i = 0; i < inner->n_binds; i++) {
        const unsigned char *at = inner->binds[i].host;
        const kl_node *x = kl_graph_find(inner->model->graph, inner->binds[i].name);
        if (x && kl__is_input(x))
            continue;
        for (const kl_ticket *m = inner->members; m; m = m->next) {
            memcpy(m->binds[i].host, at, m->binds[i].host_bytes);
            at += m->binds[i].host_bytes;
        }
    }
}
