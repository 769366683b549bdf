/* conv2d: forward against a double-precision relation, exact on integers; shapes, refusals,
 * builders, geometry. */
#include "conv2d_cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static const conv_case *now;

static void ref_forward(const kl__apply *a, const double *const *in, double *const *out)
{
    conv_relation(now, (double *)in[0], (double *)in[1], out[0], 0);
    if (a->n_in > 2)
        conv_add_bias(out[0], in[2], now->N, now->K, now->OH * now->OW);
}

static void forward_is_exact_on_integers(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CONV_CASES; i++) {
        const conv_case *c = now = &conv_cases[i];
        kl_conv2d_opts o = conv_opts(c);
        rig_run(&(rig_case){.name = c->name,
                            .op = &kl__op_conv2d,
                            .attrs = &o,
                            .n_in = i % 3 ? 3 : 2,
                            .in = {conv_input(c->N, c->C, c->H, c->W),
                                   conv_input(c->K, c->C / c->G, c->KH, c->KW), conv_bias(c->K)},
                            .ref = ref_forward,
                            .tol = {RIG_EXACT, 0}});
    }
}

static void random_data_stay_within_the_bound(void **state)
{
    (void)state;
    static const conv_case c = {
        "64 channels", 2, 64, 8, 8, 32, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 8, 8};
    kl_conv2d_opts o = conv_opts(&c);
    rig_input x = conv_input(2, 64, 8, 8), w = conv_input(32, 64, 3, 3);
    x.fill = w.fill = RIG_NORMAL;
    x.hi = w.hi = 0;
    now = &c;
    rig_run(&(rig_case){.name = c.name,
                        .op = &kl__op_conv2d,
                        .attrs = &o,
                        .n_in = 2,
                        .in = {x, w},
                        .ref = ref_forward,
                        .tol = {RIG_ANCHORED, 576}});
}

static void nan_and_infinity_pass_through(void **state)
{
    (void)state;
    static const double x[9] = {1, 2, 3, (double)NAN, 5, 6, 7, (double)INFINITY, 9}, w[2] = {1, 0};
    static const conv_case c = {"NaN", 1, 1, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 3, 3};
    kl_conv2d_opts o = conv_opts(&c);
    now = &c;
    rig_run(&(rig_case){
        .name = c.name,
        .op = &kl__op_conv2d,
        .attrs = &o,
        .n_in = 2,
        .in = {{.dtype = KL_F32, .shape = kl__shape4(1, 1, 3, 3), .fill = RIG_DATA, .data = x},
               {.dtype = KL_F32, .shape = kl__shape4(2, 1, 1, 1), .fill = RIG_DATA, .data = w}},
        .ref = ref_forward,
        .tol = {RIG_EXACT, 0}});
}

static void an_empty_batch_gives_an_empty_output(void **state)
{
    (void)state;
    static const conv_case c = {"empty", 0, 4, 3, 3, 8, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3};
    kl_conv2d_opts o = conv_opts(&c);
    now = &c;
    rig_run(&(rig_case){.name = c.name,
                        .op = &kl__op_conv2d,
                        .attrs = &o,
                        .n_in = 2,
                        .in = {conv_input(0, 4, 3, 3), conv_input(8, 4, 3, 3)},
                        .ref = ref_forward,
                        .tol = {RIG_EXACT, 0}});
}

static void gradients_match_differences(void **state)
{
    (void)state;
    static const conv_case cases[] = {
        {"bias and padding", 2, 3, 5, 4, 4, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 4},
        {"groups, stride, dilation", 2, 4, 7, 6, 6, 2, 3, 2, 1, 2, 1, 2, 1, 0, 0, 2, 3, 6},
        {"rows that no window reaches", 1, 2, 6, 5, 2, 1, 1, 3, 2, 1, 1, 1, 0, 0, 0, 0, 2, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const conv_case *c = &cases[i];
        kl_conv2d_opts o = conv_opts(c);
        rig_case k = {.name = c->name,
                      .op = &kl__op_conv2d,
                      .attrs = &o,
                      .n_in = 3,
                      .in = {conv_input(c->N, c->C, c->H, c->W),
                             conv_input(c->K, c->C / c->G, c->KH, c->KW), conv_bias(c->K)}};
        for (int j = 0; j < 3; j++)
            k.in[j].fill = RIG_NORMAL, k.in[j].hi = 0;
        rig_grad(&k);
    }
}

static void what_does_not_fit_is_refused_with_the_facts(void **state)
{
    (void)state;
    kl_conv2d_opts o = {.pad = {KL_PAD_VALID, 0, 0, 0, 0}}, stride = {.stride = {-1, 1}},
                   pad = {.pad = {KL_PAD_EXPLICIT, 0, -1, 0, 0}}, groups = {.groups = 3};
    rig_case c = {.name = "refused",
                  .op = &kl__op_conv2d,
                  .attrs = &o,
                  .n_in = 2,
                  .in = {conv_input(8, 16, 28, 28), conv_input(64, 32, 3, 3)}};
    rig_refused(&c, "conv2d \"op\": weights [64,32,3,3] do not fit input [8,16,28,28]");
    c.in[1] = conv_input(64, 16, 3, 3);
    c.n_in = 3;
    c.in[2] = conv_bias(63);
    rig_refused(&c, "bias [63] must be [64]");
    c.n_in = 2;
    c.attrs = &groups;
    rig_refused(&c, "in 3 groups");
    c.attrs = &stride;
    rig_refused(&c, "stride -1x1");
    c.attrs = &pad;
    rig_refused(&c, "padding (0, -1, 0, 0)");
    c.attrs = &o;
    c.in[0] = conv_input(8, 16, 28, 2);
    rig_refused(&c, "window of 3 cells does not fit width 2");
    c.in[0] = (rig_input){.dtype = KL_F32, .shape = {2, {3, 4}}};
    rig_refused(&c, "must have rank 4");
    c.in[0] = conv_input(8, 16, 28, 28);
    c.in[0].dtype = KL_I32;
    rig_refused(&c, "input 0 is i32, f32 is expected");
}

static void builders_make_parameters_and_resolve_options(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, kl__shape4(KL_BATCH, 6, 9, 7));
    kl_node *y = kl_conv2d(g, x,
                           &(kl_conv2d_opts){.filters = 8,
                                             .kernel = {3, 0},
                                             .stride = {2, 0},
                                             .groups = 2,
                                             .pad = {.mode = KL_PAD_SAME},
                                             .name = "c1"});
    assert_int_equal(kl_graph_check(g), KL_OK);
    assert_true(kl_shape_equal(kl_node_shape(y), kl__shape4(KL_BATCH, 8, 5, 4)));
    assert_true(
        kl_shape_equal(kl_node_shape(kl_graph_find(g, "c1.weight")), kl__shape4(8, 3, 3, 3)));
    assert_true(kl_shape_equal(kl_node_shape(kl_graph_find(g, "c1.bias")), (kl_shape){1, {8}}));
    kl_node *z = kl_conv2d(
        g, y, &(kl_conv2d_opts){.filters = 5, .kernel = {1, 2}, .no_bias = true, .name = "c2"});
    assert_true(kl_shape_equal(kl_node_shape(z), kl__shape4(KL_BATCH, 5, 5, 3)));
    assert_null(kl_graph_find(g, "c2.bias"));
    kl_node *again = kl_conv2d_with(g, y, kl_graph_find(g, "c2.weight"), NULL, NULL);
    const kl_conv2d_opts *o = again->by->attrs;
    assert_int_equal(o->filters, 5);
    assert_int_equal(o->kernel[1], 2);
    assert_true(o->no_bias);
    assert_null(kl_conv2d(g, y, &(kl_conv2d_opts){.kernel = {3, 3}, .name = "c3"}));
    assert_int_equal(kl_graph_check(g), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "conv2d \"c3\": filters 0"));
    kl_graph_destroy(g);
    assert_null(kl_conv2d(NULL, NULL, NULL));
}

static void same_padding_and_ceil_mode_follow_the_definitions(void **state)
{
    (void)state;
    static const struct {
        int n, k, s, d;
        kl_pad_mode mode;
        int given;
        bool ceil;
        int before, after, out;
    } t[] = {
        {5, 3, 2, 1, KL_PAD_SAME, 0, false, 1, 1, 3},
        {6, 3, 2, 1, KL_PAD_SAME, 0, false, 0, 1, 3},
        {6, 3, 2, 1, KL_PAD_SAME_LOWER, 0, false, 1, 0, 3},
        {7, 2, 1, 1, KL_PAD_SAME, 0, false, 0, 1, 7},
        {7, 1, 3, 1, KL_PAD_SAME, 0, false, 0, 0, 3},
        {9, 3, 1, 4, KL_PAD_SAME, 0, false, 4, 4, 9},
        {7, 3, 2, 1, KL_PAD_VALID, 0, false, 0, 0, 3},
        {8, 3, 2, 1, KL_PAD_VALID, 0, true, 0, 0, 4},
        {5, 2, 2, 1, KL_PAD_EXPLICIT, 1, true, 1, 1, 3},
        {5, 2, 3, 1, KL_PAD_EXPLICIT, 1, true, 1, 1, 2},
        {6, 2, 3, 1, KL_PAD_EXPLICIT, 1, true, 1, 1, 3},
        {3, 2, 2, 1, KL_PAD_EXPLICIT, 1, true, 1, 1, 2},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        kl__geom g;
        kl_pad pad = {t[i].mode, t[i].given, t[i].given, t[i].given, t[i].given};
        assert_int_equal(kl__geom_resolve("op", "n", (int[2]){t[i].k, 0}, (int[2]){t[i].s, 0},
                                          (int[2]){t[i].d, 0}, pad, t[i].ceil, t[i].n, t[i].n, &g),
                         KL_OK);
        for (int a = 0; a < 2; a++) {
            assert_int_equal(g.pad[a], t[i].before);
            assert_int_equal(g.pad[a + 2], t[i].after);
            assert_int_equal(g.out[a], t[i].out);
        }
    }
}

static void fast_variant_did_run(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    assert_true(rig_ran("conv2d", "ref") > 0);
    assert_true(!kl__ctx_caps(ctx)->solo || rig_ran("conv2d", "solo") > 0);
    assert_true(rig_ran("conv2d", "coop") > 0);
    kl_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_exact_on_integers),
        cmocka_unit_test(random_data_stay_within_the_bound),
        cmocka_unit_test(nan_and_infinity_pass_through),
        cmocka_unit_test(an_empty_batch_gives_an_empty_output),
        cmocka_unit_test(gradients_match_differences),
        cmocka_unit_test(what_does_not_fit_is_refused_with_the_facts),
        cmocka_unit_test(builders_make_parameters_and_resolve_options),
        cmocka_unit_test(same_padding_and_ceil_mode_follow_the_definitions),
        cmocka_unit_test(fast_variant_did_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
