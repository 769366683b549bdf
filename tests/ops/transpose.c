/* Permutations of axes. */
#include "rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void ref(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl_transpose_opts *o = a->attrs;
    kl_shape x = a->in[0]->desc.shape, y = a->out[0]->desc.shape;
    for (int64_t i = 0; i < kl_shape_count(y); i++) {
        int64_t rest = i, index[KL_MAX_DIMS] = {0}, at = 0;
        for (int k = y.n_dims - 1; k >= 0; k--) {
            index[o->perm.dim[k]] = rest % y.dim[k];
            rest /= y.dim[k];
        }
        for (int k = 0; k < x.n_dims; k++)
            at = at * x.dim[k] + index[k];
        out[0][i] = in[0][at];
    }
}

static const struct {
    kl_shape x, perm;
} cases[] = {
    {{2, {33, 50}}, {2, {1, 0}}},
    {{2, {16, 16}}, {2, {1, 0}}},
    {{2, {3, 5}}, {2, {1, 0}}},
    {{4, {2, 19, 7, 9}}, {4, {0, 2, 3, 1}}}, /* NCHW to NHWC */
    {{4, {2, 7, 9, 19}}, {4, {0, 3, 1, 2}}}, /* and back */
    {{4, {2, 3, 4, 35}}, {4, {1, 0, 2, 3}}}, /* runs */
    {{3, {18, 4, 20}}, {3, {2, 1, 0}}},
    {{4, {2, 17, 3, 18}}, {4, {3, 2, 1, 0}}},
    {{6, {2, 3, 2, 5, 3, 4}}, {6, {5, 1, 3, 0, 4, 2}}},
    {{6, {2, 3, 2, 5, 3, 4}}, {6, {1, 4, 3, 0, 2, 5}}},
    {{3, {4, 1, 6}}, {3, {1, 0, 2}}}, /* nothing moves */
    {{1, {5}}, {1, {0}}},
    {{2, {0, 4}}, {2, {1, 0}}},
    {{2, {2, 9000}}, {2, {1, 0}}},
    {{2, {70, 4200}}, {2, {1, 0}}},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static void test_every_dtype(void **state)
{
    (void)state;
    static const kl_dtype dtypes[] = {KL_F32, KL_U8, KL_I32, KL_F64, KL_F16};
    for (int i = 0; i < 5 * N_CASES; i++) {
        kl_transpose_opts o = {.perm = cases[i % N_CASES].perm};
        rig_case c = {
            .name = "transpose",
            .op = &kl__op_transpose,
            .attrs = &o,
            .n_in = 1,
            .ref = ref,
            .in = {{dtypes[i / N_CASES], cases[i % N_CASES].x, RIG_INTEGER, 0, 250, NULL, false}}};
        rig_run(&c);
    }
}

static void test_gradients_and_refusals(void **state)
{
    (void)state;
    kl_transpose_opts o = {.perm = {3, {2, 0, 1}}};
    rig_case c = {.name = "transpose",
                  .op = &kl__op_transpose,
                  .attrs = &o,
                  .n_in = 1,
                  .in = {{KL_F32, {3, {2, 3, 4}}, RIG_NORMAL, 0, 0, NULL, false}}};
    rig_grad(&c);
    o.perm.dim[1] = 2;
    rig_refused(&c, "[2,2,1] is no permutation of the axes of input [2,3,4]");
    o.perm = (kl_shape){2, {1, 0}};
    rig_refused(&c, "no permutation");
    o.perm = (kl_shape){3, {1, 0, 3}};
    rig_refused(&c, "no permutation");
}

static void test_builder(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, kl__shape4(KL_BATCH, 3, 4, 5));
    kl_node *y = kl_transpose(g, x, &(kl_transpose_opts){.perm = {4, {0, -2, -1, 1}}});
    assert_true(kl_shape_equal(kl_node_shape(y), kl__shape4(KL_BATCH, 4, 5, 3)));
    kl_node *w = kl_input(g, "w", KL_F32, (kl_shape){3, {2, 3, 4}});
    assert_true(kl_shape_equal(kl_node_shape(kl_transpose(g, w, NULL)), (kl_shape){3, {4, 3, 2}}));
    assert_int_equal(kl_graph_check(g), KL_OK);
    kl_graph_destroy(g);
}

static void test_fast_variants_ran(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    if (kl__ctx_caps(ctx)->solo) {
        assert_true(rig_ran("transpose", "solo") > 0);
        assert_true(rig_ran("transpose", "coop") > 0);
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
