/* kl_gradcheck: right gradients pass in both precisions, a wrong one does not. */
#include "device/ctx.h"
#include "ops/op.h"

#include "base/mem.h"

#include <kiln/inspect.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static kl_ctx *ctx;
static bool fp64;

static int open_ctx(void **state)
{
    (void)state;
    ctx = kl_ctx_create(NULL);
    fp64 = ctx && kl__ctx_caps(ctx)->fp64;
    return ctx ? 0 : -1;
}

static int close_ctx(void **state)
{
    (void)state;
    kl_ctx_destroy(ctx);
    return 0;
}

/** As a device without double precision. */
static int narrow(void **state)
{
    (void)state;
    ctx->caps.fp64 = false;
    return 0;
}

static int wide(void **state)
{
    (void)state;
    ctx->caps.fp64 = fp64;
    return 0;
}

static const char cnn[] = "image = input(shape=[N,3,9,7])\n"
                          "label = input(shape=[N], dtype=i32)\n"
                          "c1 = conv2d(image, filters=5, kernel=3, pad=same)\n"
                          "b1 = batchnorm(c1)\n"
                          "r1 = relu(b1)\n"
                          "p1 = maxpool2d(r1, window=2)\n"
                          "c2 = conv2d(p1, filters=5, kernel=3, pad=1, no_bias=true)\n"
                          "s2 = add(c2, p1)\n"
                          "w2 = swish(s2)\n"
                          "d2 = dropout(w2, rate=0.3)\n"
                          "f1 = dense(d2, units=6)\n"
                          "xe = softmax_xent(f1, label, smoothing=0.1)\n"
                          "output loss = xe\n";

static kl_graph *parsed(const char *text)
{
    kl_graph *g = kl_graph_parse(text, "net");
    if (!g)
        fail_msg("%s", kl_last_error());
    return g;
}

static void all_ok(const kl_gradcheck_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!rows[i].ok)
            fail_msg("%s[%zu]: numeric %.9g, analytic %.9g, error %g", rows[i].param,
                     rows[i].worst_at, rows[i].numeric, rows[i].analytic, rows[i].worst);
}

/* Batch statistics, dropout and a sum of two paths; one row per trainable parameter, running
 * statistics left out. */
static void right_gradients_pass(void **state)
{
    (void)state;
    static const char *const names[] = {"c1.weight", "c1.bias",   "b1.weight", "b1.bias",
                                        "c2.weight", "f1.weight", "f1.bias"};
    kl_graph *g = parsed(cnn);
    kl_gradcheck_row *rows;
    size_t n;
    if (kl_gradcheck(g, ctx, "loss", 4, 12, 7, &rows, &n) != KL_OK)
        fail_msg("%s", kl_last_error());
    assert_int_equal(n, sizeof names / sizeof *names);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(rows[i].param, names[i]);
        assert_int_equal(rows[i].checked, rows[i].count < 12 ? rows[i].count : 12);
        assert_true(rows[i].worst_at < rows[i].count);
    }
    all_ok(rows, n);
    if (ctx->caps
            .fp64) { /* the comparison has teeth: gradients are far above the differences found */
        assert_true(rows[5].worst < 1e-5 && rows[5].analytic != 0);
        assert_true(rows[5].numeric != rows[5].analytic);
    }
    kl_free(rows);
    kl_graph_destroy(g);
}

/* Losses that are no mean by construction, and several inputs. */
static void any_scalar_is_a_loss(void **state)
{
    (void)state;
    kl_graph *g = parsed("x = input(shape=[N,6])\n"
                         "t = input(shape=[N,4])\n"
                         "h = dense(x, units=5)\n"
                         "s = tanh(h)\n"
                         "y = dense(s, units=4)\n"
                         "e = huber(y, t)\n"
                         "q = square(y)\n"
                         "z = reduce_mean(q)\n"
                         "l = add(e, z)\n"
                         "output total = l\n");
    kl_gradcheck_row *rows;
    size_t n;
    if (kl_gradcheck(g, ctx, "total", 3, 0, 1, &rows, &n) != KL_OK)
        fail_msg("%s", kl_last_error());
    assert_int_equal(n, 4);
    assert_int_equal(rows[0].checked, 20);
    all_ok(rows, n);
    kl_free(rows);
    kl_graph_destroy(g);
}

/* ---- an op whose gradient forgets a factor ---- */
static kl_status square_infer(const kl__apply *a, kl__desc *out)
{
    *out = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = a->in[0]->desc.shape};
    return KL_OK;
}

static kl_status wrong_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                            kl_node **dx)
{
    (void)need;
    dx[0] = kl_mul(g, dy[0], a->in[0]); /* 2 x is right */
    return kl_graph_check(g);
}

static const kl__op wrong_op = {.name = "wrong_square",
                                .min_in = 1,
                                .max_in = 1,
                                .n_out = 1,
                                .flags = KL__OP_ELEMENTWISE,
                                .infer = square_infer,
                                .grad = wrong_grad,
                                .formula = "x0 * x0"};

static void wrong_gradients_do_not(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){2, {KL_BATCH, 6}});
    kl_node *h = kl_dense(g, x, &(kl_dense_opts){.units = 4, .name = "below"});
    h = kl__apply_new(g, &wrong_op, NULL, &h, 1, NULL);
    h = kl_dense(g, h, &(kl_dense_opts){.units = 1, .name = "above"});
    kl_output(g, "loss", kl_reduce_mean(g, h, NULL));
    kl_gradcheck_row *rows;
    size_t n;
    if (kl_gradcheck(g, ctx, "loss", 3, 0, 1, &rows, &n) != KL_OK)
        fail_msg("%s", kl_last_error());
    assert_int_equal(n, 4);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(rows[i].ok, kl__starts(rows[i].param, "above"));
    assert_true(rows[0].worst > 0.3 && rows[0].worst < 0.35); /* |2 d - d| / (2 d + d) */
    kl_free(rows);
    kl_graph_destroy(g);
}

/* A parameter that the loss does not see has no gradient, and needs none. */
static void unseen_parameters(void **state)
{
    (void)state;
    kl_graph *g = parsed("x = input(shape=[N,6])\n"
                         "a = dense(x, units=5)\n"
                         "b = dense(x, units=2)\n"
                         "m = reduce_mean(a)\n"
                         "output loss = m\n"
                         "output other = b\n");
    kl_gradcheck_row *rows;
    size_t n;
    if (kl_gradcheck(g, ctx, "loss", 3, 4, 1, &rows, &n) != KL_OK)
        fail_msg("%s", kl_last_error());
    assert_int_equal(n, 4);
    all_ok(rows, n);
    assert_true(rows[2].analytic == 0 && rows[2].numeric == 0);
    assert_true(rows[1].analytic != 0);
    kl_free(rows);
    kl_graph_destroy(g);
}

static void checks_are_refused(void **state)
{
    (void)state;
    kl_graph *g = parsed(cnn);
    kl_gradcheck_row *rows = NULL;
    size_t n;
    assert_int_equal(kl_gradcheck(g, ctx, "los", 4, 1, 7, &rows, &n), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "los"));
    assert_int_equal(kl_gradcheck(g, ctx, "loss", 0, 1, 7, &rows, &n), KL_E_ARG);
    assert_int_equal(kl_gradcheck(g, NULL, "loss", 1, 1, 7, &rows, &n), KL_E_ARG);
    assert_int_equal(kl_gradcheck(g, ctx, "loss", 1, 1, 7, &rows, NULL), KL_E_ARG);
    assert_null(rows);
    kl_graph_destroy(g);
    g = parsed("x = input(shape=[N,6])\nd = dense(x, units=3)\noutput y = d\n");
    assert_int_equal(kl_gradcheck(g, ctx, "y", 2, 1, 7, &rows, &n), KL_E_SHAPE);
    assert_null(rows);
    kl_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_gradients_pass),
        cmocka_unit_test_setup_teardown(right_gradients_pass, narrow, wide),
        cmocka_unit_test(any_scalar_is_a_loss),
        cmocka_unit_test_setup_teardown(any_scalar_is_a_loss, narrow, wide),
        cmocka_unit_test(wrong_gradients_do_not),
        cmocka_unit_test_setup_teardown(wrong_gradients_do_not, narrow, wide),
        cmocka_unit_test(unseen_parameters),
        cmocka_unit_test(checks_are_refused),
    };
    return cmocka_run_group_tests(tests, open_ctx, close_ctx);
}
