#include "rig.h"

#include "base/mem.h"
#include "base/rng.h"
#include "graph/graph.h"
#include "sched/plan.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N_WIDTHS = 3, AS_GPU = N_WIDTHS, MAX_IO = 10 };
static const char *const widths[] = {NULL, "8", "4", "1"};
static kl_ctx *contexts[N_WIDTHS + 1];
static struct {
    char op[48], variant[32];
    int n;
} ran[256];

static kl_ctx *context(int w)
{
    if (!contexts[w]) {
        char old[16] = "";
        const char *was = getenv("KILN_VECTOR");
        if (was)
            snprintf(old, sizeof old, "%s", was);
        if (widths[w])
            setenv("KILN_VECTOR", widths[w], 1);
        contexts[w] = kl_ctx_create(NULL);
        if (was)
            setenv("KILN_VECTOR", old, 1);
        else
            unsetenv("KILN_VECTOR");
        if (!contexts[w])
            fail_msg("no context: %s", kl_last_error());
    }
    return contexts[w];
}

static void note(const char *op, const char *variant)
{
    for (size_t i = 0; i < sizeof ran / sizeof *ran; i++) {
        if (!ran[i].n) {
            snprintf(ran[i].op, sizeof ran[i].op, "%s", op);
            snprintf(ran[i].variant, sizeof ran[i].variant, "%s", variant);
        }
        if (!strcmp(ran[i].op, op) && !strcmp(ran[i].variant, variant)) {
            ran[i].n++;
            return;
        }
    }
}

static bool has_vectors(const char *variant)
{
    return !strncmp(variant, "solo", 4) || !strncmp(variant, "wino", 4) || !strcmp(variant, "dw") ||
           !strcmp(variant, "group");
}

/** Variants for devices without vectors: where there are some, such a device is played. */
static bool wants_gpu(const char *variant)
{
    return !strncmp(variant, "coop", 4);
}

static bool no_fp64(void)
{
    if (kl__ctx_caps(context(0))->fp64)
        return false;
    print_message("skipped: the device has no fp64\n");
    return true;
}

/** Vectors are forced only where they are at home: elsewhere a compiler may take minutes over the
 * unrolled bodies. */
static bool at_home(void)
{
    return kl__ctx_caps(context(0))->solo;
}

int rig_ran(const char *op, const char *variant)
{
    if (has_vectors(variant) && !at_home())
        return 1;
    for (size_t i = 0; i < sizeof ran / sizeof *ran; i++)
        if (!strcmp(ran[i].op, op) && !strcmp(ran[i].variant, variant))
            return ran[i].n;
    return 0;
}

/* ---- data ------------------------------------------------------------------------------------ */
typedef struct field {
    size_t n, bytes;
    void *raw; /* in its dtype */
    double *v; /* what raw holds */
} field;

static void *need(void *p)
{
    if (!p)
        fail_msg("out of memory");
    return p;
}

static field make_field(const rig_input *in, int k, kl_dtype dtype)
{
    field f = {.n = (size_t)kl_shape_count(in->shape)};
    f.bytes = f.n * kl_dtype_size(dtype);
    f.raw = need(calloc(f.bytes + 8, 1));
    f.v = need(calloc(f.n + 1, sizeof *f.v));
    kl__rng r = kl__rng_of(7, "rig", (uint32_t)k);
    for (size_t i = 0; i < f.n; i++) {
        double u = (double)kl__rng_uniform(r, i);
        switch (in->fill) {
        case RIG_NORMAL:
            f.v[i] = kl__rng_normal(r, i) * (in->hi == 0 ? 1 : in->hi);
            break;
        case RIG_UNIFORM:
            f.v[i] = in->lo + (in->hi - in->lo) * u;
            break;
        case RIG_INTEGER:
            f.v[i] = floor(in->lo + (in->hi - in->lo + 1) * u);
            break;
        case RIG_INDEX:
            f.v[i] = floor(in->hi * u);
            break;
        case RIG_DATA:
            f.v[i] = in->data[i];
            break;
        }
    }
    kl__convert(f.raw, dtype, f.v, KL_F64, f.n);
    kl__convert(f.v, KL_F64, f.raw, dtype, f.n);
    return f;
}

static void free_field(field *f)
{
    free(f->raw);
    free(f->v);
}

static void write_span(kl_ctx *ctx, kl__span at, const void *p, size_t bytes)
{
    if (bytes && kl__lane_write(kl__ctx_lane(ctx, KL__COMPUTE), at, p, bytes, NULL) != KL_OK)
        fail_msg("write: %s", kl_last_error());
}

static void read_span(kl_ctx *ctx, kl__span at, void *p, size_t bytes)
{
    if (bytes && kl__lane_read(kl__ctx_lane(ctx, KL__COMPUTE), at, p, bytes, NULL) != KL_OK)
        fail_msg("read: %s", kl_last_error());
}

static kl__mem *device_mem(kl_ctx *ctx, size_t bytes)
{
    kl__mem *m = kl__mem_create(ctx, bytes ? bytes : 1);
    if (!m)
        fail_msg("memory: %s", kl_last_error());
    return m;
}

/* ---- forward --------------------------------------------------------------------------------- */
static kl_graph *case_graph(const rig_case *c, kl_node **x)
{
    kl_graph *g = need(kl_graph_create());
    char name[16];
    for (int i = 0; i < c->n_in; i++) {
        snprintf(name, sizeof name, "in%d", i);
        x[i] = kl_input(g, name, c->in[i].dtype, c->in[i].shape);
    }
    kl_node *y =
        kl__apply_new_n(g, c->op, "op", x, c->n_in, c->n_out ? c->n_out : c->op->n_out, c->attrs);
    for (int i = 0; y && i < y->by->n_out; i++) {
        snprintf(name, sizeof name, "y%d", i);
        kl_output(g, name, kl__out(y, i));
    }
    return g;
}

static double ulp_of(double ref)
{
    double m = fabs(ref) > 1e-6 ? fabs(ref) : 1e-6;
    int e;
    frexp(m, &e);
    return ldexp(1, e - 24);
}

static bool same(double a, double b)
{
    return (isnan(a) && isnan(b)) || a == b;
}

static void compare(const rig_case *c, const char *variant, int w, int out, const double *got,
                    const double *ref, const double *bound, size_t n)
{
    const double u = ldexp(1, -24);
    double num = 0, den = 0, rms = 0;
    size_t over = 0;
    for (size_t i = 0; i < n; i++)
        rms += ref[i] * ref[i] / (double)n;
    rms = sqrt(rms);
    for (size_t i = 0; i < n; i++) {
        double d = fabs(got[i] - ref[i]), k = c->tol.k;
        bool ok = same(got[i], ref[i]);
        if (isfinite(ref[i]) && isfinite(got[i])) {
            num += d * d;
            den += ref[i] * ref[i];
            if (c->tol.kind == RIG_ANCHORED) {
                ok = d <= k * u * bound[i] + FLT_MIN;
                over += d > 4 * sqrt(k) * u * bound[i] + FLT_MIN;
            } else if (c->tol.kind == RIG_ULP) {
                ok = d <= k * ulp_of(ref[i]);
            } else if (c->tol.kind == RIG_L2) {
                ok = true;
            } else if (c->tol.kind == RIG_RMS) {
                ok = d <= k * rms + FLT_MIN;
            }
        }
        if (!ok)
            fail_msg("%s: %s:%s (vector %s), output %d element %zu: got %.9g, expected %.9g",
                     c->name, c->op->name, variant, widths[w] ? widths[w] : "native", out, i,
                     got[i], ref[i]);
    }
    if (c->tol.kind == RIG_ANCHORED && (double)over > 0.001 * (double)n + 1)
        fail_msg("%s: %s:%s, output %d: %zu of %zu elements above the statistical bound", c->name,
                 c->op->name, variant, out, over, n);
    if (c->tol.kind == RIG_L2 && sqrt(num) > c->tol.k * sqrt(den) + FLT_MIN)
        fail_msg("%s: %s:%s, output %d: relative L2 error %.3g, bound %.3g", c->name, c->op->name,
                 variant, out, sqrt(num / den), c->tol.k);
}

static void inputs_as_they_were(const rig_case *c, kl_ctx *ctx, const field *in,
                                kl__mem *const *mem, const char *force)
{
    for (int i = 0; i < c->n_in && !(c->op->flags & (KL__OP_STATE | KL__OP_VIEW)); i++) {
        void *after = need(calloc(in[i].bytes + 8, 1));
        read_span(ctx, (kl__span){mem[i], 0}, after, in[i].bytes);
        if (memcmp(after, in[i].raw, in[i].bytes) != 0)
            fail_msg("%s: %s: input %d was changed", c->name, force, i);
        free(after);
    }
}

static void run_variant(const rig_case *c, const char *variant, int w)
{
    kl_ctx *ctx = context(w);
    kl_node *x[MAX_IO];
    field in[MAX_IO];
    kl__mem *mem[MAX_IO];
    char force[96];
    snprintf(force, sizeof force, "%s:%s", c->op->name, variant);
    kl_graph *g = case_graph(c, x);
    if (kl_graph_check(g) != KL_OK)
        fail_msg("%s: %s", c->name, kl_last_error());
    for (int i = 0; i < c->n_in; i++) {
        in[i] = make_field(&c->in[i], i, c->in[i].dtype);
        mem[i] = device_mem(ctx, in[i].bytes);
        x[i]->place = (kl__place){KL__AT_SPAN, {mem[i], 0}, 0};
    }
    kl__mem *step = device_mem(ctx, sizeof c->step);
    write_span(ctx, (kl__span){step, 0}, c->step, sizeof c->step);
    kl__plan *p =
        kl__plan_create(ctx, g, &(kl__plan_opts){.force = force, .step = step, .no_fuse = true});
    if (!p)
        fail_msg("%s: %s: %s", c->name, force, kl_last_error());
    size_t n_out = g->n_outputs;
    void *raw[2][MAX_IO];
    for (int run = 0; run < 2; run++) {
        for (int i = 0; i < c->n_in; i++)
            write_span(ctx, (kl__span){mem[i], 0}, in[i].raw, in[i].bytes);
        if (kl__plan_run(p, kl__ctx_lane(ctx, KL__COMPUTE)) != KL_OK)
            fail_msg("%s: %s: %s", c->name, force, kl_last_error());
        for (size_t k = 0; k < n_out; k++) {
            kl_node *y = g->outputs[k].node;
            size_t bytes;
            assert_true(kl__desc_bytes(&y->desc, &bytes));
            raw[run][k] = need(calloc(bytes + 8, 1));
            read_span(ctx, y->place.span, raw[run][k], bytes);
            if (run && memcmp(raw[0][k], raw[1][k], bytes) != 0)
                fail_msg("%s: %s: a second run gives other bits", c->name, force);
        }
        inputs_as_they_were(c, ctx, in, mem, force);
    }
    const double *dv[MAX_IO], *da[MAX_IO];
    double *ref[MAX_IO], *bound[MAX_IO];
    size_t n[MAX_IO];
    for (int i = 0; i < c->n_in; i++) {
        double *a = need(calloc(in[i].n + 1, sizeof *a));
        for (size_t j = 0; j < in[i].n; j++)
            a[j] = fabs(in[i].v[j]);
        dv[i] = in[i].v;
        da[i] = a;
    }
    kl__apply *a = kl_graph_find(g, "op")->by;
    for (size_t k = 0; k < n_out; k++) {
        n[k] = (size_t)kl_shape_count(a->out[k]->desc.shape);
        ref[k] = need(calloc(n[k] + 1, sizeof **ref));
        bound[k] = need(calloc(n[k] + 1, sizeof **bound));
    }
    c->ref(a, dv, ref);
    if (c->tol.kind == RIG_ANCHORED)
        c->ref(a, da, bound);
    for (size_t k = 0; k < n_out; k++) {
        double *got = need(calloc(n[k] + 1, sizeof *got));
        kl__convert(got, KL_F64, raw[0][k], a->out[k]->desc.dtype, n[k]);
        compare(c, variant, w, (int)k, got, ref[k], bound[k], n[k]);
        free(got);
        free(ref[k]);
        free(bound[k]);
        free(raw[0][k]);
        free(raw[1][k]);
    }
    kl__plan_destroy(p);
    kl__mem_release(step);
    for (int i = 0; i < c->n_in; i++) {
        free((void *)(uintptr_t)da[i]);
        free_field(&in[i]);
        kl__mem_release(mem[i]);
    }
}

/** Which of the first 32 parameter sets fit, as bits. */
static uint32_t sets_that_fit(const rig_case *c, const kl__variant *v, int w)
{
    kl_node *x[MAX_IO];
    kl_graph *g = case_graph(c, x);
    if (kl_graph_check(g) != KL_OK)
        fail_msg("%s: %s", c->name, kl_last_error());
    const kl__apply *a = kl_graph_find(g, "op")->by;
    uint32_t bits = 0;
    for (int k = 0; k < 32; k++)
        if (!kl__unfit(a, kl__ctx_caps(context(w)), &(kl__candidate){v, k}))
            bits |= 1u << k;
    kl_graph_destroy(g);
    return bits;
}

void rig_run(const rig_case *c)
{
    const char *env = getenv("RIG_WIDTHS"); /* how many vector widths to try; Oclgrind runs set 1 */
    int n_widths = env ? atoi(env) : at_home() ? N_WIDTHS : 1, n_ran = 0;
    for (int i = 0; i < c->n_in; i++)
        if (c->in[i].dtype == KL_F64 && no_fp64())
            return;
    const kl__variant *v = kl__op_variants(c->op);
    if (c->op->flags & KL__OP_VIEW) {
        run_variant(c, "view", 0);
        return;
    }
    for (; v && v->name; v++) {
        size_t len = strlen(v->name);
        bool every = c->only && c->only[len < strlen(c->only) ? len : 0] == '@';
        if ((c->only && (strncmp(c->only, v->name, len) != 0 || (c->only[len] && !every))) ||
            (!c->only && !strcmp(v->name, "wino") && v->pays))
            continue;
        for (int w = 0; w <= AS_GPU; w++) {
            bool wanted = w == AS_GPU ? wants_gpu(v->name) && at_home()
                                      : w == 0 || (has_vectors(v->name) && w < n_widths);
            uint32_t bits = wanted ? sets_that_fit(c, v, w) : 0;
            /* each set is a program of its own, slow where the device is played */
            if (wants_gpu(v->name) && !every)
                bits &= 1;
            for (int k = 0; k < (w && w < AS_GPU ? 1 : 32); k++) { /* one width tells sets apart */
                char name[KL__CANDIDATE_NAME];
                if (!(bits >> k & 1))
                    continue;
                run_variant(c, kl__candidate_name(&(kl__candidate){v, k}, name), w);
                note(c->op->name, v->name);
                n_ran++;
            }
        }
    }
    if (!n_ran)
        fail_msg("%s: no variant of %s fits", c->name, c->op->name);
}

void rig_refused(const rig_case *c, const char *part)
{
    kl_node *x[MAX_IO];
    kl_graph *g = case_graph(c, x);
    if (kl_graph_check(g) == KL_OK)
        fail_msg("%s: %s was not refused", c->name, c->op->name);
    if (!strstr(kl_last_error(), part))
        fail_msg("%s: \"%s\" does not say \"%s\"", c->name, kl_last_error(), part);
    kl_graph_destroy(g);
}

/* ---- gradients ------------------------------------------------------------------------------- */
enum { MAX_WRT = 16, MAX_OUT = 4, SAMPLES = 40 };

typedef struct leaf { /* something a gradient is taken by, or not */
    kl_node *node;
    field f;
    kl__mem *mem;
    bool wrt;
    char name[64];
} leaf;

typedef struct check {
    const char *name;
    kl_ctx *ctx;
    leaf leaves[MAX_WRT];
    int n;
    kl_shape out_shape[MAX_OUT];
    bool out_real[MAX_OUT];
    field dy[MAX_OUT];
    int n_out;
    const uint32_t *step;
} check;

static double loss(check *k, kl__plan *p)
{
    double sum = 0;
    if (kl__plan_run(p, kl__ctx_lane(k->ctx, KL__COMPUTE)) != KL_OK)
        fail_msg("%s: %s", k->name, kl_last_error());
    for (int i = 0; i < k->n_out; i++) {
        if (!k->out_real[i])
            continue;
        char name[16];
        snprintf(name, sizeof name, "y%d", i);
        kl_node *y = kl_graph_output(p->graph, name);
        double *v = need(calloc(k->dy[i].n + 1, sizeof *v));
        read_span(k->ctx, y->place.span, v, k->dy[i].n * sizeof *v);
        for (size_t j = 0; j < k->dy[i].n; j++)
            sum += v[j] * k->dy[i].v[j];
        free(v);
    }
    return sum;
}

/** Places the leaves of g by name and freezes it. */
static kl__plan *freeze(check *k, kl_graph *g)
{
    for (int i = 0; i < k->n; i++) {
        kl_node *x = kl_graph_find(g, k->leaves[i].name);
        if (x)
            x->place = (kl__place){KL__AT_SPAN, {k->leaves[i].mem, 0}, 0};
    }
    kl__mem *step = device_mem(k->ctx, 64);
    static const uint32_t zero[16];
    write_span(k->ctx, (kl__span){step, 0}, k->step ? k->step : zero, 64);
    kl__plan *p = kl__plan_create(k->ctx, g, &(kl__plan_opts){.step = step, .no_fuse = true});
    kl__mem_release(step);
    if (!p)
        fail_msg("%s: %s", k->name, kl_last_error());
    return p;
}

static void compare_leaf(check *k, kl__plan *fwd, const leaf *l, const double *dx)
{
    const double eps = 1e-6;
    double *v = l->f.v, largest = 0;
    size_t n = l->f.n, count = n < SAMPLES ? n : SAMPLES;
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(dx[i]));
    for (size_t s = 0; s < count; s++) {
        size_t i = n <= SAMPLES ? s : kl__rng_below(kl__rng_of(3, l->name, 0), s, (uint32_t)n);
        double was = v[i], h = eps * fmax(1, fabs(was));
        v[i] = was + h;
        write_span(k->ctx, (kl__span){l->mem, 0}, v, n * sizeof *v);
        double up = loss(k, fwd);
        v[i] = was - h;
        write_span(k->ctx, (kl__span){l->mem, 0}, v, n * sizeof *v);
        double down = loss(k, fwd), numeric = (up - down) / (2 * h);
        v[i] = was;
        double bound = 1e-6 * fmax(largest, fmax(fabs(numeric), fmax(fabs(up), 1))) + 1e-8;
        if (!(fabs(numeric - dx[i]) <= bound))
            fail_msg("%s: gradient by %s[%zu]: %.12g analytic, %.12g numeric", k->name, l->name, i,
                     dx[i], numeric);
    }
    write_span(k->ctx, (kl__span){l->mem, 0}, v, n * sizeof *v);
}

static bool differentiated[256]; /* by place in the table of ops */

static void note_gradients(const kl_graph *fwd)
{
    for (size_t i = 0; i < fwd->n_applies; i++)
        for (size_t k = 0; k < kl__op_count(); k++)
            if (kl__op_at(k) == fwd->applies[i]->op)
                differentiated[k] = true;
}

bool rig_grad_ran(const char *op)
{
    for (size_t k = 0; k < kl__op_count(); k++)
        if (!strcmp(kl__op_at(k)->name, op))
            return differentiated[k];
    return false;
}

static void run_check(check *k, kl_graph *fwd_graph, kl_graph *grad_graph)
{
    for (int i = 0; i < k->n; i++) {
        leaf *l = &k->leaves[i];
        l->mem = device_mem(k->ctx, l->f.bytes);
        write_span(k->ctx, (kl__span){l->mem, 0}, l->f.raw, l->f.bytes);
    }
    kl__plan *fwd = freeze(k, fwd_graph), *grad = freeze(k, grad_graph);
    if (kl__plan_run(grad, kl__ctx_lane(k->ctx, KL__COMPUTE)) != KL_OK)
        fail_msg("%s: %s", k->name, kl_last_error());
    int n_checked = 0;
    for (int i = 0; i < k->n; i++) {
        leaf *l = &k->leaves[i];
        char name[80];
        snprintf(name, sizeof name, "d:%s", l->name);
        kl_node *dx = kl_graph_output(grad->graph, name);
        if (!l->wrt || !dx)
            continue;
        double *v = need(calloc(l->f.n + 1, sizeof *v));
        read_span(k->ctx, dx->place.span, v, l->f.n * sizeof *v);
        compare_leaf(k, fwd, l, v);
        free(v);
        n_checked++;
    }
    if (!n_checked)
        fail_msg("%s: no gradient to check", k->name);
    note_gradients(fwd->graph);
    kl__plan_destroy(fwd);
    kl__plan_destroy(grad);
    for (int i = 0; i < k->n; i++) {
        kl__mem_release(k->leaves[i].mem);
        free_field(&k->leaves[i].f);
    }
    for (int i = 0; i < k->n_out; i++)
        free_field(&k->dy[i]);
}

static kl_dtype as_real(kl_dtype t)
{
    return t == KL_F32 ? KL_F64 : t;
}

static void add_leaf(check *k, const char *name, const rig_input *in, bool wrt)
{
    leaf *l = &k->leaves[k->n];
    assert_true(k->n < MAX_WRT);
    snprintf(l->name, sizeof l->name, "%s", name);
    l->f = make_field(in, k->n, as_real(in->dtype));
    l->wrt = wrt && in->dtype == KL_F32 && !in->no_grad;
    k->n++;
}

/** Appends gradients of all outputs by the leaves to g: inputs dy0.., outputs "d:NAME". */
static void add_gradients(check *k, kl_graph *g, kl_node *const *y)
{
    kl_node *wrt[MAX_WRT], *sum[MAX_WRT] = {NULL}, *dx[MAX_WRT];
    size_t n = 0;
    int which[MAX_WRT];
    for (int i = 0; i < k->n; i++)
        if (k->leaves[i].wrt && kl_graph_find(g, k->leaves[i].name)) {
            which[n] = i;
            wrt[n++] = kl_graph_find(g, k->leaves[i].name);
        }
    int n_forward = k->n;
    for (int o = 0; o < k->n_out; o++) {
        if (!k->out_real[o])
            continue;
        char name[16];
        snprintf(name, sizeof name, "dy%d", o);
        kl_node *dy = kl_input(g, name, KL_F64, k->out_shape[o]);
        add_leaf(k, name,
                 &(rig_input){.dtype = KL_F32, .shape = k->out_shape[o], .fill = RIG_NORMAL},
                 false);
        k->dy[o] =
            make_field(&(rig_input){.dtype = KL_F32, .shape = k->out_shape[o], .fill = RIG_NORMAL},
                       k->n - 1, KL_F64);
        memset(dx, 0, sizeof dx);
        if (kl__graph_grad(g, y[o], dy, wrt, n, dx) != KL_OK)
            fail_msg("%s: %s", k->name, kl_last_error());
        for (size_t i = 0; i < n; i++)
            if (dx[i])
                sum[i] = sum[i] ? kl_add(g, sum[i], dx[i]) : dx[i];
    }
    (void)n_forward;
    for (size_t i = 0; i < n; i++) {
        char name[80];
        snprintf(name, sizeof name, "d:%s", k->leaves[which[i]].name);
        if (sum[i])
            kl_output(g, name, sum[i]);
    }
    if (kl_graph_check(g) != KL_OK)
        fail_msg("%s: %s", k->name, kl_last_error());
}

static void outputs_of(check *k, kl_graph *g, kl_node *const *y, int n_out)
{
    k->n_out = n_out;
    for (int i = 0; i < n_out; i++) {
        char name[16];
        snprintf(name, sizeof name, "y%d", i);
        kl_output(g, name, y[i]);
        if (kl_graph_check(g) != KL_OK)
            fail_msg("%s: %s", k->name, kl_last_error());
        k->out_shape[i] = y[i]->desc.shape;
        k->out_real[i] = y[i]->desc.dtype == KL_F64;
    }
}

static kl_graph *op_graph(const rig_case *c, kl_node **y, int *n_out)
{
    kl_graph *g = need(kl_graph_create());
    kl_node *x[MAX_IO];
    g->real = KL_F64;
    for (int i = 0; i < c->n_in; i++) {
        char name[16];
        snprintf(name, sizeof name, "in%d", i);
        x[i] = kl_input(g, name, as_real(c->in[i].dtype), c->in[i].shape);
    }
    *n_out = c->n_out ? c->n_out : c->op->n_out;
    kl_node *first = kl__apply_new_n(g, c->op, "op", x, c->n_in, *n_out, c->attrs);
    if (!first)
        fail_msg("%s: %s", c->name, kl_last_error());
    for (int i = 0; i < *n_out; i++)
        y[i] = kl__out(first, i);
    return g;
}

void rig_grad(const rig_case *c)
{
    check k = {.name = c->name, .step = c->step};
    kl_node *y[MAX_OUT];
    int n_out;
    if (no_fp64())
        return;
    k.ctx = context(0);
    for (int i = 0; i < c->n_in; i++) {
        char name[16];
        snprintf(name, sizeof name, "in%d", i);
        add_leaf(&k, name, &c->in[i], true);
    }
    kl_graph *fwd = op_graph(c, y, &n_out);
    outputs_of(&k, fwd, y, n_out);
    kl_graph *grad = op_graph(c, y, &n_out);
    add_gradients(&k, grad, y);
    run_check(&k, fwd, grad);
}

static kl_graph *net_graph(rig_build *build, const rig_input *in, int n_in, bool training,
                           kl_node **y, int *n_out)
{
    kl_graph *g = need(kl_graph_create());
    kl_node *x[MAX_IO], *out[MAX_OUT];
    char name[16];
    for (int i = 0; i < n_in; i++) {
        snprintf(name, sizeof name, "in%d", i);
        x[i] = kl_input(g, name, in[i].dtype, in[i].shape);
    }
    *n_out = build(g, x, out);
    for (int i = 0; i < *n_out; i++) {
        snprintf(name, sizeof name, "z%d", i);
        kl_output(g, name, out[i]);
    }
    kl_graph *low = kl__graph_lower(g, 0, training, KL_F64, NULL, 0);
    if (!low)
        fail_msg("lower: %s", kl_last_error());
    for (int i = 0; i < *n_out; i++)
        y[i] = low->outputs[i].node;
    low->n_outputs = 0;
    kl_graph_destroy(g);
    return low;
}

void rig_grad_net(const char *name, rig_build *build, const rig_input *in, int n_in, bool training)
{
    check k = {.name = name};
    kl_node *y[MAX_OUT];
    int n_out;
    if (no_fp64())
        return;
    k.ctx = context(0);
    for (int i = 0; i < n_in; i++) {
        char leaf_name[16];
        snprintf(leaf_name, sizeof leaf_name, "in%d", i);
        add_leaf(&k, leaf_name, &in[i], true);
    }
    kl_graph *fwd = net_graph(build, in, n_in, training, y, &n_out);
    for (size_t i = 0; i < fwd->n_nodes; i++)
        if (kl__is_param(fwd->nodes[i])) {
            const kl__leaf *l = kl__leaf_of(fwd->nodes[i]);
            add_leaf(
                &k, fwd->nodes[i]->name,
                &(rig_input){
                    .dtype = KL_F32, .shape = l->shape, .fill = RIG_UNIFORM, .lo = 0.3, .hi = 1},
                l->trainable);
        }
    fwd->n_updates = 0;
    outputs_of(&k, fwd, y, n_out);
    kl_graph *grad = net_graph(build, in, n_in, training, y, &n_out);
    grad->n_updates = 0;
    add_gradients(&k, grad, y);
    run_check(&k, fwd, grad);
}
