/* Reverse-mode differentiation, symbol to symbol: gradients are nodes like any other, so that
 * planner, fusion and scheduler know nothing special about backward passes, and what a gradient
 * does not read is freed by liveness alone. */
#include "graph/graph.h"

#include "base/mem.h"

#include <string.h>

typedef struct work {
    kl_graph *g;
    kl_node **d;  /* gradient so far by node id, of the nodes that stood before */
    bool *depends; /* node id: a path leads here from wrt */
    size_t n_nodes, n_applies;
} work;

static kl_status accumulate(work *w, kl_node *x, kl_node *dx)
{
    if (x->id >= w->n_nodes || !dx)
        return KL_OK;
    if (!kl_shape_equal(x->desc.shape, dx->desc.shape)) {
        char a[96], b[96];
        return kl__fail(KL_E_SHAPE, "gradient of \"%s\" has shape %s, the value has %s", x->name,
                        kl__shape_str(dx->desc.shape, a), kl__shape_str(x->desc.shape, b));
    }
    kl_node *sum = w->d[x->id] ? kl_add(w->g, w->d[x->id], dx) : dx;
    w->d[x->id] = sum;
    return sum ? KL_OK : kl_graph_check(w->g);
}

static kl_status visit(work *w, kl__apply *a)
{
    kl_node *dy[64], *dx_small[16] = {NULL}, **dx = dx_small;
    bool need_small[16], *need = need_small, any_dy = false, any_need = false;
    kl_status st = KL_OK;
    for (int i = 0; i < a->n_out; i++) {
        dy[i] = w->d[a->out[i]->id];
        any_dy |= dy[i] != NULL;
    }
    if (!any_dy || a->op->flags & KL__OP_LEAF)
        return KL_OK;
    if (a->n_in > 16) {
        dx = kl__calloc((size_t)a->n_in, sizeof *dx);
        need = kl__calloc((size_t)a->n_in, sizeof *need);
        if (!dx || !need) {
            st = KL_E_MEMORY;
            goto out;
        }
    }
    for (int i = 0; i < a->n_in; i++)
        any_need |= need[i] = w->depends[a->in[i]->id];
    if (!any_need)
        goto out;
    if (!a->op->grad) {
        st = kl__fail(KL_E_UNSUPPORTED, "%s \"%s\" has no gradient", a->op->name, a->name);
        goto out;
    }
    st = a->op->grad(w->g, a, dy, need, dx);
    if (st == KL_OK)
        st = kl_graph_check(w->g);
    for (int i = 0; st == KL_OK && i < a->n_in; i++)
        if (need[i])
            st = accumulate(w, a->in[i], dx[i]);
out:
    if (dx != dx_small)
        kl__free(dx);
    if (need != need_small)
        kl__free(need);
    return st;
}

kl_status kl__graph_grad(kl_graph *g, kl_node *y, kl_node *seed, kl_node *const *wrt, size_t n,
                         kl_node **dx)
{
    work w = {.g = g, .n_nodes = g->n_nodes, .n_applies = g->n_applies};
    kl_status st = kl_graph_check(g);
    w.d = kl__calloc(w.n_nodes + 1, sizeof *w.d);
    w.depends = kl__calloc(w.n_nodes + 1, sizeof *w.depends);
    if (st == KL_OK && (!w.d || !w.depends))
        st = KL_E_MEMORY;
    if (st != KL_OK)
        goto out;
    for (size_t i = 0; i < n; i++)
        w.depends[wrt[i]->id] = true;
    for (size_t i = 0; i < w.n_applies; i++) {
        const kl__apply *a = g->applies[i];
        bool any = false;
        for (int k = 0; k < a->n_in; k++)
            any |= w.depends[a->in[k]->id];
        for (int k = 0; any && k < a->n_out; k++)
            w.depends[a->out[k]->id] = true;
    }
    st = accumulate(&w, y, seed);
    for (size_t i = w.n_applies; st == KL_OK && i-- > 0;)
        st = visit(&w, g->applies[i]);
    for (size_t i = 0; st == KL_OK && i < n; i++)
        dx[i] = w.d[wrt[i]->id];
out:
    kl__free(w.d);
    kl__free(w.depends);
    return st;
}
