/* Faults of one device: which object belongs to which device, and what such a device does. */
#include "support/fault_device.h"

#include "support/fault_cl.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEVICES = 64, MAX_QUEUES = 256 };

/* Objects by address. One that is made anew at an old address takes its place, so that nothing need
 * be forgotten. */
typedef struct known {
    const void *o;
    int device;
    bool held; /* a command that was enqueued when its device hung */
} known;

typedef struct held {
    struct held *next;
    cl_event e;
    cl_int status;
    void(CL_CALLBACK *fn)(cl_event, cl_int, void *);
    void *user;
} held;

static struct {
    const kl__cl_table *in;
    known *map;
    size_t n, cap; /* a power of two */
    const void *device[MAX_DEVICES];
    uint64_t calls[MAX_DEVICES];
    int n_device;
    struct {
        cl_command_queue q;
        int device;
    } queue[MAX_QUEUES];
    int n_queue;
    int bad; /* device; -1: none */
    uint64_t at;
    cl_int code; /* 0: it hangs */
    held *held;
} S = {.bad = -1};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;

static bool hangs(int device)
{
    return device >= 0 && device == S.bad && !S.code && S.calls[device] >= S.at;
}

static bool dead(int device)
{
    return device >= 0 && device == S.bad && S.code && S.calls[device] >= S.at;
}

/* ---- whose is it ---- */

static known *slot(const void *o)
{
    size_t i = (size_t)(((uintptr_t)o >> 4) * 0x9e3779b97f4a7c15u) & (S.cap - 1);
    while (S.map[i].o && S.map[i].o != o)
        i = (i + 1) & (S.cap - 1);
    return &S.map[i];
}

static void put(const void *o, int device, bool is_held)
{
    if (2 * (S.n + 1) > S.cap) {
        known *old = S.map;
        size_t n = S.cap;
        S.cap = n ? 2 * n : 1024;
        S.map = calloc(S.cap, sizeof *S.map);
        if (!S.map)
            abort();
        for (size_t i = 0; i < n; i++)
            if (old[i].o)
                *slot(old[i].o) = old[i];
        free(old);
    }
    known *k = slot(o);
    S.n += !k->o;
    *k = (known){o, device, is_held};
}

static int device_of(const void *o)
{
    const known *k = o && S.cap ? slot(o) : NULL;
    return k && k->o ? k->device : -1;
}

static int number_of(const void *device)
{
    for (int i = 0; i < S.n_device; i++)
        if (S.device[i] == device)
            return i;
    if (S.n_device == MAX_DEVICES)
        abort();
    S.device[S.n_device] = device;
    put(device, S.n_device, false);
    return S.n_device++;
}

void fault_device_know(const void *o, const void *of)
{
    pthread_mutex_lock(&lock);
    int d = device_of(of);
    put(o, d < 0 ? number_of(of) : d, false);
    pthread_mutex_unlock(&lock);
}

void fault_device_command(cl_event e, cl_command_queue queue)
{
    pthread_mutex_lock(&lock);
    int d = device_of(queue), i = 0;
    if (d >= 0) {
        put(e, d, hangs(d));
        while (i < S.n_queue && S.queue[i].q != queue)
            i++;
        if (i < MAX_QUEUES) {
            S.queue[i].q = queue;
            S.queue[i].device = d;
            S.n_queue += i == S.n_queue;
        }
    }
    pthread_mutex_unlock(&lock);
}

void fault_device_queue_ends(cl_command_queue queue)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < S.n_queue; i++)
        if (S.queue[i].q == queue)
            S.queue[i--] = S.queue[--S.n_queue];
    pthread_mutex_unlock(&lock);
}

void fault_device_forget(const kl__cl_table *inner)
{
    fault_cl_device_wakes();
    pthread_mutex_lock(&lock);
    free(S.map);
    memset(&S, 0, sizeof S);
    S.bad = -1;
    S.in = inner;
    pthread_mutex_unlock(&lock);
}

/* ---- what is wrong with it ---- */

/* A device that is gone reads and writes nobody's memory. */
static void end_all(int device)
{
    cl_command_queue q[MAX_QUEUES];
    int n = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < S.n_queue; i++)
        if (S.queue[i].device == device && !S.in->clRetainCommandQueue(S.queue[i].q))
            q[n++] = S.queue[i].q;
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < n; i++) {
        S.in->clFinish(q[i]);
        S.in->clReleaseCommandQueue(q[i]);
    }
}

cl_int fault_device_call(const void *o)
{
    pthread_mutex_lock(&lock);
    int d = device_of(o);
    bool first = d >= 0 && ++S.calls[d] == S.at && dead(d);
    cl_int code = dead(d) ? S.code : 0;
    pthread_mutex_unlock(&lock);
    if (first)
        end_all(d);
    return code;
}

bool fault_device_held(cl_event e)
{
    pthread_mutex_lock(&lock);
    const known *k = S.cap ? slot(e) : NULL;
    bool is_held = k && k->o && k->held && hangs(k->device);
    pthread_mutex_unlock(&lock);
    return is_held;
}

void fault_device_block(const void *o, bool queue)
{
    pthread_mutex_lock(&lock);
    for (;;) {
        const known *k = S.cap ? slot(o) : NULL;
        if (!k || !k->o || !hangs(k->device) || !(queue || k->held))
            break;
        pthread_cond_wait(&woken, &lock);
    }
    pthread_mutex_unlock(&lock);
}

static void CL_CALLBACK on_event(cl_event e, cl_int status, void *user)
{
    held *h = user;
    pthread_mutex_lock(&lock);
    int d = device_of(e);
    h->e = e;
    h->status = dead(d) ? S.code : status;
    bool later = hangs(d) && slot(e)->held;
    if (later) {
        h->next = S.held;
        S.held = h;
    }
    pthread_mutex_unlock(&lock);
    if (later)
        return;
    h->fn(e, h->status, h->user);
    free(h);
}

cl_int fault_device_callback(const kl__cl_table *in, cl_event e, cl_int when,
                             void(CL_CALLBACK *fn)(cl_event, cl_int, void *), void *user)
{
    held *h = malloc(sizeof *h);
    if (!h)
        abort();
    *h = (held){NULL, e, 0, fn, user};
    cl_int code = in->clSetEventCallback(e, when, on_event, h);
    if (code)
        free(h);
    return code;
}

/* ---- what tests say ---- */

static int number_of_ctx(const kl_ctx *ctx)
{
    int d = device_of(kl__ctx_cl(ctx));
    if (d < 0)
        abort(); /* made through another table */
    return d;
}

static void go_bad(const kl_ctx *ctx, uint64_t nth, cl_int code)
{
    fault_cl_device_wakes();
    pthread_mutex_lock(&lock);
    int d = number_of_ctx(ctx);
    S.bad = nth ? d : -1;
    S.at = S.calls[d] + nth;
    S.code = code;
    pthread_mutex_unlock(&lock);
}

void fault_cl_device_dies(const kl_ctx *ctx, uint64_t nth, cl_int code)
{
    go_bad(ctx, nth, code ? code : CL_DEVICE_NOT_AVAILABLE);
}

void fault_cl_device_hangs(const kl_ctx *ctx, uint64_t nth)
{
    go_bad(ctx, nth, 0);
}

void fault_cl_device_wakes(void)
{
    pthread_mutex_lock(&lock);
    held *h = S.held;
    S.held = NULL;
    S.bad = -1;
    pthread_cond_broadcast(&woken);
    pthread_mutex_unlock(&lock);
    for (held *next; h; h = next) {
        next = h->next;
        h->fn(h->e, h->status, h->user);
        free(h);
    }
}

uint64_t fault_cl_device_calls(const kl_ctx *ctx)
{
    pthread_mutex_lock(&lock);
    uint64_t n = S.calls[number_of_ctx(ctx)];
    pthread_mutex_unlock(&lock);
    return n;
}
