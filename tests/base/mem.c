/* Memory: the hook, failure at the N-th call, sizes that would wrap. */
#include "rig.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

static int leave(void **state)
{
    (void)state;
    rig_mem_off();
    return 0;
}

static void all_goes_through_the_hook(void **state)
{
    (void)state;
    rig_mem_on(0);
    void *a = kl__alloc(10), *b = kl__calloc(3, 5);
    char *c = kl__strdup("abc"), *d = kl__strndup("abcdef", 2), *e = kl__asprintf("%d-%s", 7, "x");
    void *f = kl__realloc(NULL, 2, 4);
    assert_int_equal(rig_memory.alive, 6);
    for (int i = 0; i < 15; i++) {
        assert_int_equal(((char *)b)[i], 0);
    }
    assert_string_equal(c, "abc");
    assert_string_equal(d, "ab");
    assert_string_equal(e, "7-x");
    kl__free(a);
    kl__free(b);
    kl__free(c);
    kl__free(d);
    kl__free(e);
    kl__free(f);
    kl__free(NULL);
    assert_int_equal(rig_memory.alive, 0);
}

static void nothing_asked_is_still_a_pointer(void **state)
{
    (void)state;
    void *a = kl__alloc(0), *b = kl__calloc(0, 8), *c = kl__realloc(NULL, 0, 8);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    kl__free(a);
    kl__free(b);
    kl__free(c);
}

static void failure_is_null_and_a_sentence(void **state)
{
    (void)state;
    rig_mem_on(1);
    assert_null(kl__alloc(12345));
    assert_int_equal(kl__last_status(), KL_E_MEMORY);
    assert_non_null(strstr(kl_last_error(), "12345"));
    rig_mem_on(1);
    assert_null(kl__strdup("a"));
    rig_mem_on(1);
    assert_null(kl__asprintf("%d", 1));
    rig_mem_on(1);
    assert_null(kl__calloc(1, 1));
}

static void realloc_that_fails_keeps_the_old(void **state)
{
    (void)state;
    rig_mem_on(2);
    char *p = kl__strdup("keep");
    assert_null(kl__realloc(p, 1000, 1));
    assert_string_equal(p, "keep");
    assert_null(kl__realloc(p, SIZE_MAX / 2, 3));
    assert_string_equal(p, "keep");
    kl__free(p);
    assert_int_equal(rig_memory.alive, 0);
}

static void sizes_do_not_wrap(void **state)
{
    (void)state;
    rig_mem_on(0);
    assert_null(kl__calloc(SIZE_MAX / 2 + 1, 2));
    assert_int_equal(kl__last_status(), KL_E_MEMORY);
    assert_null(kl__realloc(NULL, SIZE_MAX, SIZE_MAX));
    assert_null(kl__alloc(SIZE_MAX));
    assert_int_equal(rig_memory.calls, 0); /* the hook is not even asked */

    size_t z;
    int64_t s;
    assert_true(kl__mul(SIZE_MAX, 1, &z) && z == SIZE_MAX);
    assert_false(kl__mul(SIZE_MAX, 2, &z));
    assert_true(kl__mul(0, SIZE_MAX, &z) && z == 0);
    assert_true(kl__add(SIZE_MAX, 0, &z) && z == SIZE_MAX);
    assert_false(kl__add(SIZE_MAX, 1, &z));
    assert_true(kl__mul64(INT64_MIN, 1, &s) && s == INT64_MIN);
    assert_false(kl__mul64(INT64_MIN, -1, &s));
    assert_true(kl__mul64(-3, 5, &s) && s == -15);
    assert_false(kl__mul64(INT64_MAX, 2, &s));
}

static void grow_keeps_and_at_least_doubles(void **state)
{
    (void)state;
    rig_mem_on(0);
    int *p = NULL;
    size_t cap = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(kl__grow(&p, &cap, (size_t)i + 1, sizeof *p), KL_OK);
        assert_true(cap > (size_t)i);
        p[i] = i;
    }
    assert_true(rig_memory.calls < 12);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(p[i], i);
    }
    const size_t before = cap;
    rig_memory.fail_at = rig_memory.calls + 1;
    assert_int_equal(kl__grow(&p, &cap, cap + 1, sizeof *p), KL_E_MEMORY);
    assert_int_equal(kl__grow(&p, &cap, SIZE_MAX, sizeof *p), KL_E_MEMORY);
    assert_int_equal(cap, before);
    assert_int_equal(p[999], 999);
    kl__free(p);
    assert_int_equal(rig_memory.alive, 0);
}

static void text_fails_once_and_stays_failed(void **state)
{
    (void)state;
    for (long n = 1; n <= 3; n++) {
        rig_mem_on(n);
        kl__text t = {0};
        for (int i = 0; i < 100; i++) {
            kl__put(&t, "%d ", i);
        }
        kl__put(&t, "%0300d", 1);
        assert_true(t.failed);
        const long calls = rig_memory.calls;
        kl__put_n(&t, "more", 4);
        assert_int_equal(rig_memory.calls, calls);
        kl__text_free(&t);
        assert_int_equal(rig_memory.alive, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(all_goes_through_the_hook, leave),
        cmocka_unit_test_teardown(nothing_asked_is_still_a_pointer, leave),
        cmocka_unit_test_teardown(failure_is_null_and_a_sentence, leave),
        cmocka_unit_test_teardown(realloc_that_fails_keeps_the_old, leave),
        cmocka_unit_test_teardown(sizes_do_not_wrap, leave),
        cmocka_unit_test_teardown(grow_keeps_and_at_least_doubles, leave),
        cmocka_unit_test_teardown(text_fails_once_and_stays_failed, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
