/* The footprint of a training: what a stepper makes (stepper.c, `create` and `kl__pass_get`), as
 * sums. */
#include "sched/footprint.h"

#include "sched/stepper_inside.h"

/** A graph whose leaves and outputs lie outside the plan, as a stepper places them. Lock held. */
static kl_graph *placed_graph(kl_model *m, int64_t n, const kl__pass_spec *spec)
{
    static const kl__place elsewhere = {KL__AT_SLOT, {NULL, 0}, 0};
    kl_graph *g = kl__pass_graph(m, n, spec);
    for (size_t i = 0; g && i < g->n_nodes; i++)
        if (kl__is_input(g->nodes[i]) || kl__is_param(g->nodes[i]))
            g->nodes[i]->place = elsewhere;
    for (size_t i = 0; g && i < g->n_outputs; i++)
        g->outputs[i].place = elsewhere;
    return g;
}

static size_t padded(int64_t count)
{
    return ((size_t)count + KL__PARAM_ALIGN - 1) / KL__PARAM_ALIGN * KL__PARAM_ALIGN;
}

/** What the plan of a pass takes; *sums_elems: elements of its sums. */
static kl_status pass_bytes(kl_model *m, kl_ctx *ctx, int64_t n, const kl__pass_spec *spec,
                            uint64_t *bytes, size_t *sums_elems)
{
    kl__lock(&m->lock);
    kl_graph *g = placed_graph(m, n, spec);
    kl__unlock(&m->lock);
    if (!g)
        return kl__last_status();
    *sums_elems = m->trainable_elems + KL__TOTALS;
    for (size_t i = 0; i < g->n_updates; i++)
        *sums_elems += padded(kl_shape_count(g->updates[i].value->desc.shape));
    kl_status st = kl__plan_bytes(ctx, g, &(kl__plan_opts){.prepare = !spec->training}, bytes);
    kl_graph_destroy(g);
    return st;
}

/** The passes of a step: where shards have two sizes, a plan for each, in the same memory. */
static kl_status add_passes(kl_model *m, kl_ctx *ctx, const kl__footprint_spec *spec,
                            kl__footprint *out, size_t *sums_elems)
{
    const int64_t most = (spec->batch + spec->shards - 1) / spec->shards;
    kl__pass_spec eval = spec->pass;
    eval.training = false;
    kl_status st = pass_bytes(m, ctx, most, &eval, &out->eval, sums_elems);
    if (st == KL_OK)
        st = pass_bytes(m, ctx, most, &spec->pass, &out->values, sums_elems);
    if (st == KL_OK && spec->group && spec->batch % spec->shards) {
        uint64_t less = 0;
        st = pass_bytes(m, ctx, most - 1, &spec->pass, &less, sums_elems);
        out->values += less;
    }
    return st;
}

static void one_buffer(kl__footprint *out, const char *what, uint64_t bytes)
{
    if (bytes > out->largest) {
        out->largest = bytes;
        out->what = what;
    }
}

static void add_inputs(const kl_model *m, int64_t batch, int64_t most, kl__footprint *out)
{
    for (size_t i = 0; i < m->graph->n_nodes; i++) {
        const kl_node *x = m->graph->nodes[i];
        if (!kl__is_input(x))
            continue;
        kl_shape shape = x->desc.shape;
        const bool batched = shape.n_dims > 0 && shape.dim[0] == KL_BATCH;
        if (batched)
            shape.dim[0] = batch;
        kl_dtype dtype = x->desc.dtype == KL_F32 ? m->real : x->desc.dtype;
        uint64_t bytes = (uint64_t)kl_shape_count(shape) * kl_dtype_size(dtype);
        out->inputs += KL__STAGES * bytes;
        out->eval += batched ? bytes / (uint64_t)batch * (uint64_t)most : bytes;
        one_buffer(out, "the batch's input", bytes);
    }
}

kl_status kl__footprint_of(kl_model *m, kl_ctx *ctx, const kl__footprint_spec *spec,
                           kl__footprint *out)
{
    const uint64_t real = kl_dtype_size(m->real);
    size_t sums = 0;
    unsigned copies = 1; /* of the sums: one per level of the tree, and where they are made */
    *out = (kl__footprint){0};
    kl_status st = add_passes(m, ctx, spec, out, &sums);
    if (st != KL_OK)
        return st;
    for (int levels = 0; 1 << levels < spec->shards; levels++)
        copies++;
    add_inputs(m, spec->batch, (spec->batch + spec->shards - 1) / spec->shards, out);
    out->params = m->elems * real;
    out->sums = copies * sums * real;
    out->states = (uint64_t)spec->n_states * m->trainable_elems * real;
    out->total = out->params + out->sums + out->states + out->inputs + out->values;
    one_buffer(out, "the parameters", out->params);
    one_buffer(out, "the sum of gradients", sums * real);
    one_buffer(out, "the optimizer's state", out->states);
    return KL_OK;
}
