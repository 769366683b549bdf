/* reduce_sum, reduce_mean, reduce_max, sum_to, broadcast_to, reduce_max_bwd: axes of every pattern,
 * lengths around the vector sizes, reductions long enough for two launches, NaN. */
#include "rig.h"

#include "ops/reduce_launch.h"
#include "ops/reorder.h"
#include "sched/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Which element of the reduced tensor element i of `full` belongs to. */
static int64_t home(kl_shape full, uint32_t mask, int64_t i)
{
    int64_t at = 0, step = 1;
    for (int d = full.n_dims - 1; d >= 0; d--) {
        int64_t c = i % full.dim[d];
        i /= full.dim[d];
        if (mask >> d & 1u)
            continue;
        at += c * step;
        step *= full.dim[d];
    }
    return at;
}

static uint32_t mask_of(kl_shape axes, int n)
{
    uint32_t m = axes.n_dims ? 0 : (1u << n) - 1u;
    for (int i = 0; i < axes.n_dims; i++)
        m |= 1u << (axes.dim[i] < 0 ? axes.dim[i] + n : axes.dim[i]);
    return m;
}

static void ref_over(const kl__apply *a, uint32_t mask, const double *x, double *y)
{
    kl_shape s = a->in[0]->desc.shape;
    int64_t n = kl_shape_count(s), m = kl_shape_count(a->out[0]->desc.shape);
    bool max = !strcmp(a->op->name, "reduce_max");
    for (int64_t i = 0; max && n > 0 && i < m; i++)
        y[i] = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        double *to = &y[home(s, mask, i)];
        if (!max)
            *to += x[i];
        else if (isnan(x[i]) || x[i] > *to)
            *to = isnan(*to) ? *to : x[i];
    }
    for (int64_t i = 0; !strcmp(a->op->name, "reduce_mean") && n > 0 && i < m; i++)
        y[i] /= (double)(n / m);
}

static void ref(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl_reduce_opts *o = a->attrs;
    ref_over(a, mask_of(o->axes, a->in[0]->desc.shape.n_dims), in[0], out[0]);
}

static void ref_sum_to(const kl__apply *a, const double *const *in, double *const *out)
{
    kl_shape x = a->in[0]->desc.shape, y = a->out[0]->desc.shape;
    uint32_t mask = 0;
    for (int i = 0; i < x.n_dims; i++) {
        int j = i - (x.n_dims - y.n_dims);
        if (j < 0 || y.dim[j] == 1)
            mask |= 1u << i;
    }
    ref_over(a, mask, in[0], out[0]);
}

typedef struct pattern {
    kl_shape x, axes;
} pattern;
static const pattern patterns[] = {
    {{2, {5, 33}}, {1, {1}}},           /* last axis */
    {{2, {33, 5}}, {1, {0}}},           /* first axis, few columns */
    {{2, {70, 200}}, {1, {-2}}},        /* first axis, whole and part vectors of columns */
    {{4, {3, 5, 7, 9}}, {3, {0, 2, 3}}}, /* bias gradient */
    {{4, {3, 5, 7, 9}}, {2, {2, 3}}},
    {{4, {3, 5, 7, 9}}, {1, {1}}},
    {{4, {3, 5, 4, 21}}, {2, {0, 2}}},
    {{6, {2, 3, 2, 3, 2, 3}}, {3, {0, 2, 4}}}, /* nothing merges */
    {{6, {2, 3, 2, 3, 2, 3}}, {3, {1, 3, 5}}},
    {{3, {4, 1, 6}}, {1, {1}}},         /* one element each */
    {{1, {100}}, {0, {0}}},
    {{0, {0}}, {0, {0}}},               /* a scalar */
    {{3, {2, 150, 401}}, {0, {0}}},     /* all, two launches */
    {{4, {40, 3, 25, 31}}, {3, {0, 2, 3}}}, /* few outputs, two launches by rows */
    {{2, {5000, 37}}, {1, {0}}},        /* two launches by columns */
    {{2, {5001, 10}}, {1, {0}}},        /* fewer columns than lanes */
    {{2, {37, 3}}, {1, {0}}},
    {{3, {2, 3000, 20}}, {1, {1}}},
    {{2, {300, 17}}, {1, {1}}},         /* many short rows */
};
enum { N_PATTERNS = sizeof patterns / sizeof *patterns };

static const kl__op *const ops[3] = {&kl__op_reduce_sum, &kl__op_reduce_mean, &kl__op_reduce_max};

static rig_case make(const kl__op *op, kl_shape x, const kl_reduce_opts *o)
{
    rig_case c = {.name = op->name, .op = op, .attrs = o, .ref = ref, .n_in = 1,
                  .in = {{.shape = x, .fill = RIG_INTEGER, .lo = -50, .hi = 50}}};
    if (op == &kl__op_reduce_mean) { /* the sum is exact, the division rounds once */
        c.tol.kind = RIG_ULP;
        c.tol.k = 1;
    }
    return c;
}

static void every_pattern_of_axes(void **state)
{
    (void)state;
    for (int i = 0; i < N_PATTERNS; i++)
        for (int k = 0; k < 3; k++) {
            kl_reduce_opts o = {.axes = patterns[i].axes, .keep_dims = i & 1};
            rig_case c = make(ops[k], patterns[i].x, &o);
            rig_run(&c);
        }
}

static void lengths_around_the_vectors(void **state)
{
    static const int n[] = {1, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129};
    (void)state;
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        kl_reduce_opts o = {.axes = {1, {1}}};
        rig_case c = make(&kl__op_reduce_sum, (kl_shape){2, {3, n[i]}}, &o);
        rig_run(&c);
        o.axes.dim[0] = 0;
        c = make(&kl__op_reduce_sum, (kl_shape){2, {3, n[i]}}, &o);
        rig_run(&c);
        c = make(&kl__op_reduce_max, (kl_shape){2, {3, n[i]}}, &o);
        rig_run(&c);
    }
}

static void long_sums_keep_their_digits(void **state)
{
    kl_reduce_opts o = {.axes = {0}};
    rig_case c = make(&kl__op_reduce_sum, (kl_shape){2, {310, 1000}}, &o);
    (void)state;
    c.in[0].fill = RIG_UNIFORM;
    c.in[0].lo = 0.5;
    c.in[0].hi = 1.5;
    c.tol = (rig_tol){RIG_ANCHORED, 300}; /* 310000 terms: only sums in blocks come this near */
    rig_run(&c);
    o.axes = (kl_shape){1, {0}};
    c.in[0].shape = (kl_shape){2, {9000, 70}};
    c.tol.k = 200;
    rig_run(&c);
}

static void nan_and_infinity(void **state)
{
    enum { N = 40 };
    static double x[3 * N];
    (void)state;
    for (int i = 0; i < 3 * N; i++)
        x[i] = i % 11;
    x[5] = NAN;
    x[N + 30] = INFINITY;
    for (int i = 2 * N; i < 3 * N; i++)
        x[i] = -INFINITY;
    for (int k = 0; k < 3; k++)
        for (int axis = 0; axis < 2; axis++) {
            kl_reduce_opts o = {.axes = {1, {axis}}};
            rig_case c = make(ops[k], (kl_shape){2, {3, N}}, &o);
            c.in[0].fill = RIG_DATA;
            c.in[0].data = x;
            rig_run(&c);
        }
}

static void empty_reductions_give_zero(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        kl_reduce_opts o = {.axes = {1, {0}}};
        rig_case c = make(ops[k], (kl_shape){2, {0, 5}}, &o);
        rig_run(&c);
        o.axes.dim[0] = 1;
        c = make(ops[k], (kl_shape){2, {0, 5}}, &o);
        rig_run(&c);
    }
}

static void sum_to_a_shape(void **state)
{
    static const kl_shape pairs[][2] = {{{4, {2, 3, 4, 5}}, {1, {5}}},
                                        {{4, {2, 3, 4, 5}}, {3, {3, 1, 1}}},
                                        {{4, {2, 3, 4, 5}}, {4, {1, 3, 1, 5}}},
                                        {{3, {2, 3, 4}}, {0, {0}}},
                                        {{2, {6, 1}}, {2, {1, 1}}},
                                        {{2, {6, 7}}, {2, {6, 7}}}};
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        kl__sum_shape s = {.shape = pairs[i][1]};
        rig_case c = {.name = "sum_to",
                      .op = &kl__op_sum_to,
                      .attrs = &s,
                      .ref = ref_sum_to,
                      .n_in = 1,
                      .in = {{.shape = pairs[i][0], .fill = RIG_INTEGER, .lo = -9, .hi = 9}}};
        rig_run(&c);
        c.in[0] = (rig_input){.shape = pairs[i][0]};
        rig_grad(&c);
    }
}

static void ref_broadcast(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl__broadcast *o = a->attrs;
    kl_shape x = a->in[0]->desc.shape, y = a->out[0]->desc.shape;
    int64_t n = kl_shape_count(y), m = kl_shape_count(x);
    uint32_t mask = o->axes.n_dims ? mask_of(o->axes, y.n_dims) : 0;
    for (int i = 0; !o->axes.n_dims && i < y.n_dims; i++) {
        int j = i - (y.n_dims - x.n_dims);
        if (j < 0 || x.dim[j] == 1)
            mask |= 1u << i;
    }
    for (int64_t i = 0; i < n; i++)
        out[0][i] = in[0][home(y, mask, i)] / (o->mean ? (double)(n / m) : 1);
}

static void broadcast_to_a_shape(void **state)
{
    static const struct {
        kl_shape x, y, axes;
    } cases[] = {
        {{0, {0}}, {2, {9, 20}}, {0, {0}}},
        {{1, {20}}, {2, {9, 20}}, {0, {0}}},
        {{2, {9, 1}}, {2, {9, 20}}, {0, {0}}},
        {{1, {9}}, {2, {9, 20}}, {1, {1}}},
        {{2, {1, 9}}, {4, {1, 9, 3, 7}}, {2, {2, 3}}},
        {{3, {3, 1, 1}}, {4, {2, 3, 5, 4}}, {0, {0}}},
        {{1, {3}}, {4, {2, 3, 5, 4}}, {3, {0, 2, 3}}},
        {{4, {2, 1, 5, 1}}, {4, {2, 3, 5, 40}}, {0, {0}}},
        {{4, {1, 3, 1, 40}}, {4, {2, 3, 5, 40}}, {0, {0}}},
        {{3, {2, 2, 2}}, {6, {2, 3, 2, 3, 2, 3}}, {3, {1, 3, 5}}},
        {{3, {3, 3, 3}}, {6, {2, 3, 2, 3, 2, 3}}, {3, {0, 2, 4}}},
        {{2, {0, 1}}, {2, {0, 4}}, {0, {0}}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int mean = 0; mean < 2; mean++) {
            kl__broadcast b = {.shape = cases[i].y, .axes = cases[i].axes, .mean = mean};
            rig_case c = {.name = "broadcast_to",
                          .op = &kl__op_broadcast_to,
                          .attrs = &b,
                          .ref = ref_broadcast,
                          .n_in = 1,
                          .in = {{.shape = cases[i].x, .fill = RIG_INTEGER, .lo = -9, .hi = 9}},
                          .tol = {RIG_ULP, 1}};
            rig_run(&c);
        }
    kl__broadcast b = {.shape = cases[6].y, .axes = cases[6].axes, .mean = true};
    rig_case c = {.name = "broadcast_to",
                  .op = &kl__op_broadcast_to,
                  .attrs = &b,
                  .ref = ref_broadcast,
                  .n_in = 1,
                  .in = {{.shape = cases[6].x}}};
    rig_grad(&c);
}

static void gradients_agree_with_differences(void **state)
{
    static const int which[] = {0, 1, 3, 6, 7, 9, 11};
    (void)state;
    for (size_t i = 0; i < sizeof which / sizeof *which; i++)
        for (int k = 0; k < 3; k++)
            for (int keep = 0; keep < 2; keep++) {
                const pattern *p = &patterns[which[i]];
                kl_reduce_opts o = {.axes = p->axes, .keep_dims = keep};
                rig_case c = make(ops[k], p->x, &o);
                c.in[0] = (rig_input){.shape = p->x};
                rig_grad(&c);
            }
}

static void ref_max_bwd(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl_reduce_opts *o = a->attrs;
    kl_shape s = a->in[0]->desc.shape;
    uint32_t mask = mask_of(o->axes, s.n_dims);
    bool done[16] = {0};
    for (int64_t i = 0; i < kl_shape_count(s); i++) {
        int64_t to = home(s, mask, i);
        bool hit = in[0][i] == in[1][to] || (isnan(in[0][i]) && isnan(in[1][to]));
        out[0][i] = hit && !done[to] ? in[2][to] : 0;
        done[to] = done[to] || hit;
    }
}

static void gradient_of_max_goes_to_the_first(void **state)
{
    static const double x[8] = {1, 3, 3, 2, 0, NAN, 5, NAN}, y[2] = {3, NAN}, dy[2] = {10, 20};
    kl_reduce_opts o = {.axes = {1, {1}}};
    kl_shape one = {1, {2}};
    rig_case c = {.name = "reduce_max_bwd",
                  .op = &kl__op_reduce_max_bwd,
                  .attrs = &o,
                  .ref = ref_max_bwd,
                  .n_in = 3,
                  .in = {{.shape = {2, {2, 4}}, .fill = RIG_DATA, .data = x},
                         {.shape = one, .fill = RIG_DATA, .data = y},
                         {.shape = one, .fill = RIG_DATA, .data = dy}}};
    (void)state;
    rig_run(&c);
}

static void wrong_axes_and_shapes_are_named(void **state)
{
    kl_reduce_opts o = {.axes = {1, {2}}};
    rig_case c = make(&kl__op_reduce_sum, (kl_shape){2, {3, 4}}, &o);
    (void)state;
    rig_refused(&c, "axis 2 is given twice or does not exist in input [3,4]");
    o.axes = (kl_shape){2, {1, -1}};
    rig_refused(&c, "axis -1 is given twice");
    kl__sum_shape s = {.shape = {1, {3}}};
    rig_case d = {.name = "sum_to", .op = &kl__op_sum_to, .attrs = &s, .ref = ref_sum_to, .n_in = 1,
                  .in = {{.shape = {2, {3, 4}}}}};
    rig_refused(&d, "[3] does not broadcast");
    kl__broadcast b = {.shape = {2, {3, 4}}};
    d = (rig_case){.name = "broadcast_to",
                   .op = &kl__op_broadcast_to,
                   .attrs = &b,
                   .ref = ref_broadcast,
                   .n_in = 1,
                   .in = {{.shape = {1, {3}}}}};
    rig_refused(&d, "[3] does not broadcast to [3,4]");
}

static void batch_is_carried(void **state)
{
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){4, {KL_BATCH, 3, 4, 5}});
    kl_node *a = kl_reduce_sum(g, x, &(kl_reduce_opts){.axes = {2, {-1, 2}}});
    kl_node *b = kl_reduce_mean(g, x, &(kl_reduce_opts){.axes = {1, {0}}, .keep_dims = true});
    kl_node *c = kl__sum_to(g, x, (kl_shape){4, {KL_BATCH, 1, 4, 1}});
    kl_node *d = kl__broadcast_to(g, b, x->desc.shape);
    (void)state;
    assert_int_equal(kl_graph_check(g), KL_OK);
    assert_true(kl_shape_equal(kl_node_shape(a), (kl_shape){2, {KL_BATCH, 3}}));
    assert_true(kl_shape_equal(kl_node_shape(b), (kl_shape){4, {1, 3, 4, 5}}));
    assert_true(kl_shape_equal(kl_node_shape(c), (kl_shape){4, {KL_BATCH, 1, 4, 1}}));
    assert_true(kl_shape_equal(kl_node_shape(d), kl_node_shape(x)));
    assert_ptr_equal(kl__sum_to(g, x, x->desc.shape), x);
    const kl_reduce_opts *o = a->by->attrs; /* axes are kept positive and rising */
    assert_true(kl_shape_equal(o->axes, (kl_shape){2, {2, 3}}));
    kl_graph_destroy(g);
}

/* Storage [N][blocks][H + halo][W + halo][c] gives the sums that plain storage gives; halo and pad
 * lanes hold zeros that are neither needed nor added twice. */
static void blocked_channels(const kl_shape s, kl__layout layout, bool mean)
{
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    const size_t n = (size_t)kl_shape_count(s), channels = (size_t)s.dim[1];
    float *v = malloc(n * sizeof *v), *got = malloc(channels * sizeof *got);
    double *want = calloc(channels, sizeof *want), *size = calloc(channels, sizeof *size);
    for (size_t i = 0; i < n; i++) {
        size_t c = i / (size_t)(s.dim[2] * s.dim[3]) % channels;
        v[i] = (float)(sin((double)i * 1.3) + 0.25);
        want[c] += (double)v[i];
        size[c] += fabs((double)v[i]);
    }
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, s);
    kl__mem *mem = kl__mem_create(ctx, n * sizeof *v);
    x->place = (kl__place){KL__AT_SPAN, {mem, 0}, 0};
    layout.block = kl__ctx_caps(ctx)->vector;
    const kl_reduce_opts o = {.axes = {3, {0, 2, 3}}};
    kl_node *b = kl__reorder(g, x, &layout);
    kl_output(g, "y", mean ? kl_reduce_mean(g, b, &o) : kl_reduce_sum(g, b, &o));
    assert_int_equal(kl__lane_write(lane, (kl__span){mem, 0}, v, n * sizeof *v, NULL), KL_OK);
    kl__plan *p = kl__plan_create(ctx, g, NULL);
    if (!p)
        fail_msg("%s", kl_last_error());
    kl_node *y = kl_graph_output(p->graph, "y");
    assert_string_equal(y->by->variant->name, "blocked");
    assert_int_equal(kl__plan_run(p, lane), KL_OK);
    assert_int_equal(kl__lane_read(lane, y->place.span, got, channels * sizeof *got, NULL), KL_OK);
    for (size_t c = 0; c < channels; c++) {
        double per = mean ? (double)(n / channels) : 1;
        assert_true(fabs((double)got[c] - want[c] / per) <= 4e-7 * size[c] / per);
    }
    kl__plan_destroy(p);
    kl__mem_release(mem);
    free(v);
    free(got);
    free(want);
    free(size);
    kl_ctx_destroy(ctx);
}

static void blocked_storage(void **state)
{
    static const char *const widths[] = {"16", "8", "4"};
    static const kl_shape shapes[] = {{4, {3, 5, 7, 9}}, {4, {2, 48, 1, 1}}, {4, {1, 3, 40, 40}},
                                      {4, {9, 33, 16, 15}}};
    static const kl__layout layouts[] = {{KL__NCHWC, 0, {0}}, {KL__NCHWC, 0, {1, 2, 3, 4}}};
    (void)state;
    for (int w = 0; w < 3; w++) {
        setenv("KILN_VECTOR", widths[w], 1);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int k = 0; k < 4; k++)
                blocked_channels(shapes[i], layouts[k & 1], k & 2);
    }
    unsetenv("KILN_VECTOR");
}

static void all_variants_ran(void **state)
{
    static const char *const names[] = {"reduce_sum", "reduce_mean", "reduce_max", "sum_to",
                                        "broadcast_to"};
    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_true(rig_ran(names[i], "ref") > 0);
        assert_true(rig_ran(names[i], "solo") > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pattern_of_axes),
        cmocka_unit_test(lengths_around_the_vectors),
        cmocka_unit_test(long_sums_keep_their_digits),
        cmocka_unit_test(nan_and_infinity),
        cmocka_unit_test(empty_reductions_give_zero),
        cmocka_unit_test(sum_to_a_shape),
        cmocka_unit_test(broadcast_to_a_shape),
        cmocka_unit_test(gradients_agree_with_differences),
        cmocka_unit_test(gradient_of_max_goes_to_the_first),
        cmocka_unit_test(wrong_axes_and_shapes_are_named),
        cmocka_unit_test(batch_is_carried),
        cmocka_unit_test(blocked_storage),
        cmocka_unit_test(all_variants_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
