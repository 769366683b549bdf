/* Layout assignment: each apply's variant says which storage it takes and gives; where they differ
 * a reorder goes between. One value is reordered to one layout at most once. A dry round first asks
 * everybody, so that a producer that can write a halo writes the widest that its readers want. */
#include "graph/graph.h"

#include "base/mem.h"
#include "ops/reorder.h"

#include <string.h>

enum { SMALL = 32 };

typedef struct work {
    kl_graph *g;
    const kl__caps *caps;
    /* applies before the pass; they are put back one by one with reorders between */
    kl__apply **old;
    size_t n_old;
    kl_node **same;  /* by node id: head of a list of reordered forms */
    kl_node **next;  /* by node id */
    kl__layout *want; /* by id of the nodes before the pass: blocked storage that readers want */
    size_t cap, n_want;
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

static bool serves(const kl__layout *x, const kl__layout *to, bool wide)
{
    bool same = x->kind == to->kind && x->block == to->block;
    for (int i = 0; i < 4; i++)
        same = same && (wide && x->kind == KL__NCHWC ? x->halo[i] >= to->halo[i]
                                                     : x->halo[i] == to->halo[i]);
    return same;
}

static void widen(kl__layout *l, const kl__layout *by)
{
    for (int i = 0; i < 4; i++)
        if (l->halo[i] < by->halo[i])
            l->halo[i] = by->halo[i];
}

/** x in layout `to` (wide: or with a wider halo): x itself, a form made before, or a new reorder at
 * the end of the applies. */
static kl_node *as_layout(work *w, kl_node *x, const kl__layout *to, bool wide)
{
    kl__layout l = *to;
    if (serves(&x->desc.layout, to, wide))
        return x;
    for (kl_node *y = w->same[x->id]; y; y = w->next[y->id])
        if (serves(&y->desc.layout, to, wide))
            return y;
    if (wide && x->id < w->n_want && w->want[x->id].kind == l.kind &&
        w->want[x->id].block == l.block)
        widen(&l, &w->want[x->id]);
    kl_node *y = kl__reorder(w->g, x, &l);
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

/** What a's variant asks for: n_in + n_out layouts in `small`, or in memory of their own where they
 * are more. NULL: out of memory. */
static kl__layout *ask(const work *w, const kl__apply *a, kl__layout small[SMALL])
{
    size_t n = (size_t)a->n_in + (size_t)a->n_out;
    kl__layout *in = n <= SMALL ? small : kl__calloc(n, sizeof *in);
    if (!in)
        return NULL;
    memset(in, 0, n * sizeof *in);
    for (int i = 0; i < a->n_out; i++)
        memcpy(in[a->n_in + i].halo, w->want[a->out[i]->id].halo, sizeof in->halo);
    if (a->variant && a->variant->layouts)
        a->variant->layouts(a, w->caps, in, in + a->n_in);
    else
        memset(in, 0, n * sizeof *in);
    for (int i = 0; i < a->n_out; i++)
        if (in[a->n_in + i].kind != KL__NCHWC)
            memset(in[a->n_in + i].halo, 0, sizeof in->halo);
    return in;
}

/** Outputs of `a` as asked for without halos; what it wants of its inputs is noted. */
static kl_status dry(work *w, kl__apply *a, const char *force)
{
    kl__layout small[SMALL], *in;
    kl_status st = kl__choose_variant(a, w->caps, force);
    if (st != KL_OK)
        return st;
    if (!(in = ask(w, a, small)))
        return KL_E_MEMORY;
    for (int i = 0; i < a->n_out; i++)
        if (!(a->op->flags & KL__OP_LEAF))
            a->out[i]->desc.layout = in[a->n_in + i];
    if (in != small)
        kl__free(in);
    return KL_OK;
}

static kl_status gather(work *w, kl__apply *a)
{
    kl__layout small[SMALL], *in = ask(w, a, small);
    if (!in)
        return KL_E_MEMORY;
    for (int i = 0; i < a->n_in; i++) {
        kl__layout *want = &w->want[a->in[i]->id];
        if (in[i].kind != KL__NCHWC || (want->kind && want->block != in[i].block))
            continue;
        want->kind = in[i].kind;
        want->block = in[i].block;
        widen(want, &in[i]);
    }
    if (in != small)
        kl__free(in);
    return KL_OK;
}

static kl_status visit(work *w, kl__apply *a)
{
    kl__layout small[SMALL], *in = ask(w, a, small);
    kl_status st = KL_OK;
    if (!in)
        return KL_E_MEMORY;
    for (int i = 0; st == KL_OK && i < a->n_in; i++) {
        a->in[i] = as_layout(w, a->in[i], &in[i], a->variant && a->variant->wide_halo);
        if (!a->in[i])
            st = kl__last_status();
    }
    for (int i = 0; i < a->n_out; i++)
        if (!(a->op->flags & KL__OP_LEAF))
            a->out[i]->desc.layout = in[a->n_in + i];
    if (st == KL_OK)
        st = put_back(w, a);
    if (in != small)
        kl__free(in);
    return st;
}

/** The dry round; afterwards `want` is complete. */
static kl_status ask_all(work *w, const char *force)
{
    kl_status st = KL_OK;
    w->n_want = w->g->n_nodes;
    if (!(w->want = kl__calloc(w->n_want + 1, sizeof *w->want)))
        return KL_E_MEMORY;
    for (size_t i = 0; st == KL_OK && i < w->n_old; i++)
        st = dry(w, w->old[i], force);
    for (size_t i = w->n_old; st == KL_OK && i-- > 0;)
        st = gather(w, w->old[i]);
    return st;
}

kl_status kl__graph_layouts(kl_graph *g, const kl__caps *caps, const char *force)
{
    static const kl__layout plain;
    work w = {.g = g, .caps = caps, .old = g->applies, .n_old = g->n_applies};
    kl_status st = kl_graph_check(g);
    if (st != KL_OK)
        return st;
    st = ask_all(&w, force);
    g->applies = NULL;
    g->n_applies = g->cap_applies = 0;
    if (st == KL_OK)
        st = room(&w);
    for (size_t i = 0; i < w.n_old; i++) {
        if (st == KL_OK)
            st = room(&w);
        if (st == KL_OK)
            st = visit(&w, w.old[i]);
    }
    for (size_t i = 0; st == KL_OK && i < g->n_outputs; i++)
        if (!(g->outputs[i].node = as_layout(&w, g->outputs[i].node, &plain, false)))
            st = kl__last_status();
    for (size_t i = 0; st == KL_OK && i < g->n_updates; i++)
        if (!(g->updates[i].value = as_layout(&w, g->updates[i].value, &plain, false)))
            st = kl__last_status();
    kl__free(w.old);
    kl__free(w.same);
    kl__free(w.next);
    kl__free(w.want);
    return st;
}
