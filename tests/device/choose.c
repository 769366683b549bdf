/* The choice syntax on machines that we do not have: auto, gpu, cpu, P:D, part of a name. */
#include "support/fault_cl.h"
#include "support/null_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const null_device machine[] = {
    {.platform = "Portable Computing Language",
     .name = "pthread-skylake",
     .vendor = "GenuineIntel",
     .units = 64,
     .clock = 3000},
    {.platform = "AMD Accelerated Parallel Processing",
     .name = "gfx1030",
     .vendor = "Advanced Micro Devices",
     .type = CL_DEVICE_TYPE_GPU,
     .units = 36,
     .clock = 2500,
     .width = 1},
    {.platform = "AMD Accelerated Parallel Processing",
     .name = "gfx1036",
     .vendor = "Advanced Micro Devices",
     .type = CL_DEVICE_TYPE_GPU,
     .units = 2,
     .clock = 2200,
     .width = 1,
     .unified = true},
    {.platform = "Clover",
     .name = "gfx1030 (old)",
     .type = CL_DEVICE_TYPE_GPU,
     .units = 360,
     .clock = 2500,
     .version = "OpenCL 1.1 Mesa"},
    {.platform = "rusticl", .name = "llvmpipe", .units = 640, .clock = 9000, .width = 1},
};
enum { N_MACHINE = sizeof machine / sizeof *machine };

static kl_device_info pick(const char *choice)
{
    kl_device_info info = {.platform = -1};
    kl_ctx *ctx = kl_ctx_create(&(kl_ctx_opts){.device = choice, .cache_dir = ""});
    if (ctx)
        assert_int_equal(kl_ctx_info(ctx, &info), KL_OK);
    kl_ctx_destroy(ctx);
    return info;
}

static int set_up(void **state)
{
    (void)state;
    unsetenv("KILN_DEVICE");
    unsetenv("KILN_VECTOR");
    null_cl_setup(machine, N_MACHINE, 0);
    kl__cl_set_table(null_cl_table());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kl__cl_set_table(NULL);
    return null_cl_live() != 0;
}

static void auto_takes_the_discrete_gpu(void **state)
{
    (void)state;
    assert_string_equal(pick(NULL).name, "gfx1030");
    assert_string_equal(pick("auto").name, "gfx1030");
    assert_string_equal(pick("gpu").name, "gfx1030");
}

static void cpu_is_not_a_software_rasteriser(void **state)
{
    (void)state;
    assert_string_equal(pick("cpu").name, "pthread-skylake");
}

static void places_count_platforms_and_devices(void **state)
{
    (void)state;
    assert_string_equal(pick("1:1").name, "gfx1036");
    assert_string_equal(pick("0:0").name, "pthread-skylake");
    assert_int_equal(pick("1:2").platform, -1);
    assert_non_null(strstr(kl_last_error(), "no usable device matches \"1:2\""));
    assert_non_null(strstr(kl_last_error(), "1:0 \"gfx1030\""));
    assert_int_equal(pick("9:0").platform, -1);
}

static void a_part_of_a_name_is_enough_whatever_its_case(void **state)
{
    (void)state;
    assert_string_equal(pick("SKYLAKE").name, "pthread-skylake");
    assert_string_equal(pick("gfx1036").name, "gfx1036");
    assert_string_equal(pick("portable").name, "pthread-skylake");
    assert_string_equal(pick("gfx1030").name,
                        "gfx1030"); /* whole name; the unusable one does not count */
}

static void an_ambiguous_name_lists_the_matches(void **state)
{
    (void)state;
    assert_int_equal(pick("gfx").platform, -1);
    assert_int_equal(kl__last_status(), KL_E_NO_DEVICE);
    assert_non_null(strstr(kl_last_error(), "matches 2 devices"));
    assert_non_null(strstr(kl_last_error(), "1:0 \"gfx1030\""));
    assert_non_null(strstr(kl_last_error(), "1:1 \"gfx1036\""));
    assert_null(strstr(kl_last_error(), "(old)"));
}

static void an_unusable_device_says_why(void **state)
{
    (void)state;
    assert_int_equal(pick("2:0").platform, -1);
    assert_non_null(strstr(kl_last_error(), "OpenCL 1.1 Mesa, and 1.2 is needed"));
    assert_int_equal(pick("nonsense").platform, -1);
    assert_non_null(strstr(kl_last_error(), "no usable device matches \"nonsense\""));
    static const null_device odd[] = {{.no_compiler = true}, {.big_endian = true}};
    null_cl_setup(odd, 2, 0);
    assert_int_equal(pick("0:0").platform, -1);
    assert_non_null(strstr(kl_last_error(), "no compiler"));
    assert_int_equal(pick("auto").platform, -1);
    assert_non_null(strstr(kl_last_error(), "big-endian"));
}

static void the_environment_stands_in_for_no_choice(void **state)
{
    (void)state;
    setenv("KILN_DEVICE", "1:1", 1);
    assert_string_equal(pick(NULL).name, "gfx1036");
    assert_string_equal(pick("cpu").name, "pthread-skylake");
    unsetenv("KILN_DEVICE");
}

static void the_list_is_sorted_and_cut(void **state)
{
    (void)state;
    kl_device_info list[8];
    size_t n = 0;
    assert_int_equal(kl_device_list(list, 8, &n), KL_OK);
    assert_int_equal(n, N_MACHINE);
    static const char *const order[] = {"gfx1030", "gfx1036", "pthread-skylake", "llvmpipe",
                                        "gfx1030 (old)"};
    for (int i = 0; i < N_MACHINE; i++)
        assert_string_equal(list[i].name, order[i]);
    memset(list, 0, sizeof list);
    assert_int_equal(kl_device_list(list, 1, &n), KL_OK);
    assert_int_equal(n, N_MACHINE);
    assert_string_equal(list[1].name, "");
    assert_int_equal(kl_device_list(NULL, 0, &n), KL_OK);
    assert_int_equal(kl_device_list(NULL, 1, &n), KL_E_ARG);
    assert_int_equal(kl_device_list(list, 1, NULL), KL_E_ARG);
}

static void no_device_is_a_list_of_none_and_a_sentence(void **state)
{
    (void)state;
    size_t n = 7;
    null_cl_setup_nothing();
    assert_int_equal(kl_device_list(NULL, 0, &n), KL_OK);
    assert_int_equal(n, 0);
    assert_null(kl_ctx_create(NULL));
    assert_int_equal(kl__last_status(), KL_E_NO_DEVICE);
    assert_non_null(strstr(kl_last_error(), "pocl-opencl-icd"));
}

static void no_loader_says_what_to_install(void **state)
{
    (void)state;
    size_t n;
    setenv("KILN_OPENCL_LIB", "/nowhere/libOpenCL.so", 1);
    kl__cl_set_table(NULL);
    assert_int_equal(kl_device_list(NULL, 0, &n), KL_E_NO_DEVICE);
    assert_non_null(strstr(kl_last_error(), "ocl-icd-libopencl1"));
    assert_false(kl__cl_is_loader());
    setenv("KILN_OPENCL_LIB", "libm.so.6", 1);
    assert_null(kl_ctx_create(NULL));
    assert_non_null(strstr(kl_last_error(), "has no clGetPlatformIDs"));
    unsetenv("KILN_OPENCL_LIB");
}

/* The shape of kernels follows what a device can do, and KILN_VECTOR. */
static void solo_follows_width_and_the_override(void **state)
{
    (void)state;
    static const struct {
        const char *device, *vector;
        bool solo;
        int width;
    } c[] = {
        {"0:0", NULL, true, 16}, {"1:0", NULL, false, 1}, {"3:0", NULL, false, 1},
        {"1:0", "8", true, 8},   {"0:0", "4", true, 4},
        {"0:0", "1", false, 1},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        if (c[i].vector)
            setenv("KILN_VECTOR", c[i].vector, 1);
        else
            unsetenv("KILN_VECTOR");
        kl_ctx *ctx = kl_ctx_create(&(kl_ctx_opts){.device = c[i].device, .cache_dir = ""});
        assert_non_null(ctx);
        assert_int_equal(kl__ctx_caps(ctx)->solo, c[i].solo);
        assert_int_equal(kl__ctx_caps(ctx)->vector, c[i].width);
        kl_ctx_destroy(ctx);
    }
    setenv("KILN_VECTOR", "3", 1);
    assert_null(kl_ctx_create(NULL));
    assert_int_equal(kl__last_status(), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "KILN_VECTOR is \"3\""));
    unsetenv("KILN_VECTOR");
}

static void quirks_follow_the_driver(void **state)
{
    (void)state;
    kl_ctx *pocl = kl_ctx_create(&(kl_ctx_opts){.device = "0:0", .cache_dir = ""});
    kl_ctx *amd = kl_ctx_create(&(kl_ctx_opts){.device = "1:0", .cache_dir = ""});
    kl_ctx *pipe = kl_ctx_create(&(kl_ctx_opts){.device = "3:0", .cache_dir = ""});
    assert_true(kl__ctx_caps(pocl)->caches_kernels);
    assert_false(kl__ctx_caps(pocl)->times_useless);
    assert_false(kl__ctx_caps(pocl)->short_loops);
    assert_true(kl__ctx_caps(pocl)->gemm_library_slow);
    assert_false(kl__ctx_caps(amd)->caches_kernels);
    assert_false(kl__ctx_caps(amd)->gemm_library_slow);
    assert_true(kl__ctx_caps(pipe)->times_useless);
    assert_true(kl__ctx_caps(pipe)->short_loops);
    assert_int_equal(kl__ctx_caps(amd)->item_floats, 128); /* tiles of 8 x 8 sums per item */
    kl_ctx_destroy(pocl);
    kl_ctx_destroy(amd);
    kl_ctx_destroy(pipe);
}

/* A driver that fails must not hide the others. */
static void a_broken_platform_hides_no_other(void **state)
{
    (void)state;
    fault_cl_wrap(null_cl_table());
    kl__cl_set_table(fault_cl_table());
    fault_cl_at("clGetDeviceIDs", 1, false, 0);
    kl_device_info list[8];
    size_t n;
    assert_int_equal(kl_device_list(list, 8, &n), KL_OK);
    assert_int_equal(n, N_MACHINE - 1);
    assert_string_equal(list[0].name, "gfx1030");
    assert_int_equal(list[0].platform, 1); /* its number does not change */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_takes_the_discrete_gpu),
        cmocka_unit_test(cpu_is_not_a_software_rasteriser),
        cmocka_unit_test(places_count_platforms_and_devices),
        cmocka_unit_test(a_part_of_a_name_is_enough_whatever_its_case),
        cmocka_unit_test(an_ambiguous_name_lists_the_matches),
        cmocka_unit_test(an_unusable_device_says_why),
        cmocka_unit_test(the_environment_stands_in_for_no_choice),
        cmocka_unit_test(the_list_is_sorted_and_cut),
        cmocka_unit_test(no_device_is_a_list_of_none_and_a_sentence),
        cmocka_unit_test(solo_follows_width_and_the_override),
        cmocka_unit_test(quirks_follow_the_driver),
        cmocka_unit_test(a_broken_platform_hides_no_other),
        cmocka_unit_test(no_loader_says_what_to_install),
    };
    struct CMUnitTest all[sizeof tests / sizeof *tests];
    memcpy(all, tests, sizeof tests);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        all[i].setup_func = set_up;
        all[i].teardown_func = tear_down;
    }
    return cmocka_run_group_tests(all, NULL, NULL);
}
