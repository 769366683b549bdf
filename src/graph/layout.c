/* Layout assignment: each apply's variant says which storage it takes and gives; where they differ
 * a reorder goes between. One value is reordered to one layout at most once. */
#include "graph/graph.h"

#include "base/mem.h"
#include "ops/reorder.h"

#include <string.h>

typedef struct work {
    kl_graph *g;
    const kl__caps *caps;
    /* applies before the pass; they are put back one by one with reorders between */
    kl__apply **old;
    size_t n_old;
    kl_node **same;  /* by node id: head of a list of reordered forms */
    kl_node **next;  /* by node id */
    size_t cap;
} work;

static kl_status room(work *w)
{
    size_t need = w->g->n_nodes + 8, cap = w->cap;
    if (need <= cap)
        return KL_OK;
    size_t bigger = need * 2;
    kl_node **a = kl__realloc(w->same, bigger, sizeof *a);
    if (a)
        w->same = a;
    kl_node **b = kl__realloc(w->next, bigger, sizeof *b);
    if (b)
        w->next = b;
    if (!a || !b)
        return KL_E_MEMORY;
    memset(w->same + cap, 0, (bigger - cap) * sizeof *a);
    memset(w->next + cap, 0, (bigger - cap) * sizeof *b);
    w->cap = bigger;
    return KL_OK;
}

/** x in layout `to`: x itself, a form made before, or a new reorder at the end of the applies. */
static kl_node *as_layout(work *w, kl_node *x, const kl__layout *to)
{
    if (kl__layout_equal(&x->desc.layout, to))
        return x;
    for (kl_node *y = w->same[x->id]; y; y = w->next[y->id])
        if (kl__layout_equal(&y->desc.layout, to))
            return y;
    kl_node *y = kl__reorder(w->g, x, to);
    if (!y || room(w) != KL_OK || kl__choose_variant(y->by, w->caps, NULL) != KL_OK)
        return NULL;
    w->next[y->id] = w->same[x->id];
    w->same[x->id] = y;
    return y;
}

static kl_status put_back(work *w, kl__apply *a)
{
    kl_graph *g = w->g;
    kl_status st = kl__grow(&g->applies, &g->cap_applies, g->n_applies + 1, sizeof *g->applies);
    if (st == KL_OK) {
        a->id = (uint32_t)g->n_applies;
        g->applies[g->n_applies++] = a;
    }
    return st;
}

static kl_status visit(work *w, kl__apply *a, const char *force)
{
    kl__layout small[32], *in = small, *out;
    kl_status st = kl__choose_variant(a, w->caps, force);
    size_t n = (size_t)a->n_in + (size_t)a->n_out;
    if (st != KL_OK)
        return st;
    if (n > 32 && !(in = kl__calloc(n, sizeof *in)))
        return KL_E_MEMORY;
    out = in + a->n_in;
    memset(in, 0, n * sizeof *in);
    if (a->variant && a->variant->layouts)
        a->variant->layouts(a, w->caps, in, out);
    for (int i = 0; st == KL_OK && i < a->n_in; i++) {
        a->in[i] = as_layout(w, a->in[i], &in[i]);
        if (!a->in[i])
            st = kl__last_status();
    }
    for (int i = 0; i < a->n_out; i++)
        if (!(a->op->flags & KL__OP_LEAF))
            a->out[i]->desc.layout = out[i];
    if (st == KL_OK)
        st = put_back(w, a);
    if (in != small)
        kl__free(in);
    return st;
}

kl_status kl__graph_layouts(kl_graph *g, const kl__caps *caps, const char *force)
{
    static const kl__layout plain;
    work w = {.g = g, .caps = caps, .old = g->applies, .n_old = g->n_applies};
    kl_status st = kl_graph_check(g);
    if (st != KL_OK)
        return st;
    g->applies = NULL;
    g->n_applies = g->cap_applies = 0;
    st = room(&w);
    for (size_t i = 0; i < w.n_old; i++) {
        if (st == KL_OK)
            st = room(&w);
        if (st == KL_OK)
            st = visit(&w, w.old[i], force);
    }
    for (size_t i = 0; st == KL_OK && i < g->n_outputs; i++)
        if (!(g->outputs[i].node = as_layout(&w, g->outputs[i].node, &plain)))
            st = kl__last_status();
    for (size_t i = 0; st == KL_OK && i < g->n_updates; i++)
        if (!(g->updates[i].value = as_layout(&w, g->updates[i].value, &plain)))
            st = kl__last_status();
    kl__free(w.old);
    kl__free(w.same);
    kl__free(w.next);
    return st;
}
