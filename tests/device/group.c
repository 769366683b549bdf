/* Groups and parts of devices: what the choice syntax opens, and what it says where it opens
 * nothing, on machines that we do not have. */
#include "base/mem.h"
#include "support/count_alloc.h"
#include "support/fault_cl.h"
#include "support/null_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Two drivers for one CPU, two GPUs, an interpreter, and one that is too old. */
static const null_device machine[] = {
    {.platform = "Small CPU driver", .name = "xeon", .vendor = "A", .units = 4, .clock = 1000},
    {.platform = "Portable Computing Language", .name = "pthread", .units = 8, .clock = 3000},
    {.platform = "Portable Computing Language", .name = "pthread", .units = 8, .clock = 3000},
    {.platform = "Big", .name = "card A", .type = CL_DEVICE_TYPE_GPU, .units = 36, .width = 1},
    {.platform = "Big", .name = "card B", .type = CL_DEVICE_TYPE_GPU, .units = 7, .no_split = true},
    {.platform = "Oclgrind", .name = "Oclgrind Simulator", .units = 64, .clock = 9000, .width = 1},
    {.platform = "Old", .name = "card C", .type = CL_DEVICE_TYPE_GPU, .version = "OpenCL 1.1 old"},
};
enum { N_MACHINE = sizeof machine / sizeof *machine, ROOM = 16 };

typedef struct group {
    kl_ctx *ctx[ROOM];
    size_t n;
    kl_status st;
} group;

static group open_group(const char *choice)
{
    group g = {{NULL}, 99, KL_OK};
    g.st =
        kl_ctx_create_group(&(kl_ctx_opts){.device = choice, .cache_dir = ""}, g.ctx, ROOM, &g.n);
    return g;
}

static void close_group(group *g)
{
    for (size_t i = 0; i < ROOM; i++)
        kl_ctx_destroy(g->ctx[i]);
}

/* "1:0(8) ..." in order: place, and compute units. */
static void expect(const char *choice, const char *want)
{
    char got[256] = "";
    size_t at = 0;
    group g = open_group(choice);
    if (g.st)
        fail_msg("%s: %s", choice, kl_last_error());
    for (size_t i = 0; i < g.n; i++) {
        kl_device_info d;
        assert_int_equal(kl_ctx_info(g.ctx[i], &d), KL_OK);
        assert_int_equal(d.compute_units, kl__ctx_caps(g.ctx[i])->compute_units);
        at += (size_t)snprintf(got + at, sizeof got - at, "%s%d:%d(%d)", i ? " " : "", d.platform,
                               d.device, d.compute_units);
    }
    assert_string_equal(got, want);
    close_group(&g);
    assert_int_equal(null_cl_live(), 0);
}

static void refuse(const char *choice, kl_status st, const char *sentence)
{
    group g = open_group(choice);
    if (g.st != st || !strstr(kl_last_error(), sentence))
        fail_msg("%s gives %d: %s", choice, g.st, kl_last_error());
    for (size_t i = 0; i < ROOM; i++)
        assert_null(g.ctx[i]);
    assert_int_equal(null_cl_live(), 0);
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
    unsetenv("KILN_DEVICE");
    kl__cl_set_table(NULL);
    return null_cl_live() != 0;
}

static void a_list_opens_one_context_each_in_its_order(void **state)
{
    (void)state;
    expect("2:0,0:0", "2:0(36) 0:0(4)");
    expect(" xeon , card B ", "0:0(4) 2:1(7)");
    expect("auto", "2:0(36)");
    expect(NULL, "2:0(36)");
    expect("", "2:0(36)");
    expect("1:0", "1:0(8)");
}

static void all_leaves_out_what_is_no_device_of_its_own(void **state)
{
    (void)state;
    expect("all",
           "1:0(8) 1:1(8) 2:0(36) 2:1(7)"); /* the better driver's two, not the interpreter */
    expect("gpu", "2:0(36) 2:1(7)");
    expect("cpu", "1:0(8) 1:1(8)");
    expect("gpu,0:0", "2:0(36) 2:1(7) 0:0(4)");
    null_cl_setup(machine + 5, 2, 0);
    expect("all", "0:0(64)"); /* then it is better than nothing */
    expect("cpu", "0:0(64)");
    refuse("gpu", KL_E_NO_DEVICE, "no usable device matches \"gpu\"");
}

static void parts_have_their_share_of_the_units(void **state)
{
    (void)state;
    expect("1:0/4", "1:0(2) 1:0(2) 1:0(2) 1:0(2)");
    expect("1:0/2:1", "1:0(4)");
    expect("1:0/2:1,1:0/4:0", "1:0(4) 1:0(2)");
    expect("1:0/1", "1:0(8)");
    expect("xeon/2,2:0", "0:0(2) 0:0(2) 2:0(36)");
    expect("gpu/2", "2:0(18) 2:0(18)"); /* a choice in parts is one device */
    kl_ctx *ctx = kl_ctx_create(&(kl_ctx_opts){.device = "1:0/8:7", .cache_dir = ""});
    assert_non_null(ctx);
    kl_device_info d;
    assert_int_equal(kl_ctx_info(ctx, &d), KL_OK);
    assert_int_equal(d.compute_units, 1);
    assert_string_equal(d.name, "pthread (part 7 of 8)");
    assert_string_equal(kl__ctx_caps(ctx)->own_name, "pthread");
    kl_ctx_destroy(ctx);
}

static void a_long_name_keeps_its_part(void **state)
{
    (void)state;
    static char name[160];
    memset(name, 'x', sizeof name - 1);
    const null_device d = {.name = name, .units = 2};
    null_cl_setup(&d, 1, 0);
    kl_device_info info;
    kl_ctx *ctx = kl_ctx_create(&(kl_ctx_opts){.device = "0:0/2:1", .cache_dir = ""});
    assert_int_equal(kl_ctx_info(ctx, &info), KL_OK);
    assert_int_equal(strlen(info.name), sizeof info.name - 1);
    assert_string_equal(info.name + strlen(info.name) - 15, "x (part 1 of 2)");
    kl_ctx_destroy(ctx);
}

static void what_cannot_be_split_says_what_can(void **state)
{
    (void)state;
    refuse("1:0/3", KL_E_ARG,
           "has 8 compute units, which are not 3 equal parts; 2 would do: 1:0/2");
    refuse("1:0/9", KL_E_ARG, "8 would do: 1:0/8");
    refuse("2:1/7", KL_E_UNSUPPORTED, "does not split devices; take it as a whole");
    refuse("1:0/0", KL_E_ARG, "1 to 64 equal parts");
    refuse("1:0/65", KL_E_ARG, "1 to 64 equal parts");
    refuse("1:0/2:2", KL_E_ARG, "numbered from 0 to 1");
    refuse("3:0/2,9:0/2", KL_E_NO_DEVICE, "no usable device matches \"9:0\"");
    refuse("all/2", KL_E_ARG, "name the devices one by one");
}

static void a_device_is_named_once(void **state)
{
    (void)state;
    refuse("0:0,2:0,0:0", KL_E_ARG, "device 0:0 \"xeon\" is named twice");
    refuse("all,1:1", KL_E_ARG, "device 1:1 \"pthread\" is named twice");
    refuse("card A,gpu", KL_E_ARG, "device 2:0 \"card A\" is named twice");
    refuse("1:0/2,1:0/2:1", KL_E_ARG, "device 1:0/2:1 \"pthread\" is named twice");
    refuse("1:0/2:1,1:0", KL_E_ARG, "1:0/2:1 and 1:0 share compute units");
    refuse("1:0/4:3,1:0/2:1", KL_E_ARG, "share compute units of \"pthread\"");
}

static void bad_lists_are_refused(void **state)
{
    (void)state;
    refuse("0:0,,2:0", KL_E_ARG, "empty entry");
    refuse("0:0,", KL_E_ARG, "empty entry");
    refuse("0:0,nothing", KL_E_NO_DEVICE, "no usable device matches \"nothing\"");
    refuse("card", KL_E_NO_DEVICE, "matches 2 devices");
    refuse("2:0,4:0", KL_E_NO_DEVICE, "OpenCL 1.1 old, and 1.2 is needed");
    kl_ctx *two[2] = {NULL, NULL};
    size_t n;
    assert_int_equal(
        kl_ctx_create_group(&(kl_ctx_opts){.device = "all", .cache_dir = ""}, two, 2, &n),
        KL_E_ARG);
    assert_int_equal(n, 4);
    assert_null(two[0]);
    assert_non_null(strstr(kl_last_error(), "4 devices, and there is room for 2"));
    assert_int_equal(kl_ctx_create_group(NULL, NULL, 1, &n), KL_E_ARG);
    assert_int_equal(kl_ctx_create_group(NULL, two, 2, NULL), KL_E_ARG);
    null_cl_setup_nothing();
    refuse("all", KL_E_NO_DEVICE, "no OpenCL device");
}

static void one_context_is_one_device(void **state)
{
    (void)state;
    assert_null(kl_ctx_create(&(kl_ctx_opts){.device = "all", .cache_dir = ""}));
    assert_non_null(strstr(kl_last_error(), "\"all\" names a group"));
    assert_null(kl_ctx_create(&(kl_ctx_opts){.device = "1:0/2", .cache_dir = ""}));
    assert_non_null(
        strstr(kl_last_error(), "\"1:0/2\" names 2 parts, and one is wanted here: 1:0/2:0"));
    assert_null(kl_ctx_create(&(kl_ctx_opts){.device = "1:0/3:0", .cache_dir = ""}));
    assert_non_null(strstr(kl_last_error(), "2 would do"));
}

static void the_environment_names_a_group(void **state)
{
    (void)state;
    setenv("KILN_DEVICE", "1:0/2,2:1", 1);
    expect(NULL, "1:0(4) 1:0(4) 2:1(7)");
    expect("0:0", "0:0(4)");
}

/* Every OpenCL call and every allocation of a group's making fails once. */
static void a_group_is_all_or_nothing(void **state)
{
    (void)state;
    int refused = 0, n = 0;
    for (;; n++) {
        null_cl_setup(machine, N_MACHINE, 0);
        fault_cl_wrap(null_cl_table());
        kl__cl_set_table(fault_cl_table());
        fault_cl_at(NULL, (uint64_t)n + 1, false, 0);
        group g = open_group("1:0/2,2:0");
        for (size_t i = 0; i < ROOM; i++)
            assert_int_equal(g.ctx[i] != NULL, !g.st && i < 3);
        refused += g.st != KL_OK;
        close_group(&g);
        assert_int_equal(null_cl_live(), 0);
        if (!fault_cl_failed())
            break;
    }
    print_message("%d calls, %d refusals\n", n, refused);
    assert_true(n > 100 && refused > 20);
    kl__cl_set_table(null_cl_table());
    for (n = 0;; n++) {
        count_alloc_install();
        count_alloc_fail_at((uint64_t)n + 1, false);
        group g = open_group("1:0/2,2:0");
        bool hit = count_alloc_failed();
        for (size_t i = 0; i < ROOM; i++)
            assert_int_equal(g.ctx[i] != NULL, !g.st && i < 3);
        close_group(&g);
        if (count_alloc_live() || null_cl_live())
            fail_msg("allocation %d: something is left", n);
        count_alloc_remove();
        if (!hit)
            break;
    }
    assert_true(n > 10);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_list_opens_one_context_each_in_its_order),
        T(all_leaves_out_what_is_no_device_of_its_own),
        T(parts_have_their_share_of_the_units),
        T(a_long_name_keeps_its_part),
        T(what_cannot_be_split_says_what_can),
        T(a_device_is_named_once),
        T(bad_lists_are_refused),
        T(one_context_is_one_device),
        T(the_environment_names_a_group),
        T(a_group_is_all_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
