/* Without a device: random programs over random nets end the same whatever order the dependencies
 * leave open, and end differently as soon as one dependency is taken away. RANDOM_SEEDS=N sets the
 * number of programs, RANDOM_FIRST the first. */
#include "random_scene.h"

#include "support/drop_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static unsigned long number(const char *name, unsigned long other)
{
    const char *s = getenv(name);
    return s ? strtoul(s, NULL, 10) : other;
}

/* Each program once in order and once in a random order, in every eighth one of
 * its commands as late as can be. */
static void any_order_gives_the_same(void **state)
{
    (void)state;
    unsigned long n = number("RANDOM_SEEDS", 300), first = number("RANDOM_FIRST", 1);
    size_t commands = 0, passes = 0;
    for (unsigned long i = first; i < first + n; i++) {
        scene_result a = scene_play(i, SCENE_EAGER, 0, false);
        scene_order order = i % 8 ? SCENE_RANDOM : SCENE_DELAYED;
        uint64_t seed = i % 8 ? i : i * 7919 % a.commands + 1;
        scene_result b = scene_play(i, order, seed, false);
        if (a.tags != b.tags || a.commands != b.commands)
            fail_msg("program %lu: the order of execution changes what comes out", i);
        commands += a.commands;
        passes += a.programs;
    }
    print_message("%lu programs, %zu passes, %zu commands\n", n, passes, commands);
}

/** In an order that delays command `late` (0: none), or in one of some random orders. */
static bool found(unsigned long program, bool chained, uint64_t late, uint64_t want)
{
    if (late && scene_play(program, SCENE_DELAYED, late, chained).tags != want)
        return true;
    for (uint64_t seed = 1; seed <= 3; seed++)
        if (scene_play(program, SCENE_RANDOM, seed, chained).tags != want)
            return true;
    return false;
}

typedef struct tally {
    size_t planted, redundant, found;
} tally;

/** Takes away one dependency of a program after the other. */
static void plant(unsigned long program, bool chained, tally *t)
{
    drop_cl_at(0);
    drop_cl_slow_polls(true);
    uint64_t want = scene_play(program, SCENE_EAGER, 0, chained).tags;
    size_t n = drop_cl_count();
    uint64_t *late = calloc(n + 1, sizeof *late); /* 0: redundant */
    assert_non_null(late);
    for (size_t k = 0; k <= n; k++)
        if (!drop_cl_needed(k, &late[k]))
            late[k] = 0;
    if (late[0])
        fail_msg("program %lu: by analysis nothing orders command %llu", program,
                 (unsigned long long)late[0]);
    for (size_t k = 1; k <= n; k++) {
        drop_cl_at(k);
        bool seen = found(program, chained, late[k], want);
        t->planted++;
        t->redundant += !late[k];
        t->found += seen;
        if (seen != (late[k] != 0))
            fail_msg("program %lu: without dependency %zu of %zu, of %s, the outcome %s, yet it is "
                     "%s",
                     program, k, n, drop_cl_name(k), seen ? "differs" : "stays",
                     late[k] ? "needed" : "redundant");
    }
    drop_cl_at(0);
    drop_cl_slow_polls(false);
    free(late);
}

static void every_missing_dependency_is_found(void **state)
{
    (void)state;
    unsigned long n = number("RANDOM_PLANTED", 2);
    tally own = {0}, chain = {0};
    for (unsigned long i = 1; i <= n; i++)
        plant(i, true, &chain);
    for (unsigned long i = 1; i <= 4 * n; i++)
        plant(100 + i, false, &own);
    print_message("out-of-order queues: %zu dependencies taken away, %zu redundant, %zu found\n",
                  chain.planted, chain.redundant, chain.found);
    print_message("mixed queues: %zu dependencies taken away, %zu redundant, %zu found\n",
                  own.planted, own.redundant, own.found);
    assert_true(chain.found > 100 && own.found > 20); /* there is something to find */
    assert_int_equal(chain.found, chain.planted - chain.redundant);
    assert_int_equal(own.found, own.planted - own.redundant);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_gives_the_same),
        cmocka_unit_test(every_missing_dependency_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
