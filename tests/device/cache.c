/* Programs: built once per context, found on disk by the next one, rebuilt when the file is not
 * right. */
#include "base/file.h"
#include "base/mem.h"
#include "base/thread.h"
#include "support/null_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char cache[128], kernels[160];
static int compiled;
static const null_device gpu = {.type = CL_DEVICE_TYPE_GPU, .width = 1};
static const null_device other = {.type = CL_DEVICE_TYPE_GPU, .width = 1, .name = "other"};
static const null_device pocl = {.platform = "Portable Computing Language"};

static void on_compile(void *user, int done, const char *name)
{
    (void)done;
    *(int *)user += !strcmp(name, "add");
}

static kl_ctx *open_ctx(const char *cache_dir)
{
    kl_ctx *ctx = kl_ctx_create(&(kl_ctx_opts){.kernel_dir = TEST_CL_DIR,
                                               .cache_dir = cache_dir,
                                               .on_compile = on_compile,
                                               .user = &compiled});
    if (!ctx)
        fail_msg("%s", kl_last_error());
    return ctx;
}

static kl_ctx_stats use(const char *cache_dir, int step)
{
    kl_ctx *ctx = open_ctx(cache_dir);
    kl__seq *s = kl__seq_create(ctx);
    kl__mem *a = kl__mem_create(ctx, 64);
    kl__defs d = {{0}};
    kl__def_int(&d, "STEP", step);
    kl__launch l = {
        .file = "test.cl", .kernel = "add", .n_args = 1, .dims = 1, .global = {16}, .defs = &d};
    l.arg[0] = (kl__arg){.kind = KL__ARG_SPAN, .elem = 4, .span = {a, 0}};
    for (int i = 0; i < 2; i++)
        if (kl__seq_kernel(s, &l) || kl__seq_run(s, kl__ctx_lane(ctx, KL__COMPUTE), 0, 1))
            fail_msg("%s", kl_last_error());
    kl_ctx_stats st;
    kl_ctx_stats_get(ctx, &st);
    kl__defs_free(&d);
    kl__mem_release(a);
    kl__seq_destroy(s);
    kl_ctx_destroy(ctx);
    return st;
}

static void check(kl_ctx_stats st, uint64_t built, uint64_t cached)
{
    assert_int_equal(st.kernels_built, built);
    assert_int_equal(st.kernels_from_cache, cached);
}

static size_t n_files(char ***names)
{
    size_t n = 0;
    *names = NULL;
    if (kl__path_exists(kernels))
        assert_int_equal(kl__list_dir(kernels, names, &n), KL_OK);
    return n;
}

static void free_names(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        kl__free(names[i]);
    kl__free(names);
}

static int set_up(void **state)
{
    (void)state;
    char cmd[256];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", cache);
    compiled = 0;
    null_cl_setup(&gpu, 1, 0);
    kl__cl_set_table(null_cl_table());
    return system(cmd);
}

static int tear_down(void **state)
{
    (void)state;
    kl__cl_set_table(NULL);
    return null_cl_live() != 0;
}

static void the_second_context_finds_binaries(void **state)
{
    (void)state;
    check(use(cache, 1), 1, 0);
    assert_int_equal(compiled, 1);
    check(use(cache, 1), 0, 1);
    check(use(cache, 2), 1, 0); /* other options */
    check(use(cache, 2), 0, 1);
    assert_int_equal(compiled, 2);
    assert_int_equal(null_cl_builds(), 2);
    null_cl_setup(&other, 1, 0);
    check(use(cache, 1), 1, 0); /* other device */
    char **names;
    size_t n = n_files(&names);
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++)
        assert_true(kl__ends(names[i], ".bin"));
    free_names(names, n);
}

/* Every way in which the one file may be wrong costs a compilation, and mends the file. */
static void a_damaged_entry_is_compiled_anew(void **state)
{
    (void)state;
    check(use(cache, 1), 1, 0);
    char **names, path[256];
    size_t n = n_files(&names), len;
    assert_int_equal(n, 1);
    snprintf(path, sizeof path, "%s/%s", kernels, names[0]);
    free_names(names, n);
    uint8_t *whole;
    assert_int_equal(kl__file_read(path, 0, &whole, &len), KL_OK);
    size_t at[] = {0, 7, 8, 9, 16, 20, 24, 31, 32, len / 2, len - 1};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        whole[at[i]] ^= 1;
        assert_int_equal(kl__file_write(path, whole, len), KL_OK);
        whole[at[i]] ^= 1;
        check(use(cache, 1), 1, 0);
        check(use(cache, 1), 0, 1);
    }
    size_t cut[] = {0, 1, 31, 32, len - 1};
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        assert_int_equal(kl__file_write(path, whole, cut[i]), KL_OK);
        check(use(cache, 1), 1, 0);
        check(use(cache, 1), 0, 1);
    }
    kl__free(whole);
}

static void a_cache_that_cannot_be_is_no_error(void **state)
{
    (void)state;
    assert_int_equal(kl__file_write(cache, "x", 1), KL_OK); /* a file where the folder would be */
    check(use(cache, 1), 1, 0);
    check(use("", 1), 1, 0);
    check(use("", 1), 1, 0);
}

static void a_driver_with_a_cache_is_not_asked_for_binaries(void **state)
{
    (void)state;
    null_cl_setup(&pocl, 1, 0);
    check(use(cache, 1), 1, 0);
    check(use(cache, 1), 1, 0);
    char **names;
    assert_int_equal(n_files(&names), 0);
}

static void an_option_that_only_speeds_up_may_be_refused(void **state)
{
    (void)state;
    static const null_device plain = {.no_denorm_option = true};
    null_cl_setup(&plain, 1, 0);
    check(use("", 1), 1, 0);
}

/* ---- one program, many threads ---- */

static void *build_from_thread(void *arg)
{
    kl_ctx *ctx = arg;
    kl__seq *s = kl__seq_create(ctx);
    kl__mem *a = kl__mem_create(ctx, 64);
    kl__launch l = {.file = "test.cl", .kernel = "add", .n_args = 1, .dims = 1, .global = {16}};
    l.arg[0] = (kl__arg){.kind = KL__ARG_SPAN, .elem = 4, .span = {a, 0}};
    kl_status st = KL_OK;
    for (int i = 0; !st && i < 20; i++)
        st = kl__seq_kernel(s, &l);
    kl__mem_release(a);
    kl__seq_destroy(s);
    return st ? ctx : NULL;
}

static void threads_share_one_build(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx("");
    kl__thread t[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(kl__thread_start(&t[i], build_from_thread, ctx), KL_OK);
    for (int i = 0; i < 4; i++) {
        void *bad = NULL;
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
    kl_ctx_stats st;
    kl_ctx_stats_get(ctx, &st);
    check(st, 1, 0);
    assert_int_equal(st.live_buffers, 0);
    kl_ctx_destroy(ctx);
}

static void a_failed_build_is_told_each_time(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx("");
    kl__seq *s = kl__seq_create(ctx);
    kl__launch l = {.file = "common.cl",
                    .kernel = "k",
                    .prelude = "k " NULL_CL_BUILD_ERROR,
                    .dims = 1,
                    .global = {1}};
    kl_ctx_stats st;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kl__seq_kernel(s, &l), KL_E_BUILD);
        assert_non_null(strstr(kl_last_error(), "the source says so"));
    }
    kl_ctx_stats_get(ctx, &st);
    assert_int_equal(st.kernels_built, 0);
    kl__seq_destroy(s);
    kl_ctx_destroy(ctx);
}

int main(void)
{
    snprintf(cache, sizeof cache, "/tmp/kiln-cache-%ld", (long)getpid());
    snprintf(kernels, sizeof kernels, "%s/kernels", cache);
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_second_context_finds_binaries),
        TEST(a_damaged_entry_is_compiled_anew),
        TEST(a_cache_that_cannot_be_is_no_error),
        TEST(a_driver_with_a_cache_is_not_asked_for_binaries),
        TEST(an_option_that_only_speeds_up_may_be_refused),
        TEST(threads_share_one_build),
        TEST(a_failed_build_is_told_each_time),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    set_up(NULL); /* removes the folder */
    return failures;
}
