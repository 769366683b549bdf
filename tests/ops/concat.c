/* Joining along an axis. */
#include "rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void ref(const kl__apply *a, const double *const *in, double *const *out)
{
    int axis = ((const kl_axis_opts *)a->attrs)->axis;
    kl_shape y = a->out[0]->desc.shape;
    int64_t inner = 1, start = 0;
    for (int i = axis + 1; i < y.n_dims; i++)
        inner *= y.dim[i];
    for (int k = 0; k < a->n_in; k++) {
        int64_t d = a->in[k]->desc.shape.dim[axis], n = kl_shape_count(a->in[k]->desc.shape);
        for (int64_t i = 0; i < n; i++)
            out[0][(i / inner / d * y.dim[axis] + start + i / inner % d) * inner + i % inner] =
                in[k][i];
        start += d;
    }
}

static const struct {
    int axis, n_dims, n_in;
    int64_t dim[6]; /* of the first input; the others have 1, 2, ... less or more on the axis */
    int64_t size[3];
} cases[] = {
    {1, 4, 2, {2, 0, 5, 7}, {3, 4, 0}},       {0, 2, 3, {0, 33}, {1, 2, 3}},
    {3, 4, 3, {2, 3, 4, 0}, {1, 17, 16}},     {1, 2, 1, {3, 0}, {5, 0, 0}},
    {2, 6, 2, {2, 1, 0, 2, 3, 5}, {2, 1, 0}}, {0, 1, 3, {0}, {1, 0, 70}},
    {1, 4, 2, {1, 0, 90, 91}, {8, 3, 0}},     {2, 3, 3, {300, 2, 0}, {1, 2, 31}},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static void test_every_dtype(void **state)
{
    (void)state;
    static const kl_dtype dtypes[] = {KL_F32, KL_U8, KL_I32, KL_F64, KL_F16};
    for (int i = 0; i < 5 * N_CASES; i++) {
        int k = i % N_CASES;
        kl_axis_opts o = {.axis = cases[k].axis};
        rig_case c = {
            .name = "concat", .op = &kl__op_concat, .attrs = &o, .n_in = cases[k].n_in, .ref = ref};
        for (int j = 0; j < c.n_in; j++) {
            c.in[j] = (rig_input){
                dtypes[i / N_CASES], {.n_dims = cases[k].n_dims}, RIG_INTEGER, 0, 200, NULL, false};
            for (int d = 0; d < cases[k].n_dims; d++)
                c.in[j].shape.dim[d] = d == o.axis ? cases[k].size[j] : cases[k].dim[d];
        }
        rig_run(&c);
    }
}

static void test_gradients_and_refusals(void **state)
{
    (void)state;
    kl_axis_opts o = {.axis = 1};
    rig_case c = {.name = "concat",
                  .op = &kl__op_concat,
                  .attrs = &o,
                  .n_in = 4,
                  .in = {{KL_F32, {3, {2, 1, 3}}, RIG_NORMAL, 0, 0, NULL, false},
                         {KL_F32, {3, {2, 4, 3}}, RIG_NORMAL, 0, 0, NULL, false},
                         {KL_F32, {3, {2, 0, 3}}, RIG_NORMAL, 0, 0, NULL, true},
                         {KL_F32, {3, {2, 2, 3}}, RIG_NORMAL, 0, 0, NULL, false}}};
    rig_grad(&c);
    c.in[1].shape.dim[2] = 4;
    rig_refused(&c, "input 1, f32 [2,4,4], does not join with input 0, f32 [2,1,3], on axis 1");
    c.in[1].shape.dim[2] = 3;
    c.in[1].dtype = KL_I32;
    rig_refused(&c, "input 1, i32");
    o.axis = 3;
    rig_refused(&c, "axis 3");
}

/* The public builder: default axis, negative axis, axis 0, the batch. */
static void test_builder(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, kl__shape4(KL_BATCH, 3, 4, 5));
    kl_node *two[] = {x, x};
    assert_true(
        kl_shape_equal(kl_node_shape(kl_concat(g, two, 2, NULL)), kl__shape4(KL_BATCH, 6, 4, 5)));
    assert_true(kl_shape_equal(kl_node_shape(kl_concat(g, two, 2, &(kl_axis_opts){.axis = -1})),
                               kl__shape4(KL_BATCH, 3, 4, 10)));
    assert_int_equal(kl_graph_check(g), KL_OK);
    assert_null(kl_concat(g, two, 2, &(kl_axis_opts){.axis = KL_NONE}));
    assert_int_equal(kl_graph_check(g),
                     KL_E_SHAPE); /* the batch cannot be joined before it is known */
    kl_graph_destroy(g);
}

static void test_fast_variants_ran(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    if (kl__ctx_caps(ctx)->solo) {
        assert_true(rig_ran("concat", "solo") > 0);
    }
    kl_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_dtype),
        cmocka_unit_test(test_gradients_and_refusals),
        cmocka_unit_test(test_builder),
        cmocka_unit_test(test_fast_variants_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
