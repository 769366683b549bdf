#include "support/kill_cl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

/* Which context an object belongs to: an open hash table by address. Addresses come again, so what
 * is made is noted anew and what is gone stays until then. */
enum { SLOTS = 1 << 16, MAX_QUEUES = 64 };
typedef struct slot {
    const void *at;
    int context;
} slot;
static slot slots[SLOTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const kl__cl_table *in;
static kl__cl_table table;
static int n_contexts, victim = -1;
static uint64_t calls, at;
static bool hangs;
static const char *what;
static cl_event gate; /* what a hanging queue waits for */
static cl_command_queue closed[MAX_QUEUES];
static int n_closed;

static slot *find(const void *p)
{
    size_t i = (size_t)(((uintptr_t)p >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 48);
    while (slots[i].at && slots[i].at != p)
        i = (i + 1) % SLOTS;
    return &slots[i];
}

static void note(const void *p, int context)
{
    if (!p)
        return;
    pthread_mutex_lock(&lock);
    slot *s = find(p);
    s->at = p;
    s->context = context;
    pthread_mutex_unlock(&lock);
}

static int home(const void *p)
{
    pthread_mutex_lock(&lock);
    const slot *s = find(p);
    int c = p && s->at ? s->context : -1;
    pthread_mutex_unlock(&lock);
    return c;
}

/** Whether this call, about p, is to fail. */
static bool dead(const void *p, const char *name)
{
    pthread_mutex_lock(&lock);
    const slot *s = find(p);
    bool ours = p && s->at && s->context == victim;
    bool over = ours && ++calls >= at && at;
    if (over && !what)
        what = name;
    pthread_mutex_unlock(&lock);
    return over && !hangs;
}

static bool hanging(cl_command_queue q)
{
    int c = home(q);
    return hangs && at && c >= 0 && c == victim && calls >= at;
}

/* ---- hanging ---- */

static void *of_loader(const char *name)
{
    static void *lib;
    if (!lib)
        lib = dlopen("libOpenCL.so.1", RTLD_NOW);
    return lib ? dlsym(lib, name) : NULL;
}

/** Once per queue: everything after it waits for the gate. */
static void close_queue(cl_command_queue q)
{
    cl_context c = NULL;
    cl_int e = 0;
    cl_api_clCreateUserEvent create;
    if (!hanging(q))
        return;
    for (int i = 0; i < n_closed; i++)
        if (closed[i] == q)
            return;
    if (n_closed == MAX_QUEUES)
        abort();
    *(void **)&create = of_loader("clCreateUserEvent");
    in->clGetCommandQueueInfo(q, CL_QUEUE_CONTEXT, sizeof c, &c, NULL);
    if (!gate)
        gate = create(c, &e);
    in->clEnqueueBarrierWithWaitList(q, 1, &gate, NULL);
    closed[n_closed++] = q;
}

void kill_cl_wake(void)
{
    cl_api_clSetUserEventStatus set;
    *(void **)&set = of_loader("clSetUserEventStatus");
    if (gate) {
        set(gate, CL_COMPLETE);
        in->clReleaseEvent(gate);
    }
    gate = NULL;
    n_closed = 0;
    at = 0;
}

/* ---- the table ---- */

#define GONE CL_DEVICE_NOT_AVAILABLE
#define CALL(f, about, args, ...)                                                                  \
    static cl_int CL_API_CALL w_##f(__VA_ARGS__)                                                   \
    {                                                                                              \
        return dead(about, #f) ? GONE : in->f args;                                                \
    }
/* Done all the same, so that what is counted outside stays true. */
#define COUNT(f, type)                                                                             \
    static cl_int CL_API_CALL w_##f(type o)                                                        \
    {                                                                                              \
        bool over = dead(o, #f);                                                                   \
        cl_int code = in->f(o);                                                                    \
        return over ? GONE : code;                                                                 \
    }
#define CREATE(f, about, type, args, ...)                                                          \
    static type CL_API_CALL w_##f(__VA_ARGS__, cl_int *err)                                        \
    {                                                                                              \
        if (dead(about, #f)) {                                                                     \
            if (err)                                                                               \
                *err = GONE;                                                                       \
            return NULL;                                                                           \
        }                                                                                          \
        type o = in->f args;                                                                       \
        note(o, home(about));                                                                      \
        return o;                                                                                  \
    }
#define ENQUEUE(f, args, ...)                                                                      \
    static cl_int CL_API_CALL w_##f(cl_command_queue q, __VA_ARGS__, cl_uint nw,                   \
                                    const cl_event *w, cl_event *e)                                \
    {                                                                                              \
        if (dead(q, #f))                                                                           \
            return GONE;                                                                           \
        close_queue(q);                                                                            \
        cl_int code = in->f args;                                                                  \
        if (!code && e)                                                                            \
            note(*e, home(q));                                                                     \
        return code;                                                                               \
    }
#define MARK(f)                                                                                    \
    static cl_int CL_API_CALL w_##f(cl_command_queue q, cl_uint nw, const cl_event *w,             \
                                    cl_event *e)                                                   \
    {                                                                                              \
        if (dead(q, #f))                                                                           \
            return GONE;                                                                           \
        close_queue(q);                                                                            \
        cl_int code = in->f(q, nw, w, e);                                                          \
        if (!code && e)                                                                            \
            note(*e, home(q));                                                                     \
        return code;                                                                               \
    }

static cl_context CL_API_CALL create_context(
    const cl_context_properties *p, cl_uint n, const cl_device_id *d,
    void(CL_CALLBACK *f)(const char *, const void *, size_t, void *), void *user, cl_int *err)
{
    cl_context c = in->clCreateContext(p, n, d, f, user, err);
    note(c, n_contexts++);
    return c;
}

CREATE(clCreateCommandQueue, c, cl_command_queue, (c, d, p, err), cl_context c, cl_device_id d,
       cl_command_queue_properties p)
CREATE(clCreateBuffer, c, cl_mem, (c, f, n, p, err), cl_context c, cl_mem_flags f, size_t n,
       void *p)
CREATE(clCreateProgramWithSource, c, cl_program, (c, n, s, l, err), cl_context c, cl_uint n,
       const char **s, const size_t *l)
CREATE(clCreateProgramWithBinary, c, cl_program, (c, n, d, l, b, s, err), cl_context c, cl_uint n,
       const cl_device_id *d, const size_t *l, const unsigned char **b, cl_int *s)
CREATE(clCreateKernel, p, cl_kernel, (p, name, err), cl_program p, const char *name)
COUNT(clRetainMemObject, cl_mem)
COUNT(clReleaseMemObject, cl_mem)
COUNT(clReleaseProgram, cl_program)
COUNT(clReleaseKernel, cl_kernel)
COUNT(clRetainEvent, cl_event)
COUNT(clReleaseEvent, cl_event)
CALL(clBuildProgram, p, (p, n, d, o, f, u), cl_program p, cl_uint n, const cl_device_id *d,
     const char *o, void(CL_CALLBACK *f)(cl_program, void *), void *u)
CALL(clGetProgramInfo, p, (p, w, n, d, r), cl_program p, cl_program_info w, size_t n, void *d,
     size_t *r)
CALL(clSetKernelArg, k, (k, i, n, v), cl_kernel k, cl_uint i, size_t n, const void *v)
CALL(clGetKernelWorkGroupInfo, k, (k, d, w, n, v, r), cl_kernel k, cl_device_id d,
     cl_kernel_work_group_info w, size_t n, void *v, size_t *r)
ENQUEUE(clEnqueueNDRangeKernel, (q, k, d, o, g, l, nw, w, e), cl_kernel k, cl_uint d,
        const size_t *o, const size_t *g, const size_t *l)
ENQUEUE(clEnqueueReadBuffer, (q, m, b, o, n, p, nw, w, e), cl_mem m, cl_bool b, size_t o, size_t n,
        void *p)
ENQUEUE(clEnqueueWriteBuffer, (q, m, b, o, n, p, nw, w, e), cl_mem m, cl_bool b, size_t o,
        size_t n, const void *p)
ENQUEUE(clEnqueueCopyBuffer, (q, s, d, so, dst, n, nw, w, e), cl_mem s, cl_mem d, size_t so,
        size_t dst, size_t n)
ENQUEUE(clEnqueueFillBuffer, (q, m, p, pn, o, n, nw, w, e), cl_mem m, const void *p, size_t pn,
        size_t o, size_t n)
MARK(clEnqueueMarkerWithWaitList)
MARK(clEnqueueBarrierWithWaitList)
CALL(clWaitForEvents, n ? l[0] : NULL, (n, l), cl_uint n, const cl_event *l)
CALL(clGetEventInfo, e, (e, w, n, v, r), cl_event e, cl_event_info w, size_t n, void *v, size_t *r)
CALL(clSetEventCallback, e, (e, w, f, u), cl_event e, cl_int w,
     void(CL_CALLBACK *f)(cl_event, cl_int, void *), void *u)
CALL(clFlush, q, (q), cl_command_queue q)
CALL(clFinish, q, (q), cl_command_queue q)

void kill_cl_wrap(const kl__cl_table *inner)
{
    in = inner;
    table = *inner;
    table.clCreateContext = create_context;
#define FILL(f) table.f = w_##f;
    FILL(clCreateCommandQueue)
    FILL(clCreateBuffer)
    FILL(clCreateProgramWithSource)
    FILL(clCreateProgramWithBinary)
    FILL(clCreateKernel)
    FILL(clRetainMemObject)
    FILL(clReleaseMemObject)
    FILL(clReleaseProgram)
    FILL(clReleaseKernel)
    FILL(clRetainEvent)
    FILL(clReleaseEvent)
    FILL(clBuildProgram)
    FILL(clGetProgramInfo)
    FILL(clSetKernelArg)
    FILL(clGetKernelWorkGroupInfo)
    FILL(clEnqueueNDRangeKernel)
    FILL(clEnqueueReadBuffer)
    FILL(clEnqueueWriteBuffer)
    FILL(clEnqueueCopyBuffer)
    FILL(clEnqueueFillBuffer)
    FILL(clEnqueueMarkerWithWaitList)
    FILL(clEnqueueBarrierWithWaitList)
    FILL(clWaitForEvents)
    FILL(clGetEventInfo)
    FILL(clSetEventCallback)
    FILL(clFlush)
    FILL(clFinish)
#undef FILL
    for (int i = 0; i < SLOTS; i++)
        slots[i] = (slot){NULL, -1};
    n_contexts = 0;
    kill_cl_at(-1, 0);
}

const kl__cl_table *kill_cl_table(void)
{
    return &table;
}

static void aim(int context, uint64_t nth, bool hang)
{
    pthread_mutex_lock(&lock);
    victim = context;
    calls = 0;
    at = nth;
    hangs = hang;
    what = NULL;
    pthread_mutex_unlock(&lock);
}

void kill_cl_at(int context, uint64_t nth)
{
    aim(context, nth, false);
}

void kill_cl_hang_at(int context, uint64_t nth)
{
    aim(context, nth, true);
}

uint64_t kill_cl_calls(void)
{
    pthread_mutex_lock(&lock);
    uint64_t n = calls;
    pthread_mutex_unlock(&lock);
    return n;
}

const char *kill_cl_what(void)
{
    return what;
}
