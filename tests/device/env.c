/* kl_env_prepare: POCL_AFFINITY=1 only where the driver may pin its threads to CPUs 0..n-1 and
 * nobody has decided. */
#define _GNU_SOURCE /* sched_setaffinity */
#include <kiln/context.h>

#include <setjmp.h>
#include <stdarg.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static cpu_set_t all;

/* Exactly the CPUs 0..n-1 of n. */
static bool whole_machine(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    for (long i = 0; i < n; i++)
        if (!CPU_ISSET((size_t)i, &all))
            return false;
    return CPU_COUNT(&all) == n;
}

static void it_is_set_on_the_whole_machine_only(void **state)
{
    (void)state;
    unsetenv("POCL_AFFINITY");
    kl_env_prepare();
    if (whole_machine())
        assert_string_equal(getenv("POCL_AFFINITY"), "1");
    else
        assert_null(getenv("POCL_AFFINITY"));
}

static void it_is_not_set_on_a_part_of_the_machine(void **state)
{
    (void)state;
    if (CPU_COUNT(&all) < 2)
        skip();
    for (size_t i = 0; i < 64; i++) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(i, &one);
        if (!CPU_ISSET(i, &all))
            continue;
        assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
        unsetenv("POCL_AFFINITY");
        kl_env_prepare();
        assert_null(getenv("POCL_AFFINITY"));
    }
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

static void the_users_word_stands(void **state)
{
    (void)state;
    setenv("POCL_AFFINITY", "0", 1);
    kl_env_prepare();
    assert_string_equal(getenv("POCL_AFFINITY"), "0");
    setenv("POCL_AFFINITY", "", 1);
    kl_env_prepare();
    assert_string_equal(getenv("POCL_AFFINITY"), "");
}

int main(void)
{
    if (sched_getaffinity(0, sizeof all, &all))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_set_on_the_whole_machine_only),
        cmocka_unit_test(it_is_not_set_on_a_part_of_the_machine),
        cmocka_unit_test(the_users_word_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
