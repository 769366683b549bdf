/* The table of winners and its file: what is stored comes back, whatever is wrong costs nothing. */
#include "base/file.h"
#include "base/mem.h"
#include "base/thread.h"
#include "device/winners.h"
#include "support/null_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char cache[128], tuned[160];
static const null_device one = {.name = "one"}, two = {.name = "two"};

static kl_ctx *open_with(const kl_ctx_opts *o)
{
    kl_ctx *ctx = kl_ctx_create(o);
    if (!ctx)
        fail_msg("%s", kl_last_error());
    return ctx;
}

static kl_ctx *open_ctx(void)
{
    return open_with(&(kl_ctx_opts){.cache_dir = cache});
}

static kl__winner winner(char *key, const char *name, double seconds)
{
    kl__winner x = {.key = key, .n_times = 2, .time = {{"rule", 3}, {"", seconds}}};
    snprintf(x.name, sizeof x.name, "%s", name);
    snprintf(x.time[1].name, sizeof x.time[1].name, "%s", name);
    return x;
}

static bool store(kl_ctx *ctx, const char *key, const char *name, double seconds)
{
    kl__winners w = {0};
    char copy[64];
    snprintf(copy, sizeof copy, "%s", key);
    kl__winner x = winner(copy, name, seconds);
    assert_int_equal(kl__winners_put(&w, &x), KL_OK);
    bool ok = kl__winners_store(ctx, &w);
    kl__winners_free(&w);
    return ok;
}

/** What a context made now has for the key; NULL: nothing. */
static const char *known(const char *key)
{
    static char name[KL__WINNER_NAME];
    kl_ctx *ctx = open_ctx();
    const kl__winner *x = kl__winners_find(kl__ctx_caps(ctx)->winners, key);
    if (x)
        snprintf(name, sizeof name, "%s", x->name);
    kl_ctx_destroy(ctx);
    return x ? name : NULL;
}

static char *only_file(void)
{
    char **names;
    size_t n;
    assert_int_equal(kl__list_dir(tuned, &names, &n), KL_OK);
    assert_int_equal(n, 1);
    char *path = kl__asprintf("%s/%s", tuned, names[0]);
    kl__free(names[0]);
    kl__free(names);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    char cmd[256];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", cache);
    null_cl_setup(&one, 1, 0);
    kl__cl_set_table(null_cl_table());
    return system(cmd);
}

static int tear_down(void **state)
{
    (void)state;
    kl__cl_set_table(NULL);
    return null_cl_live() != 0;
}

/* ---- the table ---- */
static void a_table_keeps_the_last_of_each_key(void **state)
{
    (void)state;
    enum { N = 50 };
    kl__winners w = {0};
    char key[N][16];
    assert_null(kl__winners_find(NULL, "a"));
    assert_null(kl__winners_find(&w, "a"));
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < N; i++) {
            snprintf(key[i], sizeof key[i], "op %d", i * 7 % N);
            kl__winner x = winner(key[i], round ? "new" : "old", i);
            assert_int_equal(kl__winners_put(&w, &x), KL_OK);
        }
    assert_int_equal(w.n, N);
    for (int i = 0; i < N; i++) {
        const kl__winner *x = kl__winners_find(&w, key[i]);
        assert_non_null(x);
        assert_string_equal(x->name, "new");
        assert_true(x->time[1].seconds == i);
        assert_true(i == 0 || strcmp(w.list[i - 1].key, w.list[i].key) < 0);
    }
    assert_null(kl__winners_find(&w, "op"));
    kl__winners_free(&w);
}

/* ---- the file ---- */
static void what_is_stored_comes_back(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx();
    assert_null(kl__ctx_caps(ctx)->winners);
    assert_true(store(ctx, "conv a", "solo@1", 0.25));
    assert_true(store(ctx, "conv b", "wino", 1e-6));
    assert_null(kl__ctx_caps(ctx)->winners); /* a context's choices never change */
    kl_ctx_destroy(ctx);
    ctx = open_ctx();
    const kl__winner *x = kl__winners_find(kl__ctx_caps(ctx)->winners, "conv a");
    assert_non_null(x);
    assert_string_equal(x->name, "solo@1");
    assert_int_equal(x->n_times, 2);
    assert_true(x->time[0].seconds == 3 && x->time[1].seconds == 0.25);
    assert_string_equal(x->time[1].name, "solo@1");
    assert_int_equal(kl__ctx_caps(ctx)->winners->n, 2);
    assert_true(store(ctx, "conv a", "solo", 0.125)); /* the newest counts, others stay */
    kl_ctx_destroy(ctx);
    assert_string_equal(known("conv a"), "solo");
    assert_string_equal(known("conv b"), "wino");
}

static void a_context_may_be_told_to_look_away(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx();
    assert_true(store(ctx, "a", "solo", 1));
    kl_ctx_destroy(ctx);
    const kl_ctx_opts quiet[] = {{.cache_dir = cache, .flags = KL_CTX_NO_TUNE},
                                 {.cache_dir = cache, .tuned = ""},
                                 {.cache_dir = ""}};
    for (size_t i = 0; i < 3; i++) {
        ctx = open_with(&quiet[i]);
        assert_null(kl__ctx_caps(ctx)->winners);
        kl_ctx_destroy(ctx);
    }
    setenv("KILN_TUNE", "0", 1);
    ctx = open_ctx();
    assert_null(kl__ctx_caps(ctx)->winners);
    assert_true(kl__ctx_flags(ctx) & KL_CTX_NO_TUNE);
    kl_ctx_destroy(ctx);
    unsetenv("KILN_TUNE");
    assert_string_equal(known("a"), "solo");
}

static void another_device_or_kernel_has_a_file_of_its_own(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx();
    assert_true(store(ctx, "a", "solo", 1));
    kl_ctx_destroy(ctx);
    char *path = only_file();
    null_cl_setup(&two, 1, 0);
    assert_null(known("a"));
    /* nor is the other's file taken where it is named */
    ctx = open_with(&(kl_ctx_opts){.cache_dir = cache, .tuned = path});
    assert_null(kl__ctx_caps(ctx)->winners);
    kl_ctx_destroy(ctx);
    null_cl_setup(&one, 1, 0);
    assert_string_equal(known("a"), "solo");
    char *cl = kl__asprintf("%s/cl", cache), *common = kl__asprintf("%s/common.cl", cl);
    assert_int_equal(kl__make_dirs(cl), KL_OK);
    assert_int_equal(kl__file_write(common, "/* changed */\n", 14), KL_OK);
    ctx = open_with(&(kl_ctx_opts){.cache_dir = cache, .kernel_dir = cl});
    assert_null(kl__ctx_caps(ctx)->winners);
    kl_ctx_destroy(ctx);
    kl__free(common);
    kl__free(cl);
    kl__free(path);
}

static void a_run_keeps_its_choices_in_a_file(void **state)
{
    (void)state;
    char *path = kl__asprintf("%s/run.json", cache);
    kl_ctx *ctx = open_ctx();
    assert_true(store(ctx, "a", "solo", 1));
    assert_int_equal(kl_ctx_save_tuned(ctx, path), KL_OK); /* it knew of none */
    kl_ctx_destroy(ctx);
    ctx = open_with(&(kl_ctx_opts){.cache_dir = cache, .tuned = path});
    assert_null(kl__ctx_caps(ctx)->winners);
    kl_ctx_destroy(ctx);
    ctx = open_ctx();
    assert_int_equal(kl_ctx_save_tuned(ctx, path), KL_OK);
    assert_true(store(ctx, "a", "other", 1));
    kl_ctx_destroy(ctx);
    assert_string_equal(known("a"), "other");
    ctx = open_with(&(kl_ctx_opts){.cache_dir = cache, .tuned = path});
    assert_string_equal(kl__winners_find(kl__ctx_caps(ctx)->winners, "a")->name, "solo");
    assert_int_equal(kl_ctx_save_tuned(ctx, NULL), KL_E_ARG);
    assert_int_equal(kl_ctx_save_tuned(ctx, "/nowhere/at/all"), KL_E_IO);
    kl_ctx_destroy(ctx);
    kl__free(path);
}

/* Every byte may be wrong and every length too short: the context comes, and the next store mends
 * the file. */
static void a_damaged_file_is_as_good_as_none(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx();
    assert_true(store(ctx, "a", "solo", 1));
    char *path = only_file();
    uint8_t *whole;
    size_t n, bad = 0;
    assert_int_equal(kl__file_read(path, 0, &whole, &n), KL_OK);
    for (size_t i = 0; i < n; i += 3) {
        assert_int_equal(kl__file_write(path, whole, i), KL_OK);
        assert_null(known("a"));
        whole[i] ^= 0x15;
        assert_int_equal(kl__file_write(path, whole, n), KL_OK);
        const char *name = known("a"); /* a letter of the name may have become another */
        bad += !name || strcmp(name, "solo") != 0;
        whole[i] ^= 0x15;
    }
    assert_true(bad > n / 6);
    assert_true(store(ctx, "b", "solo", 1));
    assert_string_equal(known("b"), "solo");
    kl__free(whole);
    kl__free(path);
    kl_ctx_destroy(ctx);
}

/** Puts `entry` in the place of the only entry's value. */
static void with_entry(const char *path, const char *text, const char *entry)
{
    const char *at = strstr(text, "\"a\": {"), *end = at ? strstr(at, "}\n  }") : NULL;
    assert_non_null(end);
    char *s = kl__asprintf("%.*s\"a\": %s%s", (int)(at - text), text, entry, end + 5);
    assert_int_equal(kl__file_write(path, s, strlen(s)), KL_OK);
    kl__free(s);
}

static void entries_of_another_form_are_left_out(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx();
    assert_true(store(ctx, "a", "solo", 1));
    kl_ctx_destroy(ctx);
    char *path = only_file();
    uint8_t *text;
    size_t n;
    assert_int_equal(kl__file_read(path, 0, &text, &n), KL_OK);
    with_entry(path, (char *)text, "{\"fastest\": \"x\", \"ns\": {\"x\": 5}}");
    assert_string_equal(known("a"), "x");
    const char *const wrong[] = {
        "3",
        "[]",
        "{}",
        "null",
        "{\"fastest\": \"x\"}",
        "{\"fastest\": 3, \"ns\": {}}",
        "{\"fastest\": \"\", \"ns\": {}}",
        "{\"fastest\": \"x\", \"ns\": {\"x\": -1}}",
        "{\"fastest\": \"x\", \"ns\": {\"x\": 1.5}}",
        "{\"fastest\": \"x\", \"ns\": 3}",
        "{\"fastest\": \"0123456789012345678901234567890123456789\", \"ns\": {}}",
        "{\"fastest\": \"x\", \"ns\": {\"0123456789012345678901234567890123456789\": 1}}",
        "{\"fastest\": \"x\", \"ns\": {\"1\": 1,\"2\": 1,\"3\": 1,\"4\": 1,\"5\": 1,\"6\": 1}}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        with_entry(path, (char *)text, wrong[i]);
        if (known("a"))
            fail_msg("taken: %s", wrong[i]);
    }
    kl__free(text);
    kl__free(path);
}

static void a_cache_that_cannot_be_is_no_error(void **state)
{
    (void)state;
    assert_int_equal(kl__file_write(cache, "x", 1), KL_OK); /* a file where the folder would be */
    kl_ctx *ctx = open_ctx();
    assert_false(store(ctx, "a", "solo", 1));
    kl_ctx_destroy(ctx);
    ctx = open_with(&(kl_ctx_opts){.cache_dir = ""});
    assert_false(store(ctx, "a", "solo", 1));
    kl_ctx_destroy(ctx);
    assert_null(known("a"));
}

/* ---- many writers ---- */
typedef struct writer {
    kl_ctx *ctx;
    int k;
    bool ok;
} writer;

static void *write_some(void *arg)
{
    writer *w = arg;
    char key[32];
    w->ok = true;
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof key, "op %d %d", w->k, i);
        w->ok = store(w->ctx, key, "solo", 1) && w->ok;
    }
    return NULL;
}

/* Whoever comes second may lose what it did not see; the file is whole at any time. */
static void writers_do_not_tear_the_file(void **state)
{
    (void)state;
    enum { N = 4 };
    kl__thread t[N];
    writer w[N];
    for (int i = 0; i < N; i++) {
        w[i] = (writer){open_ctx(), i, false};
        assert_int_equal(kl__thread_start(&t[i], write_some, &w[i]), KL_OK);
    }
    for (int i = 0; i < N; i++)
        kl__thread_join(t[i]);
    for (int i = 0; i < N; i++) {
        assert_true(w[i].ok);
        kl_ctx_destroy(w[i].ctx);
    }
    kl__free(only_file()); /* and nothing is left beside it */
    kl_ctx *ctx = open_ctx();
    assert_non_null(kl__ctx_caps(ctx)->winners);
    assert_true(kl__ctx_caps(ctx)->winners->n >= 10);
    kl_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_table_keeps_the_last_of_each_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_stored_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_context_may_be_told_to_look_away, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_device_or_kernel_has_a_file_of_its_own, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_run_keeps_its_choices_in_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_as_good_as_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(entries_of_another_form_are_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cache_that_cannot_be_is_no_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(writers_do_not_tear_the_file, set_up, tear_down),
    };
    unsetenv("KILN_TUNE"); /* other tests go by rule alone */
    const char *tmp = getenv("TMPDIR");
    snprintf(cache, sizeof cache, "%s/kiln-winners-%ld", tmp ? tmp : "/tmp", (long)getpid());
    snprintf(tuned, sizeof tuned, "%s/tuned", cache);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    set_up(NULL);
    return failed;
}
