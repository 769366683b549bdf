/* Measured speeds, and the split that follows from them. */
#include "sched/team_inside.h"

#include <math.h>
#include <string.h>

enum { TRY_AGAIN = 16 }; /* steps */
enum { COLD = 1 /* steps whose kernels are compiled on first use, left out */ };

static int count_passes(const kl__member *m)
{
    int n = 0;
    for (const kl__pass *p = m->stepper->passes; p; p = p->next)
        n++;
    return n;
}

/** Seconds per sample of a step, without what it costs whatever the number of shards is (waiting
 * for the first launch, a short pipeline): with it, whoever has few shards would look slow and get
 * fewer still. From the end of the first shard to that of the last; of a single one, less what
 * steps of several showed. */
static double pace(kl__member *m, double begin, double first, double last, int64_t batch)
{
    const int shards = m->team->opts.step.shards;
    const int64_t from = kl__shard_at(batch, m->first, shards),
                  one = kl__shard_at(batch, m->first + 1, shards) - from,
                  all = kl__shard_at(batch, m->end, shards) - from;
    if (m->stepper->meet) /* its shards end together */
        return fmax(last - begin - m->waited, 0) / (double)all;
    if (first <= begin || all <= one) {
        const double whole = last - begin;
        return fmax(whole - m->fixed, 0.2 * whole) / (double)all;
    }
    const double per = (last - first) / (double)(all - one);
    const double fixed = fmax(0, first - begin - per * (double)one);
    m->fixed = m->fixed > 0 ? 0.7 * m->fixed + 0.3 * fixed : fixed;
    return per;
}

void kl__member_measured(kl__member *m, double begin, int64_t batch)
{
    const int passes = count_passes(m), shards = m->team->opts.step.shards;
    if (kl__shard_at(batch, m->end, shards) <= kl__shard_at(batch, m->first, shards))
        return;
    kl__lock(&m->team->lock);
    const double first = m->first_done, last = m->last_done;
    if (last <= begin) { /* the driver has not said yet */
        kl__unlock(&m->team->lock);
        return;
    }
    m->busy += fmax(last - begin - m->waited, 0);
    if (passes != m->n_passes) { /* planned, and perhaps compiled, meanwhile */
        m->n_passes = passes;
        m->measured = 0;
    } else if (m->measured++ >= COLD) {
        /* half the weight is the last two steps': a device that slows down is noticed soon, a
         * hiccup soon forgotten */
        const double now = pace(m, begin, first, last, batch);
        const bool fresh = m->per_sample <= 0 || m->idle >= TRY_AGAIN;
        m->per_sample = fresh ? now : 0.7 * m->per_sample + 0.3 * now;
        m->idle = 0;
    }
    kl__unlock(&m->team->lock);
}

static void give(kl__team *t, const int *counts)
{
    int at = t->first;
    kl__lock(&t->lock);
    memcpy(t->counts, counts, sizeof t->counts);
    kl__unlock(&t->lock);
    /* the root first: what it adds then begins at the first shard */
    for (int k = 0; k < t->n; k++) {
        kl__member *m = &t->member[(t->root + k) % t->n];
        m->first = at;
        m->end = at += counts[m->index];
    }
}

/** What speed nobody has measured yet: that of the others together. */
static double guess(const kl__team *t)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < t->n; i++)
        if (!t->member[i].lost && t->member[i].per_sample > 0) {
            sum += t->member[i].per_sample;
            n++;
        }
    return n ? sum / n : 1;
}

/** Whoever is so slow that it gets nothing is tried with one shard now and then: its speed may have
 * changed. The longer that step takes, the rarer, so that it costs a sixteenth of the time at most.
 */
static bool try_idle(kl__team *t, const double *seconds, int *counts)
{
    double step = 0;
    int most = 0;
    for (int i = 0; i < t->n; i++) {
        most = counts[i] > counts[most] ? i : most;
        if (counts[i])
            step = fmax(step, counts[i] * seconds[i]);
    }
    for (int i = 0; i < t->n; i++) {
        kl__member *m = &t->member[i];
        if (m->lost || counts[i] || counts[most] < 2)
            continue;
        if (++m->idle < TRY_AGAIN * fmax(1, seconds[i] / step))
            continue;
        m->idle = TRY_AGAIN;
        counts[i] = 1;
        counts[most]--;
        return true;
    }
    return false;
}

void kl__team_divide(kl__team *t)
{
    const int shards = t->end - t->first;
    int counts[KL_MAX_GROUP] = {0};
    double seconds[KL_MAX_GROUP], weights[KL_MAX_GROUP];
    const double unknown = guess(t);
    bool gone = false;
    for (int i = 0; i < t->n; i++) {
        const kl__member *m = &t->member[i];
        seconds[i] = m->lost ? (double)INFINITY : m->per_sample > 0 ? m->per_sample : unknown;
        weights[i] = m->lost ? 0 : t->split[i];
        gone |= m->lost && t->counts[i];
    }
    if (t->opts.split)
        kl__split_by_weight(shards, weights, t->n, counts);
    else
        kl__split_by_speed(shards, seconds, t->n, counts);
    double left = 0;
    for (int i = 0; i < t->n; i++)
        left += weights[i];
    if (t->opts.split && left <= 0) /* those that are left had none: better slow than not at all */
        kl__split_by_speed(shards, seconds, t->n, counts);
    const bool first = !t->counts_known, tried = !t->opts.split && try_idle(t, seconds, counts);
    t->counts_known = true;
    give(t, first || gone || tried || t->opts.split ||
                    kl__split_better(t->counts, counts, seconds, t->n)
                ? counts
                : (const int *)memcpy(counts, t->counts, sizeof counts));
}
