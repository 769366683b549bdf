/* A step: upload, one pass per shard with its sums added into a fixed tree, update, and the totals
 * on their way back. */
#include "sched/stepper_inside.h"

#include "base/mem.h"
#include "sched/meet.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* ---- passes ---- */
static kl__place at_sums(const kl__stepper *s, size_t elem)
{
    return (kl__place){KL__AT_SPAN, {s->sums, elem * s->real_size}, 0};
}

/** Where a pass's outputs go: gradients to the parameter's place, values of state updates and
 * totals behind them. */
static void place_sums(const kl__stepper *s, kl_graph *g, kl__pass *p)
{
    size_t state = s->state_at;
    for (size_t i = 0; i < g->n_outputs; i++) {
        kl__graph_output *o = &g->outputs[i];
        if (kl__starts(o->name, "grad:")) {
            o->place = at_sums(s, kl__model_find(s->model, o->name + 5)->offset);
        } else if (kl__starts(o->name, "state:")) {
            o->place = at_sums(s, state);
            state += ((size_t)kl_shape_count(o->node->desc.shape) + KL__PARAM_ALIGN - 1) /
                     KL__PARAM_ALIGN * KL__PARAM_ALIGN;
        } else {
            size_t at = !strcmp(o->name, "loss_sum")      ? KL__T_LOSS
                        : !strcmp(o->name, "loss_weight") ? KL__T_WEIGHT
                                                          : KL__T_CORRECT;
            o->place = at_sums(s, s->totals_at + at);
            p->has_correct |= at == KL__T_CORRECT;
        }
    }
}

/** Passes of a step run one after the other, and leave nothing but their sums. */
static const kl__plan *largest(const kl__stepper *s, int shard)
{
    const kl__plan *most = NULL;
    for (const kl__pass *p = s->passes; p; p = p->next)
        if (p->training && p->shard == shard &&
            (!most || p->plan->memory.arena_bytes > most->memory.arena_bytes))
            most = p->plan;
    return most;
}

kl__pass *kl__pass_get(kl__stepper *s, int64_t n, bool training)
{
    return kl__pass_of(s, n, training, -1);
}

static void free_pass(kl__pass *p)
{
    if (p)
        kl__free(p->meet);
    kl__free(p);
}

kl__pass *kl__pass_of(kl__stepper *s, int64_t n, bool training, int shard)
{
    for (kl__pass *p = s->passes; p; p = p->next)
        if (p->n == n && p->training == training && p->shard == shard)
            return p;
    const bool meets = shard >= 0;
    kl__pass *p = kl__calloc(1, sizeof *p);
    kl__pass_spec spec = {.training = training,
                          .loss = s->loss,
                          .logits = s->logits,
                          .meet = meets ? s->opts.shards : 0};
    kl_graph *g = p ? kl__pass_graph(s->model, n, &spec) : NULL;
    if (!g) {
        kl__free(p);
        return NULL;
    }
    p->n = n;
    p->training = training;
    p->shard = shard;
    if (meets)
        kl__meet_place(s, g, shard);
    p->n_slots = kl__place_inputs(g);
    kl__replica_place(s->replica, g);
    place_sums(s, g, p);
    /* of shards that meet, all values live at once, and the sums are another shard's till the end
     */
    const kl__plan_opts opts = {.step = meets ? s->meet->step[shard] : s->step_block,
                                .apart = meets,
                                .as_built = meets, /* all shards meet in one order */
                                .prepare = !training,
                                .over = training ? largest(s, shard) : NULL};
    p->plan = kl__plan_create(s->ctx, g, &opts);
    if (!p->plan || (meets && kl__meet_cuts(s, p) != KL_OK)) {
        kl__plan_destroy(p->plan);
        free_pass(p);
        return NULL;
    }
    if (training && !meets)
        kl__tree_cuts(s, p);
    p->next = s->passes;
    s->passes = p;
    return p;
}

static void drop_passes(kl__stepper *s)
{
    for (kl__pass *p = s->passes, *next; p; p = next) {
        next = p->next;
        kl__plan_destroy(p->plan);
        free_pass(p);
    }
    s->passes = NULL;
}

/* ---- life ---- */
static kl_status zero_fill(kl__stepper *s, kl__mem *m)
{
    static const uint32_t zero;
    return kl__lane_fill(kl__ctx_lane(s->ctx, KL__COMPUTE), (kl__span){m, 0}, &zero, 4,
                         kl__mem_bytes(m) / 4 * 4);
}

/** Sizes of the sums; needs one lowered graph to see the values of state updates. */
static kl_status size_sums(kl__stepper *s)
{
    kl_graph *g = kl__pass_graph(s->model, 2, &(kl__pass_spec){true, s->loss, s->logits, 0});
    if (!g)
        return kl__last_status();
    s->state_at = s->totals_at = s->model->trainable_elems;
    for (size_t i = 0; i < g->n_updates; i++)
        s->totals_at +=
            ((size_t)kl_shape_count(g->updates[i].value->desc.shape) + KL__PARAM_ALIGN - 1) /
            KL__PARAM_ALIGN * KL__PARAM_ALIGN;
    s->sums_elems = s->totals_at + KL__TOTALS;
    kl_graph_destroy(g);
    return KL_OK;
}

static kl__mem *zeroed(kl__stepper *s, size_t bytes, kl_status *st)
{
    kl__mem *m = *st == KL_OK ? kl__mem_create(s->ctx, bytes) : NULL;
    if (*st == KL_OK)
        *st = m ? (bytes ? zero_fill(s, m) : KL_OK) : kl__last_status();
    return m;
}

kl_status kl__stepper_lead(kl__stepper *s)
{
    kl_status st = KL_OK;
    if (s->update)
        return KL_OK;
    if (!s->states)
        s->states = zeroed(
            s, s->model->trainable_elems * (size_t)s->opts.n_states * s->real_size, &st);
    return st == KL_OK ? kl__update_create(s) : st;
}

static kl_status create(kl__stepper *s)
{
    const size_t n = s->model->n_trainable;
    kl_status st = kl__inputs_list(s);
    s->replica = kl__replica_get(s->model, s->ctx);
    if (st == KL_OK && !s->replica)
        st = kl__last_status();
    if (st == KL_OK && !(s->groups_kept = kl__calloc(n + 1, sizeof *s->groups_kept)))
        st = KL_E_MEMORY;
    if (st == KL_OK && n)
        memcpy(s->groups_kept, s->opts.groups, n * sizeof *s->groups_kept);
    if (st == KL_OK)
        st = size_sums(s);
    if (st == KL_OK)
        kl__tree_buckets(s);
    s->sums = zeroed(s, s->sums_elems * s->real_size, &st);
    s->step_block = zeroed(s, KL__STEP_WORDS * 4, &st);
    if (st == KL_OK && s->opts.meet && s->opts.shards > 1)
        st = kl__meet_create(s);
    if (st != KL_OK || s->opts.follower)
        return st;
    st = kl__tree_grow(s, s->opts.shards);
    return st == KL_OK ? kl__stepper_lead(s) : st;
}

kl__stepper *kl__stepper_create(kl_model *m, kl_ctx *ctx, const kl__stepper_opts *opts)
{
    kl__stepper *s = kl__calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->model = m;
    s->ctx = ctx;
    s->opts = *opts;
    s->real_size = kl_dtype_size(m->real);
    s->loss = kl__strdup(opts->loss);
    s->logits = opts->logits ? kl__strdup(opts->logits) : NULL;
    kl_status st = s->loss && (s->logits || !opts->logits) ? KL_OK : KL_E_MEMORY;
    if (st == KL_OK && opts->optim->attrs_bytes) {
        s->optim_attrs = kl__alloc(opts->optim->attrs_bytes);
        st = s->optim_attrs ? KL_OK : KL_E_MEMORY;
        if (st == KL_OK)
            memcpy(s->optim_attrs, opts->optim_attrs, opts->optim->attrs_bytes);
    }
    kl__lock(&m->lock);
    if (st == KL_OK)
        st = create(s);
    s->freezes = m->freezes;
    kl__unlock(&m->lock);
    s->opts.groups = NULL; /* the caller's */
    if (st == KL_OK)
        return s;
    kl__stepper_destroy(s);
    return NULL;
}

void kl__stepper_destroy(kl__stepper *s)
{
    if (!s)
        return;
    for (int k = 0; k < 2; k++) {
        /* the upload lane too: it reads host copies that go */
        kl__lane *lane = kl__ctx_lane(s->ctx, k ? KL__COMPUTE : KL__UPLOAD);
        if (kl__lane_drain(lane) != KL_OK)
            kl__lane_finish(lane); /* no event to wait for: this must not fail to wait */
    }
    for (int i = 0; i < KL__RING; i++)
        kl__event_release(&s->ring[i].done);
    drop_passes(s);
    kl__meet_destroy(s->meet);
    kl__plan_destroy(s->update);
    for (int i = 0; i < KL__MAX_LEVELS; i++) {
        for (int b = 0; b < s->n_buckets; b++)
            kl__plan_destroy(s->add[i][b]);
        kl__mem_release(s->level[i]);
    }
    kl__inputs_finish(s);
    kl__mem *const mems[] = {s->sums, s->states, s->groups, s->table, s->step_block};
    for (size_t i = 0; i < sizeof mems / sizeof *mems; i++)
        kl__mem_release(mems[i]);
    kl__free(s->loss);
    kl__free(s->logits);
    kl__free(s->optim_attrs);
    kl__free(s->groups_kept);
    kl__free(s);
}

/* ---- a step ---- */
static uint32_t float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

void kl__step_block_fill(kl__stepper *s, uint32_t *b, int64_t first, int shards,
                         const kl__step_scalars *sc)
{
    memset(b, 0, KL__STEP_WORDS * sizeof *b);
    b[KL__STEP_STEP] = (uint32_t)sc->step;
    b[KL__STEP_SEED_LO] = (uint32_t)s->model->seed;
    b[KL__STEP_SEED_HI] = (uint32_t)(s->model->seed >> 32);
    b[KL__STEP_FIRST_LO] = (uint32_t)first;
    b[KL__STEP_FIRST_HI] = (uint32_t)((uint64_t)first >> 32);
    b[KL__STEP_LR] = float_bits((float)sc->lr);
    for (int i = 0; i < 4; i++)
        b[KL__STEP_P0 + i] = float_bits(sc->p[i]);
    b[KL__STEP_SHARDS] = float_bits((float)shards);
}

kl_status kl__step_block_write(kl__stepper *s, uint32_t *b, int64_t first, int shards,
                               const kl__step_scalars *sc)
{
    kl__step_block_fill(s, b, first, shards, sc);
    kl__event done = {NULL}; /* the caller's block outlives the step */
    kl_status st = kl__lane_write(kl__ctx_lane(s->ctx, KL__COMPUTE), (kl__span){s->step_block, 0},
                                  b, KL__STEP_WORDS * sizeof *b, &done);
    kl__event_release(&done);
    return st;
}

/** Waits for the step that used this entry's memory before. */
static kl_status free_entry(kl__stepper *s, uint64_t k)
{
    if (s->head < KL__RING - 1)
        return KL_OK;
    kl__entry *before = &s->ring[(k - (KL__RING - 1)) % KL__RING];
    return before->done.h ? kl__event_wait(s->ctx, before->done) : KL_OK;
}

static kl__entry *begin_entry(kl__stepper *s, bool eval, int64_t step, int64_t samples)
{
    kl__entry *e = &s->ring[s->head % KL__RING];
    kl__event_release(&e->done);
    e->used = true;
    e->eval = eval;
    e->by_hand = false;
    e->shards = 0;
    e->step = step;
    e->samples = samples;
    e->status = KL_OK;
    return e;
}

static kl_status end_entry(kl__stepper *s, kl__entry *e, kl__lane *lane)
{
    kl_status st = kl__lane_read(lane, (kl__span){s->sums, s->totals_at * s->real_size}, e->totals,
                                 KL__TOTALS * s->real_size, &e->done);
    if (st == KL_OK)
        st = kl__lane_flush(lane);
    if (st == KL_OK)
        s->head++;
    return st;
}

kl_status kl__stepper_join(kl__stepper *s, int shard, int shards, kl__lane *lane)
{
    kl_status st = KL_OK;
    for (int b = 0; st == KL_OK && b < s->n_buckets; b++) {
        s->last = (kl__node_id){0, shard};
        st = kl__tree_join(s, b, &s->last, 0, shards, lane);
    }
    return st;
}

kl_status kl__shard_zero(kl__stepper *s, kl__lane *lane)
{
    static const uint32_t zero;
    return kl__lane_fill(lane, (kl__span){s->sums, 0}, &zero, 4, s->sums_elems * s->real_size);
}

/** One shard's pass; none of its samples: zeros in its sums. */
static kl_status run_shard(kl__stepper *s, const kl_bind *binds, size_t n, int64_t first,
                           int64_t count, kl__entry *e, int shard, const kl__step_scalars *sc)
{
    kl__lane *lane = kl__ctx_lane(s->ctx, KL__COMPUTE);
    const int with = e->samples < s->opts.shards ? (int)e->samples : s->opts.shards;
    if (!count)
        return kl__shard_zero(s, lane);
    kl__pass *p = kl__pass_get(s, count, true);
    if (p && p->plan->lanes != s->lanes)
        kl__plan_set_lanes(p->plan, s->lanes); /* what fails leaves it on one */
    kl_status st =
        p ? kl__step_block_write(s, e->block[shard], first, with, sc) : kl__last_status();
    if (st == KL_OK)
        st = kl__inputs_bind(s, p, binds, n, e->by_hand ? 0 : first, s->head);
    if (st == KL_OK)
        st = kl__plan_run(p->plan, lane);
    e->has_correct = p && p->has_correct;
    return st;
}

static kl_status run_shards(kl__stepper *s, const kl_bind *binds, size_t n, int64_t batch,
                            kl__entry *e, const kl__step_scalars *sc, kl__lane *lane)
{
    const int shards = s->opts.shards;
    if (s->meet)
        return kl__meet_step(s, binds, n, batch, e, sc, lane);
    /* the largest pass first: the others find room in its memory */
    kl_status st = kl__pass_get(s, (batch + shards - 1) / shards, true) ? KL_OK : kl__last_status();
    for (int i = 0; st == KL_OK && i < shards; i++) {
        const int64_t first = batch * i / shards, end = batch * (i + 1) / shards;
        st = run_shard(s, binds, n, first, end - first, e, i, sc);
        if (st == KL_OK && shards > 1)
            st = kl__stepper_join(s, i, shards, lane);
    }
    return st;
}

static kl_status check_batch(const kl__stepper *s, int64_t batch)
{
    if (batch < 0)
        return kl__last_status();
    if (batch == 0)
        return kl__fail(KL_E_ARG, "the batch is empty");
    if (s->freezes != s->model->freezes)
        return kl__fail(KL_E_ARG,
                        "parameters were frozen or freed after the trainer was made: make "
                        "a new one");
    return KL_OK;
}

static kl_status step_locked(kl__stepper *s, const kl_bind *binds, size_t n,
                             const kl__step_scalars *sc)
{
    kl__lane *lane = kl__ctx_lane(s->ctx, KL__COMPUTE);
    int64_t batch = kl__binds_batch(s->model, binds, n);
    kl_status st = check_batch(s, batch);
    if (st == KL_OK && s->by_hand)
        st = kl__fail(KL_E_ARG, "a step by hand was begun: kl_trainer_update ends it");
    if (st == KL_OK)
        st = free_entry(s, s->head);
    kl__replica *r = st == KL_OK ? kl__replica_get(s->model, s->ctx) : NULL;
    if (st != KL_OK || !r)
        return kl__last_status();
    kl__entry *e = begin_entry(s, false, sc->step, batch);
    e->shards = s->opts.shards;
    s->lanes = kl__ctx_flags(s->ctx) & KL_CTX_NO_TUNE
                   ? 1
                   : kl__lane_choice_begin(&s->choice, s->head, batch);
    st = kl__inputs_upload(s, binds, n, batch, s->head);
    if (st == KL_OK)
        st = run_shards(s, binds, n, batch, e, sc, lane);
    if (st == KL_OK)
        st = kl__plan_run(s->update, lane);
    if (st == KL_OK)
        kl__replica_changed(r);
    return st == KL_OK ? end_entry(s, e, lane) : st;
}

kl_status kl__stepper_step(kl__stepper *s, const kl_bind *binds, size_t n,
                           const kl__step_scalars *sc)
{
    kl__lock(&s->model->lock);
    kl_status st = step_locked(s, binds, n, sc);
    kl__unlock(&s->model->lock);
    return st;
}

/* ---- by hand ---- */
static kl_status backward_locked(kl__stepper *s, const kl_bind *binds, size_t n,
                                 const kl__step_scalars *sc)
{
    kl__lane *lane = kl__ctx_lane(s->ctx, KL__COMPUTE);
    const int64_t batch = kl__binds_batch(s->model, binds, n);
    kl_status st = check_batch(s, batch);
    if (st == KL_OK && s->meet)
        st = kl__fail(KL_E_UNSUPPORTED, "batch statistics of all shards: a step by hand gives one "
                                        "shard after the other; kl_trainer_step has them all");
    if (st == KL_OK && s->by_hand == KL__MAX_SHARDS)
        st = kl__fail(KL_E_ARG, "%d passes without an update: no more can be added",
                      KL__MAX_SHARDS);
    if (st == KL_OK)
        st = kl__tree_grow(s, s->by_hand + 2);
    if (st == KL_OK)
        st = free_entry(s, s->head);
    if (st != KL_OK || !kl__replica_get(s->model, s->ctx))
        return kl__last_status();
    kl__entry *e = begin_entry(s, false, sc->step, batch);
    e->by_hand = true;
    s->lanes = 1;
    st = kl__inputs_upload(s, binds, n, batch, s->head);
    if (st == KL_OK)
        st = run_shard(s, binds, n, s->hand_samples, batch, e, 0, sc);
    if (st == KL_OK)
        st = kl__stepper_join(s, s->by_hand, INT_MAX, lane);
    if (st == KL_OK)
        st = end_entry(s, e, lane);
    if (st == KL_OK) {
        s->by_hand++;
        s->hand_samples += batch;
        s->hand_correct = e->has_correct;
    }
    return st;
}

kl_status kl__stepper_backward(kl__stepper *s, const kl_bind *binds, size_t n,
                               const kl__step_scalars *sc)
{
    kl__lock(&s->model->lock);
    kl_status st = backward_locked(s, binds, n, sc);
    kl__unlock(&s->model->lock);
    return st;
}

static kl_status update_locked(kl__stepper *s, const kl__step_scalars *sc)
{
    kl__lane *lane = kl__ctx_lane(s->ctx, KL__COMPUTE);
    kl_status st = s->by_hand
                       ? free_entry(s, s->head)
                       : kl__fail(KL_E_ARG, "there is no gradient: kl_trainer_backward first");
    if (st != KL_OK)
        return st;
    kl__entry *e = begin_entry(s, false, sc->step, s->hand_samples);
    e->has_correct = s->hand_correct;
    st = kl__step_block_write(s, e->block[0], 0, s->by_hand, sc);
    for (int b = 0; st == KL_OK && b < s->n_buckets; b++) {
        /* an evaluation may have used the sums meanwhile */
        st = kl__lane_copy(lane, kl__tree_span(s, s->sums, b),
                           kl__tree_span(s, s->level[s->last.level], b),
                           s->bucket[b].n * s->real_size);
        if (st == KL_OK)
            st = kl__tree_fold(s, b, s->last, lane);
    }
    if (st == KL_OK)
        st = kl__plan_run(s->update, lane);
    if (st == KL_OK) {
        kl__replica_changed(s->replica);
        st = end_entry(s, e, lane);
    }
    s->by_hand = 0;
    s->hand_samples = 0;
    return st;
}

kl_status kl__stepper_update(kl__stepper *s, const kl__step_scalars *sc)
{
    kl__lock(&s->model->lock);
    kl_status st = update_locked(s, sc);
    kl__unlock(&s->model->lock);
    return st;
}

/* ---- evaluation ---- */
static kl_status eval_locked(kl__stepper *s, const kl_bind *binds, size_t n)
{
    kl__lane *lane = kl__ctx_lane(s->ctx, KL__COMPUTE);
    int64_t batch = kl__binds_batch(s->model, binds, n);
    kl_status st = batch == 0 ? kl__fail(KL_E_ARG, "the batch is empty")
                   : batch < 0 ? kl__last_status()
                               : KL_OK;
    if (st == KL_OK)
        st = free_entry(s, s->head);
    kl__replica *r = st == KL_OK ? kl__replica_get(s->model, s->ctx) : NULL;
    if (st == KL_OK && !r)
        st = kl__last_status();
    kl__pass *p = st == KL_OK ? kl__pass_get(s, batch, false) : NULL;
    if (!p)
        return st == KL_OK ? kl__last_status() : st;
    kl__entry *e = begin_entry(s, true, 0, batch);
    e->has_correct = p->has_correct;
    st = kl__inputs_upload(s, binds, n, batch, s->head);
    if (st == KL_OK)
        st = kl__inputs_bind(s, p, binds, n, 0, s->head);
    if (st == KL_OK) {
        kl__plan_params(p->plan, r->version);
        st = kl__plan_run(p->plan, lane);
    }
    return st == KL_OK ? end_entry(s, e, lane) : st;
}

kl_status kl__stepper_eval(kl__stepper *s, const kl_bind *binds, size_t n)
{
    kl__lock(&s->model->lock);
    kl_status st = eval_locked(s, binds, n);
    kl__unlock(&s->model->lock);
    return st;
}

/* ---- results ---- */
static double total(const kl__stepper *s, const kl__entry *e, size_t i)
{
    return s->real_size == 8 ? e->totals[i] : (double)((const float *)(const void *)e->totals)[i];
}

void kl__result_of(const kl__stepper *s, const kl__entry *e, kl__result *out)
{
    out->step = e->step;
    out->samples = e->samples;
    out->loss_sum = total(s, e, KL__T_LOSS);
    out->weight = total(s, e, KL__T_WEIGHT);
    out->correct = e->has_correct ? total(s, e, KL__T_CORRECT) : 0;
    out->counted = e->has_correct ? total(s, e, KL__T_CORRECT + 1) : 0;
    out->grad_norm = e->eval ? 0 : total(s, e, KL__T_NORM);
    out->finite = isfinite(out->loss_sum) && isfinite(out->grad_norm);
}

bool kl__stepper_result(kl__stepper *s, bool wait, kl__result *out, bool *eval, kl_status *st)
{
    *st = KL_OK;
    while (s->tail != s->head) {
        kl__entry *e = &s->ring[s->tail % KL__RING];
        if (!wait && kl__event_poll(s->ctx, e->done) == 1)
            return false;
        const bool ran = kl__event_poll(s->ctx, e->done) == 1;
        *st = kl__event_wait(s->ctx, e->done);
        if (*st == KL_OK && !e->eval && !e->by_hand)
            kl__lane_choice_end(&s->choice, s->tail, kl__now(), ran);
        s->tail++;
        *eval = e->eval;
        memset(out, 0, sizeof *out);
        if (*st == KL_OK && e->by_hand)
            continue;
        if (*st == KL_OK)
            kl__result_of(s, e, out);
        return true;
    }
    return false;
}

int kl__stepper_pending(const kl__stepper *s)
{
    return (int)(s->head - s->tail);
}

kl_status kl__stepper_mark(kl__stepper *s, kl__event *done)
{
    return kl__lane_mark(kl__ctx_lane(s->ctx, KL__COMPUTE), done);
}

static kl_status state_span(kl__stepper *s, int k, kl__span *at, size_t *bytes)
{
    if (k < 0 || k >= s->opts.n_states)
        return kl__fail(KL_E_ARG, "the optimizer has no state %d", k);
    *bytes = s->model->trainable_elems * s->real_size;
    *at = (kl__span){s->states, (size_t)k * *bytes};
    return KL_OK;
}

kl_status kl__stepper_get_state(kl__stepper *s, int k, void *dst)
{
    kl__span at = {0};
    size_t bytes = 0;
    kl_status st = state_span(s, k, &at, &bytes);
    return st == KL_OK && bytes
               ? kl__lane_read(kl__ctx_lane(s->ctx, KL__COMPUTE), at, dst, bytes, NULL)
               : st;
}

kl_status kl__stepper_set_state(kl__stepper *s, int k, const void *src)
{
    kl__span at = {0};
    size_t bytes = 0;
    kl_status st = state_span(s, k, &at, &bytes);
    return st == KL_OK && bytes
               ? kl__lane_write(kl__ctx_lane(s->ctx, KL__COMPUTE), at, src, bytes, NULL)
               : st;
}
