/* The confusion matrix, worked out by hand. */
#include "support.h"

#include <math.h>

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-12;
}

/* Six samples of three classes:
 *   truth 0: predicted 0, 0, 1     truth 1: predicted 1, 2     truth 2: predicted 2 */
static void matrix(void **state)
{
    (void)state;
    const float scores[] = {3, 1, 2, 5, 4, 0, 1, 2, 0, 0, 9, 1, 2, 3, 4, -3, -2, -1};
    const int32_t labels[] = {0, 0, 0, 1, 1, 2};
    const int64_t want[3][3] = {{2, 1, 0}, {0, 1, 1}, {0, 0, 1}};
    double p, r, f;
    int64_t n;
    kl_confusion *c = kl_confusion_create(3);
    assert_true(isnan(kl_confusion_accuracy(c)));
    kl_confusion_add(c, scores, labels, 2); /* in two pieces */
    kl_confusion_add(c, scores + 6, labels + 2, 4);
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++) {
            assert_int_equal(kl_confusion_at(c, i, j), want[i][j]);
        }
    }
    assert_true(near(kl_confusion_accuracy(c), 4.0 / 6));
    assert_true(near(kl_confusion_top_k(c, 1), 4.0 / 6));
    assert_true(near(kl_confusion_top_k(c, 2), 1)); /* the two wrong ones are second */
    assert_true(near(kl_confusion_top_k(c, 5), 1));
    assert_true(isnan(kl_confusion_top_k(c, 0)) && isnan(kl_confusion_top_k(c, 6)));
    kl_confusion_class(c, 0, &p, &r, &f, &n);
    assert_true(near(p, 1) && near(r, 2.0 / 3) && near(f, 0.8) && n == 3);
    kl_confusion_class(c, 1, &p, &r, &f, &n);
    assert_true(near(p, 0.5) && near(r, 0.5) && near(f, 0.5) && n == 2);
    kl_confusion_class(c, 2, &p, &r, &f, &n);
    assert_true(near(p, 0.5) && near(r, 1) && near(f, 2.0 / 3) && n == 1);
    assert_int_equal(kl_confusion_at(c, 3, 0), 0);
    kl_confusion_class(c, 3, &p, NULL, NULL, &n);
    assert_true(p == 0 && n == 0);
    kl_confusion_destroy(c);
}

static void top_k(void **state)
{
    (void)state;
    const float scores[] = {9, 8, 7, 6, 5, 4, 3};
    kl_confusion *c = kl_confusion_create(7);
    for (int32_t i = 0; i < 7; i++) {
        kl_confusion_add(c, scores, &i, 1);
    }
    for (int k = 1; k <= 5; k++) {
        assert_true(near(kl_confusion_top_k(c, k), k / 7.0));
    }
    kl_confusion_destroy(c);
}

/* Of equal scores the lower class is the prediction; NaN is wrong for every k; labels outside do
 * not count. */
static void odd_scores(void **state)
{
    (void)state;
    const float equal[] = {1, 1, 1}, nan[] = {0, NAN, 5}, infinite[] = {0, -INFINITY, INFINITY};
    const int32_t zero = 0, one = 1, two = 2, out[] = {-1, 3};
    const float pair[6] = {0};
    double p, r, f;
    int64_t n;
    kl_confusion *c = kl_confusion_create(3);
    kl_confusion_add(c, equal, &zero, 1);
    kl_confusion_add(c, equal, &one, 1);
    assert_int_equal(kl_confusion_at(c, 0, 0), 1);
    assert_int_equal(kl_confusion_at(c, 1, 0), 1);
    assert_true(near(kl_confusion_top_k(c, 1), .5) && near(kl_confusion_top_k(c, 2), 1));
    kl_confusion_add(c, nan, &two, 1);
    kl_confusion_add(c, infinite, &two, 1);
    kl_confusion_add(c, pair, out, 2);
    assert_true(near(kl_confusion_accuracy(c), .5)); /* 2 of 4 */
    assert_true(near(kl_confusion_top_k(c, 3), .75));
    assert_int_equal(kl_confusion_at(c, 2, 2), 1);
    kl_confusion_class(c, 2, &p, &r, &f, &n);
    assert_true(near(p, 1) && near(r, .5) && n == 2); /* the one with NaN belongs to its class */
    kl_confusion_destroy(c);
    assert_null(kl_confusion_create(0));
    assert_null(kl_confusion_create(-3));
    kl_confusion_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(matrix), cmocka_unit_test(top_k),
                                       cmocka_unit_test(odd_scores)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
