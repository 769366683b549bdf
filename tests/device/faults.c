/* Every OpenCL call and every allocation of a context's life fails once: a sentence comes back that
 * names the call, and nothing is left over. No device is needed. */
#include "base/mem.h"
#include "support/count_alloc.h"
#include "support/fault_cl.h"
#include "support/null_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char cache[128];

/* A discrete GPU, so that the binary cache takes part. */
static const null_device gpu = {.type = CL_DEVICE_TYPE_GPU, .width = 1};

static kl_status use_lanes(kl_ctx *ctx, kl__mem *a, kl__mem *b)
{
    kl__lane *up = kl__ctx_lane(ctx, KL__UPLOAD), *compute = kl__ctx_lane(ctx, KL__COMPUTE);
    float x[16] = {0};
    kl__event sent = {NULL}, all = {NULL};
    double t0, t1;
    kl_status st = kl__lane_write(up, (kl__span){a, 0}, x, sizeof x, &sent);
    if (!st)
        st = kl__lane_wait(compute, sent);
    if (!st)
        st = kl__lane_copy(compute, (kl__span){b, 0}, (kl__span){a, 0}, 64);
    if (!st)
        st = kl__lane_fill(compute, (kl__span){b, 0}, x, 4, 64);
    if (!st)
        st = kl__lane_read(compute, (kl__span){b, 0}, x, sizeof x, NULL);
    if (!st)
        st = kl__lane_mark(compute, &all);
    if (!st)
        st = kl__event_wait(ctx, all);
    if (!st && kl__event_poll(ctx, all) < 0)
        st = kl__last_status();
    if (!st)
        kl__event_seconds(ctx, all, &t0,
                          &t1); /* may fail without a word: the host's clock is as good */
    kl__event_release(&sent);
    kl__event_release(&all);
    return st;
}

static kl_status use_seq(kl_ctx *ctx, kl__mem *a, kl__mem *b)
{
    kl__seq *s = kl__seq_create(ctx);
    if (!s)
        return kl__last_status();
    kl__launch l = {
        .file = "test.cl", .kernel = "scale", .label = "s", .n_args = 4, .dims = 1, .global = {16}};
    l.arg[0] = (kl__arg){.kind = KL__ARG_SLOT, .elem = 4, .v.slot = 0};
    l.arg[1] = (kl__arg){.kind = KL__ARG_SPAN, .elem = 4, .span = {a, 0}};
    l.arg[2] = (kl__arg){.kind = KL__ARG_F32, .v.f32 = 2};
    l.arg[3] = (kl__arg){.kind = KL__ARG_I32, .v.i32 = 16};
    double seconds[3];
    kl_status st = kl__seq_kernel(s, &l);
    if (!st)
        st = kl__seq_copy(s, "c", (kl__span){a, 0}, (kl__span){b, 0}, 64);
    if (!st)
        st = kl__seq_fill(s, "f", (kl__span){a, 0}, 0, 64);
    if (!st)
        st = kl__seq_bind(s, 0, (kl__span){b, 0});
    if (!st)
        st = kl__seq_run(s, kl__ctx_lane(ctx, KL__COMPUTE), 0, 3);
    if (!st)
        st = kl__seq_profile(s, kl__ctx_lane(ctx, KL__COMPUTE), seconds);
    kl__seq_destroy(s);
    return st;
}

static kl_status use(kl_ctx *ctx)
{
    kl__mem *a = kl__mem_create(ctx, 64), *b = a ? kl__mem_create(ctx, 64) : NULL;
    kl_status st = b ? KL_OK : kl__last_status();
    if (!st)
        st = use_lanes(ctx, a, b);
    if (!st)
        st = use_seq(ctx, a, b);
    kl__mem_release(a);
    kl__mem_release(b);
    if (!st)
        st = kl_ctx_finish(ctx);
    return st;
}

static kl_status whole_life(void)
{
    kl_ctx *ctx = kl_ctx_create(
        &(kl_ctx_opts){.kernel_dir = TEST_CL_DIR, .cache_dir = cache, .flags = KL_CTX_PROFILE});
    if (!ctx)
        return kl__last_status();
    kl_status st = use(ctx);
    kl_ctx_destroy(ctx);
    return st;
}

/* The same inside the caller's own objects, on an out-of-order queue. */
static kl_status guest_life(void)
{
    const kl__cl_table *cl = null_cl_table();
    cl_platform_id p;
    cl_device_id d;
    cl->clGetPlatformIDs(1, &p, NULL);
    cl->clGetDeviceIDs(p, CL_DEVICE_TYPE_ALL, 1, &d, NULL);
    cl_context c = cl->clCreateContext(NULL, 1, &d, NULL, NULL, NULL);
    cl_command_queue q =
        cl->clCreateCommandQueue(c, d, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, NULL);
    cl_mem m = cl->clCreateBuffer(c, 0, 64, NULL, NULL);
    kl_ctx *ctx = kl__ctx_wrap(c, d, q, &(kl_ctx_opts){.kernel_dir = TEST_CL_DIR, .cache_dir = ""});
    kl_status st = ctx ? KL_OK : kl__last_status();
    kl__mem *w = ctx ? kl__mem_wrap(ctx, m) : NULL;
    if (ctx)
        st = w ? use(ctx) : kl__last_status();
    kl__mem_release(w);
    kl_ctx_destroy(ctx);
    cl->clReleaseMemObject(m);
    cl->clReleaseCommandQueue(q);
    cl->clReleaseContext(c);
    return st;
}

static void remove_cache(void)
{
    char cmd[256];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", cache);
    assert_int_equal(system(cmd), 0);
}

/* A call whose failure is no failure of ours: a release, a query that has a fallback, the cache. */
static bool may_pass(const char *name)
{
    static const char *const quiet[] = {"clRelease",
                                        "clGetProgramInfo",
                                        "clCreateProgramWithBinary",
                                        "clGetPlatformInfo",
                                        "clGetEventProfilingInfo",
                                        "clRetainEvent",
                                        "clFinish",
                                        "clFlush",
                                        "clEnqueueMarkerWithWaitList",
                                        "clWaitForEvents",
                                        "clSetEventCallback",
                                        "clGetEventInfo"};
    for (size_t i = 0; i < sizeof quiet / sizeof *quiet; i++)
        if (!strncmp(name, quiet[i], strlen(quiet[i])))
            return true;
    return false;
}

static void fail_each_call(kl_status (*life)(void), int at_least)
{
    int n = 0, sentences = 0;
    for (;; n++) {
        remove_cache();
        null_cl_setup(&gpu, 1, 0);
        fault_cl_wrap(null_cl_table());
        kl__cl_set_table(fault_cl_table());
        count_alloc_install();
        fault_cl_at(NULL, (uint64_t)n + 1, false, 0);
        kl_status st = life();
        const char *name = fault_cl_failed();
        if (count_alloc_live() || null_cl_live())
            fail_msg("call %d, %s: %lld blocks and %lld objects are left", n, name ? name : "none",
                     (long long)count_alloc_live(), (long long)null_cl_live());
        count_alloc_remove();
        kl__cl_set_table(NULL);
        if (!name) {
            if (st)
                fail_msg("without a fault: %s", kl_last_error());
            break;
        }
        if (!st && !may_pass(name))
            fail_msg("call %d, %s failed, and nobody said so", n, name);
        if (st && !strstr(kl_last_error(), name))
            fail_msg("call %d, %s failed: the sentence is: %s", n, name, kl_last_error());
        sentences += st != KL_OK;
    }
    print_message("%d calls, %d sentences\n", n, sentences);
    assert_true(n >= at_least && sentences >= at_least / 2);
}

static void each_call_fails_once(void **state)
{
    (void)state;
    fail_each_call(whole_life, 80);
}

static void each_call_fails_once_for_a_guest(void **state)
{
    (void)state;
    fail_each_call(guest_life, 80);
}

static void each_call_fails_from_then_on(void **state)
{
    (void)state;
    int n = 0;
    for (;; n++) {
        remove_cache();
        null_cl_setup(&gpu, 1, 0);
        fault_cl_wrap(null_cl_table());
        kl__cl_set_table(fault_cl_table());
        fault_cl_at(NULL, (uint64_t)n + 1, true, CL_OUT_OF_RESOURCES);
        whole_life();
        bool hit = fault_cl_failed() != NULL;
        assert_int_equal(null_cl_live(), 0);
        kl__cl_set_table(NULL);
        if (!hit)
            break;
    }
    assert_true(n >= 80);
}

static void each_allocation_fails_once(void **state)
{
    (void)state;
    int n = 0, told = 0;
    for (;; n++) {
        remove_cache();
        null_cl_setup(&gpu, 1, 0);
        kl__cl_set_table(null_cl_table());
        count_alloc_install();
        count_alloc_fail_at((uint64_t)n + 1, false);
        kl_status st = whole_life();
        bool hit = count_alloc_failed();
        if (count_alloc_live() || null_cl_live())
            fail_msg("allocation %d: %lld blocks and %lld objects are left", n,
                     (long long)count_alloc_live(), (long long)null_cl_live());
        count_alloc_remove();
        kl__cl_set_table(NULL);
        if (st && !kl_last_error()[0])
            fail_msg("allocation %d failed without a sentence", n);
        told += st != KL_OK;
        if (!hit) {
            assert_int_equal(st, KL_OK);
            break;
        }
    }
    print_message("%d allocations, %d told\n", n, told);
    assert_true(n >= 20 && told >= n / 2);
}

/* A command that fails on the device is told by whoever waits for it. */
static void a_failed_launch_is_told_to_who_waits(void **state)
{
    (void)state;
    null_cl_setup(&gpu, 1, 0);
    kl__cl_set_table(null_cl_table());
    kl_ctx *ctx = kl_ctx_create(&(kl_ctx_opts){.kernel_dir = TEST_CL_DIR, .cache_dir = ""});
    kl__mem *a = kl__mem_create(ctx, 64);
    kl__seq *s = kl__seq_create(ctx);
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl__launch l = {.file = "test.cl", .kernel = "add", .n_args = 1, .dims = 1, .global = {16}};
    l.arg[0] = (kl__arg){.kind = KL__ARG_SPAN, .elem = 4, .span = {a, 0}};
    assert_int_equal(kl__seq_kernel(s, &l), KL_OK);
    null_cl_break_launch(1, CL_OUT_OF_RESOURCES);
    assert_int_equal(kl__seq_run(s, lane, 0, 1), KL_OK);
    kl__event e;
    float x;
    assert_int_equal(kl__lane_mark(lane, &e), KL_OK);
    assert_int_equal(kl__event_poll(ctx, e), KL_E_DEVICE);
    assert_int_equal(kl__event_wait(ctx, e), KL_E_DEVICE);
    assert_non_null(strstr(kl_last_error(), "CL_EXEC_STATUS_ERROR"));
    assert_int_equal(kl__lane_read(lane, (kl__span){a, 0}, &x, 4, NULL), KL_E_DEVICE);
    kl__event_release(&e);
    kl__seq_destroy(s);
    kl__mem_release(a);
    kl_ctx_destroy(ctx);
    assert_int_equal(null_cl_live(), 0);
    kl__cl_set_table(NULL);
}

static void a_wrong_guest_is_refused(void **state)
{
    (void)state;
    static const null_device two[2] = {{.name = "a"}, {.name = "b"}};
    null_cl_setup(two, 2, 0);
    const kl__cl_table *cl = null_cl_table();
    kl__cl_set_table(cl);
    cl_platform_id p;
    cl_device_id d[2];
    cl->clGetPlatformIDs(1, &p, NULL);
    cl->clGetDeviceIDs(p, CL_DEVICE_TYPE_ALL, 2, d, NULL);
    cl_context c0 = cl->clCreateContext(NULL, 1, &d[0], NULL, NULL, NULL);
    cl_context c1 = cl->clCreateContext(NULL, 1, &d[1], NULL, NULL, NULL);
    cl_command_queue q1 = cl->clCreateCommandQueue(c1, d[1], 0, NULL);
    cl_mem m1 = cl->clCreateBuffer(c1, 0, 64, NULL, NULL);
    assert_null(kl__ctx_wrap(NULL, d[0], NULL, NULL));
    assert_null(kl__ctx_wrap(c0, d[1], NULL, NULL));
    assert_non_null(strstr(kl_last_error(), "not one of the OpenCL context's"));
    assert_null(kl__ctx_wrap(c0, d[0], q1, NULL));
    assert_non_null(strstr(kl_last_error(), "belongs to another OpenCL context"));
    kl_ctx *ctx = kl__ctx_wrap(c0, d[0], NULL, &(kl_ctx_opts){.cache_dir = ""});
    assert_non_null(ctx);
    assert_null(kl__mem_wrap(ctx, m1));
    assert_int_equal(kl__last_status(), KL_E_ARG);
    kl_ctx_destroy(ctx);
    cl->clReleaseMemObject(m1);
    cl->clReleaseCommandQueue(q1);
    cl->clReleaseContext(c0);
    cl->clReleaseContext(c1);
    assert_int_equal(null_cl_live(), 0);
    kl__cl_set_table(NULL);
}

int main(void)
{
    snprintf(cache, sizeof cache, "/tmp/kiln-faults-%ld", (long)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_fails_once),
        cmocka_unit_test(each_call_fails_once_for_a_guest),
        cmocka_unit_test(each_call_fails_from_then_on),
        cmocka_unit_test(each_allocation_fails_once),
        cmocka_unit_test(a_failed_launch_is_told_to_who_waits),
        cmocka_unit_test(a_wrong_guest_is_refused),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    remove_cache();
    return failures;
}
