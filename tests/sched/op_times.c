/* Passes of single ops: which there are, what of a plan belongs to each, and what is refused. */
#include "device/device.h"

#include <kiln/kiln.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static kl_ctx *ctx;

static int open_ctx(void **state)
{
    (void)state;
    ctx = kl_ctx_create(&(kl_ctx_opts){.flags = KL_CTX_PROFILE});
    return ctx ? 0 : -1;
}

static int close_ctx(void **state)
{
    (void)state;
    kl_ctx_destroy(ctx);
    return 0;
}

typedef struct passes {
    kl_pass_time *row;
    size_t n;
} passes;

static passes passes_of(const char *text, int64_t batch, bool training)
{
    passes p = {NULL, 0};
    kl_graph *g = kl_graph_parse(text, "net");
    if (!g || kl_graph_profile(g, ctx, batch, training, 1, &p.row, &p.n) != KL_OK)
        fail_msg("%s", kl_last_error());
    kl_graph_destroy(g);
    for (size_t i = 0; i < p.n; i++) {
        const kl_pass_time *r = &p.row[i];
        if (!(r->seconds > 0) || !(r->cpu_seconds > 0) || !(r->best_seconds <= r->seconds) ||
            !(r->best_cpu_seconds <= r->cpu_seconds) || !r->launches || !r->bytes || !r->kernel[0])
            fail_msg("%s: pass %zu of \"%s\": %g s, %zu launches, %zu bytes", text, i, r->of,
                     r->seconds, r->launches, r->bytes);
    }
    return p;
}

static void is(const kl_pass_time *r, kl_pass_kind kind, const char *of, int64_t macs)
{
    assert_int_equal(r->kind, kind);
    assert_string_equal(r->of, of);
    assert_int_equal(r->macs, macs);
}

#define CONV                                                                                       \
    "x = input(shape=[N,16,9,7])\n"                                                                \
    "y = conv2d(x, filters=32, kernel=3, pad=1)\n"                                                 \
    "output y = y\n"

/* Each pass has the work of one convolution; the whole backward pass that of two. Where the device
 * stores activations in blocks, moving them there and back is told apart. */
static void a_convolution_has_four_gradients(void **state)
{
    (void)state;
    const int64_t macs = 3 * 32 * 9 * 7 * 16 * 9;
    passes p = passes_of(CONV, 3, true);
    assert_int_equal(p.n, 5);
    is(&p.row[0], KL_PASS_FORWARD, "", macs);
    is(&p.row[1], KL_PASS_DATA, "x", macs);
    is(&p.row[2], KL_PASS_WEIGHTS, "y.weight", macs);
    is(&p.row[3], KL_PASS_WEIGHTS, "y.bias", 0);
    is(&p.row[4], KL_PASS_BACKWARD, "", 2 * macs);
    if (kl__ctx_caps(ctx)->solo)
        for (int i = 0; i < 3; i++)
            assert_true(p.row[i].reorder_seconds > 0);
    kl_free(p.row);
}

/* In inference the weights stand ready, so that their reorder is no launch of the pass. */
static void inference_has_one_pass(void **state)
{
    (void)state;
    passes infer = passes_of(CONV, 3, false), train = passes_of(CONV, 3, true);
    assert_int_equal(infer.n, 1);
    is(&infer.row[0], KL_PASS_FORWARD, "", train.row[0].macs);
    if (kl__ctx_caps(ctx)->solo)
        assert_true(infer.row[0].launches < train.row[0].launches);
    kl_free(infer.row);
    kl_free(train.row);
}

/* What the forward pass leaves behind for the backward pass is made once, and not counted; labels
 * get no gradient; a product has one by each factor. */
static void other_ops_have_theirs(void **state)
{
    (void)state;
    passes p = passes_of("x = input(shape=[4,8,6,6])\n"
                         "y = maxpool2d(x, window=2)\n"
                         "output y = y\n",
                         1, true);
    assert_int_equal(p.n, 2);
    is(&p.row[1], KL_PASS_DATA, "x", 0);
    assert_int_equal(p.row[1].launches, 1);
    kl_free(p.row);
    p = passes_of("x = input(shape=[N,10])\n"
                  "l = input(shape=[N], dtype=i32)\n"
                  "y = softmax_xent(x, l)\n"
                  "output y = y\n",
                  6, true);
    assert_int_equal(p.n, 2);
    is(&p.row[1], KL_PASS_DATA, "x", 0);
    kl_free(p.row);
    p = passes_of("a = input(shape=[24,40])\n"
                  "b = input(shape=[40,56])\n"
                  "y = matmul(a, b)\n"
                  "output y = y\n",
                  1, true);
    assert_int_equal(p.n, 4);
    is(&p.row[1], KL_PASS_DATA, "a", 24 * 40 * 56);
    is(&p.row[2], KL_PASS_DATA, "b", 24 * 40 * 56);
    is(&p.row[3], KL_PASS_BACKWARD, "", 2 * 24 * 40 * 56);
    kl_free(p.row);
    p = passes_of("x = input(shape=[N,8,5,5])\n"
                  "y = batchnorm(x)\n"
                  "output y = y\n",
                  4, true);
    assert_int_equal(p.n, 5);
    is(&p.row[3], KL_PASS_WEIGHTS, "y.bias", 0);
    kl_free(p.row);
}

static void profiles_are_refused(void **state)
{
    (void)state;
    kl_pass_time *rows;
    size_t n;
    kl_graph *g = kl_graph_parse(CONV, "net");
    assert_int_equal(kl_graph_profile(NULL, ctx, 1, true, 1, &rows, &n), KL_E_ARG);
    assert_int_equal(kl_graph_profile(g, NULL, 1, true, 1, &rows, &n), KL_E_ARG);
    assert_int_equal(kl_graph_profile(g, ctx, 1, true, 1, NULL, &n), KL_E_ARG);
    assert_int_equal(kl_graph_profile(g, ctx, 0, true, 1, &rows, &n), KL_E_ARG);
    assert_int_equal(kl_graph_profile(g, ctx, 1, true, -1, &rows, &n), KL_E_ARG);
    assert_null(rows);
    kl_graph_destroy(g);
    g = kl_graph_parse("x = input(shape=[N,3])\n", "net");
    assert_int_equal(kl_graph_profile(g, ctx, 1, true, 1, &rows, &n), KL_E_ARG);
    kl_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_convolution_has_four_gradients),
                                       cmocka_unit_test(inference_has_one_pass),
                                       cmocka_unit_test(other_ops_have_theirs),
                                       cmocka_unit_test(profiles_are_refused)};
    return cmocka_run_group_tests(tests, open_ctx, close_ctx);
}
