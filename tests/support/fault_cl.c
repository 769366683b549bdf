#include "support/fault_cl.h"
#include "support/fault_device.h"

#include <stdatomic.h>
#include <string.h>

enum { /* one number per function */
#define NUMBER(f) F_##f,
       KL__CL_FUNCTIONS(NUMBER)
#undef NUMBER
           N_FUNCTIONS
};

static const char *const names[] = {
#define NAME(f) #f,
    KL__CL_FUNCTIONS(NAME)
#undef NAME
};

static const kl__cl_table *in;
static kl__cl_table table;
static atomic_uint_fast64_t calls[N_FUNCTIONS], total, creates;
static atomic_int_fast64_t live[FAULT_KINDS];
static atomic_int fault_name = -1, failed = -1;
static atomic_uint_fast64_t fault_nth;
static atomic_bool fault_forever;
static cl_int fault_code;

static cl_int plausible(int f)
{
    switch (f) {
    case F_clGetPlatformIDs:
    case F_clGetPlatformInfo:
    case F_clGetDeviceInfo:
        return CL_OUT_OF_HOST_MEMORY;
    case F_clGetDeviceIDs:
        return CL_OUT_OF_RESOURCES;
    case F_clCreateContext:
        return CL_DEVICE_NOT_AVAILABLE;
    case F_clCreateBuffer:
        return CL_MEM_OBJECT_ALLOCATION_FAILURE;
    case F_clCreateProgramWithBinary:
        return CL_INVALID_BINARY;
    case F_clBuildProgram:
        return CL_BUILD_PROGRAM_FAILURE;
    case F_clCreateKernel:
        return CL_INVALID_PROGRAM_EXECUTABLE;
    case F_clSetKernelArg:
        return CL_INVALID_ARG_SIZE;
    case F_clWaitForEvents:
        return CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST;
    case F_clGetEventProfilingInfo:
        return CL_PROFILING_INFO_NOT_AVAILABLE;
    default:
        return CL_OUT_OF_RESOURCES;
    }
}

/* The code to fail with; 0: go on. */
static cl_int hit(int f)
{
    uint64_t n = atomic_fetch_add(&calls[f], 1) + 1, all = atomic_fetch_add(&total, 1) + 1;
    uint64_t at = atomic_load(&fault_nth);
    int name = atomic_load(&fault_name);
    if (!at || (name >= 0 && name != f))
        return 0;
    if (name < 0)
        n = all;
    if (n != at && !(n > at && atomic_load(&fault_forever)))
        return 0;
    atomic_store(&failed, f);
    return fault_code ? fault_code : plausible(f);
}

/* The code to fail with; 0: go on. `o` is what the call is about: a context, queue, event, ... */
static cl_int hit_on(int f, const void *o)
{
    cl_int dead = fault_device_call(o, names[f]);
    if (dead) {
        atomic_fetch_add(&calls[f], 1);
        atomic_fetch_add(&total, 1);
        atomic_store(&failed, f);
        return dead;
    }
    return hit(f);
}

static void count(fault_cl_kind kind, int delta)
{
    atomic_fetch_add(&live[kind], delta);
}

/* A call that gives a code, and on success adds `delta` references of `kind`. */
#define CALL(f, kind, delta, args, ...)                                                            \
    static cl_int CL_API_CALL w_##f(__VA_ARGS__)                                                   \
    {                                                                                              \
        cl_int code = hit_on(F_##f, (const void *)(uintptr_t)a);                                   \
        if (!code && !(code = in->f args))                                                         \
            count(kind, delta);                                                                    \
        return code;                                                                               \
    }
/* A release: done even where it is said to fail, so that the counts stay true. */
#define RELEASE(f, kind, type)                                                                     \
    static cl_int CL_API_CALL w_##f(type o)                                                        \
    {                                                                                              \
        cl_int code = hit_on(F_##f, o), real = in->f(o);                                           \
        if (!real)                                                                                 \
            count(kind, -1);                                                                       \
        return code ? code : real;                                                                 \
    }
#define CREATE(f, kind, type, args, ...)                                                           \
    static type CL_API_CALL w_##f(__VA_ARGS__, cl_int *err)                                        \
    {                                                                                              \
        cl_int code = hit_on(F_##f, OF_##f);                                                       \
        type o = code ? NULL : in->f args;                                                         \
        if (code && err)                                                                           \
            *err = code;                                                                           \
        if (o) {                                                                                   \
            count(kind, 1);                                                                        \
            fault_device_know(o, OF_##f);                                                          \
            atomic_fetch_add(&creates, 1);                                                         \
        }                                                                                          \
        return o;                                                                                  \
    }
/* What a creation is about. */
#define OF_clCreateContext fault_device_meet(c[0])
#define OF_clCreateCommandQueue b
#define OF_clCreateBuffer a
#define OF_clCreateProgramWithSource a
#define OF_clCreateProgramWithBinary a
#define OF_clCreateKernel a
#define ENQUEUE(f, args, ...)                                                                      \
    static cl_int CL_API_CALL w_##f(__VA_ARGS__, cl_uint nw, const cl_event *w, cl_event *e)       \
    {                                                                                              \
        cl_int code = hit_on(F_##f, (const void *)(uintptr_t)a);                                   \
        if (!code)                                                                                 \
            fault_device_enqueue(a);                                                               \
        if (!code && !(code = in->f args) && e) {                                                  \
            count(FAULT_EVENT, 1);                                                                 \
            fault_device_command(*e, a);                                                           \
        }                                                                                          \
        return code;                                                                               \
    }

CALL(clGetPlatformIDs, FAULT_NONE, 0, (a, b, c), cl_uint a, cl_platform_id *b, cl_uint *c)
CALL(clGetPlatformInfo, FAULT_NONE, 0, (a, b, c, d, e), cl_platform_id a, cl_platform_info b,
     size_t c, void *d, size_t *e)
CALL(clGetDeviceIDs, FAULT_NONE, 0, (a, b, c, d, e), cl_platform_id a, cl_device_type b, cl_uint c,
     cl_device_id *d, cl_uint *e)
CALL(clGetDeviceInfo, FAULT_NONE, 0, (a, b, c, d, e), cl_device_id a, cl_device_info b, size_t c,
     void *d, size_t *e)
static cl_int CL_API_CALL w_clCreateSubDevices(cl_device_id a,
                                               const cl_device_partition_property *b, cl_uint c,
                                               cl_device_id *d, cl_uint *e)
{
    cl_uint n = 0;
    cl_int code = hit(F_clCreateSubDevices);
    if (!code && !(code = in->clCreateSubDevices(a, b, c, d, &n)) && d)
        count(FAULT_DEVICE, (int)n);
    if (e)
        *e = n;
    return code;
}
CALL(clRetainDevice, FAULT_DEVICE, 1, (a), cl_device_id a)
RELEASE(clReleaseDevice, FAULT_DEVICE, cl_device_id)
CREATE(clCreateContext, FAULT_CONTEXT, cl_context, (a, b, c, d, e, err),
       const cl_context_properties *a, cl_uint b, const cl_device_id *c,
       void(CL_CALLBACK *d)(const char *, const void *, size_t, void *), void *e)
CALL(clRetainContext, FAULT_CONTEXT, 1, (a), cl_context a)
RELEASE(clReleaseContext, FAULT_CONTEXT, cl_context)
CALL(clGetContextInfo, FAULT_NONE, 0, (a, b, c, d, e), cl_context a, cl_context_info b, size_t c,
     void *d, size_t *e)
CREATE(clCreateCommandQueue, FAULT_QUEUE, cl_command_queue, (a, b, c, err), cl_context a,
       cl_device_id b, cl_command_queue_properties c)
CALL(clRetainCommandQueue, FAULT_QUEUE, 1, (a), cl_command_queue a)
static cl_int release_queue(cl_command_queue q)
{
    fault_device_queue_ends(q);
    in->clFinish(q);
    return in->clReleaseCommandQueue(q);
}
static cl_int CL_API_CALL w_clReleaseCommandQueue(cl_command_queue q)
{
    cl_int code = hit_on(F_clReleaseCommandQueue, q), real = release_queue(q);
    if (!real)
        count(FAULT_QUEUE, -1);
    return code ? code : real;
}
CALL(clGetCommandQueueInfo, FAULT_NONE, 0, (a, b, c, d, e), cl_command_queue a,
     cl_command_queue_info b, size_t c, void *d, size_t *e)
CREATE(clCreateBuffer, FAULT_MEM, cl_mem, (a, b, c, d, err), cl_context a, cl_mem_flags b, size_t c,
       void *d)
CALL(clRetainMemObject, FAULT_MEM, 1, (a), cl_mem a)
RELEASE(clReleaseMemObject, FAULT_MEM, cl_mem)
CALL(clGetMemObjectInfo, FAULT_NONE, 0, (a, b, c, d, e), cl_mem a, cl_mem_info b, size_t c, void *d,
     size_t *e)
CREATE(clCreateProgramWithSource, FAULT_PROGRAM, cl_program, (a, b, c, d, err), cl_context a,
       cl_uint b, const char **c, const size_t *d)
CREATE(clCreateProgramWithBinary, FAULT_PROGRAM, cl_program, (a, b, c, d, e, f, err), cl_context a,
       cl_uint b, const cl_device_id *c, const size_t *d, const unsigned char **e, cl_int *f)
CALL(clBuildProgram, FAULT_NONE, 0, (a, b, c, d, e, f), cl_program a, cl_uint b,
     const cl_device_id *c, const char *d, void(CL_CALLBACK *e)(cl_program, void *), void *f)
RELEASE(clReleaseProgram, FAULT_PROGRAM, cl_program)
CALL(clGetProgramInfo, FAULT_NONE, 0, (a, b, c, d, e), cl_program a, cl_program_info b, size_t c,
     void *d, size_t *e)
CALL(clGetProgramBuildInfo, FAULT_NONE, 0, (a, b, c, d, e, f), cl_program a, cl_device_id b,
     cl_program_build_info c, size_t d, void *e, size_t *f)
CREATE(clCreateKernel, FAULT_KERNEL, cl_kernel, (a, b, err), cl_program a, const char *b)
RELEASE(clReleaseKernel, FAULT_KERNEL, cl_kernel)
CALL(clSetKernelArg, FAULT_NONE, 0, (a, b, c, d), cl_kernel a, cl_uint b, size_t c, const void *d)
CALL(clGetKernelWorkGroupInfo, FAULT_NONE, 0, (a, b, c, d, e, f), cl_kernel a, cl_device_id b,
     cl_kernel_work_group_info c, size_t d, void *e, size_t *f)
ENQUEUE(clEnqueueNDRangeKernel, (a, b, c, d, f, g, nw, w, e), cl_command_queue a, cl_kernel b,
        cl_uint c, const size_t *d, const size_t *f, const size_t *g)
ENQUEUE(clEnqueueReadBuffer, (a, b, c, d, f, g, nw, w, e), cl_command_queue a, cl_mem b, cl_bool c,
        size_t d, size_t f, void *g)
ENQUEUE(clEnqueueWriteBuffer, (a, b, c, d, f, g, nw, w, e), cl_command_queue a, cl_mem b, cl_bool c,
        size_t d, size_t f, const void *g)
ENQUEUE(clEnqueueCopyBuffer, (a, b, c, d, f, g, nw, w, e), cl_command_queue a, cl_mem b, cl_mem c,
        size_t d, size_t f, size_t g)
ENQUEUE(clEnqueueFillBuffer, (a, b, c, d, f, g, nw, w, e), cl_command_queue a, cl_mem b,
        const void *c, size_t d, size_t f, size_t g)
ENQUEUE(clEnqueueMarkerWithWaitList, (a, nw, w, e), cl_command_queue a)
ENQUEUE(clEnqueueBarrierWithWaitList, (a, nw, w, e), cl_command_queue a)
static cl_int CL_API_CALL w_clWaitForEvents(cl_uint n, const cl_event *e)
{
    cl_int code = n ? hit_on(F_clWaitForEvents, e[0]) : hit(F_clWaitForEvents);
    for (cl_uint i = 0; !code && i < n; i++)
        fault_device_block(e[i], false);
    return code ? code : in->clWaitForEvents(n, e);
}
static cl_int CL_API_CALL w_clGetEventInfo(cl_event a, cl_event_info b, size_t c, void *d,
                                           size_t *e)
{
    cl_int code = hit_on(F_clGetEventInfo, a), running = CL_RUNNING;
    if (!code && !(code = in->clGetEventInfo(a, b, c, d, e)) &&
        b == CL_EVENT_COMMAND_EXECUTION_STATUS && d && fault_device_held(a))
        memcpy(d, &running, sizeof running);
    return code;
}
CALL(clRetainEvent, FAULT_EVENT, 1, (a), cl_event a)
RELEASE(clReleaseEvent, FAULT_EVENT, cl_event)
static cl_int CL_API_CALL w_clSetEventCallback(cl_event a, cl_int b,
                                               void(CL_CALLBACK *c)(cl_event, cl_int, void *),
                                               void *d)
{
    cl_int code = hit_on(F_clSetEventCallback, a);
    return code ? code : fault_device_callback(in, a, b, c, d);
}
CALL(clGetEventProfilingInfo, FAULT_NONE, 0, (a, b, c, d, e), cl_event a, cl_profiling_info b,
     size_t c, void *d, size_t *e)
CALL(clFlush, FAULT_NONE, 0, (a), cl_command_queue a)
static cl_int CL_API_CALL w_clFinish(cl_command_queue a)
{
    cl_int code = hit_on(F_clFinish, a);
    if (!code)
        fault_device_block(a, true);
    return code ? code : in->clFinish(a);
}

void fault_cl_wrap(const kl__cl_table *inner)
{
    in = inner;
#define FILL(f) table.f = w_##f;
    KL__CL_FUNCTIONS(FILL)
#undef FILL
    for (int i = 0; i < N_FUNCTIONS; i++)
        atomic_store(&calls[i], 0);
    for (int i = 0; i < FAULT_KINDS; i++)
        atomic_store(&live[i], 0);
    atomic_store(&total, 0);
    atomic_store(&creates, 0);
    fault_cl_at(NULL, 0, false, 0);
    fault_device_forget(inner);
}

const kl__cl_table *fault_cl_table(void)
{
    return &table;
}

static int number_of(const char *name)
{
    for (int i = 0; i < N_FUNCTIONS; i++)
        if (!strcmp(names[i], name))
            return i;
    return -2; /* matches nothing */
}

void fault_cl_at(const char *name, uint64_t nth, bool forever, cl_int code)
{
    int f = name ? number_of(name) : -1;
    uint64_t base = !name ? atomic_load(&total) : f >= 0 ? atomic_load(&calls[f]) : 0;
    fault_code = code;
    atomic_store(&failed, -1);
    atomic_store(&fault_name, f);
    atomic_store(&fault_forever, forever);
    atomic_store(&fault_nth, nth ? base + nth : 0);
}

const char *fault_cl_failed(void)
{
    int f = atomic_load(&failed);
    return f < 0 ? NULL : names[f];
}

uint64_t fault_cl_total(void)
{
    return atomic_load(&total);
}

uint64_t fault_cl_calls(const char *name)
{
    int f = number_of(name);
    return f < 0 ? 0 : atomic_load(&calls[f]);
}

uint64_t fault_cl_creates(void)
{
    return atomic_load(&creates);
}

int64_t fault_cl_live_of(fault_cl_kind kind)
{
    return atomic_load(&live[kind]);
}

int64_t fault_cl_live(void)
{
    int64_t n = 0;
    for (int i = 0; i < FAULT_KINDS; i++)
        n += i == FAULT_NONE ? 0 : atomic_load(&live[i]);
    return n;
}
