/* Epilogues: an element-wise apply whose input nobody else reads is done by the kernel that makes
 * that input, before it stores: one pass over memory less, one launch less. The producer moves to
 * the place of what it absorbs, since the other inputs may be made between the two. */
#include "graph/inside.h"

#include "base/mem.h"

typedef struct work {
    kl_graph *g;
    const kl__caps *caps;
    const char *force;
    uint32_t *uses;      /* by node id */
    kl__apply **instead; /* by apply id: what takes its place */
    bool *gone;          /* by apply id: moved */
} work;

static bool plain_elementwise(const kl__apply *e)
{
    return e->op->flags & KL__OP_ELEMENTWISE && !(e->op->flags & (KL__OP_STATE | KL__OP_RANDOM)) &&
           e->n_out == 1;
}

static uint32_t reads(const kl__apply *e, const kl_node *x)
{
    uint32_t n = 0;
    for (int i = 0; i < e->n_in; i++)
        n += e->in[i] == x;
    return n;
}

/** Outputs beside the first that anybody reads: they would be made too late. */
static bool has_other_readers(const work *w, const kl__apply *p)
{
    for (int i = 1; i < p->n_out; i++)
        if (w->uses[p->out[i]->id])
            return true;
    return false;
}

/** Can x's apply take e in? */
static kl_status can_absorb(work *w, const kl_node *x, const kl__apply *e, bool *can)
{
    kl__apply *p = x->by;
    *can = false;
    if (x->slot || w->gone[p->id] || p->epilogue.apply || p->n_own != p->n_in ||
        p->op->flags & (KL__OP_LEAF | KL__OP_VIEW | KL__OP_STATE | KL__OP_ELEMENTWISE) ||
        w->uses[x->id] != reads(e, x) || has_other_readers(w, p) || kl__overwritten(p, e->id))
        return KL_OK;
    kl_status st = kl__choose_variant(p, w->caps, w->force);
    *can = st == KL_OK && p->variant && p->variant->epilogue && p->variant->epilogue(p, e);
    return st;
}

static kl_status absorb(work *w, kl_node *x, kl__apply *e)
{
    kl__apply *p = x->by;
    kl_node **in = kl__graph_alloc(w->g, (size_t)(p->n_in + e->n_in) * sizeof *in);
    int n = 0;
    if (!in)
        return kl_graph_check(w->g);
    for (; n < p->n_in; n++)
        in[n] = p->in[n];
    for (int i = 0; i < e->n_in; i++)
        if (e->in[i] != x)
            in[n++] = e->in[i];
    p->in = in;
    p->n_in = n;
    p->epilogue = (kl__epilogue){e, x};
    p->out[0] = e->out[0];
    p->out[0]->by = p;
    w->gone[p->id] = true;
    w->instead[e->id] = p;
    return KL_OK;
}

/** The latest of the producers that can: the others' values are there by then anyway. */
static kl_status visit(work *w, kl__apply *e)
{
    kl_node *best = NULL;
    kl_status st = KL_OK;
    if (!plain_elementwise(e))
        return KL_OK;
    for (int i = 0; st == KL_OK && i < e->n_in; i++) {
        bool can = false;
        if (!best || e->in[i]->by->id > best->by->id)
            st = can_absorb(w, e->in[i], e, &can);
        if (can)
            best = e->in[i];
    }
    return st == KL_OK && best ? absorb(w, best, e) : st;
}

kl_status kl__graph_epilogues(kl_graph *g, const kl__caps *caps, const char *force)
{
    work w = {.g = g, .caps = caps, .force = force};
    kl_status st = kl_graph_check(g);
    size_t n = 0, old = g->n_applies;
    if (st != KL_OK)
        return st;
    w.uses = kl__calloc(g->n_nodes + 1, sizeof *w.uses);
    w.instead = kl__calloc(old + 1, sizeof *w.instead);
    w.gone = kl__calloc(old + 1, sizeof *w.gone);
    if (!w.uses || !w.instead || !w.gone)
        st = KL_E_MEMORY;
    if (st == KL_OK)
        kl__count_uses(g, w.uses);
    for (size_t i = 0; st == KL_OK && i < old; i++)
        st = visit(&w, g->applies[i]);
    for (size_t i = 0; st == KL_OK && i < old; i++)
        if (!w.gone[i])
            g->applies[n++] = w.instead[i] ? w.instead[i] : g->applies[i];
    if (st == KL_OK && n != old) {
        g->n_applies = n;
        st = kl__graph_compact(g);
    }
    kl__free(w.uses);
    kl__free(w.instead);
    kl__free(w.gone);
    return st;
}
