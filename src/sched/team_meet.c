/* Shards that meet, over the members of a team: rows go through host memory, where every member
 * leaves its own and takes the others'. Over processes the root's thread broadcasts them, in the
 * order of meetings and ranks. */
#include "sched/meet.h"
#include "sched/team_inside.h"

#include "base/mem.h"

#include <string.h>

kl_status kl__team_meet_create(kl__team *t)
{
    const kl__stepper *s = NULL;
    for (int i = 0; i < t->n && !s; i++)
        s = t->member[i].stepper;
    if (!s || !s->meet)
        return KL_OK;
    t->rows = kl__calloc(s->meet->elems + 1, s->real_size);
    return t->rows ? KL_OK : KL_E_MEMORY;
}

static kl_status cancelled(void)
{
    return kl__fail(KL_E_CANCELLED, "another device failed");
}

/** Own rows to the host. They arrive in memory of the member's own, so that a device that wakes up
 * late writes where nobody looks. */
static kl_status leave(kl__member *m, size_t k)
{
    kl__team *t = m->team;
    const kl__stepper *s = m->stepper;
    size_t bytes;
    const kl__span span = kl__meet_rows(s, k, m->first, m->end, &bytes);
    kl_status st = KL_OK;
    if (!m->rows && !(m->rows = kl__alloc(s->meet->elems * s->real_size)))
        return KL_E_MEMORY;
    if (bytes)
        st = kl__lane_read(kl__ctx_lane(m->ctx, KL__COMPUTE), span, m->rows, bytes, NULL);
    if (st != KL_OK)
        return st;
    kl__lock(&t->lock);
    if (bytes)
        memcpy(t->rows + span.offset, m->rows, bytes);
    for (int i = m->first; i < m->end; i++)
        t->met[i] = (int)k + 1;
    kl__cond_broadcast(&t->cond);
    kl__unlock(&t->lock);
    return KL_OK;
}

/** Waits for all rows of this process. */
static kl_status wait_here(kl__member *m, size_t k)
{
    kl__team *t = m->team;
    const double begin = kl__now();
    kl__lock(&t->lock);
    for (int i = t->first; i < t->end && !t->stop;)
        if (t->met[i] > (int)k)
            i++;
        else
            kl__cond_wait(&t->cond, &t->lock);
    const bool stop = t->stop;
    kl__unlock(&t->lock);
    m->waited += kl__now() - begin;
    return stop ? cancelled() : KL_OK;
}

/** The other processes' rows; the root asks, the others wait for it. */
static kl_status exchange(kl__member *m, size_t k)
{
    kl__team *t = m->team;
    const kl_exchange *x = t->opts.exchange;
    const int shards = t->opts.step.shards;
    const double begin = kl__now();
    kl_status st = KL_OK;
    for (int r = 0; st == KL_OK && m->index == t->root && r < x->size; r++) {
        size_t bytes;
        const kl__span span = kl__meet_rows(m->stepper, k, shards * r / x->size,
                                            shards * (r + 1) / x->size, &bytes);
        st = kl__team_exchanged(t, x->broadcast(x->user, t->rows + span.offset, bytes, r));
    }
    kl__lock(&t->lock);
    if (st == KL_OK && m->index == t->root) {
        t->exchanged = k + 1;
        kl__cond_broadcast(&t->cond);
    }
    while (st == KL_OK && t->exchanged <= k && !t->stop)
        kl__cond_wait(&t->cond, &t->lock);
    const bool stop = t->stop;
    kl__unlock(&t->lock);
    m->waited += kl__now() - begin;
    return st == KL_OK && stop ? cancelled() : st;
}

/** Shards first .. end-1 from the host. */
static kl_status take(kl__member *m, size_t k, int first, int end)
{
    size_t bytes;
    const kl__span span = kl__meet_rows(m->stepper, k, first, end, &bytes);
    kl__event done = {
        NULL}; /* the team's memory is written again in the next step at the earliest */
    kl_status st = bytes ? kl__lane_write(kl__ctx_lane(m->ctx, KL__COMPUTE), span,
                                          m->team->rows + span.offset, bytes, &done)
                         : KL_OK;
    kl__event_release(&done);
    return st;
}

/** All rows of meeting k are on the device. What other processes were given in an attempt that
 * failed here stays as it was given. */
static kl_status meet(kl__member *m, size_t k)
{
    kl__team *t = m->team;
    const int shards = t->opts.step.shards;
    kl__lock(&t->lock);
    const bool given = t->given > k, stop = t->stop;
    kl__unlock(&t->lock);
    if (stop)
        return cancelled();
    kl_status st = given ? KL_OK : leave(m, k);
    if (st == KL_OK && !given)
        st = wait_here(m, k);
    if (st == KL_OK && !given && t->opts.exchange)
        st = exchange(m, k);
    if (st != KL_OK || m->first == m->end)
        return st;
    st = take(m, k, 0, given ? shards : m->first);
    return st == KL_OK && !given ? take(m, k, m->end, shards) : st;
}

kl_status kl__member_meet(kl__member *m, const kl__team_entry *e)
{
    kl__stepper *s = m->stepper;
    const int shards = m->team->opts.step.shards;
    kl__lane *lane = kl__ctx_lane(m->ctx, KL__COMPUTE);
    kl_status st =
        kl__meet_begin(s, &(kl__meet_job){.batch = e->batch,
                                          .entry = e->number,
                                          .from = kl__shard_at(e->batch, m->first, shards),
                                          .first = m->first,
                                          .end = m->end,
                                          .block = m->block,
                                          .counts = m->counts,
                                          .sc = &e->sc});
    for (size_t k = 0; st == KL_OK && k < s->meet->n_points; k++) {
        for (int i = m->first; st == KL_OK && i < m->end; i++)
            st = kl__meet_run(s, k, i, lane);
        if (st == KL_OK)
            st = meet(m, k);
    }
    return st;
}
