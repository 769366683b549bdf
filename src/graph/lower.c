/* Lowering: the user's graph, for one batch size, mode and dtype. */
#include "graph/graph.h"

#include "base/mem.h"

#include <string.h>

/** Marks what the wanted outputs need; false where a name is unknown. */
static bool mark(const kl_graph *g, const char *const *outputs, size_t n, bool *need)
{
    for (size_t i = 0; i < (outputs ? n : g->n_outputs); i++) {
        kl_node *x = outputs ? kl_graph_output(g, outputs[i]) : g->outputs[i].node;
        if (!x) {
            kl__fail(KL_E_ARG, "the graph has no output \"%s\"", outputs[i]);
            return false;
        }
        need[x->by->id] = true;
    }
    for (size_t i = g->n_applies; i-- > 0;)
        for (int k = 0; need[i] && k < g->applies[i]->n_in; k++)
            need[g->applies[i]->in[k]->by->id] = true;
    return true;
}

static kl_node *copy_leaf(kl_graph *to, const kl__apply *a, int64_t batch)
{
    kl__leaf l = *(const kl__leaf *)a->attrs;
    if (batch > 0 && l.shape.n_dims > 0 && l.shape.dim[0] == KL_BATCH)
        l.shape.dim[0] = batch;
    if (l.dtype == KL_F32 && to->real != KL_F32) {
        size_t n = l.bytes / kl_dtype_size(KL_F32);
        l.dtype = to->real;
        l.bytes = n * kl_dtype_size(to->real);
        if (l.data) {
            void *data = kl__graph_alloc(to, l.bytes + 1);
            if (!data)
                return NULL;
            kl__convert(data, to->real, l.data, KL_F32, n);
            l.data = data;
        }
    } else if (l.data) {
        void *data = kl__graph_alloc(to, l.bytes + 1);
        if (!data)
            return NULL;
        memcpy(data, l.data, l.bytes);
        l.data = data;
    }
    return kl__apply_new(to, a->op, a->name, NULL, 0, &l);
}

typedef enum mode { INFERENCE, TRAINING, AS_IT_IS } mode;

static kl_status copy_apply(kl_graph *to, const kl__apply *a, int64_t batch, mode how,
                            kl_node **map)
{
    kl_node *in_small[16], **in = in_small;
    kl_node *out_small[16] = {NULL}, **out = out_small;
    kl_status st = KL_OK;
    if (a->op->flags & KL__OP_LEAF) {
        map[a->out[0]->id] = copy_leaf(to, a, batch);
        return kl_graph_check(to);
    }
    if (a->n_in > 16 && !(in = kl__calloc((size_t)a->n_in, sizeof *in)))
        return KL_E_MEMORY;
    if (a->n_out > 16 && !(out = kl__calloc((size_t)a->n_out, sizeof *out))) {
        st = KL_E_MEMORY;
        goto out;
    }
    for (int i = 0; i < a->n_in; i++)
        in[i] = map[a->in[i]->id];
    if (a->op->lower && how != AS_IT_IS)
        st = a->op->lower(to, a, in, how == TRAINING, out);
    if (st == KL_OK && !out[0]) {
        kl_node *x = kl__apply_new_n(to, a->op, a->name, in, a->n_in, a->n_out, a->attrs);
        for (int i = 0; x && i < a->n_out; i++)
            out[i] = kl__out(x, i);
    }
    for (int i = 0; i < a->n_out; i++)
        map[a->out[i]->id] = out[i];
    if (st == KL_OK)
        st = kl_graph_check(to);
out:
    if (in != in_small)
        kl__free(in);
    if (out != out_small)
        kl__free(out);
    return st;
}

static kl_graph *clone(const kl_graph *g, int64_t batch, mode how, kl_dtype real,
                       const char *const *outputs, size_t n_outputs)
{
    kl_status st = kl_graph_check(g);
    if (st != KL_OK)
        return NULL;
    kl_graph *to = kl_graph_create();
    bool *need = kl__calloc(g->n_applies + 1, sizeof *need);
    kl_node **map = kl__calloc(g->n_nodes + 1, sizeof *map);
    if (!to || !need || !map)
        goto fail;
    to->batch = batch;
    to->real = real;
    to->reserved = g;
    if (!mark(g, outputs, n_outputs, need))
        goto fail;
    for (size_t i = 0; i < g->n_applies; i++)
        if ((need[i] || how == AS_IT_IS) && copy_apply(to, g->applies[i], batch, how, map) != KL_OK)
            goto fail;
    for (size_t i = 0; i < (outputs ? n_outputs : g->n_outputs); i++) {
        const char *name = outputs ? outputs[i] : g->outputs[i].name;
        kl_output(to, name, map[kl_graph_output(g, name)->id]);
    }
    if (kl_graph_check(to) != KL_OK)
        goto fail;
    to->reserved = NULL;
    kl__free(need);
    kl__free(map);
    return to;
fail:
    kl__free(need);
    kl__free(map);
    kl_graph_destroy(to);
    return NULL;
}

kl_graph *kl__graph_lower(const kl_graph *g, int64_t batch, bool training, kl_dtype real,
                          const char *const *outputs, size_t n_outputs)
{
    return clone(g, batch, training ? TRAINING : INFERENCE, real, outputs, n_outputs);
}

kl_graph *kl__graph_copy(const kl_graph *g)
{
    kl_graph *to = clone(g, KL_BATCH, AS_IT_IS, g->real, NULL, 0);
    if (to)
        to->batch = 0;
    return to;
}
