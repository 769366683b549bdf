/* Ranges of an axis, and kl_split. */
#include "rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void ref(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl_slice_opts *o = a->attrs;
    kl_shape x = a->in[0]->desc.shape, y = a->out[0]->desc.shape;
    int64_t inner = 1, start = o->start < 0 ? x.dim[o->axis] + o->start : o->start,
            d = y.dim[o->axis];
    for (int i = o->axis + 1; i < y.n_dims; i++)
        inner *= y.dim[i];
    for (int64_t i = 0; i < kl_shape_count(y); i++)
        out[0][i] =
            in[0][(i / inner / d * x.dim[o->axis] + start + i / inner % d) * inner + i % inner];
}

static const struct {
    kl_shape x;
    kl_slice_opts o;
    int64_t size;
} cases[] = {
    {{4, {2, 6, 5, 7}}, {.axis = 1, .start = 2, .size = 3}, 3},
    {{4, {2, 6, 5, 7}}, {.axis = 3, .start = -3}, 3},
    {{2, {9, 33}}, {.axis = 0, .start = 8}, 1},
    {{1, {70}}, {.axis = 0, .start = -69, .size = 65}, 65},
    {{3, {2, 3, 40}}, {.axis = 2}, 40},
    {{3, {2, 3, 4}}, {.axis = 1, .start = 3}, 0},
    {{6, {2, 3, 4, 1, 2, 3}}, {.axis = 2, .start = 1, .size = 2}, 2},
    {{4, {2, 3, 120, 130}}, {.axis = 3, .start = 1, .size = 128}, 128},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static void test_every_dtype(void **state)
{
    (void)state;
    static const kl_dtype dtypes[] = {KL_F32, KL_U8, KL_I32, KL_F64, KL_F16};
    for (int i = 0; i < 5 * N_CASES; i++) {
        int k = i % N_CASES;
        kl_graph *g = kl_graph_create();
        kl_node *x = kl_input(g, "x", KL_F32, cases[k].x);
        x = kl__apply_new(g, &kl__op_slice, NULL, &x, 1, &cases[k].o);
        assert_int_equal(kl_node_shape(x).dim[cases[k].o.axis], cases[k].size);
        kl_graph_destroy(g);
        rig_case c = {.name = "slice",
                      .op = &kl__op_slice,
                      .attrs = &cases[k].o,
                      .n_in = 1,
                      .ref = ref,
                      .in = {{dtypes[i / N_CASES], cases[k].x, RIG_INTEGER, 0, 200, NULL, false}}};
        rig_run(&c);
    }
}

static void test_gradients_and_refusals(void **state)
{
    (void)state;
    kl_slice_opts o = {.axis = 1, .start = 1, .size = 2};
    rig_case c = {.name = "slice",
                  .op = &kl__op_slice,
                  .attrs = &o,
                  .n_in = 1,
                  .in = {{KL_F32, {3, {2, 5, 3}}, RIG_NORMAL, 0, 0, NULL, false}}};
    rig_grad(&c);
    o = (kl_slice_opts){.axis = 2, .start = -1};
    rig_grad(&c);
    o = (kl_slice_opts){.axis = 0};
    rig_grad(&c);
    o = (kl_slice_opts){.axis = 1, .start = 4, .size = 2};
    rig_refused(&c, "start 4 and size 2 do not fit axis 1 of input [2,5,3]");
    o = (kl_slice_opts){.axis = 1, .start = -6};
    rig_refused(&c, "start -6");
    o = (kl_slice_opts){.axis = 1, .size = -1};
    rig_refused(&c, "size -1");
    o = (kl_slice_opts){.axis = 3};
    rig_refused(&c, "axis 3 is not in input");
}

static int split_net(kl_graph *g, kl_node *const *in, kl_node **out)
{
    static const int sizes[] = {1, 3, 2};
    kl_split(g, in[0], &(kl_axis_opts){.name = "part"}, sizes, 3, out);
    return 3;
}

static void test_split(void **state)
{
    (void)state;
    rig_input in = {KL_F32, {3, {2, 6, 3}}, RIG_NORMAL, 0, 0, NULL, false};
    rig_grad_net("split", split_net, &in, 1, true);
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, kl__shape4(KL_BATCH, 6, 4, 4)), *out[3];
    assert_int_equal(split_net(g, &x, out), 3);
    assert_true(kl_shape_equal(kl_node_shape(out[1]), kl__shape4(KL_BATCH, 3, 4, 4)));
    assert_string_equal(kl_node_name(out[2]), "part.2");
    assert_int_equal(kl_split(g, x, NULL, (const int[]){4, 3}, 2, out), KL_E_SHAPE);
    assert_null(out[0]);
    kl_graph_destroy(g);
    g = kl_graph_create();
    x = kl_input(g, "x", KL_F32, kl__shape4(KL_BATCH, 6, 4, 4));
    assert_true(kl_shape_equal(kl_node_shape(kl_slice(g, x, &(kl_slice_opts){.axis = KL_NONE})),
                               kl_node_shape(x)));
    assert_null(kl_slice(
        g, x,
        &(kl_slice_opts){.axis = KL_NONE, .size = 1})); /* not of the batch before it is known */
    assert_int_equal(kl_graph_check(g), KL_E_SHAPE);
    kl_graph_destroy(g);
}

static void test_fast_variants_ran(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    if (kl__ctx_caps(ctx)->solo) {
        assert_true(rig_ran("slice", "solo") > 0);
    }
    kl_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_dtype),
        cmocka_unit_test(test_gradients_and_refusals),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_fast_variants_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
