/* The atomic writer: the path holds the old file or the new one, whatever fails and whenever. */
#include "rig.h"

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OLD = 70000, NEW = 150000 };

static uint8_t old_data[OLD], new_data[NEW];

static void prepare(void)
{
    memset(old_data, 'o', OLD);
    memset(new_data, 'n', NEW);
}

/* 'o' or 'n' when the file is wholly one of them, 0 when it is neither. */
static char what_is_in(const char *path)
{
    uint8_t *data;
    size_t n;
    char found = 0;
    if (kl__file_read(path, 0, &data, &n)) {
        return 0;
    }
    if (n == OLD && !memcmp(data, old_data, n)) {
        found = 'o';
    } else if (n == NEW && !memcmp(data, new_data, n)) {
        found = 'n';
    }
    kl__free(data);
    return found;
}

/* In pieces, some smaller and some larger than the writer's buffer. */
static kl_status write_new(const char *path)
{
    kl__writer *w = kl__writer_open(path);
    if (!w) {
        return kl__last_status();
    }
    const size_t pieces[] = {0, 10, 65000, 1000, 70000, NEW - 136010};
    size_t at = 0;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        const kl_status st = kl__writer_put(w, new_data + at, pieces[i]);
        if (st) {
            kl__writer_drop(w);
            return st;
        }
        at += pieces[i];
    }
    return kl__writer_commit(w);
}

static void file_appears_by_the_recipe(void **state)
{
    (void)state;
    prepare();
    rig_disk_on((rig_disk){0});
    assert_int_equal(write_new(rig_path("f")), KL_OK);
    /* written, on the disk, closed, and only then in place, which is brought to the disk as well */
    const char *t = rig_files.trace;
    assert_int_equal(t[0], 'O');
    assert_int_equal(strspn(t + 1, "w"), strlen(t) - 5);
    assert_string_equal(t + strlen(t) - 4, "scnd");
    assert_int_equal(rig_files.open, 0);
    assert_int_equal(what_is_in(rig_path("f")), 'n');
    assert_int_equal(rig_entries(), 1);
    assert_int_equal(kl__file_write(rig_path("f"), old_data, OLD), KL_OK);
    assert_int_equal(what_is_in(rig_path("f")), 'o');
    assert_int_equal(kl__file_write(rig_path("empty"), NULL, 0), KL_OK);
    assert_true(kl__path_exists(rig_path("empty")));
}

static void any_failing_call_leaves_old_or_new_and_no_litter(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC, EDQUOT};
    prepare();
    for (int k = 0; k < 6; k++) {
        bool failed = true;
        long at = 0;
        while (failed) {
            assert_int_equal(kl__file_write(rig_path("f"), old_data, OLD), KL_OK);
            rig_disk_on((rig_disk){
                .fail_at = ++at, .forever = k % 2, .error = errors[k / 2], .most = 50000});
            failed = write_new(rig_path("f")) != KL_OK;
            const char last = rig_files.trace[at - 1];
            assert_int_equal(rig_files.open, 0);
            rig_disk_off();
            if (failed) {
                assert_int_equal(kl__last_status(), KL_E_IO);
                assert_non_null(strstr(kl_last_error(), rig_path("f")));
                /* Only when the folder alone could not be synced, the rename had been done. */
                assert_int_equal(what_is_in(rig_path("f")), last == 'd' ? 'n' : 'o');
            }
            assert_int_equal(rig_entries(), 1);
        }
        assert_int_equal(what_is_in(rig_path("f")), 'n');
        assert_true(at > 8);
    }
}

static void interruptions_and_short_writes_do_not_matter(void **state)
{
    (void)state;
    prepare();
    for (long at = 0; at < 12; at++) {
        rig_disk_on((rig_disk){.fail_at = at, .error = EINTR, .most = 30000});
        assert_int_equal(kl__file_write(rig_path("f"), new_data, NEW), KL_OK);
        assert_int_equal(what_is_in(rig_path("f")), 'n');
        assert_int_equal(rig_files.open, 0);
    }
    rig_disk_on((rig_disk){.fail_at = 2, .forever = true, .error = EINTR});
    assert_int_equal(kl__file_write(rig_path("f"), old_data, OLD), KL_E_IO);
    rig_disk_off();
    assert_int_equal(what_is_in(rig_path("f")), 'n');
}

static void want_of_memory_leaves_nothing(void **state)
{
    (void)state;
    prepare();
    long at = 0;
    kl_status st;
    do {
        rig_mem_on(++at);
        st = kl__file_write(rig_path("f"), new_data, NEW);
        assert_int_equal(rig_memory.alive, 0);
        assert_int_equal(rig_entries(), st == KL_OK);
    } while (st == KL_E_MEMORY);
    assert_int_equal(st, KL_OK);
    assert_int_equal(at, 5);
}

static void dropped_writer_leaves_nothing(void **state)
{
    (void)state;
    prepare();
    kl__writer_drop(NULL);
    kl__writer *w = kl__writer_open(rig_path("f"));
    assert_non_null(w);
    assert_int_equal(kl__writer_put(w, new_data, NEW), KL_OK);
    assert_int_equal(rig_entries(), 1);
    assert_false(kl__path_exists(rig_path("f")));
    kl__writer_drop(w);
    assert_int_equal(rig_entries(), 0);
}

static void commit_after_a_failed_put_fails(void **state)
{
    (void)state;
    prepare();
    rig_disk_on((rig_disk){.fail_at = 2, .error = ENOSPC});
    kl__writer *w = kl__writer_open(rig_path("f"));
    assert_int_equal(kl__writer_put(w, new_data, NEW), KL_E_IO);
    assert_non_null(strstr(kl_last_error(), "No space left"));
    assert_int_equal(kl__writer_put(w, new_data, 1), KL_E_IO);
    assert_int_equal(kl__writer_commit(w), KL_E_IO);
    assert_int_equal(rig_entries(), 0);
}

static void only_plain_files_are_replaced(void **state)
{
    (void)state;
    struct stat before, after;
    assert_int_equal(stat("/dev/null", &before), 0);
    assert_null(kl__writer_open("/dev/null"));
    assert_int_equal(kl__last_status(), KL_E_IO);
    assert_int_equal(stat("/dev/null", &after), 0);
    assert_true(S_ISCHR(after.st_mode) && before.st_ino == after.st_ino);
    assert_null(kl__writer_open(rig_path(".")));
    assert_null(kl__writer_open(rig_path("no/folder/f")));
    assert_non_null(strstr(kl_last_error(), "No such file"));
}

static void two_writers_of_one_path_do_not_mix(void **state)
{
    (void)state;
    prepare();
    kl__writer *a = kl__writer_open(rig_path("f")), *b = kl__writer_open(rig_path("f"));
    assert_int_equal(kl__writer_put(a, old_data, OLD), KL_OK);
    assert_int_equal(kl__writer_put(b, new_data, NEW), KL_OK);
    assert_int_equal(kl__writer_commit(a), KL_OK);
    assert_int_equal(what_is_in(rig_path("f")), 'o');
    assert_int_equal(kl__writer_commit(b), KL_OK);
    assert_int_equal(what_is_in(rig_path("f")), 'n');
    assert_int_equal(rig_entries(), 1);
}

typedef struct watch {
    char path[512];
    atomic_bool stop;
    int seen, torn;
} watch;

static void *watcher(void *arg)
{
    watch *w = arg;
    while (!atomic_load(&w->stop)) {
        w->seen++;
        w->torn += what_is_in(w->path) == 0;
    }
    return NULL;
}

static void readers_never_see_anything_in_between(void **state)
{
    (void)state;
    prepare();
    watch w = {.seen = 0};
    kl__thread t;
    kl_status st = KL_OK;
    snprintf(w.path, sizeof w.path, "%s", rig_path("f"));
    assert_int_equal(kl__file_write(w.path, old_data, OLD), KL_OK);
    assert_int_equal(kl__thread_start(&t, watcher, &w), KL_OK);
    for (int i = 0; i < 100 && !st; i++) {
        st = i % 2 ? kl__file_write(w.path, old_data, OLD) : write_new(w.path);
    }
    atomic_store(&w.stop, true);
    kl__thread_join(t);
    assert_int_equal(st, KL_OK);
    assert_true(w.seen > 0);
    assert_int_equal(w.torn, 0);
}

static void a_killed_process_leaves_a_whole_file(void **state)
{
    (void)state;
    prepare();
    char path[512];
    snprintf(path, sizeof path, "%s", rig_path("f"));
    assert_int_equal(kl__file_write(path, old_data, OLD), KL_OK);
    for (int i = 0; i < 20; i++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (!child) {
            for (int k = 0;; k++) {
                k % 2 ? kl__file_write(path, old_data, OLD) : write_new(path);
            }
        }
        nanosleep(&(struct timespec){0, 1000000 + i * 700000L}, NULL);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        assert_int_not_equal(what_is_in(path), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(file_appears_by_the_recipe, rig_enter, rig_leave),
        cmocka_unit_test_setup_teardown(any_failing_call_leaves_old_or_new_and_no_litter, rig_enter,
                                        rig_leave),
        cmocka_unit_test_setup_teardown(interruptions_and_short_writes_do_not_matter, rig_enter,
                                        rig_leave),
        cmocka_unit_test_setup_teardown(want_of_memory_leaves_nothing, rig_enter, rig_leave),
        cmocka_unit_test_setup_teardown(dropped_writer_leaves_nothing, rig_enter, rig_leave),
        cmocka_unit_test_setup_teardown(commit_after_a_failed_put_fails, rig_enter, rig_leave),
        cmocka_unit_test_setup_teardown(only_plain_files_are_replaced, rig_enter, rig_leave),
        cmocka_unit_test_setup_teardown(two_writers_of_one_path_do_not_mix, rig_enter, rig_leave),
        cmocka_unit_test_setup_teardown(readers_never_see_anything_in_between, rig_enter,
                                        rig_leave),
        cmocka_unit_test_setup_teardown(a_killed_process_leaves_a_whole_file, rig_enter, rig_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
