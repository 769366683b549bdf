/* reshape and flatten: shapes that fit, shapes that do not, and the way back. */
#include "rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void ref(const kl__apply *a, const double *const *in, double *const *out)
{
    for (int64_t i = 0; i < kl_shape_count(a->out[0]->desc.shape); i++)
        out[0][i] = in[0][i];
}

static const struct {
    kl_shape x, shape, y;
} cases[] = {
    {{4, {KL_BATCH, 3, 4, 5}}, {2, {0, 60}}, {2, {KL_BATCH, 60}}},
    {{4, {KL_BATCH, 3, 4, 5}}, {3, {KL_BATCH, -2, 10}}, {3, {KL_BATCH, 6, 10}}},
    {{4, {KL_BATCH, 3, 4, 5}}, {2, {-2, 60}}, {2, {KL_BATCH, 60}}},
    {{4, {6, 3, 4, 5}}, {2, {0, -2}}, {2, {6, 60}}},
    {{4, {6, 3, 4, 5}}, {3, {3, -2, 8}}, {3, {3, 15, 8}}},
    {{2, {6, 4}}, {1, {24}}, {1, {24}}},
    {{1, {1}}, {0, {0}}, {0, {0}}},
    {{0, {0}}, {2, {1, 1}}, {2, {1, 1}}},
    {{2, {3, 0}}, {2, {0, -2}}, {2, {3, 0}}},
    {{2, {KL_BATCH, 0}}, {3, {0, 0, 5}}, {3, {KL_BATCH, 0, 5}}},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static void test_shapes(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        kl_graph *g = kl_graph_create();
        kl_node *y = kl_reshape(g, kl_input(g, "x", KL_I32, cases[i].x),
                                &(kl_reshape_opts){.shape = cases[i].shape});
        if (!y || !kl_shape_equal(kl_node_shape(y), cases[i].y))
            fail_msg("case %d: %s", i, kl_last_error());
        assert_int_equal(kl_node_dtype(y), KL_I32);
        kl_graph_destroy(g);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        kl_shape x, shape;
    } bad[] = {
        {{4, {KL_BATCH, 3, 4, 5}}, {2, {0, 61}}},
        {{4, {KL_BATCH, 3, 4, 5}}, {2, {8, 60}}},
        {{4, {KL_BATCH, 3, 4, 5}}, {3, {0, -2, 7}}},
        {{4, {6, 3, 4, 5}}, {3, {-2, -2, 6}}},
        {{2, {6, 4}}, {2, {6, -3}}},
        {{2, {6, 4}}, {2, {5, 5}}},
        {{2, {6, 4}}, {9, {1, 1, 1, 1, 1, 24}}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kl_reshape_opts o = {.shape = bad[i].shape};
        rig_case c = {.name = "refused",
                      .op = &kl__op_reshape,
                      .attrs = &o,
                      .n_in = 1,
                      .in = {{KL_F32, bad[i].x, RIG_NORMAL, 0, 0, NULL, false}}};
        rig_refused(&c, "does not fit shape");
    }
    rig_case c = {.name = "refused",
                  .op = &kl__op_flatten,
                  .n_in = 1,
                  .in = {{KL_F32, {0, {0}}, RIG_NORMAL, 0, 0, NULL, false}}};
    rig_refused(&c, "scalar");
}

static void test_bytes_and_gradients(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        kl_reshape_opts o = {.shape = i == 1 ? (kl_shape){3, {0, 6, -2}} : (kl_shape){1, {-2}}};
        rig_case c = {.name = "reshape",
                      .op = i == 2 ? &kl__op_flatten : &kl__op_reshape,
                      .attrs = &o,
                      .n_in = 1,
                      .ref = ref,
                      .in = {{KL_F32, {3, {2, 3, 4}}, RIG_NORMAL, 0, 0, NULL, false}}};
        rig_run(&c);
        rig_grad(&c);
    }
}

static void test_flatten(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_flatten(g, kl_input(g, "x", KL_F32, kl__shape4(KL_BATCH, 3, 4, 5)));
    assert_true(kl_shape_equal(kl_node_shape(x), (kl_shape){2, {KL_BATCH, 60}}));
    x = kl_flatten(g, kl_input(g, "v", KL_F32, (kl_shape){1, {7}}));
    assert_true(kl_shape_equal(kl_node_shape(x), (kl_shape){2, {7, 1}}));
    assert_null(kl_reshape(g, x, NULL));
    assert_int_equal(kl_graph_check(g), KL_E_ARG);
    kl_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bytes_and_gradients),
        cmocka_unit_test(test_flatten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
