/* What a model costs on a device: its plans are made and looked at, never run. */
#include "sched/cost.h"

#include "base/mem.h"
#include "ops/optim.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_OUTPUTS = 64 };

/* ---- numbers ---- */
static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double kl__median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* ---- a plan of the inference pass, and a stepper as training makes it ---- */
/** Outputs that inference is for: without the loss where there are others. 0: all. */
static size_t asked_for(const kl_graph *g, const char *names[MAX_OUTPUTS])
{
    size_t n = 0;
    for (size_t i = 0; i < g->n_outputs && g->n_outputs <= MAX_OUTPUTS; i++)
        if (strcmp(g->outputs[i].name, "loss") != 0)
            names[n++] = g->outputs[i].name;
    return n;
}

kl__plan *kl__cost_infer_plan(kl_model *m, kl_ctx *ctx, int64_t batch)
{
    kl__replica *r = kl__replica_get(m, ctx);
    const char *names[MAX_OUTPUTS];
    size_t n = asked_for(m->graph, names);
    kl_graph *g = r ? kl__graph_lower(m->graph, batch, false, m->real, n ? names : NULL, n) : NULL;
    if (!g)
        return NULL;
    kl__place_inputs(g);
    kl__replica_place(r, g);
    return kl__plan_create(ctx, g, &(kl__plan_opts){.prepare = true});
}

const char *kl__cost_loss(const kl_model *m, const char *loss)
{
    const char *only = NULL;
    size_t n = 0;
    if (loss) {
        if (kl_graph_output(m->graph, loss))
            return loss;
        kl__fail(KL_E_ARG, "the graph has no output \"%s\" to minimise", loss);
        return NULL;
    }
    if (kl_graph_output(m->graph, "loss"))
        return "loss";
    for (size_t i = 0; i < m->graph->n_outputs; i++)
        if (m->graph->outputs[i].node->desc.shape.n_dims == 0) {
            only = m->graph->outputs[i].name;
            n++;
        }
    if (n == 1)
        return only;
    kl__fail(KL_E_ARG,
             "the graph has no output \"loss\" and %zu scalar outputs: what is to be minimised?",
             n);
    return NULL;
}

kl__stepper *kl__cost_stepper(kl_model *m, kl_ctx *ctx, const char *loss)
{
    kl__optim attrs = {.decoupled = true};
    const char *name = kl__cost_loss(m, loss);
    kl__group *groups = name ? kl__calloc(m->n_trainable + 1, sizeof *groups) : NULL;
    if (!groups)
        return NULL;
    kl__optim_defaults(&kl__op_adam, &attrs);
    for (size_t i = 0; i < m->n_trainable; i++)
        groups[i] = (kl__group){.lr_factor = 1, .trained = !m->params[i].frozen};
    kl__stepper_opts so = {.loss = name,
                           .optim = &kl__op_adam,
                           .optim_attrs = &attrs,
                           .n_states = kl__optim_n_states(&kl__op_adam, &attrs),
                           .shards = 1,
                           .groups = groups};
    kl__stepper *s = kl__stepper_create(m, ctx, &so);
    kl__free(groups);
    return s;
}

/* ---- the sums ---- */
static void add_plan(const kl__plan *p, kl_cost *out)
{
    out->arena_bytes += p->memory.arena_bytes;
    out->sum_bytes += p->memory.sum_bytes;
    out->n_in_place += p->memory.n_in_place;
    out->n_launches += kl__seq_count(p->seq) - p->first_step[p->n_prepared];
    for (size_t i = 0; i < p->graph->n_applies; i++)
        out->n_applies += !(p->graph->applies[i]->op->flags & KL__OP_LEAF);
}

static kl_status cost_training(kl_model *m, kl_ctx *ctx, int64_t batch, kl_cost *out)
{
    kl__stepper *s = kl__cost_stepper(m, ctx, NULL);
    if (!s)
        return kl__last_status();
    kl__model_enter(m);
    kl__pass *p = kl__pass_get(s, batch, true);
    kl__unlock(&m->lock);
    if (p) {
        add_plan(p->plan, out);
        out->n_launches += kl__seq_count(s->update->seq);
    }
    kl__stepper_destroy(s);
    return p ? KL_OK : kl__last_status();
}

static kl_status cost_inference(kl_model *m, kl_ctx *ctx, int64_t batch, kl_cost *out)
{
    kl__model_enter(m);
    kl__plan *p = kl__cost_infer_plan(m, ctx, batch);
    if (p)
        add_plan(p, out);
    kl__unlock(&m->lock);
    kl__plan_destroy(p);
    return p ? KL_OK : kl__last_status();
}

kl_status kl_model_cost(kl_model *m, kl_ctx *ctx, int64_t batch, bool training, kl_cost *out)
{
    if (!m || !ctx || !out)
        return kl__fail(KL_E_ARG, "kl_model_cost: %s is NULL",
                        !m    ? "model"
                        : ctx ? "out"
                              : "context");
    if (batch < 1)
        return kl__fail(KL_E_ARG, "kl_model_cost: a batch of %lld samples", (long long)batch);
    *out = (kl_cost){.param_bytes = m->elems * kl_dtype_size(m->real)};
    return training ? cost_training(m, ctx, batch, out) : cost_inference(m, ctx, batch, out);
}
