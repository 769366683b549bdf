/* kl_exchange over MPI: the library libkiln_mpi, built where MPI is installed; libkiln needs none
 * of it. */
#ifndef KILN_MPI_H
#define KILN_MPI_H

#include "exchange.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Starts MPI where nobody has (threads: serialized) and fills *out with an exchange over a
 * duplicate of MPI_COMM_WORLD. End it with kl_mpi_finish. */
KL_API kl_status kl_mpi_start(kl_exchange *out);
/** Frees what kl_mpi_start made, and ends MPI where that one started it: every process must call
 * it.
 */
KL_API void kl_mpi_finish(kl_exchange *x);

#ifdef __cplusplus
}
#endif
#endif
