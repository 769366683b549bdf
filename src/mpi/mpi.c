/* kl_exchange over MPI. MPI only moves bytes here: every sum is this file's own, in the order of
 * the ranks, so that it has the same bits in all of them whatever algorithm MPI chooses. Nothing
 * waits in MPI, which would keep a core busy: see wait.c. */
#include "mpi/mpi_inside.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors ----------------------------------------------------------------------------- */

kl_status kl__mpi_fail(const kl__mpi *m, const char *call, int code)
{
    char words[MPI_MAX_ERROR_STRING] = "", line[MPI_MAX_ERROR_STRING + 160];
    int n = 0;
    if (MPI_Error_string(code, words, &n) != MPI_SUCCESS) {
        snprintf(words, sizeof words, "code %d", code);
    }
    snprintf(line, sizeof line, "%s on process %d of %d: %s", call, m->rank, m->size, words);
    return kl_set_error(KL_E_DEVICE, line);
}

static kl_status wrong(const kl__mpi *m, const char *what, int value)
{
    char line[160];
    snprintf(line, sizeof line, "%s %d: this is process %d of %d", what, value, m->rank, m->size);
    return kl_set_error(KL_E_ARG, line);
}

/* ---- one to one, one to all ------------------------------------------------------------- */

enum { TAG = 1 };

static int piece_of(const kl__mpi *m, size_t left)
{
    return (int)(left < m->piece ? left : m->piece);
}

static bool is_other(const kl__mpi *m, int rank)
{
    return rank >= 0 && rank < m->size && rank != m->rank;
}

static kl_status send(void *user, const void *bytes, size_t n, int to)
{
    kl__mpi *m = user;
    const unsigned char *p = bytes;
    kl_status s = is_other(m, to) ? KL_OK : wrong(m, "send: to", to);
    while (s == KL_OK && n > 0) {
        MPI_Request r = MPI_REQUEST_NULL;
        const int k = piece_of(m, n);
        s = kl__mpi_wait(m, "MPI_Isend", MPI_Isend(p, k, MPI_BYTE, to, TAG, m->comm, &r), &r);
        p += k;
        n -= (size_t)k;
    }
    return s;
}

static kl_status receive(void *user, void *bytes, size_t n, int from)
{
    kl__mpi *m = user;
    unsigned char *p = bytes;
    kl_status s = is_other(m, from) ? KL_OK : wrong(m, "receive: from", from);
    while (s == KL_OK && n > 0) {
        MPI_Request r = MPI_REQUEST_NULL;
        const int k = piece_of(m, n);
        s = kl__mpi_wait(m, "MPI_Irecv", MPI_Irecv(p, k, MPI_BYTE, from, TAG, m->comm, &r), &r);
        p += k;
        n -= (size_t)k;
    }
    return s;
}

static kl_status broadcast(void *user, void *bytes, size_t n, int from)
{
    kl__mpi *m = user;
    unsigned char *p = bytes;
    kl_status s = from >= 0 && from < m->size ? KL_OK : wrong(m, "broadcast: from", from);
    while (s == KL_OK && m->size > 1 && n > 0) {
        MPI_Request r = MPI_REQUEST_NULL;
        const int k = piece_of(m, n);
        s = kl__mpi_wait(m, "MPI_Ibcast", MPI_Ibcast(p, k, MPI_BYTE, from, m->comm, &r), &r);
        p += k;
        n -= (size_t)k;
    }
    return s;
}

/* ---- sums over all ----------------------------------------------------------------------- */

/* out[i] = in[0][i] + in[1][i] + ..., from left to right; rows of `stride` values. */
static void sum_rows(void *out, const void *in, int rows, size_t stride, size_t n, kl_dtype dtype)
{
    for (size_t i = 0; i < n; i++) {
        if (dtype == KL_F32) {
            const float *v = (const float *)in + i;
            float sum = v[0];
            for (int r = 1; r < rows; r++) {
                sum += v[(size_t)r * stride];
            }
            ((float *)out)[i] = sum;
        } else {
            const double *v = (const double *)in + i;
            double sum = v[0];
            for (int r = 1; r < rows; r++) {
                sum += v[(size_t)r * stride];
            }
            ((double *)out)[i] = sum;
        }
    }
}

/* Few values: each rank gets all of them and adds for itself. */
static kl_status sum_few(kl__mpi *m, void *values, size_t n, kl_dtype dtype, MPI_Datatype type)
{
    MPI_Request r = MPI_REQUEST_NULL;
    const int k = (int)n;
    const kl_status s =
        kl__mpi_wait(m, "MPI_Iallgather",
                     MPI_Iallgather(values, k, type, m->scratch, k, type, m->comm, &r), &r);
    if (s == KL_OK) {
        sum_rows(values, m->scratch, m->size, n, n, dtype);
    }
    return s;
}

/* Many: rank r adds the r-th slice for all. Each rank sends and gets about twice the bytes there
 * are, however many ranks. */
static kl_status sum_slices(kl__mpi *m, void *values, size_t n, kl_dtype dtype, MPI_Datatype type)
{
    const size_t each = dtype == KL_F32 ? sizeof(float) : sizeof(double);
    MPI_Request r = MPI_REQUEST_NULL;
    size_t at = 0;
    for (int k = 0; k < m->size; k++) {
        const size_t count = n / (size_t)m->size + ((size_t)k < n % (size_t)m->size);
        m->count[k] = (int)count;
        m->start[k] = (int)at;
        at += count;
    }
    const int mine = m->count[m->rank];
    for (int k = 0; k < m->size; k++) {
        m->my_count[k] = mine;
        m->my_start[k] = k * mine;
    }
    kl_status s = kl__mpi_wait(m, "MPI_Ialltoallv",
                               MPI_Ialltoallv(values, m->count, m->start, type, m->scratch,
                                              m->my_count, m->my_start, type, m->comm, &r),
                               &r);
    if (s == KL_OK) {
        char *slice = (char *)values + (size_t)m->start[m->rank] * each;
        sum_rows(slice, m->scratch, m->size, (size_t)mine, (size_t)mine, dtype);
        r = MPI_REQUEST_NULL;
        s = kl__mpi_wait(m, "MPI_Iallgatherv",
                         MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values, m->count,
                                         m->start, type, m->comm, &r),
                         &r);
    }
    return s;
}

static kl_status all_reduce(void *user, void *values, size_t n, kl_dtype dtype)
{
    kl__mpi *m = user;
    const size_t each = dtype == KL_F32 ? sizeof(float) : sizeof(double);
    const MPI_Datatype type = dtype == KL_F32 ? MPI_FLOAT : MPI_DOUBLE;
    char *p = values;
    if (dtype != KL_F32 && dtype != KL_F64) {
        return wrong(m, "all_reduce: only KL_F32 and KL_F64 are summed, not dtype", (int)dtype);
    }
    kl_status s = KL_OK;
    while (s == KL_OK && m->size > 1 && n > 0) {
        const size_t most = m->sum_bytes / each, k = n < most ? n : most;
        const bool few = k * (size_t)m->size <= KL__MPI_FEW / each;
        s = few ? sum_few(m, p, k, dtype, type) : sum_slices(m, p, k, dtype, type);
        p += k * each;
        n -= k;
    }
    return s;
}

/* ---- beginning and end ------------------------------------------------------------------- */

/* The last words: nobody comes back from here to tell them. */
static void end_all(void *user, const char *why)
{
    const kl__mpi *m = user;
    fprintf(stderr, "kiln: process %d of %d ends the training: %s\n", m->rank, m->size,
            why && *why ? why : "it gave no reason");
    fflush(stderr);
    MPI_Abort(m->comm, EXIT_FAILURE);
}

static kl_status start_mpi(bool *started)
{
    int there = 0, ended = 0, threads = MPI_THREAD_SINGLE;
    MPI_Finalized(&ended);
    if (ended) {
        return kl_set_error(KL_E_ARG,
                            "kl_mpi_start: MPI has ended in this process, and starts once");
    }
    MPI_Initialized(&there);
    if (there) {
        MPI_Query_thread(&threads);
    } else if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &threads) != MPI_SUCCESS) {
        return kl_set_error(KL_E_DEVICE, "MPI_Init_thread failed");
    }
    *started = !there;
    return threads >= MPI_THREAD_SERIALIZED
               ? KL_OK
               : kl_set_error(KL_E_UNSUPPORTED, "kl_mpi_start: this MPI was started without "
                                                "MPI_THREAD_SERIALIZED, which an exchange needs");
}

static void free_state(kl__mpi *m)
{
    if (m) {
        free(m->scratch);
        free(m->count);
        free(m);
    }
}

/* KILN_MPI_PIECE: bytes, for tests, which cannot send gigabytes to see that messages are split. */
static void choose_pieces(kl__mpi *m)
{
    const char *v = getenv("KILN_MPI_PIECE");
    const long long asked = v ? strtoll(v, NULL, 10) : 0;
    const bool valid = asked >= 8 && asked <= INT_MAX;
    m->piece = valid ? (size_t)asked : KL__MPI_PIECE;
    m->sum_bytes = valid && (size_t)asked < KL__MPI_SUM ? (size_t)asked : KL__MPI_SUM;
}

static kl_status prepare(kl__mpi *m)
{
    int code = MPI_Comm_dup(MPI_COMM_WORLD, &m->comm);
    if (code != MPI_SUCCESS) {
        return kl__mpi_fail(m, "MPI_Comm_dup", code);
    }
    MPI_Comm_set_errhandler(m->comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(m->comm, &m->rank);
    MPI_Comm_size(m->comm, &m->size);
    choose_pieces(m);
    const size_t n = (size_t)m->size, few = KL__MPI_FEW + n * sizeof(double);
    /* a piece's slice of every rank: each is at most one value more than its share */
    const size_t slices = m->sum_bytes + n * sizeof(double);
    m->scratch = malloc(few > slices ? few : slices);
    m->count = malloc(4 * n * sizeof *m->count);
    if (!m->scratch || !m->count) {
        return kl_set_error(KL_E_MEMORY, "kl_mpi_start: no memory for sums over processes");
    }
    m->start = m->count + n;
    m->my_count = m->start + n;
    m->my_start = m->my_count + n;
    return KL_OK;
}

kl_status kl_mpi_start(kl_exchange *out)
{
    if (!out) {
        return kl_set_error(KL_E_ARG, "kl_mpi_start: out is NULL");
    }
    *out = (kl_exchange){0};
    kl__mpi *m = calloc(1, sizeof *m);
    if (!m) {
        return kl_set_error(KL_E_MEMORY, "kl_mpi_start: no memory");
    }
    m->comm = MPI_COMM_NULL;
    kl_status s = start_mpi(&m->started);
    s = s ? s : prepare(m);
    *out = (kl_exchange){m, m->rank, m->size, all_reduce, broadcast, send, receive, end_all};
    if (s) {
        kl_mpi_finish(out);
    }
    return s;
}

void kl_mpi_finish(kl_exchange *x)
{
    kl__mpi *m = x ? x->user : NULL;
    if (!m) {
        return;
    }
    if (m->comm != MPI_COMM_NULL) {
        /* MPI_Finalize waits for all too, and busily. */
        MPI_Request r = MPI_REQUEST_NULL;
        kl__mpi_wait(m, "MPI_Ibarrier", MPI_Ibarrier(m->comm, &r), &r);
        MPI_Comm_free(&m->comm);
    }
    if (m->started) {
        MPI_Finalize();
    }
    free_state(m);
    *x = (kl_exchange){0};
}
