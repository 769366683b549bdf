/* Dropping what nothing needs, and tidying a graph whose applies changed. */
#include "graph/inside.h"

#include "base/mem.h"

#include <string.h>

kl_status kl__graph_compact(kl_graph *g)
{
    kl__names_free(g);
    g->n_nodes = 0;
    for (size_t i = 0; i < g->n_applies; i++) {
        kl__apply *a = g->applies[i];
        a->id = (uint32_t)i;
        kl_status st =
            kl__grow(&g->nodes, &g->cap_nodes, g->n_nodes + (size_t)a->n_out, sizeof *g->nodes);
        if (st != KL_OK)
            return st;
        for (int k = 0; k < a->n_out; k++) {
            a->out[k]->id = (uint32_t)g->n_nodes;
            g->nodes[g->n_nodes++] = a->out[k];
            if (!kl__names_add(g, a->out[k]))
                return kl__last_status();
        }
    }
    return KL_OK;
}

const kl_node *kl__same_bytes(const kl_node *x)
{
    for (;;) {
        const kl__apply *a = x->by;
        int k = a->op->flags & KL__OP_VIEW ? 0 : -1;
        if (a->op->flags & KL__OP_STATE && a->op->aliases)
            k = a->op->aliases(a, x->slot);
        if (k < 0 || k >= a->n_in)
            return x;
        x = a->in[k];
    }
}

kl_status kl__graph_prune(kl_graph *g)
{
    kl_status st = kl_graph_check(g);
    if (st != KL_OK)
        return st;
    bool *need = kl__calloc(g->n_applies + 1, sizeof *need);
    if (!need)
        return KL_E_MEMORY;
    for (size_t i = 0; i < g->n_outputs; i++)
        need[g->outputs[i].node->by->id] = true;
    for (size_t i = 0; i < g->n_updates; i++)
        need[g->updates[i].value->by->id] = need[g->updates[i].state->by->id] = true;
    for (size_t i = g->n_applies; i-- > 0;) {
        const kl__apply *a = g->applies[i];
        need[i] = need[i] || a->op->flags & KL__OP_STATE;
        for (int k = 0; need[i] && k < a->n_in; k++)
            need[a->in[k]->by->id] = true;
    }
    size_t n = 0;
    for (size_t i = 0; i < g->n_applies; i++)
        if (need[i])
            g->applies[n++] = g->applies[i];
    kl__free(need);
    bool all = n == g->n_applies;
    g->n_applies = n;
    return all ? KL_OK : kl__graph_compact(g);
}
