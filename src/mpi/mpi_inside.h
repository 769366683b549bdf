/* What the files of the exchange over MPI share. */
#ifndef KL_MPI_INSIDE_H
#define KL_MPI_INSIDE_H

#include <kiln/mpi.h>
#include <mpi.h>

/* Bytes of one message. MPI counts in int, so there must be pieces; and where processes of a
 * machine cannot read each other's memory, a large message goes in fragments of 32 KiB whose
 * hand-over waits for whoever sleeps (64 MiB between two: 0.8 s in one piece, 0.15 s in pieces of
 * 256 KiB; where they can, 0.06 s and 0.14 s). */
#define KL__MPI_PIECE ((size_t)512 << 10)
/* Bytes summed at a time, which the scratch memory holds once. */
#define KL__MPI_SUM ((size_t)2 << 20)
/* Up to so many bytes of all ranks together, one message saves more time than slices do. */
#define KL__MPI_FEW ((size_t)64 << 10)

typedef struct kl__mpi {
    MPI_Comm comm; /* ours: what others send cannot come between */
    int rank, size;
    bool started; /* by us, so it ends with us */
    size_t piece, sum_bytes;
    void *scratch;
    int *count, *start, *my_count, *my_start; /* of size each; one allocation */
} kl__mpi;

/** KL_E_DEVICE with MPI's words for a call that gave `code`. */
kl_status kl__mpi_fail(const kl__mpi *m, const char *call, int code);
/** Until *r is done, asleep most of the time. `code` is what starting it gave. */
kl_status kl__mpi_wait(const kl__mpi *m, const char *call, int code, MPI_Request *r);

#endif
