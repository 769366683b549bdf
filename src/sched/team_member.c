/* A member of a team: the thread that drives one context. */
#include "sched/team_inside.h"

#include "base/mem.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* ---- life ---- */
kl_status kl__member_create(kl__member *m)
{
    kl__team *t = m->team;
    kl__stepper_opts o = t->opts.step;
    o.follower = o.buckets = true;
    m->version = m->state_version = -1;
    if (!(m->stepper = kl__stepper_create(t->model, m->ctx, &o)))
        return kl__last_status();
    m->block = kl__calloc(KL__MAX_SHARDS + 1, sizeof *m->block);
    m->totals = kl__calloc(KL__MAX_SHARDS, sizeof *m->totals);
    m->params = kl__calloc(1, t->param_bytes + t->totals_bytes + 1);
    return m->block && m->totals && m->params ? KL_OK : KL_E_MEMORY;
}

void kl__member_finish(kl__member *m)
{
    kl__event_release(&m->states_read);
    for (int b = 0; b < KL__MAX_BUCKETS; b++)
        kl__event_release(&m->own[b]);
    for (int i = 0; i < KL__MAX_NODES; i++)
        for (int b = 0; b < KL__MAX_BUCKETS; b++)
            kl__event_release(&m->sent[i].read[b]);
    kl__stepper_destroy(m->stepper);
    if (m->team->hung)
        return; /* the driver may still read and write there */
    for (int i = 0; i < KL__MAX_NODES; i++)
        kl__free(m->sent[i].bytes);
    kl__free(m->block);
    kl__free(m->totals);
    kl__free(m->params);
    kl__free(m->states);
}

bool kl__team_stopped(kl__team *t)
{
    kl__lock(&t->lock);
    const bool stop = t->stop;
    kl__unlock(&t->lock);
    return stop;
}

/* ---- what a device needs before a pass ---- */
kl_status kl__member_upload(kl__member *m, const kl__team_entry *e, int first, int end)
{
    kl__stepper *s = m->stepper;
    const int shards = m->team->opts.step.shards;
    const int64_t from = kl__shard_at(e->batch, first, shards),
                  to = kl__shard_at(e->batch, end, shards);
    kl__lane *up = kl__ctx_lane(m->ctx, KL__UPLOAD), *compute = kl__ctx_lane(m->ctx, KL__COMPUTE);
    kl_status st = KL_OK;
    const uint64_t stage = e->number % KL__STAGES;
    if (m->staged[stage].entry == e->number + 1 && m->staged[stage].first == first &&
        m->staged[stage].end == end)
        return KL_OK;
    m->staged[stage].entry = 0;
    for (int i = 0; st == KL_OK && i < s->n_inputs; i++) {
        kl__input *in = &s->inputs[i];
        const size_t at = in->batched ? (size_t)from * in->sample_bytes : 0,
                     bytes = in->sample_bytes * (in->batched ? (size_t)(to - from) : 1);
        kl__event done = {NULL};
        if (!e->host[i] || !bytes)
            continue;
        if (bytes > in->device_cap) { /* both copies are made anew */
            m->staged[0].entry = m->staged[1].entry = 0;
            st = kl__input_grow_device(s, in, bytes);
        }
        if (st == KL_OK)
            st = kl__lane_write(up, (kl__span){in->device[stage], 0}, (char *)e->host[i] + at,
                                bytes, &done);
        if (st == KL_OK)
            st = kl__lane_wait(compute, done);
        kl__event_release(&done);
    }
    if (st == KL_OK) {
        m->staged[stage].entry = e->number + 1;
        m->staged[stage].first = first;
        m->staged[stage].end = end;
    }
    return st;
}

kl_status kl__member_prefetch(kl__member *m, const kl__team_entry *e)
{
    kl__team *t = m->team;
    const kl__team_entry *next = &t->ring[(e->number + 1) % KL__RING];
    kl__lock(&t->lock);
    const bool there = t->head > e->number + 1 && t->run == e->number;
    kl__unlock(&t->lock);
    if (!there || m->first == m->end)
        return KL_OK;
    for (int i = 0; i < m->stepper->n_inputs; i++) { /* growing would wait for what runs */
        const kl__input *in = &m->stepper->inputs[i];
        const int shards = t->opts.step.shards;
        const int64_t n = kl__shard_at(next->batch, m->end, shards) -
                          kl__shard_at(next->batch, m->first, shards);
        if (in->sample_bytes * (in->batched ? (size_t)n : 1) > in->device_cap)
            return KL_OK;
    }
    return kl__member_upload(m, next, m->first, m->end);
}

static kl_status prove_equal(kl__member *m)
{
    kl__team *t = m->team;
    kl_status st = kl__lane_read(kl__ctx_lane(m->ctx, KL__DOWNLOAD),
                                 (kl__span){m->stepper->replica->params, 0}, m->params,
                                 t->param_bytes, NULL);
    if (st == KL_OK && memcmp(m->params, t->params[t->version & 1], t->param_bytes) != 0)
        st =
            kl__fail(KL_E_DEVICE,
                     "after update %lld its parameters are not those that it was given: its memory "
                     "or the way there cannot be trusted",
                     (long long)t->version);
    return st;
}

kl_status kl__member_sync(kl__member *m)
{
    kl__team *t = m->team;
    if (m->version == t->version || !t->param_bytes)
        return KL_OK;
    kl_status st = kl__lane_write(kl__ctx_lane(m->ctx, KL__COMPUTE),
                                  (kl__span){m->stepper->replica->params, 0},
                                  t->params[t->version & 1], t->param_bytes, NULL);
    if (st == KL_OK && t->version % t->opts.check_every == 0)
        st = prove_equal(m);
    if (st == KL_OK)
        m->version = t->version;
    return st;
}

/* ---- what leaves ---- */
static kl__sent *sent_of(kl__member *m, kl__node_id id)
{
    for (int i = 0; i < m->n_sent; i++)
        if (m->sent[i].id.level == id.level && m->sent[i].id.index == id.index)
            return &m->sent[i];
    if (m->n_sent == KL__MAX_NODES) {
        kl__fail(KL_E_ARG, "more than %d nodes of sums", KL__MAX_NODES);
        return NULL;
    }
    kl__sent *n = &m->sent[m->n_sent];
    if (!n->bytes && !(n->bytes = kl__alloc(m->team->sums_bytes)))
        return NULL;
    n->flow = kl__flow_ids(KL__MAX_BUCKETS);
    kl__lock(&m->team->lock); /* the root looks for it */
    n->id = id;
    n->ready = 0;
    m->n_sent++;
    kl__unlock(&m->team->lock);
    return n;
}

kl_status kl__member_export(kl__member *m, kl__node_id id, int bucket, kl__mem *from, bool last)
{
    kl__stepper *s = m->stepper;
    kl__lane *compute = kl__ctx_lane(m->ctx, KL__COMPUTE);
    kl__lane *lane = last ? kl__ctx_lane(m->ctx, KL__DOWNLOAD) : compute;
    kl__sent *n = sent_of(m, id);
    kl_status st = n ? KL_OK : kl__last_status();
    kl__event ready = {NULL};
    const kl__span span = kl__tree_span(s, from, bucket);
    /* the last pass's sums stay until the task is over: they leave beside what still runs */
    if (st == KL_OK && last)
        st = kl__lane_mark(compute, &ready);
    if (st == KL_OK && last)
        st = kl__lane_wait(lane, ready);
    kl__event_release(&ready);
    if (st != KL_OK)
        return st;
    kl__event_release(&n->read[bucket]);
    kl__lane_flow(lane, n->flow + (uint64_t)bucket, true);
    return kl__lane_read(lane, span, n->bytes + span.offset, s->bucket[bucket].n * s->real_size,
                         &n->read[bucket]);
}

/** Waits for the reads, bucket by bucket, and tells. */
static kl_status deliver(kl__member *m)
{
    kl__team *t = m->team;
    kl_status st = KL_OK;
    for (int b = 0; b < m->stepper->n_buckets; b++)
        for (int i = 0; i < m->n_sent; i++) {
            kl_status one = kl__event_wait(m->ctx, m->sent[i].read[b]);
            st = st ? st : one;
            kl__lock(&t->lock);
            if (st == KL_OK)
                m->sent[i].ready = b + 1;
            kl__cond_broadcast(&t->cond);
            kl__unlock(&t->lock);
        }
    return st;
}

/* ---- passes ---- */
typedef struct part {
    kl__member *m;
    kl__team_entry *e;
    bool keep;
    int base, shards; /* the tree's first shard, and its size (INT_MAX: folded elsewhere) */
} part;

static kl_status join(const part *p, int shard, int b, bool last)
{
    kl__member *m = p->m;
    kl__stepper *s = m->stepper;
    const int first = m->first - p->base;
    kl__node_id node = {0, shard - p->base}, list[KL__MAX_NODES];
    kl_status st = kl__tree_join(s, b, &node, first, p->shards,
                                 kl__ctx_lane(m->ctx, KL__COMPUTE));
    if (st == KL_OK && node.index & 1)
        st = kl__member_export(m, node, b, s->sums, last);
    if (st == KL_OK && last && p->keep) {
        kl__event_release(&m->own[b]);
        st = kl__lane_mark(kl__ctx_lane(m->ctx, KL__COMPUTE), &m->own[b]);
    }
    if (!last || p->keep)
        return st;
    const int n = kl__tree_nodes(first, m->end - p->base, list);
    for (int i = 0; st == KL_OK && i < n; i++)
        if (!(list[i].index & 1))
            st = kl__member_export(m, list[i], b, s->level[list[i].level], true);
    return st;
}

/* Called by the driver when the first and when the last of its shards is done. */
static void note(kl__member *m, double *when, kl_status st)
{
    kl__team *t = m->team;
    const double now = kl__now();
    kl__lock(&t->lock);
    if (st == KL_OK)
        *when = now;
    m->owed--;
    kl__cond_broadcast(&t->cond);
    kl__unlock(&t->lock);
}

static void on_first(void *member, kl_status st)
{
    kl__member *m = member;
    note(m, &m->first_done, st);
}

static void on_last(void *member, kl_status st)
{
    kl__member *m = member;
    note(m, &m->last_done, st);
}

static kl_status note_end(kl__member *m, void (*fn)(void *member, kl_status st))
{
    kl__event e = {NULL};
    kl_status st = kl__lane_mark(kl__ctx_lane(m->ctx, KL__COMPUTE), &e);
    if (st != KL_OK)
        return st;
    kl__lock(&m->team->lock);
    m->owed++;
    kl__unlock(&m->team->lock);
    st = kl__event_notify(m->ctx, e, fn, m);
    kl__event_release(&e);
    if (st != KL_OK) {
        kl__lock(&m->team->lock);
        m->owed--;
        kl__unlock(&m->team->lock);
    }
    return st;
}

static kl_status run_shard(const part *p, int shard)
{
    kl__member *m = p->m;
    kl__stepper *s = m->stepper;
    const int shards = m->team->opts.step.shards;
    const int64_t batch = p->e->batch, first = kl__shard_at(batch, shard, shards),
                  count = kl__shard_at(batch, shard + 1, shards) - first,
                  from = kl__shard_at(batch, m->first, shards);
    kl__lane *lane = kl__ctx_lane(m->ctx, KL__COMPUTE);
    const bool last = shard == m->end - 1;
    kl__pass *pass = NULL;
    kl_status st = KL_OK;
    if (count) {
        pass = kl__pass_get(s, count, true);
        st = pass ? kl__step_block_write(s, m->block[shard], first,
                                         batch < shards ? (int)batch : shards, &p->e->sc)
                  : kl__last_status();
        if (st == KL_OK)
            st = kl__inputs_bind(s, pass, NULL, 0, first - from, p->e->number);
        if (st == KL_OK && !last)
            st = kl__plan_run(pass->plan, lane);
    } else {
        st = kl__shard_zero(s, lane);
    }
    for (int b = 0; st == KL_OK && b < s->n_buckets; b++) {
        const size_t done = b ? pass ? pass->cut[b - 1] : 0 : 0;
        if (pass && last)
            st = s->n_buckets == 1 ? kl__plan_run(pass->plan, lane)
                                   : kl__plan_run_part(pass->plan, lane, done, pass->cut[b]);
        if (st == KL_OK)
            st = join(p, shard, b, last);
    }
    if (st == KL_OK && shard == m->first && !last)
        st = note_end(m, on_first);
    return st == KL_OK && last ? note_end(m, on_last) : st;
}

kl_status kl__member_part(kl__member *m, kl__team_entry *e, bool keep, int base, int shards)
{
    const part p = {m, e, keep, base, shards};
    /* what a follower has whole is kept in a level before it leaves */
    kl_status st = kl__tree_grow(m->stepper, keep ? m->team->opts.step.shards : m->end - base + 1);
    if (st == KL_OK && m->first < m->end)
        st = kl__member_upload(m, e, m->first, m->end);
    kl__lock(&m->team->lock);
    m->first_done = m->last_done = 0;
    kl__unlock(&m->team->lock);
    for (int i = m->first; st == KL_OK && i < m->end && !kl__team_stopped(m->team); i++)
        st = run_shard(&p, i);
    return st;
}

static kl_status follower_step(kl__member *m, kl__team_entry *e)
{
    kl__team *t = m->team;
    const int base = t->opts.all_reduce ? t->first : 0;
    if (m->first == m->end)
        return KL_OK;
    kl_status st = kl__member_sync(m);
    const double begin = kl__now();
    if (st == KL_OK)
        st = kl__member_part(m, e, false, base, INT_MAX);
    if (kl__team_stopped(t)) {
        kl_status over = kl_ctx_finish(m->ctx); /* what it reads and writes is used again */
        return st ? st : over;
    }
    if (st == KL_OK)
        st = kl__member_prefetch(m, e);
    if (st == KL_OK)
        st = deliver(m);
    if (st == KL_OK)
        kl__member_measured(m, begin, e->batch);
    return st;
}

/* ---- evaluation ---- */
static kl_status eval_shard(kl__member *m, kl__team_entry *e, int shard, kl__event *done)
{
    kl__stepper *s = m->stepper;
    const int shards = m->team->opts.step.shards;
    const int64_t first = kl__shard_at(e->batch, shard, shards),
                  count = kl__shard_at(e->batch, shard + 1, shards) - first,
                  from = kl__shard_at(e->batch, m->first, shards);
    kl__lane *lane = kl__ctx_lane(m->ctx, KL__COMPUTE);
    memset(m->totals[shard], 0, sizeof m->totals[shard]);
    if (!count)
        return KL_OK;
    kl__pass *p = kl__pass_get(s, count, false);
    kl_status st = p ? kl__inputs_bind(s, p, NULL, 0, first - from, e->number) : kl__last_status();
    if (st != KL_OK)
        return st;
    kl__plan_params(p->plan, (uint64_t)m->version + 1);
    st = kl__plan_run(p->plan, lane);
    kl__event_release(done);
    if (st == KL_OK)
        st = kl__lane_read(lane, (kl__span){s->sums, s->totals_at * s->real_size},
                           m->totals[shard], KL__TOTALS * s->real_size, done);
    return st;
}

static double total(const kl__stepper *s, const double *totals, int i)
{
    return s->real_size == 8 ? totals[i] : (double)((const float *)(const void *)totals)[i];
}

static kl_status eval(kl__member *m, kl__team_entry *e)
{
    kl__event done = {NULL};
    if (m->first == m->end)
        return KL_OK;
    kl_status st = kl__member_sync(m);
    if (st == KL_OK)
        st = kl__member_upload(m, e, m->first, m->end);
    for (int i = m->first; st == KL_OK && i < m->end; i++)
        st = eval_shard(m, e, i, &done);
    if (st == KL_OK)
        st = kl__event_wait(m->ctx, done);
    kl__event_release(&done);
    for (int i = m->first; st == KL_OK && i < m->end; i++) {
        const int at[4] = {KL__T_LOSS, KL__T_WEIGHT, KL__T_CORRECT, KL__T_CORRECT + 1};
        for (int k = 0; k < 4; k++)
            e->shard[i][k] = total(m->stepper, m->totals[i], at[k]);
    }
    return st;
}

/* ---- the thread ---- */
static kl_status perform(kl__member *m, kl__task task)
{
    kl__team *t = m->team;
    if (task == KL__TASK_COMMIT)
        return kl__root_commit(m);
    if (task == KL__TASK_EVAL)
        return eval(m, t->entry);
    return m->index == t->root ? kl__root_step(m, t->entry) : follower_step(m, t->entry);
}

void *kl__member_main(void *arg)
{
    kl__member *m = arg;
    kl__team *t = m->team;
    kl__lock(&t->lock);
    for (;;) {
        while (m->task == KL__TASK_NONE)
            kl__cond_wait(&t->cond, &t->lock);
        const kl__task task = m->task;
        if (task == KL__TASK_QUIT)
            break;
        kl__unlock(&t->lock);
        const kl_status st = perform(m, task);
        kl__lock(&t->lock);
        m->status = st;
        if (st != KL_OK) {
            snprintf(m->why, sizeof m->why, "%s", kl_last_error());
            t->stop = true;
        }
        m->task = KL__TASK_NONE;
        kl__cond_broadcast(&t->cond);
    }
    kl__unlock(&t->lock);
    return NULL;
}
