/* The Winograd variant of the convolution family: every geometry against double precision by a
 * bound of its own, and its rounding error beside that of direct convolution. */
#include "conv2d_cases.h"

#include "base/rng.h"
#include "sched/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Tiles cut at the edge, maps smaller than a tile, no padding and padding wider than the kernel,
 * tails in channels, several groups of tiles, groups; with many channels and few tiles the weights
 * are transformed on the fly. */
static const conv_case wino_cases[] = {
    {"whole tiles", 2, 32, 8, 8, 32, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 8, 8},
    {"cut tiles, channel tails", 2, 17, 6, 9, 33, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 6, 9},
    {"no padding", 1, 16, 9, 7, 32, 3, 3, 1, 1, 1, 1, 1, 0, 0, 0, 0, 7, 5},
    {"one pixel", 1, 5, 1, 1, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"one output", 3, 16, 3, 3, 7, 3, 3, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1},
    {"padding wider than the kernel", 1, 16, 2, 3, 16, 3, 3, 1, 1, 1, 1, 1, 4, 3, 5, 3, 9, 7},
    {"asymmetric padding", 2, 20, 5, 6, 16, 3, 3, 1, 1, 1, 1, 1, 0, 2, 1, 0, 4, 6},
    {"two groups", 2, 32, 5, 5, 64, 3, 3, 1, 1, 1, 1, 2, 1, 1, 1, 1, 5, 5},
    {"many tiles", 5, 16, 14, 14, 48, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 14, 14},
    {"many channels", 2, 96, 7, 7, 160, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 7, 7},
    {"many channels, tails", 1, 100, 5, 6, 150, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 6},
    {"many channels in groups", 1, 192, 5, 5, 192, 3, 3, 1, 1, 1, 1, 2, 1, 1, 1, 1, 5, 5},
    {"5x5, many channels", 1, 96, 5, 3, 160, 5, 5, 1, 1, 1, 1, 1, 2, 2, 2, 2, 5, 3},
    {"5x5", 2, 17, 6, 5, 20, 5, 5, 1, 1, 1, 1, 1, 2, 2, 2, 2, 6, 5},
    {"5x5 without padding", 1, 32, 9, 8, 32, 5, 5, 1, 1, 1, 1, 1, 0, 0, 0, 0, 5, 4},
    {"5x5 in groups", 1, 32, 7, 6, 32, 5, 5, 1, 1, 1, 1, 2, 2, 2, 2, 2, 7, 6},
};
enum { N_CASES = sizeof wino_cases / sizeof *wino_cases };
/* Largest error allowed, in root mean squares of the output: what the_error_stays_bounded allows,
 * and more for shapes of so few outputs that their mean square may be small. */
static double bound_of(int kernel)
{
    return ldexp(kernel == 3 ? 1000 : 1800, -24);
}

static const conv_case *now;

static void ref_forward(const kl__apply *a, const double *const *in, double *const *out)
{
    conv_relation(now, (double *)in[0], (double *)in[1], out[0], 0);
    if (a->n_in > 2)
        conv_add_bias(out[0], in[2], now->N, now->K, now->OH * now->OW);
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

static rig_input normal(rig_input in)
{
    in.fill = RIG_NORMAL;
    in.hi = 0;
    return in;
}

static bool has_wino(void)
{
    static int has = -1;
    if (has < 0) {
        kl_ctx *ctx = kl_ctx_create(NULL);
        assert_non_null(ctx);
        has = kl__ctx_caps(ctx)->solo;
        kl_ctx_destroy(ctx);
    }
    if (!has)
        print_message("skipped: no vectors on this device\n");
    return has;
}

static void forward_of_every_geometry(void **state)
{
    (void)state;
    for (size_t i = 0; has_wino() && i < N_CASES; i++) {
        const conv_case *c = now = &wino_cases[i];
        kl_conv2d_opts o = conv_opts(c);
        rig_run(&(rig_case){.name = c->name,
                            .op = &kl__op_conv2d,
                            .attrs = &o,
                            .n_in = i % 2 ? 3 : 2,
                            .in = {normal(conv_input(c->N, c->C, c->H, c->W)),
                                   normal(conv_input(c->K, c->C / c->G, c->KH, c->KW)),
                                   normal(conv_bias(c->K))},
                            .ref = ref_forward,
                            .tol = {RIG_RMS, bound_of(c->KH)},
                            .only = "wino"});
    }
}

static void data_gradient_of_every_geometry(void **state)
{
    (void)state;
    for (size_t i = 0; has_wino() && i < N_CASES; i++) {
        const conv_case *c = now = &wino_cases[i];
        kl__conv_bwd o = conv_bwd(c, c->H, c->W);
        rig_run(&(rig_case){.name = c->name,
                            .op = &kl__op_conv2d_bwd_data,
                            .attrs = &o,
                            .n_in = 2,
                            .in = {normal(conv_input(c->K, c->C / c->G, c->KH, c->KW)),
                                   normal(conv_input(c->N, c->K, c->OH, c->OW))},
                            .ref = ref_data,
                            .tol = {RIG_RMS, bound_of(c->KH)},
                            .only = "wino"});
    }
}

static void weights_gradient_of_every_geometry(void **state)
{
    (void)state;
    for (size_t i = 0; has_wino() && i < N_CASES; i++) {
        const conv_case *c = now = &wino_cases[i];
        kl__conv_bwd o = conv_bwd(c, c->KH, c->KW);
        rig_run(&(rig_case){.name = c->name,
                            .op = &kl__op_conv2d_bwd_weights,
                            .attrs = &o,
                            .n_in = 2,
                            .in = {normal(conv_input(c->N, c->C, c->H, c->W)),
                                   normal(conv_input(c->N, c->K, c->OH, c->OW))},
                            .ref = ref_weights,
                            .tol = {RIG_RMS, bound_of(c->KH)},
                            .only = "wino"});
    }
}

/* ---- rounding beside direct convolution ---------------------------------------------------------
 */
static kl_graph *graph_of(const conv_case *c, int pass, kl_node **in)
{
    kl_graph *g = kl_graph_create();
    kl_shape x = kl__shape4(c->N, c->C, c->H, c->W), w = kl__shape4(c->K, c->C, c->KH, c->KW),
             y = kl__shape4(c->N, c->K, c->OH, c->OW);
    kl_conv2d_opts forward = conv_opts(c);
    kl__conv_bwd data = conv_bwd(c, c->H, c->W), weights = conv_bwd(c, c->KH, c->KW);
    const kl__op *const ops[] = {&kl__op_conv2d, &kl__op_conv2d_bwd_data,
                                 &kl__op_conv2d_bwd_weights};
    const void *const attrs[] = {&forward, &data, &weights};
    in[0] = kl_input(g, "first", KL_F32, pass == 1 ? w : x);
    in[1] = kl_input(g, "second", KL_F32, pass == 0 ? w : y);
    kl_output(g, "out", kl__apply_new(g, ops[pass], "op", in, 2, attrs[pass]));
    assert_int_equal(kl_graph_check(g), KL_OK);
    return g;
}

typedef struct errors {
    double rms, largest; /* of the difference, both in root mean squares of the result */
} errors;

static errors errors_of(kl_ctx *ctx, const conv_case *c, int pass, const char *variant)
{
    static const char *const names[] = {"conv2d", "conv2d_bwd_data", "conv2d_bwd_weights"};
    kl_node *in[2];
    kl_graph *g = graph_of(c, pass, in);
    kl__mem *mem[2];
    double *v[2];
    char force[64];
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    for (int i = 0; i < 2; i++) {
        size_t n = (size_t)kl_shape_count(in[i]->desc.shape);
        float *raw = calloc(n, sizeof *raw);
        v[i] = calloc(n, sizeof **v);
        assert_true(raw && v[i]);
        kl__rng r = kl__rng_of(11, "wino", (uint32_t)i);
        for (size_t k = 0; k < n; k++)
            v[i][k] = (double)(raw[k] = (float)kl__rng_normal(r, k));
        mem[i] = kl__mem_create(ctx, n * sizeof *raw);
        assert_int_equal(kl__lane_write(lane, (kl__span){mem[i], 0}, raw, n * sizeof *raw, NULL),
                         KL_OK);
        in[i]->place = (kl__place){KL__AT_SPAN, {mem[i], 0}, 0};
        free(raw);
    }
    snprintf(force, sizeof force, "%s:%s", names[pass], variant);
    kl__plan *p = kl__plan_create(ctx, g, &(kl__plan_opts){.force = force, .no_fuse = true});
    if (!p || kl__plan_run(p, lane) != KL_OK)
        fail_msg("%s: %s", force, kl_last_error());
    kl_node *out = g->outputs[0].node;
    size_t n = (size_t)kl_shape_count(out->desc.shape);
    float *got = calloc(n, sizeof *got);
    double *ref = calloc(n, sizeof *ref), sum = 0, square = 0;
    assert_true(got && ref);
    assert_int_equal(kl__lane_read(lane, out->place.span, got, n * sizeof *got, NULL), KL_OK);
    conv_relation(c, pass == 1 ? ref : v[0],
                  pass == 0   ? v[1]
                  : pass == 1 ? v[0]
                              : ref,
                  pass == 0 ? ref : v[1], pass);
    errors e = {0, 0};
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - ref[i]);
        sum += d * d;
        square += ref[i] * ref[i];
        e.largest = fmax(e.largest, d);
    }
    e.largest /= sqrt(square / (double)n);
    e.rms = sqrt(sum / square);
    for (int i = 0; i < 2; i++) {
        kl__mem_release(mem[i]);
        free(v[i]);
    }
    free(got);
    free(ref);
    kl__plan_destroy(p);
    return e;
}

/* Numbers of unit variance, 64 channels: the error of Winograd's way beside that of direct sums.
 * Rounding errors of the six points' transforms are what is added; they grow with the transforms'
 * factors, not with the channels, so the bounds are multiples of the unit roundoff u = 2^-24: of
 * the root mean square of the error 60 u (3x3) and 120 u (5x5), of the largest of up to 2^16
 * outputs ten times that. */
static void the_error_stays_bounded(void **state)
{
    (void)state;
    static const conv_case cases[] = {
        {"3x3", 2, 64, 16, 16, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 16, 16},
        {"5x5", 2, 64, 16, 16, 64, 5, 5, 1, 1, 1, 1, 1, 2, 2, 2, 2, 16, 16}};
    static const char *const passes[] = {"forward", "backward data", "backward weights"};
    if (!has_wino())
        return;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    for (int i = 0; i < 2; i++)
        for (int pass = 0; pass < 3; pass++) {
            errors w = errors_of(ctx, &cases[i], pass, "wino"),
                   d = errors_of(ctx, &cases[i], pass, "solo");
            double bound = ldexp(i ? 120 : 60, -24);
            print_message("%s %-16s error by rms of result: wino %.2g (largest %.2g), direct %.2g "
                          "(largest %.2g); bound %.2g (%.2g)\n",
                          cases[i].name, passes[pass], w.rms, w.largest, d.rms, d.largest, bound,
                          10 * bound);
            assert_true(w.rms > 0 && w.rms <= bound && w.largest <= 10 * bound);
            assert_true(d.rms <= bound);
        }
    kl_ctx_destroy(ctx);
}

/* ---- when it is taken ---------------------------------------------------------------------------
 */
static const char *chosen(kl_ctx *ctx, const conv_case *c, int pass)
{
    kl_node *in[2];
    kl_graph *g = graph_of(c, pass, in);
    kl__apply *a = g->outputs[0].node->by;
    assert_int_equal(kl__choose_variant(a, kl__ctx_caps(ctx), NULL), KL_OK);
    const char *name = a->variant->name;
    kl_graph_destroy(g);
    return name;
}

static void taken_where_it_pays_but_never_in_exact_contexts(void **state)
{
    (void)state;
    static const conv_case
        large = {"large", 8, 64, 32, 32, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 32, 32},
        few = {"few channels", 8, 3, 32, 32, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 32, 32},
        tiny = {"tiny map", 1, 64, 2, 2, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2};
    if (!has_wino())
        return;
    kl_ctx *ctx = kl_ctx_create(NULL),
           *exact = kl_ctx_create(&(kl_ctx_opts){.flags = KL_CTX_EXACT});
    assert_true(ctx && exact);
    for (int pass = 0; pass < 3; pass++) {
        assert_string_equal(chosen(ctx, &large, pass), "wino");
        assert_string_not_equal(chosen(exact, &large, pass), "wino");
        if (pass != 1) /* three channels are a block there, whatever computes it */
            assert_string_not_equal(chosen(ctx, &few, pass), "wino");
        assert_string_not_equal(chosen(ctx, &tiny, pass), "wino");
    }
    setenv("KILN_EXACT", "1", 1);
    kl_ctx *by_env = kl_ctx_create(NULL);
    unsetenv("KILN_EXACT");
    assert_non_null(by_env);
    assert_string_not_equal(chosen(by_env, &large, 0), "wino");
    kl_ctx_destroy(ctx);
    kl_ctx_destroy(exact);
    kl_ctx_destroy(by_env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_of_every_geometry),
        cmocka_unit_test(data_gradient_of_every_geometry),
        cmocka_unit_test(weights_gradient_of_every_geometry),
        cmocka_unit_test(the_error_stays_bounded),
        cmocka_unit_test(taken_where_it_pays_but_never_in_exact_contexts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
