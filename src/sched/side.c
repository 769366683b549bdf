/* A plan's work over two lanes: which steps go to the side, and what waits for what. */
#include "sched/lanes.h"

#include "base/mem.h"

#include <string.h>

/* ---- what an apply touches ---- */

/** Bytes [lo, hi) of a buffer, or of whatever is bound to a slot. */
typedef struct touch {
    const kl__mem *mem; /* NULL: slot */
    int slot;
    size_t lo, hi;
    bool write;
} touch;

typedef struct work {
    const kl__plan *p;
    touch *touch;  /* of all applies */
    size_t *first; /* by apply: its first in touch; n_applies + 1 entries */
    bool *side;    /* by apply */
} work;

static bool runs(const kl__plan *p, size_t i)
{
    return p->first_step[i] != p->first_step[i + 1];
}

static void add(work *w, size_t *n, const kl__place *at, size_t bytes, bool write)
{
    if (at->kind != KL__NOWHERE && bytes)
        w->touch[(*n)++] =
            (touch){at->kind == KL__AT_SPAN ? at->span.mem : NULL, at->slot, at->span.offset,
                    at->span.offset + bytes, write};
}

static void add_value(work *w, size_t *n, const kl_node *x, bool write)
{
    size_t bytes;
    add(w, n, &x->place, kl__desc_bytes(&x->desc, &bytes) ? bytes : 0, write);
}

static kl_status list_touches(work *w)
{
    const kl_graph *g = w->p->graph;
    const kl__caps *caps = kl__ctx_caps(w->p->ctx);
    size_t n = 0;
    for (size_t i = 0; i < g->n_applies; i++)
        n += (size_t)(g->applies[i]->n_in + g->applies[i]->n_out) + 1;
    w->touch = kl__calloc(n + 1, sizeof *w->touch);
    w->first = kl__calloc(g->n_applies + 1, sizeof *w->first);
    if (!w->touch || !w->first)
        return KL_E_MEMORY;
    n = 0;
    for (size_t i = 0; i < g->n_applies; i++) {
        const kl__apply *a = g->applies[i];
        w->first[i] = n;
        if (!runs(w->p, i))
            continue;
        for (int k = 0; k < a->n_in; k++)
            add_value(w, &n, a->in[k], false);
        for (int k = 0; k < a->n_out; k++)
            add_value(w, &n, a->out[k], true);
        if (a->scratch.kind != KL__NOWHERE)
            add(w, &n, &a->scratch, a->variant->scratch_bytes(a, caps), true);
    }
    w->first[g->n_applies] = n;
    return KL_OK;
}

/** Two slots may be bound to one buffer; what the plan itself writes is bound to none
 * (kl__plan_writes). */
static bool meet(const touch *a, const touch *b)
{
    if (!a->write && !b->write)
        return false;
    if (!a->mem || !b->mem)
        return a->mem == b->mem;
    return a->mem == b->mem && a->lo < b->hi && b->lo < a->hi;
}

static bool conflict(const work *w, size_t p, size_t q)
{
    for (size_t i = w->first[p]; i < w->first[p + 1]; i++)
        for (size_t k = w->first[q]; k < w->first[q + 1]; k++)
            if (meet(&w->touch[i], &w->touch[k]))
                return true;
    return false;
}

/* ---- the split ---- */

/** The last apply of the other lane that p depends on, if it comes after what p's lane has waited
 * for already; SIZE_MAX: none. */
static size_t last_conflict(const work *w, size_t p, size_t waited)
{
    for (size_t q = p; q-- > 0 && (waited == SIZE_MAX || q > waited);)
        if (w->side[q] != w->side[p] && conflict(w, p, q))
            return q;
    return SIZE_MAX;
}

static void split_steps(const work *w, bool *side, size_t *after)
{
    const kl__plan *p = w->p;
    const size_t n = p->graph->n_applies, steps = kl__seq_count(p->seq);
    size_t waited[2] = {SIZE_MAX, SIZE_MAX};
    for (size_t i = 0; i < steps; i++)
        after[i] = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        size_t q = runs(p, i) ? last_conflict(w, i, waited[w->side[i]]) : SIZE_MAX;
        for (size_t k = p->first_step[i]; k < p->first_step[i + 1]; k++)
            side[k] = w->side[i];
        if (q == SIZE_MAX)
            continue;
        after[p->first_step[i]] = p->first_step[q + 1] - 1;
        waited[w->side[i]] = q;
    }
    /* copies to outputs: after everything */
    for (size_t k = p->first_step[n]; k-- > 0 && p->first_step[n] < steps;)
        if (side[k]) {
            after[p->first_step[n]] = k;
            break;
        }
}

kl_status kl__plan_split(kl__plan *p)
{
    work w = {.p = p};
    const size_t steps = kl__seq_count(p->seq);
    bool *side = kl__calloc(steps + 1, sizeof *side);
    size_t *after = kl__calloc(steps + 1, sizeof *after);
    w.side = kl__calloc(p->graph->n_applies + 1, sizeof *w.side);
    kl_status st = side && after && w.side ? kl__graph_side(p->graph, w.side, NULL) : KL_E_MEMORY;
    if (st == KL_OK)
        st = list_touches(&w);
    if (st == KL_OK) {
        split_steps(&w, side, after);
        st = kl__seq_split(p->seq, side, after);
    }
    p->split = st == KL_OK;
    kl__free(w.touch);
    kl__free(w.first);
    kl__free(w.side);
    kl__free(side);
    kl__free(after);
    return st;
}

/* ---- the choice, as the plan offers it ---- */

bool kl__plan_writes(const kl__plan *p, const kl__mem *mem)
{
    for (size_t i = 0; i < p->graph->n_applies; i++)
        for (int k = 0; k < p->graph->applies[i]->n_out; k++)
            if (runs(p, i) && p->graph->applies[i]->out[k]->place.span.mem == mem)
                return true;
    for (size_t i = 0; i < p->graph->n_outputs; i++)
        if (p->graph->outputs[i].place.span.mem == mem)
            return true;
    return false;
}

static bool binds_what_it_writes(const kl__plan *p)
{
    for (size_t i = 0; i < p->graph->n_nodes; i++) {
        const kl__place *at = &p->graph->nodes[i]->place;
        kl__span span;
        if (at->kind == KL__AT_SLOT && kl__seq_bound(p->seq, at->slot, &span) && span.mem &&
            kl__plan_writes(p, span.mem))
            return true;
    }
    return false;
}

static bool can_split(const kl__plan *p)
{
    const kl_graph *g = p->graph;
    if (p->sync || kl__ctx_lane(p->ctx, KL__UPLOAD) == kl__ctx_lane(p->ctx, KL__COMPUTE))
        return false; /* one queue: the caller's own */
    bool *side = kl__calloc(g->n_applies + 1, sizeof *side), any = false;
    if (side && kl__graph_side(g, side, NULL) == KL_OK)
        for (size_t i = 0; i < g->n_applies; i++)
            any |= side[i] && runs(p, i);
    for (size_t i = 0; i < g->n_applies; i++)
        any &= !(g->applies[i]->op->flags & KL__OP_STATE); /* it overwrites what is no output */
    kl__free(side);
    return any;
}

bool kl__plan_lanes_possible(kl__plan *p)
{
    if (!p->asked) {
        p->can_split = can_split(p);
        p->asked = true;
    }
    return p->can_split && !binds_what_it_writes(p);
}

kl_status kl__plan_set_lanes(kl__plan *p, int n)
{
    kl_status st = KL_OK;
    if (n < 1 || n > 2)
        return kl__fail(KL_E_ARG, "a plan runs on one compute lane or on two, not on %d", n);
    if (n == p->lanes)
        return KL_OK;
    if (n == 2 && !kl__plan_lanes_possible(p))
        n = 1;
    if (n == 2 && !p->split)
        st = kl__plan_split(p);
    if (n == 2 && st == KL_OK && !kl__ctx_side(p->ctx))
        st = kl__last_status();
    p->lanes = st == KL_OK ? n : 1;
    return st;
}
