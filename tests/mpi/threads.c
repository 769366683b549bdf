/* The exchange between threads, which stands in for MPI in other tests: it keeps the contract, and
 * tells what ranks do wrong. */
#include "contract.h"

#include "base/error.h"
#include "support/thread_exchange.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct room {
    int part;
    int wrong[THREAD_EXCHANGE_MAX];
    kl_status status[THREAD_EXCHANGE_MAX];
    char sentence[THREAD_EXCHANGE_MAX][256];
    int act; /* of the misuses below */
} room;

static void check_part(void *user, const kl_exchange *x)
{
    room *r = user;
    r->wrong[x->rank] = contract_check(x, r->part);
}

static void contract(void **state)
{
    (void)state;
    for (int n = 1; n <= 5; n++) {
        for (int part = 0; part < CONTRACT_PARTS; part++) {
            room r = {.part = part};
            thread_exchange *x = thread_exchange_create(n, 0);
            assert_non_null(x);
            thread_exchange_run(x, check_part, &r);
            thread_exchange_destroy(x);
            for (int k = 0; k < n; k++) {
                assert_int_equal(r.wrong[k], 0);
            }
        }
    }
}

enum { OTHER_SIZE, OTHER_CALL, LONELY, LOST, ABORTED };

static kl_status misuse(const kl_exchange *x, int act)
{
    float v[4] = {0};
    switch (act) {
    case OTHER_SIZE:
        return x->all_reduce(x->user, v, x->rank == 1 ? 3 : 4, KL_F32);
    case OTHER_CALL:
        return x->rank == 1 ? x->broadcast(x->user, v, 4, 0)
                            : x->all_reduce(x->user, v, 4, KL_F32);
    case LONELY:
        return x->rank == 0 ? x->receive(x->user, v, 4, 1) : KL_OK;
    case LOST:
        return x->all_reduce(x->user, v, 4, KL_F32);
    default:
        if (x->rank == 1) {
            x->abort(x->user, "the kettle is empty");
            return KL_OK;
        }
        return x->broadcast(x->user, v, 4, 1);
    }
}

static void act(void *user, const kl_exchange *x)
{
    room *r = user;
    r->status[x->rank] = misuse(x, r->act);
    snprintf(r->sentence[x->rank], sizeof r->sentence[0], "%s", kl_last_error());
}

static exchange_calls misuse_of_three(room *r, int what, const char **aborted)
{
    static char why[160];
    thread_exchange *x = thread_exchange_create(3, what == LONELY ? 0.05 : 0);
    assert_non_null(x);
    *r = (room){.act = what};
    if (what == LOST) {
        thread_exchange_lose(x, 2, 1);
    }
    thread_exchange_run(x, act, r);
    *aborted = thread_exchange_aborted(x);
    if (*aborted) {
        snprintf(why, sizeof why, "%s", *aborted);
        *aborted = why;
    }
    const exchange_calls c = thread_exchange_calls(x, 1);
    thread_exchange_destroy(x);
    return c;
}

static void ranks_that_disagree(void **state)
{
    (void)state;
    room r;
    const char *aborted;
    misuse_of_three(&r, OTHER_SIZE, &aborted);
    for (int k = 0; k < 3; k++) {
        assert_int_equal(r.status[k], KL_E_ARG);
        assert_non_null(
            strstr(r.sentence[k], "rank 0 calls all_reduce of 4, rank 1 all_reduce of 3"));
    }
    misuse_of_three(&r, OTHER_CALL, &aborted);
    assert_int_equal(r.status[2], KL_E_ARG);
    assert_non_null(strstr(r.sentence[2], "rank 1 broadcast of 4"));
}

static void ranks_that_are_gone(void **state)
{
    (void)state;
    room r;
    const char *aborted;
    misuse_of_three(&r, LONELY, &aborted);
    assert_int_equal(r.status[0], KL_E_DEVICE);
    assert_non_null(strstr(r.sentence[0], "rank 1: no call"));
    misuse_of_three(&r, LOST, &aborted);
    assert_null(aborted);
    for (int k = 0; k < 3; k++) {
        assert_int_equal(r.status[k], KL_E_DEVICE);
        assert_non_null(strstr(r.sentence[k], "rank 2 is lost"));
    }
    const exchange_calls c = misuse_of_three(&r, ABORTED, &aborted);
    assert_int_equal(r.status[0], KL_E_DEVICE);
    assert_int_equal(r.status[2], KL_E_DEVICE);
    assert_string_equal(aborted, "rank 1 aborted: the kettle is empty");
    assert_true(c.abort == 1 && c.broadcast == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contract),
        cmocka_unit_test(ranks_that_disagree),
        cmocka_unit_test(ranks_that_are_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
