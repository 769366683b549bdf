/* Several processes of one training. The library that speaks MPI is opened only here and only where
 * it is wanted, so that the program runs where no MPI is. */
#include "ranks.h"
#include "term.h"
#include "watch.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libkiln_mpi.so.0"

typedef kl_status start_fn(kl_exchange *out);
typedef void finish_fn(kl_exchange *x);

static kl_exchange exchange;
static finish_fn *finish;

const kl_exchange *ranks_exchange(void)
{
    return finish ? &exchange : NULL;
}

int ranks_rank(void)
{
    return exchange.rank;
}

/* ---- beginning ------------------------------------------------------------------------------- */

/* How many processes the starter says there are; 0: it says nothing. Open MPI, MPICH and Intel's,
 * Slurm with PMI; PMIx gives no number. */
static int told_size(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *v = getenv(names[i]);
        if (v && *v) {
            return (int)strtol(v, NULL, 10);
        }
    }
    return getenv("PMIX_RANK") ? 2 : 0;
}

/* A function of the library, which C knows no way to make of an object's pointer. */
static void find(void *library, const char *name, void *fn, size_t size)
{
    void *at = dlsym(library, name);
    memcpy(fn, &at, size);
}

static int open_library(start_fn **start, finish_fn **end)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        return fail(EXIT_RUN,
                    "training in several processes wants " LIBRARY
                    ", which this build of Kiln may lack (it is made where MPI is installed): %s",
                    dlerror());
    }
    find(library, "kl_mpi_start", start, sizeof *start);
    find(library, "kl_mpi_finish", end, sizeof *end);
    return *start && *end ? 0 : fail(EXIT_RUN, LIBRARY " is not Kiln's");
}

static void on_log(void *user, kl_log_level level, const char *line)
{
    (void)user;
    progress_clear();
    fprintf(stderr, "kiln: rank %d: %s: %s\n", exchange.rank,
            level == KL_LOG_ERROR ? "error" : "warning", line);
}

static void speak_as_rank(const args *a)
{
    static char name[64];
    if (exchange.rank == 0) {
        return;
    }
    snprintf(name, sizeof name, "kiln %s: rank %d", a->command->name, exchange.rank);
    set_message_name(name);
    kl_set_log(on_log, NULL, verbosity < 0 ? KL_LOG_ERROR : KL_LOG_WARN);
    verbosity = -1;
}

int ranks_start(const args *a)
{
    const char *how = args_text(a, "mpi");
    const bool on = how && !strcmp(how, "on"), off = how && !strcmp(how, "off");
    start_fn *start = NULL;
    finish_fn *end = NULL;
    if (off || (!on && told_size() == 0)) {
        return 0;
    }
    const int code = open_library(&start, &end);
    if (code) {
        return code;
    }
    if (start(&exchange) != KL_OK) {
        return fail_status(KL_OK);
    }
    finish = end;
    setenv("NO_COLOR", "1", 1); /* what mpirun shows as a terminal may be none */
    speak_as_rank(a);
    return 0;
}

/* ---- speaking -------------------------------------------------------------------------------- */

int ranks_abort(int code)
{
    if (finish) {
        exchange.abort(exchange.user, kl_last_error());
    }
    return code;
}

static void must(kl_status s)
{
    if (s) {
        ranks_abort(0);
        exit(fail_status(s));
    }
}

int ranks_agree(int code)
{
    if (!finish) {
        return code;
    }
    double *codes = must_alloc((size_t)exchange.size, sizeof *codes);
    codes[exchange.rank] = code;
    must(exchange.all_reduce(exchange.user, codes, (size_t)exchange.size, KL_F64));
    int first = 0;
    for (int r = 0; r < exchange.size && !first; r++) {
        first = (int)codes[r];
    }
    free(codes);
    return first;
}

bool ranks_same_flag(bool mine)
{
    if (finish) {
        must(exchange.broadcast(exchange.user, &mine, sizeof mine, 0));
    }
    return mine;
}

char *ranks_same_text(const char *mine)
{
    size_t n = mine ? strlen(mine) : 0;
    if (!finish) {
        return must_copy(mine);
    }
    must(exchange.broadcast(exchange.user, &n, sizeof n, 0));
    char *text = must_alloc(n + 1, 1);
    if (exchange.rank == 0 && mine) {
        memcpy(text, mine, n);
    }
    must(exchange.broadcast(exchange.user, text, n, 0));
    return text;
}

bool ranks_progress(void *user, const kl_progress *p)
{
    (void)user;
    (void)p;
    return !was_interrupted();
}

/* ---- the end --------------------------------------------------------------------------------- */

int ranks_finish(int code)
{
    if (finish) {
        /* mpirun ends all once one has ended with a code: nothing may be left to say by then */
        if (fflush(stdout) != 0 && !code) {
            code = fail(EXIT_DATA, "the output could not be written");
        }
        code = ranks_agree(code);
        finish(&exchange);
        finish = NULL;
    }
    return code;
}
