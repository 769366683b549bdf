/* The null table: the order in which commands, which are their own events, are carried out. */
#include "support/null_inside.h"

#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the log ---- */

static size_t log_entry(const char *call, cl_command_queue q)
{
    if (N.n_log == N.cap_log) {
        N.cap_log = N.cap_log ? 2 * N.cap_log : 64;
        N.log = realloc(N.log, N.cap_log * sizeof *N.log);
        if (!N.log)
            abort();
    }
    N.log[N.n_log] = (null_entry){.call = call, .queue = q->number};
    return N.n_log++;
}

static null_entry *entry_of(cl_event e)
{
    static null_entry nowhere; /* the log was cleared meanwhile */
    return e->entry < N.n_log ? &N.log[e->entry] : &nowhere;
}

size_t null_cl_log_count(void)
{
    return N.n_log;
}

null_entry null_cl_log_at(size_t i)
{
    return N.log[i];
}

void null_cl_log_clear(void)
{
    n_lock();
    n_drain(NULL);
    N.n_log = 0;
    n_unlock();
}

void null_cl_mix_reads(void)
{
    N.mix_reads = true;
}

void null_cl_delay(uint64_t nth)
{
    N.delay = nth;
}

void null_cl_break_launch(uint64_t nth, cl_int status)
{
    N.break_in = nth;
    N.break_status = status;
}

/* ---- commands ---- */

void n_keep_event(cl_event e)
{
    e->o.refs++;
    N.live++;
}

static void forget_deps(cl_event e)
{
    for (size_t i = 0; i < e->n_wait; i++)
        n_release_event(e->wait[i]);
    free(e->wait);
    e->wait = NULL;
    e->n_wait = 0;
    if (e->dst)
        n_release_mem(e->dst);
    if (e->src)
        n_release_mem(e->src);
    for (size_t i = 0; i < e->n_mem; i++)
        n_release_mem(e->mem[i]);
    free(e->mem);
    e->dst = e->src = NULL;
    e->mem = NULL;
    e->n_mem = 0;
}

void n_release_event(cl_event e)
{
    N.live--;
    if (--e->o.refs)
        return;
    free(e);
}

cl_mem n_held(cl_mem m)
{
    if (m) {
        m->o.refs++;
        N.live++;
    }
    return m;
}

/* A command with its dependencies: what the queue orders, and the wait list. */
cl_event n_begin(cl_command_queue q, const char *call, cl_uint n, const cl_event *wait,
                 bool barrier)
{
    bool in_order = !(q->properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    size_t pending = 0, k = 0;
    for (cl_event x = N.pending; x; x = x->next)
        pending++;
    cl_event e = n_new(sizeof *e);
    e->o.refs = 1;
    N.live++;
    e->queue = q;
    e->context = q->context;
    e->profiled = (q->properties & CL_QUEUE_PROFILING_ENABLE) != 0;
    e->status = CL_QUEUED;
    e->entry = log_entry(call, q);
    e->serial = N.serial++;
    e->wait = n_new((n + pending + 1) * sizeof *e->wait);
    for (cl_uint i = 0; i < n; i++)
        e->wait[k++] = wait[i];
    if (q->last)
        e->wait[k++] = q->last;
    /* A barrier or marker without a wait list is after all that the queue has. */
    for (cl_event x = N.pending; x && barrier && !n && !in_order; x = x->next)
        if (x->queue == q)
            e->wait[k++] = x;
    e->n_wait = k;
    for (size_t i = 0; i < k; i++)
        n_keep_event(e->wait[i]);
    return e;
}

/* Into the list; carried out now, or later. orders: what comes in this queue is after it. */
void n_end(cl_event e, bool orders, cl_event *out)
{
    cl_command_queue q = e->queue;
    bool in_order = !(q->properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    cl_event *p = &N.pending;
    while (*p)
        p = &(*p)->next;
    *p = e;
    if (orders || in_order) {
        if (q->last)
            n_release_event(q->last);
        n_keep_event(e);
        q->last = e;
    }
    if (out) {
        n_keep_event(e);
        *out = e;
    }
    while (!N.random && n_step())
        ;
}

static void run_launch(cl_event e)
{
    uint64_t h = e->launch_hash;
    for (size_t i = 0; i < e->n_mem; i++) {
        uint64_t t = n_tag(e->mem[i]);
        h = kl__hash64(&t, sizeof t, h);
    }
    for (size_t i = 0; i < e->n_mem; i++)
        n_mix(e->mem[i], kl__hash64(&i, sizeof i, h));
    entry_of(e)->tag = e->n_mem ? n_tag(e->mem[0]) : h;
}

/* Where in a buffer something was put belongs to its history. */
static void put_into(cl_event e, uint64_t what)
{
    uint64_t h[4] = {n_tag(e->dst), what, e->dst_at, e->bytes};
    n_mix(e->dst, kl__hash64(h, sizeof h, 2));
    entry_of(e)->tag = n_tag(e->dst);
}

static void mix_read(cl_event e)
{
    unsigned char *at = e->host_dst;
    for (size_t i = 0; i + 4 <= e->bytes; i += 4) {
        uint32_t word, more = (uint32_t)((n_tag(e->src) + i) * UINT64_C(0x9E3779B97F4A7C15) >> 41);
        memcpy(&word, at + i, sizeof word);
        word ^= more; /* 23 bits */
        memcpy(at + i, &word, sizeof word);
    }
}

static void carry_out(cl_event e)
{
    switch (e->kind) {
    case C_LAUNCH:
        run_launch(e);
        break;
    case C_READ:
        memcpy(e->host_dst, e->src->bytes + e->src_at, e->bytes);
        if (N.mix_reads)
            mix_read(e);
        entry_of(e)->tag = n_tag(e->src);
        break;
    case C_WRITE:
        memcpy(e->dst->bytes + e->dst_at, e->host_src, e->bytes);
        put_into(e, kl__hash64(e->host_src, e->bytes, 1));
        break;
    case C_COPY: {
        uint64_t from[2] = {n_tag(e->src), e->src_at};
        memmove(e->dst->bytes + e->dst_at, e->src->bytes + e->src_at, e->bytes);
        put_into(e, kl__hash64(from, sizeof from, 3));
        break;
    }
    case C_FILL:
        for (size_t i = 0; i < e->bytes; i += e->pattern_bytes)
            memcpy(e->dst->bytes + e->dst_at + i, e->pattern, e->pattern_bytes);
        put_into(e, kl__hash64(e->pattern, e->pattern_bytes, 4));
        break;
    case C_MARK:
        break;
    }
}

static bool ready(cl_event e)
{
    for (size_t i = 0; i < e->n_wait; i++)
        if (e->wait[i]->status > CL_COMPLETE)
            return false;
    return true;
}

static cl_int fate(cl_event e)
{
    for (size_t i = 0; i < e->n_wait; i++)
        if (e->wait[i]->status < 0)
            return CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST;
    return e->breaks;
}

static uint64_t dice(void)
{
    N.random ^= N.random << 13;
    N.random ^= N.random >> 7;
    N.random ^= N.random << 17;
    return N.random;
}

bool n_step(void)
{
    size_t n = 0;
    cl_event late = NULL; /* not counted, and not taken while there are others */
    for (cl_event e = N.pending; e; e = e->next) {
        bool can = ready(e);
        if (can && e->serial + 1 == N.delay)
            late = e;
        else
            n += can;
    }
    if (!n && !late)
        return false;
    size_t pick = N.random && n ? (size_t)(dice() % n) : 0;
    cl_event *p = &N.pending;
    while (n ? *p == late || !ready(*p) || pick-- : *p != late)
        p = &(*p)->next;
    cl_event e = *p;
    *p = e->next;
    e->start = N.clock += 1000;
    e->status = fate(e);
    if (!e->status)
        carry_out(e);
    e->end = N.clock += 1000;
    entry_of(e)->ran = ++N.ran;
    forget_deps(e);
    for (callback *c = e->callbacks, *next; c; c = next) {
        next = c->next;
        n_owe_callback(c);
    }
    e->callbacks = NULL;
    n_release_event(e); /* the list's own */
    return true;
}

static bool has_pending(cl_command_queue q)
{
    for (cl_event e = N.pending; e; e = e->next)
        if (!q || e->queue == q)
            return true;
    return false;
}

void n_drain(cl_command_queue q)
{
    while (has_pending(q) && n_step())
        ;
}
