/* Micro-batches: how many shards let a batch fit into memory. */
#include "base/str.h"
#include "sched/footprint.h"
#include "train/trainer.h"

#include <stdio.h>

enum {
    MOST_SHARDS = 256,
    GROUP_SHARDS = 16,
    EVALUATIONS =
        4 /* plans for them: of the loss and of the scores, and of what is left at the end */
};

typedef struct search {
    kl_model *model;
    kl_ctx *const *ctx;
    size_t n_ctx;
    uint64_t memory;        /* of each context; 0: its own */
    kl__footprint_spec spec;
    int first, most;        /* numbers of shards to try, doubling */
    kl__footprint worst;    /* of the context that has least to spare */
    uint64_t limit;         /* there */
    const char *device;
    bool no_buffer;         /* a value that no buffer holds: the sentence is the last error */
} search;

/** What a device has, but for what drivers and others on it need; parts of one device share it. */
static uint64_t memory_of(const search *s, size_t i)
{
    const kl_device_info *d = &kl__ctx_caps(s->ctx[i])->info;
    uint64_t all = kl__ctx_caps(s->ctx[i])->global_bytes, n = 0;
    for (size_t k = 0; k < s->n_ctx; k++) {
        const kl_device_info *e = &kl__ctx_caps(s->ctx[k])->info;
        n += e->platform == d->platform && e->device == d->device;
    }
    return s->memory ? s->memory : (all - all / 8) / n;
}

/** *fits: on every context. */
static kl_status look(search *s, int shards, bool *fits)
{
    s->spec.shards = shards;
    s->no_buffer = false;
    *fits = true;
    for (size_t i = 0; i < s->n_ctx; i++) {
        const kl__caps *caps = kl__ctx_caps(s->ctx[i]);
        kl__footprint f;
        kl_status st = kl__footprint_of(s->model, s->ctx[i], &s->spec, &f);
        if (st == KL_E_MEMORY) {
            s->no_buffer = true;
            *fits = false;
            return KL_OK;
        }
        if (st != KL_OK)
            return st;
        if (f.largest > caps->max_alloc)
            return kl__fail(KL_E_MEMORY,
                            "%s takes %llu bytes; %s gives at most %llu in one buffer, and no "
                            "number of micro-batches changes that",
                            f.what, (unsigned long long)f.largest, caps->info.name,
                            (unsigned long long)caps->max_alloc);
        uint64_t limit = memory_of(s, i);
        bool tighter = i == 0 || (double)f.total * (double)s->limit >
                                     (double)s->worst.total * (double)limit;
        if (tighter) {
            s->worst = f;
            s->limit = limit;
            s->device = caps->info.name;
        }
        *fits = *fits && f.total + EVALUATIONS * f.eval <= limit;
    }
    return KL_OK;
}

static const char *amount(char out[32], uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB"};
    double v = (double)bytes / 1024;
    int i = 0;
    for (; v >= 1024 && i < 2; i++)
        v /= 1024;
    snprintf(out, 32, "%.1f %s", v, units[i]);
    return out;
}

static kl_status refuse(const search *s)
{
    char t[8][32];
    const kl__footprint *f = &s->worst;
    if (s->no_buffer)
        return KL_E_MEMORY;
    const int64_t shards = s->spec.shards, micro = (s->spec.batch + shards - 1) / shards;
    return kl__fail(KL_E_MEMORY,
                    "training with %lld samples in %lld micro-batches of %lld needs %s, more than "
                    "%s on %s: parameters %s, gradients and their sums %s, optimizer %s, inputs "
                    "%s, values of a micro-batch %s and of evaluating one %s",
                    (long long)s->spec.batch, (long long)shards, (long long)micro,
                    amount(t[0], f->total + EVALUATIONS * f->eval), amount(t[1], s->limit),
                    s->device, amount(t[2], f->params), amount(t[3], f->sums),
                    amount(t[4], f->states), amount(t[5], f->inputs), amount(t[6], f->values),
                    amount(t[7], EVALUATIONS * f->eval));
}

/** The k-th number to try. */
static int shards_at(const search *s, int k)
{
    int shards = s->first < s->most ? s->first : s->most;
    for (; k > 0 && shards < s->most; k--)
        shards = 2 * shards < s->most ? 2 * shards : s->most;
    return shards;
}

static kl_status find(search *s, int *k)
{
    for (*k = 0;; ++*k) {
        bool fits = false;
        kl_status st = look(s, shards_at(s, *k), &fits);
        if (st != KL_OK || fits)
            return st;
        if (shards_at(s, *k) == s->most)
            return refuse(s);
    }
}

/** All processes cut a batch alike: as the one does that has least room. */
static kl_status agree(search *s, const kl_exchange *e, kl_status mine, int k)
{
    enum { FAILED = 15, VOTES };
    double votes[VOTES] = {0};
    votes[mine == KL_OK ? k : FAILED] = 1;
    kl_status st = e->all_reduce(e->user, votes, VOTES, KL_F64);
    if (st != KL_OK || mine != KL_OK)
        return st == KL_OK ? mine : st;
    if (votes[FAILED] > 0)
        return kl__fail(KL_E_MEMORY,
                        "the training does not fit into the memory of another process");
    for (int i = FAILED - 1; i > k; i--)
        if (votes[i] > 0) {
            bool fits;
            return look(s, shards_at(s, i), &fits);
        }
    return KL_OK;
}

/** How many numbers the optimizer keeps for each parameter; -1: no such optimizer. */
static int states_of(const kl_optim_opts *p)
{
    const kl__op *op = p->kind == KL_SGD       ? &kl__op_sgd
                       : p->kind == KL_RMSPROP ? &kl__op_rmsprop
                                               : &kl__op_adam;
    kl__optim attrs = {.compat = p->compat,
                       .momentum = p->momentum,
                       .nesterov = p->nesterov,
                       .centered = p->centered,
                       .decoupled = p->kind == KL_ADAMW};
    kl__optim_defaults(op, &attrs);
    return kl__optim_n_states(op, &attrs);
}

static kl_status check(const kl_model *m, kl_ctx *const *ctx, size_t n_ctx, const char *loss,
                       const char *logits, const kl_trainer_opts *o, int64_t batch)
{
    bool all = ctx && n_ctx > 0;
    for (size_t i = 0; all && i < n_ctx; i++)
        all = ctx[i] != NULL;
    if (!m || !all || !loss)
        return kl__fail(KL_E_ARG,
                        "kl_trainer_fit_memory: a model, contexts and a loss are needed");
    if (!kl_graph_output(m->graph, loss) || (logits && !kl_graph_output(m->graph, logits)))
        return kl__fail(KL_E_ARG, "the graph has no output \"%s\"",
                        kl_graph_output(m->graph, loss) ? logits : loss);
    if (batch < 1)
        return kl__fail(KL_E_ARG, "a batch of %lld samples", (long long)batch);
    if (o->shards < 0 || o->shards > MOST_SHARDS || o->shards > batch)
        return kl__fail(KL_E_ARG, "a batch of %lld samples cannot be cut into %d shards",
                        (long long)batch, o->shards);
    return KL_OK;
}

kl_status kl_trainer_fit_memory(kl_model *m, kl_ctx *const *ctx, size_t n_ctx, const char *loss,
                                const char *logits, const kl_trainer_opts *opts, int64_t batch,
                                uint64_t memory, kl_micro *out)
{
    static const kl_trainer_opts none;
    const kl_trainer_opts *o = opts ? opts : &none;
    if (!out)
        return kl__fail(KL_E_ARG, "kl_trainer_fit_memory: out is NULL");
    *out = (kl_micro){0};
    kl_status st = check(m, ctx, n_ctx, loss, logits, o, batch);
    if (st != KL_OK)
        return st;
    search s = {.model = m,
                .ctx = ctx,
                .n_ctx = n_ctx,
                .memory = memory,
                .spec = {.pass = {.training = true, .loss = loss, .logits = logits},
                         .n_states = states_of(&o->optim),
                         .batch = batch,
                         .group = n_ctx > 1 || o->exchange}};
    const bool several = o->exchange && o->exchange->size > 1;
    int k = 0;
    s.first = o->shards ? o->shards : several || n_ctx > 1 ? GROUP_SHARDS : 1;
    s.most = o->shards ? o->shards : batch < MOST_SHARDS ? (int)batch : MOST_SHARDS;
    st = find(&s, &k);
    if (several)
        st = agree(&s, o->exchange, st, k);
    if (st == KL_OK)
        *out = (kl_micro){.shards = s.spec.shards,
                          .micro_batch = (batch + s.spec.shards - 1) / s.spec.shards,
                          .bytes = s.worst.total};
    return st;
}
