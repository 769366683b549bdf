#ifdef __linux__
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "base/thread.h"

#include "base/error.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

void kl__mutex_init(kl__mutex *m)
{
    pthread_mutex_init(m, NULL);
}

void kl__mutex_finish(kl__mutex *m)
{
    pthread_mutex_destroy(m);
}

void kl__lock(kl__mutex *m)
{
    pthread_mutex_lock(m);
}

void kl__unlock(kl__mutex *m)
{
    pthread_mutex_unlock(m);
}

void kl__cond_init(kl__cond *c)
{
    pthread_condattr_t a;
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(c, &a);
    pthread_condattr_destroy(&a);
}

void kl__cond_finish(kl__cond *c)
{
    pthread_cond_destroy(c);
}

void kl__cond_wait(kl__cond *c, kl__mutex *m)
{
    pthread_cond_wait(c, m);
}

bool kl__cond_wait_for(kl__cond *c, kl__mutex *m, double seconds)
{
    const double longest = 1e9; /* thirty years: what is more would not fit every time_t */
    struct timespec t;
    double whole;
    clock_gettime(CLOCK_MONOTONIC, &t);
    seconds = seconds > 0 ? (seconds < longest ? seconds : longest) : 0;
    t.tv_nsec += (long)(modf(seconds, &whole) * 1e9);
    t.tv_sec += (time_t)whole + t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return pthread_cond_timedwait(c, m, &t) == 0;
}

void kl__cond_signal(kl__cond *c)
{
    pthread_cond_signal(c);
}

void kl__cond_broadcast(kl__cond *c)
{
    pthread_cond_broadcast(c);
}

kl_status kl__thread_start(kl__thread *t, void *(*fn)(void *), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* a new thread inherits the mask */
    const int rc = pthread_create(t, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc) {
        return kl__fail(KL_E_MEMORY, "a thread could not be started: %s",
                        rc == EAGAIN ? "the system has no room for one more" : "refused");
    }
    return KL_OK;
}

void kl__thread_join(kl__thread t)
{
    pthread_join(t, NULL);
}

void kl__thread_detach(kl__thread t)
{
    pthread_detach(t);
}

static double clock_seconds(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double kl__now(void)
{
    return clock_seconds(CLOCK_MONOTONIC);
}

double kl__cpu_now(void)
{
    return clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
}

int kl__cpu_count(void)
{
#ifdef __linux__
    cpu_set_t set; /* what this process may use, which in a container is less than there is */
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) {
        return CPU_COUNT(&set);
    }
#endif
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}
