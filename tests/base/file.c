/* Whole files, folders, paths. */
#include "rig.h"

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void put(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

static void whole_file_comes_with_a_nul(void **state)
{
    (void)state;
    static uint8_t big[200000];
    uint8_t *data;
    size_t n;
    for (size_t i = 0; i < sizeof big; i++) {
        big[i] = (uint8_t)(i * 7 + i / 256);
    }
    const size_t sizes[] = {0, 1, 65535, 65536, 65537, sizeof big};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const char *p = rig_path("f");
        put(p, big, sizes[k]);
        assert_int_equal(kl__file_read(p, 0, &data, &n), KL_OK);
        assert_int_equal(n, sizes[k]);
        assert_memory_equal(data, big, n);
        assert_int_equal(data[n], 0);
        kl__free(data);
    }
}

static void limit_is_kept(void **state)
{
    (void)state;
    const char *p = rig_path("f");
    uint8_t *data;
    size_t n;
    put(p, "0123456789", 10);
    assert_int_equal(kl__file_read(p, 10, &data, &n), KL_OK);
    kl__free(data);
    assert_int_equal(kl__file_read(p, 9, &data, &n), KL_E_FORMAT);
    assert_null(data);
    assert_non_null(strstr(kl_last_error(), p));
    rig_disk_on((rig_disk){.fail_at = 2, .error = ESPIPE}); /* a file that does not say its size */
    assert_int_equal(kl__file_read(p, 9, &data, &n), KL_E_FORMAT);
    assert_int_equal(rig_files.open, 0);
    rig_disk_on((rig_disk){.fail_at = 2, .error = ESPIPE});
    assert_int_equal(kl__file_read(p, 10, &data, &n), KL_OK);
    assert_int_equal(n, 10);
    kl__free(data);
}

static void files_that_claim_no_size_are_read(void **state)
{
    (void)state;
    uint8_t *data;
    size_t n;
    if (access("/proc/self/status", R_OK)) {
        skip();
    }
    assert_int_equal(kl__file_read("/proc/self/status", 0, &data, &n), KL_OK);
    assert_non_null(strstr((char *)data, "Pid:"));
    kl__free(data);
}

static void what_cannot_be_read_says_why(void **state)
{
    (void)state;
    uint8_t *data;
    size_t n;
    const char *p = rig_path("none");
    char want[600];
    assert_int_equal(kl__file_read(p, 0, &data, &n), KL_E_IO);
    snprintf(want, sizeof want, "%s: cannot be opened: No such file or directory", p);
    assert_string_equal(kl_last_error(), want);
    assert_int_equal(kl__file_read(rig_path("."), 0, &data, &n), KL_E_IO);
    assert_non_null(strstr(kl_last_error(), "Is a directory"));
}

static void reading_survives_short_counts_and_every_fault(void **state)
{
    (void)state;
    const char *p = rig_path("f");
    uint8_t *data;
    size_t n;
    put(p, "hello world", 11);
    for (long at = 0; at < 20; at++) {
        rig_disk_on((rig_disk){.fail_at = at, .error = EINTR, .most = 3});
        assert_int_equal(kl__file_read(p, 0, &data, &n), KL_OK);
        assert_string_equal((char *)data, "hello world");
        assert_int_equal(rig_files.open, 0);
        kl__free(data);
    }
    rig_disk_on((rig_disk){.fail_at = 1, .forever = true, .error = EINTR});
    assert_int_equal(kl__file_read(p, 0, &data, &n), KL_E_IO); /* and returns at all */
    rig_disk_on((rig_disk){.fail_at = 3, .error = EIO, .most = 3});
    assert_int_equal(kl__file_read(p, 0, &data, &n), KL_E_IO);
    assert_null(data);
    assert_int_equal(rig_files.open, 0);
}

static void reading_survives_want_of_memory(void **state)
{
    (void)state;
    const char *p = rig_path("f");
    uint8_t *data;
    size_t n;
    put(p, "hello", 5);
    rig_mem_on(1);
    assert_int_equal(kl__file_read(p, 0, &data, &n), KL_E_MEMORY);
    assert_non_null(strstr(kl_last_error(), p));
    assert_int_equal(rig_memory.alive, 0);
}

static void folders_are_listed_in_order(void **state)
{
    (void)state;
    static const char *const made[] = {"b", "a", "\xc3\xa4", "B", "a.b", "10", "9"};
    static const char *const want[] = {"10", "9", "B", "a", "a.b", "b", "\xc3\xa4"};
    char **names;
    size_t n;
    assert_int_equal(kl__list_dir(rig_path("."), &names, &n), KL_OK);
    assert_int_equal(n, 0);
    kl__free(names);
    for (size_t i = 0; i < 7; i++) {
        put(rig_path(made[i]), "", 0);
    }
    long at = 0;
    do { /* with memory failing at every call in turn, nothing leaks */
        rig_mem_on(++at);
        if (kl__list_dir(rig_path("."), &names, &n) != KL_OK) {
            assert_int_equal(kl__last_status(), KL_E_MEMORY);
            assert_int_equal(rig_memory.alive, 0);
            assert_null(names);
        }
    } while (!names);
    assert_int_equal(at, 9);
    assert_int_equal(n, 7);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(names[i], want[i]);
        kl__free(names[i]);
    }
    kl__free(names);
    assert_int_equal(rig_memory.alive, 0);
    assert_int_equal(kl__list_dir(rig_path("none"), &names, &n), KL_E_IO);
    assert_non_null(strstr(kl_last_error(), "No such file"));
}

static void folders_are_made_with_their_parents(void **state)
{
    (void)state;
    assert_int_equal(kl__make_dirs(rig_path("x/y//z/")), KL_OK);
    assert_true(kl__path_is_dir(rig_path("x/y/z")));
    assert_int_equal(kl__make_dirs(rig_path("x/y/z")), KL_OK);
    assert_int_equal(kl__make_dirs("/"), KL_OK);
    assert_int_equal(kl__make_dirs(""), KL_E_ARG);
    put(rig_path("file"), "", 0);
    assert_true(kl__path_exists(rig_path("file")));
    assert_false(kl__path_is_dir(rig_path("file")));
    assert_false(kl__path_exists(rig_path("none")));
    assert_int_equal(kl__make_dirs(rig_path("file")), KL_E_IO);
    assert_int_equal(kl__make_dirs(rig_path("file/below")), KL_E_IO);
    assert_non_null(strstr(kl_last_error(), "file"));
}

static void is_cache(const char *xdg, const char *home, const char *want)
{
    xdg ? setenv("XDG_CACHE_HOME", xdg, 1) : unsetenv("XDG_CACHE_HOME");
    home ? setenv("HOME", home, 1) : unsetenv("HOME");
    char *got = kl__cache_dir();
    if (want) {
        assert_string_equal(got, want);
    } else {
        assert_null(got);
    }
    kl__free(got);
}

static void cache_folder_follows_the_standard(void **state)
{
    (void)state;
    is_cache("/c", "/h", "/c/kiln");
    is_cache(NULL, "/h", "/h/.cache/kiln");
    is_cache("", "/h", "/h/.cache/kiln");
    is_cache("relative", "/h", "/h/.cache/kiln");
    is_cache(NULL, NULL, NULL);
    is_cache(NULL, "", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_file_comes_with_a_nul, rig_enter, rig_leave),
        cmocka_unit_test_setup_teardown(limit_is_kept, rig_enter, rig_leave),
        cmocka_unit_test(files_that_claim_no_size_are_read),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_says_why, rig_enter, rig_leave),
        cmocka_unit_test_setup_teardown(reading_survives_short_counts_and_every_fault, rig_enter,
                                        rig_leave),
        cmocka_unit_test_setup_teardown(reading_survives_want_of_memory, rig_enter, rig_leave),
        cmocka_unit_test_setup_teardown(folders_are_listed_in_order, rig_enter, rig_leave),
        cmocka_unit_test_setup_teardown(folders_are_made_with_their_parents, rig_enter, rig_leave),
        cmocka_unit_test(cache_folder_follows_the_standard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
