/* The convolution family for devices that run work-groups in step, played by the device at hand:
 * shapes that reach parts of the pixels, whole and broken quads, few channels per group; work
 * absorbed before the store. */
#include "conv2d_cases.h"

#include "base/rng.h"
#include "sched/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const conv_case cases[] = {
    {"several parts of the pixels", 2, 5, 34, 31, 6, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 34, 31},
    {"parts, stride 2", 3, 4, 41, 40, 33, 3, 2, 2, 2, 1, 1, 1, 1, 0, 0, 1, 20, 20},
    {"whole quads", 2, 9, 6, 6, 35, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 6, 6},
    {"few channels, several parts", 2, 6, 33, 32, 6, 3, 3, 1, 1, 1, 1, 6, 1, 1, 1, 1, 33, 32},
    {"few channels, stride 2", 2, 5, 11, 14, 5, 3, 3, 2, 2, 1, 1, 5, 1, 1, 1, 1, 6, 7},
    {"few channels, stride 3, dilation 2", 1, 4, 15, 13, 8, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 5, 5},
    {"few channels, stride above kernel", 1, 4, 9, 8, 4, 1, 2, 3, 3, 1, 1, 4, 0, 0, 0, 0, 3, 3},
    {"three in, two out per group", 2, 9, 5, 7, 6, 3, 3, 1, 1, 1, 1, 3, 1, 1, 1, 1, 5, 7},
    {"twelve per group", 1, 24, 5, 6, 24, 3, 3, 1, 1, 1, 1, 2, 1, 1, 1, 1, 5, 6},
    {"several tiles", 1, 20, 12, 12, 70, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 12, 12},
};
static const conv_case *now;

static void ref_forward(const kl__apply *a, const double *const *in, double *const *out)
{
    (void)a;
    conv_relation(now, (double *)in[0], (double *)in[1], out[0], 0);
}

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

enum { FORWARD = 1, DATA = 2, WEIGHTS = 4 };
static void run_passes(size_t first, size_t n, unsigned passes, bool all_sets)
{
    for (size_t i = first; i < first + n; i++) {
        const conv_case *c = now = &cases[i];
        rig_input x = conv_input(c->N, c->C, c->H, c->W),
                  w = conv_input(c->K, c->C / c->G, c->KH, c->KW),
                  y = conv_input(c->N, c->K, c->OH, c->OW);
        kl_conv2d_opts forward = conv_opts(c);
        kl__conv_bwd data = conv_bwd(c, c->H, c->W), weights = conv_bwd(c, c->KH, c->KW);
        const rig_case k[] = {
            {.op = &kl__op_conv2d, .attrs = &forward, .in = {x, w}, .ref = ref_forward},
            {.op = &kl__op_conv2d_bwd_data, .attrs = &data, .in = {w, y}, .ref = ref_data},
            {.op = &kl__op_conv2d_bwd_weights, .attrs = &weights, .in = {x, y}, .ref = ref_weights},
        };
        for (size_t j = 0; j < sizeof k / sizeof *k; j++) {
            rig_case one = k[j];
            if (!(passes >> j & 1))
                continue;
            one.name = c->name;
            one.n_in = 2;
            one.only = all_sets ? "coop@" : "coop";
            one.tol.kind = RIG_EXACT;
            rig_run(&one);
        }
    }
}

static void every_pass_is_exact_on_integers(void **state)
{
    (void)state;
    run_passes(0, sizeof cases / sizeof *cases, FORWARD | DATA | WEIGHTS, false);
}

/* Larger than the largest tile in neither direction, than the smallest in both. */
static void so_is_every_tile(void **state)
{
    (void)state;
    run_passes(sizeof cases / sizeof *cases - 1, 1, FORWARD | WEIGHTS, true);
    run_passes(0, 1, FORWARD, true);
}

/* ---- absorbed work --------------------------------------------------------------------------- */
static const struct {
    const char *text, *op;
} nets[] = {
    {"x = input(shape=[2,6,5,7])\nr = input(shape=[2,9,5,7])\ns = input(shape=[1,9,1,1])\n"
     "a = conv2d(x, filters=9, kernel=3, pad=same)\nb = mul(a, s)\nc = add(b, r)\nd = relu(c)\n"
     "output y = d\n",
     "conv2d"},
    {"x = input(shape=[1,6,6,6])\nr = input(shape=[1,9,3,3])\n"
     "a = conv2d(x, filters=9, kernel=2, stride=2)\nb = add(a, r)\nc = relu(b)\noutput y = c\n",
     "conv2d"},
    {"x = input(shape=[2,6,4,6])\nr = input(shape=[2,6,4,6])\n"
     "a = conv2d(x, filters=6, kernel=3, groups=6, pad=same)\nb = add(a, r)\nc = relu(b)\n"
     "output y = c\n",
     "conv2d"},
    {"x = input(shape=[1,6,4,3])\nr = input(shape=[1,5,8,6])\n"
     "a = conv2d_transpose(x, filters=5, kernel=3, stride=2, pad=same)\nb = add(a, r)\n"
     "c = leaky_relu(b, slope=0.25)\noutput y = c\n",
     "conv2d_transpose"},
};

/** Runs a net, and gives its output; *absorbed: whether `op` took work over. */
static float *run_net(kl_ctx *ctx, const char *text, const char *op, bool no_fuse, size_t *count,
                      bool *absorbed)
{
    kl__mem *mem[8];
    size_t n_mem = 0;
    kl_graph *g = kl_graph_parse(text, "net");
    assert_non_null(g);
    kl_graph *low = kl__graph_lower(g, 0, false, KL_F32, NULL, 0);
    assert_non_null(low);
    kl_graph_destroy(g);
    for (size_t i = 0; i < low->n_nodes; i++) {
        kl_node *x = low->nodes[i];
        if (!kl__is_input(x) && !kl__is_param(x))
            continue;
        size_t n = (size_t)kl_shape_count(x->desc.shape);
        float *v = calloc(n, sizeof *v);
        assert_non_null(v);
        for (size_t k = 0; k < n; k++)
            v[k] = (float)kl__rng_normal(kl__rng_of(3, x->name, 0), k);
        assert_true(n_mem < 8);
        assert_non_null(mem[n_mem] = kl__mem_create(ctx, n * sizeof *v));
        x->place = (kl__place){KL__AT_SPAN, {mem[n_mem++], 0}, 0};
        assert_int_equal(
            kl__lane_write(kl__ctx_lane(ctx, KL__COMPUTE), x->place.span, v, n * sizeof *v, NULL),
            KL_OK);
        free(v);
    }
    kl__plan *p = kl__plan_create(ctx, low, &(kl__plan_opts){.no_fuse = no_fuse});
    assert_non_null(p);
    *absorbed = false;
    for (size_t i = 0; i < p->graph->n_applies; i++) {
        const kl__apply *a = p->graph->applies[i];
        if (!strcmp(a->op->name, op)) {
            assert_string_equal(a->variant->name, "coop");
            *absorbed = a->epilogue.apply != NULL;
        }
    }
    const kl_node *y = p->graph->outputs[0].node;
    *count = (size_t)kl_shape_count(y->desc.shape);
    float *got = calloc(*count, sizeof *got);
    assert_non_null(got);
    assert_int_equal(kl__plan_run(p, kl__ctx_lane(ctx, KL__COMPUTE)), KL_OK);
    assert_int_equal(kl__lane_read(kl__ctx_lane(ctx, KL__COMPUTE), y->place.span, got,
                                   *count * sizeof *got, NULL),
                     KL_OK);
    kl__plan_destroy(p);
    while (n_mem > 0)
        kl__mem_release(mem[--n_mem]);
    return got;
}

static void absorbed_work_gives_the_same_bits(void **state)
{
    (void)state;
    setenv("KILN_VECTOR", "1", 1);
    kl_ctx *ctx = kl_ctx_create(NULL);
    unsetenv("KILN_VECTOR");
    assert_non_null(ctx);
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        size_t n[2];
        bool absorbed[2];
        float *y[2];
        for (int k = 0; k < 2; k++)
            y[k] = run_net(ctx, nets[i].text, nets[i].op, k == 0, &n[k], &absorbed[k]);
        assert_false(absorbed[0]);
        assert_true(absorbed[1]);
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(y[0], y[1], n[0] * sizeof(float));
        free(y[0]);
        free(y[1]);
    }
    kl_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pass_is_exact_on_integers),
        cmocka_unit_test(so_is_every_tile),
        cmocka_unit_test(absorbed_work_gives_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
