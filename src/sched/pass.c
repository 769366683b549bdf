/* Graphs of training and evaluation passes, made from the user's graph. */
#include "sched/stepper.h"

#include "base/mem.h"
#include "ops/xent.h"

#include <string.h>

static kl_node *scalar(kl_graph *g, const char *name, double v)
{
    float f = (float)v;
    kl_shape s = {0, {0}};
    return g->real == KL_F64 ? kl_constant(g, name, KL_F64, s, &v)
                             : kl_constant(g, name, KL_F32, s, &f);
}

/** A loss as a sum and its weight, so that shards add up right; another scalar weighs by samples.
 */
static kl_status sum_and_weight(kl_graph *g, kl_node *loss, int64_t n, kl_node **sum,
                                kl_node **weight)
{
    if (loss->desc.shape.n_dims != 0 && kl_shape_count(loss->desc.shape) != 1) {
        char buf[96];
        return kl__fail(KL_E_SHAPE, "the loss \"%s\" is no scalar but %s", loss->name,
                        kl__shape_str(loss->desc.shape, buf));
    }
    if (loss->by->op->flags & KL__OP_MEAN) {
        *sum = loss->by->in[0];
        *weight = loss->by->in[1];
    } else {
        *weight = scalar(g, "kiln.samples", (double)n);
        *sum = kl_mul(g, loss, *weight);
    }
    return kl_graph_check(g);
}

static kl_node *find_labels(const kl_graph *g, const kl_node *logits)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        kl_node *x = g->nodes[i];
        if (kl__is_input(x) && x->desc.dtype == KL_I32 && x->desc.shape.n_dims == 1 &&
            x->desc.shape.dim[0] == logits->desc.shape.dim[0])
            return x;
    }
    return NULL;
}

static kl_status add_grads(kl_graph *g, const kl_model *m, kl_node *sum)
{
    kl_status st = KL_OK;
    size_t n = 0;
    kl_node **wrt = kl__calloc(2 * m->n_trainable + 1, sizeof *wrt),
            **dx = wrt ? wrt + m->n_trainable : NULL;
    if (!wrt)
        return KL_E_MEMORY;
    for (size_t i = 0; i < m->n_trainable; i++) {
        kl_node *x = m->params[i].frozen ? NULL : kl_graph_find(g, m->params[i].name);
        if (x)
            wrt[n++] = x;
    }
    kl_node *one = scalar(g, "kiln.one", 1);
    if (one && kl_shape_count(sum->desc.shape) == 1 && sum->desc.shape.n_dims > 0)
        one = kl_reshape(g, one, &(kl_reshape_opts){.shape = sum->desc.shape});
    st = one ? kl__graph_grad(g, sum, one, wrt, n, dx) : kl_graph_check(g);
    for (size_t i = 0; st == KL_OK && i < n; i++) {
        if (!dx[i])
            continue;
        char *name = kl__asprintf("grad:%s", wrt[i]->name);
        if (name)
            kl_output(g, name, dx[i]);
        st = name ? kl_graph_check(g) : KL_E_MEMORY;
        kl__free(name);
    }
    kl__free(wrt);
    return st;
}

static kl_status add_states(kl_graph *g)
{
    for (size_t i = 0; i < g->n_updates; i++) {
        char *name = kl__asprintf("state:%zu", i);
        if (!name)
            return KL_E_MEMORY;
        kl_output(g, name, g->updates[i].value);
        kl__free(name);
    }
    return kl_graph_check(g);
}

kl_graph *kl__pass_graph(const kl_model *m, int64_t n, const kl__pass_spec *spec)
{
    const char *names[2] = {spec->loss, spec->logits};
    size_t n_names = spec->logits && strcmp(spec->logits, spec->loss) != 0 ? 2 : 1;
    kl_graph *g = kl__graph_lower(m->graph, n, spec->training, m->real, names, n_names);
    if (!g)
        return NULL;
    kl_node *loss = kl_graph_output(g, spec->loss),
            *logits = spec->logits ? kl_graph_output(g, spec->logits) : NULL;
    kl_node *sum = NULL, *weight = NULL;
    size_t points = 0;
    g->n_outputs = 0;
    kl_status st = sum_and_weight(g, loss, n, &sum, &weight);
    if (st == KL_OK) {
        kl_output(g, "loss_sum", sum);
        kl_output(g, "loss_weight", weight);
    }
    kl_node *labels = logits ? find_labels(g, logits) : NULL;
    if (st == KL_OK && labels && logits->desc.shape.n_dims == 2) {
        kl_node *hits = kl__xent_hits(g, logits, labels); /* the loss has counted them already */
        kl_output(
            g, "correct",
            hits ? hits
                 : kl__apply_new(g, &kl__op_correct, NULL, (kl_node *[]){logits, labels}, 2, NULL));
    }
    if (st == KL_OK)
        st = kl_graph_check(g);
    if (st == KL_OK && spec->training)
        st = add_grads(g, m, sum);
    if (st == KL_OK && spec->training)
        st = add_states(g);
    if (st == KL_OK && spec->training && spec->meet > 0)
        st = kl__graph_meet(g, spec->meet, &points);
    if (st == KL_OK)
        st = kl__graph_prune(g);
    if (st == KL_OK)
        return g;
    kl_graph_destroy(g);
    return NULL;
}
