/* The element-wise generator on blocked storage: every halo, pad lanes, what may be read beside it,
 * in-place outputs; and which layouts it asks for. */
#include "rig.h"

#include "ops/eltwise.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N_WIDTHS = 3, MAX_IN = 3 };
static const char *const widths[N_WIDTHS] = {"16", "8", "4"};
static kl_ctx *contexts[N_WIDTHS];

typedef struct value {
    kl_node *x;
    size_t bytes;
    float *raw; /* storage */
    kl__mem *mem;
} value;

/** Place of element (n, c, h, w) in the storage of a blocked or plain value of rank 4. */
static size_t place(const kl__desc *d, int64_t n, int64_t c, int64_t h, int64_t w)
{
    const kl_shape *s = &d->shape;
    const kl__layout *l = &d->layout;
    if (l->kind == KL__PLAIN)
        return (size_t)(((n * s->dim[1] + c) * s->dim[2] + h) * s->dim[3] + w);
    int64_t blocks = (s->dim[1] + l->block - 1) / l->block;
    int64_t rows = s->dim[2] + l->halo[0] + l->halo[2],
            columns = s->dim[3] + l->halo[1] + l->halo[3];
    int64_t at = ((n * blocks + c / l->block) * rows + h + l->halo[0]) * columns + w + l->halo[1];
    return (size_t)(at * l->block + c % l->block);
}

static double sample(int k, int64_t i)
{
    return sin((double)i * 0.9 + k) * 2 + 2.5; /* 0.5..4.5: fit to divide by */
}

/** The logical element of an input that broadcasts to (n, c, h, w) of the output. */
static double logical(int k, const kl_shape *s, int64_t n, int64_t c, int64_t h, int64_t w)
{
    int64_t at[4] = {n, c, h, w}, i = 0;
    for (int d = 0; d < s->n_dims; d++)
        i = i * s->dim[d] + (s->dim[d] == 1 ? 0 : at[4 - s->n_dims + d]);
    return (double)(float)sample(k, i);
}

static void fill(value *v, int k)
{
    const kl_shape *s = &v->x->desc.shape;
    assert_true(kl__desc_bytes(&v->x->desc, &v->bytes));
    v->raw = calloc(v->bytes + 4, 1); /* halo and pad lanes: zero */
    if (v->x->desc.layout.kind == KL__PLAIN) {
        for (int64_t i = 0; i < kl_shape_count(*s); i++)
            v->raw[i] = (float)sample(k, i);
        return;
    }
    for (int64_t n = 0; n < s->dim[0]; n++)
        for (int64_t c = 0; c < s->dim[1]; c++)
            for (int64_t h = 0; h < s->dim[2]; h++)
                for (int64_t w = 0; w < s->dim[3]; w++)
                    v->raw[place(&v->x->desc, n, c, h, w)] = (float)logical(k, s, n, c, h, w);
}

typedef double expect_fn(const double *x);
typedef struct blocked_case {
    const char *name;
    const kl__op *op;
    expect_fn *expect;
    kl_shape in[MAX_IN];
    int halo[MAX_IN][4]; /* of inputs of the whole shape */
    int out;             /* the input whose layout the output should have */
    bool in_place;
} blocked_case;

static void check_output(const blocked_case *c, const kl_node *y, const float *raw, size_t n_raw)
{
    const kl_shape *s = &y->desc.shape;
    char *inside = calloc(n_raw, 1);
    for (int64_t n = 0; n < s->dim[0]; n++)
        for (int64_t ch = 0; ch < s->dim[1]; ch++)
            for (int64_t h = 0; h < s->dim[2]; h++)
                for (int64_t w = 0; w < s->dim[3]; w++) {
                    double x[MAX_IN];
                    for (int i = 0; i < c->op->min_in; i++)
                        x[i] = logical(i, &c->in[i], n, ch, h, w);
                    size_t at = place(&y->desc, n, ch, h, w);
                    double want = c->expect(x), got = (double)raw[at];
                    inside[at] = 1;
                    if (!(fabs(got - want) <= 1e-6 * fabs(want)))
                        fail_msg("%s, block %d: [%d,%d,%d,%d] is %.9g, expected %.9g", c->name,
                                 y->desc.layout.block, (int)n, (int)ch, (int)h, (int)w, got, want);
                }
    for (size_t i = 0; i < n_raw; i++)
        if (!inside[i] && !(raw[i] == 0))
            fail_msg("%s, block %d: halo or pad lane %zu is %g", c->name, y->desc.layout.block, i,
                     (double)raw[i]);
    free(inside);
}

static void emit_and_run(kl_ctx *ctx, const kl__apply *a)
{
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl__emit e = {.ctx = ctx, .caps = kl__ctx_caps(ctx), .seq = kl__seq_create(ctx)};
    assert_non_null(e.seq);
    if (kl__eltwise_variants[0].emit(&e, a) != KL_OK ||
        kl__seq_run(e.seq, lane, 0, kl__seq_count(e.seq)) != KL_OK ||
        kl__lane_finish(lane) != KL_OK)
        fail_msg("%s", kl_last_error());
    kl__seq_destroy(e.seq);
}

static void run_blocked(const blocked_case *c, kl_ctx *ctx)
{
    const kl__caps *caps = kl__ctx_caps(ctx);
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl_graph *g = kl_graph_create();
    value v[MAX_IN + 1];
    kl_node *x[MAX_IN];
    int n_in = c->op->min_in;
    for (int i = 0; i < n_in; i++) {
        char name[16];
        snprintf(name, sizeof name, "in%d", i);
        x[i] = kl_input(g, name, KL_F32, c->in[i]);
    }
    kl_node *y = kl__apply_new(g, c->op, "op", x, n_in, NULL);
    assert_non_null(y);
    for (int i = 0; i < n_in; i++)
        if (kl_shape_equal(c->in[i], y->desc.shape)) {
            x[i]->desc.layout = (kl__layout){.kind = KL__NCHWC, .block = caps->vector};
            memcpy(x[i]->desc.layout.halo, c->halo[i], sizeof c->halo[i]);
        }
    kl__layout in[MAX_IN] = {{KL__PLAIN, 0, {0}}}, out = {KL__PLAIN, 0, {0}};
    memcpy(out.halo, x[c->out]->desc.layout.halo, sizeof out.halo); /* as readers want it */
    kl__eltwise_variants[0].layouts(y->by, caps, in, &out);
    assert_true(kl__eltwise_variants[0].wide_halo); /* inputs come with any */
    for (int i = 0; i < n_in; i++)
        assert_true(in[i].kind == x[i]->desc.layout.kind && in[i].block == x[i]->desc.layout.block);
    assert_true(kl__layout_equal(&out, &x[c->out]->desc.layout));
    y->desc.layout = out;
    for (int i = 0; i < n_in; i++) {
        v[i].x = x[i];
        fill(&v[i], i);
        v[i].mem = kl__mem_create(ctx, v[i].bytes);
        assert_int_equal(kl__lane_write(lane, (kl__span){v[i].mem, 0}, v[i].raw, v[i].bytes, NULL),
                         KL_OK);
        x[i]->place = (kl__place){KL__AT_SPAN, {v[i].mem, 0}, 0};
    }
    value *o = &v[n_in];
    assert_true(kl__desc_bytes(&y->desc, &o->bytes));
    o->raw = malloc(o->bytes);
    memset(o->raw, 0xff, o->bytes); /* NaN */
    o->mem = c->in_place ? kl__mem_retain(v[c->out].mem) : kl__mem_create(ctx, o->bytes);
    if (!c->in_place)
        assert_int_equal(kl__lane_write(lane, (kl__span){o->mem, 0}, o->raw, o->bytes, NULL),
                         KL_OK);
    y->place = (kl__place){KL__AT_SPAN, {o->mem, 0}, 0};
    emit_and_run(ctx, y->by);
    assert_int_equal(kl__lane_read(lane, (kl__span){o->mem, 0}, o->raw, o->bytes, NULL), KL_OK);
    check_output(c, y, o->raw, o->bytes / sizeof(float));
    for (int i = 0; i <= n_in; i++) {
        kl__mem_release(v[i].mem);
        free(v[i].raw);
    }
    kl_graph_destroy(g);
}

/* ---- cases: every op gives something else than 0 for zeros, so that a forgotten lane shows -- */
static double x_exp(const double *x)
{
    return exp(x[0]);
}
static double x_div(const double *x)
{
    return x[0] / x[1];
}
static double x_sub(const double *x)
{
    return x[0] - x[1];
}
static double x_div_bwd(const double *x)
{
    return -x[0] * x[1] / x[2];
}
#define S(n, ...) {n, {__VA_ARGS__}}
#define NONE {0, 0, 0, 0}
#define ONE {1, 1, 1, 1}

static const blocked_case cases[] = {
    {"no halo", &kl__op_exp, x_exp, {S(4, 2, 16, 5, 7)}, {NONE}, 0, false},
    {"pad lanes", &kl__op_exp, x_exp, {S(4, 2, 19, 5, 7)}, {NONE}, 0, false},
    {"halo", &kl__op_exp, x_exp, {S(4, 2, 32, 5, 7)}, {ONE}, 0, false},
    {"uneven halo, pad lanes", &kl__op_exp, x_exp, {S(4, 3, 3, 4, 6)}, {{1, 2, 0, 3}}, 0, false},
    {"in place", &kl__op_exp, x_exp, {S(4, 2, 19, 6, 3)}, {ONE}, 0, true},
    {"many rows", &kl__op_exp, x_exp, {S(4, 3, 33, 40, 37)}, {ONE}, 0, false},
    {"two halos", &kl__op_div, x_div,
     {S(4, 2, 19, 5, 4), S(4, 2, 19, 5, 4)}, {NONE, ONE}, 1, false},
    {"two halos, in place", &kl__op_sub, x_sub,
     {S(4, 2, 19, 5, 4), S(4, 2, 19, 5, 4)}, {ONE, NONE}, 0, true},
    {"channel", &kl__op_div, x_div, {S(4, 2, 19, 5, 4), S(3, 19, 1, 1)}, {ONE}, 0, false},
    {"channel of rank 4 first", &kl__op_div, x_div,
     {S(4, 1, 19, 1, 1), S(4, 2, 19, 5, 4)}, {NONE, NONE}, 1, false},
    {"sample and channel", &kl__op_div, x_div,
     {S(4, 3, 19, 5, 4), S(4, 3, 19, 1, 1)}, {ONE}, 0, false},
    {"scalar", &kl__op_sub, x_sub, {S(4, 2, 5, 3, 3), S(0, 0)}, {ONE}, 0, false},
    {"one sample", &kl__op_div, x_div, {S(4, 1, 19, 5, 4), S(4, 1, 19, 1, 1)}, {ONE}, 0, false},
    {"three inputs", &kl__op_div_bwd, x_div_bwd,
     {S(4, 2, 20, 3, 3), S(3, 20, 1, 1), S(1, 1)}, {ONE}, 0, false},
};

static void blocked_storage_of_every_kind(void **state)
{
    (void)state;
    for (int w = 0; w < N_WIDTHS; w++) {
        if (!kl__eltwise_variants[0].fits || !kl__ctx_caps(contexts[w])->solo)
            skip();
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            run_blocked(&cases[i], contexts[w]);
    }
}

static void layouts_of(kl_graph *g, kl_node *a, kl_node *b, kl__layout *in, kl__layout *out)
{
    kl_node *y = kl_add(g, a, b);
    assert_non_null(y);
    memset(in, 0, 2 * sizeof *in);
    *out = (kl__layout){KL__PLAIN, 0, {3, 2, 1, 0}}; /* what readers want */
    kl__eltwise_variants[0].layouts(y->by, kl__ctx_caps(contexts[0]), in, out);
}

static void layouts_follow_the_blocked_input(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_shape s = {4, {2, 16, 5, 5}};
    const int block = kl__ctx_caps(contexts[0])->vector;
    kl__layout in[2], out;
    kl_node *a = kl_input(g, "a", KL_F32, s), *b = kl_input(g, "b", KL_F32, s);
    kl_node *map = kl_input(g, "map", KL_F32, (kl_shape){2, {5, 5}});
    layouts_of(g, a, b, in, &out);
    assert_true(in[0].kind == KL__PLAIN && in[1].kind == KL__PLAIN && out.kind == KL__PLAIN);
    a->desc.layout = (kl__layout){KL__NCHWC, block, {1, 1, 1, 1}};
    layouts_of(g, a, b, in, &out); /* the plain one is reordered, without halo */
    assert_true(out.kind == KL__NCHWC && out.block == block);
    assert_true(out.halo[0] == 3 && out.halo[1] == 2 && out.halo[2] == 1 && out.halo[3] == 0);
    for (int i = 0; i < 2; i++)
        assert_true(in[i].kind == KL__NCHWC && in[i].block == block && in[i].halo[0] == 0);
    layouts_of(g, a, map, in, &out); /* [H,W] cannot be read beside blocks */
    assert_true(in[0].kind == KL__PLAIN && in[1].kind == KL__PLAIN && out.kind == KL__PLAIN);
    a->desc.layout.block = block / 2;
    layouts_of(g, a, b, in, &out); /* another block */
    assert_true(in[0].kind == KL__PLAIN && out.kind == KL__PLAIN);
    kl_graph_destroy(g);
}

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < N_WIDTHS; i++) {
        setenv("KILN_VECTOR", widths[i], 1);
        if (!(contexts[i] = kl_ctx_create(NULL)))
            return -1;
    }
    unsetenv("KILN_VECTOR");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < N_WIDTHS; i++)
        kl_ctx_destroy(contexts[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocked_storage_of_every_kind),
        cmocka_unit_test(layouts_follow_the_blocked_input),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
