/* Preparation: what depends on parameters and constants only is computed once per version of the
 * parameters, not in every pass: weights in a kernel's storage, scale and shift of a batch norm in
 * inference. Such applies come first; what the pass reads of them stays. */
#include "graph/inside.h"

#include "base/mem.h"

static bool steady(const kl_node *x)
{
    return kl__is_param(x) || kl__is_constant(x) || x->by->prepared;
}

/** A value that somebody outside takes after every pass is made in every pass. */
static bool goes_out(const kl_graph *g, const kl__apply *a)
{
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].node->by == a)
            return true;
    for (size_t i = 0; i < g->n_updates; i++)
        if (g->updates[i].value->by == a)
            return true;
    return false;
}

static bool can_prepare(const kl__apply *a)
{
    bool yes = !(a->op->flags & (KL__OP_LEAF | KL__OP_STATE | KL__OP_RANDOM)) && a->n_in > 0;
    for (int i = 0; yes && i < a->n_in; i++)
        yes = steady(a->in[i]);
    return yes && !goes_out(a->graph, a);
}

kl_status kl__graph_prepare(kl_graph *g, size_t *n_first)
{
    kl_status st = kl_graph_check(g);
    size_t n = 0, done = 0;
    *n_first = 0;
    if (st != KL_OK)
        return st;
    for (size_t i = 0; i < g->n_applies; i++) {
        g->applies[i]->prepared = can_prepare(g->applies[i]);
        done += g->applies[i]->prepared;
    }
    if (!done)
        return KL_OK;
    kl__apply **order = kl__calloc(g->n_applies, sizeof *order);
    if (!order)
        return KL_E_MEMORY;
    for (int rest = 0; rest < 2; rest++) {
        for (size_t i = 0; i < g->n_applies; i++) {
            kl__apply *a = g->applies[i];
            bool early = a->prepared || (a->op->flags & KL__OP_LEAF && steady(a->out[0]));
            if (early != (rest == 1))
                order[n++] = a;
        }
        *n_first = rest ? *n_first : n;
    }
    for (size_t i = 0; i < n; i++)
        g->applies[i] = order[i];
    kl__free(order);
    return kl__graph_compact(g);
}
