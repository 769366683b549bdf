/* Training over several processes: what the trainer must be able to ask of whatever connects them.
 * <kiln/mpi.h> offers one over MPI, in a library of its own. */
#ifndef KILN_EXCHANGE_H
#define KILN_EXCHANGE_H

#include "graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Calls come from one thread at a time, though not always the same, and in the same order in all
 * processes. Each waits until its part is done. Errors: KL_E_DEVICE with a sentence. */
typedef struct kl_exchange {
    void *user;
    int rank, size; /* 0 .. size-1 */
    /** In place, the sum over all ranks: the same bits in all of them. KL_F32 or KL_F64. */
    kl_status (*all_reduce)(void *user, void *values, size_t n, kl_dtype dtype);
    kl_status (*broadcast)(void *user, void *bytes, size_t n, int from);
    kl_status (*send)(void *user, const void *bytes, size_t n, int to);
    kl_status (*receive)(void *user, void *bytes, size_t n, int from);
    /** Ends all processes: one of them cannot go on. */
    void (*abort)(void *user, const char *why);
} kl_exchange;

#ifdef __cplusplus
}
#endif
#endif
