/* Gradients against differences: the loss of a small random batch, moved one parameter at a time.
 * The training form is used throughout, and one step block, so that dropout masks and batch
 * statistics are those that the analytic gradient saw. */
#include "sched/random.h"
#include "sched/stepper.h"

#include "base/mem.h"
#include "base/rng.h"

#include <kiln/inspect.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DEFAULT_PER_PARAM = 20, MAX_INPUTS = 64 };
/** Of the step: a kink of relu or a tie of max pooling lies inside one, seldom inside all; a wrong
 * gradient is wrong with each of them. */
static const double step_factors[] = {1, 0.5, 0.125, 4};
enum { N_STEPS = sizeof step_factors / sizeof *step_factors };

typedef struct check {
    kl_model *model;
    kl_ctx *ctx;
    kl__lane *lane;
    kl__replica *replica;
    kl__random data;
    kl__mem *inputs[MAX_INPUTS], *block;
    kl__plan *both, *loss;               /* forward and backward; forward alone */
    size_t real;                         /* bytes */
    double step, bound, weight, largest; /* weight: the loss is a sum over it */
    int per_param;
    uint64_t seed;
} check;

/* ---- plans ---- */
static kl__mem *input_mem(check *c, const char *name)
{
    for (size_t i = 0; i < c->data.n; i++)
        if (!strcmp(c->data.binds[i].name, name))
            return c->inputs[i];
    return NULL;
}

static kl_status upload_inputs(check *c)
{
    kl_status st = KL_OK;
    if (c->data.n > MAX_INPUTS)
        return kl__fail(KL_E_UNSUPPORTED,
                        "gradcheck: a graph of %zu inputs; at most %d are possible", c->data.n,
                        MAX_INPUTS);
    for (size_t i = 0; st == KL_OK && i < c->data.n; i++) {
        const kl_bind *b = &c->data.binds[i];
        if (!(c->inputs[i] = kl__mem_create(c->ctx, b->host_bytes)))
            return kl__last_status();
        if (b->host_bytes)
            st = kl__lane_write(c->lane, (kl__span){c->inputs[i], 0}, b->host, b->host_bytes, NULL);
    }
    return st;
}

static kl__plan *make_plan(check *c, int64_t batch, const char *loss, bool gradients)
{
    kl_graph *g = kl__pass_graph(c->model, batch, &(kl__pass_spec){.training = true, .loss = loss});
    const kl_node *x;
    if (!g)
        return NULL;
    if (!gradients) {
        g->n_outputs = 2; /* loss_sum and loss_weight come first */
        g->n_updates = 0;
        if (kl__graph_prune(g) != KL_OK) {
            kl_graph_destroy(g);
            return NULL;
        }
    }
    kl__place_inputs(g);
    kl__replica_place(c->replica, g);
    kl__plan *p = kl__plan_create(c->ctx, g, &(kl__plan_opts){.step = c->block});
    for (int slot = 0; p && (x = kl__slot_input(p->graph, slot)); slot++)
        if (kl__plan_bind(p, slot, (kl__span){input_mem(c, x->name), 0}) != KL_OK) {
            kl__plan_destroy(p);
            return NULL;
        }
    return p;
}

/** All parameters a little off their initial values: zeros put relu on its kink and make symmetric
 * units alike. */
static kl_status shake(check *c)
{
    kl_status st = KL_OK;
    for (size_t i = 0; st == KL_OK && i < c->model->n_trainable; i++) {
        const kl__param *p = &c->model->params[i];
        kl__rng r = kl__rng_of(c->seed, p->name, 1);
        float *v = kl__alloc(p->count * sizeof *v);
        if (!v)
            return KL_E_MEMORY;
        st = kl_model_get_param(c->model, p->name, v, p->count);
        for (size_t k = 0; k < p->count; k++)
            v[k] += 0.1f * (float)kl__rng_normal(r, k);
        if (st == KL_OK)
            st = kl_model_set_param(c->model, p->name, v, p->count);
        kl__free(v);
    }
    return st;
}

static kl_status prepare(check *c, const kl_graph *g, const char *loss, int64_t batch)
{
    uint32_t words[KL__STEP_WORDS] = {0};
    bool wide = kl__ctx_caps(c->ctx)->fp64;
    words[KL__STEP_SEED_LO] = (uint32_t)c->seed;
    words[KL__STEP_SEED_HI] = (uint32_t)(c->seed >> 32);
    float one = 1;
    memcpy(&words[KL__STEP_SHARDS], &one, sizeof one);
    c->step = wide ? 1e-5 : 1e-2;
    c->bound = wide ? 1e-5 : 2e-2;
    c->real = wide ? 8 : 4;
    c->lane = kl__ctx_lane(c->ctx, KL__COMPUTE);
    c->model =
        kl_model_create(g, &(kl_model_opts){.compute = wide ? KL_F64 : KL_F32, .seed = c->seed});
    if (!c->model)
        return kl__last_status();
    kl_status st = shake(c);
    if (st == KL_OK)
        st = kl__random_make(c->model, batch, c->seed, &c->data);
    if (st == KL_OK)
        st = upload_inputs(c);
    if (st == KL_OK && !(c->block = kl__mem_create(c->ctx, sizeof words)))
        st = kl__last_status();
    if (st == KL_OK)
        st = kl__lane_write(c->lane, (kl__span){c->block, 0}, words, sizeof words, NULL);
    kl__lock(&c->model->lock);
    if (st == KL_OK && !((c->replica = kl__replica_get(c->model, c->ctx)) &&
                         (c->both = make_plan(c, batch, loss, true)) &&
                         (c->loss = make_plan(c, batch, loss, false))))
        st = kl__last_status();
    kl__unlock(&c->model->lock);
    return st;
}

static void finish(check *c)
{
    kl__lane_finish(c->lane);
    kl__plan_destroy(c->both);
    kl__plan_destroy(c->loss);
    kl__mem_release(c->block);
    for (size_t i = 0; i < MAX_INPUTS; i++)
        kl__mem_release(c->inputs[i]);
    kl__random_finish(&c->data);
    kl_model_destroy(c->model);
}

/* ---- numbers on the device ---- */
static kl_status get(check *c, kl__span at, double *v, size_t n)
{
    if (c->real == sizeof(double))
        return kl__lane_read(c->lane, at, v, n * sizeof *v, NULL);
    float *f = kl__alloc(n * sizeof *f);
    kl_status st = f ? kl__lane_read(c->lane, at, f, n * sizeof *f, NULL) : KL_E_MEMORY;
    if (st == KL_OK)
        kl__convert(v, KL_F64, f, KL_F32, n);
    kl__free(f);
    return st;
}

static kl_status put(check *c, kl__span at, double v)
{
    float f = (float)v;
    return kl__lane_write(c->lane, at, c->real == sizeof v ? (const void *)&v : (const void *)&f,
                          c->real, NULL);
}

static kl_status output(check *c, const kl__plan *p, const char *name, double *v, size_t n)
{
    const kl_node *y = kl_graph_output(p->graph, name);
    return get(c, y->place.span, v, n);
}

/** The mean loss with the parameter at `at` set to v. */
static kl_status loss_at(check *c, kl__span at, double v, double *loss)
{
    kl_status st = put(c, at, v);
    if (st == KL_OK)
        st = kl__plan_run(c->loss, c->lane);
    if (st == KL_OK)
        st = output(c, c->loss, "loss_sum", loss, 1);
    *loss /= c->weight;
    return st;
}

/* ---- one number, one parameter ---- */
static double distance(const check *c, double numeric, double analytic)
{
    double scale = fmax(1e-8, fmax(fabs(numeric) + fabs(analytic), 1e-3 * c->largest));
    double e = fabs(numeric - analytic) / scale;
    return isnan(e) ? (double)INFINITY : e;
}

/** The difference quotient that fits best of those with several steps. */
static kl_status try_one(check *c, kl__span at, double analytic, double *numeric, double *error)
{
    double w = 0, up = 0, down = 0;
    kl_status st = get(c, at, &w, 1);
    *error = (double)INFINITY;
    for (int i = 0; st == KL_OK && i < N_STEPS && !(*error <= c->bound / 4); i++) {
        double h = c->step * step_factors[i] * fmax(1, fabs(w));
        st = loss_at(c, at, w + h, &up);
        if (st == KL_OK)
            st = loss_at(c, at, w - h, &down);
        /* in f32 the step that was taken is not quite the one that was meant */
        double taken = c->real == sizeof w ? (w + h) - (w - h)
                                           : (double)(float)(w + h) - (double)(float)(w - h);
        double d = (up - down) / taken, e = distance(c, d, analytic);
        if (st == KL_OK && (i == 0 || e < *error)) {
            *numeric = d;
            *error = e;
        }
    }
    kl_status back = put(c, at, w);
    return st == KL_OK ? back : st;
}

/** Number k of `tried` out of `count`: all, or one at random from each of `tried` equal pieces. */
static size_t pick(const check *c, const kl__param *p, size_t k, size_t tried)
{
    if (tried == p->count)
        return k;
    size_t first = k * p->count / tried, end = (k + 1) * p->count / tried;
    return first + kl__rng_below(kl__rng_of(c->seed, p->name, 2), k, (uint32_t)(end - first));
}

static kl_status check_param(check *c, const kl__param *p, const double *analytic,
                             kl_gradcheck_row *row)
{
    size_t tried = p->count < (size_t)c->per_param ? p->count : (size_t)c->per_param;
    kl_status st = KL_OK;
    *row = (kl_gradcheck_row){.checked = tried, .count = p->count, .worst = -1};
    snprintf(row->param, sizeof row->param, "%s", p->name);
    for (size_t k = 0; st == KL_OK && k < tried; k++) {
        size_t i = pick(c, p, k, tried);
        double numeric = 0, error = 0;
        st = try_one(c, (kl__span){c->replica->params, (p->offset + i) * c->real}, analytic[i],
                     &numeric, &error);
        if (st == KL_OK && error > row->worst) {
            row->worst = error;
            row->worst_at = i;
            row->numeric = numeric;
            row->analytic = analytic[i];
        }
    }
    if (row->worst < 0)
        row->worst = 0;
    row->ok = row->worst <= c->bound;
    return st;
}

/* ---- all of them ---- */
/** Gradients of the mean loss into g[offset of each parameter]; 0 where the loss does not depend on
 * it. */
static kl_status analytic(check *c, double *g)
{
    kl_status st = kl__plan_run(c->both, c->lane);
    if (st == KL_OK)
        st = output(c, c->both, "loss_weight", &c->weight, 1);
    if (st == KL_OK && !(isfinite(c->weight) && c->weight != 0))
        st = kl__fail(KL_E_NUMERIC, "gradcheck: the loss has a weight of %g", c->weight);
    for (size_t i = 0; st == KL_OK && i < c->model->n_trainable; i++) {
        const kl__param *p = &c->model->params[i];
        char *name = kl__asprintf("grad:%s", p->name);
        if (!name)
            return KL_E_MEMORY;
        if (kl_graph_output(c->both->graph, name) && p->count)
            st = output(c, c->both, name, g + p->offset, p->count);
        kl__free(name);
        for (size_t k = p->offset; k < p->offset + p->count; k++) {
            g[k] /= c->weight;
            c->largest = fmax(c->largest, fabs(g[k]));
        }
    }
    return st;
}

static kl_status check_all(check *c, kl_gradcheck_row **rows, size_t *n)
{
    double *g = kl__calloc(c->model->trainable_elems + 1, sizeof *g);
    kl_status st = g ? analytic(c, g) : KL_E_MEMORY;
    *rows = st == KL_OK ? kl__calloc(c->model->n_trainable + 1, sizeof **rows) : NULL;
    if (st == KL_OK && !*rows)
        st = KL_E_MEMORY;
    for (size_t i = 0; st == KL_OK && i < c->model->n_trainable; i++) {
        const kl__param *p = &c->model->params[i];
        st = check_param(c, p, g + p->offset, &(*rows)[(*n)++]);
    }
    kl__free(g);
    return st;
}

kl_status kl_gradcheck(const kl_graph *g, kl_ctx *ctx, const char *loss, int64_t batch,
                       int per_param, uint64_t seed, kl_gradcheck_row **rows, size_t *n)
{
    if (!g || !ctx || !loss || !rows || !n)
        return kl__fail(KL_E_ARG, "kl_gradcheck: %s is NULL",
                        !g      ? "graph"
                        : !ctx  ? "context"
                        : !loss ? "loss"
                        : rows  ? "n"
                                : "rows");
    *rows = NULL;
    *n = 0;
    if (batch < 1 || per_param < 0)
        return kl__fail(KL_E_ARG,
                        "kl_gradcheck: a batch of %lld samples, %d numbers of each parameter; at "
                        "least 1, and 0",
                        (long long)batch, per_param);
    if (kl_graph_check(g) != KL_OK)
        return kl__last_status();
    if (!kl_graph_output(g, loss))
        return kl__fail(KL_E_ARG, "the graph has no output \"%s\" to check", loss);
    check c = {.ctx = ctx, .per_param = per_param ? per_param : DEFAULT_PER_PARAM, .seed = seed};
    kl_status st = prepare(&c, g, loss, batch);
    if (st == KL_OK)
        st = check_all(&c, rows, n);
    if (c.model)
        finish(&c);
    if (st != KL_OK) {
        kl__free(*rows);
        *rows = NULL;
        *n = 0;
    }
    return st;
}
