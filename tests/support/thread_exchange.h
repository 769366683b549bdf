/* A kl_exchange between threads of one process, strict where MPI may be lax: a send waits until it
 * is received, all ranks must make the same collective call of the same size, no rank two calls at
 * once, and a call that waits for too long is an error that says for whom. */
#ifndef KL_TESTS_THREAD_EXCHANGE_H
#define KL_TESTS_THREAD_EXCHANGE_H

#include <kiln/exchange.h>

enum { THREAD_EXCHANGE_MAX = 16 };

typedef struct thread_exchange thread_exchange;
/** Of n ranks, 1 to THREAD_EXCHANGE_MAX. `patience`: seconds a call waits; 0: 60. */
thread_exchange *thread_exchange_create(int n, double patience);
void thread_exchange_destroy(thread_exchange *x);
/** Rank's end; lives as long as x. */
const kl_exchange *thread_exchange_rank(thread_exchange *x, int rank);
/** From its call number `at` on (from 1; all kinds count), this rank is gone: each of its calls,
 * and what others wait for, gives KL_E_DEVICE. */
void thread_exchange_lose(thread_exchange *x, int rank, size_t at);
/** Why somebody aborted; NULL: nobody did. */
const char *thread_exchange_aborted(thread_exchange *x);

typedef struct exchange_calls {
    size_t all_reduce, broadcast, send, receive, abort;
    uint64_t bytes; /* of all these */
} exchange_calls;
exchange_calls thread_exchange_calls(thread_exchange *x, int rank);

/** Runs fn once per rank, each in a thread of its own, and waits for all. */
void thread_exchange_run(thread_exchange *x, void (*fn)(void *user, const kl_exchange *end),
                         void *user);

#endif
