/* The loader: the same batches whatever the threads, from any place, without allocation, and fast.
 */
#include "support.h"

#include "base/rng.h"
#include "base/thread.h"

#include <stdlib.h>

enum { H = 4, W = 6, PER = H * W };

static kl_dataset *numbered(size_t n)
{
    float *x = malloc(n * PER * sizeof *x);
    int32_t *y = malloc(n * sizeof *y);
    for (size_t i = 0; i < n * PER; i++) {
        x[i] = (float)i;
    }
    for (size_t i = 0; i < n; i++) {
        y[i] = (int32_t)i;
    }
    const kl_shape s = {3, {1, H, W}};
    kl_dataset *d = kl_dataset_from_memory(x, y, n, s, 0);
    free(x);
    free(y);
    assert_non_null(d);
    return d;
}

/* Labels are the samples' numbers: three epochs of them, their places, and what was in the
 * pictures. */
typedef struct trace {
    size_t n, n_batches;
    int32_t number[1024];
    size_t first[1024], size[1024];
    int epoch[1024];
    double sum; /* of every value times its place */
} trace;

static void follow(kl_loader *l, int epochs, trace *t)
{
    kl_batch b;
    kl_status s = KL_E_ARG;
    assert_non_null(l);
    memset(t, 0, sizeof *t);
    for (int e = 0; e < epochs; e++) {
        while (kl_loader_next(l, &b, &s)) {
            assert_int_equal(s, KL_OK);
            memcpy(t->number + t->n, b.labels, b.n * sizeof *b.labels);
            t->first[t->n_batches] = b.first;
            t->size[t->n_batches] = b.n;
            t->epoch[t->n_batches++] = b.epoch;
            for (size_t i = 0; i < b.n * PER; i++) {
                t->sum += (double)b.x[i] * (double)(i + 1 + t->n);
            }
            t->n += b.n;
        }
        assert_int_equal(s, KL_OK);
        assert_int_equal(b.n, 0);
    }
    kl_loader_destroy(l);
}

/* Order, sizes and places as the shuffle defines them. */
static void order(void **state)
{
    (void)state;
    static trace t;
    kl_dataset *d = numbered(50);
    kl_loader_opts o = {.batch = 16, .shuffle = true, .seed = 42};
    for (int drop = 0; drop < 2; drop++) {
        o.drop_last = drop;
        kl_loader *l = kl_loader_create(d, &o, 0, 0);
        assert_int_equal(kl_loader_batches(l), drop ? 3 : 4);
        follow(l, 3, &t);
        const size_t per = drop ? 48 : 50;
        assert_int_equal(t.n, 3 * per);
        for (uint32_t e = 0; e < 3; e++) {
            uint32_t want[50];
            kl__rng_shuffle(42, e, want, 50);
            for (size_t i = 0; i < per; i++) {
                assert_int_equal(t.number[e * per + i], want[i]);
            }
        }
        for (size_t k = 0; k < t.n_batches; k++) {
            const size_t in = k % (drop ? 3 : 4);
            assert_int_equal(t.first[k], in * 16);
            assert_int_equal(t.size[k], in == 3 ? 2 : 16);
            assert_int_equal(t.epoch[k], k / (drop ? 3 : 4));
        }
    }
    o.shuffle = false;
    follow(kl_loader_create(d, &o, 7, 0), 1, &t);
    for (int i = 0; i < 48; i++) {
        assert_int_equal(t.number[i], i);
    }
    assert_int_equal(t.epoch[0], 7);
    kl_dataset_destroy(d);
}

/* Threads and batches ahead change nothing, augmented pictures included. */
static void threads_change_nothing(void **state)
{
    (void)state;
    static trace one, many;
    const kl_augment a = {true, true, 1, 2};
    kl_dataset *d = numbered(61);
    kl_dataset_set_augment(d, &a);
    kl_loader_opts o = {.batch = 8, .shuffle = true, .augment = true, .seed = 3};
    follow(kl_loader_create(d, &o, 0, 0), 4, &one);
    assert_int_equal(one.n, 4 * 61);
    const int workers[] = {1, 2, 3, 7}, ahead[] = {1, 2, 5, 64};
    for (size_t k = 0; k < 16; k++) {
        o.workers = workers[k / 4];
        o.ahead = ahead[k % 4];
        follow(kl_loader_create(d, &o, 0, 0), 4, &many);
        assert_memory_equal(&one, &many, sizeof one);
    }
    kl_dataset_destroy(d);
}

/* From (epoch, position) it goes on as the one that began at the start. */
static void from_the_middle(void **state)
{
    (void)state;
    static trace all, part;
    kl_dataset *d = numbered(30);
    const kl_loader_opts o = {.batch = 8, .shuffle = true, .seed = 9, .workers = 2};
    follow(kl_loader_create(d, &o, 0, 0), 3, &all);
    for (size_t start = 0; start < 12; start++) {
        const size_t position = start % 4 * 8, done = start / 4 * 30 + position;
        follow(kl_loader_create(d, &o, (int)(start / 4), position), 3 - (int)(start / 4), &part);
        assert_int_equal(part.n, 90 - done);
        assert_memory_equal(part.number, all.number + done, part.n * sizeof *part.number);
        assert_int_equal(part.first[0], position);
    }
    follow(kl_loader_create(d, &o, 1, 30), 2, &part); /* the end of epoch 1 comes first */
    assert_int_equal(part.n, 30);
    assert_int_equal(part.epoch[0], 2);
    assert_memory_equal(part.number, all.number + 60, 30 * sizeof *part.number);
    kl_dataset_destroy(d);
}

static void refusals(void **state)
{
    (void)state;
    kl_dataset *d = numbered(5);
    kl_batch b;
    kl_status s;
    const kl_loader_opts drop = {.batch = 6, .drop_last = true}, odd = {.batch = -1},
                         crowd = {.workers = 65};
    const kl_loader_opts *bad[] = {&drop, &odd, &crowd};
    for (size_t k = 0; k < 3; k++) {
        assert_null(kl_loader_create(d, bad[k], 0, 0));
        assert_int_equal(kl__last_status(), KL_E_ARG);
    }
    assert_null(kl_loader_create(d, NULL, 0, 6));
    assert_null(kl_loader_create(d, NULL, -1, 0));
    assert_null(kl_loader_create(NULL, NULL, 0, 0));
    assert_false(kl_loader_next(NULL, &b, &s));
    assert_int_equal(s, KL_E_ARG);
    kl_loader_destroy(NULL);
    kl_dataset_destroy(d);
}

/* Destroyed after any number of batches, with workers busy, asleep or not yet begun. */
static void ends_at_any_time(void **state)
{
    (void)state;
    kl_dataset *d = numbered(40);
    kl_batch b;
    for (int k = 0; k < 60; k++) {
        const kl_loader_opts o = {
            .batch = 1 + k % 9, .shuffle = true, .workers = 1 + k % 4, .ahead = 1 + k % 3};
        kl_loader *l = kl_loader_create(d, &o, 0, 0);
        assert_non_null(l);
        for (int i = 0; i < k % 13; i++) {
            kl_loader_next(l, &b, NULL);
        }
        kl_loader_destroy(l);
    }
    kl_dataset_destroy(d);
}

/* ---- allocation ------------------------------------------------------------------------- */

static long allocations;

static void *count_realloc(void *user, void *p, size_t n)
{
    (void)user;
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return realloc(p, n);
}

static void *count_alloc(void *user, size_t n)
{
    return count_realloc(user, NULL, n);
}

static void count_free(void *user, void *p)
{
    (void)user;
    free(p);
}

static void allocates_nothing_later(void **state)
{
    (void)state;
    const kl_allocator a = {count_alloc, count_realloc, count_free, NULL};
    const kl_augment augment = {true, false, 1, 1};
    kl_set_allocator(&a);
    kl_dataset *d = numbered(100);
    kl_dataset_set_augment(d, &augment);
    const kl_loader_opts o = {.batch = 7, .shuffle = true, .augment = true, .workers = 2};
    kl_loader *l = kl_loader_create(d, &o, 0, 0);
    kl_batch b;
    const long before = __atomic_load_n(&allocations, __ATOMIC_RELAXED);
    assert_true(before > 0);
    for (int i = 0; i < 200; i++) {
        kl_loader_next(l, &b, NULL);
    }
    assert_int_equal(__atomic_load_n(&allocations, __ATOMIC_RELAXED), before);
    kl_loader_destroy(l);
    kl_dataset_destroy(d);
    kl_set_allocator(NULL);
}

/* ---- speed
 * -----------------------------------------------------------------------------------------------
 */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOW 1
#endif
#endif
#ifndef SLOW
#define SLOW 0
#endif

/* Pictures of Fashion-MNIST's size, normalised: at least 100 000 a second of CPU time. */
static void speed(void **state)
{
    (void)state;
    enum { N = 80 };
    static uint8_t bytes[N * 784];
    const kl_normalise n = {1, {0.286f}, {0.353f}};
    kl_batch b;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 31);
    }
    put_idx("pictures-idx", bytes, 3, (uint32_t[]){N, 28, 28});
    kl_dataset *d = open_spec("idx:%s", at("pictures-idx"));
    kl_dataset_set_normalise(d, &n);
    const kl_loader_opts o = {.batch = 40, .shuffle = true};
    kl_loader *l = kl_loader_create(d, &o, 0, 0);
    const double begin = kl__cpu_now();
    size_t images = 0;
    while (images < 100000) {
        if (kl_loader_next(l, &b, NULL)) {
            images += b.n;
        }
    }
    const double seconds = kl__cpu_now() - begin;
    kl_loader_destroy(l);
    kl_dataset_destroy(d);
    print_message("%.0f images per CPU second\n", (double)images / seconds);
    assert_true(SLOW || (double)images / seconds >= 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(from_the_middle),
        cmocka_unit_test(refusals),
        cmocka_unit_test(ends_at_any_time),
        cmocka_unit_test(allocates_nothing_later),
        cmocka_unit_test(speed),
    };
    return cmocka_run_group_tests(tests, folder_make, tree_remove);
}
