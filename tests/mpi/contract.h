/* What every kl_exchange must do, asked of all its ranks at once: of threads by threads.c, of MPI
 * by ranks.c. */
#ifndef KL_TESTS_MPI_CONTRACT_H
#define KL_TESTS_MPI_CONTRACT_H

#include <kiln/exchange.h>

enum { CONTRACT_PARTS = 4 };
extern const char *const contract_part[CONTRACT_PARTS]; /* names, for people */
/** Every rank calls it with the same part. 0, or the line of contract.c that was not met. */
int contract_check(const kl_exchange *x, int part);

#endif
