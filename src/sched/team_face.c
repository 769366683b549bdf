/* The caller's side of a team: queueing, results, states, shares. */
#include "sched/team_inside.h"

#include "base/mem.h"
#include "sched/meet.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- queueing ---- */

/** The stepper of a living member: what inputs there are is the same for all. */
static const kl__stepper *any_stepper(const kl__team *t)
{
    for (int i = 0; i < t->n; i++)
        if (t->member[i].stepper)
            return t->member[i].stepper;
    return NULL;
}

static kl_status copy_inputs(kl__team *t, kl__team_entry *e, const kl_bind *binds, size_t n)
{
    const kl__stepper *s = any_stepper(t);
    for (int i = 0; i < s->n_inputs; i++) {
        const kl__input *in = &s->inputs[i];
        const kl_bind *b = kl__bind_find(binds, n, in->name);
        const size_t bytes = in->sample_bytes * (in->batched ? (size_t)e->batch : 1);
        if (!b)
            return kl__fail(KL_E_ARG, "input \"%s\" is not bound", in->name);
        if (!b->host)
            return kl__fail(
                KL_E_UNSUPPORTED,
                "input \"%s\": a tensor lies on one device; training over several takes "
                "host memory",
                in->name);
        if (bytes > e->cap[i]) {
            void *p = kl__realloc(e->host[i], bytes, 1);
            if (!p)
                return KL_E_MEMORY;
            e->host[i] = p;
            e->cap[i] = bytes;
        }
        if (bytes)
            memcpy(e->host[i], b->host, bytes);
    }
    return KL_OK;
}

static kl_status queue(kl__team *t, const kl_bind *binds, size_t n, const kl__step_scalars *sc)
{
    const int64_t batch = kl__binds_batch(t->model, binds, n);
    if (batch < 0)
        return kl__last_status();
    if (batch == 0)
        return kl__fail(KL_E_ARG, "the batch is empty");
    if (sc && t->freezes != t->model->freezes)
        return kl__fail(KL_E_ARG,
                        "parameters were frozen or freed after the trainer was made: make "
                        "a new one");
    kl__lock(&t->lock);
    while (t->head - t->run >= KL__RING - 1)
        kl__cond_wait(&t->cond, &t->lock);
    kl__team_entry *e = &t->ring[t->head % KL__RING];
    kl__unlock(&t->lock);
    e->number = t->head;
    e->eval = !sc;
    e->batch = batch;
    e->sc = sc ? *sc : (kl__step_scalars){0};
    const kl_status st = copy_inputs(t, e, binds, n);
    if (st != KL_OK)
        return st;
    kl__lock(&t->lock);
    t->head++;
    kl__cond_broadcast(&t->cond);
    kl__unlock(&t->lock);
    return KL_OK;
}

kl_status kl__team_step(kl__team *t, const kl_bind *binds, size_t n, const kl__step_scalars *sc)
{
    return queue(t, binds, n, sc);
}

kl_status kl__team_eval(kl__team *t, const kl_bind *binds, size_t n)
{
    return queue(t, binds, n, NULL);
}

/* ---- results ---- */
bool kl__team_result(kl__team *t, bool wait, kl__result *out, bool *eval, kl_status *st)
{
    *st = KL_OK;
    kl__lock(&t->lock);
    while (wait && t->tail < t->head && t->run == t->tail)
        kl__cond_wait(&t->cond, &t->lock);
    const bool there = t->tail < t->run;
    const kl__team_entry *e = &t->ring[t->tail % KL__RING];
    if (there)
        t->tail++;
    kl__unlock(&t->lock);
    if (!there)
        return false;
    *eval = e->eval;
    *out = e->result;
    *st = e->status == KL_OK ? KL_OK : kl__fail(e->status, "%s", e->why);
    return true;
}

int kl__team_pending(kl__team *t)
{
    kl__lock(&t->lock);
    const int n = (int)(t->head - t->tail);
    kl__unlock(&t->lock);
    return n;
}

/* ---- states ---- */

/** Waits until the host has the newest version whole. */
static void quiesce(kl__team *t)
{
    kl__team_settle(t);
    kl__lock(&t->lock);
    t->want_commit = true;
    kl__cond_broadcast(&t->cond);
    while (t->want_commit)
        kl__cond_wait(&t->cond, &t->lock);
    kl__unlock(&t->lock);
    kl__team_settle(t); /* with no device left the version may have gone back */
}

static kl_status state_at(kl__team *t, int k, char **at, size_t *bytes)
{
    if (k < 0 || k >= t->opts.step.n_states)
        return kl__fail(KL_E_ARG, "the optimizer has no state %d", k);
    quiesce(t);
    *bytes = t->model->trainable_elems * kl_dtype_size(t->model->real);
    *at = t->states[t->committed & 1] + (size_t)k * *bytes;
    return KL_OK;
}

kl_status kl__team_get_state(kl__team *t, int k, void *dst)
{
    char *at = NULL;
    size_t bytes = 0;
    const kl_status st = state_at(t, k, &at, &bytes);
    if (st == KL_OK && t->state_bytes)
        memcpy(dst, at, bytes);
    return st;
}

kl_status kl__team_set_state(kl__team *t, int k, const void *src)
{
    char *at = NULL;
    size_t bytes = 0;
    const kl_status st = state_at(t, k, &at, &bytes);
    if (st == KL_OK && t->state_bytes)
        memcpy(at, src, bytes);
    for (int i = 0; st == KL_OK && i < t->n; i++)
        t->member[i].state_version = -1;
    return st;
}

int64_t kl__team_steps(kl__team *t, int64_t queued)
{
    quiesce(t);
    for (int i = 0; i < t->n; i++)
        if (!t->member[i].lost)
            return queued;
    return t->next_step >= 0 && t->next_step < queued ? t->next_step : queued;
}

/* ---- what went wrong ---- */
kl_status kl__team_explain(kl__team *t, int64_t step)
{
    kl__team_settle(t);
    const kl__team_entry *e = NULL;
    kl__member *m = &t->member[t->root];
    for (uint64_t k = t->head > KL__RING ? t->head - KL__RING : 0; k < t->head; k++)
        if (!t->ring[k % KL__RING].eval && t->ring[k % KL__RING].sc.step == step)
            e = &t->ring[k % KL__RING];
    if (!e || m->lost)
        return kl__fail(KL_E_NUMERIC, "step %lld: the loss or the gradient is not finite",
                        (long long)step);
    const int shards = t->opts.step.shards;
    kl_status st = kl__member_sync(m);
    if (st == KL_OK)
        st = kl__member_upload(m, e, 0, shards);
    if (st == KL_OK && m->stepper->meet)
        st = kl__meet_explain(m->stepper, &(kl__meet_job){.batch = e->batch,
                                                          .entry = e->number,
                                                          .end = shards,
                                                          .block = m->block,
                                                          .counts = m->counts,
                                                          .sc = &e->sc}, step);
    for (int i = 0; st == KL_OK && !m->stepper->meet && i < shards; i++) {
        const int64_t first = kl__shard_at(e->batch, i, shards),
                      end = kl__shard_at(e->batch, i + 1, shards);
        st = kl__step_block_write(m->stepper, m->block[i], first, shards, &e->sc);
        if (st == KL_OK)
            st = kl__explain_shard(m->stepper, end - first, first, e->number, m->block[i],
                                   step);
    }
    return st == KL_OK ? kl__explain_failed(step) : st;
}

/* ---- shares ---- */
size_t kl__team_shares(kl__team *t, kl__team_share *out, size_t cap)
{
    const double since = kl__now() - t->began;
    kl__lock(&t->lock);
    for (size_t i = 0; i < (size_t)t->n && i < cap; i++) {
        const kl__member *m = &t->member[i];
        out[i] = (kl__team_share){.shards = m->lost ? 0 : t->counts[i],
                                  .samples_per_second =
                                      m->per_sample > 0 ? 1 / m->per_sample : 0,
                                  .busy = since > 0 ? m->busy / since : 0,
                                  .lost = m->lost};
        if (m->lost)
            snprintf(out[i].why, sizeof out[i].why, "%.150s", m->why);
    }
    kl__unlock(&t->lock);
    return (size_t)t->n;
}
