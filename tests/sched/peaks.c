/* What a device can do at most: measured, kept, and what rows of a profile are told as. */
#include "base/file.h"
#include "base/mem.h"
#include "device/device.h"

#include <kiln/inspect.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static char folder[64], peaks_folder[80];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/kiln-peaks-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(peaks_folder, sizeof peaks_folder, "%s/peaks", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static kl_ctx *open_ctx(const char *cache)
{
    kl_ctx *ctx = kl_ctx_create(&(kl_ctx_opts){.flags = KL_CTX_PROFILE, .cache_dir = cache});
    if (!ctx)
        fail_msg("%s", kl_last_error());
    return ctx;
}

static kl_peaks peaks_of(kl_ctx *ctx, bool again)
{
    kl_peaks p;
    if (kl_ctx_peaks(ctx, again, &p) != KL_OK)
        fail_msg("%s", kl_last_error());
    return p;
}

static void make_sense(const kl_peaks *p)
{
    assert_true(p->flops > 0 && p->launch_seconds > 0);
    assert_in_range(p->n_levels, 2, KL_PEAK_LEVELS);
    assert_string_equal(p->level[0].name, "L1");
    for (int i = 0; i < p->n_levels; i++) {
        assert_true(p->level[i].bytes_per_second > 0);
        assert_true(i == 0 || i + 1 == p->n_levels || p->level[i].bytes > p->level[i - 1].bytes);
    }
    assert_string_equal(p->level[p->n_levels - 1].name, "memory");
    assert_int_equal(p->level[p->n_levels - 1].bytes, 0);
}

static char *peaks_file(void)
{
    char **names;
    size_t n;
    assert_int_equal(kl__list_dir(peaks_folder, &names, &n), KL_OK);
    assert_int_equal(n, 1);
    char *path = kl__asprintf("%s/%s", peaks_folder, names[0]);
    kl__free(names[0]);
    kl__free(names);
    return path;
}

/* The figures are measured once; another context of the device finds them; a file that is cut, or
 * not numbers, is measured anew and replaced. */
static void peaks_are_kept(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx(folder);
    kl_ctx_stats stats;
    kl_peaks first = peaks_of(ctx, false), again;
    make_sense(&first);
    kl_ctx_destroy(ctx);
    ctx = open_ctx(folder);
    again = peaks_of(ctx, false);
    make_sense(&again);
    kl_ctx_stats_get(ctx, &stats);
    assert_int_equal(stats.launches, 0);
    assert_true(again.flops > 0.999999 * first.flops && again.flops < 1.000001 * first.flops);
    assert_int_equal(again.level[0].bytes, first.level[0].bytes);
    char *path = peaks_file();
    static const char better[] = "flops 1e20 0\nlaunch 1e-12 0\nL1 1e20 9\nmemory 1e20 0\n";
    assert_int_equal(kl__file_write(path, better, strlen(better)), KL_OK);
    again = peaks_of(ctx, true); /* what was seen once stays; capacities are the device's */
    make_sense(&again);
    assert_true(again.flops == 1e20 && again.launch_seconds == 1e-12);
    assert_true(again.level[0].bytes_per_second == 1e20);
    assert_int_equal(again.level[0].bytes, first.level[0].bytes);
    static const char *const bad[] = {"", "flops 1e9 0\nlaunch 1e-6 0\nL1 1e9 100\n",
                                      "flops 1e9 0\nlaunch 1e-6 0\nmemory -3 0\n",
                                      "flops x 0\nlaunch 1e-6 0\nmemory 1e9 0\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kl_ctx_stats before;
        kl_ctx_stats_get(ctx, &before);
        assert_int_equal(kl__file_write(path, bad[i], strlen(bad[i])), KL_OK);
        again = peaks_of(ctx, false);
        make_sense(&again);
        kl_ctx_stats_get(ctx, &stats);
        assert_true(stats.launches > before.launches);
    }
    kl__free(path);
    path = peaks_file(); /* one file, and a right one */
    kl_ctx_stats_get(ctx, &stats);
    uint64_t launches = stats.launches;
    peaks_of(ctx, false);
    kl_ctx_stats_get(ctx, &stats);
    assert_int_equal(stats.launches, launches);
    assert_int_equal(kl_ctx_peaks(ctx, false, NULL), KL_E_ARG);
    assert_int_equal(kl_ctx_peaks(NULL, false, &again), KL_E_ARG);
    kl__free(path);
    kl_ctx_destroy(ctx);
}

/* Without a cache folder they are measured each time, and nothing stays on the device. */
static void peaks_need_no_cache(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx("");
    kl_ctx_stats stats;
    kl_peaks p = peaks_of(ctx, false);
    make_sense(&p);
    kl_ctx_stats_get(ctx, &stats);
    assert_int_equal(stats.live_bytes, 0);
    kl_ctx_destroy(ctx);
}

static void bound_is(double flops, size_t bytes, size_t launches, double seconds, kl_bound want,
                     double want_share)
{
    const kl_peaks p = {.flops = 1e9,
                        .n_levels = 3,
                        .level = {{"L1", 1000, 1e9}, {"L2", 10000, 1e8}, {"memory", 0, 1e7}},
                        .launch_seconds = 1e-6};
    const kl_op_time row = {
        .flops = flops, .bytes = bytes, .launches = launches, .seconds = seconds};
    double share = -1;
    kl_bound got = kl_op_bound(&p, &row, &share);
    if (got != want || share < want_share * 0.999 || share > want_share * 1.001)
        fail_msg("%g flops, %zu bytes, %zu launches: %s, share %g", flops, bytes, launches,
                 kl_bound_name(got), share);
    assert_int_equal(kl_op_bound(&p, &row, NULL), want);
}

/* The largest of three times is what binds; bytes move at the rate of the nearest level that holds
 * them. */
static void bounds_are_told(void **state)
{
    (void)state;
    bound_is(1e6, 1000, 1, 2e-3, KL_BOUND_ARITHMETIC, 0.5);
    bound_is(1e3, 1000, 1, 2e-6, KL_BOUND_CACHE, 0.5); /* 1 us: launches must exceed it to bind */
    bound_is(1e3, 1001, 1, 1e-4, KL_BOUND_CACHE, 0.1001);
    bound_is(1e3, 10000, 1, 1e-4, KL_BOUND_CACHE, 1);
    bound_is(1e3, 10001, 1, 1e-2, KL_BOUND_MEMORY, 0.10001);
    bound_is(1e3, 100, 3, 1e-5, KL_BOUND_LAUNCH, 0.3);
    bound_is(2e6, 100, 1, 1e-3, KL_BOUND_ARITHMETIC, 2); /* fewer operations than counted */
    bound_is(1e6, 100, 1, 0, KL_BOUND_ARITHMETIC, 0);
    kl_op_time row = {.launches = 1};
    double share = 3;
    assert_int_equal(kl_op_bound(&(kl_peaks){0}, &row, &share), KL_BOUND_LAUNCH);
    assert_true(share == 0);
    assert_string_equal(kl_bound_name(KL_BOUND_MEMORY), "memory");
    assert_string_equal(kl_bound_name((kl_bound)9), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(peaks_are_kept),
                                       cmocka_unit_test(peaks_need_no_cache),
                                       cmocka_unit_test(bounds_are_told)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
