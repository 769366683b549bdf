/* The self-test: passes on a sound device, covers every op, and fails where a kernel is wrong. */
#include "device/source.h"
#include "ops/op.h"
#include "train/selftest.h"

#include "base/file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct seen {
    size_t rows, failed;
    double seconds;
    bool only_first, until_wrong;
    char detail[256];
} seen;

static bool see(void *user, const kl_selftest_row *r)
{
    seen *s = user;
    s->rows++;
    s->seconds += r->seconds;
    if (r->ok)
        assert_true(r->error >= 0 && r->error < 1e-3 && !r->detail);
    if (!r->ok) {
        s->failed++;
        snprintf(s->detail, sizeof s->detail, "%s", r->detail);
        print_message("%s: %s\n", r->what, r->detail);
    }
    return !s->only_first && !(s->until_wrong && s->failed);
}

static void a_sound_device_passes(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    seen s = {0};
    assert_non_null(ctx);
    kl_status st = kl_selftest(ctx, see, &s);
    if (st != KL_OK)
        fail_msg("%s", kl_last_error());
    assert_int_equal(s.failed, 0);
    assert_int_equal(s.rows, kl__selftest_n_cases + KL__SELFTEST_OPTIMS);
    assert_true(s.seconds > 0);
    kl_ctx_destroy(ctx);
}

/* Every op that users have stands in some case. */
static void every_op_is_tested(void **state)
{
    (void)state;
    for (size_t i = 0; i < kl__op_count(); i++) {
        const kl__op *op = kl__op_at(i);
        char call[64];
        bool found = false;
        if (op->flags & (KL__OP_LEAF | KL__OP_HIDDEN))
            continue;
        snprintf(call, sizeof call, "= %s(", op->name);
        for (size_t k = 0; k < kl__selftest_n_cases; k++)
            found |= strstr(kl__selftest_cases[k].text, call) != NULL;
        if (!found)
            fail_msg("no case has the op %s", op->name);
    }
}

/* A device whose fma is off by one: a product of whole numbers says so, before the fifth case is
 * over. */
static void wrong_kernels_fail(void **state)
{
    (void)state;
    char dir[] = "/tmp/kiln-selftest-XXXXXX", path[64], text[8192];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/common.cl", dir);
    for (size_t i = 0; i < kl__cl_n_files; i++)
        if (!strcmp(kl__cl_files[i].name, "common.cl"))
            snprintf(text, sizeof text,
                     "%s\n#undef fma\n#define fma(a, b, c) ((a) * (b) + (c) + (T)1)\n",
                     (const char *)kl__cl_files[i].text);
    assert_int_equal(kl__file_write(path, text, strlen(text)), KL_OK);
    kl_ctx *ctx = kl_ctx_create(&(kl_ctx_opts){.kernel_dir = dir, .cache_dir = ""});
    seen s = {.until_wrong = true};
    assert_non_null(ctx);
    assert_int_equal(kl_selftest(ctx, see, &s), KL_E_CANCELLED);
    assert_true(s.rows <= 5);
    assert_int_equal(s.failed, 1);
    assert_non_null(strstr(s.detail, "is right"));
    kl_ctx_destroy(ctx);
    remove(path);
    rmdir(dir);
}

static void stopping_and_arguments(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    seen s = {.only_first = true};
    assert_non_null(ctx);
    assert_int_equal(kl_selftest(ctx, see, &s), KL_E_CANCELLED);
    assert_int_equal(s.rows, 1);
    assert_int_equal(s.failed, 0);
    assert_int_equal(kl_selftest(NULL, see, &s), KL_E_ARG);
    kl_ctx_destroy(ctx);
}

/* What counts as equal: nothing but equal numbers where they are whole; and NaN never. */
static void comparisons(void **state)
{
    (void)state;
    const double want[3] = {1, -2, 2}, near[3] = {1 + 3e-6, -2, 2}, odd[3] = {1, (double)NAN, 2},
                 zero[3] = {0, 0, 0};
    kl__selftest_result r = {.ok = true};
    kl__selftest_compare(&r, "a", want, want, 3, 0, true);
    assert_true(r.ok && r.error == 0);
    kl__selftest_compare(&r, "a", near, want, 3, 1.01e-6, false);
    assert_true(r.ok && fabs(r.error - 1e-6) < 1e-12);
    kl__selftest_compare(&r, "b", near, want, 3, 0.99e-6, false);
    assert_false(r.ok);
    assert_non_null(strstr(r.detail, "b: element 0 of 3"));
    r = (kl__selftest_result){.ok = true};
    kl__selftest_compare(&r, "c", near, want, 3, 1, true);
    assert_false(r.ok);
    r = (kl__selftest_result){.ok = true};
    kl__selftest_compare(&r, "d", odd, want, 3, 1, false);
    assert_false(r.ok);
    assert_non_null(strstr(r.detail, "element 1"));
    r = (kl__selftest_result){.ok = true};
    kl__selftest_compare(&r, "e", zero, zero, 3, 0, false);
    assert_true(r.ok);
    kl__selftest_compare(&r, "f", want, zero, 3, 1e-3, false);
    assert_false(r.ok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_device_passes), cmocka_unit_test(every_op_is_tested),
        cmocka_unit_test(wrong_kernels_fail),    cmocka_unit_test(stopping_and_arguments),
        cmocka_unit_test(comparisons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
