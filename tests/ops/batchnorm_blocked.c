/* The sums of batch normalisation on blocked storage: every width and halo, pieces and parts of
 * every size, against the definition in double. Halos hold NaN here, so that a kernel which reads
 * one shows. */
#include "rig.h"

#include "ops/batchnorm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N_WIDTHS = 3, MAX_IN = 5, MAX_OUT = 4, MAX_C = 80 };
static const char *const widths[N_WIDTHS] = {"16", "8", "4"};
static kl_ctx *contexts[N_WIDTHS];

typedef struct blocked_case {
    kl_shape shape;
    int halo[2][4]; /* of x and dy */
    double mean;    /* of x */
    bool whole;     /* one item per block: no parts */
} blocked_case;

#define S(n, c, h, w)                                                                              \
    {                                                                                              \
        4,                                                                                         \
        {                                                                                          \
            n, c, h, w                                                                             \
        }                                                                                          \
    }
static const blocked_case cases[] = {
    {S(2, 16, 5, 7), {{0}, {0}}, 0, true},
    {S(3, 19, 5, 7), {{0}, {1, 1, 1, 1}}, 1, true},
    {S(2, 35, 7, 7), {{1, 1, 1, 1}, {0}}, -2, true},
    {S(4, 3, 4, 6), {{1, 2, 0, 3}, {2, 2, 2, 2}}, 0, true},
    {S(33, 64, 1, 1), {{0}, {0}}, 1, true},
    {S(1, 5, 1, 1), {{1, 1, 1, 1}, {0}}, 1, true},
    {S(2, 16, 40, 37), {{0}, {1, 1, 1, 1}}, 1, true},  /* pieces of some rows */
    {S(1, 4, 3, 300), {{0}, {0}}, 1, true},            /* rows longer than a piece */
    {S(70, 3, 16, 16), {{1, 1, 1, 1}, {0}}, 1, false}, /* parts, the last one smaller */
    {S(9, 3, 44, 44), {{0}, {0}}, 1000, false},        /* far from zero */
};

static double sample(int k, int64_t i)
{
    return sin((double)i * 0.9 + k) + 0.3 * (double)(i % 7 - 3);
}

/** Place of element (n, c, h, w) in the storage of a blocked value. */
static size_t place(const kl__desc *d, int64_t n, int64_t c, int64_t h, int64_t w)
{
    const kl_shape *s = &d->shape;
    const kl__layout *l = &d->layout;
    int64_t blocks = (s->dim[1] + l->block - 1) / l->block;
    int64_t rows = s->dim[2] + l->halo[0] + l->halo[2],
            columns = s->dim[3] + l->halo[1] + l->halo[3];
    int64_t at = ((n * blocks + c / l->block) * rows + h + l->halo[0]) * columns + w + l->halo[1];
    return (size_t)(at * l->block + c % l->block);
}

static float *filled(const kl__desc *d, int k, double mean)
{
    const kl_shape *s = &d->shape;
    const int64_t block = d->layout.kind == KL__NCHWC ? d->layout.block : 1,
                  lanes = (s->dim[1] + block - 1) / block * block;
    size_t n;
    assert_true(kl__desc_elems(d, &n));
    float *raw = malloc(n * sizeof *raw + 1);
    if (d->layout.kind == KL__PLAIN) {
        for (size_t i = 0; i < n; i++)
            raw[i] = (float)sample(k, (int64_t)i);
        return raw;
    }
    for (size_t i = 0; i < n; i++)
        raw[i] = NAN;
    for (int64_t i = 0; i < s->dim[0] * lanes * s->dim[2] * s->dim[3]; i++) {
        const int64_t w = i % s->dim[3], h = i / s->dim[3] % s->dim[2],
                      c = i / s->dim[3] / s->dim[2] % lanes, m = i / s->dim[3] / s->dim[2] / lanes;
        raw[place(d, m, c, h, w)] = c < s->dim[1] ? (float)(mean + sample(k, i)) : 0;
    }
    return raw;
}

/** Sums over channel c: x, x^2 about `mean`, dy, dy (x - mean). */
static void sums(const kl__desc *dx, const float *x, const kl__desc *dg, const float *g, int64_t c,
                 double mean, double sum[4])
{
    const int64_t *s = dx->shape.dim;
    memset(sum, 0, 4 * sizeof *sum);
    for (int64_t n = 0; n < s[0]; n++)
        for (int64_t h = 0; h < s[2]; h++)
            for (int64_t w = 0; w < s[3]; w++) {
                const double v = (double)x[place(dx, n, c, h, w)],
                             d = g ? (double)g[place(dg, n, c, h, w)] : 0;
                sum[0] += v;
                sum[1] += (v - mean) * (v - mean);
                sum[2] += d;
                sum[3] += d * (v - mean);
            }
}

static void close_to(const char *what, int c, double got, double want, double scale)
{
    if (!(fabs(got - want) <= scale))
        fail_msg("%s of channel %d is %.9g, expected %.9g (+- %g)", what, c, got, want, scale);
}

static void check(const kl__apply *a, float *const *raw, float *const *out)
{
    const kl__desc *dx = &a->in[0]->desc, *dg = &a->in[1]->desc;
    const double n = (double)(dx->shape.dim[0] * dx->shape.dim[2] * dx->shape.dim[3]);
    const bool bwd = a->op == &kl__op_bn_bwd_stats;
    for (int c = 0; c < dx->shape.dim[1]; c++) {
        double s[4];
        sums(dx, raw[0], dg, NULL, c, 0, s);
        const double mean = bwd ? (double)raw[2][c] : s[0] / n;
        sums(dx, raw[0], dg, bwd ? raw[1] : NULL, c, mean, s);
        if (bwd) {
            const double r = (double)raw[3][c], k = -(double)raw[4][c] / n, u = 1e-6 * sqrt(n);
            const double rms = 1 + fabs(mean); /* of the terms, roughly */
            close_to("dw", c, (double)out[0][c], s[3] * r, u * rms * fabs(r) * sqrt(n));
            close_to("db", c, (double)out[1][c], s[2], u * sqrt(n));
            close_to("slope", c, (double)out[2][c], k * r * r * s[3],
                     u * rms * fabs(k * r * r) * sqrt(n));
            close_to("offset", c, (double)out[3][c], k * s[2], u * fabs(k) * sqrt(n));
        } else {
            const kl__bn *o = a->attrs;
            const double r = 1 / sqrt(s[1] / n + (double)o->eps);
            const double kept = s[1] / (o->biased || n < 2 ? n : n - 1);
            close_to("mean", c, (double)out[0][c], mean, 1e-6 * (0.1 + fabs(mean)));
            close_to("1 / deviation", c, (double)out[1][c], r, 2e-6 * r);
            close_to("kept variance", c, (double)out[2][c], kept, 4e-6 * kept + 1e-12);
            close_to("scale", c, (double)out[3][c], r * (o->scale ? (double)raw[1][c] : 1),
                     1e-5 * r);
        }
    }
}

static void run_case(const blocked_case *c, kl_ctx *ctx, const kl__op *op, const kl__bn *o)
{
    const kl__caps *caps = kl__ctx_caps(ctx);
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    const int n_in = op == &kl__op_bn_bwd_stats ? 5 : 1 + o->scale, whole = n_in == 5 ? 2 : 1;
    kl_graph *g = kl_graph_create();
    kl_node *x[MAX_IN];
    kl__mem *mem[MAX_IN + MAX_OUT + 1] = {NULL};
    float *raw[MAX_IN], out[MAX_OUT][MAX_C], *outs[MAX_OUT];
    static const char *const names[MAX_IN] = {"x", "dy", "mean", "inv", "scale"};
    for (int i = 0; i < n_in; i++) {
        x[i] =
            kl_input(g, names[i], KL_F32, i < whole ? c->shape : (kl_shape){1, {c->shape.dim[1]}});
        if (i < whole) {
            x[i]->desc.layout = (kl__layout){.kind = KL__NCHWC, .block = caps->vector};
            memcpy(x[i]->desc.layout.halo, c->halo[i], sizeof c->halo[i]);
        }
    }
    kl_node *y = kl__apply_new(g, op, "op", x, n_in, o);
    assert_non_null(y);
    kl__apply *a = y->by;
    assert_int_equal(kl__choose_variant(a, caps, NULL), KL_OK);
    assert_string_equal(a->variant->name, "solo");
    assert_true(a->variant->wide_halo);
    kl__layout in[MAX_IN], to[MAX_OUT];
    memset(in, 0, sizeof in);
    memset(to, 0, sizeof to);
    a->variant->layouts(a, caps, in, to);
    for (int i = 0; i < n_in; i++)
        assert_true(in[i].kind == x[i]->desc.layout.kind && in[i].block == x[i]->desc.layout.block);
    for (int i = 0; i < n_in; i++) {
        size_t bytes;
        assert_true(kl__desc_bytes(&x[i]->desc, &bytes));
        raw[i] = filled(&x[i]->desc, i, i == 0 ? c->mean : 0);
        if (i >= 2)
            for (int k = 0; k < c->shape.dim[1]; k++)
                raw[i][k] = (float)((i == 2 ? c->mean : 1.5) + sample(i, k) / 2);
        mem[i] = kl__mem_create(ctx, bytes);
        assert_int_equal(kl__lane_write(lane, (kl__span){mem[i], 0}, raw[i], bytes, NULL), KL_OK);
        x[i]->place = (kl__place){KL__AT_SPAN, {mem[i], 0}, 0};
    }
    for (int i = 0; i < MAX_OUT; i++) {
        outs[i] = out[i];
        mem[MAX_IN + i] = kl__mem_create(ctx, sizeof out[i]);
        a->out[i]->place = (kl__place){KL__AT_SPAN, {mem[MAX_IN + i], 0}, 0};
    }
    const size_t scratch = a->variant->scratch_bytes(a, caps);
    assert_true(c->whole ? scratch == 0 : scratch > 0);
    if (scratch) {
        mem[MAX_IN + MAX_OUT] = kl__mem_create(ctx, scratch);
        a->scratch = (kl__place){KL__AT_SPAN, {mem[MAX_IN + MAX_OUT], 0}, 0};
    }
    kl__emit e = {.ctx = ctx, .caps = caps, .seq = kl__seq_create(ctx)};
    if (a->variant->emit(&e, a) != KL_OK ||
        kl__seq_run(e.seq, lane, 0, kl__seq_count(e.seq)) != KL_OK)
        fail_msg("%s", kl_last_error());
    for (int i = 0; i < MAX_OUT; i++)
        assert_int_equal(kl__lane_read(lane, (kl__span){mem[MAX_IN + i], 0}, out[i],
                                       (size_t)c->shape.dim[1] * sizeof(float), NULL),
                         KL_OK);
    check(a, raw, outs);
    kl__seq_destroy(e.seq);
    for (int i = 0; i < MAX_IN + MAX_OUT + 1; i++)
        kl__mem_release(mem[i]);
    for (int i = 0; i < n_in; i++)
        free(raw[i]);
    kl_graph_destroy(g);
}

static void test_statistics(void **state)
{
    (void)state;
    for (int w = 0; w < N_WIDTHS; w++) {
        if (!kl__ctx_caps(contexts[w])->solo)
            skip();
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            for (int k = 0; k < 2; k++)
                run_case(&cases[i], contexts[w], &kl__op_bn_stats,
                         &(kl__bn){.eps = 1e-3f, .scale = k, .biased = !k});
    }
}

static void test_backward(void **state)
{
    (void)state;
    for (int w = 0; w < N_WIDTHS; w++) {
        if (!kl__ctx_caps(contexts[w])->solo)
            skip();
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            run_case(&cases[i], contexts[w], &kl__op_bn_bwd_stats, NULL);
    }
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
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_backward),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
