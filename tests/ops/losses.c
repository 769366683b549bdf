/* mse, mae, huber, bce_logits: values and gradients of the lowered forms, at every batch size. */
#include "rig.h"

#include "graph/graph.h"
#include "ops/eltwise.h"
#include "sched/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef kl_node *loss_fn(kl_graph *g, kl_node *x, kl_node *target, const kl_loss_opts *opts);
static const kl_loss_opts half = {.delta = 0.5f};

/* ---- definitions ----------------------------------------------------------------------------- */
static double d_mse(double x, double t)
{
    return (x - t) * (x - t);
}
static double d_mae(double x, double t)
{
    return fabs(x - t);
}
static double d_huber(double x, double t)
{
    double d = fabs(x - t);
    return d <= 0.5 ? d * d / 2 : 0.5 * (d - 0.25);
}
static double d_bce(double x, double t)
{
    return -t * -log1p(exp(-x)) - (1 - t) * -log1p(exp(x));
}
static const struct {
    const char *name;
    loss_fn *build;
    double (*of)(double x, double t);
} losses[] = {
    {"mse", kl_mse, d_mse},
    {"mae", kl_mae, d_mae},
    {"huber", kl_huber, d_huber},
    {"bce_logits", kl_bce_logits, d_bce},
};
enum { N_LOSSES = sizeof losses / sizeof *losses };

/* ---- values ---------------------------------------------------------------------------------- */
static float run_loss(kl_ctx *ctx, const kl_graph *g, int64_t batch, const float *x, const float *t,
                      size_t n)
{
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl_graph *low = kl__graph_lower(g, batch, true, KL_F32, NULL, 0);
    if (!low)
        fail_msg("%s", kl_last_error());
    kl__mem *mx = kl__mem_create(ctx, n * sizeof *x), *mt = kl__mem_create(ctx, n * sizeof *t);
    assert_int_equal(kl__lane_write(lane, (kl__span){mx, 0}, x, n * sizeof *x, NULL), KL_OK);
    assert_int_equal(kl__lane_write(lane, (kl__span){mt, 0}, t, n * sizeof *t, NULL), KL_OK);
    kl_graph_find(low, "x")->place = (kl__place){KL__AT_SPAN, {mx, 0}, 0};
    kl_graph_find(low, "t")->place = (kl__place){KL__AT_SPAN, {mt, 0}, 0};
    kl__plan *p = kl__plan_create(ctx, low, NULL);
    if (!p)
        fail_msg("%s", kl_last_error());
    assert_int_equal(kl__plan_run(p, lane), KL_OK);
    float y = -1;
    kl_node *out = kl_graph_output(p->graph, "loss");
    assert_int_equal(out->desc.shape.n_dims, 0);
    assert_int_equal(kl__lane_read(lane, out->place.span, &y, sizeof y, NULL), KL_OK);
    kl__plan_destroy(p);
    kl__mem_release(mx);
    kl__mem_release(mt);
    return y;
}

static void values_at_several_batch_sizes(void **state)
{
    enum { WIDTH = 37, MOST = 501 };
    static float x[WIDTH * MOST], t[WIDTH * MOST];
    kl_ctx *ctx = *state;
    for (int i = 0; i < WIDTH * MOST; i++) {
        x[i] = (float)(sin(i * 1.3) * 4);
        t[i] = (float)(0.5 + 0.5 * cos(i * 0.7));
    }
    for (int k = 0; k < N_LOSSES; k++) {
        static const int batches[] = {1, 4, MOST};
        kl_graph *g = kl_graph_create();
        kl_node *in[2];
        in[0] = kl_input(g, "x", KL_F32, (kl_shape){2, {KL_BATCH, WIDTH}});
        in[1] = kl_input(g, "t", KL_F32, (kl_shape){2, {KL_BATCH, WIDTH}});
        kl_output(g, "loss", losses[k].build(g, in[0], in[1], &half));
        assert_int_equal(kl_graph_check(g), KL_OK);
        for (int b = 0; b < 3; b++) {
            int n = batches[b] * WIDTH;
            double sum = 0;
            for (int i = 0; i < n; i++)
                sum += losses[k].of((double)x[i], (double)t[i]);
            float got = run_loss(ctx, g, batches[b], x, t, (size_t)n);
            if (!(fabs((double)got - sum / n) <= 1e-6 * sum / n))
                fail_msg("%s of %d samples: %.9g, expected %.9g", losses[k].name, batches[b],
                         (double)got, sum / n);
        }
        kl_graph_destroy(g);
    }
}

static void the_lowered_form_is_a_sum_over_a_count(void **state)
{
    (void)state;
    for (int k = 0; k < N_LOSSES; k++) {
        kl_graph *g = kl_graph_create();
        kl_shape s = {2, {KL_BATCH, 3}};
        kl_node *l = losses[k].build(g, kl_input(g, "x", KL_F32, s), kl_input(g, "t", KL_F32, s),
                                     &(kl_loss_opts){.name = "mine"});
        kl_output(g, "loss", l);
        assert_string_equal(l->by->op->name, losses[k].name);
        kl_graph *low = kl__graph_lower(g, 5, true, KL_F32, NULL, 0);
        assert_non_null(low);
        const kl__apply *a = low->outputs[0].node->by;
        assert_true(a->op->flags & KL__OP_MEAN);
        assert_string_equal(a->name, "mine");
        assert_ptr_equal(a->in[1]->by->op, &kl__op_elements);
        kl_graph_destroy(low);
        kl_graph_destroy(g);
    }
}

/* ---- gradients ------------------------------------------------------------------------------- */
static int which;
static int build_loss(kl_graph *g, kl_node *const *in, kl_node **out)
{
    out[0] = losses[which].build(g, in[0], in[1], &half);
    return 1;
}

static void gradients_by_input_and_target(void **state)
{
    (void)state;
    for (which = 0; which < N_LOSSES; which++) {
        rig_input in[2] = {{.shape = {2, {3, 11}}, .fill = RIG_NORMAL},
                           {.shape = {2, {3, 11}}, .fill = RIG_UNIFORM, .hi = 1}};
        rig_grad_net(losses[which].name, build_loss, in, 2, true);
    }
}

static void element_reference(const kl__apply *a, const double *const *in, double *const *out)
{
    int64_t n = kl_shape_count(a->out[0]->desc.shape);
    for (int64_t i = 0; i < n; i++)
        out[0][i] = a->op == &kl__op_bce_error ? d_bce(in[0][i], in[1][i]) : d_huber(in[0][i], 0);
}

/** Far out, where the textbook form gives inf - inf. */
static void errors_are_stable(void **state)
{
    (void)state;
    static const double x[] = {0, 100, -100, 300, -300, 20, -20, 1e-3, NAN};
    static const double t[] = {0.5, 1, 0, 0, 1, 0.25, 0.75, 1, 0.5};
    rig_case c = {.name = "far out",
                  .op = &kl__op_bce_error,
                  .n_in = 2,
                  .ref = element_reference,
                  .tol = {RIG_ULP, 9}};
    c.in[0] = (rig_input){.shape = {1, {9}}, .fill = RIG_DATA, .data = x};
    c.in[1] = (rig_input){.shape = {1, {9}}, .fill = RIG_DATA, .data = t};
    rig_run(&c);
    c = (rig_case){.name = "huber",
                   .op = &kl__op_huber_error,
                   .n_in = 1,
                   .attrs = &half,
                   .ref = element_reference,
                   .tol = {RIG_ULP, 3}};
    c.in[0] = (rig_input){.shape = {1, {9}}, .fill = RIG_DATA, .data = x};
    rig_run(&c);
}

static void misuse_is_refused(void **state)
{
    (void)state;
    kl_shape a = {2, {KL_BATCH, 3}}, b = {2, {KL_BATCH, 1}};
    kl_graph *g = kl_graph_create();
    assert_null(kl_mse(g, kl_input(g, "x", KL_F32, a), kl_input(g, "t", KL_F32, b), NULL));
    assert_int_equal(kl_graph_check(g), KL_E_SHAPE);
    assert_non_null(
        strstr(kl_last_error(), "target [N,1] must have the shape of the input, [N,3]"));
    kl_graph_destroy(g);
    g = kl_graph_create();
    assert_null(kl_huber(g, kl_input(g, "x", KL_F32, a), kl_input(g, "t", KL_F32, a),
                         &(kl_loss_opts){.delta = -1}));
    assert_non_null(strstr(kl_last_error(), "delta is -1"));
    kl_graph_destroy(g);
    g = kl_graph_create();
    assert_null(kl_mae(g, kl_input(g, "x", KL_F32, a), kl_input(g, "t", KL_I32, a), NULL));
    assert_non_null(strstr(kl_last_error(), "target is i32"));
    kl_graph_destroy(g);
}

static int set_up(void **state)
{
    return (*state = kl_ctx_create(NULL)) ? 0 : -1;
}

static int tear_down(void **state)
{
    kl_ctx_destroy(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_at_several_batch_sizes),
        cmocka_unit_test(the_lowered_form_is_a_sum_over_a_count),
        cmocka_unit_test(gradients_by_input_and_target),
        cmocka_unit_test(errors_are_stable),
        cmocka_unit_test(misuse_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
