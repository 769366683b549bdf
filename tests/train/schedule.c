/* Schedules against values computed by PyTorch 1.13 and by Keras' formulas in double. */
#include "support.h"

#include <math.h>

/* The table has six digits. */
static void follows(const kl_schedule *s, const double *want, int n)
{
    for (int t = 0; t < n; t++) {
        const double got = kl_schedule_at(s, t);
        if (!(fabs(got - want[t]) <= 1e-9 + 5e-6 * fabs(want[t]))) {
            fail_msg("kind %d, step %d: %.10g expected, got %.10g", (int)s->kind, t, want[t], got);
        }
    }
}

static void at_steps(const kl_schedule *s, int n, const int64_t *t, const double *want)
{
    for (int i = 0; i < n; i++) {
        const double got = kl_schedule_at(s, t[i]);
        if (!(fabs(got - want[i]) <= 1e-10 + 1e-9 * fabs(want[i]))) {
            fail_msg("kind %d, step %lld: %.12g expected, got %.12g", (int)s->kind, (long long)t[i],
                     want[i], got);
        }
    }
}

static void torch_cyclic(void **state)
{
    (void)state;
    const double t1[] = {1,    2.25, 3.5,  4.75, 6,    4.75, 3.5,  2.25, 1,
                         2.25, 3.5,  4.75, 6,    4.75, 3.5,  2.25, 1};
    double want[17];
    for (int i = 0; i < 17; i++) {
        want[i] = t1[i] * 1e-3;
    }
    kl_schedule s = {KL_SCHED_TRIANGULAR, .lr = .006, .base = .001, .period = 4};
    follows(&s, want, 17);
    s.kind = KL_SCHED_TRIANGULAR2;
    at_steps(&s, 4, (int64_t[]){4, 8, 12, 16}, (double[]){6e-3, 1e-3, 3.5e-3, 1e-3});
    s.kind = KL_SCHED_EXP_RANGE;
    s.gamma = .99;
    assert_true(fabs(kl_schedule_at(&s, 4) - 5.80298e-3) < 5e-9);
    assert_true(fabs(kl_schedule_at(&s, 12) - 5.43192e-3) < 5e-9);
}

static void torch_others(void **state)
{
    (void)state;
    const double sgdr[] = {.1,       .0853553, .05,      .0146447, .1,        .096194, .0853553,
                           .0691342, .05,      .0308658, .0146447, .00380602, .1};
    const double one[] = {.004,     .052,     .1,       .0950485,  .0811746,
                          .0611262, .0388742, .0188258, .00495194, 4e-7};
    const double poly[] = {.1, .064, .036, .016, .004, 0, 0};
    const kl_schedule r = {KL_SCHED_COSINE_RESTARTS, .lr = .1, .period = 4, .t_mult = 2};
    const kl_schedule o = {KL_SCHED_ONE_CYCLE, .lr = .1, .total = 10};
    const kl_schedule p = {KL_SCHED_POLYNOMIAL, .lr = .1, .total = 5, .power = 2};
    follows(&r, sgdr, 13);
    follows(&o, one, 10);
    follows(&p, poly, 7);
    assert_true(kl_schedule_at(&o, 1000) == kl_schedule_at(&o, 9));
}

static void keras(void **state)
{
    (void)state;
    const int64_t t4[] = {0, 5, 10, 25};
    kl_schedule s = {KL_SCHED_EXPONENTIAL, .lr = .1, .gamma = .5, .period = 10};
    at_steps(&s, 4, t4, (double[]){.1, .07071067811865475, .05, .017677669529663688});
    s.kind = KL_SCHED_STEP;
    at_steps(&s, 4, t4, (double[]){.1, .1, .05, .025});
    s = (kl_schedule){KL_SCHED_POLYNOMIAL, .lr = .1, .end = 1e-4, .total = 10};
    at_steps(&s, 4, t4, (double[]){.1, .05005, .0001, .0001});
    s.power = 2;
    at_steps(&s, 4, t4, (double[]){.1, .025075, .0001, .0001});
    s = (kl_schedule){KL_SCHED_COSINE, .lr = .1, .total = 10};
    at_steps(&s, 5, (int64_t[]){0, 2, 5, 10, 12}, (double[]){.1, .09045084971874738, .05, 0, 0});
    s.end = .01; /* alpha .1 */
    at_steps(&s, 5, (int64_t[]){0, 2, 5, 10, 12},
             (double[]){.1, .09140576474687264, .055, .01, .01});
    s = (kl_schedule){KL_SCHED_COSINE, .lr = .1, .total = 10, .warmup = 5};
    at_steps(&s, 5, (int64_t[]){0, 2, 5, 10, 15}, (double[]){0, .04, .1, .05, 0});
    /* t_mult 3, first 4: the sixth period begins at 4 + 12 + 36 + 108 + 324 = 484 */
    s = (kl_schedule){KL_SCHED_COSINE_RESTARTS, .lr = .1, .period = 4, .t_mult = 3};
    at_steps(&s, 1, (int64_t[]){484}, (double[]){.1});
    assert_true(kl_schedule_at(&s, 483) < 1e-5);
}

static void defaults_and_edges(void **state)
{
    (void)state;
    kl_schedule s = {.lr = .3};
    at_steps(&s, 2, (int64_t[]){0, 1000000}, (double[]){.3, .3});
    s.warmup = 10;
    at_steps(&s, 4, (int64_t[]){0, 3, 10, 11}, (double[]){0, .09, .3, .3});
    s = (kl_schedule){KL_SCHED_STEP, .lr = 1, .period = 30};
    at_steps(&s, 3, (int64_t[]){29, 30, 60}, (double[]){1, .1, .01});
    s = (kl_schedule){KL_SCHED_EXPONENTIAL, .lr = 1};
    at_steps(&s, 3, (int64_t[]){0, 1, 2}, (double[]){1, .99, .9801});
    s = (kl_schedule){KL_SCHED_COSINE_RESTARTS, .lr = 1, .period = 4};
    at_steps(&s, 3, (int64_t[]){0, 4000002, 4000004}, (double[]){1, .5, 1});
    /* warm-up shifts the schedule; restarts and cycles too */
    s.warmup = 2;
    at_steps(&s, 3, (int64_t[]){1, 2, 4}, (double[]){.5, 1, .5});
    const kl_schedule_kind without_total[] = {KL_SCHED_STEP,       KL_SCHED_POLYNOMIAL,
                                              KL_SCHED_COSINE,     KL_SCHED_COSINE_RESTARTS,
                                              KL_SCHED_TRIANGULAR, KL_SCHED_ONE_CYCLE};
    for (size_t i = 0; i < 6; i++) {
        s = (kl_schedule){without_total[i], .lr = .5};
        at_steps(&s, 2, (int64_t[]){0, 99}, (double[]){.5, .5});
    }
    for (int64_t total = 1; total < 6;
         total++) { /* very short ones stay finite and within bounds */
        s = (kl_schedule){KL_SCHED_ONE_CYCLE, .lr = 1, .total = total};
        for (int64_t t = 0; t < 8; t++) {
            const double lr = kl_schedule_at(&s, t);
            assert_true(lr > 0 && lr <= 1);
        }
    }
    assert_true(kl_schedule_at(NULL, 3) == 0);
}

static void words(void **state)
{
    (void)state;
    const char *all[] = {"constant",        "step",       "exponential", "polynomial", "cosine",
                         "cosine-restarts", "triangular", "triangular2", "exp-range",  "one-cycle"};
    kl_schedule_kind k;
    for (size_t i = 0; i < 10; i++) {
        assert_true(kl_schedule_parse(all[i], &k));
        assert_int_equal(k, i);
    }
    assert_false(kl_schedule_parse("cosin", &k));
    assert_false(kl_schedule_parse("", &k));
    assert_false(kl_schedule_parse(NULL, &k));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torch_cyclic), cmocka_unit_test(torch_others),
        cmocka_unit_test(keras),        cmocka_unit_test(defaults_and_edges),
        cmocka_unit_test(words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
