/* Pooling on blocked storage gives what the plain ref kernels give, whatever the halo of the input,
 * and leaves zeros in the pad lanes. */
#include "rig.h"

#include "ops/pool2d.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MAX_IO = 2 };
static const char *const widths[] = {"16", "8", "4"};

typedef struct problem {
    const kl__op *op;
    const void *attrs;
    int n_in, n_out;
    kl_shape shape; /* of all inputs */
    kl_dtype dtype[MAX_IO];
    const double *in[MAX_IO];
    kl__layout first; /* storage of input 0 and, without halo, of the others */
    const char *variant;
} problem;

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
        x[i] = kl_input(g, name, p->dtype[i], p->shape);
        x[i]->desc.layout = p->first;
        if (i > 0)
            memset(x[i]->desc.layout.halo, 0, sizeof x[i]->desc.layout.halo);
        mem[i] = place(ctx, x[i], &raw[i]);
        transfer(&x[i]->desc, (double *)(uintptr_t)p->in[i], raw[i], true);
        assert_true(kl__desc_bytes(&x[i]->desc, &bytes));
        assert_int_equal(kl__lane_write(lane, x[i]->place.span, raw[i], bytes, NULL), KL_OK);
    }
    kl_node *y = kl__apply_new(g, p->op, "op", x, p->n_in, p->attrs);
    assert_non_null(y);
    kl__apply *a = y->by;
    snprintf(force, sizeof force, "%s:%s", p->op->name, p->variant);
    const char *list = p->first.kind == KL__PLAIN ? force : ""; /* blocked: its own choice */
    assert_int_equal(kl__choose_variant(a, kl__ctx_caps(ctx), list), KL_OK);
    assert_string_equal(a->variant->name, p->variant);
    if (a->variant->layouts)
        a->variant->layouts(a, kl__ctx_caps(ctx), in, to);
    for (int i = 0; i < p->n_in; i++)
        assert_true(kl__layout_equal(&in[i], &x[i]->desc.layout)); /* nothing to reorder */
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
        const kl__desc *d = &a->out[k]->desc;
        out[k] = calloc((size_t)kl_shape_count(d->shape), sizeof **out);
        assert_non_null(out[k]);
        assert_true(kl__desc_bytes(d, &bytes));
        assert_int_equal(kl__lane_read(lane, a->out[k]->place.span, raw[MAX_IO + k], bytes, NULL),
                         KL_OK);
        transfer(d, out[k], raw[MAX_IO + k], false);
        if (d->dtype == KL_F32)
            check_lanes(d, out[k], raw[MAX_IO + k]);
        kl__mem_release(mem[MAX_IO + k]);
        free(raw[MAX_IO + k]);
    }
    for (int i = 0; i < p->n_in; i++) {
        kl__mem_release(mem[i]);
        free(raw[i]);
    }
    kl_graph_destroy(g);
}

/** The problem blocked with the halo against the plain ref kernels. Gives the latter's outputs. */
static void compare(kl_ctx *ctx, problem p, const int halo[4], kl_shape y, double bound,
                    double *keep[MAX_IO])
{
    double *got[MAX_IO] = {NULL}, *want[MAX_IO] = {NULL};
    p.variant = "ref";
    run(ctx, &p, want);
    p.variant = "solo_c";
    p.first = (kl__layout){KL__NCHWC, kl__ctx_caps(ctx)->vector, {0}};
    memcpy(p.first.halo, halo, sizeof p.first.halo);
    run(ctx, &p, got);
    for (int k = 0; k < p.n_out; k++)
        for (int64_t i = 0; i < kl_shape_count(y); i++)
            if (!(fabs(got[k][i] - want[k][i]) <= bound))
                fail_msg("%s, output %d element %d: got %.9g, expected %.9g", p.op->name, k, (int)i,
                         got[k][i], want[k][i]);
    for (int k = 0; k < p.n_out; k++) {
        free(got[k]);
        keep[k] = want[k];
    }
}

static double *numbers(int64_t n, uint32_t seed)
{
    double *v = calloc((size_t)n, sizeof *v);
    assert_non_null(v);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        v[i] = (double)(seed >> 20) / 256 - 8;
    }
    return v;
}

static const struct {
    kl_shape x;
    kl_pool2d_opts o;
    int halo[4];
} cases[] = {
    {{4, {2, 19, 8, 8}}, {.window = {2, 2}, .stride = {2, 2}}, {0, 0, 0, 0}},
    {{4, {2, 32, 9, 7}}, {.window = {2, 2}, .stride = {2, 2}}, {1, 1, 1, 1}},
    {{4, {1, 5, 13, 14}},
     {.window = {3, 3}, .stride = {2, 2}, .pad = {KL_PAD_EXPLICIT, 1, 1, 1, 1}},
     {1, 2, 0, 3}},
    {{4, {3, 16, 6, 5}},
     {.window = {3, 3}, .stride = {1, 1}, .pad = {.mode = KL_PAD_SAME}},
     {0, 0, 0, 0}},
    {{4, {1, 17, 7, 12}},
     {.window = {3, 3}, .stride = {2, 2}, .pad = {KL_PAD_EXPLICIT, 0, 2, 2, 1}, .ceil_mode = true},
     {2, 0, 1, 0}},
    {{4, {1, 33, 10, 11}}, {.window = {2, 1}, .stride = {3, 2}, .skip_pad = true}, {0, 0, 0, 0}},
    {{4, {1, 4, 20, 18}}, {.window = {16, 16}, .stride = {2, 2}}, {0, 1, 0, 0}},
    {{4, {1, 16, 90, 91}},
     {.window = {3, 3}, .stride = {2, 2}, .pad = {.mode = KL_PAD_SAME}, .skip_pad = true},
     {1, 1, 1, 1}},
};

static kl_shape out_shape(const kl__op *op, kl_shape x, const void *attrs)
{
    kl_graph *g = kl_graph_create();
    kl_node *in = kl_input(g, "x", KL_F32, x);
    kl_shape y = kl_node_shape(kl__apply_new(g, op, NULL, &in, 1, attrs));
    kl_graph_destroy(g);
    return y;
}

static void both_passes(kl_ctx *ctx, size_t i)
{
    kl_shape x = cases[i].x, y = out_shape(&kl__op_avgpool2d, x, &cases[i].o);
    kl__pool2d_bwd back = {cases[i].o, {(int)x.dim[2], (int)x.dim[3]}};
    double *vx = numbers(kl_shape_count(x), 1), *vy = numbers(kl_shape_count(y), 2);
    double *max[MAX_IO], *avg[MAX_IO], *dx[MAX_IO];
    kl_dtype arg = cases[i].o.window[0] * cases[i].o.window[1] > 255 ? KL_I32 : KL_U8;
    problem p = {.op = &kl__op_maxpool2d,
                 .attrs = &cases[i].o,
                 .n_in = 1,
                 .n_out = 2,
                 .shape = x,
                 .in = {vx}};
    compare(ctx, p, cases[i].halo, y, 0, max);
    p.op = &kl__op_avgpool2d;
    p.n_out = 1;
    compare(ctx, p, cases[i].halo, y, 0, avg);
    p = (problem){.op = &kl__op_maxpool2d_bwd,
                  .attrs = &back,
                  .n_in = 2,
                  .n_out = 1,
                  .shape = y,
                  .dtype = {KL_F32, arg},
                  .in = {vy, max[1]}};
    compare(ctx, p, cases[i].halo, x, 1e-5, dx);
    free(dx[0]);
    p.op = &kl__op_avgpool2d_bwd;
    p.n_in = 1;
    compare(ctx, p, cases[i].halo, x, 1e-5, dx); /* products may be fused into the sums */
    free(dx[0]);
    free(max[0]);
    free(max[1]);
    free(avg[0]);
    free(vx);
    free(vy);
}

static void test_blocked_is_plain(void **state)
{
    (void)state;
    for (int w = 0; w < 3; w++) {
        setenv("KILN_VECTOR", widths[w], 1);
        kl_ctx *ctx = kl_ctx_create(NULL);
        unsetenv("KILN_VECTOR");
        assert_non_null(ctx);
        for (size_t i = 0; kl__ctx_caps(ctx)->solo && i < sizeof cases / sizeof *cases; i++)
            both_passes(ctx, i);
        kl_ctx_destroy(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocked_is_plain)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
