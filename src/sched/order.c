/* The order in which a plan's applies run. */
#include "sched/lanes.h"

#include "base/mem.h"
#include "graph/inside.h"
#include "sched/cost.h"

#include <string.h>

enum { TRIES = 8, SPARE = 1 << 20 };

/* ---- cost and the longest path ---- */

/** In bytes moved, about: what counts is which path is longer, not by how much. */
static double cost_of(const kl__apply *a)
{
    if (!a->variant || a->op->flags & (KL__OP_LEAF | KL__OP_VIEW))
        return 0;
    double math = kl__apply_flops(a) / 8, move = (double)kl__apply_bytes(a);
    return 65536 + (math > move ? math : move);
}

kl_status kl__graph_side(const kl_graph *g, bool *side, double *tail)
{
    double *own = tail ? NULL : kl__calloc(g->n_applies + 1, sizeof *own), best = -1;
    double *t = tail ? tail : own;
    uint32_t *next = kl__calloc(g->n_applies + 1, sizeof *next);
    size_t end = 0;
    kl_status st = t && next ? KL_OK : KL_E_MEMORY;
    for (size_t p = 0; st == KL_OK && p < g->n_applies; p++) {
        t[p] = 0;
        next[p] = UINT32_MAX;
        side[p] = true;
    }
    for (size_t p = g->n_applies; st == KL_OK && p-- > 0;) {
        const kl__apply *a = g->applies[p];
        t[p] += cost_of(a);
        for (int i = 0; i < a->n_in; i++) {
            uint32_t by = a->in[i]->by->id;
            if (t[p] > t[by] || next[by] == UINT32_MAX) {
                t[by] = t[p];
                next[by] = (uint32_t)p;
            }
        }
        if (t[p] > best) {
            best = t[p];
            end = p;
        }
    }
    if (st == KL_OK && g->n_applies) {
        while (next[end] != UINT32_MAX)
            end = next[end];
        side[end] = false;
        for (size_t p = end + 1; p-- > 0;)
            for (int i = 0; !side[p] && i < g->applies[p]->n_in; i++)
                side[g->applies[p]->in[i]->by->id] = false;
    }
    kl__free(own);
    kl__free(next);
    return st;
}

/* ---- the order ---- */

typedef struct list {
    const kl_graph *g;
    bool *side;
    bool *steady;  /* depends on parameters and constants only: could run at any time, so it does
                    * when its turn comes, lest its output takes up memory from the start */
    double *tail;
    int *missing;  /* inputs that were not made yet; -1: done */
    bool longest;
} list;

/** Of what can run: what nothing but outputs waits for, then the longest tail; else as before. */
static size_t pick(const list *l)
{
    size_t best = SIZE_MAX;
    for (size_t p = 0; p < l->g->n_applies; p++) {
        if (l->missing[p])
            continue;
        bool tails = best != SIZE_MAX && l->longest && !l->side[p] && !l->side[best] &&
                     !l->steady[p] && !l->steady[best];
        if (best == SIZE_MAX || (l->side[p] && !l->side[best]) ||
            (tails && l->tail[p] > l->tail[best]))
            best = p;
    }
    return best;
}

static kl_status list_begin(list *l)
{
    const kl_graph *g = l->g;
    const size_t n = g->n_applies;
    l->side = kl__calloc(n + 1, sizeof *l->side);
    l->steady = kl__calloc(n + 1, sizeof *l->steady);
    l->tail = kl__calloc(n + 1, sizeof *l->tail);
    l->missing = kl__calloc(n + 1, sizeof *l->missing);
    if (!l->side || !l->steady || !l->tail || !l->missing)
        return KL_E_MEMORY;
    kl_status st = kl__graph_side(g, l->side, l->tail);
    for (size_t p = 0; st == KL_OK && p < n; p++) {
        const kl__apply *a = g->applies[p];
        l->missing[p] = a->n_in;
        l->side[p] = l->side[p] || !(cost_of(a) > 0); /* leaves and views cost nothing */
        l->steady[p] = a->n_in > 0 || !kl__is_input(a->out[0]);
        for (int i = 0; i < a->n_in; i++)
            l->steady[p] = l->steady[p] && l->steady[a->in[i]->by->id];
    }
    return st;
}

static kl_status list_order(const kl_graph *g, bool longest, kl__apply **order)
{
    const size_t n = g->n_applies;
    list l = {.g = g, .longest = longest};
    kl_status st = list_begin(&l);
    for (size_t k = 0; st == KL_OK && k < n; k++) {
        size_t p = pick(&l);
        kl__apply *a = g->applies[p];
        order[k] = a;
        l.missing[p] = -1;
        for (size_t q = p + 1; q < n; q++)
            for (int i = 0; i < g->applies[q]->n_in; i++)
                l.missing[q] -= g->applies[q]->in[i]->by == a;
    }
    kl__free(l.side);
    kl__free(l.steady);
    kl__free(l.tail);
    kl__free(l.missing);
    return st;
}

/* ---- what it does to memory ---- */

static kl_status arena_of(kl_graph *g, const kl__caps *caps, size_t align, const uint32_t *until,
                          size_t *bytes)
{
    kl__memory_plan m;
    kl_status st = kl__graph_memory_until(g, caps, align, false, until, &m);
    *bytes = m.arena_bytes;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i]->place.kind == KL__AT_SPAN && !g->nodes[i]->place.span.mem)
            g->nodes[i]->place = (kl__place){.kind = KL__NOWHERE};
    for (size_t p = 0; p < g->n_applies; p++)
        g->applies[p]->scratch = (kl__place){.kind = KL__NOWHERE};
    return st;
}

static kl_status use(kl_graph *g, kl__apply *const *order)
{
    memcpy(g->applies, order, g->n_applies * sizeof *order);
    return kl__graph_compact(g);
}

kl_status kl__graph_order(kl_graph *g, const kl__caps *caps, size_t align)
{
    const size_t n = g->n_applies;
    size_t before = 0, after = 0;
    for (size_t p = 0; p < n; p++)
        if (g->applies[p]->op->flags & KL__OP_STATE || g->applies[p]->prepared)
            return KL_OK;
    kl__apply **old = kl__calloc(2 * n + 1, sizeof *old), **order = old ? old + n : NULL;
    if (!old)
        return KL_E_MEMORY;
    memcpy(old, g->applies, n * sizeof *old);
    kl_status st = arena_of(g, caps, align, NULL, &before);
    for (int longest = 1; st == KL_OK && longest >= 0; longest--) {
        st = list_order(g, longest, order);
        if (st == KL_OK)
            st = use(g, order);
        if (st == KL_OK)
            st = arena_of(g, caps, align, NULL, &after);
        if (st == KL_OK && after <= before + before / 20 + SPARE / 4)
            break;
        if (st == KL_OK)
            st = use(g, old);
    }
    kl__free(old);
    return st;
}

/* ---- memory for two lanes ---- */

/** When a run over two lanes as wide as one each would start and end each apply. */
static void simulate(const kl_graph *g, const bool *side, double *start, double *end)
{
    double lane[2] = {0, 0};
    for (size_t p = 0; p < g->n_applies; p++) {
        const kl__apply *a = g->applies[p];
        double at = lane[side[p]];
        for (int i = 0; i < a->n_in; i++)
            at = end[a->in[i]->by->id] > at ? end[a->in[i]->by->id] : at;
        start[p] = at;
        end[p] = at + cost_of(a);
        lane[side[p]] = end[p] > at ? end[p] : lane[side[p]];
    }
}

static size_t held_bytes(const kl__apply *a, const kl__caps *caps)
{
    return kl__apply_bytes(a) +
           (a->variant && a->variant->scratch_bytes ? a->variant->scratch_bytes(a, caps) : 0);
}

/** Until when the side's applies run beside the main lane's; those that hold more than `most` bytes
 * meanwhile are to make the main lane wait. */
static void overlap(const kl_graph *g, const kl__caps *caps, const bool *side, const double *start,
                    const double *end, size_t most, uint32_t *until)
{
    for (size_t p = 0; p < g->n_applies; p++) {
        until[p] = (uint32_t)p;
        if (!side[p] || held_bytes(g->applies[p], caps) > most)
            continue;
        for (size_t q = p + 1; q < g->n_applies; q++) {
            if (side[q] || !(cost_of(g->applies[q]) > 0))
                continue;
            if (start[q] >= end[p])
                break;
            until[p] = (uint32_t)q;
        }
    }
}

kl_status kl__graph_memory_lanes(kl_graph *g, const kl__caps *caps, size_t align,
                                 kl__memory_plan *out)
{
    const size_t n = g->n_applies;
    bool *side = kl__calloc(n + 1, sizeof *side), fits = false;
    double *time = kl__calloc(2 * n + 1, sizeof *time);
    uint32_t *until = kl__calloc(n + 1, sizeof *until);
    size_t plain = 0, bytes = 0, most = 0;
    kl_status st = side && time && until ? kl__graph_side(g, side, NULL) : KL_E_MEMORY;
    if (st == KL_OK) {
        simulate(g, side, time, time + n);
        st = arena_of(g, caps, align, NULL, &plain);
    }
    for (size_t p = 0; st == KL_OK && p < n; p++)
        if (side[p] && held_bytes(g->applies[p], caps) > most)
            most = held_bytes(g->applies[p], caps);
    for (int i = 0; st == KL_OK && !fits && i < TRIES; i++, most = most / 3 * 2) {
        overlap(g, caps, side, time, time + n, most, until);
        st = arena_of(g, caps, align, until, &bytes);
        fits = bytes <= plain + plain / 10 + SPARE;
    }
    if (st == KL_OK)
        st = kl__graph_memory_until(g, caps, align, false, fits ? until : NULL, out);
    kl__free(side);
    kl__free(time);
    kl__free(until);
    return st;
}
