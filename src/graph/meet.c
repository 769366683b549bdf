/* Meeting: in the graph of one shard, what depends on all samples of the batch becomes that of all
 * shards together. The op says how (kl__op.meet); readers behind it read the new values. */
#include "graph/inside.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { MAX_OUT = 8 };

typedef struct work {
    kl_graph *g;
    int shards;
    size_t n_old;       /* nodes before the pass */
    kl_node **instead;  /* by node id; NULL: stays */
    kl__apply **order;
    size_t n_order, n_points;
    kl_node *samples;
} work;

static void redirect(const work *w, kl_node **x)
{
    if ((*x)->id < w->n_old && w->instead[(*x)->id])
        *x = w->instead[(*x)->id];
}

/** Values per channel and sample. */
static kl_status count_each(const work *w, const kl__apply *a, int64_t c, int *each)
{
    const int64_t all = kl_shape_count(a->in[0]->desc.shape), n = w->g->batch;
    if (n <= 0 || all % (c * n) || all / (c * n) > INT32_MAX)
        return kl__fail(
            KL_E_UNSUPPORTED,
            "%s \"%s\": %lld values in %lld channels do not belong to %lld samples: its "
            "statistics cannot be those of all shards",
            a->op->name, a->name, (long long)all, (long long)c, (long long)n);
    *each = (int)(all / (c * n));
    return KL_OK;
}

static kl_status meet(work *w, const kl__apply *a)
{
    kl_graph *g = w->g;
    const int64_t c = kl_shape_count(a->out[a->op->row[0]]->desc.shape);
    kl_node *out[MAX_OUT] = {NULL};
    kl__meeting m = {0};
    char name[40];
    kl_status st = count_each(w, a, c, &m.each);
    if (st != KL_OK)
        return st;
    if (!w->samples)
        w->samples = kl_input(g, "kiln.shards", KL_I32, (kl_shape){1, {w->shards}});
    snprintf(name, sizeof name, "kiln.meet%zu", w->n_points++);
    m.table = kl_input(g, name, g->real, (kl_shape){2, {w->shards, 2 * c}});
    m.samples = w->samples;
    st = kl_graph_check(g);
    if (st == KL_OK)
        st = a->op->meet(g, a, &m, out);
    for (int i = 0; st == KL_OK && i < a->n_out; i++)
        w->instead[a->out[i]->id] = out[i];
    return st;
}

/** New applies stand behind the one that they are about. */
static kl_status visit(work *w, size_t i)
{
    kl_graph *g = w->g;
    kl__apply *a = g->applies[i];
    const size_t before = g->n_applies;
    kl_status st = KL_OK;
    for (int k = 0; k < a->n_in; k++)
        redirect(w, &a->in[k]);
    w->order[w->n_order++] = a;
    if (a->op->meet)
        st = meet(w, a);
    for (size_t k = before; st == KL_OK && k < g->n_applies; k++)
        w->order[w->n_order++] = g->applies[k];
    return st;
}

kl_status kl__graph_meet(kl_graph *g, int shards, size_t *n)
{
    work w = {.g = g, .shards = shards, .n_old = g->n_nodes};
    const size_t n_applies = g->n_applies;
    kl_status st = kl_graph_check(g);
    if (st != KL_OK)
        return st;
    w.instead = kl__calloc(w.n_old + 1, sizeof *w.instead);
    w.order = kl__calloc(4 * n_applies + 1, sizeof *w.order); /* two leaves and an op at the most */
    if (!w.instead || !w.order)
        st = KL_E_MEMORY;
    for (size_t i = 0; st == KL_OK && i < n_applies; i++)
        st = visit(&w, i);
    for (size_t i = 0; st == KL_OK && i < g->n_outputs; i++)
        redirect(&w, &g->outputs[i].node);
    for (size_t i = 0; st == KL_OK && i < g->n_updates; i++)
        redirect(&w, &g->updates[i].value);
    if (st == KL_OK && w.n_points) {
        memcpy(g->applies, w.order, w.n_order * sizeof *g->applies);
        st = kl__graph_compact(g);
    }
    *n = w.n_points;
    kl__free(w.instead);
    kl__free(w.order);
    return st;
}
