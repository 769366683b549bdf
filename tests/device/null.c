/* The null table itself, because other suites stand on it: its orders are legal, a missing
 * dependency shows, and the tags tell histories apart. */
#include "support/null_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static kl_ctx *open_ctx(uint64_t seed)
{
    null_cl_setup(NULL, 0, seed);
    kl__cl_set_table(null_cl_table());
    kl_ctx *ctx = kl_ctx_create(&(kl_ctx_opts){.kernel_dir = TEST_CL_DIR, .cache_dir = ""});
    if (!ctx)
        fail_msg("%s", kl_last_error());
    return ctx;
}

static void close_ctx(kl_ctx *ctx)
{
    kl_ctx_destroy(ctx);
    assert_int_equal(null_cl_live(), 0);
    kl__cl_set_table(NULL);
}

static void add(kl__seq *s, kl__mem *m, const char *kernel)
{
    kl__launch l = {.file = "test.cl", .kernel = kernel, .n_args = 1, .dims = 1, .global = {16}};
    l.arg[0] = (kl__arg){.kind = KL__ARG_SPAN, .elem = 4, .span = {m, 0}};
    if (kl__seq_kernel(s, &l))
        fail_msg("%s", kl_last_error());
}

/* Launches on one lane, a copy on another, with or without the event between. */
static uint64_t history(uint64_t seed, bool dependency)
{
    kl_ctx *ctx = open_ctx(seed);
    kl__mem *a = kl__mem_create(ctx, 64), *b = kl__mem_create(ctx, 64);
    kl__lane *compute = kl__ctx_lane(ctx, KL__COMPUTE), *down = kl__ctx_lane(ctx, KL__DOWNLOAD);
    kl__seq *s = kl__seq_create(ctx);
    kl__event e = {NULL};
    for (int i = 0; i < 4; i++)
        add(s, a, "add");
    assert_int_equal(kl__seq_run(s, compute, 0, 4), KL_OK);
    if (dependency) {
        assert_int_equal(kl__lane_mark(compute, &e), KL_OK);
        assert_int_equal(kl__lane_wait(down, e), KL_OK);
    }
    assert_int_equal(kl__lane_copy(down, (kl__span){b, 0}, (kl__span){a, 0}, 64), KL_OK);
    assert_int_equal(kl_ctx_finish(ctx), KL_OK);
    uint64_t tag = null_cl_tag(kl__mem_cl(b));
    size_t n;
    null_cl_history(kl__mem_cl(a), &n);
    assert_int_equal(n, 4);
    kl__event_release(&e);
    kl__seq_destroy(s);
    kl__mem_release(a);
    kl__mem_release(b);
    close_ctx(ctx);
    return tag;
}

static void a_dependency_makes_every_order_alike(void **state)
{
    (void)state;
    uint64_t tag = history(0, true);
    assert_true(tag != 0);
    for (uint64_t seed = 1; seed < 50; seed++)
        assert_true(history(seed, true) == tag);
}

static void a_missing_dependency_shows(void **state)
{
    (void)state;
    uint64_t tag = history(0, true);
    int different = 0;
    for (uint64_t seed = 1; seed < 50; seed++)
        different += history(seed, false) != tag;
    assert_true(different > 5);
}

static uint64_t after(const char *first, const char *second, float data)
{
    kl_ctx *ctx = open_ctx(0);
    kl__mem *a = kl__mem_create(ctx, 64);
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl__seq *s = kl__seq_create(ctx);
    float back = 0;
    assert_int_equal(kl__lane_write(lane, (kl__span){a, 8}, &data, 4, NULL), KL_OK);
    add(s, a, first);
    add(s, a, second);
    assert_int_equal(kl__seq_run(s, lane, 0, 2), KL_OK);
    assert_int_equal(kl__lane_read(lane, (kl__span){a, 8}, &back, 4, NULL), KL_OK);
    assert_true(back == data);
    uint64_t tag = null_cl_tag(kl__mem_cl(a));
    assert_int_equal(null_cl_log_count(), 4);
    assert_string_equal(null_cl_log_at(1).kernel, first);
    assert_int_equal(null_cl_log_at(2).bytes, 16);
    assert_int_equal(null_cl_log_at(2).ran, 3);
    assert_true(null_cl_log_at(3).tag == tag);
    kl__seq_destroy(s);
    kl__mem_release(a);
    close_ctx(ctx);
    return tag;
}

static void tags_tell_histories_apart(void **state)
{
    (void)state;
    uint64_t t = after("add", "fours", 1);
    assert_true(t == after("add", "fours", 1));
    assert_true(t != after("fours", "add", 1));
    assert_true(t != after("add", "add", 1));
    assert_true(t != after("add", "fours", 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dependency_makes_every_order_alike),
        cmocka_unit_test(a_missing_dependency_shows),
        cmocka_unit_test(tags_tell_histories_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
