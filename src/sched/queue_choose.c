/* Which device is done with a pass first: what passes of a kind took, and what each device has to
 * do. A first time counts compiling and is left out; a device that has no price for a kind of pass
 * yet gets one as soon as it is idle. */
#include "sched/queue_inside.h"

#include "base/hash.h"

#include <string.h>

static const double NOMINAL = 1e-3; /* seconds, until something is known */

uint64_t kl__price_key(const kl_ticket *t)
{
    const void *owner = t->trainer ? (const void *)t->trainer : (const void *)t->model;
    uint64_t key = kl__hash64(&owner, sizeof owner, (uint64_t)t->kind);
    for (size_t i = 0; i < t->n_binds; i++) {
        const kl_bind *b = &t->binds[i];
        uint64_t bytes = b->tensor ? (uint64_t)kl_tensor_shape(b->tensor).dim[0] : b->host_bytes;
        key = kl__hash64(b->name, b->name ? strlen(b->name) : 0, key);
        key = kl__hash64(&bytes, sizeof bytes, key);
    }
    return key;
}

static kl__price *find(kl__seat *s, uint64_t key)
{
    for (kl__price *p = s->price; p < s->price + KL__PRICES; p++)
        if (p->used && p->key == key)
            return p;
    return NULL;
}

static bool known(kl__seat *s, uint64_t key, double *seconds)
{
    const kl__price *p = find(s, key);
    if (!p || p->n < 2)
        return false;
    *seconds = p->seconds;
    return true;
}

/** What others take, where s itself does not know. */
static double guess(const kl_queue *q, uint64_t key)
{
    double most = 0, one;
    for (int i = 0; i < q->n_seats; i++)
        if (known(&q->seat[i], key, &one) && one > most)
            most = one;
    return most > 0 ? most : NOMINAL;
}

double kl__price_expect(kl__seat *s, uint64_t key)
{
    double seconds;
    return known(s, key, &seconds) ? seconds : guess(s->queue, key);
}

void kl__price_learn(kl__seat *s, const kl_ticket *t, double now, bool exact)
{
    kl__price *p = find(s, t->key);
    double from = t->handed > s->last_end ? t->handed : s->last_end, seconds = now - from;
    s->last_end = now;
    if (!p) {
        p = s->price;
        for (kl__price *at = p; at < s->price + KL__PRICES; at++)
            if (at->used < p->used)
                p = at;
        *p = (kl__price){.key = t->key};
    }
    p->used = ++s->queue->clock;
    if (p->n < 2) /* the first is forgotten */
        p->seconds = seconds;
    else if (exact)
        p->seconds += 0.25 * (seconds - p->seconds);
    else if (seconds < p->seconds) /* it may have ended long ago: no more than that */
        p->seconds = seconds;
    if (p->n < 2)
        p->n++;
}

/* ---- choosing ---- */

/** Seconds until all is done that s has. */
static double backlog(const kl__seat *s, double now)
{
    double left = s->load;
    if (s->flight) {
        double from = s->flight->handed > s->last_end ? s->flight->handed : s->last_end;
        double ran = now - from;
        left -= ran < s->flight->est ? ran : s->flight->est;
    }
    return left > 0 ? left : 0;
}

static bool usable(const kl_ticket *t, const kl__seat *s, int failures)
{
    return s->ctx && !(t->tried >> s->index & 1) && s->failures < failures &&
           !kl__ctx_lost(s->ctx);
}

static double finish(kl__seat *s, const kl_ticket *t, double now)
{
    double seconds;
    if (!known(s, t->key, &seconds))
        seconds = !s->n_flight && !s->n_ready ? 0 : guess(s->queue, t->key);
    return backlog(s, now) + seconds;
}

static int choose(kl_ticket *t, double now, int failures)
{
    kl_queue *q = t->queue;
    int best = -1;
    double first = 0;
    for (int i = 0; i < q->n_seats; i++) {
        kl__seat *s = &q->seat[i];
        if (!usable(t, s, failures))
            continue;
        double end = finish(s, t, now);
        if (best < 0 || end < first) {
            best = i;
            first = end;
        }
    }
    return best;
}

int kl__choose_seat(kl_ticket *t, double now)
{
    int seat = choose(t, now, KL__OUT_AFTER);
    return seat >= 0 ? seat : choose(t, now, INT32_MAX);
}

bool kl__can_retry(const kl_ticket *t)
{
    const kl_queue *q = t->queue;
    if (t->kind != KL_WORK_FORWARD || t->pinned || t->borrowed)
        return false;
    for (int i = 0; i < q->n_seats; i++)
        if (i != t->seat && usable(t, &q->seat[i], INT32_MAX))
            return true;
    return false;
}

kl_ticket *kl__seat_steal(kl__seat *s)
{
    kl_queue *q = s->queue;
    kl_ticket *t = NULL;
    double now = 0;
    if (q->n_seats <= 2 || !s->ctx || s->n_ready)
        return NULL;
    for (int i = 0; i < q->n_seats && !t; i++) {
        kl__seat *from = &q->seat[i];
        if (from == s || !from->n_ready)
            continue;
        now = now > 0 ? now : kl__now();
        double last = backlog(from, now);
        for (kl__flow *f = from->flows; f; f = f->next)
            if (!f->last->pinned && !f->last->blockers && usable(f->last, s, KL__OUT_AFTER) &&
                finish(s, f->last, now) < last)
                t = f->last;
    }
    return t;
}
