/* Times of a pass: each launch alone, and whole passes as they run. */
#include "sched/cost.h"
#include "sched/random.h"

#include "base/mem.h"

#include <kiln/inspect.h>

#include <stdio.h>
#include <string.h>

enum { DEFAULT_RUNS = 5, MAX_RUNS = 1000 };
/** Seconds of passes that one measurement takes at least: clocks and wake-ups vanish in it. */
static const double SHORT_RUN = 0.01;

/** One way to run a pass again and again; training has two plans. */
typedef struct job {
    kl_model *model; /* a copy: the caller's parameters stay */
    kl_ctx *ctx;
    kl__lane *lane;
    kl__random data;
    kl__stepper *stepper; /* training */
    kl__plan *infer;      /* inference */
    kl__mem *inputs[KL__MAX_SLOTS];
    int64_t batch, step;
    kl__plan *plans[2];
    size_t n_plans;
} job;

static kl_model *copy_model(kl_model *m)
{
    kl_model *c = kl_model_create(m->graph, &(kl_model_opts){.compute = m->real, .seed = m->seed});
    if (!c)
        return NULL;
    kl__model_enter(m);
    kl_status st = kl__model_pull(m);
    if (st == KL_OK) {
        memcpy(c->host, m->host, m->elems * kl_dtype_size(m->real));
        for (size_t i = 0; i < m->n_params; i++)
            c->params[i].frozen = m->params[i].frozen;
        c->host_version = ++c->version;
    }
    kl__unlock(&m->lock);
    if (st == KL_OK)
        return c;
    kl_model_destroy(c);
    return NULL;
}

/* ---- inference ---- */
static kl_status bind_infer(job *j)
{
    const kl_node *x;
    kl_status st = KL_OK;
    for (int slot = 0; st == KL_OK && (x = kl__slot_input(j->infer->graph, slot)); slot++) {
        const kl_bind *b = kl__bind_find(j->data.binds, j->data.n, x->name);
        if (slot == KL__MAX_SLOTS)
            return kl__fail(KL_E_UNSUPPORTED, "a profile takes at most %d inputs", KL__MAX_SLOTS);
        if (!(j->inputs[slot] = kl__mem_create(j->ctx, b->host_bytes)))
            return kl__last_status();
        if (b->host_bytes)
            st = kl__lane_write(j->lane, (kl__span){j->inputs[slot], 0}, b->host, b->host_bytes,
                                NULL);
        if (st == KL_OK)
            st = kl__plan_bind(j->infer, slot, (kl__span){j->inputs[slot], 0});
    }
    return st;
}

static kl_status prepare_infer(job *j)
{
    kl__model_enter(j->model);
    j->infer = kl__cost_infer_plan(j->model, j->ctx, j->batch);
    kl__unlock(&j->model->lock);
    if (!j->infer)
        return kl__last_status();
    j->plans[j->n_plans++] = j->infer;
    return bind_infer(j);
}

/* ---- whole passes ---- */
/** Results that are there, or all. */
static kl_status take_results(job *j, bool wait)
{
    kl__result r;
    bool eval;
    kl_status st, first = KL_OK;
    while (kl__stepper_result(j->stepper, wait, &r, &eval, &st))
        if (first == KL_OK)
            first = st;
    return first;
}

/** `n` passes: training steps one behind the other as a trainer queues them, inference passes each
 * waited for, as who asks waits for the answer. */
static kl_status run_passes(job *j, int n)
{
    kl_status st = KL_OK, end;
    for (int i = 0; st == KL_OK && i < n; i++) {
        if (!j->stepper) {
            st = kl__plan_run(j->infer, j->lane);
            end = kl__lane_finish(j->lane);
            st = st == KL_OK ? end : st;
            continue;
        }
        /* Rate 0: the same work, and numbers that stay as they are. */
        st = kl__stepper_step(j->stepper, j->data.binds, j->data.n,
                              &(kl__step_scalars){.step = j->step++, .p = {1, 1, 0, 0}});
        if (st == KL_OK)
            st = take_results(j, false);
    }
    end = j->stepper ? take_results(j, true) : KL_OK;
    return st == KL_OK ? end : st;
}

static kl_status run_once(job *j)
{
    return run_passes(j, 1);
}

static kl_status prepare(job *j, bool training, const char *loss)
{
    kl_status st = kl__random_make(j->model, j->batch, 1, &j->data);
    if (st != KL_OK)
        return st;
    if (!training) {
        st = prepare_infer(j);
    } else if (!(j->stepper = kl__cost_stepper(j->model, j->ctx, loss))) {
        st = kl__last_status();
    }
    if (st == KL_OK)
        st = run_once(j);
    if (st == KL_OK && training) {
        j->plans[j->n_plans++] = j->stepper->passes->plan;
        j->plans[j->n_plans++] = j->stepper->update;
    }
    return st;
}

static void finish(job *j)
{
    if (j->lane)
        kl__lane_finish(j->lane);
    kl__stepper_destroy(j->stepper);
    kl__plan_destroy(j->infer);
    for (int i = 0; i < KL__MAX_SLOTS; i++)
        kl__mem_release(j->inputs[i]);
    kl__random_finish(&j->data);
    kl_model_destroy(j->model);
}

static kl_status time_passes(job *j, int runs, kl_profile *out)
{
    double *wall = kl__calloc(2 * (size_t)runs, sizeof *wall), *cpu = wall ? wall + runs : NULL;
    kl_status st = wall ? run_once(j) : KL_E_MEMORY; /* warm, and how long it takes */
    double before = kl__now();
    if (st == KL_OK)
        st = run_once(j);
    double once = kl__now() - before;
    int n = once < SHORT_RUN ? (int)(SHORT_RUN / (once > 1e-6 ? once : 1e-6)) + 1 : 1;
    for (int i = 0; st == KL_OK && i < runs; i++) {
        double w = kl__now(), c = kl__cpu_now();
        st = run_passes(j, n);
        wall[i] = (kl__now() - w) / n;
        cpu[i] = (kl__cpu_now() - c) / n;
    }
    if (st == KL_OK) {
        out->step_seconds = kl__median(wall, (size_t)runs);
        out->cpu_seconds = kl__median(cpu, (size_t)runs);
    }
    kl__free(wall);
    return st;
}

/* ---- launches ---- */
/** Names and work of the row that holds the launches of apply i; n_applies: copies after them. */
static void describe(const kl__plan *p, size_t i, kl_op_time *row)
{
    const kl__apply *a = i < p->graph->n_applies ? p->graph->applies[i] : NULL;
    size_t first = p->first_step[i];
    snprintf(row->name, sizeof row->name, "%s", a ? a->name : kl__seq_label(p->seq, first));
    if (!a)
        return;
    snprintf(row->op, sizeof row->op, "%s", a->op->name);
    snprintf(row->variant, sizeof row->variant, "%s", a->variant ? a->variant->name : "");
    row->macs = a->op->macs ? a->op->macs(a) : 0;
    row->flops = kl__apply_flops(a);
    row->bytes = kl__apply_bytes(a);
}

/** all[run * n + launch], first..end of them in this row. */
static void fill_row(const kl__plan *p, const double *all, double *one, int runs, size_t first,
                     size_t end, kl_op_time *row)
{
    size_t n = kl__seq_count(p->seq), longest = first;
    for (size_t k = first; k < end; k++)
        if (all[k] > all[longest])
            longest = k;
    for (int r = 0; r < runs; r++) {
        one[r] = 0;
        for (size_t k = first; k < end; k++)
            one[r] += all[(size_t)r * n + k];
    }
    row->seconds = kl__median(one, (size_t)runs);
    row->launches = end - first;
    snprintf(row->kernel, sizeof row->kernel, "%s", kl__seq_kernel_name(p->seq, longest));
}

static size_t steps_end(const kl__plan *p, size_t i)
{
    return i < p->graph->n_applies ? p->first_step[i + 1] : kl__seq_count(p->seq);
}

static void fill_rows(const kl__plan *p, const double *all, double *one, int runs, kl_profile *out)
{
    for (size_t i = p->n_prepared; i <= p->graph->n_applies; i++) {
        size_t first = p->first_step[i], end = steps_end(p, i);
        if (first == end)
            continue;
        kl_op_time *row = &out->rows[out->n++];
        describe(p, i, row);
        fill_row(p, all, one, runs, first, end, row);
    }
}

/** Of a pass: what is done once per version of the parameters is left out, here and in the rows. */
static size_t launches_of(const kl__plan *p)
{
    return kl__seq_count(p->seq) - p->first_step[p->n_prepared];
}

/** Seconds that the host needs to enqueue the plan. */
static kl_status time_enqueue(job *j, const kl__plan *p, int runs, double *seconds)
{
    kl_status st = KL_OK;
    *seconds = 0;
    for (int r = 0; st == KL_OK && r < runs; r++) {
        double start = kl__now();
        st = kl__seq_run(p->seq, j->lane, p->first_step[p->n_prepared], kl__seq_count(p->seq));
        double t = kl__now() - start;
        kl_status end = kl__lane_finish(j->lane);
        st = st == KL_OK ? end : st;
        *seconds = r == 0 || t < *seconds ? t : *seconds;
    }
    return st;
}

static kl_status time_plan(job *j, const kl__plan *p, int runs, kl_profile *out)
{
    size_t n = kl__seq_count(p->seq);
    double *all = kl__calloc((n + 1) * (size_t)runs, sizeof *all), enqueue = 0;
    kl_status st = all ? KL_OK : KL_E_MEMORY;
    for (int r = 0; st == KL_OK && r < runs; r++)
        st = kl__seq_profile(p->seq, j->lane, all + (size_t)r * n);
    if (st == KL_OK)
        fill_rows(p, all, all + n * (size_t)runs, runs, out);
    if (st == KL_OK)
        st = time_enqueue(j, p, runs, &enqueue);
    out->enqueue_seconds += enqueue; /* the sum, until all plans are done */
    kl__free(all);
    return st;
}

static kl_status time_launches(job *j, int runs, kl_profile *out)
{
    kl_status st = KL_OK;
    if (!(out->rows = kl__calloc(out->launches + 1, sizeof *out->rows)))
        return KL_E_MEMORY;
    for (size_t i = 0; st == KL_OK && i < j->n_plans; i++)
        st = time_plan(j, j->plans[i], runs, out);
    out->enqueue_seconds /= out->launches ? (double)out->launches : 1;
    return st;
}

static kl_status begin(job *j, const char *what, kl_model *m, kl_ctx *ctx, int64_t batch,
                       bool training, const char *loss, int runs)
{
    *j = (job){.ctx = ctx, .batch = batch};
    if (!m || !ctx)
        return kl__fail(KL_E_ARG, "%s: the %s is NULL", what, m ? "context" : "model");
    if (batch < 1 || runs < 0 || runs > MAX_RUNS)
        return kl__fail(KL_E_ARG, "%s: a batch of %lld samples, %d runs; at least 1, and 0 to %d",
                        what, (long long)batch, runs, MAX_RUNS);
    j->lane = kl__ctx_lane(ctx, KL__COMPUTE);
    return (j->model = copy_model(m)) ? prepare(j, training, loss) : kl__last_status();
}

kl_status kl_model_profile(kl_model *m, kl_ctx *ctx, int64_t batch, bool training, const char *loss,
                           int runs, bool ops, kl_profile *out)
{
    if (!out)
        return kl__fail(KL_E_ARG, "kl_model_profile: out is NULL");
    *out = (kl_profile){0};
    job j;
    double start = kl__now();
    kl_status st = begin(&j, "kl_model_profile", m, ctx, batch, training, loss, runs);
    runs = runs ? runs : DEFAULT_RUNS;
    out->first_seconds = kl__now() - start;
    if (st == KL_OK)
        st = time_passes(&j, runs, out);
    for (size_t i = 0; st == KL_OK && i < j.n_plans; i++)
        out->launches += launches_of(j.plans[i]);
    if (st == KL_OK && ops)
        st = time_launches(&j, runs, out);
    finish(&j);
    if (st != KL_OK)
        kl_profile_free(out);
    return st;
}

kl_status kl_model_trace(kl_model *m, kl_ctx *ctx, int64_t batch, bool training, const char *loss,
                         int runs, const char *path)
{
    job j;
    kl_status st = begin(&j, "kl_model_trace", m, ctx, batch, training, loss, runs);
    if (st == KL_OK)
        st = kl_ctx_trace(ctx);
    bool tracing = st == KL_OK;
    for (int i = 0; st == KL_OK && i < (runs ? runs : DEFAULT_RUNS); i++)
        st = run_once(&j);
    if (tracing) {
        kl_status written = kl_ctx_trace_write(&ctx, 1, st == KL_OK ? path : NULL);
        st = st == KL_OK ? written : st;
    }
    finish(&j);
    return st;
}

void kl_profile_free(kl_profile *p)
{
    if (!p)
        return;
    kl__free(p->rows);
    *p = (kl_profile){0};
}
