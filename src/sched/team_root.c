/* The root of a team: the sums of all shards meet on its context, which updates; the parameters go
 * out to the others by way of the host, the optimizer's states come to the host while the next step
 * runs. */
#include "sched/team_inside.h"

#include "base/mem.h"

#include <limits.h>
#include <string.h>

typedef struct tree {
    int base, first, shards; /* as in kl__member_part; first: of this process, from base on */
} tree;

static tree tree_of(const kl__team *t)
{
    if (t->opts.all_reduce)
        return (tree){t->first, 0, t->end - t->first};
    return (tree){0, t->first, t->first ? INT_MAX : t->opts.step.shards};
}

static void swap(char **a, char **b)
{
    char *c = *a;
    *a = *b;
    *b = c;
}

/* ---- the others' sums ---- */

/** Waits for a bucket of a member's node, which it may not have begun to send. */
static kl_status wait_for(kl__member *m, kl__member *f, kl__node_id id, int bucket, kl__sent **out)
{
    kl__team *t = m->team;
    *out = NULL;
    kl__lock(&t->lock);
    for (;;) {
        for (int j = 0; !*out && j < f->n_sent; j++)
            if (f->sent[j].id.level == id.level && f->sent[j].id.index == id.index)
                *out = &f->sent[j];
        if (t->stop || (*out && (*out)->ready > bucket))
            break;
        kl__cond_wait(&t->cond, &t->lock);
    }
    const bool stop = t->stop;
    kl__unlock(&t->lock);
    return stop ? kl__fail(KL_E_CANCELLED, "another device failed") : KL_OK;
}

/** A bucket of a node from host memory into the tree. */
static kl_status take(kl__member *m, const kl__sent *n, int b, bool first_of_bucket, const tree *w)
{
    kl__stepper *s = m->stepper;
    kl__lane *up = kl__ctx_lane(m->ctx, KL__UPLOAD), *compute = kl__ctx_lane(m->ctx, KL__COMPUTE);
    const kl__span span = kl__tree_span(s, s->sums, b);
    kl__event free_at = {NULL}, done = {NULL};
    kl__node_id node = n->id;
    kl_status st = KL_OK;
    if (!first_of_bucket || !m->own[b].h)
        st = kl__lane_mark(compute, &free_at);
    if (st == KL_OK)
        st = kl__lane_wait(up, free_at.h ? free_at : m->own[b]);
    kl__event_release(&free_at);
    if (st == KL_OK) {
        kl__lane_flow(up, n->flow + (uint64_t)b, false);
        st = kl__lane_write(up, span, n->bytes + span.offset, s->bucket[b].n * s->real_size, &done);
    }
    if (st == KL_OK)
        st = kl__lane_wait(compute, done);
    kl__event_release(&done);
    if (st == KL_OK)
        st = kl__tree_join(s, b, &node, w->first, w->shards, compute);
    if (st == KL_OK && node.index & 1)
        st = kl__member_export(m, node, b, s->sums, false);
    return st;
}

static kl_status take_members(kl__member *m, int b, const tree *w, bool *first)
{
    kl__team *t = m->team;
    kl_status st = KL_OK;
    for (int i = 0; st == KL_OK && i < t->n; i++) {
        kl__member *f = &t->member[i];
        kl__node_id id[KL__MAX_NODES];
        if (f == m || f->lost || f->first == f->end)
            continue;
        const int n = kl__tree_nodes(f->first - w->base, f->end - w->base, id);
        for (int k = 0; st == KL_OK && k < n; k++) {
            /* members list nodes as they are made; the tree wants them in order */
            kl__sent *sent;
            st = wait_for(m, f, id[k], b, &sent);
            if (st == KL_OK)
                st = take(m, sent, b, *first, w);
            *first = false;
        }
    }
    return st;
}

/* ---- other processes ---- */

/** The nodes of all other processes in their order; made once. */
static kl_status list_nodes(kl__team *t)
{
    const kl_exchange *x = t->opts.exchange;
    kl__node_id id[KL__MAX_NODES];
    const int shards = t->opts.step.shards;
    if (t->received)
        return KL_OK;
    if (!(t->received = kl__calloc((size_t)x->size * KL__MAX_NODES, sizeof *t->received)))
        return KL_E_MEMORY;
    for (int r = 1; r < x->size; r++) {
        const int n = kl__tree_nodes(shards * r / x->size, shards * (r + 1) / x->size, id);
        for (int k = 0; k < n; k++, t->n_nodes++) {
            kl__sent *s = &t->received[t->n_nodes];
            s->id = id[k];
            s->ready = r; /* here: whom it comes from */
            if (!(s->bytes = kl__alloc(t->sums_bytes)))
                return KL_E_MEMORY;
        }
    }
    return KL_OK;
}

/** An exchange that fails leaves the others waiting for ever. */
static kl_status exchanged(kl__team *t, kl_status st)
{
    if (st != KL_OK)
        t->exchange_failed = true;
    return st;
}

static kl_status take_processes(kl__member *m, int b, const tree *w, bool *first)
{
    kl__team *t = m->team;
    const kl_exchange *x = t->opts.exchange;
    const kl__bucket *at = &m->stepper->bucket[b];
    const size_t r = m->stepper->real_size;
    kl_status st = list_nodes(t);
    for (int i = 0; st == KL_OK && i < t->n_nodes; i++) {
        kl__sent *n = &t->received[i];
        if (i >= t->n_received[b]) { /* else it came for an attempt that failed here */
            st = exchanged(t, x->receive(x->user, n->bytes + at->first * r, at->n * r, n->ready));
            t->n_received[b] = i + (st == KL_OK);
        }
        if (st == KL_OK)
            st = take(m, n, b, *first, w);
        *first = false;
    }
    return st;
}

static kl_status send_nodes(kl__member *m)
{
    kl__team *t = m->team;
    kl__stepper *s = m->stepper;
    const kl_exchange *x = t->opts.exchange;
    kl__node_id id[KL__MAX_NODES];
    const int n = kl__tree_nodes(t->first, t->end, id);
    kl_status st = KL_OK;
    for (int b = 0; st == KL_OK && b < s->n_buckets; b++)
        for (int i = 0; st == KL_OK && i < n; i++) {
            const kl__sent *sent = NULL;
            for (int k = 0; k < m->n_sent; k++)
                if (m->sent[k].id.level == id[i].level && m->sent[k].id.index == id[i].index)
                    sent = &m->sent[k];
            st = sent ? kl__event_wait(m->ctx, sent->read[b])
                      : kl__fail(KL_E_ARG, "node %d of level %d was not made", id[i].index,
                                 id[i].level);
            if (st == KL_OK && i >= t->n_sent[b]) {
                const kl__bucket *at = &s->bucket[b];
                st = exchanged(t, x->send(x->user, sent->bytes + at->first * s->real_size,
                                          at->n * s->real_size, 0));
                t->n_sent[b] = i + (st == KL_OK);
            }
        }
    return st;
}

static kl_status reduce(kl__member *m)
{
    kl__team *t = m->team;
    kl__stepper *s = m->stepper;
    const kl_exchange *x = t->opts.exchange;
    const kl__node_id whole = {0, 0};
    kl_status st = KL_OK;
    for (int b = 0; st == KL_OK && b < s->n_buckets; b++)
        st = kl__member_export(m, whole, b, s->sums, true);
    for (int b = 0; st == KL_OK && b < s->n_buckets; b++) {
        const kl__bucket *at = &s->bucket[b];
        char *bytes = m->sent[0].bytes + at->first * s->real_size;
        char *sum = t->reduced + at->first * s->real_size;
        st = kl__event_wait(m->ctx, m->sent[0].read[b]);
        if (st == KL_OK && !t->n_sent[b]) {
            memcpy(sum, bytes, at->n * s->real_size);
            st = exchanged(t, x->all_reduce(x->user, sum, at->n, t->model->real));
            t->n_sent[b] = st == KL_OK;
        }
        if (st == KL_OK && x->rank == 0)
            st = kl__lane_write(kl__ctx_lane(m->ctx, KL__COMPUTE), kl__tree_span(s, s->sums, b),
                                sum, at->n * s->real_size, NULL);
    }
    return st;
}

/** All shards' sums are in the root's, where this process has the root of all. */
static kl_status merge(kl__member *m)
{
    kl__team *t = m->team;
    kl__stepper *s = m->stepper;
    const kl_exchange *x = t->opts.exchange;
    const tree w = tree_of(t);
    kl__node_id id[KL__MAX_NODES];
    const int held = x && x->rank && !t->opts.all_reduce ? kl__tree_nodes(t->first, t->end, id) : 0;
    kl_status st = KL_OK;
    for (int b = 0; st == KL_OK && b < s->n_buckets; b++) {
        bool first = true;
        st = take_members(m, b, &w, &first);
        if (st == KL_OK && x && !x->rank && !t->opts.all_reduce)
            st = take_processes(m, b, &w, &first);
        for (int i = 0; st == KL_OK && i < held; i++)
            if (!(id[i].index & 1))
                st = kl__member_export(m, id[i], b, s->level[id[i].level], true);
    }
    if (st == KL_OK && x && t->opts.all_reduce)
        st = reduce(m);
    else if (st == KL_OK && x && x->rank)
        st = send_nodes(m);
    return st;
}

/* ---- the update ---- */
kl_status kl__root_commit(kl__member *m)
{
    kl__team *t = m->team;
    kl_status st = KL_OK;
    if (!m->states_read.h)
        return KL_OK;
    st = kl__event_wait(m->ctx, m->states_read);
    kl__event_release(&m->states_read);
    if (st == KL_OK) {
        swap(&m->states, &t->states[m->state_version & 1]);
        t->committed = m->state_version;
    }
    return st;
}

static kl_status lead(kl__member *m)
{
    kl__team *t = m->team;
    kl__stepper *s = m->stepper;
    kl_status st = kl__stepper_lead(s);
    if (st == KL_OK && t->state_bytes && !m->states &&
        !(m->states = kl__calloc(1, t->state_bytes)))
        st = KL_E_MEMORY;
    if (st == KL_OK && m->state_version != t->version) {
        if (t->state_bytes)
            st = kl__lane_write(kl__ctx_lane(m->ctx, KL__COMPUTE), (kl__span){s->states, 0},
                                t->states[t->version & 1], t->state_bytes, NULL);
        m->state_version = t->version;
    }
    return st;
}

static kl_status update(kl__member *m, const kl__team_entry *e)
{
    kl__team *t = m->team;
    kl__stepper *s = m->stepper;
    kl__lane *lane = kl__ctx_lane(m->ctx, KL__COMPUTE);
    const int shards = t->opts.step.shards;
    kl__event params = {NULL}, totals = {NULL};
    /* the states of the step before are on their way to the host: the update overwrites them */
    kl_status st = kl__root_commit(m);
    if (st == KL_OK)
        st = kl__step_block_write(s, m->block[KL__MAX_SHARDS], 0,
                                  e->batch < shards ? (int)e->batch : shards, &e->sc);
    if (st == KL_OK)
        st = kl__plan_run(s->update, lane);
    if (st == KL_OK)
        m->version = m->state_version = -1; /* until it is known to have worked */
    if (st == KL_OK)
        st = kl__lane_read(lane, (kl__span){s->sums, s->totals_at * s->real_size},
                           m->params + t->param_bytes, t->totals_bytes, &totals);
    if (st == KL_OK)
        st = kl__lane_read(lane, (kl__span){s->replica->params, 0}, m->params, t->param_bytes,
                           &params);
    kl_status one = kl__event_wait(m->ctx, totals), two = kl__event_wait(m->ctx, params);
    kl__event_release(&totals);
    kl__event_release(&params);
    return st ? st : one ? one : two;
}

static kl_status fetch_states(kl__member *m)
{
    kl__team *t = m->team;
    kl__lane *down = kl__ctx_lane(m->ctx, KL__DOWNLOAD);
    kl__event ready = {NULL};
    m->state_version = t->version;
    if (!t->state_bytes) {
        t->committed = t->version;
        return KL_OK;
    }
    kl_status st = kl__lane_mark(kl__ctx_lane(m->ctx, KL__COMPUTE), &ready);
    if (st == KL_OK)
        st = kl__lane_wait(down, ready);
    kl__event_release(&ready);
    if (st == KL_OK)
        st = kl__lane_read(down, (kl__span){m->stepper->states, 0}, m->states, t->state_bytes,
                           &m->states_read);
    /* the other processes have gone on: no step could be computed again with them */
    return st == KL_OK && t->opts.exchange ? kl__root_commit(m) : st;
}

static void publish(kl__member *m, const kl__team_entry *e, bool here)
{
    kl__team *t = m->team;
    kl__lock(&t->lock);
    swap(&m->params, &t->params[(t->version + 1) & 1]);
    t->version++;
    t->next_step = e->sc.step + 1;
    t->published = true;
    if (here)
        m->version = t->version;
    else
        t->committed = t->version; /* the states are another process's */
    kl__unlock(&t->lock);
}

static void take_result(const kl__member *m, kl__team_entry *e)
{
    const kl__team *t = m->team;
    kl__entry raw = {.step = e->sc.step, .samples = e->batch, .has_correct = true};
    memcpy(raw.totals, m->params + t->param_bytes, t->totals_bytes);
    kl__result_of(m->stepper, &raw, &e->result);
}

kl_status kl__root_step(kl__member *m, kl__team_entry *e)
{
    kl__team *t = m->team;
    const kl_exchange *x = t->opts.exchange;
    const bool here = !x || !x->rank;
    const tree w = tree_of(t);
    kl_status st = here ? lead(m) : KL_OK;
    if (st == KL_OK)
        st = kl__member_sync(m);
    const double begin = kl__now();
    if (st == KL_OK)
        st = kl__member_part(m, e, true, w.base, w.shards);
    if (st == KL_OK)
        st = kl__member_prefetch(m, e);
    if (st == KL_OK)
        st = merge(m);
    if (st == KL_OK && here)
        st = update(m, e);
    if (st == KL_OK && x)
        st = exchanged(t, x->broadcast(x->user, m->params, t->param_bytes + t->totals_bytes, 0));
    if (st != KL_OK) {
        kl_status over = kl_ctx_finish(m->ctx); /* what it reads and writes is used again */
        return st == KL_E_CANCELLED ? over : st;
    }
    kl__member_measured(m, begin, e->batch);
    take_result(m, e);
    publish(m, e, here);
    return here ? fetch_states(m) : KL_OK;
}
