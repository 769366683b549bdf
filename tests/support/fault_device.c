/* Faults of one device: which object belongs to which device, and what such a device does. */
#include "support/fault_device.h"

#include "support/fault_cl.h"

#include <dlfcn.h>
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

typedef struct line { /* a queue that was used */
    cl_command_queue q;
    int device;
    bool closed;   /* its commands wait for */
    cl_event gate; /* this, once it is made */
} line;

static struct {
    const kl__cl_table *in;
    bool loader; /* `in` is the loader's */
    known *map;
    size_t n, cap; /* a power of two */
    const void *device[MAX_DEVICES];
    uint64_t calls[MAX_DEVICES];
    int n_device;
    line queue[MAX_QUEUES];
    int n_queue;
    int bad; /* device; -1: none */
    uint64_t at;
    cl_int code; /* 0: it hangs */
    const char *failed;
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

const void *fault_device_meet(const void *device)
{
    pthread_mutex_lock(&lock);
    number_of(device);
    pthread_mutex_unlock(&lock);
    return device;
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
    int d = device_of(queue);
    if (d >= 0)
        put(e, d, hangs(d));
    pthread_mutex_unlock(&lock);
}

/* ---- queues ---- */

static line *line_of(cl_command_queue q)
{
    int i = 0;
    while (i < S.n_queue && S.queue[i].q != q)
        i++;
    if (i == S.n_queue) {
        if (i == MAX_QUEUES)
            abort();
        S.queue[S.n_queue++] = (line){q, device_of(q), false, NULL};
    }
    return &S.queue[i];
}

/* The library's table has no user events. */
static void *of_loader(const char *function)
{
    const char *path = getenv("KILN_OPENCL_LIB");
    void *lib = dlopen(path && *path ? path : "libOpenCL.so.1", RTLD_NOW);
    void *f = lib ? dlsym(lib, function) : NULL;
    if (!f)
        abort();
    return f;
}

/** An event that all commands in `q` from now on wait for. */
static cl_event make_gate(cl_command_queue q)
{
    cl_api_clCreateUserEvent create;
    cl_context c = NULL;
    *(void **)&create = of_loader("clCreateUserEvent");
    cl_int code = S.in->clGetCommandQueueInfo(q, CL_QUEUE_CONTEXT, sizeof c, (void *)&c, NULL);
    cl_event gate = code ? NULL : create(c, &code);
    if (code || S.in->clEnqueueBarrierWithWaitList(q, 1, &gate, NULL))
        abort();
    return gate;
}

static void open_gate(cl_event gate)
{
    cl_api_clSetUserEventStatus set;
    *(void **)&set = of_loader("clSetUserEventStatus");
    set(gate, CL_COMPLETE);
    S.in->clReleaseEvent(gate);
}

void fault_device_enqueue(cl_command_queue queue)
{
    pthread_mutex_lock(&lock);
    line *l = line_of(queue);
    bool close = S.loader && hangs(l->device) && !l->closed;
    l->closed = l->closed || close;
    pthread_mutex_unlock(&lock);
    if (!close)
        return;
    cl_event gate = make_gate(queue); /* without the lock: a driver may call back */
    pthread_mutex_lock(&lock);
    line_of(queue)->gate = gate;
    pthread_mutex_unlock(&lock);
}

void fault_device_queue_ends(cl_command_queue queue)
{
    pthread_mutex_lock(&lock);
    line *l = line_of(queue);
    cl_event gate = l->gate;
    *l = S.queue[--S.n_queue];
    pthread_mutex_unlock(&lock);
    if (gate)
        open_gate(gate);
}

/** Waits for the queues of the device; gates that are there are opened first. */
static void end_all(int device)
{
    line list[MAX_QUEUES];
    int n = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < S.n_queue; i++)
        if (S.queue[i].device == device && !S.in->clRetainCommandQueue(S.queue[i].q)) {
            list[n++] = S.queue[i];
            S.queue[i].closed = false;
            S.queue[i].gate = NULL;
        }
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < n; i++)
        if (list[i].gate)
            open_gate(list[i].gate);
    for (int i = 0; i < n; i++) {
        S.in->clFinish(list[i].q);
        S.in->clReleaseCommandQueue(list[i].q);
    }
}

void fault_device_forget(const kl__cl_table *inner)
{
    fault_cl_device_wakes();
    pthread_mutex_lock(&lock);
    free(S.map);
    memset(&S, 0, sizeof S);
    S.bad = -1;
    S.in = inner;
    S.loader = kl__cl_started() && inner == kl__cl() && kl__cl_is_loader();
    pthread_mutex_unlock(&lock);
}

/* ---- what is wrong with it ---- */

cl_int fault_device_call(const void *o, const char *name)
{
    pthread_mutex_lock(&lock);
    int d = device_of(o);
    bool first = d >= 0 && ++S.calls[d] == S.at && d == S.bad;
    cl_int code = dead(d) ? S.code : 0;
    if (first)
        S.failed = name;
    pthread_mutex_unlock(&lock);
    if (first && code)
        end_all(d); /* a device that is gone reads and writes nobody's memory */
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
    pthread_mutex_lock(&lock);
    int d = device_of(kl__ctx_cl(ctx));
    pthread_mutex_unlock(&lock);
    if (d < 0)
        abort(); /* made through another table */
    return d;
}

static void go_bad(int device, uint64_t nth, cl_int code)
{
    if (device < 0 || device >= MAX_DEVICES)
        abort();
    fault_cl_device_wakes();
    pthread_mutex_lock(&lock);
    S.bad = nth ? device : -1;
    S.at = S.calls[device] + nth;
    S.code = code;
    S.failed = NULL;
    pthread_mutex_unlock(&lock);
}

void fault_cl_number_dies(int number, uint64_t nth, cl_int code)
{
    go_bad(number, nth, code ? code : CL_DEVICE_NOT_AVAILABLE);
}

void fault_cl_device_dies(const kl_ctx *ctx, uint64_t nth, cl_int code)
{
    fault_cl_number_dies(number_of_ctx(ctx), nth, code);
}

void fault_cl_number_hangs(int number, uint64_t nth)
{
    go_bad(number, nth, 0);
}

void fault_cl_device_hangs(const kl_ctx *ctx, uint64_t nth)
{
    fault_cl_number_hangs(number_of_ctx(ctx), nth);
}

const char *fault_cl_device_failed(void)
{
    pthread_mutex_lock(&lock);
    const char *name = S.failed;
    pthread_mutex_unlock(&lock);
    return name;
}

void fault_cl_device_wakes(void)
{
    pthread_mutex_lock(&lock);
    held *h = S.held;
    int hung = S.loader && hangs(S.bad) ? S.bad : -1;
    S.held = NULL;
    S.bad = -1;
    pthread_cond_broadcast(&woken);
    pthread_mutex_unlock(&lock);
    if (hung >= 0)
        end_all(hung);
    for (held *next; h; h = next) {
        next = h->next;
        h->fn(h->e, h->status, h->user);
        free(h);
    }
}

uint64_t fault_cl_number_calls(int number)
{
    pthread_mutex_lock(&lock);
    uint64_t n = number >= 0 && number < MAX_DEVICES ? S.calls[number] : 0;
    pthread_mutex_unlock(&lock);
    return n;
}

uint64_t fault_cl_device_calls(const kl_ctx *ctx)
{
    return fault_cl_number_calls(number_of_ctx(ctx));
}
