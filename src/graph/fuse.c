/* Fusion: element-wise applies whose values nobody else needs become one kernel.
 *
 * A set is grown from its last member upwards: a producer joins when all that read its value are
 * members already, so the value need never be stored. All members have the last one's shape (their
 * inputs may be smaller and broadcast). Members are evaluated where the last one stood; a producer
 * whose inputs are overwritten in place before that stays where it is. */
#include "graph/inside.h"

#include "base/mem.h"
#include "ops/eltwise.h"

#include <string.h>

enum { MAX_IN = 12, MAX_OPS = 24 };

typedef struct work {
    kl_graph *g;
    size_t n;                /* applies before the pass */
    uint32_t *uses;          /* by node id: how often it is read; pinned values count one more */
    uint32_t *inside;        /* by node id: how often members of the set read it */
    kl__apply **instead;     /* by apply id: what takes its place */
    bool *gone;              /* by apply id: member of a finished set */
    kl__apply *set[MAX_OPS]; /* in the order of applies */
    int n_set;
} work;

static bool can_fuse(const kl__apply *a)
{
    if (!(a->op->flags & KL__OP_ELEMENTWISE) || a->op->flags & (KL__OP_STATE | KL__OP_RANDOM) ||
        a->n_out != 1)
        return false;
    for (int i = 0; i < a->n_in; i++)
        if (a->in[i]->desc.dtype != a->out[0]->desc.dtype)
            return false;
    return true;
}

void kl__count_uses(const kl_graph *g, uint32_t *uses)
{
    for (size_t i = 0; i < g->n_applies; i++)
        for (int k = 0; k < g->applies[i]->n_in; k++)
            uses[g->applies[i]->in[k]->id]++;
    for (size_t i = 0; i < g->n_outputs; i++)
        uses[g->outputs[i].node->id]++;
    for (size_t i = 0; i < g->n_updates; i++)
        uses[g->updates[i].value->id]++;
    for (size_t i = 0; i < g->n_nodes; i++) /* somebody outside reads it there */
        uses[i] += g->nodes[i]->place.kind != KL__NOWHERE;
}

bool kl__overwritten(const kl__apply *p, uint32_t end)
{
    for (uint32_t i = p->id + 1; i < end; i++) {
        const kl__apply *q = p->graph->applies[i];
        if (!(q->op->flags & KL__OP_STATE) || !q->op->aliases)
            continue;
        for (int k = 0; k < q->n_out; k++)
            for (int x = 0; x < p->n_in; x++)
                if (q->op->aliases(q, k) >= 0 &&
                    kl__same_bytes(q->out[k]) == kl__same_bytes(p->in[x]))
                    return true;
    }
    return false;
}

static void insert(work *w, kl__apply *a)
{
    int i = w->n_set++;
    for (; i > 0 && w->set[i - 1]->id > a->id; i--)
        w->set[i] = w->set[i - 1];
    w->set[i] = a;
    for (int k = 0; k < a->n_in; k++)
        w->inside[a->in[k]->id]++;
}

static void take_out(work *w, const kl__apply *a)
{
    int i = 0;
    while (w->set[i] != a)
        i++;
    for (w->n_set--; i < w->n_set; i++)
        w->set[i] = w->set[i + 1];
    for (int k = 0; k < a->n_in; k++)
        w->inside[a->in[k]->id]--;
}

static bool joins(work *w, const kl_node *x)
{
    const kl__apply *p = x->by;
    const kl__desc *d = &w->set[w->n_set - 1]->out[0]->desc;
    kl_node *in[KL__FUSE_IN];
    for (int i = 0; i < w->n_set; i++)
        if (w->set[i] == p)
            return false;
    if (w->n_set == MAX_OPS || w->gone[p->id] || w->instead[p->id] || !can_fuse(p) ||
        w->inside[x->id] != w->uses[x->id] || x->desc.dtype != d->dtype ||
        !kl_shape_equal(x->desc.shape, d->shape) || kl__overwritten(p, w->set[w->n_set - 1]->id))
        return false;
    insert(w, x->by);
    int n = kl__fuse_inputs(w->set, w->n_set, in);
    if (n >= 0 && n <= MAX_IN)
        return true;
    take_out(w, p);
    return false;
}

static void grow(work *w)
{
    for (bool grew = true; grew;) {
        grew = false;
        for (int i = w->n_set; i-- > 0 && !grew;)
            for (int k = 0; k < w->set[i]->n_in && !grew; k++)
                grew = joins(w, w->set[i]->in[k]);
    }
}

/** Makes the fused apply give the very value that the set's last member gave: name, place and
 * readers stay. */
static kl_status replace(work *w)
{
    kl__apply *last = w->set[w->n_set - 1];
    kl_node *in[KL__FUSE_IN];
    if (kl__fuse_inputs(w->set, w->n_set, in) < 0)
        return KL_OK;
    kl_node *y = kl__fuse(w->g, NULL, w->set, w->n_set, in);
    if (!y)
        return kl_graph_check(w->g);
    kl__apply *a = y->by;
    a->out[0] = last->out[0];
    a->out[0]->by = a;
    a->name = last->name;
    w->instead[last->id] = a;
    for (int i = 0; i < w->n_set - 1; i++)
        w->gone[w->set[i]->id] = true;
    return KL_OK;
}

static kl_status visit(work *w, kl__apply *a)
{
    kl_status st = KL_OK;
    if (w->gone[a->id] || !can_fuse(a))
        return KL_OK;
    w->n_set = 0;
    insert(w, a);
    grow(w);
    if (w->n_set > 1)
        st = replace(w);
    for (int i = 0; i < w->n_set; i++)
        for (int k = 0; k < w->set[i]->n_in; k++)
            w->inside[w->set[i]->in[k]->id] = 0;
    return st;
}

kl_status kl__graph_fuse(kl_graph *g)
{
    work w = {.g = g, .n = g->n_applies};
    kl_status st = kl_graph_check(g);
    if (st != KL_OK)
        return st;
    w.uses = kl__calloc(g->n_nodes + 1, sizeof *w.uses);
    w.inside = kl__calloc(g->n_nodes + 1, sizeof *w.inside);
    w.instead = kl__calloc(w.n + 1, sizeof *w.instead);
    w.gone = kl__calloc(w.n + 1, sizeof *w.gone);
    if (!w.uses || !w.inside || !w.instead || !w.gone)
        st = KL_E_MEMORY;
    if (st == KL_OK)
        kl__count_uses(g, w.uses);
    for (size_t i = w.n; st == KL_OK && i-- > 0;)
        st = visit(&w, g->applies[i]);
    size_t n = 0;
    for (size_t i = 0; st == KL_OK && i < w.n; i++)
        if (!w.gone[i])
            g->applies[n++] = w.instead[i] ? w.instead[i] : g->applies[i];
    bool changed = g->n_applies != w.n;
    if (st == KL_OK)
        g->n_applies = n;
    if (st == KL_OK && changed)
        st = kl__graph_compact(g);
    kl__free(w.uses);
    kl__free(w.inside);
    kl__free(w.instead);
    kl__free(w.gone);
    return st;
}
