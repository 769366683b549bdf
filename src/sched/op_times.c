/* Times of single ops: each pass of a small graph alone, without the reorders at its borders. */
#include "sched/cost.h"
#include "sched/random.h"

#include "base/mem.h"

#include <kiln/inspect.h>

#include <stdio.h>
#include <string.h>

enum { DEFAULT_RUNS = 5, MAX_RUNS = 1000, MAX_REPEATS = 100000 };
static const double SAMPLE_SECONDS = 0.02; /* a sample lasts at least this long */

/** One pass: a plan whose steps are told apart by what they are done for. */
typedef struct work {
    kl_model *model;
    kl_ctx *ctx;
    kl__lane *lane;
    int64_t batch;
    kl_pass_time *row;
    kl_graph *graph;           /* until the plan takes it over */
    const kl__apply **forward; /* applies of the forward pass, where the pass is a gradient's */
    size_t n_forward;
    kl__plan *plan;
    kl__mem *inputs[KL__MAX_SLOTS];
    bool *counted, *border; /* by step: part of the pass; a reorder around it */
} work;

static void finish(work *w)
{
    kl__lane_finish(w->lane);
    kl_graph_destroy(w->graph);
    kl__plan_destroy(w->plan);
    for (int i = 0; i < KL__MAX_SLOTS; i++)
        kl__mem_release(w->inputs[i]);
    kl__free(w->forward);
    kl__free(w->counted);
    kl__free(w->border);
}

/* ---- the graph of a pass ---- */
static kl_status remember_forward(work *w)
{
    const kl_graph *g = w->graph;
    if (!(w->forward = kl__calloc(g->n_applies + 1, sizeof *w->forward)))
        return KL_E_MEMORY;
    memcpy(w->forward, g->applies, g->n_applies * sizeof *w->forward);
    w->n_forward = g->n_applies;
    return KL_OK;
}

static bool wanted(const kl_pass_time *row, const kl_node *x)
{
    return row->kind == KL_PASS_BACKWARD || !strcmp(row->of, x->name);
}

/** Leaves that gradients are told of: f32 inputs, trainable parameters. */
static bool differentiable(const kl_node *x)
{
    return (kl__is_input(x) && x->desc.dtype == KL_F32) ||
           (kl__is_param(x) && kl__leaf_of(x)->trainable);
}

/** The outputs become the wanted gradients, of sum(dy * y) with a dy as random as the inputs. */
static kl_status make_gradients(work *w)
{
    kl_graph *g = w->graph;
    kl_node *y = g->outputs[0].node, **wrt = kl__calloc(2 * g->n_nodes + 1, sizeof *wrt), **dx;
    size_t n = 0;
    if (!wrt)
        return KL_E_MEMORY;
    dx = wrt + g->n_nodes;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (differentiable(g->nodes[i]) && wanted(w->row, g->nodes[i]))
            wrt[n++] = g->nodes[i];
    kl_node *dy = kl_input(g, "kiln.dy", y->desc.dtype, y->desc.shape);
    kl_status st = dy ? kl__graph_grad(g, y, dy, wrt, n, dx) : kl_graph_check(g);
    g->n_outputs = g->n_updates = 0;
    for (size_t i = 0; st == KL_OK && i < n; i++) {
        char *name = dx[i] ? kl__asprintf("grad:%s", wrt[i]->name) : NULL;
        if (name)
            kl_output(g, name, dx[i]);
        st = name || !dx[i] ? kl_graph_check(g) : KL_E_MEMORY;
        kl__free(name);
    }
    kl__free(wrt);
    return st == KL_OK ? kl__graph_prune(g) : st;
}

/* ---- which steps count ---- */
static bool is_forward(const work *w, const kl__apply *a)
{
    for (size_t i = 0; i < w->n_forward; i++)
        if (w->forward[i] == a)
            return true;
    return false;
}

static const kl__apply *root_of(const kl__apply *a)
{
    while (a->op == &kl__op_reorder || a->op->flags & KL__OP_VIEW)
        a = a->in[0]->by;
    return a;
}

static bool is_weight_gradient(const work *w, const char *output)
{
    const char *name = !strncmp(output, "grad:", 5) ? output + 5 : NULL;
    const kl__param *p = name ? kl__model_find(w->model, name) : NULL;
    return p != NULL;
}

/** A reorder between the pass and its surroundings: a net would not need it here. */
static bool at_border(const work *w, const kl__apply *a)
{
    const kl_graph *g = w->plan->graph;
    const kl__apply *root = root_of(a);
    if (a->op != &kl__op_reorder)
        return false;
    if (root->op->flags & KL__OP_LEAF)
        return kl__is_input(root->out[0]);
    if (is_forward(w, root) && w->row->kind != KL_PASS_FORWARD)
        return true;
    for (size_t i = 0; i < g->n_outputs; i++)
        if (root_of(g->outputs[i].node->by) == root)
            return !is_weight_gradient(w, g->outputs[i].name);
    return false;
}

static kl_status sort_steps(work *w)
{
    const kl__plan *p = w->plan;
    size_t n = kl__seq_count(p->seq);
    w->counted = kl__calloc(n + 1, sizeof *w->counted);
    w->border = kl__calloc(n + 1, sizeof *w->border);
    if (!w->counted || !w->border)
        return KL_E_MEMORY;
    for (size_t i = 0; i < p->graph->n_applies; i++) {
        const kl__apply *a = p->graph->applies[i];
        size_t first = p->first_step[i], end = p->first_step[i + 1];
        bool border = at_border(w, a);
        bool counted =
            !border && i >= p->n_prepared && (w->row->kind == KL_PASS_FORWARD || !is_forward(w, a));
        for (size_t k = first; k < end; k++) {
            w->border[k] = border;
            w->counted[k] = counted;
            w->row->launches += counted;
        }
        if (counted && first < end && a->op != &kl__op_reorder) {
            w->row->macs += a->op->macs ? a->op->macs(a) : 0;
            w->row->bytes += kl__apply_bytes(a);
        }
    }
    return KL_OK;
}

/* ---- running ---- */
static kl_status bind(work *w)
{
    const kl_node *x;
    kl_status st = KL_OK;
    for (int slot = 0; st == KL_OK && (x = kl__slot_input(w->plan->graph, slot)); slot++) {
        kl_bind b = {0};
        if (slot == KL__MAX_SLOTS)
            return kl__fail(KL_E_UNSUPPORTED, "a profile takes at most %d inputs", KL__MAX_SLOTS);
        st = kl__random_one(w->plan->graph, x, w->model->real, w->batch, 1, &b);
        if (st == KL_OK && !(w->inputs[slot] = kl__mem_create(w->ctx, b.host_bytes)))
            st = kl__last_status();
        if (st == KL_OK && b.host_bytes)
            st =
                kl__lane_write(w->lane, (kl__span){w->inputs[slot], 0}, b.host, b.host_bytes, NULL);
        if (st == KL_OK)
            st = kl__plan_bind(w->plan, slot, (kl__span){w->inputs[slot], 0});
        kl__free(b.host);
    }
    return st;
}

/** Enqueues the chosen steps. */
static kl_status run_steps(const work *w, const bool *chosen)
{
    size_t n = kl__seq_count(w->plan->seq);
    kl_status st = KL_OK;
    for (size_t first = 0, end; st == KL_OK && first < n; first = end) {
        for (end = first; end < n && chosen[end] == chosen[first]; end++) {
        }
        if (chosen[first])
            st = kl__seq_run(w->plan->seq, w->lane, first, end);
    }
    return st;
}

static kl_status run_often(const work *w, const bool *chosen, int times)
{
    kl_status st = KL_OK;
    for (int i = 0; st == KL_OK && i < times; i++)
        st = run_steps(w, chosen);
    kl_status end = kl__lane_finish(w->lane);
    return st == KL_OK ? end : st;
}

/** How often the steps are to run for a sample that the clocks can tell. */
static kl_status choose_repeats(const work *w, int *repeats)
{
    double start = kl__now();
    kl_status st = run_often(w, w->counted, 2);
    double once = (kl__now() - start) / 2;
    *repeats = once * MAX_REPEATS > SAMPLE_SECONDS ? (int)(SAMPLE_SECONDS / once) + 1 : MAX_REPEATS;
    return st;
}

static kl_status sample(work *w, int runs, double *wall, double *cpu, double *around)
{
    int repeats;
    kl_status st = choose_repeats(w, &repeats);
    for (int i = 0; st == KL_OK && i < runs; i++) {
        double t = kl__now(), c = kl__cpu_now();
        st = run_often(w, w->counted, repeats);
        wall[i] = (kl__now() - t) / repeats;
        cpu[i] = (kl__cpu_now() - c) / repeats;
        t = kl__now();
        if (st == KL_OK)
            st = run_often(w, w->border, 1);
        around[i] = kl__now() - t;
    }
    return st;
}

static bool any(const bool *chosen, size_t n)
{
    return n && memchr(chosen, true, n) != NULL;
}

static kl_status time_steps(work *w, int runs)
{
    kl_pass_time *r = w->row;
    size_t n = kl__seq_count(w->plan->seq);
    double *wall = kl__calloc(3 * (size_t)runs, sizeof *wall);
    if (!wall)
        return KL_E_MEMORY;
    double *cpu = wall + runs, *around = cpu + runs;
    kl_status st = any(w->counted, n) ? sample(w, runs, wall, cpu, around) : KL_OK;
    r->seconds = kl__median(wall, (size_t)runs);
    r->best_seconds = wall[0];
    r->cpu_seconds = kl__median(cpu, (size_t)runs);
    r->best_cpu_seconds = cpu[0];
    r->reorder_seconds = any(w->border, n) ? kl__median(around, (size_t)runs) : 0;
    kl__free(wall);
    return st;
}

static kl_status name_kernel(work *w)
{
    size_t n = kl__seq_count(w->plan->seq), longest = 0;
    double *t = kl__calloc(n + 1, sizeof *t), most = -1;
    kl_status st = t ? kl__seq_profile(w->plan->seq, w->lane, t) : KL_E_MEMORY;
    for (size_t i = 0; st == KL_OK && i < n; i++)
        if (w->counted[i] && t[i] > most) {
            most = t[i];
            longest = i;
        }
    if (st == KL_OK && most >= 0)
        snprintf(w->row->kernel, sizeof w->row->kernel, "%s",
                 kl__seq_kernel_name(w->plan->seq, longest));
    kl__free(t);
    return st;
}

static kl_status time_pass(kl_model *m, kl_ctx *ctx, int64_t batch, bool training, int runs,
                           kl_pass_time *row)
{
    work w = {.model = m,
              .ctx = ctx,
              .lane = kl__ctx_lane(ctx, KL__COMPUTE),
              .batch = batch,
              .row = row,
              .graph = kl__graph_lower(m->graph, batch, training, m->real,
                                       (const char *[]){m->graph->outputs[0].name}, 1)};
    kl_status st = w.graph ? KL_OK : kl__last_status();
    if (st == KL_OK && row->kind != KL_PASS_FORWARD) {
        st = remember_forward(&w);
        if (st == KL_OK)
            st = make_gradients(&w);
    }
    kl__model_enter(m);
    kl__replica *r = st == KL_OK ? kl__replica_get(m, ctx) : NULL;
    if (st == KL_OK && !r)
        st = kl__last_status();
    if (st == KL_OK) {
        kl__place_inputs(w.graph);
        kl__replica_place(r, w.graph);
        w.plan =
            kl__plan_create(ctx, w.graph, &(kl__plan_opts){.separate = true, .prepare = !training});
        w.graph = NULL;
        st = w.plan ? KL_OK : kl__last_status();
    }
    kl__unlock(&m->lock);
    if (st == KL_OK)
        st = bind(&w);
    if (st == KL_OK)
        st = sort_steps(&w);
    if (st == KL_OK)
        st = name_kernel(&w); /* and all steps have run once: what is not counted stands ready */
    if (st == KL_OK)
        st = time_steps(&w, runs);
    finish(&w);
    return st;
}

/* ---- the list of passes ---- */
static void add_row(kl_pass_time *rows, size_t *n, kl_pass_kind kind, const char *of)
{
    rows[*n] = (kl_pass_time){.kind = kind};
    snprintf(rows[*n].of, sizeof rows->of, "%s", of);
    ++*n;
}

static kl_pass_time *list_passes(const kl_graph *g, bool training, size_t *n)
{
    kl_pass_time *rows = kl__calloc(g->n_nodes + 2, sizeof *rows);
    *n = 0;
    if (!rows)
        return NULL;
    add_row(rows, n, KL_PASS_FORWARD, "");
    for (size_t i = 0; training && i < g->n_nodes; i++) {
        const kl_node *x = g->nodes[i];
        if (differentiable(x))
            add_row(rows, n, kl__is_param(x) ? KL_PASS_WEIGHTS : KL_PASS_DATA, x->name);
    }
    if (training && *n > 2)
        add_row(rows, n, KL_PASS_BACKWARD, "");
    return rows;
}

kl_status kl_graph_profile(const kl_graph *g, kl_ctx *ctx, int64_t batch, bool training, int runs,
                           kl_pass_time **rows, size_t *n)
{
    if (!g || !ctx || !rows || !n)
        return kl__fail(KL_E_ARG, "kl_graph_profile: %s is NULL",
                        !g     ? "graph"
                        : !ctx ? "context"
                        : rows ? "n"
                               : "rows");
    *rows = NULL;
    *n = 0;
    if (batch < 1 || runs < 0 || runs > MAX_RUNS || !g->n_outputs)
        return kl__fail(KL_E_ARG,
                        "kl_graph_profile: a batch of %lld samples, %d runs, %zu outputs; at least "
                        "1, 0 to %d, at least 1",
                        (long long)batch, runs, g->n_outputs, MAX_RUNS);
    kl_model *m = kl_model_create(g, NULL);
    kl_pass_time *list = m ? list_passes(m->graph, training, n) : NULL;
    kl_status st = list ? KL_OK : kl__last_status();
    for (size_t i = 0; st == KL_OK && i < *n; i++)
        st = time_pass(m, ctx, batch, training, runs ? runs : DEFAULT_RUNS, &list[i]);
    kl_model_destroy(m);
    if (st != KL_OK) {
        kl__free(list);
        *n = 0;
        return st;
    }
    *rows = list;
    return KL_OK;
}
