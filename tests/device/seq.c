/* Sequences on a real device: what they compute, in which order, what they refuse, and that a run
 * creates nothing. */
#include "base/mem.h"
#include "device/device.h"
#include "device/opencl.h"
#include "support/count_alloc.h"
#include "support/fault_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 1024 };

static kl_ctx *open_ctx(uint32_t flags)
{
    kl_ctx *ctx =
        kl_ctx_create(&(kl_ctx_opts){.kernel_dir = TEST_CL_DIR, .cache_dir = "", .flags = flags});
    if (!ctx)
        fail_msg("%s", kl_last_error());
    return ctx;
}

#define OK(call)                                                                                   \
    do {                                                                                           \
        if (call)                                                                                  \
            fail_msg("%s: %s", #call, kl_last_error());                                            \
    } while (0)

static kl__arg span_arg(kl__mem *m, size_t offset)
{
    return (kl__arg){.kind = KL__ARG_SPAN, .elem = 4, .span = {m, offset}};
}

static kl__arg slot_arg(int slot, size_t offset)
{
    return (kl__arg){.kind = KL__ARG_SLOT, .elem = 4, .span = {NULL, offset}, .v.slot = slot};
}

static kl__launch add_launch(kl__mem *m, size_t offset, size_t n)
{
    kl__launch l = {
        .file = "test.cl", .kernel = "add", .label = "a", .n_args = 1, .dims = 1, .global = {n}};
    l.arg[0] = span_arg(m, offset);
    return l;
}

static kl__launch scale_launch(kl__arg y, kl__arg x, float by, int n)
{
    kl__launch l = {.file = "test.cl",
                    .kernel = "scale",
                    .label = "s",
                    .n_args = 4,
                    .dims = 1,
                    .global = {(size_t)n}};
    l.arg[0] = y;
    l.arg[1] = x;
    l.arg[2] = (kl__arg){.kind = KL__ARG_F32, .v.f32 = by};
    l.arg[3] = (kl__arg){.kind = KL__ARG_I32, .v.i32 = n};
    return l;
}

static void read_back(kl_ctx *ctx, kl__mem *m, float *x, size_t n)
{
    OK(kl__lane_read(kl__ctx_lane(ctx, KL__COMPUTE), (kl__span){m, 0}, x, n * sizeof *x, NULL));
}

/* ---- */

static void steps_run_in_order_with_offsets(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx(0);
    kl__mem *a = kl__mem_create(ctx, N * 4), *b = kl__mem_create(ctx, N * 4);
    kl__seq *s = kl__seq_create(ctx);
    kl__defs d = {{0}};
    kl__def_int(&d, "STEP", 5);
    OK(kl__seq_fill(s, "zero", (kl__span){a, 0}, 0, N * 4));
    kl__launch l = add_launch(a, 16, N - 4);
    OK(kl__seq_kernel(s, &l));
    l.defs = &d;
    OK(kl__seq_kernel(s, &l));
    l = scale_launch(span_arg(b, 0), span_arg(a, 0), 2, N);
    OK(kl__seq_kernel(s, &l));
    OK(kl__seq_copy(s, "c", (kl__span){a, 0}, (kl__span){b, 32}, 16));
    assert_int_equal(kl__seq_count(s), 5);
    assert_string_equal(kl__seq_kernel_name(s, 0), "fill");
    assert_string_equal(kl__seq_kernel_name(s, 3), "scale");
    assert_string_equal(kl__seq_label(s, 4), "c");
    OK(kl__seq_run(s, kl__ctx_lane(ctx, KL__COMPUTE), 0, 5));
    float x[N], y[N];
    read_back(ctx, a, x, N);
    read_back(ctx, b, y, N);
    for (int i = 0; i < N; i++) {
        float want = i < 4 ? 0 : 6;
        assert_float_equal(y[i], 2 * want, 0);
        assert_float_equal(x[i], i < 4 ? 12 : want, 0);
    }
    OK(kl__seq_run(s, kl__ctx_lane(ctx, KL__COMPUTE), 1, 2));
    read_back(ctx, a, x, N);
    assert_float_equal(x[4], 7, 0);
    kl__defs_free(&d);
    kl__seq_destroy(s);
    kl__mem_release(a);
    kl__mem_release(b);
    kl_ctx_destroy(ctx);
}

static void slots_are_bound_anew_between_runs(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx(0);
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl__mem *a = kl__mem_create(ctx, 64), *b = kl__mem_create(ctx, 64),
            *y = kl__mem_create(ctx, 64);
    float ones[16], out[16];
    for (int i = 0; i < 16; i++)
        ones[i] = (float)i;
    OK(kl__lane_write(lane, (kl__span){a, 0}, ones, 64, NULL));
    OK(kl__lane_fill(lane, (kl__span){b, 0}, &(float){3}, 4, 64));
    kl__seq *s = kl__seq_create(ctx);
    kl__launch l = scale_launch(span_arg(y, 0), slot_arg(1, 8), 10, 4);
    OK(kl__seq_kernel(s, &l));
    assert_int_equal(kl__seq_run(s, lane, 0, 1), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "slot 1 is not bound"));
    OK(kl__seq_bind(s, 1, (kl__span){a, 4}));
    OK(kl__seq_run(s, lane, 0, 1));
    read_back(ctx, y, out, 16);
    assert_float_equal(out[0], 30, 0); /* element 1 of the bound span, plus 2 of the argument */
    assert_float_equal(out[3], 60, 0);
    OK(kl__seq_bind(s, 1, (kl__span){b, 0}));
    kl__mem_release(b); /* the sequence holds it */
    OK(kl__seq_run(s, lane, 0, 1));
    read_back(ctx, y, out, 16);
    assert_float_equal(out[0], 30, 0);
    assert_float_equal(out[3], 30, 0);
    OK(kl__seq_bind(s, 99, (kl__span){a, 0}));
    assert_int_equal(kl__seq_bind(s, -1, (kl__span){a, 0}), KL_E_ARG);
    /* A step that comes after the binding takes it too. */
    l = scale_launch(span_arg(y, 0), slot_arg(1, 0), 2, 4);
    OK(kl__seq_kernel(s, &l));
    OK(kl__seq_run(s, lane, 1, 2));
    read_back(ctx, y, out, 16);
    assert_float_equal(out[0], 6, 0);
    kl__seq_destroy(s);
    kl__mem_release(a);
    kl__mem_release(y);
    kl_ctx_stats st;
    kl_ctx_stats_get(ctx, &st);
    assert_int_equal(st.live_buffers, 0);
    assert_int_equal(st.live_bytes, 0);
    assert_int_equal(st.peak_bytes, 3 * 64);
    assert_int_equal(st.launches, 3);
    kl_ctx_destroy(ctx);
}

static void empty_work_is_skipped_and_keeps_its_place(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx(KL_CTX_PROFILE);
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl__mem *a = kl__mem_create(ctx, 0);
    assert_non_null(a);
    assert_int_equal(kl__mem_bytes(a), 0);
    kl__seq *s = kl__seq_create(ctx);
    kl__launch l = add_launch(a, 0, 0);
    OK(kl__seq_kernel(s, &l));
    OK(kl__seq_copy(s, NULL, (kl__span){a, 0}, (kl__span){a, 0}, 0));
    OK(kl__seq_fill(s, NULL, (kl__span){a, 0}, 0, 0));
    double seconds[3] = {9, 9, 9};
    OK(kl__seq_run(s, lane, 0, 3));
    OK(kl__seq_profile(s, lane, seconds));
    for (int i = 0; i < 3; i++)
        assert_true(seconds[i] == 0);
    kl_ctx_stats st;
    kl_ctx_stats_get(ctx, &st);
    assert_int_equal(st.launches, 0);
    OK(kl__lane_read(lane, (kl__span){a, 0}, NULL, 0, NULL));
    kl__seq_destroy(s);
    kl__mem_release(a);
    kl_ctx_destroy(ctx);
}

static void profile_gives_each_step_its_time(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx(KL_CTX_PROFILE);
    kl__mem *a = kl__mem_create(ctx, 64);
    kl__seq *s = kl__seq_create(ctx);
    kl__launch l = {.file = "test.cl", .kernel = "slow_set", .n_args = 3, .dims = 1, .global = {1}};
    l.arg[0] = span_arg(a, 0);
    l.arg[2] = (kl__arg){.kind = KL__ARG_F32, .v.f32 = 1};
    for (int i = 0; i < 2; i++) {
        l.arg[1] = (kl__arg){.kind = KL__ARG_I32, .v.i32 = i ? 10000000 : 1};
        OK(kl__seq_kernel(s, &l));
    }
    double seconds[2];
    OK(kl__seq_profile(s, kl__ctx_lane(ctx, KL__COMPUTE), seconds)); /* compiles on first use */
    OK(kl__seq_profile(s, kl__ctx_lane(ctx, KL__COMPUTE), seconds));
    assert_true(seconds[0] > 0);
    assert_true(seconds[1] > 10 * seconds[0]);
    kl__seq_destroy(s);
    kl__mem_release(a);
    kl_ctx_destroy(ctx);
}

/* ---- what it refuses ---- */

static void too_much_local_memory_is_a_sentence(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx(0);
    uint64_t limit = kl__ctx_caps(ctx)->local_bytes;
    kl__mem *a = kl__mem_create(ctx, 256), *b = kl__mem_create(ctx, 256);
    kl__seq *s = kl__seq_create(ctx);
    kl__launch l = {.file = "test.cl",
                    .kernel = "group_sum",
                    .label = "big",
                    .n_args = 3,
                    .dims = 1,
                    .global = {64},
                    .local = {64}};
    l.arg[0] = span_arg(b, 0);
    l.arg[1] = span_arg(a, 0);
    l.arg[2] = (kl__arg){.kind = KL__ARG_LOCAL,
                         .v.u64 = limit - 255}; /* with the kernel's own 256: one too many */
    assert_int_equal(kl__seq_kernel(s, &l), KL_E_UNSUPPORTED);
    assert_non_null(strstr(kl_last_error(), "group_sum \"big\" needs"));
    assert_non_null(strstr(kl_last_error(), "local memory"));
    l.arg[2].v.u64 = UINT64_MAX;
    assert_int_equal(kl__seq_kernel(s, &l), KL_E_UNSUPPORTED);
    l.arg[2].v.u64 = 256;
    l.local_bytes = limit;
    assert_int_equal(kl__seq_kernel(s, &l), KL_E_UNSUPPORTED);
    assert_int_equal(kl__seq_count(s), 0);
    l.local_bytes = 256;
    OK(kl__seq_kernel(s, &l));
    OK(kl__lane_fill(kl__ctx_lane(ctx, KL__COMPUTE), (kl__span){a, 0}, &(float){2}, 4, 256));
    OK(kl__seq_run(s, kl__ctx_lane(ctx, KL__COMPUTE), 0, 1));
    float y = 0;
    read_back(ctx, b, &y, 1);
    assert_float_equal(y, 128, 0);
    kl__seq_destroy(s);
    kl__mem_release(a);
    kl__mem_release(b);
    kl_ctx_destroy(ctx);
}

static void group_sizes_are_checked(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx(0);
    kl__mem *a = kl__mem_create(ctx, 1 << 20);
    kl__seq *s = kl__seq_create(ctx);
    kl__launch l = add_launch(a, 0, 1 << 18);
    l.local[0] = 1 << 18;
    assert_int_equal(kl__seq_kernel(s, &l), KL_E_UNSUPPORTED);
    assert_non_null(strstr(kl_last_error(), "groups of 262144"));
    l.global[0] = 100;
    l.local[0] = 64;
    assert_int_equal(kl__seq_kernel(s, &l), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "do not divide"));
    l.kernel = "fours";
    l.local[0] = 2;
    assert_int_equal(kl__seq_kernel(s, &l), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "written for 4"));
    l.local[0] = 0; /* the floor finds the 4 itself */
    OK(kl__seq_kernel(s, &l));
    OK(kl__seq_run(s, kl__ctx_lane(ctx, KL__COMPUTE), 0, 1));
    float x[100];
    read_back(ctx, a, x, 100);
    assert_float_equal(x[99], 4, 0);
    kl__seq_destroy(s);
    kl__mem_release(a);
    kl_ctx_destroy(ctx);
}

static void wrong_spans_are_sentences(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx(0);
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl__mem *a = kl__mem_create(ctx, 64);
    kl__seq *s = kl__seq_create(ctx);
    char host[128];
    kl__launch l = add_launch(a, 2, 1);
    assert_int_equal(kl__seq_kernel(s, &l), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "no multiple of its element"));
    l = add_launch(a, 68, 1);
    assert_int_equal(kl__seq_kernel(s, &l), KL_E_ARG);
    assert_int_equal(kl__seq_copy(s, "x", (kl__span){a, 0}, (kl__span){a, 16}, 32), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "overlap"));
    assert_int_equal(kl__seq_copy(s, "x", (kl__span){a, 0}, (kl__span){a, 16}, 64), KL_E_ARG);
    assert_int_equal(kl__seq_fill(s, "x", (kl__span){a, 0}, 0, 63), KL_E_ARG);
    assert_int_equal(kl__lane_write(lane, (kl__span){a, 1}, host, 64, NULL), KL_E_ARG);
    assert_int_equal(kl__lane_read(lane, (kl__span){a, SIZE_MAX}, host, 64, NULL), KL_E_ARG);
    assert_int_equal(kl__lane_read(lane, (kl__span){NULL, 0}, host, 64, NULL), KL_E_ARG);
    assert_int_equal(kl__lane_fill(lane, (kl__span){a, 0}, host, 3, 63), KL_E_ARG);
    assert_int_equal(kl__lane_copy(lane, (kl__span){a, 0}, (kl__span){a, 1}, 64), KL_E_ARG);
    assert_int_equal(kl__seq_count(s), 0);
    assert_int_equal(kl__seq_run(s, lane, 0, 1), KL_E_ARG);
    kl__seq_destroy(s);
    kl__mem_release(a);
    kl_ctx_destroy(ctx);
}

static void memory_that_cannot_be_is_refused(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx(0);
    assert_null(kl__mem_create(ctx, (size_t)kl__ctx_caps(ctx)->max_alloc + 1));
    assert_int_equal(kl__last_status(), KL_E_MEMORY);
    assert_non_null(strstr(kl_last_error(), "more than one buffer may have"));
    assert_null(kl__mem_create(ctx, SIZE_MAX));
    kl_ctx_destroy(ctx);
}

static void build_errors_show_kernel_options_and_log(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx(0);
    kl__seq *s = kl__seq_create(ctx);
    kl__mem *a = kl__mem_create(ctx, 64);
    kl__defs d = {{0}};
    kl__def_word(&d, "STEP", "nonsense");
    kl__launch l = add_launch(a, 0, 1);
    l.defs = &d;
    assert_int_equal(kl__seq_kernel(s, &l), KL_E_BUILD);
    assert_non_null(strstr(kl_last_error(), "kernel add (test.cl)"));
    assert_non_null(strstr(kl_last_error(), "-DSTEP=nonsense"));
    assert_non_null(strstr(kl_last_error(), "nonsense'")); /* the compiler's own words */
    assert_int_equal(kl__seq_kernel(s, &l),
                     KL_E_BUILD); /* and again, not a hang on the first one's mark */
    l.defs = NULL;
    l.kernel = "absent";
    assert_int_equal(kl__seq_kernel(s, &l), KL_E_BUILD);
    assert_non_null(strstr(kl_last_error(), "clCreateKernel of absent"));
    l.file = "absent.cl";
    assert_int_equal(kl__seq_kernel(s, &l), KL_E_BUILD);
    assert_non_null(strstr(kl_last_error(), "absent.cl"));
    kl__defs_free(&d);
    kl__mem_release(a);
    kl__seq_destroy(s);
    kl_ctx_destroy(ctx);
}

static void a_prelude_and_doubles_compile(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx(0);
    if (!kl__ctx_caps(ctx)->fp64) {
        kl_ctx_destroy(ctx);
        skip();
    }
    kl__seq *s = kl__seq_create(ctx);
    kl__mem *a = kl__mem_create(ctx, 64);
    kl__defs d = {{0}};
    kl__def_word(&d, "T", "double");
    kl__def_flag(&d, "UNUSED");
    OK(kl__lane_fill(kl__ctx_lane(ctx, KL__COMPUTE), (kl__span){a, 0}, &(double){1e-30}, 8, 64));
    kl__launch l = add_launch(a, 8, 1);
    l.arg[0].elem = 8;
    l.defs = &d;
    l.prelude = "#define STEP 0.25";
    OK(kl__seq_kernel(s, &l));
    OK(kl__seq_run(s, kl__ctx_lane(ctx, KL__COMPUTE), 0, 1));
    double x[2];
    OK(kl__lane_read(kl__ctx_lane(ctx, KL__COMPUTE), (kl__span){a, 0}, x, 16, NULL));
    assert_true(x[0] == 1e-30 && x[1] == 0.25);
    kl__defs_free(&d);
    kl__mem_release(a);
    kl__seq_destroy(s);
    kl_ctx_destroy(ctx);
}

static void a_program_is_built_once(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx(0);
    kl__seq *s = kl__seq_create(ctx);
    kl__mem *a = kl__mem_create(ctx, 64);
    kl__launch l = add_launch(a, 0, 1);
    for (int i = 0; i < 3; i++)
        OK(kl__seq_kernel(s, &l));
    l.kernel = "fours";
    l.global[0] = 4;
    OK(kl__seq_kernel(s, &l));
    kl_ctx_stats st;
    kl_ctx_stats_get(ctx, &st);
    assert_int_equal(st.kernels_built, 1);
    assert_true(st.build_seconds > 0);
    kl__mem_release(a);
    kl__seq_destroy(s);
    kl_ctx_destroy(ctx);
}

/* ---- lanes and events ---- */

static kl__launch slow_launch(kl__mem *m, float value)
{
    kl__launch l = {.file = "test.cl",
                    .kernel = "slow_set",
                    .label = "slow",
                    .n_args = 3,
                    .dims = 1,
                    .global = {1}};
    l.arg[0] = span_arg(m, 0);
    l.arg[1] = (kl__arg){.kind = KL__ARG_I32, .v.i32 = 20000000};
    l.arg[2] = (kl__arg){.kind = KL__ARG_F32, .v.f32 = value};
    return l;
}

static void lanes_wait_for_events_of_others(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx(0);
    kl__lane *compute = kl__ctx_lane(ctx, KL__COMPUTE), *down = kl__ctx_lane(ctx, KL__DOWNLOAD);
    assert_ptr_not_equal(compute, down);
    assert_ptr_equal(kl__lane_ctx(down), ctx);
    kl__mem *a = kl__mem_create(ctx, 64);
    kl__seq *s = kl__seq_create(ctx);
    kl__launch l = slow_launch(a, 42);
    OK(kl__seq_kernel(s, &l));
    OK(kl__lane_fill(compute, (kl__span){a, 0}, &(float){0}, 4, 64));
    OK(kl__seq_run(s, compute, 0, 1));
    kl__event done, read;
    OK(kl__lane_mark(compute, &done));
    OK(kl__lane_wait(down, done));
    float x = -1;
    OK(kl__lane_read(down, (kl__span){a, 0}, &x, 4, &read));
    assert_true(kl__event_poll(ctx, read) >= 0); /* most devices are still at it */
    kl__event_retain(read);
    OK(kl__event_wait(ctx, read));
    assert_int_equal(kl__event_poll(ctx, read), 0);
    assert_int_equal(kl__event_poll(ctx, done), 0);
    assert_float_equal(x, 42, 0);
    kl__event again = read;
    kl__event_release(&again);
    kl__event_release(&read);
    assert_null(read.h);
    kl__event_release(&read);
    kl__event_release(&done);
    OK(kl__event_wait(ctx, (kl__event){NULL}));
    OK(kl__lane_wait(down, (kl__event){NULL}));
    kl__seq_destroy(s);
    kl__mem_release(a);
    OK(kl_ctx_finish(ctx));
    kl_ctx_destroy(ctx);
}

static void an_out_of_order_queue_keeps_a_lane_in_order(void **state)
{
    (void)state;
    kl_ctx *home = open_ctx(0);
    const kl__cl_table *cl = kl__cl();
    if (!kl__ctx_caps(home)->out_of_order) {
        kl_ctx_destroy(home);
        skip();
    }
    cl_context context = kl__ctx_cl(home);
    cl_device_id device;
    assert_int_equal(
        cl->clGetContextInfo(context, CL_CONTEXT_DEVICES, sizeof device, &device, NULL), 0);
    cl_command_queue q =
        cl->clCreateCommandQueue(context, device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, NULL);
    assert_non_null(q);
    kl_ctx *ctx = kl__ctx_wrap(context, device, q,
                               &(kl_ctx_opts){.kernel_dir = TEST_CL_DIR, .cache_dir = ""});
    if (!ctx)
        fail_msg("%s", kl_last_error());
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    assert_ptr_equal(lane, kl__ctx_lane(ctx, KL__UPLOAD));
    assert_ptr_equal(kl__lane_cl(lane), q);
    kl__mem *a = kl__mem_create(ctx, 64), *b = kl__mem_create(ctx, 64);
    kl__seq *s = kl__seq_create(ctx);
    kl__launch l = slow_launch(a, 1);
    OK(kl__seq_kernel(s, &l));
    l = add_launch(a, 0, 1);
    OK(kl__seq_kernel(s, &l));
    OK(kl__seq_copy(s, "c", (kl__span){b, 0}, (kl__span){a, 0}, 4));
    OK(kl__seq_fill(s, "f", (kl__span){a, 0}, 0, 4));
    float got[8];
    kl__event done[8];
    OK(kl__lane_fill(lane, (kl__span){a, 0}, &(float){7}, 4, 64));
    for (int i = 0; i < 8; i++) {
        OK(kl__seq_run(s, lane, 0, 4));
        OK(kl__lane_read(lane, (kl__span){b, 0}, &got[i], 4, &done[i]));
        if (i == 4) {
            OK(kl__lane_wait(lane, done[0]));
            OK(kl__lane_copy(lane, (kl__span){b, 0}, (kl__span){a, 0}, 4));
        }
    }
    for (int i = 0; i < 8; i++) {
        OK(kl__event_wait(ctx, done[i]));
        kl__event_release(&done[i]);
        assert_float_equal(got[i], 2, 0);
    }
    kl__seq_destroy(s);
    kl__mem_release(a);
    kl__mem_release(b);
    kl_ctx_destroy(ctx);
    cl->clReleaseCommandQueue(q);
    kl_ctx_destroy(home);
}

/* ---- a run creates nothing ---- */

static void a_run_neither_allocates_nor_creates(void **state)
{
    (void)state;
    fault_cl_wrap(kl__cl());
    kl__cl_set_table(fault_cl_table());
    count_alloc_install();
    kl_ctx *ctx = open_ctx(0);
    assert_false(kl__gemm_available(ctx)); /* not the loader's own table */
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl__mem *a = kl__mem_create(ctx, N * 4), *b = kl__mem_create(ctx, N * 4);
    kl__seq *s = kl__seq_create(ctx);
    kl__launch l = scale_launch(slot_arg(0, 0), span_arg(b, 0), 2, N);
    OK(kl__seq_kernel(s, &l));
    OK(kl__seq_copy(s, "c", (kl__span){b, 0}, (kl__span){a, 0}, 16));
    OK(kl__seq_fill(s, "f", (kl__span){a, 0}, 0, 16));
    uint64_t creates = fault_cl_creates(), allocs = count_alloc_calls(),
             launches = fault_cl_calls("clEnqueueNDRangeKernel");
    assert_true(creates > 0 && allocs > 0);
    for (int i = 0; i < 10; i++) {
        OK(kl__seq_bind(s, 0, (kl__span){i % 2 ? a : b, 0}));
        OK(kl__seq_run(s, lane, 0, 3));
    }
    OK(kl__lane_finish(lane));
    assert_int_equal(fault_cl_creates(), creates);
    assert_int_equal(count_alloc_calls(), allocs);
    assert_int_equal(fault_cl_calls("clEnqueueNDRangeKernel"), launches + 10);
    kl_ctx_stats st;
    kl_ctx_stats_get(ctx, &st);
    assert_int_equal(st.creates, creates);
    kl__seq_destroy(s);
    kl__mem_release(a);
    kl__mem_release(b);
    kl_ctx_destroy(ctx);
    assert_int_equal(fault_cl_live(), 0);
    assert_int_equal(count_alloc_live(), 0);
    count_alloc_remove();
    kl__cl_set_table(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_run_in_order_with_offsets),
        cmocka_unit_test(slots_are_bound_anew_between_runs),
        cmocka_unit_test(empty_work_is_skipped_and_keeps_its_place),
        cmocka_unit_test(profile_gives_each_step_its_time),
        cmocka_unit_test(too_much_local_memory_is_a_sentence),
        cmocka_unit_test(group_sizes_are_checked),
        cmocka_unit_test(wrong_spans_are_sentences),
        cmocka_unit_test(memory_that_cannot_be_is_refused),
        cmocka_unit_test(build_errors_show_kernel_options_and_log),
        cmocka_unit_test(a_prelude_and_doubles_compile),
        cmocka_unit_test(a_program_is_built_once),
        cmocka_unit_test(lanes_wait_for_events_of_others),
        cmocka_unit_test(an_out_of_order_queue_keeps_a_lane_in_order),
        cmocka_unit_test(a_run_neither_allocates_nor_creates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
