/* The Winograd variant of the convolution family: every geometry against double precision by a bound
 * of its own, and its rounding error beside that of direct convolution. */
#include "conv2d_cases.h"

#include "base/mem.h"
#include "sched/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Tiles cut at the edge, maps smaller than a tile, no padding and padding wider than the kernel,
 * tails in channels, several groups of tiles, groups. */
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
    {"5x5", 2, 17, 6, 5, 20, 5, 5, 1, 1, 1, 1, 1, 2, 2, 2, 2, 6, 5},
    {"5x5 without padding", 1, 32, 9, 8, 32, 5, 5, 1, 1, 1, 1, 1, 0, 0, 0, 0, 5, 4},
    {"5x5 in groups", 1, 32, 7, 6, 32, 5, 5, 1, 1, 1, 1, 2, 2, 2, 2, 2, 7, 6},
};
enum { N_CASES = sizeof wino_cases / sizeof *wino_cases };
/* Largest error allowed, in root mean squares of the output: see the_error_stays_bounded. */
static double bound_of(int kernel)
{
    return kernel == 3 ? 6e-5 : 1e-4;
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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_of_every_geometry),
        cmocka_unit_test(data_gradient_of_every_geometry),
        cmocka_unit_test(weights_gradient_of_every_geometry),
    };
    (void)argc, (void)argv;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
