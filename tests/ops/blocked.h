/* One op application on blocked storage with chosen halos, next to the plain ref kernels: what the
 * reordering rig does not see. */
#ifndef KL_TESTS_OPS_BLOCKED_H
#define KL_TESTS_OPS_BLOCKED_H

#include "rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MAX_IO = 2 };
static int64_t last_count[MAX_IO]; /* elements of the outputs of the last run */
static const char *const widths[] = {"16", "8", "4"};

typedef struct problem {
    const kl__op *op;
    const void *attrs;
    int n_in, n_out;
    kl_shape shape[MAX_IO]; /* of inputs; rank 0: the first one's */
    kl_dtype dtype[MAX_IO];
    const double *in[MAX_IO];
    kl__layout first; /* storage of input 0 and, without halo, of the others */
    bool chosen;      /* the variant is to be the one chosen for that storage */
    int widen;        /* more halo than asked for around inputs of f32 */
    int out_halo[4];  /* that readers of output 0 want */
    kl_shape beside;  /* of a value in the same graph, stored in blocks; rank 0: none */
    const char *variant;
} problem;

/** A context whose kernels have vectors of this width; NULL where the device has none of its own.
 * As in the rig, vectors are not forced upon a device that is not made for them: one item does the
 * work of a whole group then, and a driver may cut its loops short (quirks.c). */
static kl_ctx *with_vectors(const char *width)
{
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    bool at_home = kl__ctx_caps(ctx)->solo;
    kl_ctx_destroy(ctx);
    if (!at_home)
        return NULL;
    setenv("KILN_VECTOR", width, 1);
    ctx = kl_ctx_create(NULL);
    unsetenv("KILN_VECTOR");
    assert_non_null(ctx);
    return ctx;
}

/** Index in storage of a logical place. */
static int64_t storage_at(const kl__desc *d, const int64_t i[4])
{
    const int64_t *s = d->shape.dim;
    const kl__layout *l = &d->layout;
    if (l->kind == KL__PLAIN)
        return ((i[0] * s[1] + i[1]) * s[2] + i[2]) * s[3] + i[3];
    int64_t blocks = (s[1] + l->block - 1) / l->block;
    int64_t rows = s[2] + l->halo[0] + l->halo[2], columns = s[3] + l->halo[1] + l->halo[3];
    return (((i[0] * blocks + i[1] / l->block) * rows + i[2] + l->halo[0]) * columns + i[3] +
            l->halo[1]) *
               l->block +
           i[1] % l->block;
}

static double get(const void *raw, kl_dtype t, int64_t at)
{
    double v;
    kl__convert(&v, KL_F64, (const char *)raw + (size_t)at * kl_dtype_size(t), t, 1);
    return v;
}

/** Copies between a plain array and storage; the rest of storage is left alone. */
static void transfer(const kl__desc *d, double *plain, void *raw, bool to_storage)
{
    int64_t i[4], n = 0;
    for (i[0] = 0; i[0] < d->shape.dim[0]; i[0]++)
        for (i[1] = 0; i[1] < d->shape.dim[1]; i[1]++)
            for (i[2] = 0; i[2] < d->shape.dim[2]; i[2]++)
                for (i[3] = 0; i[3] < d->shape.dim[3]; i[3]++, n++) {
                    int64_t at = storage_at(d, i);
                    if (to_storage)
                        kl__convert((char *)raw + (size_t)at * kl_dtype_size(d->dtype), d->dtype,
                                    &plain[n], KL_F64, 1);
                    else
                        plain[n] = get(raw, d->dtype, at);
                }
}

/** Everything in storage that is not a logical element is zero: taken as sums of magnitudes. */
static void check_lanes(const kl__desc *d, const double *plain, const void *raw)
{
    size_t stored;
    double all = 0, logical = 0;
    assert_true(kl__desc_elems(d, &stored));
    for (size_t i = 0; i < stored; i++)
        all += fabs(get(raw, d->dtype, (int64_t)i));
    for (int64_t i = 0; i < kl_shape_count(d->shape); i++)
        logical += fabs(plain[i]);
    assert_true(fabs(all - logical) <= 1e-9 * all);
}

static kl__mem *place(kl_ctx *ctx, kl_node *x, void **raw)
{
    size_t bytes;
    assert_true(kl__desc_bytes(&x->desc, &bytes));
    kl__mem *m = kl__mem_create(ctx, bytes);
    *raw = calloc(bytes, 1);
    assert_true(m && *raw);
    x->place = (kl__place){KL__AT_SPAN, {m, 0}, 0};
    return m;
}

static void emit_and_run(kl_ctx *ctx, const kl__apply *a)
{
    kl__seq *s = kl__seq_create(ctx);
    kl__emit e = {.ctx = ctx, .caps = kl__ctx_caps(ctx), .seq = s};
    assert_non_null(s);
    if (a->variant->emit(&e, a) != KL_OK ||
        kl__seq_run(s, kl__ctx_lane(ctx, KL__COMPUTE), 0, kl__seq_count(s)) != KL_OK)
        fail_msg("%s: %s", a->op->name, kl_last_error());
    assert_int_equal(kl__lane_finish(kl__ctx_lane(ctx, KL__COMPUTE)), KL_OK);
    kl__seq_destroy(s);
}

/** Output k as a plain array for the caller to free; the rest of its storage is checked. */
static double *plain_of(kl_ctx *ctx, const kl_node *y, void *raw, int k)
{
    const kl__desc *d = &y->desc;
    size_t bytes;
    last_count[k] = kl_shape_count(d->shape);
    double *v = calloc((size_t)last_count[k] + 1, sizeof *v);
    assert_non_null(v);
    assert_true(kl__desc_bytes(d, &bytes));
    assert_int_equal(
        kl__lane_read(kl__ctx_lane(ctx, KL__COMPUTE), y->place.span, raw, bytes, NULL), KL_OK);
    transfer(d, v, raw, false);
    if (d->dtype == KL_F32)
        check_lanes(d, v, raw);
    return v;
}

/** Chooses, checks the choice, runs; out[k] are plain arrays for the caller to free. */
static void run(kl_ctx *ctx, const problem *p, double *out[MAX_IO])
{
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl_graph *g = kl_graph_create();
    kl_node *x[MAX_IO];
    kl__mem *mem[2 * MAX_IO];
    void *raw[2 * MAX_IO];
    kl__layout in[MAX_IO], to[MAX_IO];
    char force[64];
    size_t bytes;
    memset(in, 0, sizeof in);
    memset(to, 0, sizeof to);
    for (int i = 0; i < p->n_in; i++) {
        char name[8];
        snprintf(name, sizeof name, "x%d", i);
        x[i] = kl_input(g, name, p->dtype[i], p->shape[i].n_dims ? p->shape[i] : p->shape[0]);
        x[i]->desc.layout = p->first;
        if (i > 0)
            memset(x[i]->desc.layout.halo, 0, sizeof x[i]->desc.layout.halo);
    }
    if (p->beside.n_dims) {
        kl_node *z = kl_input(g, "beside", KL_F32, p->beside);
        z->desc.layout = (kl__layout){KL__NCHWC, kl__ctx_caps(ctx)->vector, {0}};
    }
    kl_node *y = kl__apply_new_n(g, p->op, "op", x, p->n_in, p->n_out, p->attrs);
    assert_non_null(y);
    kl__apply *a = y->by;
    snprintf(force, sizeof force, "%s:%s", p->op->name, p->variant);
    if (kl__choose_variant(a, kl__ctx_caps(ctx), p->chosen ? "" : force) != KL_OK)
        fail_msg("%s", kl_last_error());
    assert_string_equal(a->variant->name, p->variant);
    memcpy(to[0].halo, p->out_halo, sizeof to[0].halo);
    if (a->variant->layouts)
        a->variant->layouts(a, kl__ctx_caps(ctx), in, to);
    if (to[0].kind != KL__NCHWC)
        memset(to[0].halo, 0, sizeof to[0].halo);
    else /* kept */
        assert_memory_equal(to[0].halo, p->out_halo, sizeof to[0].halo);
    for (int i = 0; i < p->n_in; i++) {
        if (p->chosen) /* nothing to reorder */
            assert_true(kl__layout_equal(&in[i], &x[i]->desc.layout));
        x[i]->desc.layout = in[i];
        if (in[i].kind == KL__NCHWC && p->dtype[i] == KL_F32 && a->variant->wide_halo)
            for (int k = 0; k < 4; k++)
                x[i]->desc.layout.halo[k] += p->widen;
        mem[i] = place(ctx, x[i], &raw[i]);
        transfer(&x[i]->desc, (double *)(uintptr_t)p->in[i], raw[i], true);
        assert_true(kl__desc_bytes(&x[i]->desc, &bytes));
        assert_int_equal(kl__lane_write(lane, x[i]->place.span, raw[i], bytes, NULL), KL_OK);
    }
    size_t scratch =
        a->variant->scratch_bytes ? a->variant->scratch_bytes(a, kl__ctx_caps(ctx)) : 0;
    kl__mem *work = kl__mem_create(ctx, scratch);
    a->scratch = (kl__place){KL__AT_SPAN, {work, 0}, 0};
    for (int k = 0; k < p->n_out; k++) {
        a->out[k]->desc.layout = to[k];
        mem[MAX_IO + k] = place(ctx, a->out[k], &raw[MAX_IO + k]);
        assert_true(kl__desc_bytes(&a->out[k]->desc, &bytes)); /* NaN where nothing is written */
        memset(raw[MAX_IO + k], 0xff, bytes);
        assert_int_equal(kl__lane_write(lane, a->out[k]->place.span, raw[MAX_IO + k], bytes, NULL),
                         KL_OK);
    }
    emit_and_run(ctx, a);
    for (int k = 0; k < p->n_out; k++) {
        out[k] = plain_of(ctx, a->out[k], raw[MAX_IO + k], k);
        kl__mem_release(mem[MAX_IO + k]);
        free(raw[MAX_IO + k]);
    }
    for (int i = 0; i < p->n_in; i++) {
        kl__mem_release(mem[i]);
        free(raw[i]);
    }
    kl__mem_release(work);
    kl_graph_destroy(g);
}

/** `p` in variant `p.variant` against the plain ref kernels. Gives the latter's outputs. */
static void against_ref(kl_ctx *ctx, problem p, double bound, double *keep[MAX_IO])
{
    double *got[MAX_IO] = {NULL}, *want[MAX_IO] = {NULL};
    problem ref = p;
    ref.variant = "ref";
    ref.chosen = false;
    ref.first = (kl__layout){KL__PLAIN, 0, {0}};
    memset(&ref.beside, 0, sizeof ref.beside);
    run(ctx, &ref, want);
    run(ctx, &p, got);
    for (int k = 0; k < p.n_out; k++)
        for (int64_t i = 0; i < last_count[k]; i++)
            if (!(fabs(got[k][i] - want[k][i]) <= bound))
                fail_msg("%s:%s, output %d element %d: got %.9g, expected %.9g", p.op->name,
                         p.variant, k, (int)i, got[k][i], want[k][i]);
    for (int k = 0; k < p.n_out; k++) {
        free(got[k]);
        if (keep)
            keep[k] = want[k];
        else
            free(want[k]);
    }
}

static double *numbers(int64_t n, uint32_t seed)
{
    double *v = calloc((size_t)n + 1, sizeof *v);
    assert_non_null(v);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        v[i] = (double)(seed >> 20) / 256 - 8;
    }
    return v;
}

#endif
