/* Kernel sources: what is embedded, what a folder overrides, includes with their #line marks. */
#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "device/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[128];

static void put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(kl__file_write(path, text, strlen(text)), KL_OK);
}

static void includes_are_expanded_with_line_marks(void **state)
{
    (void)state;
    put("a.cl", "one\n#include \"b.cl\"\nthree\n  #  include \"b.cl\" // again\nfive");
    put("b.cl", "inner\n");
    char *s = kl__source_expand(dir, "a.cl");
    assert_non_null(s);
    assert_string_equal(s, "#line 1 \"cl/a.cl\"\none\n"
                           "#line 1 \"cl/b.cl\"\ninner\n#line 3 \"cl/a.cl\"\nthree\n"
                           "#line 1 \"cl/b.cl\"\ninner\n#line 5 \"cl/a.cl\"\nfive\n");
    kl__free(s);
}

static void other_lines_stay_as_they_are(void **state)
{
    (void)state;
    put("a.cl",
        "// #include \"b.cl\"\n#include <b.cl>\n#includes\n#include \"b.cl\n#define x \"y\"\n\n");
    char *s = kl__source_expand(dir, "a.cl");
    assert_non_null(s);
    assert_string_equal(
        s,
        "#line 1 \"cl/a.cl\"\n// #include \"b.cl\"\n#include <b.cl>\n#includes\n#include \"b.cl\n"
        "#define x \"y\"\n\n");
    kl__free(s);
}

static void a_folder_wins_over_what_is_built_in(void **state)
{
    (void)state;
    char *built_in = kl__source_expand(NULL, "common.cl");
    assert_non_null(built_in);
    assert_non_null(strstr(built_in, "KL_COMMON_CL"));
    put("common.cl", "mine\n");
    char *mine = kl__source_expand(dir, "common.cl");
    assert_string_equal(mine, "#line 1 \"cl/common.cl\"\nmine\n");
    char *rng = kl__source_expand(dir, "rng.cl"); /* not in the folder */
    assert_non_null(rng);
    kl__free(built_in);
    kl__free(mine);
    kl__free(rng);
}

static void what_is_missing_is_named_with_its_place(void **state)
{
    (void)state;
    assert_null(kl__source_expand(NULL, "absent.cl"));
    assert_int_equal(kl__last_status(), KL_E_BUILD);
    put("a.cl", "x\n\n#include \"absent.cl\"\n");
    assert_null(kl__source_expand(dir, "a.cl"));
    assert_non_null(strstr(kl_last_error(), "cl/a.cl:3"));
    assert_non_null(strstr(kl_last_error(), "\"absent.cl\""));
}

static void a_file_that_includes_itself_ends(void **state)
{
    (void)state;
    put("a.cl", "x\n#include \"a.cl\"\n");
    assert_null(kl__source_expand(dir, "a.cl"));
    assert_int_equal(kl__last_status(), KL_E_BUILD);
    assert_non_null(strstr(kl_last_error(), "include itself"));
}

int main(void)
{
    snprintf(dir, sizeof dir, "/tmp/kiln-source-%ld", (long)getpid());
    if (kl__make_dirs(dir))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(includes_are_expanded_with_line_marks),
        cmocka_unit_test(other_lines_stay_as_they_are),
        cmocka_unit_test(a_folder_wins_over_what_is_built_in),
        cmocka_unit_test(what_is_missing_is_named_with_its_place),
        cmocka_unit_test(a_file_that_includes_itself_ends),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    char cmd[256];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    return failures + (system(cmd) != 0);
}
