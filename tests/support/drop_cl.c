#include "support/drop_cl.h"

#include "base/hash.h"
#include "support/null_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A node is a command, or a moment of the host: a wait that it came back from, or a use of memory.
 * An edge says that one node is over before another begins. */
typedef struct node {
    const char *call; /* NULL: a moment */
    cl_command_queue queue;
    cl_event event;
    size_t first_edge, n_edges;
    size_t first_use, n_uses;
    const void *host; /* memory of the host that a transfer touches, or that the host does */
    size_t host_bytes;
    int polls;
    bool host_written;    /* by the command: a read */
    uint64_t host_before; /* hash of what a write was to take */
} node;
typedef struct edge {
    size_t from;
    size_t dep; /* number from 1; 0: cannot be taken away */
} edge;
typedef struct use {
    size_t mem; /* number of the buffer */
    bool changes;
} use;
typedef struct pair { /* must stay in order */
    size_t before, after;
} pair;

#define LIST(type, name)                                                                           \
    static type *name;                                                                             \
    static size_t n_##name, cap_##name;                                                            \
    static type *add_##name(void)                                                                  \
    {                                                                                              \
        if (n_##name == cap_##name) {                                                              \
            cap_##name = cap_##name ? 2 * cap_##name : 256;                                        \
            name = realloc(name, cap_##name * sizeof *name);                                       \
            if (!name)                                                                             \
                abort();                                                                           \
        }                                                                                          \
        memset(&name[n_##name], 0, sizeof *name);                                                  \
        return &name[n_##name++];                                                                  \
    }
LIST(node, nodes)
LIST(edge, edges)
LIST(use, uses)
LIST(pair, pairs)
LIST(cl_mem, mems) /* by number; NULL: gone */

static const kl__cl_table *in;
static kl__cl_table table;
static size_t drop_nth, n_deps;
static size_t last_moment; /* node number + 1; 0: none */
static struct _cl_event over = {.o = {1 << 30}, .status = CL_COMPLETE};
static bool pairs_known, slow_polls;

static size_t mem_number(cl_mem m)
{
    for (size_t i = n_mems; i-- > 0;)
        if (mems[i] == m)
            return i;
    return (size_t)-1;
}

static void touches(cl_mem m, bool changes)
{
    size_t at = mem_number(m);
    if (at == (size_t)-1)
        return;
    *add_uses() = (use){at, changes};
    nodes[n_nodes - 1].n_uses++;
}

static void depends(size_t from, size_t dep)
{
    *add_edges() = (edge){from, dep};
    nodes[n_nodes - 1].n_edges++;
}

static size_t begin(const char *call, cl_command_queue q)
{
    node *x = add_nodes();
    *x = (node){.call = call, .queue = q, .first_edge = n_edges, .first_use = n_uses};
    if (last_moment)
        depends(last_moment - 1, 0);
    return n_nodes - 1;
}

/* ---- dependencies of a command ---- */

static size_t command_of(cl_event e)
{
    for (size_t i = n_nodes; i-- > 0;)
        if (nodes[i].event == e)
            return i;
    return (size_t)-1;
}

static bool unordered(cl_command_queue q)
{
    return (q->properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) != 0;
}

/** Of the node begun last. *out, of room for MAX_WAIT, is the list to pass on. */
static cl_uint note_waits(cl_command_queue q, cl_uint n, const cl_event *w, bool barrier,
                          cl_event *out)
{
    size_t self = n_nodes - 1;
    if (n > MAX_WAIT)
        abort();
    for (cl_uint i = 0; i < n; i++) {
        size_t from = command_of(w[i]);
        out[i] = ++n_deps == drop_nth ? &over : w[i];
        if (from != (size_t)-1)
            depends(from, n_deps);
    }
    size_t all = barrier && !n && unordered(q) ? ++n_deps : 0;
    for (size_t i = self; i-- > 0;)
        if (nodes[i].queue == q) {
            if (!unordered(q) || !strcmp(nodes[i].call, "clEnqueueBarrierWithWaitList")) {
                depends(i, 0);
                break;
            }
            if (all)
                depends(i, all);
        }
    if (all && all == drop_nth) {
        out[0] = &over;
        return 1;
    }
    return n;
}

static cl_int end(size_t at, cl_int code, const cl_event *made, cl_event *out)
{
    if (code)
        return code;
    for (size_t i = 0; i < at; i++) /* an old event's address, used again */
        if (nodes[i].event == *made)
            nodes[i].event = NULL;
    nodes[at].event = *made;
    if (out)
        *out = *made;
    else
        in->clReleaseEvent(*made); /* its address may come again: the newest is meant then */
    return code;
}

/* ---- what the host does ---- */

static void host_pairs(size_t now, const void *p, size_t bytes, bool all)
{
    const char *a = p;
    for (size_t i = 0; i < now; i++) {
        const char *b = nodes[i].host;
        if (!b || !nodes[i].call || a + bytes <= b || b + nodes[i].host_bytes <= a)
            continue;
        bool same = !nodes[i].host_written && a == b && bytes >= nodes[i].host_bytes &&
                    kl__hash64(b, nodes[i].host_bytes, 1) == nodes[i].host_before;
        if (all || !same)
            *add_pairs() = (pair){i, now};
    }
}

static size_t moment(void)
{
    begin(NULL, NULL);
    last_moment = n_nodes;
    return n_nodes - 1;
}

void drop_cl_host(const void *p, size_t bytes)
{
    host_pairs(moment(), p, bytes, true);
}

/** What the transfer begun last touches. The host has prepared what a write takes: whoever used
 * that memory until then must have been over at the moment before. */
static void note_host(const void *p, size_t bytes, bool written)
{
    size_t at = n_nodes - 1;
    if (written)
        host_pairs(at, p, bytes, true);
    else if (last_moment) {
        size_t was = n_pairs;
        host_pairs(at, p, bytes, false);
        for (size_t i = was; i < n_pairs; i++)
            pairs[i].after = pairs[i].before < last_moment - 1 ? last_moment - 1 : at;
    }
    nodes[at].host = p;
    nodes[at].host_bytes = bytes;
    nodes[at].host_written = written;
    nodes[at].host_before = written ? 0 : kl__hash64(p, bytes, 1);
}

/* ---- the table ---- */

static cl_mem CL_API_CALL create_buffer(cl_context c, cl_mem_flags f, size_t n, void *p, cl_int *e)
{
    cl_mem m = in->clCreateBuffer(c, f, n, p, e);
    size_t old = m ? mem_number(m) : (size_t)-1;
    if (old != (size_t)-1)
        mems[old] = NULL;
    if (m)
        *add_mems() = m;
    return m;
}

#define ENQUEUE(f, barrier, inner, note, ...)                                                      \
    static cl_int CL_API_CALL w_##f(cl_command_queue q, __VA_ARGS__, cl_uint n, const cl_event *w, \
                                    cl_event *out)                                                 \
    {                                                                                              \
        cl_event list[MAX_WAIT], made = NULL;                                                      \
        size_t at = begin(#f, q);                                                                  \
        n = note_waits(q, n, w, barrier, list);                                                    \
        note;                                                                                      \
        return end(at, in->f inner, &made, out);                                                   \
    }

static void note_launch(cl_kernel k)
{
    for (cl_uint i = 0; i < k->n_args; i++)
        if (k->args[i].mem)
            touches(k->args[i].mem, true);
}

ENQUEUE(clEnqueueNDRangeKernel, false, (q, k, d, o, g, l, n, n ? list : NULL, &made),
        note_launch(k), cl_kernel k, cl_uint d, const size_t *o, const size_t *g, const size_t *l)
ENQUEUE(clEnqueueReadBuffer, false, (q, m, b, at_, bytes, p, n, n ? list : NULL, &made),
        (touches(m, false), note_host(p, bytes, true)), cl_mem m, cl_bool b, size_t at_,
        size_t bytes, void *p)
ENQUEUE(clEnqueueWriteBuffer, false, (q, m, b, at_, bytes, p, n, n ? list : NULL, &made),
        (touches(m, true), note_host(p, bytes, false)), cl_mem m, cl_bool b, size_t at_,
        size_t bytes, const void *p)
ENQUEUE(clEnqueueCopyBuffer, false, (q, s, d, sa, da, bytes, n, n ? list : NULL, &made),
        (touches(s, false), touches(d, true)), cl_mem s, cl_mem d, size_t sa, size_t da,
        size_t bytes)
ENQUEUE(clEnqueueFillBuffer, false, (q, m, p, pb, at_, bytes, n, n ? list : NULL, &made),
        touches(m, true), cl_mem m, const void *p, size_t pb, size_t at_, size_t bytes)

static cl_int CL_API_CALL marker(cl_command_queue q, cl_uint n, const cl_event *w, cl_event *out)
{
    cl_event list[MAX_WAIT], made = NULL;
    size_t at = begin("clEnqueueMarkerWithWaitList", q);
    n = note_waits(q, n, w, true, list);
    return end(at, in->clEnqueueMarkerWithWaitList(q, n, n ? list : NULL, &made), &made, out);
}

static cl_int CL_API_CALL barrier(cl_command_queue q, cl_uint n, const cl_event *w, cl_event *out)
{
    cl_event list[MAX_WAIT], made = NULL;
    size_t at = begin("clEnqueueBarrierWithWaitList", q);
    n = note_waits(q, n, w, true, list);
    return end(at, in->clEnqueueBarrierWithWaitList(q, n, n ? list : NULL, &made), &made, out);
}

static cl_int CL_API_CALL wait_for_events(cl_uint n, const cl_event *w)
{
    cl_int code = in->clWaitForEvents(n, w);
    size_t from[MAX_WAIT];
    for (cl_uint i = 0; i < n; i++)
        from[i] = command_of(w[i]);
    moment();
    for (cl_uint i = 0; i < n; i++)
        if (from[i] != (size_t)-1)
            depends(from[i], 0);
    return code;
}

static cl_int CL_API_CALL finish(cl_command_queue q)
{
    cl_int code = in->clFinish(q);
    size_t now = moment();
    for (size_t i = 0; i < now; i++)
        if (nodes[i].queue == q)
            depends(i, 0);
    return code;
}

/** Whoever polls is told "not yet" at first: what a poll happens to see orders nothing. */
static cl_int CL_API_CALL event_info(cl_event e, cl_event_info what, size_t cap, void *out,
                                     size_t *ret)
{
    cl_int code = in->clGetEventInfo(e, what, cap, out, ret), status;
    size_t of = command_of(e);
    if (!slow_polls || code || what != CL_EVENT_COMMAND_EXECUTION_STATUS || !out ||
        of == (size_t)-1 || nodes[of].polls++ >= 3)
        return code;
    memcpy(&status, out, sizeof status);
    if (status == CL_COMPLETE)
        status = CL_RUNNING;
    memcpy(out, &status, sizeof status);
    return code;
}

void drop_cl_slow_polls(bool on)
{
    slow_polls = on;
}

void drop_cl_wrap(const kl__cl_table *inner)
{
    in = inner;
    table = *inner;
    table.clCreateBuffer = create_buffer;
    table.clEnqueueNDRangeKernel = w_clEnqueueNDRangeKernel;
    table.clEnqueueReadBuffer = w_clEnqueueReadBuffer;
    table.clEnqueueWriteBuffer = w_clEnqueueWriteBuffer;
    table.clEnqueueCopyBuffer = w_clEnqueueCopyBuffer;
    table.clEnqueueFillBuffer = w_clEnqueueFillBuffer;
    table.clEnqueueMarkerWithWaitList = marker;
    table.clEnqueueBarrierWithWaitList = barrier;
    table.clWaitForEvents = wait_for_events;
    table.clFinish = finish;
    table.clGetEventInfo = event_info;
    n_nodes = n_edges = n_uses = n_pairs = n_mems = n_deps = last_moment = 0;
    pairs_known = false;
}

const kl__cl_table *drop_cl_table(void)
{
    return &table;
}

void drop_cl_at(size_t nth)
{
    drop_nth = nth;
}

size_t drop_cl_count(void)
{
    return n_deps;
}

/* ---- which dependencies matter ---- */

/** Neighbours suffice: order is transitive. */
static void buffer_pairs(void)
{
    for (size_t b = 0; b < n_nodes; b++)
        for (size_t j = 0; j < nodes[b].n_uses; j++) {
            use y = uses[nodes[b].first_use + j];
            bool found_change = false;
            for (size_t a = b; a-- > 0 && !found_change;)
                for (size_t i = 0; i < nodes[a].n_uses; i++) {
                    use x = uses[nodes[a].first_use + i];
                    if (x.mem != y.mem || !(x.changes || y.changes))
                        continue;
                    *add_pairs() = (pair){a, b};
                    found_change |= x.changes;
                }
        }
    pairs_known = true;
}

/** before[i * words ...]: the nodes that are over before node i begins. */
static void closure(uint64_t *before, size_t words, size_t without)
{
    for (size_t i = 0; i < n_nodes; i++) {
        uint64_t *mine = before + i * words;
        memset(mine, 0, words * sizeof *mine);
        for (size_t k = 0; k < nodes[i].n_edges; k++) {
            edge e = edges[nodes[i].first_edge + k];
            if (without && e.dep == without)
                continue;
            mine[e.from / 64] |= (uint64_t)1 << e.from % 64;
            for (size_t w = 0; w < words; w++)
                mine[w] |= before[e.from * words + w];
        }
    }
}

bool drop_cl_needed(size_t nth, uint64_t *late)
{
    size_t words = (n_nodes + 63) / 64;
    if (!pairs_known)
        buffer_pairs();
    uint64_t *before = calloc(n_nodes + 1, words * sizeof *before);
    bool needed = false;
    if (!before)
        abort();
    closure(before, words, nth);
    for (size_t i = 0; i < n_pairs && !needed; i++) {
        needed = !(before[pairs[i].after * words + pairs[i].before / 64] >>
                       (pairs[i].before % 64) &
                   1);
        *late = 1;
        for (size_t k = 0; k < pairs[i].before; k++)
            *late += nodes[k].call != NULL;
    }
    free(before);
    return needed;
}

const char *drop_cl_name(size_t nth)
{
    static char name[96];
    for (size_t i = 0; i < n_nodes; i++)
        for (size_t k = 0; k < nodes[i].n_edges; k++)
            if (edges[nodes[i].first_edge + k].dep == nth) {
                snprintf(name, sizeof name, "%s (command %zu)", nodes[i].call, i);
                return name;
            }
    return "none";
}
