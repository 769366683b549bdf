/* The exchange over MPI, run by mpirun in as many processes as it is asked to: see adapter.py.
 *
 *   ranks contract          every part of contract.h
 *   ranks abort             rank 1 ends all while the others wait
 *   ranks die               rank 1 is killed while the others wait
 *   ranks wait SECONDS      rank 0 sleeps, the others wait for it: prints the CPU they took
 *   ranks speed MIB         times of a sum and a broadcast
 *   ranks twice             start and finish where the program started MPI itself
 */
#include "contract.h"

#include <kiln/mpi.h>

#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double clock_of(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void pause_for(double seconds)
{
    const struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

static int contract(const kl_exchange *x)
{
    for (int part = 0; part < CONTRACT_PARTS; part++) {
        const int line = contract_check(x, part);
        if (line) {
            fprintf(stderr, "rank %d of %d: %s: contract.c, line %d: %s\n", x->rank, x->size,
                    contract_part[part], line, kl_last_error());
            return 1;
        }
    }
    unsigned char b = 0;
    const bool told = x->send(x->user, &b, 1, x->size) == KL_E_ARG &&
                      strstr(kl_last_error(), "send: to") &&
                      x->receive(x->user, &b, 1, x->rank) == KL_E_ARG &&
                      x->broadcast(x->user, &b, 1, -1) == KL_E_ARG &&
                      x->all_reduce(x->user, &b, 1, KL_U8) == KL_E_ARG;
    printf("rank %d of %d: %s\n", x->rank, x->size, told ? "kept" : "a misuse was not told");
    return !told;
}

static int lonely(const kl_exchange *x, const char *how)
{
    double v = 1;
    if (x->rank == 1 && !strcmp(how, "abort")) {
        x->abort(x->user, "the kettle is empty");
    } else if (x->rank == 1) {
        raise(SIGKILL);
    }
    x->all_reduce(x->user, &v, 1, KL_F64);
    return 0;
}

static int wait_for(const kl_exchange *x, double seconds)
{
    double v = 1;
    const double begin = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    if (x->rank == 0) {
        pause_for(seconds);
    }
    const kl_status s = x->all_reduce(x->user, &v, 1, KL_F64);
    const double cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID) - begin;
    if (s == KL_OK && x->rank > 0) {
        printf("cpu %.5f\n", cpu / seconds);
    }
    return s != KL_OK || v != x->size;
}

static int speed(const kl_exchange *x, double mib)
{
    const size_t n = (size_t)(mib * (1 << 20) / sizeof(float));
    float *v = calloc(n, sizeof *v);
    double one = 1;
    int wrong = !v;
    for (int i = 0; i < 3 && !wrong; i++) {
        double t[3];
        wrong = x->all_reduce(x->user, &one, 1, KL_F64) != KL_OK;
        t[0] = clock_of(CLOCK_MONOTONIC);
        wrong |= x->all_reduce(x->user, v, n, KL_F32) != KL_OK;
        t[1] = clock_of(CLOCK_MONOTONIC);
        wrong |= x->broadcast(x->user, v, n * sizeof *v, 0) != KL_OK;
        t[2] = clock_of(CLOCK_MONOTONIC);
        double small[2] = {0};
        for (int k = 0; k < 100; k++) {
            wrong |= x->all_reduce(x->user, small, 2, KL_F64) != KL_OK;
        }
        if (x->rank == 0) {
            printf("%g MiB: sum %.1f ms, broadcast %.1f ms; two numbers %.3f ms\n", mib,
                   1e3 * (t[1] - t[0]), 1e3 * (t[2] - t[1]),
                   10 * (clock_of(CLOCK_MONOTONIC) - t[2]));
        }
    }
    free(v);
    return wrong;
}

static int act(const kl_exchange *x, int argc, char **argv)
{
    if (argc == 2 && (!strcmp(argv[1], "contract") || !strcmp(argv[1], "twice"))) {
        return contract(x);
    }
    if (argc == 2 && (!strcmp(argv[1], "abort") || !strcmp(argv[1], "die"))) {
        return lonely(x, argv[1]);
    }
    if (argc == 3 && !strcmp(argv[1], "wait")) {
        return wait_for(x, strtod(argv[2], NULL));
    }
    return argc == 3 && !strcmp(argv[1], "speed") ? speed(x, strtod(argv[2], NULL)) : 2;
}

int main(int argc, char **argv)
{
    kl_exchange x;
    int threads, ended = 0;
    const bool ours = argc == 2 && !strcmp(argv[1], "twice");
    if (ours && MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &threads) != MPI_SUCCESS) {
        return 3;
    }
    if (kl_mpi_start(&x) != KL_OK) {
        fprintf(stderr, "%s\n", kl_last_error());
        return 3;
    }
    const int code = act(&x, argc, argv);
    kl_mpi_finish(&x);
    MPI_Finalized(&ended);
    if (ended != !ours) {
        fprintf(stderr, "MPI %s\n", ended ? "ended, though the program started it" : "goes on");
        return 4;
    }
    if (ours) {
        MPI_Finalize();
    }
    return code;
}
