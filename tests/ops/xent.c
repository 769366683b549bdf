/* Softmax cross-entropy: golden values, both conventions, labels that do not count or do not exist,
 * gradients. */
#include "rig.h"

#include "graph/graph.h"
#include "ops/xent.h"
#include "sched/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- the definition, in double
 * ------------------------------------------------------------------------- */
typedef struct sample {
    bool ignored, wrong;
    double own; /* weight of the label */
} sample;

typedef struct sizes {
    size_t n, k, inner;
} sizes;
static sizes sizes_of(const kl__apply *a)
{
    kl_shape s = a->in[0]->desc.shape;
    sizes z = {(size_t)s.dim[0], (size_t)s.dim[1], 1};
    for (int i = 2; i < s.n_dims; i++)
        z.inner *= (size_t)s.dim[i];
    z.n *= z.inner;
    return z;
}
#define AT(z, i, c) ((i) / (z).inner * (z).k * (z).inner + (i) % (z).inner + (c) * (z).inner)

/** Coefficients a[c] of sample i: loss = sum of a[c] (-log p[c]). */
static sample coefficients(const kl__apply *a, const double *t, const double *cw, size_t i,
                           double *coef)
{
    const kl__xent *k = a->attrs;
    const sizes z = sizes_of(a);
    const bool soft = kl__xent_soft(a);
    const double e = (double)k->smoothing;
    sample s = {false, false, 1};
    size_t label = 0;
    if (soft) {
        for (size_t c = 1; c < z.k; c++)
            if (t[AT(z, i, c)] > t[AT(z, i, label)])
                label = c;
    } else {
        s.ignored = t[i] == k->ignore_index;
        s.wrong = !s.ignored && (t[i] < 0 || t[i] >= (double)z.k);
        label = s.ignored || s.wrong ? 0 : (size_t)t[i];
    }
    s.own = k->weights ? cw[label] : 1;
    for (size_t c = 0; c < z.k; c++) {
        const double target = soft ? t[AT(z, i, c)] : c == label;
        coef[c] = (target * (1 - e) + e / (double)z.k) * (k->compat == KL_KERAS ? s.own
                                                          : k->weights          ? cw[c]
                                                                                : 1);
    }
    return s;
}

static double log_sum_exp(const double *x, sizes z, size_t i)
{
    double m = -INFINITY, sum = 0;
    for (size_t c = 0; c < z.k; c++)
        m = fmax(m, x[AT(z, i, c)]);
    for (size_t c = 0; c < z.k; c++)
        sum += exp(x[AT(z, i, c)] - m);
    return m + log(sum);
}

/** Is the label's logit the first of the largest? The rows here hold no NaN where it is asked. */
static bool is_hit(const double *x, size_t k, size_t label)
{
    size_t best = 0;
    for (size_t c = 1; c < k; c++)
        if (x[c] > x[best])
            best = c;
    return best == label;
}

static void reference(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl__xent *k = a->attrs;
    const sizes z = sizes_of(a);
    double *coef = calloc(z.k, sizeof *coef), *dx = k->grad ? out[a->n_out - 1] : NULL;
    for (size_t i = 0; i < z.n; i++) {
        const sample s = coefficients(a, in[1], in[2], i, coef);
        if (k->hits && in[1][i] >= 0 && in[1][i] < (double)z.k) {
            out[2][0] += is_hit(in[0] + i * z.k, z.k, (size_t)in[1][i]);
            out[2][1] += 1;
        }
        const double lse = log_sum_exp(in[0], z, i);
        double all = s.wrong ? NAN : 0;
        for (size_t c = 0; c < z.k; c++)
            all += coef[c];
        for (size_t c = 0; dx && c < z.k; c++)
            dx[AT(z, i, c)] = s.ignored ? 0 : all * exp(in[0][AT(z, i, c)] - lse) - coef[c];
        if (s.ignored)
            continue;
        double loss = s.wrong ? NAN : 0 * (lse - lse);
        for (size_t c = 0; c < z.k; c++)
            loss += coef[c] == 0 ? 0 : coef[c] * (lse - in[0][AT(z, i, c)]);
        out[0][0] += loss;
        out[1][0] += s.wrong && k->weights && k->compat == KL_TORCH ? NAN
                     : k->compat == KL_KERAS || kl__xent_soft(a)    ? 1
                                                                    : s.own;
    }
    free(coef);
}

/* ---- whole losses on constants
 * ----------------------------------------------------------------------------- */
static kl_ctx *ctx;

static double value_of(kl_shape s, const float *logits, kl_dtype label_dtype, const void *labels,
                       const kl_xent_opts *o)
{
    kl_shape ls = s;
    if (label_dtype == KL_I32)
        ls = (kl_shape){1, {s.dim[0]}};
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_constant(g, "x", KL_F32, s, logits),
            *t = kl_constant(g, "t", label_dtype, ls, labels);
    kl_output(g, "loss", kl_softmax_xent(g, x, t, o));
    kl_graph *low = kl__graph_lower(g, 0, true, KL_F32, NULL, 0);
    if (!low)
        fail_msg("%s", kl_last_error());
    kl__plan *p = kl__plan_create(ctx, low, NULL);
    if (!p || kl__plan_run(p, kl__ctx_lane(ctx, KL__COMPUTE)) != KL_OK)
        fail_msg("%s", kl_last_error());
    float loss;
    assert_int_equal(kl__lane_read(kl__ctx_lane(ctx, KL__COMPUTE),
                                   kl_graph_output(low, "loss")->place.span, &loss, 4, NULL),
                     KL_OK);
    kl__plan_destroy(p);
    kl_graph_destroy(g);
    return (double)loss;
}

static const float golden_logits[6] = {2, 1, 0.1f, 0.5f, 2.5f, 0.3f};
static const float golden_weights[3] = {1, 2, 3};

static void test_golden_values(void **state)
{
    (void)state;
    const int32_t hard[2] = {0, 2};
    const float soft[6] = {1, 0, 0, 0, 0, 1};
    const kl_floats w = {golden_weights, 3};
    const struct {
        kl_xent_opts o;
        bool soft;
        double loss;
    } g[] = {
        {{.smoothing = 0}, false, 1.4185397696},
        {{.smoothing = 0.1f}, false, 1.4268731030},
        {{.class_weight = w}, false, 1.9192946463},
        {{.smoothing = 0.1f, .class_weight = w}, false, 1.8950524920},
        {{.class_weight = w, .compat = KL_KERAS}, false, 3.8385892927},
        {{.smoothing = 0.1f, .compat = KL_KERAS}, false, 1.4268731030},
        {{.smoothing = 0}, true, 1.4185397696},
        {{.smoothing = 0.1f}, true, 1.4268731030},
        /* torch divides soft labels by the count: the sum is that of the weighted losses */
        {{.class_weight = w}, true, 3.8385892927},
        {{.class_weight = w, .compat = KL_KERAS}, true, 3.8385892927},
    };
    for (size_t i = 0; i < COUNT(g); i++) {
        const double got =
            value_of((kl_shape){2, {2, 3}}, golden_logits, g[i].soft ? KL_F32 : KL_I32,
                     g[i].soft ? (const void *)soft : hard, &g[i].o);
        if (!(fabs(got - g[i].loss) <= 5e-7 * g[i].loss))
            fail_msg("golden %zu: got %.9g, expected %.10g", i, got, g[i].loss);
    }
}

static void test_ignored_and_unknown_labels(void **state)
{
    (void)state;
    const float x[12] = {2, 1, 0.1f, NAN, NAN, NAN, 0.5f, 2.5f, 0.3f, 7, 7, 7};
    const int32_t some[4] = {0, -100, 2, -100}, none[4] = {-100, -100, -100, -100},
                  zero[4] = {1, 0, 1, 0};
    const int32_t bad[2] = {0, 3}, negative[2] = {0, -1};
    const kl_shape s = {2, {4, 3}}, two = {2, {2, 3}};
    assert_float_equal(value_of(s, x, KL_I32, some, NULL), 1.4185397696,
                       1e-6); /* the mean of those that count */
    assert_float_equal(value_of(s, x, KL_I32, some, &(kl_xent_opts){.compat = KL_KERAS}),
                       1.4185397696, 1e-6);
    assert_true(isnan(value_of(s, x, KL_I32, none, NULL)));
    assert_true(isfinite(value_of(s, x, KL_I32, zero, &(kl_xent_opts){.ignore_index = KL_NONE})));
    assert_true(isnan(value_of(two, golden_logits, KL_I32, bad, NULL)));
    assert_true(isnan(value_of(two, golden_logits, KL_I32, negative, NULL)));
    assert_true(isfinite(
        value_of(two, golden_logits, KL_I32, negative, &(kl_xent_opts){.ignore_index = -1})));
}

/* ---- sums and gradients over shapes, widths and modes
 * --------------------------------------------------------- */
static const kl_shape shapes[] = {
    {2, {5, 3}},    {2, {1, 1}},       {2, {2, 16}},    {2, {33, 10}},        {2, {3, 1000}},
    {2, {900, 33}}, {4, {2, 5, 3, 7}}, {3, {2, 3, 16}}, {4, {3, 21, 33, 47}}, {3, {1, 2, 1500}},
};

static rig_case case_of(const kl__xent *k, kl_shape s, bool soft)
{
    kl_shape ls = {s.n_dims - 1,
                   {s.dim[0], s.n_dims > 2 ? s.dim[2] : 0, s.n_dims > 3 ? s.dim[3] : 0}};
    rig_case c = {"xent",
                  &kl__op_xent,
                  k,
                  2,
                  kl__xent_outputs(k),
                  {{KL_F32, s, RIG_NORMAL, 0, 2, NULL, false}},
                  reference,
                  {RIG_L2, k->grad ? 2e-6 : 1e-6},
                  {0},
                  NULL};
    c.in[1] = soft ? (rig_input){KL_F32, s, RIG_UNIFORM, 0, 1, NULL, true}
                   : (rig_input){KL_I32, ls, RIG_INDEX, 0, (double)s.dim[1], NULL, true};
    if (k->weights)
        c.in[c.n_in++] = (rig_input){KL_F32, {1, {s.dim[1]}}, RIG_UNIFORM, 0.2, 2, NULL, true};
    return c;
}

static void run_modes(bool hits, bool grad)
{
    for (size_t i = 0; i < COUNT(shapes); i++)
        for (int m = 0; m < 16; m++) {
            if (i > 3 && m != 0 && m != 7 && m != 10 && m != 13) /* all modes on the small shapes */
                continue;
            const bool soft = m & 8;
            if (hits && (soft || shapes[i].n_dims != 2))
                continue;
            const kl__xent k = {.smoothing = m & 1 ? 0.1f : 0,
                                .weights = m & 2,
                                .ignore_index = 1,
                                .hits = hits,
                                .grad = grad,
                                .compat = m & 4 ? KL_KERAS : KL_TORCH};
            rig_case c = case_of(&k, shapes[i], soft);
            rig_run(&c);
        }
}

static void test_sums(void **state)
{
    (void)state;
    run_modes(false, false);
}

static void test_gradient_in_the_same_pass(void **state)
{
    (void)state;
    run_modes(false, true);
}

static void test_hits(void **state)
{
    (void)state;
    run_modes(true, false);
    run_modes(true, true);
}

/* The first of equal logits counts, a NaN is never the largest, ignored samples count where their
 * class exists: what op correct says of the same rows. */
static void hits_of(const kl__apply *a, const double *const *in, double *const *out)
{
    (void)a;
    (void)in;
    out[0][0] = 6;
    out[0][1] = 8;
}
static void hits_with_sums(const kl__apply *a, const double *const *in, double *const *out)
{
    (void)a;
    (void)in;
    out[0][0] = NAN;
    out[1][0] = 8; /* those that are not ignored */
    out[2][0] = 6;
    out[2][1] = 8;
}
static void test_hits_at_the_edges(void **state)
{
    (void)state;
    const double n = NAN, inf = INFINITY;
    const double x[10 * 3] = {1,    1,    0,    /* first of equals */ 1,
                              1,    0,    n,    2,
                              1,    2,    n,    1,
                              -inf, -inf, -inf, n,
                              n,    n,    n,    n,
                              n,    0,    0,    9,
                              0,    0,    9,    0,
                              0,    9};
    const double label[10] = {0, 1, 1, 0, 0, 2, 1, 2, 7, -1};
    const kl__xent k = {.ignore_index = 2, .hits = true};
    rig_case c = case_of(&k, (kl_shape){2, {10, 3}}, false);
    c.in[0] = (rig_input){KL_F32, {2, {10, 3}}, RIG_DATA, 0, 0, x, false};
    c.in[1].fill = RIG_DATA;
    c.in[1].data = label;
    c.ref = hits_with_sums;
    rig_run(&c);
    c.name = "correct";
    c.op = &kl__op_correct;
    c.attrs = NULL;
    c.n_out = 1;
    c.ref = hits_of;
    c.tol.kind = RIG_EXACT;
    rig_run(&c);
}

/* NaN stays in the samples it belongs to; what is ignored is 0 whatever its logits. */
static void test_nan_per_sample(void **state)
{
    (void)state;
    const double rows[5] = {0, 9, -100, 1, -3};
    double x[5 * 3 * 20], t[100];
    for (int sp = 0; sp < 2; sp++) {
        const kl_shape s = sp ? (kl_shape){3, {5, 3, 20}} : (kl_shape){2, {5, 3}};
        const int inner = sp ? 20 : 1;
        for (int i = 0; i < 5; i++)
            for (int j = 0; j < inner; j++) {
                t[i * inner + j] = j % 3 ? 1 : rows[i];
                for (int c = 0; c < 3; c++)
                    x[(i * 3 + c) * inner + j] = t[i * inner + j] == -100 ? NAN : c - 0.1 * j;
            }
        for (int m = 0; m < 4; m++) {
            for (int grad = 0; grad < 2; grad++) {
                const kl__xent k = {.smoothing = m & 1 ? 0.1f : 0,
                                    .weights = m & 2,
                                    .ignore_index = -100,
                                    .grad = grad};
                rig_case c = case_of(&k, s, false);
                c.in[0].fill = c.in[1].fill = RIG_DATA;
                c.in[0].data = x;
                c.in[1].data = t;
                rig_run(&c);
            }
        }
    }
}

/* A class whose probability is 0 and whose target is 0 adds nothing; one whose target is not 0 an
 * infinity. */
static void test_minus_infinity(void **state)
{
    (void)state;
    const double inf = INFINITY, x[6] = {-inf, 0, 1, -inf, 2, 3}, t[2] = {1, 2}, on[2] = {1, 0};
    const kl__xent k = {.ignore_index = -100}, grad = {.ignore_index = -100, .grad = true};
    rig_case c = case_of(&k, (kl_shape){2, {2, 3}}, false);
    c.in[0] = (rig_input){KL_F32, {2, {2, 3}}, RIG_DATA, 0, 0, x, false};
    c.in[1].fill = RIG_DATA;
    c.in[1].data = t;
    rig_run(&c);
    c.in[1].data = on;
    rig_run(&c);
    rig_case b = case_of(&grad, (kl_shape){2, {2, 3}}, false);
    b.in[0] = c.in[0];
    b.in[1] = c.in[1];
    rig_run(&b);
}

static void test_no_samples_give_zeros(void **state)
{
    (void)state;
    const kl__xent k = {.hits = true, .grad = true};
    rig_case c = case_of(&k, (kl_shape){2, {0, 3}}, false);
    c.tol.kind = RIG_EXACT;
    rig_run(&c);
}

static int hard_net(kl_graph *g, kl_node *const *in, kl_node **out)
{
    out[0] = kl_softmax_xent(
        g, in[0], in[1], &(kl_xent_opts){.smoothing = 0.1f, .class_weight = {golden_weights, 3}});
    return 1;
}
static int keras_net(kl_graph *g, kl_node *const *in, kl_node **out)
{
    out[0] = kl_softmax_xent(g, in[0], in[1],
                             &(kl_xent_opts){.smoothing = 0.2f,
                                             .ignore_index = 1,
                                             .class_weight = {golden_weights, 3},
                                             .compat = KL_KERAS});
    return 1;
}

static void test_gradients(void **state)
{
    (void)state;
    const rig_input flat[2] = {{KL_F32, {2, {4, 3}}, RIG_NORMAL, 0, 1, NULL, false},
                               {KL_I32, {1, {4}}, RIG_INDEX, 0, 3, NULL, true}};
    const rig_input soft[2] = {flat[0], {KL_F32, {2, {4, 3}}, RIG_UNIFORM, 0, 1, NULL, true}};
    const rig_input map[2] = {{KL_F32, {3, {2, 3, 5}}, RIG_NORMAL, 0, 1, NULL, false},
                              {KL_I32, {2, {2, 5}}, RIG_INDEX, 0, 3, NULL, true}};
    rig_build *const nets[] = {hard_net, keras_net};
    for (size_t i = 0; i < COUNT(nets); i++) {
        rig_grad_net("softmax_xent", nets[i], flat, 2, true);
        rig_grad_net("softmax_xent, soft", nets[i], soft, 2, true);
        rig_grad_net("softmax_xent, map", nets[i], map, 2, true);
    }
    /* made without a gradient: it is made when it is asked for */
    const kl__xent late[2] = {{.ignore_index = 1, .smoothing = 0.1f}, {.ignore_index = 1}};
    for (int i = 0; i < 2; i++) {
        rig_case c = case_of(&late[i], (kl_shape){2, {4, 3}}, i == 1);
        rig_grad(&c);
    }
    const double sum = 3, weight = 4;
    rig_grad(&(rig_case){"weighted_mean",
                         &kl__op_weighted_mean,
                         NULL,
                         2,
                         0,
                         {{KL_F32, {0, {0}}, RIG_DATA, 0, 0, &sum, false},
                          {KL_F32, {0, {0}}, RIG_DATA, 0, 0, &weight, false}},
                         NULL,
                         {RIG_EXACT, 0},
                         {0},
                         NULL});
}

/* From the plain seed of a loss, a training pass has one op of the family: nothing recomputes. */
static void test_training_needs_no_second_op(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){2, {4, 3}}),
            *t = kl_input(g, "t", KL_I32, (kl_shape){1, {4}});
    kl_output(g, "loss", kl_softmax_xent(g, x, t, NULL));
    for (int training = 0; training < 2; training++) {
        kl_graph *low = kl__graph_lower(g, 0, training, KL_F32, NULL, 0);
        assert_non_null(low);
        kl_node *sum = kl_graph_output(low, "loss")->by->in[0], *in = kl_graph_find(low, "x"), *dx;
        assert_ptr_equal(sum->by->op, &kl__op_xent);
        assert_ptr_equal(kl__xent_hits(low, in, kl_graph_find(low, "t")), sum->by->out[2]);
        const float v = 1;
        kl_node *one = kl_constant(low, NULL, KL_F32, (kl_shape){0, {0}}, &v);
        assert_int_equal(kl__graph_grad(low, sum, one, &in, 1, &dx), KL_OK);
        assert_int_equal(dx->by == sum->by, training);
        assert_ptr_equal(dx->by->op, &kl__op_xent);
        kl_graph_destroy(low);
    }
    kl_graph_destroy(g);
}

static void test_refusals(void **state)
{
    (void)state;
    const kl_shape s = {2, {KL_BATCH, 3}};
    const float bad[3] = {1, -1, 1};
    const struct {
        kl_dtype t;
        kl_shape l;
        kl_xent_opts o;
        const char *part;
    } r[] = {
        {KL_I32,
         {2, {KL_BATCH, 3}},
         {.name = "loss"},
         "softmax_xent \"loss\": labels i32 [N,3] do not fit logits [N,3]"},
        {KL_F32, {1, {KL_BATCH}}, {.name = "loss"}, "labels f32 [N] do not fit"},
        {KL_I32, {1, {KL_BATCH}}, {.class_weight = {bad, 2}}, "2 class weights for 3 classes"},
        {KL_I32, {1, {KL_BATCH}}, {.class_weight = {bad, 3}}, "class weight 1 is -1"},
        {KL_I32, {1, {KL_BATCH}}, {.smoothing = 1.5f}, "smoothing 1.5 is not in 0..1"},
    };
    for (size_t i = 0; i < COUNT(r); i++) {
        kl_graph *g = kl_graph_create();
        assert_null(kl_softmax_xent(g, kl_input(g, "x", KL_F32, s),
                                    kl_input(g, "t", r[i].t, r[i].l), &r[i].o));
        if (!strstr(kl_last_error(), r[i].part))
            fail_msg("\"%s\" does not say \"%s\"", kl_last_error(), r[i].part);
        kl_graph_destroy(g);
    }
}

static void test_fast_variants_ran(void **state)
{
    (void)state;
    if (kl__ctx_caps(ctx)->solo) {
        assert_true(rig_ran("xent", "solo") > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_values),
        cmocka_unit_test(test_ignored_and_unknown_labels),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_gradient_in_the_same_pass),
        cmocka_unit_test(test_hits),
        cmocka_unit_test(test_hits_at_the_edges),
        cmocka_unit_test(test_nan_per_sample),
        cmocka_unit_test(test_minus_infinity),
        cmocka_unit_test(test_no_samples_give_zeros),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_training_needs_no_second_op),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_fast_variants_ran),
    };
    ctx = kl_ctx_create(NULL);
    if (!ctx) {
        printf("no context: %s\n", kl_last_error());
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kl_ctx_destroy(ctx);
    return failed;
}
