/* Without CLBlast a gemm step is refused with a sentence, and nothing else changes. A process of
 * its own: the library is looked for once. */
#include "device/device.h"
#include "support/null_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void refuse(void)
{
    kl_ctx *ctx = kl_ctx_create(&(kl_ctx_opts){.cache_dir = ""});
    if (!ctx)
        fail_msg("%s", kl_last_error());
    assert_false(kl__gemm_available(ctx));
    kl__seq *s = kl__seq_create(ctx);
    kl__gemm g = {.m = 1, .n = 1, .k = 1};
    assert_int_equal(kl__seq_gemm(s, "fc1", &g), KL_E_UNSUPPORTED);
    assert_non_null(strstr(kl_last_error(), "gemm \"fc1\": CLBlast is not to be had"));
    assert_int_equal(kl__seq_count(s), 0);
    kl__seq_destroy(s);
    kl_ctx_destroy(ctx);
}

static void a_foreign_table_has_no_gemm(void **state)
{
    (void)state;
    null_cl_setup(NULL, 0, 0);
    kl__cl_set_table(null_cl_table());
    refuse();
    assert_int_equal(null_cl_live(), 0);
    kl__cl_set_table(NULL);
}

static void a_missing_library_is_a_sentence(void **state)
{
    (void)state;
    setenv("KILN_CLBLAST_LIB", "/nowhere/libclblast.so", 1);
    refuse();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_foreign_table_has_no_gemm),
        cmocka_unit_test(a_missing_library_is_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
