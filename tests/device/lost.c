/* A device that is lost: whatever waits for it gets an answer, nothing waits again, and what is
 * left is a hung device's own objects. */
#include "base/mem.h"
#include "base/thread.h"
#include "support/count_alloc.h"
#include "support/fault_cl.h"
#include "support/null_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const null_device machine[] = {{.name = "A"}, {.name = "B"}};

typedef struct notes {
    atomic_int n, last;
} notes;

static void note(void *user, kl_status st)
{
    notes *t = user;
    atomic_store(&t->last, st);
    atomic_fetch_add(&t->n, 1);
}

static kl_ctx *open_ctx(const char *choice, double timeout)
{
    kl_ctx *ctx = kl_ctx_create(&(kl_ctx_opts){
        .device = choice, .kernel_dir = TEST_CL_DIR, .cache_dir = "", .timeout = timeout});
    if (!ctx)
        fail_msg("%s", kl_last_error());
    return ctx;
}

static void begin(uint64_t seed)
{
    null_cl_setup(machine, 2, seed);
    fault_cl_wrap(null_cl_table());
    kl__cl_set_table(fault_cl_table());
    count_alloc_install();
}

/* Nothing is left, but for what a hung device's driver may still use: its bench. */
static void end(int hung)
{
    static const struct {
        fault_cl_kind kind;
        int n;
    } left[] = {{FAULT_DEVICE, 1}, {FAULT_CONTEXT, 1}, {FAULT_QUEUE, KL__N_LANES}, {FAULT_MEM, 1},
                {FAULT_PROGRAM, 1}, {FAULT_KERNEL, 1}, {FAULT_EVENT, 0}};
    fault_cl_device_wakes();
    assert_int_equal(count_alloc_live(), 0);
    for (size_t i = 0; hung && i < sizeof left / sizeof *left; i++)
        assert_int_equal(fault_cl_live_of(left[i].kind), left[i].n);
    if (!hung)
        assert_int_equal(null_cl_live(), 0);
    count_alloc_remove();
    kl__cl_set_table(NULL);
}

static void expect_lost(kl_status st, const char *sentence)
{
    if (st != KL_E_DEVICE || !strstr(kl_last_error(), sentence))
        fail_msg("%d: %s", st, kl_last_error());
}

/* Every call that would enqueue or wait, and none of them may take any time. */
static void all_refuse(kl_ctx *ctx, kl__mem *m, kl__seq *s, kl__event e, const char *why)
{
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl__span at = {m, 0};
    char b[8] = "";
    notes t = {0, 0};
    kl__event mark;
    double start = kl__now();
    assert_true(kl__ctx_lost(ctx));
    expect_lost(kl__lane_write(lane, at, b, sizeof b, NULL), why);
    expect_lost(kl__lane_read(lane, at, b, sizeof b, &mark), why);
    expect_lost(kl__lane_copy(lane, at, (kl__span){m, 32}, 8), why);
    expect_lost(kl__lane_fill(lane, at, b, 4, 8), why);
    expect_lost(kl__lane_mark(lane, &mark), why);
    if (e.h) {
        expect_lost(kl__lane_wait(lane, e), why);
        expect_lost(kl__event_wait(ctx, e), why);
        expect_lost(kl__event_poll(ctx, e), why);
        expect_lost(kl__event_notify(ctx, e, note, &t), why);
    }
    expect_lost(kl__lane_flush(lane), why);
    expect_lost(kl__lane_finish(lane), why);
    expect_lost(kl__lane_drain(lane), why);
    expect_lost(kl_ctx_finish(ctx), why);
    expect_lost(kl__seq_run(s, lane, 0, kl__seq_count(s)), why);
    double seconds[4];
    expect_lost(kl__seq_profile(s, lane, seconds), why);
    assert_null(kl__mem_create(ctx, 64));
    assert_non_null(strstr(kl_last_error(), why));
    assert_int_equal(t.n, 0);
    assert_true(kl__now() - start < 5);
}

typedef struct bench {
    kl_ctx *ctx;
    kl__mem *m;
    kl__seq *s;
    kl__event e;
} bench;

static bench set_bench(const char *choice, double timeout)
{
    bench b = {.ctx = open_ctx(choice, timeout)};
    b.m = kl__mem_create(b.ctx, 64);
    b.s = kl__seq_create(b.ctx);
    kl__launch l = {.file = "test.cl", .kernel = "add", .n_args = 1, .dims = 1, .global = {16}};
    l.arg[0] = (kl__arg){.kind = KL__ARG_SPAN, .elem = 4, .span = {b.m, 0}};
    assert_int_equal(kl__seq_kernel(b.s, &l), KL_OK);
    return b;
}

static void clear_bench(bench *b)
{
    double start = kl__now();
    kl__event_release(&b->e);
    kl__seq_destroy(b->s);
    kl__mem_release(b->m);
    kl_ctx_destroy(b->ctx);
    assert_true(kl__now() - start < 5);
}

static void a_wait_ends_when_its_time_is_up(void **state)
{
    (void)state;
    begin(0);
    bench b = set_bench("0:0", 0.2), other = set_bench("0:1", 0.2);
    kl__lane *lane = kl__ctx_lane(b.ctx, KL__COMPUTE);
    fault_cl_device_hangs(b.ctx, 1);
    assert_int_equal(kl__seq_run(b.s, lane, 0, 1), KL_OK);
    assert_int_equal(kl__lane_mark(lane, &b.e), KL_OK);
    assert_int_equal(kl__event_poll(b.ctx, b.e), 1);
    double start = kl__now();
    expect_lost(kl__event_wait(b.ctx, b.e), "A was lost: a command did not end in 0.2 seconds");
    double took = kl__now() - start;
    assert_true(took >= 0.2 && took < 5);
    assert_true(kl__ctx_hung(b.ctx));
    all_refuse(b.ctx, b.m, b.s, b.e, "A was lost: a command did not end in 0.2 seconds");
    assert_false(kl__ctx_lost(other.ctx)); /* the other goes on */
    assert_int_equal(kl__seq_run(other.s, kl__ctx_lane(other.ctx, KL__COMPUTE), 0, 1), KL_OK);
    assert_int_equal(kl_ctx_finish(other.ctx), KL_OK);
    clear_bench(&b);
    clear_bench(&other);
    end(1);
}

/* A callback that comes when its context is long gone finds memory that is still there. */
static void late_callbacks_find_their_memory(void **state)
{
    (void)state;
    notes t = {0, 0};
    begin(0);
    bench b = set_bench("0:0", 0.05);
    kl__lane *lane = kl__ctx_lane(b.ctx, KL__COMPUTE);
    fault_cl_device_hangs(b.ctx, 1);
    assert_int_equal(kl__lane_mark(lane, &b.e), KL_OK);
    for (int i = 0; i < 20; i++) /* more than have a place of their own */
        assert_int_equal(kl__event_notify(b.ctx, b.e, note, &t), KL_OK);
    assert_int_equal(t.n, 0);
    expect_lost(kl__lane_finish(lane),
                "what its compute lane has queued did not end in 0.05 seconds");
    assert_int_equal(t.n, 20); /* told at once */
    assert_int_equal(t.last, KL_E_DEVICE);
    clear_bench(&b);
    assert_true(count_alloc_live() > 0);
    fault_cl_device_wakes();
    assert_int_equal(t.n, 20); /* and once */
    end(1);
}

static void every_kind_of_wait_is_bounded(void **state)
{
    (void)state;
    static const char *const what[] = {"a write of 64 bytes", "a read of 8 bytes",
                                       "what its upload lane has queued", "a command",
                                       "what its compute lane has queued"};
    for (int i = 0; i < 5; i++) {
        begin(0);
        bench b = set_bench("0:0", 0.05);
        kl__lane *lane = kl__ctx_lane(b.ctx, KL__COMPUTE), *up = kl__ctx_lane(b.ctx, KL__UPLOAD);
        static char host[64]; /* a hung device may use it for ever */
        char want[128];
        double seconds;
        kl_status st = KL_OK;
        fault_cl_device_hangs(b.ctx, 1);
        switch (i) {
        case 0:
            st = kl__lane_write(lane, (kl__span){b.m, 0}, host, 64, NULL);
            break;
        case 1:
            st = kl__lane_read(lane, (kl__span){b.m, 8}, host, 8, NULL);
            break;
        case 2:
            st = kl__lane_drain(up);
            break;
        case 3:
            st = kl__seq_profile(b.s, lane, &seconds);
            break;
        default:
            st = kl_ctx_finish(b.ctx);
        }
        snprintf(want, sizeof want, "A was lost: %s did not end in 0.05 seconds", what[i]);
        expect_lost(st, want);
        clear_bench(&b);
        end(1);
    }
    begin(0); /* and destruction */
    bench b = set_bench("0:0", 0.05);
    fault_cl_device_hangs(b.ctx, 1);
    assert_int_equal(kl__seq_run(b.s, kl__ctx_lane(b.ctx, KL__COMPUTE), 0, 1), KL_OK);
    kl__event none = {NULL};
    assert_int_equal(kl__event_wait(b.ctx, none), KL_OK);
    double start = kl__now();
    kl_ctx *ctx = b.ctx;
    kl__seq_destroy(b.s); /* before it is known to hang: they are given back */
    kl__mem_release(b.m);
    kl_ctx_destroy(ctx);
    assert_true(kl__now() - start >= 0.05 && kl__now() - start < 5);
    fault_cl_device_wakes();
    assert_int_equal(count_alloc_live(), 0);
    assert_int_equal(fault_cl_live_of(FAULT_CONTEXT), 1);
    assert_int_equal(fault_cl_live_of(FAULT_QUEUE), KL__N_LANES);
    assert_int_equal(fault_cl_live_of(FAULT_KERNEL), 0);
    count_alloc_remove();
    kl__cl_set_table(NULL);
}

/* A device that failed ends what it has under way, and all that it had is given back. */
static void a_failed_device_gives_all_back(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        notes t = {0, 0};
        begin(seed);
        bench b = set_bench("0:0", 0);
        kl__lane *lane = kl__ctx_lane(b.ctx, KL__COMPUTE);
        char *host = malloc(64);
        kl__event read;
        memset(host, 1, 64);
        assert_int_equal(kl__seq_run(b.s, lane, 0, 1), KL_OK);
        assert_int_equal(kl__lane_write(lane, (kl__span){b.m, 0}, host, 64, &read), KL_OK);
        assert_int_equal(kl__lane_mark(lane, &b.e), KL_OK);
        for (int i = 0; i < 3; i++)
            assert_int_equal(kl__event_notify(b.ctx, b.e, note, &t), KL_OK);
        kl__ctx_lose(b.ctx, false, "the test says so");
        kl__ctx_lose(b.ctx, false, "again");
        expect_lost(kl__event_wait(b.ctx, read), "A was lost: the test says so");
        free(host); /* after a wait, also one that says no, nobody reads it */
        all_refuse(b.ctx, b.m, b.s, b.e, "A was lost: the test says so");
        assert_false(kl__ctx_hung(b.ctx));
        kl__event_release(&read);
        clear_bench(&b);
        assert_int_equal(t.n, 3);
        end(0);
    }
}

static void a_call_that_fails_waits_all_the_same(void **state)
{
    (void)state;
    static const char *const call[] = {"clGetEventInfo", "clSetEventCallback"};
    for (uint64_t seed = 1; seed < 9; seed++) {
        begin(seed);
        bench b = set_bench("0:0", 0);
        kl__lane *lane = kl__ctx_lane(b.ctx, KL__COMPUTE);
        char *host = malloc(64);
        memset(host, 7, 64);
        for (int i = 0; i < 8; i++)
            assert_int_equal(kl__seq_run(b.s, lane, 0, 1), KL_OK);
        fault_cl_at(call[seed % 2], 1, seed > 4, 0);
        kl_status st = kl__lane_write(lane, (kl__span){b.m, 0}, host, 64, NULL);
        free(host);
        if (seed % 2) /* done without: by looks */
            assert_int_equal(st, KL_OK);
        else
            expect_lost(st, "clGetEventInfo");
        assert_false(kl__ctx_lost(b.ctx));
        fault_cl_at(NULL, 0, false, 0);
        size_t n;
        null_cl_history(kl__mem_cl(b.m), &n);
        assert_int_equal(n, 9);
        clear_bench(&b);
        end(0);
    }
}

static void *lose_it(void *ctx)
{
    double until = kl__now() + 0.1;
    while (kl__now() < until)
        ;
    kl__ctx_lose(ctx, true, "another thread saw it");
    return NULL;
}

static void losing_wakes_who_waits(void **state)
{
    (void)state;
    begin(0);
    bench b = set_bench("0:0", KL_NONE);
    kl__thread thread;
    fault_cl_device_hangs(b.ctx, 1);
    assert_int_equal(kl__lane_mark(kl__ctx_lane(b.ctx, KL__COMPUTE), &b.e), KL_OK);
    assert_int_equal(kl__thread_start(&thread, lose_it, b.ctx), KL_OK);
    expect_lost(kl__event_wait(b.ctx, b.e), "A was lost: another thread saw it");
    kl__thread_join(thread);
    clear_bench(&b);
    end(1);
}

/* B dies at its nth call, for every n: A never notices, and nothing is left of B. */
static void one_device_dies_at_every_call(void **state)
{
    (void)state;
    uint64_t n = 0, calls;
    do {
        begin(0);
        bench a = set_bench("0:0", 0), b = set_bench("0:1", 0);
        uint64_t before = fault_cl_device_calls(b.ctx);
        float x[16] = {0};
        fault_cl_device_dies(b.ctx, ++n, 0);
        for (bench *one = &a;; one = &b) {
            kl__lane *lane = kl__ctx_lane(one->ctx, KL__COMPUTE);
            kl_status st = kl__lane_write(lane, (kl__span){one->m, 0}, x, sizeof x, NULL);
            st = st ? st : kl__seq_run(one->s, lane, 0, 1);
            st = st ? st : kl__lane_read(lane, (kl__span){one->m, 0}, x, sizeof x, NULL);
            st = st ? st : kl__lane_mark(lane, &one->e);
            st = st ? st : kl__event_wait(one->ctx, one->e);
            if (st) {
                assert_ptr_equal(one, &b);
                kl__ctx_lose(one->ctx, false, kl_last_error());
                all_refuse(b.ctx, b.m, b.s, b.e, "B was lost: ");
            }
            if (one == &b)
                break;
        }
        calls = fault_cl_device_calls(b.ctx) - before;
        assert_int_equal(kl_ctx_finish(a.ctx), KL_OK);
        clear_bench(&a);
        clear_bench(&b);
        end(0);
    } while (n <= calls);
    print_message("%llu calls\n", (unsigned long long)n);
    assert_true(n > 12);
}

static void time_is_given_by_option_or_environment(void **state)
{
    (void)state;
    begin(0);
    assert_null(kl_ctx_create(&(kl_ctx_opts){.cache_dir = "", .timeout = -1}));
    assert_int_equal(kl_last_status(), KL_E_ARG);
    setenv("KILN_TIMEOUT", "soon", 1);
    assert_null(kl_ctx_create(&(kl_ctx_opts){.cache_dir = ""}));
    assert_non_null(strstr(kl_last_error(), "KILN_TIMEOUT is \"soon\""));
    setenv("KILN_TIMEOUT", "none", 1);
    kl_ctx_destroy(open_ctx("0:0", 0));
    setenv("KILN_TIMEOUT", "0.05", 1);
    bench b = set_bench("0:0", 0);
    fault_cl_device_hangs(b.ctx, 1);
    expect_lost(kl_ctx_finish(b.ctx), "did not end in 0.05 seconds");
    clear_bench(&b);
    unsetenv("KILN_TIMEOUT");
    end(1);
}

int main(void)
{
    unsetenv("KILN_DEVICE");
    unsetenv("KILN_TIMEOUT");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_ends_when_its_time_is_up),
        cmocka_unit_test(late_callbacks_find_their_memory),
        cmocka_unit_test(every_kind_of_wait_is_bounded),
        cmocka_unit_test(a_failed_device_gives_all_back),
        cmocka_unit_test(a_call_that_fails_waits_all_the_same),
        cmocka_unit_test(losing_wakes_who_waits),
        cmocka_unit_test(one_device_dies_at_every_call),
        cmocka_unit_test(time_is_given_by_option_or_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
