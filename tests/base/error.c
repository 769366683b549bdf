/* Errors: names, sentences per thread, prefixes, the log. */
#include "rig.h"

#include "base/error.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void every_status_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(kl_status_name(KL_OK), "KL_OK");
    assert_string_equal(kl_status_name(KL_E_ARG), "KL_E_ARG");
    assert_string_equal(kl_status_name(KL_E_SHAPE), "KL_E_SHAPE");
    assert_string_equal(kl_status_name(KL_E_MEMORY), "KL_E_MEMORY");
    assert_string_equal(kl_status_name(KL_E_DEVICE), "KL_E_DEVICE");
    assert_string_equal(kl_status_name(KL_E_BUILD), "KL_E_BUILD");
    assert_string_equal(kl_status_name(KL_E_IO), "KL_E_IO");
    assert_string_equal(kl_status_name(KL_E_FORMAT), "KL_E_FORMAT");
    assert_string_equal(kl_status_name(KL_E_UNSUPPORTED), "KL_E_UNSUPPORTED");
    assert_string_equal(kl_status_name(KL_E_CANCELLED), "KL_E_CANCELLED");
    assert_string_equal(kl_status_name(KL_E_NO_DEVICE), "KL_E_NO_DEVICE");
    assert_string_equal(kl_status_name(KL_E_NUMERIC), "KL_E_NUMERIC");
    assert_string_equal(kl_status_name((kl_status)1), "KL_E_?");
    assert_string_equal(kl_status_name(KL_E_FULL), "KL_E_FULL");
    assert_string_equal(kl_status_name((kl_status)-13), "KL_E_?");
}

static void version_is_the_header_s(void **state)
{
    (void)state;
    char want[32];
    snprintf(want, sizeof want, "%d.%d.%d", KL_VERSION_MAJOR, KL_VERSION_MINOR, KL_VERSION_PATCH);
    assert_string_equal(kl_version(), want);
}

static void sentence_holds_the_facts(void **state)
{
    (void)state;
    assert_int_equal(kl__fail(KL_E_SHAPE, "conv2d \"%s\": %d", "a", 3), KL_E_SHAPE);
    assert_string_equal(kl_last_error(), "conv2d \"a\": 3");
    assert_int_equal(kl__last_status(), KL_E_SHAPE);
    assert_int_equal(kl__no_memory(77), KL_E_MEMORY);
    assert_non_null(strstr(kl_last_error(), "77 bytes"));
}

static void sentence_may_quote_the_one_before(void **state)
{
    (void)state;
    kl__fail(KL_E_IO, "no disk");
    kl__fail(KL_E_FORMAT, "model: %s", kl_last_error());
    assert_string_equal(kl_last_error(), "model: no disk");
    assert_int_equal(kl__fail_in(KL_E_ARG, "line %d", 7), KL_E_ARG);
    assert_string_equal(kl_last_error(), "line 7: model: no disk");
    assert_int_equal(kl__last_status(), KL_E_ARG);
}

static void long_sentence_is_cut_at_1023(void **state)
{
    (void)state;
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    kl__fail(KL_E_ARG, "%s", text);
    assert_int_equal(strlen(kl_last_error()), 1023);
    kl__fail_in(KL_E_ARG, "%s", text);
    assert_int_equal(strlen(kl_last_error()), 1023);
}

static void *other_thread(void *arg)
{
    char(*seen)[64] = arg;
    snprintf(seen[0], sizeof seen[0], "%s", kl_last_error());
    kl__fail(KL_E_IO, "theirs");
    snprintf(seen[1], sizeof seen[1], "%s", kl_last_error());
    return NULL;
}

static void each_thread_has_its_own_sentence(void **state)
{
    (void)state;
    char seen[2][64] = {"unset", "unset"};
    pthread_t t;
    kl__fail(KL_E_ARG, "mine");
    assert_int_equal(pthread_create(&t, NULL, other_thread, seen), 0);
    pthread_join(t, NULL);
    assert_string_equal(seen[0], "");
    assert_string_equal(seen[1], "theirs");
    assert_string_equal(kl_last_error(), "mine");
    assert_int_equal(kl__last_status(), KL_E_ARG);
}

static void keep_line(void *user, kl_log_level level, const char *line)
{
    snprintf(user, 64, "%d %s", (int)level, line);
}

static void log_obeys_its_level(void **state)
{
    (void)state;
    char got[64] = "";
    kl__log(KL_LOG_ERROR, "nobody listens");
    assert_false(kl__log_wants(KL_LOG_ERROR));
    kl_set_log(keep_line, got, KL_LOG_WARN);
    assert_true(kl__log_wants(KL_LOG_WARN));
    assert_false(kl__log_wants(KL_LOG_INFO));
    kl__log(KL_LOG_INFO, "too much");
    assert_string_equal(got, "");
    kl__log(KL_LOG_WARN, "%d%%", 5);
    assert_string_equal(got, "1 5%");
    kl_set_log(NULL, NULL, KL_LOG_DEBUG);
    assert_false(kl__log_wants(KL_LOG_ERROR));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_name),
        cmocka_unit_test(version_is_the_header_s),
        cmocka_unit_test(sentence_holds_the_facts),
        cmocka_unit_test(sentence_may_quote_the_one_before),
        cmocka_unit_test(long_sentence_is_cut_at_1023),
        cmocka_unit_test(each_thread_has_its_own_sentence),
        cmocka_unit_test(log_obeys_its_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
