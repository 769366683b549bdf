/* The doctor under the troubles that users have: each is named, with what to do, and none harms
 * this process. Children do all OpenCL calls, so the environment can change between visits. */
#include "device/opencl.h"

#include "base/file.h"
#include "base/mem.h"

#include <kiln/inspect.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const variables[] = {"OCL_ICD_VENDORS",   "OPENCL_VENDOR_PATH",
                                        "OCL_ICD_FILENAMES", "POCL_CACHE_DIR",
                                        "POCL_MEMORY_LIMIT", "POCL_DEVICES",
                                        "KILN_OPENCL_LIB",   "KILN_CACHE_DIR",
                                        "XDG_CACHE_HOME",    "HOME"};
enum { N_VARIABLES = sizeof variables / sizeof *variables };
static char *kept[N_VARIABLES];

static void restore(void)
{
    for (int i = 0; i < N_VARIABLES; i++)
        if (kept[i])
            setenv(variables[i], kept[i], 1);
        else
            unsetenv(variables[i]);
}

static kl_finding *list;
static size_t n_list;

static void visit(void)
{
    kl_free(list);
    list = NULL;
    if (kl_doctor(true, &list, &n_list) != KL_OK)
        fail_msg("%s", kl_last_error());
    assert_true(n_list > 0);
}

/** The finding whose text has `part`; NULL: none. */
static const kl_finding *find(const char *part)
{
    for (size_t i = 0; i < n_list; i++)
        if (strstr(list[i].what, part))
            return &list[i];
    return NULL;
}

static const kl_finding *must(const char *part, kl_finding_level level)
{
    const kl_finding *f = find(part);
    if (!f) {
        for (size_t i = 0; i < n_list; i++)
            print_message("%d %s\n", list[i].level, list[i].what);
        fail_msg("no finding says \"%s\"", part);
    }
    assert_int_equal(f->level, level);
    return f;
}

static const kl_finding *last(void)
{
    return &list[n_list - 1];
}

static int keep_env(void **state)
{
    (void)state;
    for (int i = 0; i < N_VARIABLES; i++)
        kept[i] = getenv(variables[i]) ? strdup(getenv(variables[i])) : NULL;
    return 0;
}

static int after_each(void **state)
{
    (void)state;
    restore();
    kl_free(list);
    list = NULL;
    return 0;
}

static int free_env(void **state)
{
    (void)state;
    for (int i = 0; i < N_VARIABLES; i++)
        free(kept[i]);
    return 0;
}

/* A sound machine: a kernel ran and was right, and the last line says where training will run. */
static void a_sound_machine(void **state)
{
    (void)state;
    visit();
    must("loader ", KL_FINDING_OK);
    must("a kernel builds, runs and is right", KL_FINDING_OK);
    must("local memory builds, runs and is right", KL_FINDING_OK);
    must("GB/s", KL_FINDING_OK);
    must("double precision", KL_FINDING_OK);
    assert_non_null(strstr(last()->what, "training will run on"));
    assert_int_equal(last()->level, KL_FINDING_OK);
    for (size_t i = 0; i < n_list; i++)
        if (list[i].level == KL_FINDING_BAD)
            assert_true(list[i].fix[0] != 0);
    assert_false(kl__cl_started()); /* nothing was called here */
}

static void no_loader(void **state)
{
    (void)state;
    setenv("KILN_OPENCL_LIB", "/nonexistent/libOpenCL.so", 1);
    visit();
    assert_non_null(strstr(must("no OpenCL loader", KL_FINDING_BAD)->fix, "KILN_OPENCL_LIB"));
    assert_non_null(strstr(last()->what, "cannot run"));
    assert_int_equal(last()->level, KL_FINDING_BAD);
}

static void no_icd_files(void **state)
{
    (void)state;
    setenv("OCL_ICD_VENDORS", "/nonexistent", 1);
    visit();
    assert_non_null(strstr(must("/nonexistent", KL_FINDING_BAD)->fix, "OCL_ICD_VENDORS"));
    must("OCL_ICD_VENDORS=/nonexistent", KL_FINDING_NOTE);
    must("finds no platform", KL_FINDING_BAD);
    assert_non_null(strstr(last()->what, "cannot run"));
}

static bool is_pocl(void)
{
    return find("Portable Computing Language") != NULL;
}

/* A folder below a file can never be written, whoever asks. */
static void driver_cache_unwritable(void **state)
{
    (void)state;
    visit();
    if (!is_pocl())
        skip();
    unsetenv("POCL_CACHE_DIR");
    setenv("XDG_CACHE_HOME", "/dev/null/cache", 1);
    setenv("HOME", "/dev/null/home", 1);
    visit();
    assert_non_null(
        strstr(must("/dev/null/cache/pocl/kcache cannot be written", KL_FINDING_BAD)->fix,
               "POCL_CACHE_DIR"));
    assert_non_null(strstr(must("/dev/null/cache/kiln cannot be written", KL_FINDING_NOTE)->fix,
                           "KILN_CACHE_DIR"));
    unsetenv("XDG_CACHE_HOME");
    visit();
    must("/dev/null/home/.cache/pocl/kcache cannot be written", KL_FINDING_BAD);
}

/* 1 GiB: less than asked for here is no reason to fail, but it is told. */
static void memory_limit(void **state)
{
    (void)state;
    setenv("POCL_MEMORY_LIMIT", "1", 1);
    visit();
    must("POCL_MEMORY_LIMIT=1", KL_FINDING_NOTE);
    if (is_pocl())
        must("1.0 GiB", KL_FINDING_OK);
}

static void device_hidden(void **state)
{
    (void)state;
    visit();
    if (!is_pocl())
        skip();
    setenv("POCL_DEVICES", "nothing", 1);
    visit();
    assert_non_null(strstr(must("has no device", KL_FINDING_BAD)->fix, "POCL_DEVICES"));
}

static char folder[] = "/tmp/kiln-doctor-XXXXXX";

static void write_icd(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(kl__file_write(path, text, strlen(text)), KL_OK);
}

static void remove_icd(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    remove(path);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"gone.icd", "empty.icd", "other.icd", "crash.icd"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        remove_icd(names[i]);
    rmdir(folder);
    return after_each(state);
}

/* Files that name no library, one that is not there, one that is no driver, and one that kills its
 * host. */
static void drivers_that_fail(void **state)
{
    (void)state;
    write_icd("gone.icd", "libno-such-driver.so.9\n");
    write_icd("empty.icd", "\n");
    write_icd("other.icd", "  " NONE_DRIVER " \r\n");
    setenv("OCL_ICD_VENDORS", folder, 1);
    visit();
    must("driver does not open: libno-such-driver.so.9", KL_FINDING_BAD);
    must("empty.icd is empty", KL_FINDING_BAD);
    must("driver " NONE_DRIVER " opens", KL_FINDING_OK);
    assert_int_equal(last()->level, KL_FINDING_BAD);

    write_icd("crash.icd", CRASH_DRIVER "\n");
    visit();
    assert_true(strlen(must("opening the driver " CRASH_DRIVER, KL_FINDING_BAD)->fix) > 0);
    assert_non_null(strstr(must("the driver ended its process", KL_FINDING_BAD)->what, "Abort"));
    assert_non_null(find("listing platforms: the driver ended its process"));
    assert_int_equal(last()->level, KL_FINDING_BAD);
}

static void arguments(void **state)
{
    (void)state;
    size_t n;
    assert_int_equal(kl_doctor(true, NULL, &n), KL_E_ARG);
    assert_int_equal(kl_doctor(true, &list, NULL), KL_E_ARG);
}

/* Last, as this process uses OpenCL from here on. */
static void in_this_process(void **state)
{
    (void)state;
    if (kl_doctor(false, &list, &n_list) != KL_OK)
        fail_msg("%s", kl_last_error());
    assert_true(kl__cl_started());
    must("a kernel builds, runs and is right", KL_FINDING_OK);
    assert_non_null(strstr(last()->what, "training will run on"));
    visit(); /* asks for children, and says why there are none */
    must("uses OpenCL already", KL_FINDING_NOTE);
    must("a kernel builds, runs and is right", KL_FINDING_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_sound_machine, after_each),
        cmocka_unit_test_teardown(no_loader, after_each),
        cmocka_unit_test_teardown(no_icd_files, after_each),
        cmocka_unit_test_teardown(driver_cache_unwritable, after_each),
        cmocka_unit_test_teardown(memory_limit, after_each),
        cmocka_unit_test_teardown(device_hidden, after_each),
        cmocka_unit_test_setup_teardown(drivers_that_fail, make_folder, remove_folder),
        cmocka_unit_test(arguments),
        cmocka_unit_test_teardown(in_this_process, after_each),
    };
    return cmocka_run_group_tests(tests, keep_env, free_env);
}
