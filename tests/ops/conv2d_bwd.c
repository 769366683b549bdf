/* conv2d_bwd_data, conv2d_bwd_weights and conv2d_transpose: exact on integers over the geometries
 * of conv2d_cases.h. */
#include "conv2d_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static const conv_case *now;

static void ref_data(const kl__apply *a, const double *const *in, double *const *out)
{
    (void)a;
    conv_relation(now, out[0], (double *)in[0], (double *)in[1], 1);
}

static void ref_weights(const kl__apply *a, const double *const *in, double *const *out)
{
    (void)a;
    conv_relation(now, (double *)in[0], out[0], (double *)in[1], 2);
}

static void ref_transpose(const kl__apply *a, const double *const *in, double *const *out)
{
    conv_relation(now, out[0], (double *)in[1], (double *)in[0], 1);
    if (a->n_in > 2)
        conv_add_bias(out[0], in[2], now->N, now->C, now->H * now->W);
}

static void data_gradient_is_exact_on_integers(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CONV_CASES; i++) {
        const conv_case *c = now = &conv_cases[i];
        kl__conv_bwd o = conv_bwd(c, c->H, c->W);
        rig_run(&(rig_case){.name = c->name,
                            .op = &kl__op_conv2d_bwd_data,
                            .attrs = &o,
                            .n_in = 2,
                            .in = {conv_input(c->K, c->C / c->G, c->KH, c->KW),
                                   conv_input(c->N, c->K, c->OH, c->OW)},
                            .ref = ref_data,
                            .tol = {RIG_EXACT, 0}});
    }
}

static void weights_gradient_is_exact_on_integers(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CONV_CASES; i++) {
        const conv_case *c = now = &conv_cases[i];
        kl__conv_bwd o = conv_bwd(c, c->KH, c->KW);
        rig_run(&(rig_case){
            .name = c->name,
            .op = &kl__op_conv2d_bwd_weights,
            .attrs = &o,
            .n_in = 2,
            .in = {conv_input(c->N, c->C, c->H, c->W), conv_input(c->N, c->K, c->OH, c->OW)},
            .ref = ref_weights,
            .tol = {RIG_EXACT, 0}});
    }
}

static void weights_gradient_of_an_empty_batch_is_zero(void **state)
{
    (void)state;
    static const conv_case c = {"empty", 0, 17, 6, 8, 32, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 6, 8};
    kl__conv_bwd o = conv_bwd(&c, 3, 3);
    now = &c;
    rig_run(&(rig_case){.name = c.name,
                        .op = &kl__op_conv2d_bwd_weights,
                        .attrs = &o,
                        .n_in = 2,
                        .in = {conv_input(0, 17, 6, 8), conv_input(0, 32, 6, 8)},
                        .ref = ref_weights,
                        .tol = {RIG_EXACT, 0}});
}

static void many_images_stay_within_the_bound(void **state)
{
    (void)state;
    static const conv_case c = {
        "many images", 70, 16, 6, 8, 32, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 6, 8};
    kl__conv_bwd o = conv_bwd(&c, 3, 3);
    rig_input x = conv_input(70, 16, 6, 8), dy = conv_input(70, 32, 6, 8);
    x.fill = dy.fill = RIG_NORMAL;
    x.hi = dy.hi = 0;
    now = &c;
    rig_run(&(rig_case){.name = c.name,
                        .op = &kl__op_conv2d_bwd_weights,
                        .attrs = &o,
                        .n_in = 2,
                        .in = {x, dy},
                        .ref = ref_weights,
                        .tol = {RIG_ANCHORED, 70 * 48}});
}

/* The case whose x is the transposed convolution's output; `extra` rows and columns come from
 * output_pad. */
static void transpose_is_exact_on_integers(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CONV_CASES; i++) {
        const conv_case *c = now = &conv_cases[i];
        kl_conv2d_transpose_opts o = {
            .stride = {c->SH, c->SW},
            .dilation = {c->DH, c->DW},
            .groups = c->G,
            .pad = {KL_PAD_EXPLICIT, c->top, c->left, c->bottom, c->right}};
        o.output_pad[0] =
            c->H - ((c->OH - 1) * c->SH - c->top - c->bottom + c->DH * (c->KH - 1) + 1);
        o.output_pad[1] =
            c->W - ((c->OW - 1) * c->SW - c->left - c->right + c->DW * (c->KW - 1) + 1);
        rig_run(&(rig_case){.name = c->name,
                            .op = &kl__op_conv2d_transpose,
                            .attrs = &o,
                            .n_in = i % 2 ? 3 : 2,
                            .in = {conv_input(c->N, c->K, c->OH, c->OW),
                                   conv_input(c->K, c->C / c->G, c->KH, c->KW), conv_bias(c->C)},
                            .ref = ref_transpose,
                            .tol = {RIG_EXACT, 0}});
    }
}

static void gradients_of_transpose_match_differences(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        kl_conv2d_transpose_opts o;
        int k;
    } t[] = {
        {"stride 2 with output_pad",
         {.stride = {2, 2}, .output_pad = {1, 0}, .pad = {KL_PAD_EXPLICIT, 1, 0, 0, 1}},
         3},
        {"output_pad of a stride and more",
         {.stride = {1, 2}, .dilation = {3, 3}, .output_pad = {2, 2}},
         2},
        {"same, groups", {.stride = {2, 1}, .groups = 2, .pad = {.mode = KL_PAD_SAME}}, 3},
        {"same, kernel smaller than stride",
         {.stride = {3, 3}, .pad = {.mode = KL_PAD_SAME_LOWER}},
         2},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        int groups = t[i].o.groups ? t[i].o.groups : 1;
        rig_case k = {.name = t[i].name,
                      .op = &kl__op_conv2d_transpose,
                      .attrs = &t[i].o,
                      .n_in = 3,
                      .in = {conv_input(2, 4, 3, 4), conv_input(4, 2, t[i].k, t[i].k),
                             conv_bias(2 * groups)}};
        for (int j = 0; j < 3; j++)
            k.in[j].fill = RIG_NORMAL, k.in[j].hi = 0;
        rig_grad(&k);
    }
}

static void transpose_builder_and_refusals(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, kl__shape4(KL_BATCH, 6, 5, 7));
    kl_node *y = kl_conv2d_transpose(g, x,
                                     &(kl_conv2d_transpose_opts){.filters = 4,
                                                                 .kernel = {4, 0},
                                                                 .stride = {2, 0},
                                                                 .pad = {.mode = KL_PAD_SAME},
                                                                 .name = "up"});
    assert_int_equal(kl_graph_check(g), KL_OK);
    assert_true(kl_shape_equal(kl_node_shape(y), kl__shape4(KL_BATCH, 4, 10, 14)));
    assert_true(
        kl_shape_equal(kl_node_shape(kl_graph_find(g, "up.weight")), kl__shape4(6, 4, 4, 4)));
    assert_true(kl_shape_equal(kl_node_shape(kl_graph_find(g, "up.bias")), (kl_shape){1, {4}}));
    kl_graph_destroy(g);
    kl_conv2d_transpose_opts extra = {.stride = {2, 2}, .output_pad = {2, 0}},
                             pad = {.pad = {KL_PAD_EXPLICIT, 9, 0, 9, 0}};
    rig_case c = {.name = "refused",
                  .op = &kl__op_conv2d_transpose,
                  .attrs = &extra,
                  .n_in = 2,
                  .in = {conv_input(1, 4, 5, 5), conv_input(4, 2, 3, 3)}};
    rig_refused(&c, "output_pad 2 must be less than stride 2 or dilation 1");
    c.attrs = &pad;
    rig_refused(&c, "padding 9 and 9 leaves");
    c.in[1] = conv_input(3, 2, 3, 3);
    rig_refused(&c, "weights [3,2,3,3] do not fit input [1,4,5,5]");
}

static void fast_variants_did_run(void **state)
{
    static const char *const ops[] = {"conv2d_bwd_data", "conv2d_bwd_weights", "conv2d_transpose"};
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    for (int i = 0; i < 3; i++) {
        assert_true(rig_ran(ops[i], "ref") > 0);
        assert_true(!kl__ctx_caps(ctx)->solo || rig_ran(ops[i], "solo") > 0);
        assert_true(rig_ran(ops[i], "coop") > 0);
    }
    kl_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_gradient_is_exact_on_integers),
        cmocka_unit_test(weights_gradient_is_exact_on_integers),
        cmocka_unit_test(weights_gradient_of_an_empty_batch_is_zero),
        cmocka_unit_test(many_images_stay_within_the_bound),
        cmocka_unit_test(transpose_is_exact_on_integers),
        cmocka_unit_test(gradients_of_transpose_match_differences),
        cmocka_unit_test(transpose_builder_and_refusals),
        cmocka_unit_test(fast_variants_did_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
