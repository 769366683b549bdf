/* Binds: names to inputs and outputs, and the batch size that follows. */
#include "sched/model.h"

#include <string.h>

int kl__place_inputs(kl_graph *g)
{
    int slot = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (kl__is_input(g->nodes[i]) && g->nodes[i]->place.kind == KL__NOWHERE)
            g->nodes[i]->place = (kl__place){KL__AT_SLOT, {NULL, 0}, slot++};
    return slot;
}

kl_node *kl__slot_input(const kl_graph *g, int slot)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (kl__is_input(g->nodes[i]) && g->nodes[i]->place.kind == KL__AT_SLOT &&
            g->nodes[i]->place.slot == slot)
            return g->nodes[i];
    return NULL;
}

const kl_bind *kl__bind_find(const kl_bind *binds, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (binds[i].name && !strcmp(binds[i].name, name))
            return &binds[i];
    return NULL;
}

/** Batch size that one bind means for value x; 0 where x has no batch; -1: error. */
static int64_t one_batch(const kl_model *m, const kl_bind *b, const kl_node *x)
{
    char want[96], got[96];
    kl_shape s = x->desc.shape;
    kl_dtype dtype = x->desc.dtype == KL_F32 ? m->real : x->desc.dtype;
    bool batched = s.n_dims > 0 && s.dim[0] == KL_BATCH;
    if ((b->tensor != NULL) == (b->host != NULL)) {
        kl__fail(KL_E_ARG, "bind \"%s\": give a tensor or host memory%s", b->name,
                 b->tensor ? ", not both" : "");
        return -1;
    }
    if (b->tensor) {
        kl_shape t = kl_tensor_shape(b->tensor);
        if (batched && t.n_dims == s.n_dims)
            s.dim[0] = t.dim[0];
        if (!kl_shape_equal(s, t) || kl_tensor_dtype(b->tensor) != dtype) {
            kl__fail(KL_E_SHAPE, "bind \"%s\": the graph wants %s %s, the tensor is %s %s", b->name,
                     kl_dtype_name(dtype), kl__shape_str(x->desc.shape, want),
                     kl_dtype_name(kl_tensor_dtype(b->tensor)), kl__shape_str(t, got));
            return -1;
        }
        return batched ? s.dim[0] : 0;
    }
    if (batched)
        s.dim[0] = 1;
    int64_t sample = kl_shape_count(s) * (int64_t)kl_dtype_size(dtype),
            bytes = (int64_t)b->host_bytes;
    bool fits = batched ? sample == 0 || bytes % sample == 0 : bytes == sample;
    if (!fits) {
        kl__fail(KL_E_SHAPE, "bind \"%s\": %zu bytes are no %s of %s %s (%lld bytes each)", b->name,
                 b->host_bytes, batched ? "whole number of samples" : "value", kl_dtype_name(dtype),
                 kl__shape_str(x->desc.shape, want), (long long)sample);
        return -1;
    }
    return batched ? (sample ? bytes / sample : 0) : 0;
}

int64_t kl__binds_batch(const kl_model *m, const kl_bind *binds, size_t n)
{
    int64_t batch = -1;
    const char *by = "";
    for (size_t i = 0; i < n; i++) {
        const char *name = binds[i].name ? binds[i].name : "";
        kl_node *x = kl_graph_find(m->graph, name), *y = kl_graph_output(m->graph, name);
        bool input = x && kl__is_input(x);
        if (!input && !y) {
            kl__fail(KL_E_ARG, "the graph has no input or output \"%s\"", name);
            return -1;
        }
        if (!input)
            x = y;
        int64_t b = one_batch(m, &binds[i], x);
        bool batched = x->desc.shape.n_dims > 0 && x->desc.shape.dim[0] == KL_BATCH;
        if (b < 0)
            return -1;
        if (batched && batch >= 0 && b != batch) {
            kl__fail(KL_E_SHAPE, "bind \"%s\" has %lld samples, \"%s\" has %lld", name,
                     (long long)b, by, (long long)batch);
            return -1;
        }
        if (batched) {
            batch = b;
            by = name;
        }
    }
    return batch < 0 ? 1 : batch;
}
