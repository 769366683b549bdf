/* What a model is made of, op by op: shapes, parameters, work, and what of the input an output
 * sees. */
#include "sched/model.h"

#include "base/mem.h"
#include "ops/op.h"

#include <kiln/inspect.h>

#include <math.h>

/* ---- shapes of one sample ---- */
/** An apply of the graph with one sample in place of the batch; its values live in `nodes`. */
typedef struct one {
    kl__apply apply;
    kl_node *nodes, **slots;
} one;

static void finish_one(one *o)
{
    kl__free(o->nodes);
    kl__free(o->slots);
}

static kl_status make_one(const kl__apply *a, one *o)
{
    size_t n = (size_t)(a->n_in + a->n_out);
    *o = (one){.apply = *a,
               .nodes = kl__calloc(n, sizeof *o->nodes),
               .slots = kl__calloc(n, sizeof *o->slots)};
    if (!o->nodes || !o->slots) {
        finish_one(o);
        return KL_E_MEMORY;
    }
    for (size_t i = 0; i < n; i++) {
        o->nodes[i] = *(i < (size_t)a->n_in ? a->in[i] : a->out[i - (size_t)a->n_in]);
        o->slots[i] = &o->nodes[i];
        kl_shape *s = &o->nodes[i].desc.shape;
        for (int k = 0; k < s->n_dims; k++)
            if (s->dim[k] == KL_BATCH)
                s->dim[k] = 1;
    }
    o->apply.in = o->slots;
    o->apply.out = o->slots + a->n_in;
    return KL_OK;
}

/* ---- receptive fields ---- */
typedef enum sight { SEES_NOTHING, SEES_FIELD, SEES_ALL } sight;
typedef struct field {
    sight sight;
    int64_t extent[2];
    double step[2]; /* cells of the data input between neighbouring cells; a transposed convolution
                       divides it */
} field;

/** What all inputs of an apply together see. */
static field join(const kl__apply *a, const field *of)
{
    field f = {SEES_NOTHING, {0, 0}, {0, 0}};
    for (int i = 0; i < a->n_in; i++) {
        const field *x = &of[a->in[i]->id];
        if (x->sight > f.sight)
            f.sight = x->sight;
        for (int k = 0; k < 2 && x->sight == SEES_FIELD; k++) {
            if (x->extent[k] > f.extent[k])
                f.extent[k] = x->extent[k];
            if (x->step[k] > f.step[k])
                f.step[k] = x->step[k];
        }
    }
    return f;
}

/** Without a window: does each output cell see what one cell of the inputs does? A reduction sees
 * more, a reshape the same. */
static bool cell_by_cell(const kl__apply *a, const field *of)
{
    const kl_shape *y = &a->out[0]->desc.shape;
    for (int i = 0; i < a->n_in; i++) {
        const kl_shape *x = &a->in[i]->desc.shape;
        if (of[a->in[i]->id].sight != SEES_FIELD)
            continue;
        bool maps = x->n_dims == 4 && y->n_dims == 4;
        if (maps ? (y->dim[2] == 1 && x->dim[2] > 1) || (y->dim[3] == 1 && x->dim[3] > 1)
                 : kl_shape_count(*y) < kl_shape_count(*x))
            return false;
    }
    return true;
}

static field look(const kl__apply *a, const field *of)
{
    field f = join(a, of);
    int extent[2], stride[2];
    if (f.sight != SEES_FIELD)
        return f;
    if (!a->op->window) {
        if (!cell_by_cell(a, of))
            f.sight = SEES_ALL;
        return f;
    }
    a->op->window(a, extent, stride);
    for (int k = 0; k < 2; k++) {
        if (!extent[k])
            f.sight = SEES_ALL;
        f.extent[k] += (int64_t)ceil((double)(extent[k] - 1) * f.step[k]);
        f.step[k] *= stride[k] < 0 ? -1.0 / stride[k] : stride[k];
    }
    return f;
}

static bool is_data(const kl_node *x)
{
    return kl__is_input(x) && x->desc.dtype == KL_F32 && x->desc.shape.n_dims == 4;
}

/* ---- the list ---- */
/** Parameters are counted with the first op that reads them, so that the sum over layers is the
 * model's. */
static void count_params(const kl__apply *a, bool *seen, kl_layer_info *out)
{
    for (int i = 0; i < a->n_in; i++) {
        const kl_node *x = a->in[i];
        if (!kl__is_param(x) || seen[x->id])
            continue;
        seen[x->id] = true;
        size_t n = (size_t)kl_shape_count(x->desc.shape);
        out->params += n;
        out->trainable += kl__leaf_of(x)->trainable ? n : 0;
    }
}

static kl_status describe(const kl__apply *a, field *of, bool *seen, kl_layer_info *out)
{
    one o;
    kl_status st = make_one(a, &o);
    if (st != KL_OK)
        return st;
    *out = (kl_layer_info){.name = a->name, .op = a->op->name, .out = a->out[0]->desc.shape};
    count_params(a, seen, out);
    out->macs = a->op->macs ? a->op->macs(&o.apply) : 0;
    field f = look(&o.apply, of);
    for (int i = 0; i < a->n_out; i++)
        of[a->out[i]->id] = f;
    for (int k = 0; k < 2 && f.sight == SEES_FIELD; k++)
        out->receptive[k] = f.extent[k] > INT32_MAX ? INT32_MAX : (int)f.extent[k];
    finish_one(&o);
    return KL_OK;
}

kl_status kl_model_layers(const kl_model *m, kl_layer_info *out, size_t cap, size_t *n)
{
    if (!m || !n || (cap && !out))
        return kl__fail(KL_E_ARG, "kl_model_layers: %s is NULL", !m ? "model" : n ? "out" : "n");
    const kl_graph *g = m->graph;
    field *of = kl__calloc(g->n_nodes + 1, sizeof *of);
    bool *seen = kl__calloc(g->n_nodes + 1, sizeof *seen), have_data = false;
    kl_status st = of && seen ? KL_OK : KL_E_MEMORY;
    *n = 0;
    for (size_t i = 0; st == KL_OK && i < g->n_applies; i++) {
        const kl__apply *a = g->applies[i];
        kl_layer_info layer;
        if (a->op->flags & KL__OP_LEAF) {
            if (!have_data && is_data(a->out[0])) {
                of[a->out[0]->id] = (field){SEES_FIELD, {1, 1}, {1, 1}};
                have_data = true;
            }
            continue;
        }
        st = describe(a, of, seen, &layer);
        if (st == KL_OK && (*n)++ < cap)
            out[*n - 1] = layer;
    }
    kl__free(of);
    kl__free(seen);
    return st;
}
