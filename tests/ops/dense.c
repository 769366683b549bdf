/* dense: forward with and without bias, both gradients as ops, parameters that the builder makes.
 */
#include "rig.h"

#include "ops/matmul.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void fwd(const kl__apply *a, const double *const *in, double *const *out)
{
    int64_t n = a->out[0]->desc.shape.dim[0], u = a->out[0]->desc.shape.dim[1],
            k = a->in[1]->desc.shape.dim[1];
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < u; j++) {
            double s = a->n_in > 2 ? in[2][j] : 0;
            for (int64_t l = 0; l < k; l++)
                s += in[0][i * k + l] * in[1][j * k + l];
            out[0][i * u + j] = s;
        }
}

static void bwd_data(const kl__apply *a, const double *const *in, double *const *out)
{
    int64_t n = a->in[0]->desc.shape.dim[0], u = a->in[0]->desc.shape.dim[1],
            k = a->in[1]->desc.shape.dim[1];
    for (int64_t i = 0; i < n; i++)
        for (int64_t l = 0; l < k; l++) {
            double s = 0;
            for (int64_t j = 0; j < u; j++)
                s += in[0][i * u + j] * in[1][j * k + l];
            out[0][i * k + l] = s;
        }
}

static void bwd_weights(const kl__apply *a, const double *const *in, double *const *out)
{
    int64_t n = a->in[0]->desc.shape.dim[0], u = a->in[0]->desc.shape.dim[1],
            k = a->out[0]->desc.shape.dim[1];
    for (int64_t j = 0; j < u; j++)
        for (int64_t l = 0; l < k; l++) {
            double s = 0;
            for (int64_t i = 0; i < n; i++)
                s += in[0][i * u + j] * in[1][i * k + l];
            out[0][j * k + l] = s;
        }
}

typedef struct size {
    kl_shape x;
    int units;
} size;
/* A classifier, tails, a batch of one, images, a long sum that is split. */
static const size sizes[] = {
    {{2, {64, 100}}, 10}, {{2, {7, 33}}, 17},       {{2, {1, 1500}}, 10},   {{4, {5, 3, 4, 6}}, 31},
    {{2, {3, 1}}, 1},     {{4, {33, 8, 5, 5}}, 65}, {{2, {200, 210}}, 220},
};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static int64_t features(kl_shape s)
{
    int64_t n = 1;
    for (int i = 1; i < s.n_dims; i++)
        n *= s.dim[i];
    return n;
}
static rig_input integers(kl_shape s)
{
    return (rig_input){.shape = s, .fill = RIG_INTEGER, .lo = -4, .hi = 4};
}
static kl_shape vec(int64_t n)
{
    return (kl_shape){1, {n}};
}
static kl_shape mat(int64_t r, int64_t c)
{
    return (kl_shape){2, {r, c}};
}

static void forward_is_exact(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIZES; i++)
        for (int bias = 0; bias < 2; bias++) {
            kl_dense_opts o = {.units = sizes[i].units, .no_bias = !bias};
            rig_case c = {.name = bias ? "dense" : "dense without bias",
                          .op = &kl__op_dense,
                          .attrs = &o,
                          .ref = fwd,
                          .n_in = 2 + bias,
                          .in = {integers(sizes[i].x), integers(mat(o.units, features(sizes[i].x))),
                                 integers(vec(o.units))}};
            rig_run(&c);
        }
}

static void gradients_as_ops_are_exact(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIZES; i++) {
        kl__dense_shape s = {.shape = sizes[i].x};
        int64_t n = sizes[i].x.dim[0], u = sizes[i].units;
        rig_case c = {.name = "dense by x",
                      .op = &kl__op_dense_bwd_data,
                      .attrs = &s,
                      .ref = bwd_data,
                      .n_in = 2,
                      .in = {integers(mat(n, u)), integers(mat(u, features(s.shape)))}};
        rig_run(&c);
        c = (rig_case){.name = "dense by w",
                       .op = &kl__op_dense_bwd_weights,
                       .ref = bwd_weights,
                       .n_in = 2,
                       .in = {integers(mat(n, u)), integers(s.shape)}};
        rig_run(&c);
    }
}

/* Nothing to sum: the bias alone. */
static void no_features_give_the_bias(void **state)
{
    kl_dense_opts o = {.units = 3};
    rig_case c = {.name = "no features", .op = &kl__op_dense, .attrs = &o, .ref = fwd, .n_in = 3,
                  .in = {integers(mat(4, 0)), integers(mat(3, 0)), integers(vec(3))}};
    (void)state;
    rig_run(&c);
}

static void gradients_agree_with_differences(void **state)
{
    kl_dense_opts o = {.units = 5};
    rig_input x = {.shape = {4, {3, 2, 2, 3}}}, w = {.shape = {2, {5, 12}}},
              b = {.shape = {1, {5}}};
    rig_case c = {
        .name = "dense", .op = &kl__op_dense, .attrs = &o, .ref = fwd, .n_in = 3, .in = {x, w, b}};
    (void)state;
    rig_grad(&c);
    o.no_bias = true;
    c.n_in = 2;
    rig_grad(&c);
}

static void builder_makes_named_parameters(void **state)
{
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){4, {KL_BATCH, 3, 4, 5}});
    kl_node *y = kl_dense(g, x, &(kl_dense_opts){.units = 7, .name = "fc"});
    kl_node *z = kl_dense(g, y, &(kl_dense_opts){.units = 2, .no_bias = true});
    (void)state;
    assert_int_equal(kl_graph_check(g), KL_OK);
    assert_true(kl_shape_equal(kl_node_shape(y), mat(KL_BATCH, 7)));
    assert_true(kl_shape_equal(kl_node_shape(z), mat(KL_BATCH, 2)));
    assert_true(kl_shape_equal(kl_node_shape(kl_graph_find(g, "fc.weight")), mat(7, 60)));
    assert_true(kl_shape_equal(kl_node_shape(kl_graph_find(g, "fc.bias")), vec(7)));
    assert_string_equal(kl_node_name(y), "fc");
    assert_int_equal(z->by->n_in, 2);
    kl_graph_destroy(g);
}

static void builder_refuses_what_cannot_be(void **state)
{
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){2, {KL_BATCH, 3}});
    (void)state;
    assert_null(kl_dense(g, x, &(kl_dense_opts){.name = "fc"}));
    assert_int_equal(kl_graph_check(g), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "dense \"fc\": 0 units"));
    kl_graph_destroy(g);
}

static void shapes_that_do_not_fit_are_named(void **state)
{
    kl_dense_opts o = {.units = 4};
    rig_case c = {.name = "dense", .op = &kl__op_dense, .attrs = &o, .ref = fwd, .n_in = 3,
                  .in = {integers(mat(2, 5)), integers(mat(4, 6)), integers(vec(4))}};
    (void)state;
    rig_refused(&c, "weights [4,6] do not fit input [2,5]");
    c.in[1].shape = mat(4, 5);
    c.in[2].shape = vec(5);
    rig_refused(&c, "bias [5] does not fit weights [4,5]");
    c.in[0].shape = vec(5);
    rig_refused(&c, "expected [N,...]");
}

static void all_variants_ran(void **state)
{
    static const char *const ops[] = {"dense", "dense_bwd_data", "dense_bwd_weights"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_true(rig_ran(ops[i], "ref") > 0);
        assert_true(rig_ran(ops[i], "coop") > 0);
        assert_true(rig_ran(ops[i], "solo") > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_exact),
        cmocka_unit_test(gradients_as_ops_are_exact),
        cmocka_unit_test(no_features_give_the_bias),
        cmocka_unit_test(gradients_agree_with_differences),
        cmocka_unit_test(builder_makes_named_parameters),
        cmocka_unit_test(builder_refuses_what_cannot_be),
        cmocka_unit_test(shapes_that_do_not_fit_are_named),
        cmocka_unit_test(all_variants_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
