/* Batch normalisation over shards: from the rows that shards give, what all values together have.
 */
#include "rig.h"

#include "base/rng.h"
#include "ops/batchnorm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { MAX_SHARDS = 9, MAX_C = 70, MAX_VALUES = 64 };

/** The values of a case, as no op sees them: by shard and channel. */
typedef struct data {
    int shards, c, each;
    int samples[MAX_SHARDS];
    double x[MAX_SHARDS][MAX_C][MAX_VALUES];
    double dy[MAX_SHARDS][MAX_C][MAX_VALUES];
} data;
static data d;

static void draw(int shards, int c, int each, const int *samples, double far)
{
    d.shards = shards;
    d.c = c;
    d.each = each;
    const kl__rng r = kl__rng_of(3, "meet", (uint32_t)(shards * 100 + c));
    uint64_t k = 0;
    for (int s = 0; s < shards; s++) {
        d.samples[s] = samples[s];
        for (int i = 0; i < c; i++)
            for (int j = 0; j < samples[s] * each; j++) {
                /* shards differ in their means by more than their values do */
                d.x[s][i][j] = far + 3 * s + (double)kl__rng_normal(r, k++);
                d.dy[s][i][j] = (double)kl__rng_normal(r, k++) + 0.5;
            }
    }
}

/** What a shard gives of a channel: mean and kept variance. */
static void stats_row(int s, int c, bool biased, double row[2])
{
    const int n = d.samples[s] * d.each;
    double sum = 0, sq = 0;
    for (int j = 0; j < n; j++)
        sum += d.x[s][c][j];
    row[0] = n ? sum / n : -777; /* what nobody reads */
    for (int j = 0; j < n; j++)
        sq += (d.x[s][c][j] - row[0]) * (d.x[s][c][j] - row[0]);
    row[1] = n ? sq / (biased || n < 2 ? n : n - 1) : -777;
}

/** From all values at once, not from rows. */
static void stats_reference(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl__bn_meet *k = a->attrs;
    for (int c = 0; c < d.c; c++) {
        double n = 0, sum = 0, sq = 0;
        for (int s = 0; s < d.shards; s++)
            for (int j = 0; j < d.samples[s] * d.each; j++, n++)
                sum += d.x[s][c][j];
        if (n == 0)
            continue;
        for (int s = 0; s < d.shards; s++)
            for (int j = 0; j < d.samples[s] * d.each; j++)
                sq += (d.x[s][c][j] - sum / n) * (d.x[s][c][j] - sum / n);
        out[KL__BN_MEAN][c] = sum / n;
        out[KL__BN_INV][c] = 1 / sqrt(sq / n + (double)k->bn.eps);
        out[KL__BN_KEPT][c] = sq / (k->bn.biased || n < 2 ? n : n - 1);
        out[KL__BN_SCALE][c] = (k->bn.scale ? in[4][c] : 1) * out[KL__BN_INV][c];
    }
}

static void bwd_reference(const kl__apply *a, const double *const *in, double *const *out)
{
    (void)a;
    for (int c = 0; c < d.c; c++) {
        double n = 0, dw = 0, db = 0;
        for (int s = 0; s < d.shards; s++)
            for (int j = 0; j < d.samples[s] * d.each; j++, n++) {
                dw += d.x[s][c][j] * d.dy[s][c][j];
                db += d.dy[s][c][j];
            }
        out[0][c] = n > 0 ? -in[5][c] * in[4][c] * dw / n : 0;
        out[1][c] = n > 0 ? -in[5][c] * db / n : 0;
    }
}

static void run(bool bwd, bool biased, bool weight, double ulps)
{
    static double table[MAX_SHARDS * 2 * MAX_C], samples[MAX_SHARDS];
    const kl__bn_meet k = {.bn = {.eps = 1e-3f, .scale = weight, .biased = biased},
                           .each = d.each};
    for (int s = 0; s < d.shards; s++) {
        samples[s] = d.samples[s];
        for (int c = 0; c < d.c; c++) {
            double row[2] = {0, 0};
            if (!bwd)
                stats_row(s, c, biased, row);
            for (int j = 0; bwd && j < d.samples[s] * d.each; j++) {
                row[0] += d.x[s][c][j] * d.dy[s][c][j];
                row[1] += d.dy[s][c][j];
            }
            table[(2 * s) * d.c + c] = row[0];
            table[(2 * s + 1) * d.c + c] = row[1];
        }
    }
    const rig_input own = {KL_F32, {1, {d.c}}, RIG_UNIFORM, 5, 9, NULL, false}, /* not read */
        one = {KL_F32, {1, {d.c}}, RIG_UNIFORM, 0.5, 2, NULL, false};
    rig_run(&(rig_case){bwd ? "backward" : "statistics",
                        bwd ? &kl__op_bn_bwd_meet : &kl__op_bn_meet,
                        &k,
                        bwd ? 6 : 4 + weight,
                        0,
                        {own,
                         own,
                         {KL_F32, {2, {d.shards, 2 * d.c}}, RIG_DATA, 0, 0, table, false},
                         {KL_I32, {1, {d.shards}}, RIG_DATA, 0, 0, samples, true},
                         one,
                         one},
                        bwd ? bwd_reference : stats_reference,
                        {RIG_ULP, ulps},
                        {0},
                        NULL});
}

static const struct {
    int shards, c, each, samples[MAX_SHARDS];
} cases[] = {
    {1, 3, 5, {4}},
    {2, 16, 9, {3, 3}},
    {3, 70, 1, {9, 8, 9}},
    {9, 5, 16, {1, 2, 0, 4, 0, 1, 3, 2, 0}}, /* shards without samples, the first too below */
    {4, 17, 7, {0, 0, 2, 5}},
    {2, 2, 1, {1, 1}},                       /* single values: no variance of their own */
    {2, 2, 1, {0, 1}},
    {3, 4, 2, {0, 0, 0}},                    /* nobody: zeros */
};

static void all_shards_have_what_their_values_have(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        for (int form = 0; form < 4; form++) {
            draw(cases[i].shards, cases[i].c, cases[i].each, cases[i].samples, 2.5);
            run(false, form & 1, form & 2, 32);
        }
}

/* Squares of the means would swallow the variance: of 9e6 in f32 they leave 0.5. The means come as
 * f32, a last digit of which is 2e-4 here. */
static void means_far_from_zero_lose_nothing(void **state)
{
    (void)state;
    draw(4, 5, 16, (int[]){1, 2, 4, 3}, 3000);
    run(false, true, true, 512);
}

static void the_gradient_divides_by_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        draw(cases[i].shards, cases[i].c, cases[i].each, cases[i].samples, 0);
        run(true, false, false, 64);
    }
}

static void refusals(void **state)
{
    (void)state;
    const kl__bn_meet k = {.each = 1};
    const rig_input c4 = {KL_F32, {1, {4}}, RIG_NORMAL, 0, 0, NULL, false},
                    c5 = {KL_F32, {1, {5}}, RIG_NORMAL, 0, 0, NULL, false},
                    table = {KL_F32, {2, {3, 8}}, RIG_NORMAL, 0, 0, NULL, false},
                    three = {KL_I32, {1, {3}}, RIG_INDEX, 0, 3, NULL, true},
                    two = {KL_I32, {1, {2}}, RIG_INDEX, 0, 3, NULL, true};
    rig_refused(&(rig_case){.name = "row", .op = &kl__op_bn_meet, .attrs = &k, .n_in = 4,
                            .in = {c4, c5, table, three}},
                "input 1 is f32 [5]");
    rig_refused(&(rig_case){.name = "table", .op = &kl__op_bn_meet, .attrs = &k, .n_in = 4,
                            .in = {c5, c5, table, three}},
                "table [3,8]");
    rig_refused(&(rig_case){.name = "samples", .op = &kl__op_bn_meet, .attrs = &k, .n_in = 4,
                            .in = {c4, c4, table, two}},
                "samples [2]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_shards_have_what_their_values_have),
        cmocka_unit_test(means_far_from_zero_lose_nothing),
        cmocka_unit_test(the_gradient_divides_by_all),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
