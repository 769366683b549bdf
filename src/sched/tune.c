/* The tuner: candidates of each kind of work, one against the best so far by turns, so that a
 * machine that others use too slows down both. */
#include "sched/tune.h"

#include "base/mem.h"
#include "base/thread.h"
#include "sched/cost.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A new winner must be clearly faster: times of one kernel scatter by some percent. Where the
 * device is the CPU, others may use it too, which wall time cannot tell: so it must not cost more
 * CPU. */
static const double CLEARLY = 0.97, HOPELESS = 1.25, FAR_OFF = 3, MORE_CPU = 1.1;
static const double ROUND_SECONDS = 2e-3, DUEL_SECONDS = 1;
enum { ROUNDS = 6, MAX_TIMES = 64 };

/* ---- kinds of work --------------------------------------------------------------------------- */
const kl__apply *kl__before_reorders(kl_graph *g, const kl__apply *a)
{
    kl__apply *b = kl__graph_alloc(g, sizeof *b);
    kl_node **in = kl__graph_alloc(g, (size_t)(a->n_in + 1) * sizeof *in);
    if (!b || !in)
        return NULL;
    *b = *a;
    b->in = in;
    for (int i = 0; i < a->n_in; i++)
        for (in[i] = a->in[i]; in[i]->by->op == &kl__op_reorder;)
            in[i] = in[i]->by->in[0];
    return b;
}

/** Of a core in 2020: 50 GMAC/s, 10 GB/s. Only the order follows from it. */
static double guess(const kl__apply *a)
{
    double macs = a->op->macs ? (double)a->op->macs(a) : 0;
    return macs / 50e9 + (double)kl__apply_bytes(a) / 10e9;
}

/** Is there anything to choose, and can it be run again and again? State is overwritten by each
 * run, and what runs once per version of the parameters is worth no time. */
static bool has_choice(const kl_tuner *t, const kl__apply *a, kl__candidate c[KL__MAX_CANDIDATES],
                       int *n)
{
    size_t elems;
    if (a->op->flags & (KL__OP_LEAF | KL__OP_VIEW | KL__OP_STATE) || a->id < t->n_prepared ||
        a->graph->real != KL_F32)
        return false;
    for (int i = 0; i < a->n_out; i++)
        if (!kl__desc_elems(&a->out[i]->desc, &elems) || !elems)
            return false;
    *n = kl__candidates(a, kl__ctx_caps(t->ctx), c);
    return *n > 1;
}

static char *key_of(const kl_tuner *t, const kl__apply *a)
{
    kl__text key = {0};
    kl__put_choice_key(&key, a, kl__ctx_caps(t->ctx));
    if (key.failed)
        kl__text_free(&key);
    return key.s;
}

static kl__work *find(const kl_tuner *t, const char *key)
{
    for (size_t i = 0; i < t->n; i++)
        if (!strcmp(t->work[i].key, key))
            return &t->work[i];
    return NULL;
}

kl__work *kl__tuner_work(const kl_tuner *t, const kl__apply *a)
{
    kl__candidate c[KL__MAX_CANDIDATES];
    int n;
    char *key = has_choice(t, a, c, &n) ? key_of(t, a) : NULL;
    kl__work *w = key ? find(t, key) : NULL;
    kl__free(key);
    return w;
}

/** Times of an earlier measurement. */
static void recall(kl__work *w, const kl__winner *x)
{
    char name[KL__CANDIDATE_NAME];
    w->complete = true;
    for (int i = 0; i < w->n; i++) {
        kl__candidate_name(&w->tried[i].c, name);
        if (!strcmp(name, x->name))
            w->best = i;
        for (int k = 0; k < x->n_times; k++)
            if (!strcmp(name, x->time[k].name))
                w->tried[i].seconds = x->time[k].seconds;
    }
}

static kl_status add(kl_tuner *t, const kl__apply *a, bool again)
{
    kl__candidate c[KL__MAX_CANDIDATES];
    int n;
    if (!has_choice(t, a, c, &n))
        return KL_OK;
    char *key = key_of(t, a);
    kl__work *w = key ? find(t, key) : NULL;
    if (w) {
        w->count++;
        w->weight += guess(a);
        kl__free(key);
        return KL_OK;
    }
    if (!key || !(w = kl__calloc(t->n + 1, sizeof *w))) {
        kl__free(key);
        return KL_E_MEMORY;
    }
    if (t->n)
        memcpy(w, t->work, t->n * sizeof *w);
    kl__free(t->work);
    t->work = w;
    w = &t->work[t->n++];
    *w = (kl__work){.key = key, .apply = a, .count = 1, .weight = guess(a), .n = n};
    for (int i = 0; i < n; i++)
        w->tried[i] = (kl__try){.c = c[i], .seconds = NAN, .error = NAN};
    const kl__winner *x = kl__winners_find(kl__ctx_caps(t->ctx)->winners, key);
    if (x)
        recall(w, x);
    w->done = x && !again;
    return KL_OK;
}

static int by_weight(const void *a, const void *b)
{
    const kl__work *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight < y->weight ? 1 : -1;
    return strcmp(x->key, y->key);
}

kl_tuner *kl__tuner_of(kl_ctx *ctx, kl_graph *graph, size_t n_prepared, bool again)
{
    kl_tuner *t = kl__calloc(1, sizeof *t);
    kl_status st = t ? KL_OK : KL_E_MEMORY;
    if (!t) {
        kl_graph_destroy(graph);
        return NULL;
    }
    *t = (kl_tuner){.ctx = ctx, .graph = graph, .n_prepared = n_prepared};
    for (size_t i = 0; st == KL_OK && i < graph->n_applies; i++) {
        const kl__apply *a = kl__before_reorders(graph, graph->applies[i]);
        st = a ? add(t, a, again) : kl__last_status();
    }
    if (st != KL_OK) {
        kl_tuner_destroy(t);
        return NULL;
    }
    if (t->n)
        qsort(t->work, t->n, sizeof *t->work, by_weight);
    return t;
}

void kl_tuner_destroy(kl_tuner *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        kl__free(t->work[i].key);
    kl__free(t->work);
    kl_graph_destroy(t->graph);
    kl__free(t);
}

/* ---- measuring ------------------------------------------------------------------------------- */
static void lower(double *least, double v)
{
    if (!(*least <= v))
        *least = v;
}

/** Seconds of one run, and CPU seconds of the process added up. */
static kl_status time_both(kl__trial *t, int times, double *seconds, double *cpu)
{
    double start = kl__cpu_now();
    kl_status st = kl__trial_time(t, times, seconds);
    *cpu += kl__cpu_now() - start;
    return st;
}

/** Times `x` and the best so far by turns. *better: it is faster, by the least times and in most
 * turns. A candidate that is far off is given up at once. */
static kl_status duel(kl__trial *best, double *best_seconds, kl__trial *x, double *seconds,
                      bool *better)
{
    double s, mine, cpu = 0, my_cpu = 0, start = kl__now();
    kl_status st = kl__trial_time(x, 1, seconds);
    *better = false;
    if (st != KL_OK || *seconds > FAR_OFF * *best_seconds)
        return st;
    double shorter = *seconds < *best_seconds ? *seconds : *best_seconds;
    int times = MAX_TIMES;
    if (shorter > ROUND_SECONDS / MAX_TIMES)
        times = (int)(ROUND_SECONDS / shorter) + 1;
    int won = 0, rounds = 0;
    while (rounds++ < ROUNDS) {
        st = time_both(best, times, &s, &cpu);
        if (st == KL_OK)
            st = time_both(x, times, &mine, &my_cpu);
        if (st != KL_OK)
            return st;
        lower(best_seconds, s);
        lower(seconds, mine);
        won += mine < s;
        if (rounds > 1 && (*seconds > HOPELESS * *best_seconds || kl__now() - start > DUEL_SECONDS))
            break;
    }
    rounds = rounds < ROUNDS ? rounds : ROUNDS;
    *better = *seconds < CLEARLY * *best_seconds && 4 * won >= 3 * rounds &&
              (!kl__ctx_caps(x->plan->ctx)->cpu || my_cpu <= MORE_CPU * cpu);
    return KL_OK;
}

/** What one candidate cannot do is its own fault; a device that fails is not. */
static kl_status excuse(const kl__work *w, kl__try *x, kl_status st)
{
    char name[KL__CANDIDATE_NAME];
    if (st != KL_E_BUILD && st != KL_E_UNSUPPORTED && st != KL_E_MEMORY)
        return st;
    x->failed = true;
    kl__log(KL_LOG_INFO, "\"%s\" cannot be tried with %s: %s", w->apply->name,
            kl__candidate_name(&x->c, name), kl_last_error());
    return KL_OK;
}

static void warn_wrong(const kl__work *w, const kl__try *x)
{
    char name[KL__CANDIDATE_NAME], right[KL__CANDIDATE_NAME];
    kl__log(
        KL_LOG_WARN,
        "%s \"%s\": %s gives other numbers than %s (relative distance %.2g): it is not used; %s",
        w->apply->op->name, w->apply->name, kl__candidate_name(&x->c, name),
        kl__candidate_name(&w->tried[0].c, right), x->error, w->key);
}

typedef struct contest {
    kl__trial_data data;
    kl__trial rule, best; /* the default; the fastest so far, where that is another */
    kl__trial *leader;
} contest;

static kl_status challenge(contest *c, kl__work *w, int i)
{
    kl__try *x = &w->tried[i], *leader = &w->tried[w->best];
    bool better = false;
    kl__trial t;
    kl_status st = kl__trial_make(&c->data, &x->c, &t);
    if (st != KL_OK)
        return excuse(w, x, st);
    st = kl__trial_compare(&t, &c->rule, &x->error, &x->wrong);
    if (st == KL_OK && x->wrong)
        warn_wrong(w, x);
    else if (st == KL_OK)
        st = duel(c->leader, &leader->seconds, &t, &x->seconds, &better);
    if (st == KL_OK && better) {
        kl__trial_finish(&c->best);
        c->best = t;
        c->leader = &c->best;
        w->best = i;
    } else {
        kl__trial_finish(&t);
    }
    return st;
}

static void forget(kl__work *w)
{
    w->best = 0;
    w->complete = false;
    for (int i = 0; i < w->n; i++)
        w->tried[i] = (kl__try){.c = w->tried[i].c, .seconds = NAN, .error = NAN};
}

kl_status kl__tuner_measure(kl_tuner *t, kl__work *w, double end)
{
    contest c = {.leader = &c.rule};
    int i = 1;
    w->done = true;
    forget(w);
    kl_status st = kl__trial_data_make(t->ctx, w->apply, t->n_prepared, &c.data);
    if (st == KL_OK)
        st = kl__trial_make(&c.data, &w->tried[0].c, &c.rule);
    if (st != KL_OK) {
        kl__trial_data_finish(&c.data);
        return excuse(w, &w->tried[0], st);
    }
    w->tried[0].error = 0;
    st = kl__trial_time(&c.rule, 1, &w->tried[0].seconds);
    for (; st == KL_OK && i < w->n && kl__now() < end; i++)
        st = challenge(&c, w, i);
    w->complete = st == KL_OK && i == w->n;
    kl__trial_finish(&c.best);
    kl__trial_finish(&c.rule);
    kl__trial_data_finish(&c.data);
    return st;
}

kl_status kl__tuner_store(const kl_tuner *t, const kl__work *w)
{
    kl__winners one = {0};
    kl__winner x = {.key = w->key};
    if (!w->complete)
        return KL_OK;
    kl__candidate_name(&w->tried[w->best].c, x.name);
    for (int i = 0; i < w->n && x.n_times < KL__MAX_TIMES; i++) {
        if (!(w->tried[i].seconds >= 0))
            continue;
        kl__candidate_name(&w->tried[i].c, x.time[x.n_times].name);
        x.time[x.n_times++].seconds = w->tried[i].seconds;
    }
    kl_status st = kl__winners_put(&one, &x);
    if (st == KL_OK)
        (void)kl__winners_store(t->ctx, &one);
    kl__winners_free(&one);
    return st;
}

/* ---- the public face ------------------------------------------------------------------------- */
kl_status kl__tune_allowed(const kl_ctx *ctx)
{
    uint32_t flags = kl__ctx_flags(ctx);
    if (flags & KL_CTX_NO_TUNE)
        return kl__fail(KL_E_UNSUPPORTED,
                        "this context does not tune (KL_CTX_NO_TUNE, KILN_TUNE=0 or --no-tune)");
    if (flags & (KL_CTX_SYNC | KL_CTX_DEBUG_BUFFERS | KL_CTX_BARE_BUFFERS))
        return kl__fail(KL_E_UNSUPPORTED, "in a context that runs op by op times say nothing");
    return KL_OK;
}

static kl_graph *lowered(kl_model *m, const kl_tune_opts *o, int64_t batch)
{
    if (!o->training)
        return kl__graph_lower(m->graph, batch, false, m->real, NULL, 0);
    const char *loss = kl__cost_loss(m, o->loss);
    return loss ? kl__pass_graph(m, batch, &(kl__pass_spec){.training = true, .loss = loss}) : NULL;
}

kl_graph *kl__tune_graph(kl_model *m, kl_ctx *ctx, const kl_tune_opts *opts, size_t *n_prepared)
{
    enum { DEFAULT_BATCH = 32 };
    int64_t batch = opts->batch ? opts->batch : DEFAULT_BATCH;
    if (batch < 0) {
        kl__fail(KL_E_ARG, "tuning: a batch of %lld samples", (long long)batch);
        return NULL;
    }
    kl__model_enter(m);
    kl_graph *g = lowered(m, opts, batch);
    kl__unlock(&m->lock);
    if (g && kl__plan_passes(ctx, g, &(kl__plan_opts){.prepare = !opts->training}, n_prepared) !=
                 KL_OK) {
        kl_graph_destroy(g);
        return NULL;
    }
    return g;
}

kl_tuner *kl_tuner_create(kl_model *m, kl_ctx *ctx, const kl_tune_opts *opts)
{
    static const kl_tune_opts none;
    size_t n_prepared = 0;
    opts = opts ? opts : &none;
    if (!m || !ctx) {
        kl__fail(KL_E_ARG, "kl_tuner_create: %s is NULL", m ? "context" : "model");
        return NULL;
    }
    if (kl__tune_allowed(ctx) != KL_OK)
        return NULL;
    kl_graph *g = kl__tune_graph(m, ctx, opts, &n_prepared);
    return g ? kl__tuner_of(ctx, g, n_prepared, false) : NULL;
}

size_t kl_tuner_left(const kl_tuner *t)
{
    size_t n = 0;
    for (size_t i = 0; t && i < t->n; i++)
        n += !t->work[i].done;
    return n;
}

static kl_status next(kl_tuner *t, double end, kl_choice *out)
{
    if (out)
        *out = (kl_choice){0};
    for (size_t i = 0; i < t->n; i++) {
        kl__work *w = &t->work[i];
        if (w->done)
            continue;
        kl_status st = kl__tuner_measure(t, w, end);
        if (st == KL_OK)
            st = kl__tuner_store(t, w);
        if (st == KL_OK && out)
            kl__choice_of_work(t, w, out);
        return st;
    }
    return KL_OK;
}

kl_status kl_tuner_next(kl_tuner *t, kl_choice *out)
{
    return t ? next(t, HUGE_VAL, out) : kl__fail(KL_E_ARG, "kl_tuner_next: the tuner is NULL");
}

kl_status kl_tune(kl_model *m, kl_ctx *ctx, const kl_tune_opts *opts, kl_choice **rows, size_t *n)
{
    if (!rows || !n)
        return kl__fail(KL_E_ARG, "kl_tune: %s is NULL", rows ? "n" : "rows");
    *rows = NULL;
    *n = 0;
    double end = opts && opts->seconds > 0 ? kl__now() + opts->seconds : HUGE_VAL;
    kl_tuner *t = kl_tuner_create(m, ctx, opts);
    size_t all = kl_tuner_left(t);
    kl_status st = t ? KL_OK : kl__last_status();
    if (t && !(*rows = kl__calloc(all + 1, sizeof **rows)))
        st = KL_E_MEMORY;
    while (st == KL_OK && *n < all && kl__now() < end) {
        st = next(t, end, &(*rows)[*n]);
        *n += st == KL_OK;
        if (st == KL_OK && opts && opts->progress &&
            !opts->progress(opts->user, &(*rows)[*n - 1], *n, all))
            st = kl__fail(KL_E_CANCELLED, "tuning was stopped after %zu of %zu", *n, all);
    }
    kl_tuner_destroy(t);
    return st;
}
