/* Grouped convolution on blocked storage gives what the plain ref kernels give, whatever the halo
 * of its input and of its output, and leaves zeros in pad lanes and halo. */
#include "blocked.h"

#include "conv2d_cases.h"

static const int out_halo[4] = {1, 2, 0, 3};

static double *integers(kl_shape s, uint32_t seed)
{
    double *v = numbers(kl_shape_count(s), seed);
    for (int64_t i = 0; i < kl_shape_count(s); i++)
        v[i] = floor(v[i]);
    return v;
}

static bool has_variant(kl_ctx *ctx, const problem *p)
{
    kl_graph *g = kl_graph_create();
    kl_node *x[MAX_IO];
    char name[8];
    for (int i = 0; i < p->n_in; i++) {
        snprintf(name, sizeof name, "x%d", i);
        x[i] = kl_input(g, name, KL_F32, p->shape[i]);
    }
    kl_node *y = kl__apply_new(g, p->op, "op", x, p->n_in, p->attrs);
    assert_non_null(y);
    const kl__variant *v = kl__op_variants(p->op);
    while (v->name && strcmp(v->name, p->variant) != 0)
        v++;
    bool fits = v->name && v->fits(y->by, kl__ctx_caps(ctx));
    kl_graph_destroy(g);
    return fits;
}

static int one_pass(kl_ctx *ctx, const char *variant, const kl__op *op, const void *attrs,
                    kl_shape first, kl_shape second, int widen)
{
    problem p = {.op = op,
                 .attrs = attrs,
                 .n_in = 2,
                 .n_out = 1,
                 .shape = {first, second},
                 .widen = widen,
                 .variant = variant};
    if (op != &kl__op_conv2d_bwd_weights)
        memcpy(p.out_halo, out_halo, sizeof out_halo);
    if (!has_variant(ctx, &p))
        return 0;
    double *a = integers(first, 5), *b = integers(second, 6);
    p.in[0] = a;
    p.in[1] = b;
    against_ref(ctx, p, 0, NULL);
    free(a);
    free(b);
    return 1;
}

static int passes(kl_ctx *ctx, const char *variant, const conv_case *c, int widen)
{
    kl_shape x = kl__shape4(c->N, c->C, c->H, c->W), y = kl__shape4(c->N, c->K, c->OH, c->OW),
             w = kl__shape4(c->K, c->C / c->G, c->KH, c->KW);
    kl_conv2d_opts forward = conv_opts(c);
    kl__conv_bwd data = conv_bwd(c, c->H, c->W), weights = conv_bwd(c, c->KH, c->KW);
    return one_pass(ctx, variant, &kl__op_conv2d, &forward, x, w, widen) +
           one_pass(ctx, variant, &kl__op_conv2d_bwd_data, &data, w, y, widen) +
           one_pass(ctx, variant, &kl__op_conv2d_bwd_weights, &weights, x, y, widen);
}

static void test_blocked_is_plain(void **state)
{
    (void)state;
    static const char *const variants[] = {"dw", "group"};
    for (int w = 0; w < 3; w++) {
        kl_ctx *ctx = with_vectors(widths[w]);
        if (!ctx)
            skip();
        for (int v = 0; v < 2; v++) {
            int ran = 0;
            for (size_t i = 0; i < N_CONV_CASES; i++)
                if (conv_cases[i].G > 1)
                    ran += passes(ctx, variants[v], &conv_cases[i], (int)i % 2);
            assert_true(ran >= 18);
        }
        kl_ctx_destroy(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocked_is_plain)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
