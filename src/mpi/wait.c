/* Waiting without keeping a core busy. A device is often this machine's own CPU, and who waits for
 * the other processes' steps would take from it what they need. So: look, then sleep, the longer
 * the longer it has lasted. */
#include "mpi/mpi_inside.h"

#include <sched.h>
#include <time.h>

/* A sleep is a small part of what was waited before, so that waking late costs little of it. */
enum {
    YIELDS = 50,      /* first looks, without sleep: the rest of a message is soon there */
    SLEEP_LEAST = 20, /* microseconds */
    SLEEP_MOST = 1000,
    SLEEP_PART = 16
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static void nap(double waited)
{
    double us = waited / SLEEP_PART;
    us = us < SLEEP_LEAST ? SLEEP_LEAST : us > SLEEP_MOST ? SLEEP_MOST : us;
    const struct timespec t = {0, (long)(us * 1000)};
    nanosleep(&t, NULL);
}

kl_status kl__mpi_wait(const kl__mpi *m, const char *call, int code, MPI_Request *r)
{
    int done = 0;
    double begin = 0;
    for (long looks = 0; code == MPI_SUCCESS; looks++) {
        code = MPI_Test(r, &done, MPI_STATUS_IGNORE);
        if (done || code != MPI_SUCCESS) {
            break;
        }
        if (looks < YIELDS) {
            sched_yield();
            continue;
        }
        begin = begin > 0 ? begin : now();
        nap(now() - begin);
    }
    return code == MPI_SUCCESS ? KL_OK : kl__mpi_fail(m, call, code);
}
