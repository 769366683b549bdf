/* Inference passes: one plan per (batch size, set of outputs), kept with the replica. */
#include "sched/model.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { MAX_OUTPUTS = 64, MAX_SLOTS = 64 };

struct kl__infer_plan {
    kl__infer_plan *next;
    int64_t batch;
    uint64_t outputs; /* bit i: output i of the model's graph */
    kl__plan *plan;
    int n_slots;
    kl__mem *staging[MAX_SLOTS]; /* where host inputs go */
    kl__span bound[MAX_SLOTS];
};

static void destroy_one(kl__infer_plan *p)
{
    kl__plan_destroy(p->plan);
    for (int i = 0; i < p->n_slots; i++)
        kl__mem_release(p->staging[i]);
    kl__free(p);
}

void kl__infer_plans_destroy(kl__infer_plan *p)
{
    for (kl__infer_plan *next; p; p = next) {
        next = p->next;
        destroy_one(p);
    }
}

static kl__infer_plan *make_plan(kl__replica *r, int64_t batch, uint64_t outputs)
{
    const kl_model *m = r->model;
    const char *names[MAX_OUTPUTS];
    size_t n = 0;
    for (size_t i = 0; i < m->graph->n_outputs; i++)
        if (outputs >> i & 1)
            names[n++] = m->graph->outputs[i].name;
    kl__infer_plan *p = kl__calloc(1, sizeof *p);
    kl_graph *g = p ? kl__graph_lower(m->graph, batch, false, m->real, names, n) : NULL;
    if (!g) {
        kl__free(p);
        return NULL;
    }
    p->batch = batch;
    p->outputs = outputs;
    p->n_slots = kl__place_inputs(g);
    if (p->n_slots > MAX_SLOTS) {
        kl__fail(KL_E_UNSUPPORTED, "a graph of %d inputs; at most %d are possible", p->n_slots,
                 MAX_SLOTS);
        p->n_slots = 0;
        kl_graph_destroy(g);
        destroy_one(p);
        return NULL;
    }
    kl__replica_place(r, g);
    p->plan = kl__plan_create(r->ctx, g, &(kl__plan_opts){.prepare = true});
    if (!p->plan) {
        destroy_one(p);
        return NULL;
    }
    p->next = r->plans;
    r->plans = p;
    return p;
}

static kl__infer_plan *find_plan(kl__replica *r, int64_t batch, uint64_t outputs)
{
    kl__infer_plan *p = r->plans;
    while (p && (p->batch != batch || p->outputs != outputs))
        p = p->next;
    return p ? p : make_plan(r, batch, outputs);
}

/** stays: the host memory lives until the pass is done, so nothing waits for the write. */
static kl_status bind_input(kl__infer_plan *p, int slot, const kl_bind *b, bool stays,
                            kl__lane *lane)
{
    const kl_node *x = kl__slot_input(p->plan->graph, slot);
    size_t bytes;
    if (!kl__desc_bytes(&x->desc, &bytes))
        return kl__fail(KL_E_SHAPE, "input \"%s\" is too large", x->name);
    kl__span span = {0}, was;
    if (b->tensor) {
        span = b->tensor->span;
    } else {
        if (!p->staging[slot] && !(p->staging[slot] = kl__mem_create(kl__lane_ctx(lane), bytes)))
            return kl__fail_in(kl__last_status(), "input \"%s\"", x->name);
        span.mem = p->staging[slot];
        /* on the compute lane: the pass before may still read the staging buffer */
        kl__event e = {NULL};
        kl_status st =
            bytes ? kl__lane_write(lane, span, b->host, bytes, stays ? &e : NULL) : KL_OK;
        kl__event_release(&e);
        if (st != KL_OK)
            return st;
    }
    p->bound[slot] = span;
    if (kl__seq_bound(p->plan->seq, slot, &was) && was.mem == span.mem &&
        was.offset == span.offset)
        return KL_OK;
    return kl__plan_bind(p->plan, slot, span);
}

/** *last: the end of it where it is the lane's last command and has an event. */
static kl_status take_output(kl__infer_plan *p, const kl_bind *b, kl__lane *lane, kl__event *last)
{
    const kl_node *y = kl_graph_output(p->plan->graph, b->name);
    kl__span from = y->place.span;
    size_t bytes;
    if (!kl__desc_bytes(&y->desc, &bytes) || !bytes)
        return KL_OK;
    if (y->place.kind == KL__AT_SLOT) { /* an input as it came */
        from = p->bound[y->place.slot];
        from.offset += y->place.span.offset;
    }
    kl__event_release(last);
    if (b->tensor)
        return kl__lane_copy(lane, b->tensor->span, from, bytes);
    return kl__lane_read(lane, from, b->host, bytes, last);
}

static kl_status output_set(const kl_model *m, const kl_bind *binds, size_t n, uint64_t *set)
{
    *set = 0;
    if (m->graph->n_outputs > MAX_OUTPUTS)
        return kl__fail(KL_E_UNSUPPORTED, "a graph of %zu outputs; at most %d are possible",
                        m->graph->n_outputs, MAX_OUTPUTS);
    for (size_t i = 0; i < m->graph->n_outputs; i++)
        if (kl__bind_find(binds, n, m->graph->outputs[i].name))
            *set |= (uint64_t)1 << i;
    return *set ? KL_OK : kl__fail(KL_E_ARG, "no output is bound: there is nothing to compute");
}

static kl_status pass_locked(kl_model *m, kl_ctx *ctx, const kl_bind *binds, size_t n, bool stays,
                             kl__event *done)
{
    uint64_t set;
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl__event last = {NULL};
    int64_t batch = kl__binds_batch(m, binds, n);
    kl_status st = batch < 0 ? kl__last_status() : output_set(m, binds, n, &set);
    kl__replica *r = st == KL_OK ? kl__replica_get(m, ctx) : NULL;
    kl__infer_plan *p = r ? find_plan(r, batch, set) : NULL;
    if (st == KL_OK && !p)
        st = kl__last_status();
    for (int i = 0; st == KL_OK && i < p->n_slots; i++) {
        const kl_node *x = kl__slot_input(p->plan->graph, i);
        const kl_bind *b = kl__bind_find(binds, n, x->name);
        st = b ? bind_input(p, i, b, stays, lane)
               : kl__fail(KL_E_ARG, "input \"%s\" is not bound and the outputs that are need it",
                          x->name);
    }
    if (st == KL_OK) {
        kl__plan_params(p->plan, r->version);
        st = kl__plan_run(p->plan, lane);
    }
    for (size_t i = 0; st == KL_OK && i < n; i++)
        if (kl_graph_output(p->plan->graph, binds[i].name))
            st = take_output(p, &binds[i], lane, &last);
    if (st == KL_OK && done &&
        last.h) { /* a lane is in order: its last command's end is the pass's */
        *done = last;
        last.h = NULL;
    } else if (st == KL_OK && done) {
        st = kl__lane_mark(lane, done);
    }
    kl__event_release(&last);
    return st;
}

kl_status kl__model_pass(kl_model *m, kl_ctx *ctx, const kl_bind *binds, size_t n, kl__event *done)
{
    if (!m || !ctx || (n && !binds))
        return kl__fail(KL_E_ARG, "a pass needs a model, a context and binds");
    kl__model_enter(m);
    kl_status st = pass_locked(m, ctx, binds, n, false, done);
    kl__unlock(&m->lock);
    return st;
}

static bool any_host(const kl_bind *binds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (binds[i].host)
            return true;
    return false;
}

kl_status kl__model_start(kl_model *m, kl_ctx *ctx, const kl_bind *binds, size_t n,
                          kl__event *done)
{
    if (!m || !ctx || (n && !binds))
        return kl__fail(KL_E_ARG, "a pass needs a model, a context and binds");
    kl__model_enter(m);
    kl_status st = pass_locked(m, ctx, binds, n, true, done);
    kl__unlock(&m->lock);
    /* what was queued before it failed still uses the caller's memory */
    if (st != KL_OK && any_host(binds, n)) {
        char why[512];
        snprintf(why, sizeof why, "%s", kl_last_error());
        kl__lane_drain(kl__ctx_lane(ctx, KL__COMPUTE));
        kl__fail(st, "%s", why);
    }
    return st;
}

kl_status kl_model_run(kl_model *m, kl_ctx *ctx, const kl_bind *binds, size_t n_binds)
{
    kl__event done = {NULL};
    if (!m || !ctx || !binds || !any_host(binds, n_binds))
        return kl__model_pass(m, ctx, binds, n_binds, NULL);
    kl_status st = kl__model_start(m, ctx, binds, n_binds, &done);
    if (st == KL_OK)
        st = kl__event_wait(ctx, done);
    kl__event_release(&done);
    return st;
}
