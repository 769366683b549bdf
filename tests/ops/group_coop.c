/* Kernels that give a row or a channel to a group of items: long enough sums for several parts and
 * short ones, rows that are no multiple of the group, NaN and infinity; and that they are the ones
 * which ran. */
#include "rig.h"

#include "ops/batchnorm.h"
#include "ops/reduce_launch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static rig_input normal(kl_shape s)
{
    return (rig_input){.dtype = KL_F32, .shape = s, .fill = RIG_NORMAL};
}

/* ---- batch normalisation --------------------------------------------------------------------- */
typedef struct sums {
    double a, b; /* of f(x), and of its square about the mean; backward: of dy, of dy (x - mean) */
    size_t n;
} sums;

static sums stats_of(const kl__apply *a, const double *x, size_t c)
{
    const int64_t *d = a->in[0]->desc.shape.dim;
    const size_t hw = (size_t)(d[2] * d[3]), n = (size_t)d[0], cs = (size_t)d[1];
    sums s = {0, 0, n * hw};
    for (size_t i = 0; i < n * hw; i++)
        s.a += x[(i / hw * cs + c) * hw + i % hw];
    s.a /= (double)s.n;
    for (size_t i = 0; i < n * hw; i++)
        s.b += pow(x[(i / hw * cs + c) * hw + i % hw] - s.a, 2);
    return s;
}

static void ref_stats(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl__bn *k = a->attrs;
    for (size_t c = 0; c < (size_t)a->in[0]->desc.shape.dim[1]; c++) {
        const sums s = stats_of(a, in[0], c);
        out[KL__BN_MEAN][c] = s.a;
        out[KL__BN_INV][c] = 1 / sqrt(s.b / (double)s.n + (double)k->eps);
        out[KL__BN_KEPT][c] = s.b / (double)(s.n - 1);
        out[KL__BN_SCALE][c] = out[KL__BN_INV][c] * in[1][c];
    }
}

static void ref_bwd_stats(const kl__apply *a, const double *const *in, double *const *out)
{
    const int64_t *d = a->in[0]->desc.shape.dim;
    const size_t hw = (size_t)(d[2] * d[3]), n = (size_t)d[0], cs = (size_t)d[1];
    for (size_t c = 0; c < cs; c++) {
        double s1 = 0, s2 = 0;
        for (size_t i = 0; i < n * hw; i++) {
            const size_t at = (i / hw * cs + c) * hw + i % hw;
            s1 += in[1][at];
            s2 += in[1][at] * (in[0][at] - in[2][c]);
        }
        const double k = -in[4][c] / (double)(n * hw);
        out[KL__BN_DW][c] = s2 * in[3][c];
        out[KL__BN_DB][c] = s1;
        out[KL__BN_SLOPE][c] = k * in[3][c] * s2 * in[3][c];
        out[KL__BN_OFFSET][c] = k * s1;
    }
}

static void channels_in_one_part_and_in_several(void **state)
{
    (void)state;
    static const int64_t shapes[][4] = {{2, 3, 3, 5}, {3, 2, 71, 61}, {40, 5, 7, 7}, {1, 1, 1, 8}};
    for (size_t i = 0; i < COUNT(shapes); i++) {
        const kl__bn k = {.eps = 1e-5f, .scale = true};
        const int64_t *d = shapes[i];
        rig_input x = normal(kl__shape4(d[0], d[1], d[2], d[3])), c = {.dtype = KL_F32,
                                                                       .shape = {1, {d[1]}},
                                                                       .fill = RIG_UNIFORM,
                                                                       .lo = 0.5,
                                                                       .hi = 1.5};
        rig_run(&(rig_case){.name = "statistics",
                            .op = &kl__op_bn_stats,
                            .attrs = &k,
                            .n_in = 2,
                            .in = {x, c},
                            .ref = ref_stats,
                            .tol = {RIG_L2, 2e-6},
                            .only = "coop"});
        rig_run(&(rig_case){.name = "sums of the gradient",
                            .op = &kl__op_bn_bwd_stats,
                            .attrs = &k,
                            .n_in = 5,
                            .in = {x, x, c, c, c},
                            .ref = ref_bwd_stats,
                            .tol = {RIG_L2, 2e-6},
                            .only = "coop"});
    }
}

/* A mean far from zero must not eat the variance. */
static void variance_survives_a_large_mean(void **state)
{
    (void)state;
    enum { N = 2 * 96 * 96 };
    static double x[N];
    const kl__bn k = {.eps = 1e-5f, .scale = true};
    const double one[1] = {1};
    for (int i = 0; i < N; i++)
        x[i] = 1000 + i % 3;
    rig_run(&(rig_case){
        .name = "large mean",
        .op = &kl__op_bn_stats,
        .attrs = &k,
        .n_in = 2,
        .in = {{.dtype = KL_F32, .shape = kl__shape4(2, 1, 96, 96), .fill = RIG_DATA, .data = x},
               {.dtype = KL_F32, .shape = {1, {1}}, .fill = RIG_DATA, .data = one}},
        .ref = ref_stats,
        .tol = {RIG_L2, 1e-5},
        .only = "coop"});
}

/* ---- reductions ------------------------------------------------------------------------------ */
static void ref_reduce(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl_shape *s = &a->in[0]->desc.shape;
    const uint32_t mask = kl__reduce_mask_of(a);
    const bool max = a->op == &kl__op_reduce_max;
    const size_t total = (size_t)kl_shape_count(*s),
                 kept = (size_t)kl_shape_count(a->out[0]->desc.shape);
    for (size_t i = 0; i < kept; i++)
        out[0][i] = max ? -(double)INFINITY : 0;
    for (size_t i = 0; i < total; i++) {
        size_t rest = i, at = 0, step = 1;
        for (int k = s->n_dims - 1; k >= 0; k--) {
            const size_t d = (size_t)s->dim[k];
            if (!(mask >> k & 1u)) {
                at += rest % d * step;
                step *= d;
            }
            rest /= d;
        }
        if (!max)
            out[0][at] += in[0][i];
        else if (!(in[0][i] <= out[0][at]) && !isnan(out[0][at]))
            out[0][at] = in[0][i];
    }
    for (size_t i = 0; i < kept && a->op == &kl__op_reduce_mean; i++)
        out[0][i] /= (double)(total / kept);
}

static void reductions_in_one_part_and_in_several(void **state)
{
    (void)state;
    static const struct {
        kl_shape shape, axes;
    } c[] = {
        {{2, {5, 70}}, {1, {1}}},
        {{4, {3, 4, 80, 71}}, {3, {0, 2, 3}}},
        {{4, {6, 5, 4, 70}}, {2, {1, 3}}},
        {{1, {40001}}, {1, {0}}},
        {{4, {2, 3, 5, 7}}, {3, {0, 2, 3}}},
    };
    const kl__op *const ops[] = {&kl__op_reduce_sum, &kl__op_reduce_mean, &kl__op_reduce_max};
    for (size_t i = 0; i < COUNT(c); i++)
        for (size_t k = 0; k < COUNT(ops); k++) {
            kl_reduce_opts o = {.axes = c[i].axes};
            rig_run(&(rig_case){.name = ops[k]->name,
                                .op = ops[k],
                                .attrs = &o,
                                .n_in = 1,
                                .in = {normal(c[i].shape)},
                                .ref = ref_reduce,
                                .tol = {k == 2 ? RIG_EXACT : RIG_ANCHORED, 64},
                                .only = "coop"});
        }
}

static void the_largest_is_nan_where_there_is_one(void **state)
{
    (void)state;
    double x[3 * 65];
    for (int i = 0; i < 3 * 65; i++)
        x[i] = i % 65;
    x[64] = (double)NAN;
    x[65] = (double)NAN;
    x[140] = (double)INFINITY;
    kl_reduce_opts o = {.axes = {1, {1}}};
    rig_run(
        &(rig_case){.name = "NaN",
                    .op = &kl__op_reduce_max,
                    .attrs = &o,
                    .n_in = 1,
                    .in = {{.dtype = KL_F32, .shape = {2, {3, 65}}, .fill = RIG_DATA, .data = x}},
                    .ref = ref_reduce,
                    .tol = {RIG_EXACT, 0},
                    .only = "coop"});
}

/* ---- softmax --------------------------------------------------------------------------------- */
static void ref_softmax(const kl__apply *a, const double *const *in, double *const *out)
{
    const size_t rows = (size_t)a->in[0]->desc.shape.dim[0],
                 n = (size_t)a->in[0]->desc.shape.dim[1];
    const bool log_ = a->op == &kl__op_log_softmax || a->op == &kl__op_log_softmax_bwd;
    for (size_t r = 0; r < rows; r++) {
        const double *x = in[0] + r * n, *dy = a->n_in == 2 ? in[1] + r * n : NULL;
        double *y = out[0] + r * n, m = -(double)INFINITY, s = 0;
        for (size_t k = 0; k < n; k++)
            m = x[k] > m ? x[k] : m;
        for (size_t k = 0; k < n; k++)
            s += dy ? (log_ ? dy[k] : dy[k] * x[k]) : exp(x[k] - m);
        for (size_t k = 0; k < n; k++)
            y[k] = dy     ? (log_ ? dy[k] - exp(x[k]) * s : x[k] * (dy[k] - s))
                   : log_ ? x[k] - m - log(s)
                          : exp(x[k] - m) / s;
    }
}

static void softmax_rows(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{3, 32}, {5, 77}, {2, 1000}};
    const kl__op *const ops[] = {&kl__op_softmax, &kl__op_log_softmax, &kl__op_softmax_bwd,
                                 &kl__op_log_softmax_bwd};
    for (size_t i = 0; i < COUNT(shapes); i++)
        for (size_t k = 0; k < COUNT(ops); k++) {
            kl_axis_opts o = {.axis = 1};
            rig_input x = normal((kl_shape){2, {shapes[i][0], shapes[i][1]}});
            rig_run(&(rig_case){.name = ops[k]->name,
                                .op = ops[k],
                                .attrs = &o,
                                .n_in = k < 2 ? 1 : 2,
                                .in = {x, x},
                                .ref = ref_softmax,
                                .tol = {RIG_L2, 2e-6},
                                .only = "coop"});
        }
}

static void a_row_with_nan_or_without_numbers_is_nan(void **state)
{
    (void)state;
    double x[3 * 40];
    for (int i = 0; i < 3 * 40; i++)
        x[i] = i < 40 ? -(double)INFINITY : i % 7;
    x[50] = (double)NAN;
    kl_axis_opts o = {.axis = 1};
    rig_run(
        &(rig_case){.name = "NaN",
                    .op = &kl__op_softmax,
                    .attrs = &o,
                    .n_in = 1,
                    .in = {{.dtype = KL_F32, .shape = {2, {3, 40}}, .fill = RIG_DATA, .data = x}},
                    .ref = ref_softmax,
                    .tol = {RIG_ULP, 8},
                    .only = "coop"});
}

/* ---- global pooling -------------------------------------------------------------------------- */
static void ref_pool(const kl__apply *a, const double *const *in, double *const *out)
{
    const int64_t *d = a->in[0]->desc.shape.dim;
    const size_t hw = (size_t)(d[2] * d[3]);
    for (size_t p = 0; p < (size_t)(d[0] * d[1]); p++) {
        const double *x = in[0] + p * hw;
        double sum = 0;
        size_t best = 0;
        for (size_t i = 0; i < hw; i++) {
            sum += x[i];
            if (!isnan(x[best]) && (isnan(x[i]) || x[i] > x[best]))
                best = i;
        }
        out[0][p] = a->n_out > 1 ? x[best] : sum / (double)hw;
        if (a->n_out > 1)
            out[1][p] = (double)best;
    }
}

static void planes_are_pooled(void **state)
{
    (void)state;
    static const int64_t sides[] = {4, 7, 23};
    static double x[2 * 7 * 7];
    const void *attrs[8] = {NULL};
    for (size_t i = 0; i < COUNT(sides); i++)
        for (int max = 0; max < 2; max++)
            rig_run(&(rig_case){.name = "planes",
                                .op = max ? &kl__op_global_maxpool : &kl__op_global_avgpool,
                                .attrs = attrs,
                                .n_in = 1,
                                .in = {normal(kl__shape4(2, 3, sides[i], sides[i]))},
                                .ref = ref_pool,
                                .tol = {RIG_L2, 1e-6},
                                .only = "coop"});
    for (int i = 0; i < 2 * 49; i++)
        x[i] = i % 5; /* many are the largest: the first counts */
    x[49 + 20] = x[49 + 30] = (double)NAN;
    rig_run(&(rig_case){
        .name = "ties and NaN",
        .op = &kl__op_global_maxpool,
        .attrs = attrs,
        .n_in = 1,
        .in = {{.dtype = KL_F32, .shape = kl__shape4(1, 2, 7, 7), .fill = RIG_DATA, .data = x}},
        .ref = ref_pool,
        .tol = {RIG_EXACT, 0},
        .only = "coop"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(channels_in_one_part_and_in_several),
        cmocka_unit_test(variance_survives_a_large_mean),
        cmocka_unit_test(reductions_in_one_part_and_in_several),
        cmocka_unit_test(the_largest_is_nan_where_there_is_one),
        cmocka_unit_test(softmax_rows),
        cmocka_unit_test(a_row_with_nan_or_without_numbers_is_nan),
        cmocka_unit_test(planes_are_pooled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
