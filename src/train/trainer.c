/* kl_trainer: which optimizer moves what, at which rate, and what came of it. */
#include "train/trainer.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static const kl__op *optim_op(kl_optim_kind kind)
{
    switch (kind) {
    case KL_ADAMW:
    case KL_ADAM:
        return &kl__op_adam;
    case KL_SGD:
        return &kl__op_sgd;
    case KL_RMSPROP:
        return &kl__op_rmsprop;
    }
    return NULL;
}

static kl_status check_number(const char *what, double v, double lo, double hi)
{
    return v >= lo && v <= hi ? KL_OK
                              : kl__fail(KL_E_ARG, "%s %g is outside %g..%g", what, v, lo, hi);
}

static kl_status resolve_optim(kl_trainer *tr, const kl_trainer_opts *o)
{
    const kl_optim_opts *p = &o->optim;
    if (!(tr->optim = optim_op(p->kind)))
        return kl__fail(KL_E_ARG, "there is no optimizer %d", (int)p->kind);
    tr->attrs = (kl__optim){.compat = p->compat,
                            .momentum = p->momentum,
                            .beta1 = p->beta1,
                            .beta2 = p->beta2,
                            .rho = p->rho,
                            .eps = p->eps,
                            .nesterov = p->nesterov,
                            .centered = p->centered,
                            .decoupled = p->kind == KL_ADAMW};
    kl__optim_defaults(tr->optim, &tr->attrs);
    tr->schedule = o->schedule;
    if (tr->schedule.lr == 0)
        tr->schedule.lr = kl__optim_lr(tr->optim, &tr->attrs);
    kl_status st = check_number("learning rate", tr->schedule.lr, 0, 1e6);
    if (st == KL_OK)
        st = check_number("momentum", (double)tr->attrs.momentum, 0, 1);
    if (st == KL_OK)
        st = check_number("clip norm", (double)o->clip_norm, 0, 1e30);
    if (st == KL_OK)
        st = check_number("weight decay",
                          p->weight_decay == (float)KL_NONE ? 0 : (double)p->weight_decay, 0, 1e6);
    return st;
}

static kl_status make_groups(kl_trainer *tr, const kl_trainer_opts *o, kl__group *groups)
{
    const kl_model *m = tr->model;
    double decay = o->optim.weight_decay == (float)KL_NONE ? 0
                   : o->optim.weight_decay != 0           ? (double)o->optim.weight_decay
                                                          : kl__optim_decay(tr->optim, &tr->attrs);
    for (size_t k = 0; k < o->n_rules; k++) {
        bool any = false;
        for (size_t i = 0; i < m->n_params; i++)
            any |= o->rules[k].pattern && kl__glob(o->rules[k].pattern, m->params[i].name);
        if (!any)
            return kl__fail(KL_E_ARG, "no parameter matches \"%s\"",
                            o->rules[k].pattern ? o->rules[k].pattern : "");
    }
    for (size_t i = 0; i < m->n_trainable; i++) {
        groups[i] = (kl__group){
            .lr_factor = 1, .weight_decay = (float)decay, .trained = !m->params[i].frozen};
        for (size_t k = 0; k < o->n_rules; k++) {
            const kl_param_rule *r = &o->rules[k];
            if (!kl__glob(r->pattern, m->params[i].name))
                continue;
            groups[i].lr_factor = kl__opt_f(r->lr_factor, 1);
            groups[i].weight_decay = r->no_decay ? 0 : (float)decay;
            groups[i].trained &= !r->frozen;
            break;
        }
    }
    return KL_OK;
}

static const kl__train_calls calls;

static kl_status check_create(kl_model *m, kl_ctx *const *ctx, size_t n_ctx, const char *loss,
                              const char *logits, const kl_trainer_opts *o)
{
    double weights = 0;
    if (!m || !ctx || n_ctx < 1 || !loss)
        return kl__fail(KL_E_ARG, "kl_trainer_create: a model, a context and a loss are needed");
    if (n_ctx > KL_MAX_GROUP)
        return kl__fail(KL_E_ARG, "training over %zu contexts; at most %d are possible", n_ctx,
                        KL_MAX_GROUP);
    for (size_t i = 0; i < n_ctx; i++) {
        if (!ctx[i])
            return kl__fail(KL_E_ARG, "kl_trainer_create: context %zu is NULL", i);
        for (size_t k = 0; k < i; k++)
            if (ctx[k] == ctx[i])
                return kl__fail(KL_E_ARG, "kl_trainer_create: contexts %zu and %zu are the same", k,
                                i);
        if (o->split && !(o->split[i] >= 0 && o->split[i] < 1e9))
            return kl__fail(KL_E_ARG, "weight %zu of the split is %g", i, o->split[i]);
        weights += o->split ? o->split[i] : 1;
    }
    if (weights <= 0)
        return kl__fail(KL_E_ARG, "the split gives nothing to anybody");
    if (o->shards < 0 || o->shards > 256)
        return kl__fail(KL_E_ARG, "%d shards; 1 to 256 are possible", o->shards);
    if (o->check_every < 0)
        return kl__fail(KL_E_ARG, "check_every %d is negative", o->check_every);
    if (!kl_graph_output(m->graph, loss))
        return kl__fail(KL_E_ARG, "the graph has no output \"%s\" to minimise", loss);
    if (logits && !kl_graph_output(m->graph, logits))
        return kl__fail(KL_E_ARG, "the graph has no output \"%s\"", logits);
    return KL_OK;
}

/** One context works for itself, several (or several processes) as a team. */
static bool make_engine(kl_trainer *tr, const kl__stepper_opts *so, const kl_trainer_opts *o)
{
    const kl__team_opts to = {.step = *so,
                              .split = o->split,
                              .exchange = o->exchange,
                              .all_reduce = o->exchange && o->all_reduce,
                              .check_every = o->check_every ? o->check_every : 64};
    if (tr->n_ctx == 1 && !o->exchange)
        tr->stepper = kl__stepper_create(tr->model, tr->ctx[0], so);
    else
        tr->team = kl__team_create(tr->model, tr->ctx, tr->n_ctx, &to);
    return tr->stepper || tr->team;
}

kl_trainer *kl_trainer_create(kl_model *m, kl_ctx *const *ctx, size_t n_ctx, const char *loss,
                              const char *logits, const kl_trainer_opts *opts)
{
    static const kl_trainer_opts none;
    const kl_trainer_opts *o = opts ? opts : &none;
    if (check_create(m, ctx, n_ctx, loss, logits, o) != KL_OK)
        return NULL;
    kl_trainer *tr = kl__calloc(1, sizeof *tr);
    kl__group *groups = tr ? kl__calloc(m->n_trainable + 1, sizeof *groups) : NULL;
    kl_status st = groups ? KL_OK : KL_E_MEMORY;
    if (st == KL_OK) {
        tr->calls = &calls;
        tr->model = m;
        memcpy(tr->ctx, ctx, n_ctx * sizeof *ctx);
        tr->n_ctx = n_ctx;
        tr->exchange = o->exchange;
        tr->allow_nan = o->allow_nan;
        tr->shards = o->shards ? o->shards : n_ctx > 1 || o->exchange ? 16 : 1;
        st = resolve_optim(tr, o);
    }
    if (st == KL_OK)
        st = make_groups(tr, o, groups);
    if (st == KL_OK) {
        kl__stepper_opts so = {.loss = loss,
                               .logits = logits,
                               .optim = tr->optim,
                               .optim_attrs = &tr->attrs,
                               .n_states = kl__optim_n_states(tr->optim, &tr->attrs),
                               .clip_norm = o->clip_norm,
                               .shards = tr->shards,
                               .groups = groups};
        st = make_engine(tr, &so, o) ? KL_OK : kl__last_status();
    }
    kl__free(groups);
    if (tr && st == KL_OK)
        return tr;
    kl_trainer_destroy(tr);
    return NULL;
}

void kl_trainer_destroy(kl_trainer *tr)
{
    if (!tr)
        return;
    kl__stepper_destroy(tr->stepper);
    kl__team_destroy(tr->team);
    for (size_t i = 0; i < tr->n_loaded; i++) {
        kl__free((void *)(uintptr_t)tr->loaded[i].key);
        kl__free((void *)(uintptr_t)tr->loaded[i].value);
    }
    kl__free(tr->loaded);
    kl__free(tr);
}

static kl_status take(kl_trainer *tr, const kl__result *r, bool eval)
{
    if (!eval && !r->finite) {
        if (!tr->allow_nan)
            return tr->team ? kl__team_explain(tr->team, r->step)
                            : kl__stepper_explain(tr->stepper, r->step);
        return KL_OK; /* the update left the parameters alone; the step counts nothing */
    }
    kl__totals *t = eval ? &tr->eval : &tr->train;
    t->samples += r->samples;
    t->loss_sum += r->loss_sum;
    t->weight += r->weight;
    t->correct += r->correct;
    t->counted += r->counted;
    t->grad_norm = r->grad_norm;
    return KL_OK;
}

static bool next_result(kl_trainer *tr, bool wait, kl__result *r, bool *eval, kl_status *st)
{
    if (tr->team)
        return kl__team_result(tr->team, wait || kl__team_pending(tr->team) >= KL__MAX_PENDING, r,
                               eval, st);
    return kl__stepper_result(
        tr->stepper, wait || kl__stepper_pending(tr->stepper) >= KL__MAX_PENDING, r, eval, st);
}

kl_status kl__trainer_collect(kl_trainer *tr, bool wait)
{
    kl__result r;
    kl_status st = KL_OK, first = KL_OK;
    bool eval;
    while (next_result(tr, wait, &r, &eval, &st)) {
        if (st == KL_OK)
            st = take(tr, &r, eval);
        if (first == KL_OK)
            first = st;
        if (st != KL_OK && !wait)
            break;
    }
    return first;
}

/** What the next update needs to know. */
static kl__step_scalars scalars_of(kl_trainer *tr)
{
    kl__step_scalars sc = {.step = tr->steps, .lr = kl_schedule_at(&tr->schedule, tr->steps)};
    kl__optim_scalars(tr->optim, &tr->attrs, tr->steps, sc.p);
    return sc;
}

kl_status kl__trainer_queue(kl_trainer *tr, const kl_bind *binds, size_t n)
{
    kl_status st = kl__trainer_collect(tr, false);
    if (st != KL_OK)
        return st;
    kl__step_scalars sc = scalars_of(tr);
    st = tr->team ? kl__team_step(tr->team, binds, n, &sc)
                  : kl__stepper_step(tr->stepper, binds, n, &sc);
    if (st == KL_OK) {
        tr->steps++;
        tr->last_lr = sc.lr;
    }
    return st;
}

kl_status kl_trainer_step(kl_trainer *tr, const kl_bind *binds, size_t n_binds)
{
    if (!tr || (n_binds && !binds))
        return kl__fail(KL_E_ARG, "kl_trainer_step: %s is NULL", tr ? "binds" : "trainer");
    return kl__trainer_queue(tr, binds, n_binds);
}

static kl_status by_hand(const kl_trainer *tr)
{
    return tr->team ? kl__fail(KL_E_UNSUPPORTED, "steps by hand are for one context; over several, "
                                                 "kl_trainer_step spreads a batch")
                    : KL_OK;
}

kl_status kl_trainer_backward(kl_trainer *tr, const kl_bind *binds, size_t n_binds)
{
    if (!tr || (n_binds && !binds))
        return kl__fail(KL_E_ARG, "kl_trainer_backward: %s is NULL", tr ? "binds" : "trainer");
    kl_status st = by_hand(tr);
    if (st == KL_OK)
        st = kl__trainer_collect(tr, false);
    kl__step_scalars sc = scalars_of(tr);
    return st == KL_OK ? kl__stepper_backward(tr->stepper, binds, n_binds, &sc) : st;
}

kl_status kl_trainer_update(kl_trainer *tr)
{
    if (!tr)
        return kl__fail(KL_E_ARG, "kl_trainer_update: trainer is NULL");
    kl_status st = by_hand(tr);
    if (st == KL_OK)
        st = kl__trainer_collect(tr, false);
    kl__step_scalars sc = scalars_of(tr);
    if (st == KL_OK)
        st = kl__stepper_update(tr->stepper, &sc);
    if (st == KL_OK) {
        tr->steps++;
        tr->last_lr = sc.lr;
    }
    return st;
}

/* ---- for the pass queue ---- */

static kl_ctx *call_ctx(const kl_trainer *tr)
{
    return tr->team ? NULL : tr->ctx[0];
}

static kl_status call_backward(kl_trainer *tr, const kl_bind *binds, size_t n, kl__event *done)
{
    kl_status st = kl_trainer_backward(tr, binds, n);
    return st == KL_OK ? kl__stepper_mark(tr->stepper, done) : st;
}

static kl_status call_update(kl_trainer *tr, kl__event *done)
{
    kl_status st = kl_trainer_update(tr);
    return st == KL_OK ? kl__stepper_mark(tr->stepper, done) : st;
}

static kl_status call_step(kl_trainer *tr, const kl_bind *binds, size_t n, kl__event *done)
{
    kl_status st = kl_trainer_step(tr, binds, n);
    if (st == KL_OK)
        st = tr->team ? kl__trainer_collect(tr, true) : kl__stepper_mark(tr->stepper, done);
    return st;
}

static const kl__train_calls calls = {call_ctx, call_backward, call_update, call_step};

kl_status kl_trainer_eval(kl_trainer *tr, const kl_bind *binds, size_t n_binds)
{
    if (!tr || (n_binds && !binds))
        return kl__fail(KL_E_ARG, "kl_trainer_eval: %s is NULL", tr ? "binds" : "trainer");
    kl_status st = kl__trainer_collect(tr, false);
    if (st != KL_OK)
        return st;
    return tr->team ? kl__team_eval(tr->team, binds, n_binds)
                    : kl__stepper_eval(tr->stepper, binds, n_binds);
}

static kl_status metrics(kl_trainer *tr, kl__totals *t, kl_metrics *out)
{
    kl_status st = kl__trainer_collect(tr, true);
    if (out)
        *out = (kl_metrics){.step = tr->steps,
                            .samples = t->samples,
                            .loss = t->weight != 0 ? t->loss_sum / t->weight : (double)NAN,
                            .accuracy = t->counted > 0 ? t->correct / t->counted : (double)NAN,
                            .lr = tr->last_lr,
                            .grad_norm = tr->train.grad_norm};
    double norm = tr->train.grad_norm;
    *t = (kl__totals){0};
    tr->train.grad_norm = norm;
    return st;
}

kl_status kl_trainer_metrics(kl_trainer *tr, kl_metrics *out)
{
    return tr ? metrics(tr, &tr->train, out)
              : kl__fail(KL_E_ARG, "kl_trainer_metrics: trainer is NULL");
}

kl_status kl_trainer_eval_metrics(kl_trainer *tr, kl_metrics *out)
{
    return tr ? metrics(tr, &tr->eval, out)
              : kl__fail(KL_E_ARG, "kl_trainer_eval_metrics: trainer is NULL");
}

int64_t kl_trainer_steps(const kl_trainer *tr)
{
    return tr ? tr->steps : 0;
}

kl_status kl_trainer_set_schedule(kl_trainer *tr, const kl_schedule *s)
{
    if (!tr || !s)
        return kl__fail(KL_E_ARG, "kl_trainer_set_schedule: %s is NULL",
                        tr ? "schedule" : "trainer");
    kl_schedule n = *s;
    if (n.lr == 0)
        n.lr = kl__optim_lr(tr->optim, &tr->attrs);
    kl_status st = check_number("learning rate", n.lr, 0, 1e6);
    if (st == KL_OK)
        tr->schedule = n;
    return st;
}

const kl_exchange *kl__trainer_exchange(const kl_trainer *tr)
{
    return tr->exchange;
}

kl_model *kl_trainer_model(const kl_trainer *tr)
{
    return tr ? tr->model : NULL;
}

kl_ctx *kl__trainer_ctx(const kl_trainer *tr)
{
    for (size_t i = 0; i < tr->n_ctx; i++)
        if (!kl__ctx_lost(tr->ctx[i]))
            return tr->ctx[i];
    return tr->ctx[0];
}

kl_status kl__trainer_get_state(kl_trainer *tr, int k, void *dst)
{
    return tr->team ? kl__team_get_state(tr->team, k, dst)
                    : kl__stepper_get_state(tr->stepper, k, dst);
}

kl_status kl__trainer_set_state(kl_trainer *tr, int k, const void *src)
{
    return tr->team ? kl__team_set_state(tr->team, k, src)
                    : kl__stepper_set_state(tr->stepper, k, src);
}

int64_t kl__trainer_complete(kl_trainer *tr)
{
    return tr->team ? kl__team_steps(tr->team, tr->steps) : tr->steps;
}

kl_status kl_trainer_shares(const kl_trainer *tr, kl_share *out, size_t cap, size_t *n)
{
    kl__team_share shares[KL_MAX_GROUP] = {{0}};
    if (!tr || !n || (cap && !out))
        return kl__fail(KL_E_ARG, "kl_trainer_shares: %s is NULL",
                        !tr ? "trainer" : n ? "out" : "n");
    *n = tr->n_ctx;
    if (tr->team)
        kl__team_shares(tr->team, shares, KL_MAX_GROUP);
    else
        shares[0].shards = tr->shards;
    for (size_t i = 0; i < *n && i < cap; i++) {
        const kl__team_share *s = &shares[i];
        out[i] = (kl_share){.shards = s->shards,
                            .images_per_second = s->samples_per_second,
                            .busy = s->busy,
                            .lost = s->lost};
        memcpy(out[i].why, s->why, sizeof out[i].why);
        kl_ctx_info(tr->ctx[i], &out[i].device);
    }
    return KL_OK;
}

const char *kl__trainer_meta(const kl_trainer *tr, const char *key)
{
    for (size_t i = 0; i < tr->n_loaded; i++)
        if (!strcmp(tr->loaded[i].key, key))
            return tr->loaded[i].value;
    return NULL;
}

char *kl__trainer_optimizer(const kl_trainer *tr)
{
    const kl__optim *o = &tr->attrs;
    kl__text t = {0};
    kl__put(&t, "%s compat=%d decoupled=%d nesterov=%d centered=%d", tr->optim->name,
            (int)o->compat, o->decoupled, o->nesterov, o->centered);
    const struct {
        const char *name;
        float v;
    } numbers[] = {{"momentum", o->momentum},
                   {"beta1", o->beta1},
                   {"beta2", o->beta2},
                   {"rho", o->rho},
                   {"eps", o->eps}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        kl__put(&t, " %s=", numbers[i].name);
        kl__put_float(&t, numbers[i].v);
    }
    if (!t.failed)
        return t.s;
    kl__text_free(&t);
    return NULL;
}
