/* Buffers kept for reuse, on a device that carries commands out as late as it may: reuse comes
 * after the last use, and the pool never stands in the way of a creation. */
#include "base/rng.h"
#include "base/thread.h"
#include "device/ctx.h"
#include "support/count_alloc.h"
#include "support/fault_cl.h"
#include "support/null_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

#define OK(call)                                                                                   \
    do {                                                                                           \
        if (call)                                                                                  \
            fail_msg("%s: %s", #call, kl_last_error());                                            \
    } while (0)

static kl_ctx *open_null(const null_device *d, uint64_t seed, uint32_t flags)
{
    null_cl_setup(d, d ? 1 : 0, seed);
    fault_cl_wrap(null_cl_table());
    kl__cl_set_table(fault_cl_table());
    kl_ctx *c = kl_ctx_create(&(kl_ctx_opts){.cache_dir = "", .flags = flags});
    if (!c)
        fail_msg("%s", kl_last_error());
    return c;
}

static void close_null(kl_ctx *c)
{
    kl_ctx_destroy(c);
    assert_int_equal(fault_cl_live(), 0);
    assert_int_equal(null_cl_live(), 0);
    kl__cl_set_table(NULL);
}

static kl_ctx_stats stats(const kl_ctx *c)
{
    kl_ctx_stats s;
    kl_ctx_stats_get(c, &s);
    return s;
}

static kl__mem *make(kl_ctx *c, size_t bytes)
{
    kl__mem *m = kl__mem_create(c, bytes);
    if (!m)
        fail_msg("%s", kl_last_error());
    return m;
}

static void a_released_buffer_is_used_again(void **state)
{
    (void)state;
    kl_ctx *c = open_null(NULL, 0, 0);
    kl__mem *a = make(c, 1000), *b = make(c, 2000);
    cl_mem first = a->mem, second = b->mem;
    kl__mem_release(a);
    kl__mem_release(b);
    assert_int_equal(stats(c).live_buffers, 0);
    assert_int_equal(stats(c).live_bytes, 0);
    assert_int_equal(stats(c).pooled_bytes, 3000);
    assert_int_equal(stats(c).peak_bytes, 3000);
    uint64_t creates = fault_cl_creates();
    count_alloc_install();
    b = make(c, 1990);
    a = make(c, 1000);
    assert_ptr_equal(a->mem, first);
    assert_ptr_equal(b->mem, second);
    kl__mem_release(a);
    a = make(c, 1000);
    assert_int_equal(count_alloc_calls(), 0);
    count_alloc_remove();
    assert_int_equal(fault_cl_creates(), creates);
    assert_int_equal(stats(c).live_buffers, 2);
    assert_int_equal(stats(c).live_bytes, 3000);
    assert_int_equal(stats(c).pooled_bytes, 0);
    assert_int_equal(stats(c).peak_bytes, 3000);
    assert_int_equal(kl__mem_bytes(b), 1990); /* what was asked for bounds what may be touched */
    assert_int_equal(kl__lane_fill(kl__ctx_lane(c, KL__COMPUTE), (kl__span){b, 0}, "x", 1, 1991),
                     KL_E_ARG);
    kl__mem_release(a);
    kl__mem_release(b);
    close_null(c);
}

/* Little is wasted: a buffer stands in for four fifths of its size and more, and the closest one is
 * taken. */
static void only_a_size_that_fits_is_taken(void **state)
{
    (void)state;
    kl_ctx *c = open_null(NULL, 0, 0);
    const size_t sizes[] = {1000, 1100, 1050},
                 want[3][2] = {{1001, 1050}, {801, 1000}, {880, 1100}};
    for (size_t i = 0; i < 3; i++) {
        kl__mem *m[3] = {make(c, 1000), make(c, 1100), make(c, 1050)};
        for (int k = 0; k < 3; k++) {
            assert_int_equal(m[k]->held, sizes[k]);
            kl__mem_release(m[k]);
        }
        kl__mem *none[] = {make(c, 1101), make(c, 799)};
        assert_true(none[0]->held == 1101 && none[1]->held == 799);
        for (int k = 0; k < 3; k++) {
            m[k] = make(c, want[k][0]);
            assert_int_equal(m[k]->held, want[k][1]);
        }
        assert_int_equal(stats(c).pooled_bytes, 0);
        for (int k = 0; k < 3; k++)
            kl__mem_release(m[k]);
        kl__mem_release(none[0]);
        kl__mem_release(none[1]);
        kl__pool_trim(c);
    }
    close_null(c);
}

/* Whatever lane used it last, a buffer is not given out before that lane has ended. Nobody waits
 * for it meanwhile. */
static void a_buffer_in_use_is_left_alone(void **state)
{
    (void)state;
    for (int lane = 0; lane < KL__N_LANES; lane++) {
        kl_ctx *c = open_null(NULL, 7, 0);
        kl__lane *last = kl__ctx_lane(c, (kl__lane_kind)lane),
                 *other = kl__ctx_lane(c, (kl__lane_kind)((lane + 1) % KL__N_LANES));
        float pattern = 1;
        kl__mem *a = make(c, 4096);
        cl_mem was = a->mem;
        OK(kl__lane_fill(last, (kl__span){a, 0}, &pattern, 4, 4096));
        uint64_t finishes = fault_cl_calls("clFinish"), waits = fault_cl_calls("clWaitForEvents");
        kl__mem_release(a);
        a = make(c, 4096);
        assert_ptr_not_equal(a->mem, was);
        assert_int_equal(
            fault_cl_calls("clFinish") - finishes + fault_cl_calls("clWaitForEvents") - waits, 0);
        OK(kl__lane_finish(other));
        kl__mem *b = make(c, 4096);
        assert_ptr_not_equal(b->mem, was);
        OK(kl__lane_finish(last));
        kl__mem *d = make(c, 4096);
        assert_ptr_equal(d->mem, was);
        kl__mem_release(a);
        kl__mem_release(b);
        kl__mem_release(d);
        close_null(c);
    }
}

/* A read that waits has shown that all before it in its lane is over; one that only queues shows
 * nothing. */
static void what_a_blocking_read_shows_is_enough(void **state)
{
    (void)state;
    kl_ctx *c = open_null(NULL, 3, 0);
    kl__lane *lane = kl__ctx_lane(c, KL__COMPUTE);
    float v[16];
    kl__event done;
    kl__mem *a = make(c, 64), *b = make(c, 64), *r = make(c, 8192);
    cl_mem was = b->mem;
    OK(kl__lane_fill(lane, (kl__span){a, 0}, "x", 1, 64));
    OK(kl__lane_copy(lane, (kl__span){b, 0}, (kl__span){a, 0}, 64));
    kl__mem_release(b);
    OK(kl__lane_read(lane, (kl__span){r, 0}, v, 64, &done));
    b = make(c, 64);
    assert_ptr_not_equal(b->mem, was);
    kl__event_release(&done);
    OK(kl__lane_read(lane, (kl__span){r, 0}, v, 64, NULL));
    kl__mem *d = make(c, 64);
    assert_ptr_equal(d->mem, was);
    /* a wait that failed shows nothing */
    OK(kl__lane_fill(lane, (kl__span){d, 0}, "x", 1, 64));
    kl__mem_release(d);
    fault_cl_at("clEnqueueMarkerWithWaitList", 1, false, CL_OUT_OF_RESOURCES);
    assert_int_equal(kl__lane_finish(lane), KL_E_DEVICE);
    fault_cl_at("clWaitForEvents", 1, false, CL_OUT_OF_RESOURCES);
    assert_int_equal(kl__lane_read(lane, (kl__span){r, 0}, v, 64, NULL), KL_E_DEVICE);
    fault_cl_at(NULL, 0, false, 0);
    d = make(c, 64);
    assert_ptr_not_equal(d->mem, was);
    kl__mem_release(a);
    kl__mem_release(b);
    kl__mem_release(d);
    kl__mem_release(r);
    close_null(c);
}

/* Random programs of writes, copies between lanes, reads and releases end with the same data in
 * every order of execution that the queues allow. */
static void data_never_mixes(void **state)
{
    (void)state;
    enum { N = 8, STEPS = 400 };
    uint64_t reused = 0;
    for (uint64_t seed = 1; seed <= 25; seed++) {
        kl_ctx *c = open_null(NULL, seed, 0);
        kl__lane *up = kl__ctx_lane(c, KL__UPLOAD), *compute = kl__ctx_lane(c, KL__COMPUTE);
        kl__rng r = kl__rng_of(seed, "pool", 0);
        kl__mem *m[N] = {NULL};
        static uint32_t data[STEPS];
        uint32_t value[N] = {0};
        uint64_t at = 0, creates = fault_cl_creates(), made = 0;
        for (uint32_t step = 0; step < STEPS; step++) {
            size_t i = (size_t)kl__rng_below(r, at++, N), k = (size_t)kl__rng_below(r, at++, N);
            uint64_t what = kl__rng_below(r, at++, 10);
            if (!m[i]) { /* a new one, filled by the upload lane */
                kl__event done;
                m[i] = make(c, 256);
                made++;
                data[step] = value[i] = step + 1;
                OK(kl__lane_write(up, (kl__span){m[i], 0}, &data[step], 4, &done));
                OK(kl__lane_wait(compute, done));
                kl__event_release(&done);
            } else if (what < 5 && m[k] && k != i) {
                OK(kl__lane_copy(compute, (kl__span){m[k], 0}, (kl__span){m[i], 0}, 4));
                value[k] = value[i];
            } else if (what < 8) {
                kl__mem_release(m[i]);
                m[i] = NULL;
            } else if (what == 8) {
                uint32_t got;
                OK(kl__lane_read(compute, (kl__span){m[i], 0}, &got, 4, NULL));
                assert_int_equal(got, value[i]);
            } else {
                OK(kl__lane_finish(up));
            }
        }
        OK(kl_ctx_finish(c));
        for (int i = 0; i < N; i++) {
            uint32_t got;
            if (m[i]) {
                OK(kl__lane_read(compute, (kl__span){m[i], 0}, &got, 4, NULL));
                assert_int_equal(got, value[i]);
            }
            kl__mem_release(m[i]);
        }
        reused += made - (fault_cl_creates() - creates);
        close_null(c);
    }
    assert_true(reused > 100); /* else nothing was shown */
}

static void what_is_kept_is_bounded(void **state)
{
    (void)state;
    static const null_device small = {.memory = 64u * MIB, .max_alloc = 32u * MIB};
    kl_ctx *c = open_null(&small, 0, 0);
    kl__mem *m[300];
    for (int i = 0; i < 60; i++)
        m[i] = make(c, MIB);
    cl_mem newest = m[59]->mem;
    for (int i = 0; i < 60; i++)
        kl__mem_release(m[i]);
    assert_int_equal(stats(c).pooled_bytes, 16 * MIB); /* a quarter of the device */
    assert_int_equal(fault_cl_live_of(FAULT_MEM), 16);
    assert_int_equal(stats(c).live_bytes, 0);
    bool found = false; /* the oldest go first */
    for (int i = 0; i < 16; i++) {
        m[i] = make(c, MIB);
        found |= m[i]->mem == newest;
    }
    assert_true(found);
    for (int i = 0; i < 16; i++)
        kl__mem_release(m[i]);
    kl__mem_release(make(c, 17 * MIB)); /* alone too large to keep; the others stay */
    assert_int_equal(fault_cl_live_of(FAULT_MEM), 16);
    for (int i = 0; i < 300; i++)
        m[i] = make(c, 64);
    for (int i = 0; i < 300; i++)
        kl__mem_release(m[i]);
    assert_int_equal(fault_cl_live_of(FAULT_MEM), 256);
    assert_int_equal(stats(c).pooled_bytes, 256 * 64);
    close_null(c);
}

/* On a large device 256 MiB are kept in any case, and a quarter of the peak where that is more. */
static void a_quarter_of_the_peak_is_kept(void **state)
{
    (void)state;
    static const null_device large = {.memory = (uint64_t)8192 * MIB,
                                      .max_alloc = (uint64_t)1024 * MIB};
    kl_ctx *c = open_null(&large, 0, 0);
    kl__mem *m[8];
    for (int i = 0; i < 4; i++)
        m[i] = make(c, 100u * MIB);
    for (int i = 0; i < 4; i++)
        kl__mem_release(m[i]);
    assert_int_equal(stats(c).pooled_bytes, 200u * MIB);
    for (int i = 0; i < 8; i++)
        m[i] = make(c, 200u * MIB);
    for (int i = 0; i < 8; i++)
        kl__mem_release(m[i]);
    assert_int_equal(stats(c).peak_bytes, 1600u * MIB);
    assert_int_equal(stats(c).pooled_bytes, 400u * MIB);
    close_null(c);
}

static void the_pool_makes_way(void **state)
{
    (void)state;
    static const null_device small = {.memory = 64u * MIB, .max_alloc = 64u * MIB};
    kl_ctx *c = open_null(&small, 0, 0);
    kl__mem *a = make(c, 15 * MIB);
    kl__mem_release(a);
    assert_int_equal(stats(c).pooled_bytes, 15 * MIB);
    a = make(c, 60 * MIB);
    assert_int_equal(stats(c).pooled_bytes, 0);
    assert_null(kl__mem_create(c, 5 * MIB));
    assert_int_equal(kl__last_status(), KL_E_MEMORY);
    assert_non_null(
        strstr(kl_last_error(), "this context holds 60.0 MiB; the device has 64.0 MiB"));
    kl__mem_release(a); /* too large to be kept */
    /* a driver that refuses is asked again once the pool is empty, and then believed */
    kl__mem_release(make(c, MIB));
    fault_cl_at("clCreateBuffer", 1, false, CL_MEM_OBJECT_ALLOCATION_FAILURE);
    a = make(c, 2 * MIB);
    assert_string_equal(fault_cl_failed(), "clCreateBuffer");
    assert_int_equal(stats(c).pooled_bytes, 0);
    kl__mem_release(a);
    fault_cl_at("clCreateBuffer", 1, true, CL_MEM_OBJECT_ALLOCATION_FAILURE);
    assert_null(kl__mem_create(c, 4 * MIB));
    assert_int_equal(kl__last_status(), KL_E_MEMORY);
    assert_non_null(strstr(
        kl_last_error(),
        "cannot get 4.0 MiB of memory on null: clCreateBuffer: CL_MEM_OBJECT_ALLOCATION_FAILURE"));
    fault_cl_at(NULL, 0, false, 0);
    assert_int_equal(fault_cl_live_of(FAULT_MEM), 0);
    close_null(c);
}

/* What the caller brought, or has seen, is not ours to give to others; debug-buffer mode has a
 * fresh buffer per value. */
static void buffers_that_others_know_are_not_kept(void **state)
{
    (void)state;
    kl_ctx *c = open_null(NULL, 0, 0);
    cl_int code;
    cl_mem own = c->cl->clCreateBuffer(c->context, CL_MEM_READ_WRITE, 4096, NULL, &code);
    assert_non_null(own);
    kl__mem *w = kl__mem_wrap(c, own);
    assert_non_null(w);
    kl__mem_release(w);
    assert_int_equal(stats(c).pooled_bytes, 0);
    assert_int_equal(c->cl->clReleaseMemObject(own), CL_SUCCESS);
    assert_int_equal(fault_cl_live_of(FAULT_MEM), 0);
    kl__mem *m = make(c, 4096);
    assert_non_null(kl__mem_cl(m));
    kl__mem_release(m);
    assert_int_equal(stats(c).pooled_bytes, 0);
    assert_int_equal(fault_cl_live_of(FAULT_MEM), 0);
    close_null(c);
    c = open_null(NULL, 0, KL_CTX_DEBUG_BUFFERS);
    kl__mem_release(make(c, 4096));
    assert_int_equal(stats(c).pooled_bytes, 0);
    assert_int_equal(fault_cl_live_of(FAULT_MEM), 0);
    close_null(c);
}

typedef struct job {
    kl_ctx *ctx;
    uint32_t number;
    bool bad;
} job;

static void *churn(void *p)
{
    job *j = p;
    kl__lane *lane = kl__ctx_lane(j->ctx, KL__COMPUTE);
    for (uint32_t i = 0; i < 300; i++) {
        uint32_t mine = j->number << 16 | i, got = 0;
        kl__mem *m = kl__mem_create(j->ctx, 64 + 64 * (i % 3));
        j->bad |= !m || kl__lane_fill(lane, (kl__span){m, 0}, &mine, 4, 64) ||
                  kl__lane_read(lane, (kl__span){m, 60}, &got, 4, NULL) || got != mine;
        kl__mem_release(m);
    }
    return NULL;
}

static void threads_do_not_share_a_buffer(void **state)
{
    (void)state;
    kl_ctx *c = open_null(NULL, 0, 0);
    job j[4];
    kl__thread t[4];
    for (uint32_t i = 0; i < 4; i++) {
        j[i] = (job){c, i + 1, false};
        assert_int_equal(kl__thread_start(&t[i], churn, &j[i]), KL_OK);
    }
    for (int i = 0; i < 4; i++) {
        kl__thread_join(t[i]);
        assert_false(j[i].bad);
    }
    assert_int_equal(stats(c).live_buffers, 0);
    assert_true(fault_cl_calls("clCreateBuffer") < 600); /* of 1200 */
    close_null(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_released_buffer_is_used_again),
        cmocka_unit_test(only_a_size_that_fits_is_taken),
        cmocka_unit_test(a_buffer_in_use_is_left_alone),
        cmocka_unit_test(what_a_blocking_read_shows_is_enough),
        cmocka_unit_test(data_never_mixes),
        cmocka_unit_test(what_is_kept_is_bounded),
        cmocka_unit_test(a_quarter_of_the_peak_is_kept),
        cmocka_unit_test(the_pool_makes_way),
        cmocka_unit_test(buffers_that_others_know_are_not_kept),
        cmocka_unit_test(threads_do_not_share_a_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
