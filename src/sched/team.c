/* The team: entries in, results out, and what is done when a device is lost. */
#include "sched/team_inside.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* ---- running a task on all ---- */
static kl__member *first_alive(kl__team *t)
{
    for (int i = 0; i < t->n; i++)
        if (!t->member[i].lost)
            return &t->member[i];
    return NULL;
}

static int count_alive(const kl__team *t)
{
    int n = 0;
    for (int i = 0; i < t->n; i++)
        n += !t->member[i].lost;
    return n;
}

static void lose(kl__team *t, kl__member *m)
{
    kl__ctx_lose(m->ctx, false, m->why);
    kl__lock(&t->lock);
    m->lost = true;
    const int left = count_alive(t);
    kl__unlock(&t->lock);
    if (left)
        kl__log(KL_LOG_WARN, "step %lld: %d of %d devices go on, and nothing is lost",
                (long long)(t->entry ? t->entry->sc.step : 0), left, t->n);
}

/** Whether a failure is the device's own: then the others can do without it. */
static bool devices_own(kl_status st)
{
    return st == KL_E_DEVICE || st == KL_E_MEMORY || st == KL_E_BUILD;
}

/** Gives the task to the living members (COMMIT: to the root) and waits for all. What failed is
 * lost where it is the device's own failure; KL_E_DEVICE: some device was lost. */
static kl_status run_task(kl__team *t, kl__task task)
{
    kl_status st = KL_OK;
    bool lost = false;
    kl__lock(&t->lock);
    t->stop = t->published = false;
    t->given = t->exchanged;
    memset(t->met, 0, sizeof t->met);
    for (int i = 0; i < t->n; i++) {
        kl__member *m = &t->member[i];
        m->n_sent = 0;
        m->status = KL_OK;
        if (!m->lost && (task != KL__TASK_COMMIT || i == t->root))
            m->task = task;
    }
    kl__cond_broadcast(&t->cond);
    for (int i = 0; i < t->n; i++)
        while (t->member[i].task != KL__TASK_NONE)
            kl__cond_wait(&t->cond, &t->lock);
    kl__unlock(&t->lock);
    for (int i = 0; i < t->n; i++) {
        kl__member *m = &t->member[i];
        if (m->status == KL_OK || m->lost)
            continue;
        if (devices_own(m->status) && !t->exchange_failed) {
            lose(t, m);
            lost = true;
        } else {
            st = kl__fail(m->status, "%s", m->why);
        }
    }
    return st == KL_OK && lost ? KL_E_DEVICE : st;
}

/** What the host has whole is the newest: no device that is left has a later state. */
static void go_back(kl__team *t)
{
    t->next_step -= t->version - t->committed;
    t->version = t->committed;
}

static kl_status nobody_left(kl__team *t)
{
    const char *why = "";
    go_back(t);
    for (int i = 0; i < t->n; i++)
        why = t->member[i].why[0] ? t->member[i].why : why;
    return kl__fail(KL_E_DEVICE, "no device is left to train on%s%s",
                    t->n > 1 ? "; the last one: " : ": ", why);
}

/** The root of what comes; false: nobody is left. */
static bool choose_root(kl__team *t)
{
    const kl__member *m = first_alive(t);
    if (m)
        t->root = m->index;
    return m != NULL;
}

/** The states of the last step went with its root: the step is computed again from those before it.
 */
static bool must_go_back(const kl__team *t)
{
    return t->committed != t->version && t->member[t->root].state_version != t->version;
}

static kl_status run_step(kl__team *t, uint64_t k)
{
    kl__team_entry *e = &t->ring[k % KL__RING];
    for (;;) {
        if (!choose_root(t))
            return nobody_left(t);
        if (must_go_back(t)) {
            go_back(t);
            const kl_status st = run_step(t, k - 1);
            if (st != KL_OK)
                return st;
            continue;
        }
        t->entry = e;
        kl__team_divide(t);
        const kl_status st = run_task(t, KL__TASK_STEP);
        if (t->published)
            return KL_OK; /* whoever was lost is lost for the next one */
        if (st != KL_E_DEVICE)
            return st;
        if (t->exchange_failed)
            return st;
    }
}

/** The optimizer's states of the newest version come to the host. */
static kl_status commit(kl__team *t)
{
    while (t->committed != t->version) {
        if (!choose_root(t))
            return nobody_left(t);
        kl_status st = KL_E_DEVICE;
        if (!must_go_back(t))
            st = run_task(t, KL__TASK_COMMIT);
        if (st == KL_E_DEVICE && t->committed != t->version && first_alive(t)) {
            go_back(t);
            st = run_step(t, t->run - 1);
        }
        if (st != KL_OK && st != KL_E_DEVICE)
            return st;
    }
    return KL_OK;
}

static kl_status run_eval(kl__team *t, uint64_t k)
{
    kl__team_entry *e = &t->ring[k % KL__RING];
    const kl_exchange *x = t->opts.exchange;
    kl_status st = commit(t);
    for (bool again = true; st == KL_OK && again;) {
        if (!choose_root(t))
            return nobody_left(t);
        t->entry = e;
        memset(e->shard, 0, sizeof e->shard);
        kl__team_divide(t);
        st = run_task(t, KL__TASK_EVAL);
        again = st == KL_E_DEVICE;
        st = again ? KL_OK : st;
    }
    if (st == KL_OK && x)
        st = x->all_reduce(x->user, e->shard, sizeof e->shard / sizeof(double), KL_F64);
    memset(&e->result, 0, sizeof e->result);
    e->result.samples = e->batch;
    e->result.finite = true;
    for (int i = 0; i < t->opts.step.shards; i++) { /* by index, whoever computed them */
        e->result.loss_sum += e->shard[i][0];
        e->result.weight += e->shard[i][1];
        e->result.correct += e->shard[i][2];
        e->result.counted += e->shard[i][3];
    }
    return st;
}

/* ---- the model's parameters and ours ---- */

/** What was set from outside between steps is the newest. */
static kl_status take_model(kl__team *t)
{
    kl_model *m = t->model;
    const kl_exchange *x = t->opts.exchange;
    kl_status st = KL_OK;
    kl__lock(&m->lock);
    const bool other = m->version != t->model_version;
    if (other && (st = commit(t)) == KL_OK && (st = kl__model_pull(m)) == KL_OK) {
        const int64_t v = t->version + 1;
        if (t->state_bytes)
            memcpy(t->states[v & 1], t->states[t->version & 1], t->state_bytes);
        if (t->param_bytes)
            memcpy(t->params[v & 1], m->host, t->param_bytes);
        t->version = t->committed = t->synced = v;
        t->model_version = m->version;
    }
    kl__unlock(&m->lock);
    if (other && st == KL_OK && x) /* all processes begin with the same bits */
        st = x->broadcast(x->user, t->params[t->version & 1], t->param_bytes, 0);
    return st;
}

static void give_model(kl__team *t)
{
    kl_model *m = t->model;
    kl__lock(&m->lock);
    if (t->synced != t->version && m->version == t->model_version) {
        if (t->param_bytes)
            memcpy(m->host, t->params[t->version & 1], t->param_bytes);
        m->host_version = t->model_version = ++m->version;
        m->newest = NULL;
        t->synced = t->version;
    }
    kl__unlock(&m->lock);
}

/* ---- the team's thread ---- */
static kl_status run_entry(kl__team *t, uint64_t k)
{
    kl__team_entry *e = &t->ring[k % KL__RING];
    kl_status st = take_model(t);
    memset(t->n_received, 0, sizeof t->n_received);
    memset(t->n_sent, 0, sizeof t->n_sent);
    t->exchanged = 0;
    if (st == KL_OK)
        st = e->eval ? run_eval(t, k) : run_step(t, k);
    return st;
}

static void *team_main(void *arg)
{
    kl__team *t = arg;
    kl__lock(&t->lock);
    for (;;) {
        while (!t->quit && t->run == t->head && !t->want_commit)
            kl__cond_wait(&t->cond, &t->lock);
        if (t->run < t->head) {
            kl__team_entry *e = &t->ring[t->run % KL__RING];
            kl__unlock(&t->lock);
            const kl_status st = run_entry(t, t->run);
            kl__lock(&t->lock);
            e->status = st;
            if (st != KL_OK)
                snprintf(e->why, sizeof e->why, "%s", kl_last_error());
            t->run++;
        } else if (t->want_commit) {
            kl__unlock(&t->lock);
            commit(t); /* what fails shows at the next entry */
            kl__lock(&t->lock);
            t->want_commit = false;
        } else {
            break;
        }
        kl__cond_broadcast(&t->cond);
    }
    kl__unlock(&t->lock);
    return NULL;
}

static void settle(void *team)
{
    kl__team *t = team;
    kl__lock(&t->lock);
    while (t->run < t->head)
        kl__cond_wait(&t->cond, &t->lock);
    kl__unlock(&t->lock);
    give_model(t);
}

void kl__team_settle(kl__team *t)
{
    settle(t);
}

/* ---- life ---- */
static kl_status start_threads(kl__team *t)
{
    kl_status st = KL_OK;
    for (int i = 0; st == KL_OK && i < t->n; i++) {
        kl__member *m = &t->member[i];
        st = kl__thread_start(&m->thread, kl__member_main, m);
        m->started = st == KL_OK;
    }
    if (st == KL_OK) {
        st = kl__thread_start(&t->thread, team_main, t);
        t->started = st == KL_OK;
    }
    return st;
}

static kl_status make_buffers(kl__team *t)
{
    const kl_model *m = t->model;
    const size_t r = kl_dtype_size(m->real);
    t->param_bytes = m->elems * r;
    t->totals_bytes = KL__TOTALS * r;
    t->state_bytes = t->opts.exchange && t->opts.exchange->rank
                         ? 0
                         : m->trainable_elems * (size_t)t->opts.step.n_states * r;
    for (int i = 0; i < 2; i++) {
        t->params[i] = kl__calloc(1, t->param_bytes + t->totals_bytes);
        t->states[i] = kl__calloc(1, t->state_bytes + 1);
        if (!t->params[i] || !t->states[i])
            return KL_E_MEMORY;
    }
    return KL_OK;
}

/** A device that fails already here is left out like one that fails later. */
static kl_status make_members(kl__team *t, kl_ctx *const *ctx)
{
    for (int i = 0; i < t->n; i++) {
        kl__member *m = &t->member[i];
        m->team = t;
        m->index = i;
        m->ctx = ctx[i];
        const kl_status st = kl__member_create(m);
        if (st != KL_OK && (t->n == 1 || !devices_own(st)))
            return st;
        if (st != KL_OK) {
            snprintf(m->why, sizeof m->why, "%s", kl_last_error());
            lose(t, m);
        } else {
            t->sums_bytes = m->stepper->sums_elems * m->stepper->real_size;
        }
    }
    if (!first_alive(t))
        return nobody_left(t);
    return !t->opts.all_reduce || (t->reduced = kl__calloc(1, t->sums_bytes)) ? KL_OK
                                                                              : KL_E_MEMORY;
}

static kl_status create(kl__team *t, kl_ctx *const *ctx)
{
    const kl_exchange *x = t->opts.exchange;
    const int shards = t->opts.step.shards;
    kl_status st = KL_OK;
    t->end = shards;
    if (x && shards < x->size)
        return kl__fail(KL_E_ARG, "%d shards for %d processes: each needs one at the least", shards,
                        x->size);
    if (x) {
        t->first = shards * x->rank / x->size;
        t->end = shards * (x->rank + 1) / x->size;
    }
    st = make_buffers(t);
    if (st == KL_OK)
        st = make_members(t, ctx);
    if (st == KL_OK)
        st = kl__team_meet_create(t);
    if (st != KL_OK)
        return st;
    kl__lock(&t->model->lock);
    if (t->model->settle) {
        st = kl__fail(KL_E_ARG, "another trainer over several devices has this model");
    } else {
        t->freezes = t->model->freezes;
        t->model_version = t->model->version - 1; /* taken before the first step */
        t->model->settle = settle;
        t->model->settle_user = t;
    }
    kl__unlock(&t->model->lock);
    return st == KL_OK ? start_threads(t) : st;
}

kl__team *kl__team_create(kl_model *m, kl_ctx *const *ctx, size_t n, const kl__team_opts *opts)
{
    kl__team *t = kl__calloc(1, sizeof *t);
    if (!t)
        return NULL;
    kl__mutex_init(&t->lock);
    kl__cond_init(&t->cond);
    t->model = m;
    t->opts = *opts;
    t->n = (int)n;
    t->next_step = -1;
    t->began = kl__now();
    for (size_t i = 0; opts->split && i < n; i++)
        t->split[i] = opts->split[i];
    kl_status st = create(t, ctx);
    t->opts.split = opts->split ? t->split : NULL;
    t->opts.step.groups = NULL; /* the caller's */
    if (st == KL_OK)
        return t;
    kl__team_destroy(t);
    return NULL;
}

static void stop_threads(kl__team *t)
{
    kl__lock(&t->lock);
    t->quit = true;
    kl__cond_broadcast(&t->cond);
    kl__unlock(&t->lock);
    if (t->started)
        kl__thread_join(t->thread);
    kl__lock(&t->lock);
    for (int i = 0; i < t->n; i++)
        t->member[i].task = KL__TASK_QUIT;
    kl__cond_broadcast(&t->cond);
    kl__unlock(&t->lock);
    for (int i = 0; i < t->n; i++)
        if (t->member[i].started)
            kl__thread_join(t->member[i].thread);
}

/** The driver has made all its calls; false: it seems to have forgotten one. */
static bool told_all(kl__member *m)
{
    kl__team *t = m->team;
    bool in_time = true;
    if (!t)
        return true;
    kl__lock(&t->lock);
    while (m->owed && in_time)
        in_time = kl__cond_wait_for(&t->cond, &t->lock, 5);
    const bool all = !m->owed;
    kl__unlock(&t->lock);
    return all;
}

void kl__team_destroy(kl__team *t)
{
    if (!t)
        return;
    stop_threads(t);
    if (t->model->settle_user == t) {
        give_model(t);
        kl__lock(&t->model->lock);
        t->model->settle = NULL;
        t->model->settle_user = NULL;
        kl__unlock(&t->model->lock);
    }
    /* the states of the last step may still be on their way to the host */
    for (int i = 0; i < t->n; i++)
        if (t->member[i].ctx)
            (void)kl_ctx_finish(t->member[i].ctx);
    for (int i = 0; i < t->n; i++)
        t->hung |= (t->member[i].ctx && kl__ctx_hung(t->member[i].ctx)) || !told_all(&t->member[i]);
    for (int i = 0; i < t->n; i++)
        if (t->member[i].team)
            kl__member_finish(&t->member[i]);
    for (int i = 0; !t->hung && i < 2; i++) {
        kl__free(t->params[i]);
        kl__free(t->states[i]);
    }
    for (int i = 0; i < KL__RING && !t->hung; i++)
        for (int k = 0; k < KL__MAX_SLOTS; k++)
            kl__free(t->ring[i].host[k]);
    for (int i = 0; i < t->n_nodes && !t->hung; i++)
        kl__free(t->received[i].bytes);
    if (!t->hung)
        kl__free(t->rows);
    kl__free(t->received);
    kl__free(t->reduced);
    if (t->hung)
        return; /* its driver may still call us */
    kl__cond_finish(&t->cond);
    kl__mutex_finish(&t->lock);
    kl__free(t);
}
