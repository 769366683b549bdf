/* Threads: the waiting ones wake, time-outs are timely, signals stay with the host. */
#include "rig.h"

#include "base/thread.h"

#include <signal.h>

typedef struct desk {
    kl__mutex m;
    kl__cond c;
    int turn, count;
    bool signals_blocked;
} desk;

static void *worker(void *arg)
{
    desk *d = arg;
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    for (int i = 0; i < 1000; i++) {
        kl__lock(&d->m);
        d->count++;
        kl__unlock(&d->m);
    }
    kl__lock(&d->m);
    d->signals_blocked = sigismember(&now, SIGINT) && sigismember(&now, SIGTERM);
    while (!d->turn) {
        kl__cond_wait(&d->c, &d->m);
    }
    d->turn++;
    kl__cond_broadcast(&d->c);
    kl__unlock(&d->m);
    return NULL;
}

static void threads_share_and_wake(void **state)
{
    (void)state;
    desk d = {.turn = 0};
    kl__thread t[3];
    sigset_t before, after;
    kl__mutex_init(&d.m);
    kl__cond_init(&d.c);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kl__thread_start(&t[i], worker, &d), KL_OK);
    }
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(sigismember(&before, SIGINT), sigismember(&after, SIGINT));
    kl__lock(&d.m);
    d.turn = 1;
    kl__cond_broadcast(&d.c);
    bool in_time = true;
    while (d.turn < 4 && in_time) {
        in_time = kl__cond_wait_for(&d.c, &d.m, 30);
    }
    kl__unlock(&d.m);
    for (int i = 0; i < 3; i++) {
        kl__thread_join(t[i]);
    }
    assert_true(in_time);
    assert_int_equal(d.count, 3000);
    assert_true(d.signals_blocked);
    kl__cond_finish(&d.c);
    kl__mutex_finish(&d.m);
}

static void waiting_ends_in_time(void **state)
{
    (void)state;
    desk d = {.turn = 0};
    kl__mutex_init(&d.m);
    kl__cond_init(&d.c);
    kl__lock(&d.m);
    const double start = kl__now();
    assert_false(kl__cond_wait_for(&d.c, &d.m, 0.05));
    assert_false(kl__cond_wait_for(&d.c, &d.m, 0));
    assert_false(kl__cond_wait_for(&d.c, &d.m, -1));
    const double took = kl__now() - start;
    assert_true(took >= 0.05 && took < 10);
    kl__unlock(&d.m);
    kl__cond_finish(&d.c);
    kl__mutex_finish(&d.m);
}

static void clocks_go_forward(void **state)
{
    (void)state;
    const double wall = kl__now(), cpu = kl__cpu_now();
    volatile double x = 1;
    while (kl__cpu_now() - cpu < 0.01) {
        x = x * 1.0000001;
    }
    assert_true(kl__now() - wall >
                0.0); /* one thread cannot use more CPU than time, but for rounding */
    assert_true(kl__now() - wall >= 0.009);
    assert_true(kl__cpu_count() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_and_wake),
        cmocka_unit_test(waiting_ends_in_time),
        cmocka_unit_test(clocks_go_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
