/* The self-test: small graphs run as this device would run them, against definitions in double on
 * the host where whole numbers must come out exactly, and against the plain kernels elsewhere. */
#include "train/selftest.h"

#include "sched/random.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- named numbers ---- */
const kl__value *kl__value_find(const kl__values *v, const char *name)
{
    for (size_t i = 0; i < v->n; i++)
        if (!strcmp(v->value[i].name, name))
            return &v->value[i];
    return NULL;
}

kl__value *kl__value_add(kl__values *v, const char *name, size_t n)
{
    if (v->n == KL__SELFTEST_VALUES) {
        kl__fail(KL_E_ARG, "self-test: more than %d values", KL__SELFTEST_VALUES);
        return NULL;
    }
    kl__value *x = &v->value[v->n];
    *x = (kl__value){
        .n = n, .v = kl__calloc(n + 1, sizeof *x->v), .want = kl__calloc(n + 1, sizeof *x->want)};
    snprintf(x->name, sizeof x->name, "%s", name);
    v->n++;
    return x->v && x->want ? x : NULL;
}

void kl__values_free(kl__values *v)
{
    for (size_t i = 0; i < v->n; i++) {
        kl__free(v->value[i].v);
        kl__free(v->value[i].want);
    }
    *v = (kl__values){.n = 0};
}

void kl__selftest_compare(kl__selftest_result *r, const char *name, const double *got,
                          const double *want, size_t n, double bound, bool exact)
{
    double diff = 0, norm = 0, worst = -1;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        double d = got[i] == want[i] ? 0 : fabs(got[i] - want[i]);
        d = isfinite(d) ? d : 1e30; /* NaN in one of them, or infinity */
        diff += d * d;
        norm += want[i] * want[i];
        if (d > worst) {
            worst = d;
            at = i;
        }
    }
    double e = diff > 0 ? sqrt(diff / fmax(norm, 1e-20)) : 0;
    r->error = fmax(r->error, e);
    if (exact ? diff == 0 : e <= bound)
        return;
    if (r->ok)
        snprintf(r->detail, sizeof r->detail, "%s: element %zu of %zu is %.9g where %.9g is right",
                 name, at, n, got[at], want[at]);
    r->ok = false;
}

/* ---- data of a case ---- */
typedef struct job {
    const kl__selftest_case *c;
    kl_ctx *ctx;
    kl_graph *graph; /* as written */
    kl__values in;   /* f32 numbers, as double */
} job;

enum { BATCH = 1 }; /* the graphs have their sizes written down */

static double whole(double v, bool exact)
{
    return exact ? floor(1.5 * v + 0.5) : (double)(float)v;
}

static kl_status draw_params(job *j, const kl_model *m)
{
    for (size_t i = 0; i < m->n_params; i++) {
        const kl__param *p = &m->params[i];
        kl__value *x = kl__value_add(&j->in, p->name, p->count);
        kl__rng r = kl__rng_of(1, p->name, 0);
        bool weight = kl__ends(p->name, ".weight");
        if (!x)
            return kl__last_status();
        for (size_t k = 0; k < p->count; k++) {
            double v = kl__rng_normal(r, k);
            /* weights small enough that networks stay in range; variances, the only parameters not
             * trained, positive */
            x->v[k] = !p->trainable ? (double)(float)(fabs(v) + 0.5)
                                    : whole(weight && !j->c->exact ? v / 4 : v, j->c->exact);
        }
    }
    return KL_OK;
}

static kl_status draw_inputs(job *j, const kl_model *m)
{
    kl__random r;
    kl_status st = kl__random_make(m, BATCH, 2, &r);
    for (size_t i = 0; st == KL_OK && i < r.n; i++) {
        kl_dtype dtype = kl_node_dtype(kl_graph_input(m->graph, i));
        size_t n = r.binds[i].host_bytes / kl_dtype_size(dtype);
        kl__value *x = kl__value_add(&j->in, r.binds[i].name, n);
        st = x ? KL_OK : kl__last_status();
        if (x && dtype == KL_I32)
            for (size_t k = 0; k < n; k++)
                x->v[k] = (double)((const int32_t *)r.binds[i].host)[k];
        else if (x)
            kl__convert(x->v, KL_F64, r.binds[i].host, dtype, n);
        for (size_t k = 0; x && j->c->exact && k < n; k++)
            x->v[k] = whole(x->v[k], true);
    }
    if (r.binds)
        kl__random_finish(&r);
    return st;
}

/** What flows back into each output. */
static kl_status draw_seeds(job *j, const kl_model *m)
{
    for (size_t i = 0; i < m->graph->n_outputs; i++) {
        const kl__graph_output *o = &m->graph->outputs[i];
        char name[40];
        snprintf(name, sizeof name, "seed:%s", o->name);
        kl__value *x = kl__value_add(&j->in, name, (size_t)kl_shape_count(o->node->desc.shape));
        if (!x)
            return kl__last_status();
        for (size_t k = 0; k < x->n; k++)
            x->v[k] = whole(kl__rng_normal(kl__rng_of(3, name, 0), k), j->c->exact);
    }
    return KL_OK;
}

static kl_status draw(job *j)
{
    kl_model *m = kl_model_create(j->graph, NULL);
    kl_status st = m ? draw_params(j, m) : kl__last_status();
    if (st == KL_OK)
        st = draw_inputs(j, m);
    if (st == KL_OK)
        st = draw_seeds(j, m);
    kl_model_destroy(m);
    return st;
}

/* ---- one run ---- */
typedef struct how {
    kl_dtype real;
    const char *force; /* variants */
    bool no_fuse, exact;
} how;

typedef struct run {
    kl_model *model;
    kl__plan *plan;
    kl__mem *mem[KL__SELFTEST_VALUES];
    size_t n_mem;
} run;

/** n doubles as `dtype` in fresh memory. */
static void *narrowed(const double *v, size_t n, kl_dtype dtype)
{
    void *p = kl__calloc(n + 1, kl_dtype_size(dtype));
    if (p && dtype == KL_I32)
        for (size_t i = 0; i < n; i++)
            ((int32_t *)p)[i] = (int32_t)v[i];
    else if (p)
        kl__convert(p, dtype, v, KL_F64, n);
    return p;
}

static kl_status set_params(const job *j, kl_model *m)
{
    kl_status st = KL_OK;
    for (size_t i = 0; st == KL_OK && i < m->n_params; i++) {
        const kl__value *x = kl__value_find(&j->in, m->params[i].name);
        float *f = narrowed(x->v, x->n, KL_F32);
        st = f ? kl_model_set_param(m, x->name, f, x->n) : KL_E_MEMORY;
        kl__free(f);
    }
    return st;
}

/** Gradients of every output by every trainable parameter, as outputs "y by x". */
static kl_status add_gradients(const job *j, const kl_model *m, kl_graph *g)
{
    size_t n_outputs = g->n_outputs;
    for (size_t o = 0; o < n_outputs; o++) {
        kl_node *wrt[KL__SELFTEST_VALUES], *dx[KL__SELFTEST_VALUES], *y = g->outputs[o].node;
        char name[40];
        snprintf(name, sizeof name, "seed:%s", g->outputs[o].name);
        const kl__value *s = kl__value_find(&j->in, name);
        void *numbers = narrowed(s->v, s->n, g->real);
        kl_node *seed = numbers ? kl_constant(g, name, g->real, y->desc.shape, numbers) : NULL;
        kl__free(numbers);
        for (size_t i = 0; i < m->n_trainable; i++)
            wrt[i] = kl_graph_find(g, m->params[i].name);
        kl_status st =
            seed ? kl__graph_grad(g, y, seed, wrt, m->n_trainable, dx) : kl__last_status();
        for (size_t i = 0; st == KL_OK && i < m->n_trainable; i++) {
            snprintf(name, sizeof name, "%s by %s", g->outputs[o].name, m->params[i].name);
            if (dx[i])
                kl_output(g, name, dx[i]);
            st = kl_graph_check(g);
        }
        if (st != KL_OK)
            return st;
    }
    return KL_OK;
}

static kl_status bind_inputs(const job *j, run *r)
{
    const kl_node *x;
    kl_status st = KL_OK;
    for (int slot = 0; st == KL_OK && (x = kl__slot_input(r->plan->graph, slot)); slot++) {
        const kl__value *v = kl__value_find(&j->in, x->name);
        size_t bytes = v->n * kl_dtype_size(x->desc.dtype);
        void *p = narrowed(v->v, v->n, x->desc.dtype);
        kl__mem *m = p ? kl__mem_create(j->ctx, bytes) : NULL;
        st = m ? kl__lane_write(kl__ctx_lane(j->ctx, KL__COMPUTE), (kl__span){m, 0}, p, bytes, NULL)
               : kl__last_status();
        kl__free(p);
        if (m)
            r->mem[r->n_mem++] = m;
        if (st == KL_OK)
            st = kl__plan_bind(r->plan, slot, (kl__span){m, 0});
    }
    return st;
}

static kl_status make_plan(const job *j, const how *h, run *r)
{
    if (!(r->model = kl_model_create(j->graph, &(kl_model_opts){.compute = h->real})))
        return kl__last_status();
    kl_status st = set_params(j, r->model);
    kl__lock(&r->model->lock);
    kl__replica *rep = st == KL_OK ? kl__replica_get(r->model, j->ctx) : NULL;
    kl__unlock(&r->model->lock);
    kl_graph *g =
        rep ? kl__graph_lower(r->model->graph, BATCH, !j->c->inference, h->real, NULL, 0) : NULL;
    if (!g)
        return st == KL_OK ? kl__last_status() : st;
    g->n_updates = 0; /* running statistics are nobody's here */
    if (!j->c->inference)
        st = add_gradients(j, r->model, g);
    if (st == KL_OK)
        st = kl__graph_prune(g);
    if (st != KL_OK) {
        kl_graph_destroy(g);
        return st;
    }
    kl__place_inputs(g);
    kl__replica_place(rep, g);
    r->plan = kl__plan_create(
        j->ctx, g, &(kl__plan_opts){.force = h->force, .no_fuse = h->no_fuse, .exact = h->exact});
    return r->plan ? bind_inputs(j, r) : kl__last_status();
}

static kl_status read_outputs(const job *j, const run *r, kl__values *out)
{
    kl_status st = KL_OK;
    for (size_t i = 0; st == KL_OK && i < r->plan->graph->n_outputs; i++) {
        const kl__graph_output *o = &r->plan->graph->outputs[i];
        size_t n = (size_t)kl_shape_count(o->node->desc.shape),
               size = kl_dtype_size(o->node->desc.dtype);
        kl__value *x = kl__value_add(out, o->name, n);
        void *p = x ? kl__alloc(n * size) : NULL;
        st = p ? kl__lane_read(kl__ctx_lane(j->ctx, KL__COMPUTE), o->node->place.span, p, n * size,
                               NULL)
               : kl__last_status();
        if (st == KL_OK)
            kl__convert(x->v, KL_F64, p, o->node->desc.dtype, n);
        kl__free(p);
    }
    return st;
}

static kl_status run_graph(const job *j, const how *h, kl__values *out)
{
    run r = {0};
    kl_status st = make_plan(j, h, &r);
    if (st == KL_OK)
        st = kl__plan_run(r.plan, kl__ctx_lane(j->ctx, KL__COMPUTE));
    if (st == KL_OK)
        st = read_outputs(j, &r, out);
    kl__lane_finish(kl__ctx_lane(j->ctx, KL__COMPUTE));
    kl__plan_destroy(r.plan);
    for (size_t i = 0; i < r.n_mem; i++)
        kl__mem_release(r.mem[i]);
    kl_model_destroy(r.model);
    return st;
}

/* ---- cases ---- */
static kl_status reference(const job *j, kl__values *out)
{
    if (j->c->ref) {
        j->c->ref(j->graph, &j->in, out);
        return KL_OK;
    }
    bool wide = kl__ctx_caps(j->ctx)->fp64;
    kl__values plain = {.n = 0};
    /* in double the formulas of a chain are the same, so it may stay one kernel; else each op is on
     * its own */
    kl_status st = run_graph(j, &(how){wide ? KL_F64 : KL_F32, "*:ref", !wide, false}, &plain);
    for (size_t i = 0; st == KL_OK && i < out->n; i++) {
        const kl__value *x = kl__value_find(&plain, out->value[i].name);
        memcpy(out->value[i].want, x->v, x->n * sizeof *x->v);
    }
    kl__values_free(&plain);
    return st;
}

static kl_status run_case(kl_ctx *ctx, const kl__selftest_case *c, kl__selftest_result *r)
{
    job j = {.c = c, .ctx = ctx, .graph = kl_graph_parse(c->text, c->what)};
    kl__values out = {.n = 0};
    kl_status st = j.graph ? draw(&j) : kl__last_status();
    if (st == KL_OK)
        st = run_graph(&j, &(how){KL_F32, NULL, false, c->exact}, &out);
    if (st == KL_OK)
        st = reference(&j, &out);
    for (size_t i = 0; st == KL_OK && i < out.n; i++)
        kl__selftest_compare(r, out.value[i].name, out.value[i].v, out.value[i].want,
                             out.value[i].n, c->bound, c->exact);
    kl__values_free(&out);
    kl__values_free(&j.in);
    kl_graph_destroy(j.graph);
    return st;
}

kl_status kl_selftest(kl_ctx *ctx, bool (*row)(void *user, const kl_selftest_row *r), void *user)
{
    size_t failed = 0, n = kl__selftest_n_cases + KL__SELFTEST_OPTIMS;
    char first[400] = "";
    if (!ctx)
        return kl__fail(KL_E_ARG, "kl_selftest: context is NULL");
    for (size_t i = 0; i < n; i++) {
        const kl__selftest_case *c = i < kl__selftest_n_cases ? &kl__selftest_cases[i] : NULL;
        int optim = (int)(i - kl__selftest_n_cases);
        kl__selftest_result r = {.ok = true};
        double start = kl__now();
        kl_status st = c ? run_case(ctx, c, &r) : kl__selftest_optim(ctx, optim, &r);
        if (st != KL_OK) {
            r.ok = false;
            r.error = (double)INFINITY;
            snprintf(r.detail, sizeof r.detail, "%s", kl_last_error());
        }
        kl_selftest_row out = {.what = c ? c->what : kl__selftest_optim_name(optim),
                               .ok = r.ok,
                               .error = r.error,
                               .seconds = kl__now() - start,
                               .detail = r.ok ? NULL : r.detail};
        if (!r.ok && !failed++)
            snprintf(first, sizeof first, "%s: %s", out.what, r.detail);
        if (row && !row(user, &out))
            return kl__fail(KL_E_CANCELLED, "the self-test was stopped");
    }
    return failed ? kl__fail(KL_E_NUMERIC, "%zu of %zu self-tests failed; the first: %s", failed, n,
                             first)
                  : KL_OK;
}
