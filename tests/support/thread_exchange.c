#include "support/thread_exchange.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/thread.h"

#include <stdio.h>
#include <string.h>

typedef enum kind { NONE, ALL_REDUCE, BROADCAST, SEND, RECEIVE } kind;

static const char *const kind_names[] = {"nothing", "all_reduce", "broadcast", "send", "receive"};

/* What a rank has asked for; `open` until somebody has done it. */
typedef struct want {
    kind kind;
    void *bytes;
    size_t n;
    int peer; /* of a broadcast: from whom */
    kl_dtype dtype;
    bool open, busy;
    kl_status status;
    char why[160];
} want;

typedef struct end {
    kl_exchange x;
    thread_exchange *of;
    want want;
    size_t n_calls, lost_at; /* lost_at 0: never */
    bool lost;
    exchange_calls calls;
} end;

struct thread_exchange {
    kl__mutex lock;
    kl__cond changed;
    int n;
    double patience;
    bool aborted;
    char why[160];
    end end[THREAD_EXCHANGE_MAX];
};

/* ---- doing what was asked, by whoever comes last; under the lock ------------------------ */

static void done(want *w, kl_status s, const char *why)
{
    w->status = s;
    snprintf(w->why, sizeof w->why, "%s", why);
    w->open = false;
}

static bool alike(const want *a, const want *b)
{
    return a->kind == b->kind && a->n == b->n && a->dtype == b->dtype && a->peer == b->peer;
}

static void add(void *to, const void *from, size_t n, kl_dtype dtype)
{
    for (size_t i = 0; i < n; i++) {
        if (dtype == KL_F32) {
            ((float *)to)[i] += ((const float *)from)[i];
        } else {
            ((double *)to)[i] += ((const double *)from)[i];
        }
    }
}

static void collect(thread_exchange *x)
{
    want *first = &x->end[0].want;
    const size_t each = first->kind != ALL_REDUCE ? 1 : first->dtype == KL_F32 ? 4 : 8;
    const void *from = first->bytes;
    if (first->kind == BROADCAST) {
        from = x->end[first->peer].want.bytes;
    }
    for (int r = 1; first->kind == ALL_REDUCE && r < x->n; r++) {
        add(first->bytes, x->end[r].want.bytes, first->n, first->dtype);
    }
    for (int r = 0; r < x->n; r++) {
        want *w = &x->end[r].want;
        if (w->bytes != from && first->n) {
            memcpy(w->bytes, from, first->n * each);
        }
        done(w, KL_OK, "");
    }
}

static bool collective(const want *w)
{
    return w->kind == ALL_REDUCE || w->kind == BROADCAST;
}

static void try_collective(thread_exchange *x)
{
    char why[160];
    for (int r = 0; r < x->n; r++) {
        const want *w = &x->end[r].want;
        if (!w->open || !collective(w)) {
            return;
        }
    }
    for (int r = 1; r < x->n; r++) {
        const want *a = &x->end[0].want, *b = &x->end[r].want;
        if (!alike(a, b)) {
            snprintf(why, sizeof why, "rank 0 calls %s of %zu, rank %d %s of %zu",
                     kind_names[a->kind], a->n, r, kind_names[b->kind], b->n);
            for (int k = 0; k < x->n; k++) {
                done(&x->end[k].want, KL_E_ARG, why);
            }
            return;
        }
    }
    collect(x);
}

static void try_pair(thread_exchange *x, int from)
{
    want *w = &x->end[from].want;
    if (w->kind != SEND || !w->open) {
        return;
    }
    want *to = &x->end[w->peer].want;
    if (to->kind != RECEIVE || !to->open || to->peer != from) {
        return;
    }
    char why[160];
    snprintf(why, sizeof why, "rank %d sends %zu bytes, rank %d receives %zu", from, w->n, w->peer,
             to->n);
    const kl_status s = w->n == to->n ? KL_OK : KL_E_ARG;
    if (s == KL_OK && w->n) {
        memcpy(to->bytes, w->bytes, w->n);
    }
    done(w, s, why);
    done(to, s, why);
}

/* Whoever waits for one that is gone will wait for ever. */
static void give_up(thread_exchange *x)
{
    char why[160];
    for (int gone = 0; gone < x->n; gone++) {
        for (int r = 0; x->end[gone].lost && r < x->n; r++) {
            want *w = &x->end[r].want;
            if (w->open && (collective(w) || w->peer == gone || r == gone)) {
                snprintf(why, sizeof why, "%s: rank %d is lost", kind_names[w->kind], gone);
                done(w, KL_E_DEVICE, why);
            }
        }
    }
    for (int r = 0; x->aborted && r < x->n; r++) {
        if (x->end[r].want.open) {
            done(&x->end[r].want, KL_E_DEVICE, x->why);
        }
    }
}

/* ---- asking ----------------------------------------------------------------------------- */

static void await(thread_exchange *x, end *e)
{
    const double until = kl__now() + x->patience;
    while (e->want.open) {
        const double left = until - kl__now();
        if (left <= 0 || !kl__cond_wait_for(&x->changed, &x->lock, left)) {
            char why[160] = "";
            size_t at = 0;
            for (int r = 0; r < x->n && at < sizeof why - 40 && e->want.open; r++) {
                const want *w = &x->end[r].want;
                at += (size_t)snprintf(why + at, sizeof why - at, "rank %d: %s; ", r,
                                       w->open ? kind_names[w->kind] : "no call");
            }
            if (e->want.open) {
                done(&e->want, KL_E_DEVICE, why);
            }
        }
    }
}

static void count(exchange_calls *c, const want *w)
{
    const size_t each = w->kind != ALL_REDUCE ? 1 : w->dtype == KL_F32 ? 4 : 8;
    size_t *const of[] = {NULL, &c->all_reduce, &c->broadcast, &c->send, &c->receive};
    ++*of[w->kind];
    c->bytes += w->n * each;
}

static kl_status ask(end *e, want w)
{
    thread_exchange *x = e->of;
    kl__lock(&x->lock);
    if (e->want.busy) {
        kl__unlock(&x->lock);
        return kl__fail(KL_E_ARG, "rank %d makes two calls at once: %s and %s", e->x.rank,
                        kind_names[e->want.kind], kind_names[w.kind]);
    }
    count(&e->calls, &w);
    e->n_calls++;
    e->lost = e->lost || (e->lost_at && e->n_calls >= e->lost_at);
    w.open = w.busy = true;
    e->want = w;
    give_up(x);
    try_collective(x);
    for (int r = 0; r < x->n; r++) {
        try_pair(x, r);
    }
    kl__cond_broadcast(&x->changed);
    await(x, e);
    e->want.busy = false;
    const want got = e->want;
    kl__unlock(&x->lock);
    return got.status ? kl__fail(got.status, "rank %d: %s", e->x.rank, got.why) : KL_OK;
}

static kl_status all_reduce(void *user, void *values, size_t n, kl_dtype dtype)
{
    end *e = user;
    if (dtype != KL_F32 && dtype != KL_F64) {
        return kl__fail(KL_E_ARG, "all_reduce: dtype %d", (int)dtype);
    }
    return ask(e, (want){.kind = ALL_REDUCE, .bytes = values, .n = n, .dtype = dtype});
}

static kl_status broadcast(void *user, void *bytes, size_t n, int from)
{
    end *e = user;
    if (from < 0 || from >= e->of->n) {
        return kl__fail(KL_E_ARG, "broadcast: no rank %d", from);
    }
    return ask(e, (want){.kind = BROADCAST, .bytes = bytes, .n = n, .peer = from});
}

static bool other(const end *e, int rank)
{
    return rank >= 0 && rank < e->of->n && rank != e->x.rank;
}

static kl_status send(void *user, const void *bytes, size_t n, int to)
{
    end *e = user;
    union {
        const void *in;
        void *out;
    } p = {.in = bytes}; /* only read from */
    return other(e, to) ? ask(e, (want){.kind = SEND, .bytes = p.out, .n = n, .peer = to})
                        : kl__fail(KL_E_ARG, "send: no other rank %d", to);
}

static kl_status receive(void *user, void *bytes, size_t n, int from)
{
    end *e = user;
    return other(e, from) ? ask(e, (want){.kind = RECEIVE, .bytes = bytes, .n = n, .peer = from})
                          : kl__fail(KL_E_ARG, "receive: no other rank %d", from);
}

static void end_all(void *user, const char *why)
{
    end *e = user;
    thread_exchange *x = e->of;
    kl__lock(&x->lock);
    e->calls.abort++;
    if (!x->aborted) {
        x->aborted = true;
        snprintf(x->why, sizeof x->why, "rank %d aborted: %s", e->x.rank, why);
    }
    give_up(x);
    kl__cond_broadcast(&x->changed);
    kl__unlock(&x->lock);
}

/* ---- the whole -------------------------------------------------------------------------- */

thread_exchange *thread_exchange_create(int n, double patience)
{
    thread_exchange *x = n > 0 && n <= THREAD_EXCHANGE_MAX ? kl__calloc(1, sizeof *x) : NULL;
    if (!x) {
        return NULL;
    }
    kl__mutex_init(&x->lock);
    kl__cond_init(&x->changed);
    x->n = n;
    x->patience = patience > 0 ? patience : 60;
    for (int r = 0; r < n; r++) {
        end *e = &x->end[r];
        e->of = x;
        e->x = (kl_exchange){e, r, n, all_reduce, broadcast, send, receive, end_all};
    }
    return x;
}

void thread_exchange_destroy(thread_exchange *x)
{
    if (x) {
        kl__cond_finish(&x->changed);
        kl__mutex_finish(&x->lock);
        kl__free(x);
    }
}

const kl_exchange *thread_exchange_rank(thread_exchange *x, int rank)
{
    return &x->end[rank].x;
}

void thread_exchange_lose(thread_exchange *x, int rank, size_t at)
{
    kl__lock(&x->lock);
    x->end[rank].lost_at = at;
    kl__unlock(&x->lock);
}

const char *thread_exchange_aborted(thread_exchange *x)
{
    kl__lock(&x->lock);
    const char *why = x->aborted ? x->why : NULL;
    kl__unlock(&x->lock);
    return why;
}

exchange_calls thread_exchange_calls(thread_exchange *x, int rank)
{
    kl__lock(&x->lock);
    const exchange_calls c = x->end[rank].calls;
    kl__unlock(&x->lock);
    return c;
}

typedef struct seat {
    void (*fn)(void *user, const kl_exchange *end);
    void *user;
    const kl_exchange *end;
    kl__thread thread;
} seat;

static void *sit(void *arg)
{
    const seat *s = arg;
    s->fn(s->user, s->end);
    return NULL;
}

void thread_exchange_run(thread_exchange *x, void (*fn)(void *user, const kl_exchange *end),
                         void *user)
{
    seat seats[THREAD_EXCHANGE_MAX];
    int n = 1;
    seats[0] = (seat){.fn = fn, .user = user, .end = &x->end[0].x};
    for (; n < x->n; n++) {
        seats[n] = (seat){.fn = fn, .user = user, .end = &x->end[n].x};
        if (kl__thread_start(&seats[n].thread, sit, &seats[n])) {
            end_all(&x->end[0], "a thread could not be started");
            break;
        }
    }
    sit(&seats[0]); /* in the caller's own thread */
    for (int r = 1; r < n; r++) {
        kl__thread_join(seats[r].thread);
    }
}
