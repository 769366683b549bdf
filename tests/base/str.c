/* Text: numbers there and back under any locale, globs, nearest names. */
#include "rig.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void is_float(float x, const char *want)
{
    kl__text t = {0};
    kl__put_float(&t, x);
    assert_string_equal(t.s, want);
    kl__text_free(&t);
}

static void is_double(double x, const char *want)
{
    kl__text t = {0};
    kl__put_double(&t, x);
    assert_string_equal(t.s, want);
    kl__text_free(&t);
}

static void known_numbers_print_short(void **state)
{
    (void)state;
    is_float(0.1f, "0.1");
    is_float(0.3f, "0.3");
    is_float(1.0f / 3, "0.33333334");
    is_float(16777216.0f, "16777216");
    is_float(-0.0f, "-0");
    is_float(FLT_MAX, "3.4028235e+38");
    is_float(1.40129846e-45f, "1e-45");
    is_float((float)NAN, "nan");
    is_float(-(float)NAN, "nan");
    is_float((float)INFINITY, "inf");
    is_float(-(float)INFINITY, "-inf");
    is_double(0.1, "0.1");
    is_double(1.0 / 3, "0.3333333333333333");
    is_double(0.1 + 0.2, "0.30000000000000004");
    is_double(5e-324, "5e-324");
    is_double(DBL_MAX, "1.7976931348623157e+308");
    is_double(-(double)INFINITY, "-inf");
}

/* Any bit pattern comes back as the same bits, both directly and by way of a double. */
static void every_float_comes_back(void **state)
{
    (void)state;
    uint32_t bits = 1;
    for (int i = 0; i < 20000; i++) {
        float x, back;
        double y;
        bits = bits * 1664525u + 1013904223u;
        memcpy(&x, &bits, sizeof x);
        if (isnan(x)) {
            continue;
        }
        kl__text t = {0};
        kl__put_float(&t, x);
        assert_true(kl__parse_double(t.s, &y));
        back = (float)y;
        assert_memory_equal(&back, &x, sizeof x);
        back = strtof(t.s, NULL);
        assert_memory_equal(&back, &x, sizeof x);
        kl__text_free(&t);
    }
}

static void every_double_comes_back(void **state)
{
    (void)state;
    uint64_t bits = 1;
    for (int i = 0; i < 20000; i++) {
        double x, y;
        bits = bits * 6364136223846793005u + 1442695040888963407u;
        memcpy(&x, &bits, sizeof x);
        if (isnan(x)) {
            continue;
        }
        kl__text t = {0};
        kl__put_double(&t, x);
        assert_true(kl__parse_double(t.s, &y));
        assert_memory_equal(&y, &x, sizeof x);
        kl__text_free(&t);
    }
}

static void text_grows(void **state)
{
    (void)state;
    kl__text t = {0};
    char want[4000] = "";
    for (int i = 0; i < 500; i++) {
        kl__put(&t, "%d,", i);
        snprintf(want + strlen(want), sizeof want - strlen(want), "%d,", i);
    }
    kl__put(&t, "%0300d", 1); /* longer than the buffer it is tried in */
    assert_false(t.failed);
    assert_int_equal(t.len, strlen(t.s));
    assert_int_equal(t.len, strlen(want) + 300);
    assert_memory_equal(t.s, want, strlen(want));
    kl__text_free(&t);
    assert_null(t.s);
    kl__put_n(&t, "", 0);
    assert_string_equal(t.s, "");
    kl__text_free(&t);
}

static void whole_numbers_only(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "0x10",
                                      "--1",
                                      "+-1",
                                      "1e3",
                                      "a",
                                      "-",
                                      "+",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999999"};
    int64_t i;
    uint64_t u;
    assert_true(kl__parse_i64("-9223372036854775808", &i) && i == INT64_MIN);
    assert_true(kl__parse_i64("9223372036854775807", &i) && i == INT64_MAX);
    assert_true(kl__parse_i64("+7", &i) && i == 7);
    assert_true(kl__parse_i64("-0", &i) && i == 0);
    assert_true(kl__parse_i64("007", &i) && i == 7);
    i = 5;
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        assert_false(kl__parse_i64(bad[k], &i));
    }
    assert_int_equal(i, 5);
    assert_false(kl__parse_i64(NULL, &i));
    assert_true(kl__parse_u64("18446744073709551615", &u) && u == UINT64_MAX);
    assert_false(kl__parse_u64("18446744073709551616", &u));
    assert_false(kl__parse_u64("-1", &u));
    assert_false(kl__parse_u64("", &u));
}

static void decimals_only(void **state)
{
    (void)state;
    static const char *const bad[] = {"",   " 1",    "1 ",     "1,5",     "0x1p3", "nan(1)", ".",
                                      "1e", "1e999", "-1e999", "infinit", "1.2.3", "e5",     "--1"};
    double x;
    assert_true(kl__parse_double("1.5", &x) && x == 1.5);
    assert_true(kl__parse_double("-.5e1", &x) && x == -5);
    assert_true(kl__parse_double("1e-999", &x) && x == 0);
    assert_true(kl__parse_double("5e-324", &x) && x > 0);
    assert_true(kl__parse_double("1.7976931348623157e308", &x) && x == DBL_MAX);
    assert_true(kl__parse_double("NaN", &x) && isnan(x));
    assert_true(kl__parse_double("-inf", &x) && isinf(x) && x < 0);
    assert_true(kl__parse_double("Infinity", &x) && isinf(x) && x > 0);
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        assert_false(kl__parse_double(bad[k], &x));
    }
    assert_false(kl__parse_double(NULL, &x));
}

/* A locale whose decimal sign is a comma: one that is there, or one made for the test. */
static bool comma_locale(void)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "nl_NL.UTF-8"};
    for (int made = 0; made < 2; made++) {
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            if (setlocale(LC_ALL, names[i]) && *localeconv()->decimal_point == ',') {
                return true;
            }
        }
        char command[700];
        snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s >/dev/null 2>&1",
                 rig_path("de_DE.UTF-8"));
        if (!made && system(command) != 0) {
            return false;
        }
        setenv("LOCPATH", rig_path("."), 1);
    }
    return false;
}

static void a_comma_locale_changes_nothing(void **state)
{
    (void)state;
    if (!comma_locale()) {
        skip();
    }
    char host[16], *end;
    double x;
    is_float(0.25f, "0.25");
    is_double(-1.5e-7, "-1.5e-07");
    assert_true(kl__parse_double("2.5", &x) && x == 2.5);
    assert_false(kl__parse_double("2,5", &x));
    assert_true(kl__strtod("2.5,3", &end) == 2.5);
    assert_string_equal(end, ",3");
    kl__text t = {0};
    kl__put(&t, "%g %.300f", 0.5, 0.5);
    assert_memory_equal(t.s, "0.5 0.5000", 10);
    kl__text_free(&t);
    char *s = kl__asprintf("%g", 0.5);
    assert_string_equal(s, "0.5");
    kl__free(s);
    kl__fail(KL_E_ARG, "rate %g", 0.5);
    assert_string_equal(kl_last_error(), "rate 0.5");
    snprintf(host, sizeof host, "%g", 0.5);
    assert_string_equal(host, "0,5"); /* and the host's own locale stands */
    setlocale(LC_ALL, "C");
}

static void ends_of_strings(void **state)
{
    (void)state;
    assert_true(kl__starts("conv1.weight", "conv1"));
    assert_true(kl__starts("a", ""));
    assert_false(kl__starts("con", "conv"));
    assert_true(kl__ends("x.gz", ".gz"));
    assert_true(kl__ends("x", ""));
    assert_false(kl__ends("gz", ".gz"));
    assert_true(kl__contains_nocase("NVIDIA GeForce", "geforce"));
    assert_true(kl__contains_nocase("abc", ""));
    assert_true(kl__contains_nocase("", ""));
    assert_true(kl__contains_nocase("aab", "AB"));
    assert_false(kl__contains_nocase("abc", "abcd"));
    assert_false(kl__contains_nocase("", "a"));
}

static void globs(void **state)
{
    (void)state;
    assert_true(kl__glob("", ""));
    assert_true(kl__glob("*", ""));
    assert_true(kl__glob("conv*.weight", "conv12.weight"));
    assert_true(kl__glob("*a*b", "aaaxbxab"));
    assert_true(kl__glob("?x?", "axb"));
    assert_true(kl__glob("**", "abc"));
    assert_true(kl__glob("[a]", "[a]"));
    assert_false(kl__glob("[a]", "a"));
    assert_false(kl__glob("", "a"));
    assert_false(kl__glob("?", ""));
    assert_false(kl__glob("a*b", "aXbc"));
    assert_false(kl__glob("abc", "ab"));
    assert_false(kl__glob("ab", "abc"));
    char long_text[5001]; /* would take for ever if each star branched */
    memset(long_text, 'a', 5000);
    long_text[5000] = '\0';
    assert_false(kl__glob("*a*a*a*a*a*a*a*a*b", long_text));
}

static void nearest_names(void **state)
{
    (void)state;
    static const char *const ops[] = {"conv2d", "maxpool2d", "relu", "dense"};
    assert_string_equal(kl__nearest("conv2D", ops, 4), "conv2d");
    assert_string_equal(kl__nearest("cnov2d", ops, 4), "conv2d");
    assert_string_equal(kl__nearest("maxpool", ops, 4), "maxpool2d");
    assert_string_equal(kl__nearest("relu", ops, 4), "relu");
    assert_null(kl__nearest("softmax", ops, 4));
    assert_null(kl__nearest("xx", ops, 4));
    assert_null(kl__nearest("relu", ops, 0));
    char long_name[400];
    memset(long_name, 'c', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_null(kl__nearest(long_name, ops, 4));
    const char *const long_one = long_name;
    assert_null(kl__nearest("conv", &long_one, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_numbers_print_short),
        cmocka_unit_test(every_float_comes_back),
        cmocka_unit_test(every_double_comes_back),
        cmocka_unit_test(text_grows),
        cmocka_unit_test(whole_numbers_only),
        cmocka_unit_test(decimals_only),
        cmocka_unit_test_setup_teardown(a_comma_locale_changes_nothing, rig_enter, rig_leave),
        cmocka_unit_test(ends_of_strings),
        cmocka_unit_test(globs),
        cmocka_unit_test(nearest_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
