/* Candidates alone. The little graph of a trial is: inputs (plain, filled), each stored as its
 * producer stores it; the apply with its variant forced; what the layout pass puts between. */
#include "sched/trial.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "ops/reorder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Bounds of the comparison with the default's output. Other orders of summation differ by 1e-7 to
 * 1e-6, Winograd by 1e-5; what is wrong, by 1e-2 and more. The second is of one element, relative
 * to the largest. */
static const double MAX_ERROR = 1e-4, MAX_OUTLIER = 2e-3;

/* ---- data ------------------------------------------------------------------------------------ */
/** One number for one channel or one for all may be a variance: positive. */
static bool is_short(const kl_node *x)
{
    int longer = 0;
    for (int i = 0; i < x->desc.shape.n_dims; i++)
        longer += x->desc.shape.dim[i] > 1;
    return longer <= 1;
}

/** Random f32; other dtypes are indices, masks or labels, of which 0 is always a legal one. A
 * pattern of prime length is repeated: no stride of a tensor is a multiple of it. */
static void fill(const kl_node *x, uint32_t k, size_t bytes, void *dst)
{
    enum { PERIOD = 8191 };
    float *f = dst;
    size_t n = bytes / sizeof *f;
    kl__rng r = kl__rng_of(1, "tune", k);
    bool positive = is_short(x);
    if (x->desc.dtype != KL_F32) {
        memset(dst, 0, bytes);
        return;
    }
    for (size_t i = 0; i < n && i < PERIOD; i++)
        f[i] = positive ? 0.5f + kl__rng_uniform(r, i) : (float)kl__rng_normal(r, i);
    for (size_t i = PERIOD; i < n; i++)
        f[i] = f[i - PERIOD];
}

static kl_status make_value(kl__trial_data *d, const kl_node *x)
{
    kl__desc plain = {.dtype = x->desc.dtype, .shape = x->desc.shape};
    size_t bytes;
    if (!kl__desc_bytes(&plain, &bytes))
        return kl__fail(KL_E_UNSUPPORTED, "\"%s\" is too large to be tried", x->name);
    void *host = kl__alloc(bytes);
    kl__mem *m = host ? kl__mem_create(d->ctx, bytes) : NULL;
    kl_status st = m ? KL_OK : kl__last_status();
    if (m)
        d->mem[d->n++] = m;
    if (st == KL_OK && bytes) {
        fill(x, (uint32_t)d->n, bytes, host);
        st = kl__lane_write(kl__ctx_lane(d->ctx, KL__COMPUTE), (kl__span){m, 0}, host, bytes, NULL);
    }
    kl__free(host);
    return st;
}

kl_status kl__trial_data_make(kl_ctx *ctx, const kl__apply *a, size_t n_prepared,
                              kl__trial_data *out)
{
    kl_status st = KL_OK;
    *out = (kl__trial_data){.apply = a, .ctx = ctx};
    for (int i = 0; st == KL_OK && i < a->n_in; i++) {
        const kl_node *x = a->in[i];
        int k = 0;
        while (k < out->n && out->from[k] != x)
            k++;
        if (k < out->n)
            continue;
        if (k == KL__TRIAL_IN)
            st = kl__fail(KL_E_UNSUPPORTED, "\"%s\" has too many inputs to be tried", a->name);
        if (st == KL_OK) {
            out->from[k] = x;
            out->prepared[k] = n_prepared > 0 && (kl__is_param(x) || x->by->id < n_prepared);
            st = make_value(out, x);
        }
    }
    if (st != KL_OK)
        kl__trial_data_finish(out);
    return st;
}

void kl__trial_data_finish(kl__trial_data *d)
{
    for (int i = 0; i < d->n; i++)
        kl__mem_release(d->mem[i]);
    *d = (kl__trial_data){0};
}

/* ---- the little graph ------------------------------------------------------------------------ */
typedef struct build {
    const kl__trial_data *d;
    const kl__candidate *c;
    kl__trial *t;
    kl_graph *g;
    kl_node *in[KL__TRIAL_IN]; /* by value: as it is stored */
    kl__apply *a;              /* the copy */
    kl__apply *last;           /* it, or the last reorder of what it gives */
    size_t n_stored;           /* applies that store inputs */
    kl__layout *asked;         /* what the candidate asks for: of all inputs, then outputs */
} build;

static kl_status ask(build *b)
{
    kl__apply a = *b->d->apply;
    if (!(b->asked = kl__calloc((size_t)a.n_in + (size_t)a.n_out, sizeof *b->asked)))
        return KL_E_MEMORY;
    a.variant = b->c->variant;
    a.config = b->c->config;
    if (a.variant->layouts)
        a.variant->layouts(&a, kl__ctx_caps(b->d->ctx), b->asked, b->asked + a.n_in);
    return KL_OK;
}

/** How the candidate reads value k first. */
static kl__layout wanted(const build *b, int k)
{
    int i = 0;
    while (b->d->apply->in[i] != b->d->from[k])
        i++;
    return b->asked[i];
}

static bool alike(const kl__layout *x, const kl__layout *y)
{
    return x->kind == y->kind && x->block == y->block;
}

/** The value as its producer stores it. Were this candidate chosen, the producer would write the
 * halo that it wants. */
static kl__layout stored(const build *b, int k)
{
    kl__layout is = b->d->from[k]->desc.layout, want = wanted(b, k);
    return alike(&is, &want) || b->d->prepared[k] ? want : is;
}

static kl_node *add_input(build *b, int k)
{
    static const kl__layout plain;
    const kl__desc *d = &b->d->from[k]->desc;
    kl__layout l = stored(b, k);
    char name[16];
    size_t bytes;
    snprintf(name, sizeof name, "x%d", k);
    kl_node *x = kl_input(b->g, name, d->dtype, d->shape);
    if (!x)
        return NULL;
    x->place = (kl__place){KL__AT_SPAN, {b->d->mem[k], 0}, 0};
    if (!kl__layout_equal(&l, &plain)) {
        x = kl__reorder(b->g, x, &l);
        if (!x || !kl__desc_bytes(&x->desc, &bytes) ||
            !(b->t->stored[k] = kl__mem_create(b->d->ctx, bytes)))
            return NULL;
        x->place = (kl__place){KL__AT_SPAN, {b->t->stored[k], 0}, 0};
    }
    return x;
}

static kl_node *input_of(const build *b, int i)
{
    int k = 0;
    while (b->d->from[k] != b->d->apply->in[i])
        k++;
    return b->in[k];
}

/** Where it stores an output otherwise than readers have it now, a reorder follows. */
static bool add_output(build *b, int i)
{
    kl__layout now = b->d->apply->out[i]->desc.layout;
    kl_node *y = b->a->out[i];
    char name[16];
    snprintf(name, sizeof name, "y%d", i);
    if (!alike(&now, &b->asked[b->a->n_in + i])) {
        if (!(y = kl__reorder(b->g, y, &now)))
            return false;
        b->last = y->by;
    }
    kl_output(b->g, name, y);
    return true;
}

static kl_status add_apply(build *b)
{
    const kl__apply *a = b->d->apply;
    size_t n = (size_t)(a->n_in > 0 ? a->n_in : 1);
    kl_node **in = kl__graph_alloc(b->g, n * sizeof(kl_node *));
    for (int i = 0; in && i < a->n_in; i++)
        in[i] = input_of(b, i);
    kl_node *y = in ? kl__apply_new_n(b->g, a->op, NULL, in, a->n_own, a->n_out, a->attrs) : NULL;
    if (!y)
        return kl__last_status();
    b->a = y->by;
    b->a->in = in;
    b->a->n_in = a->n_in;
    b->a->epilogue = a->epilogue;
    b->last = b->a;
    for (int i = 0; i < a->n_out; i++)
        if (!add_output(b, i))
            return kl__last_status();
    return kl_graph_check(b->g);
}

static kl_status build_graph(build *b)
{
    if (!(b->g = kl_graph_create()))
        return kl__last_status();
    b->g->batch = b->d->apply->graph->batch;
    kl_status st = ask(b);
    if (st != KL_OK)
        return st;
    for (int k = 0; k < b->d->n; k++)
        if (!(b->in[k] = add_input(b, k)))
            return kl__last_status();
    b->n_stored = b->g->n_applies;
    return add_apply(b);
}

kl_status kl__trial_make(const kl__trial_data *d, const kl__candidate *c, kl__trial *out)
{
    build b = {.d = d, .c = c, .t = out};
    char force[64], name[KL__CANDIDATE_NAME];
    *out = (kl__trial){0};
    snprintf(force, sizeof force, "%.28s:%s", d->apply->op->name, kl__candidate_name(c, name));
    kl_status st = build_graph(&b);
    if (st != KL_OK) {
        kl_graph_destroy(b.g);
    } else if (!(out->plan = kl__plan_create(d->ctx, b.g,
                                             &(kl__plan_opts){.force = force, .no_fuse = true}))) {
        st = kl__last_status();
    } else {
        out->first = out->plan->first_step[b.n_stored];
        out->last = out->plan->first_step[b.last->id + 1];
        st = kl__plan_run(out->plan, kl__ctx_lane(d->ctx, KL__COMPUTE));
        if (st == KL_OK)
            st = kl__lane_drain(kl__ctx_lane(d->ctx, KL__COMPUTE));
    }
    kl__free(b.asked);
    if (st != KL_OK)
        kl__trial_finish(out);
    return st;
}

void kl__trial_finish(kl__trial *t)
{
    kl__plan_destroy(t->plan);
    for (int i = 0; i < KL__TRIAL_IN; i++)
        kl__mem_release(t->stored[i]);
    *t = (kl__trial){0};
}

/* ---- running --------------------------------------------------------------------------------- */
kl_status kl__trial_time(kl__trial *t, int times, double *seconds)
{
    kl__lane *lane = kl__ctx_lane(t->plan->ctx, KL__COMPUTE);
    kl_status st = kl__lane_drain(lane);
    double start = kl__now();
    for (int i = 0; st == KL_OK && i < times; i++)
        st = kl__seq_run(t->plan->seq, lane, t->first, t->last);
    kl_status end = kl__lane_drain(lane);
    *seconds = (kl__now() - start) / (times > 0 ? times : 1);
    return st == KL_OK ? end : st;
}

/** NaN on both sides is no difference: the numbers are random, and a root may be of a negative one.
 */
static void distance(const float *x, const float *y, size_t n, double *error, bool *wrong)
{
    double diff = 0, norm = 0, most = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        double a = (double)x[i], b = (double)y[i], d = fabs(a - b);
        if (a == b || (isnan(a) && isnan(b)))
            d = 0;
        else if (!(d < HUGE_VAL))
            *wrong = true;
        if (isfinite(d) && isfinite(b)) {
            diff += d * d;
            norm += b * b;
            most = d > most ? d : most;
            largest = fabs(b) > largest ? fabs(b) : largest;
        }
    }
    double e = diff > 0 ? sqrt(diff / (norm > 0 ? norm : diff)) : 0;
    *error = e > *error ? e : *error;
    *wrong = *wrong || e > MAX_ERROR || most > MAX_OUTLIER * largest;
}

static kl_status compare_output(const kl__trial *t, const kl__trial *right, size_t i, double *error,
                                bool *wrong)
{
    const kl_node *x = t->plan->graph->outputs[i].node, *y = right->plan->graph->outputs[i].node;
    kl__lane *lane = kl__ctx_lane(t->plan->ctx, KL__COMPUTE);
    size_t bytes;
    if (!kl__desc_bytes(&x->desc, &bytes) || !bytes || x->place.kind != KL__AT_SPAN ||
        y->place.kind != KL__AT_SPAN)
        return KL_OK;
    char *a = kl__alloc(bytes), *b = kl__alloc(bytes);
    kl_status st = a && b ? KL_OK : KL_E_MEMORY;
    if (st == KL_OK)
        st = kl__lane_read(lane, x->place.span, a, bytes, NULL);
    if (st == KL_OK)
        st = kl__lane_read(lane, y->place.span, b, bytes, NULL);
    if (st == KL_OK && x->desc.dtype == KL_F32)
        distance((const float *)a, (const float *)b, bytes / sizeof(float), error, wrong);
    else if (st == KL_OK)
        *wrong = *wrong || memcmp(a, b, bytes) != 0;
    kl__free(a);
    kl__free(b);
    return st;
}

kl_status kl__trial_compare(const kl__trial *t, const kl__trial *right, double *error, bool *wrong)
{
    /* Timing ran a part of it, and values share memory: what is there now is no result. */
    kl_status st = kl__plan_run(right->plan, kl__ctx_lane(right->plan->ctx, KL__COMPUTE));
    *error = 0;
    *wrong = false;
    for (size_t i = 0; st == KL_OK && i < t->plan->graph->n_outputs; i++)
        st = compare_output(t, right, i, error, wrong);
    return st;
}
