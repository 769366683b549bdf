/* The null table: contexts, queues, buffers, programs, kernels. */
#include "support/null_inside.h"

#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char BINARY[] = "NULLBIN1";

static void born(object *o)
{
    o->refs = 1;
    N.live++;
}

/* Retains and releases count in `live` too, so that a retain too many shows. */
static cl_int again(object *o)
{
    n_lock();
    o->refs++;
    N.live++;
    n_unlock();
    return CL_SUCCESS;
}

static bool dies(object *o)
{
    N.live--;
    return --o->refs == 0;
}

static void *made(void *p, cl_int *err)
{
    if (err)
        *err = CL_SUCCESS;
    return p;
}

static void *refused(cl_int code, cl_int *err)
{
    if (err)
        *err = code;
    return NULL;
}

/* ---- contexts and queues ---- */

static cl_context CL_API_CALL create_context(
    const cl_context_properties *p, cl_uint n, const cl_device_id *d,
    void(CL_CALLBACK *f)(const char *, const void *, size_t, void *), void *user, cl_int *err)
{
    (void)p, (void)f, (void)user;
    if (n != 1)
        return refused(CL_INVALID_VALUE, err);
    n_lock();
    cl_context c = n_new(sizeof *c);
    born(&c->o);
    c->device = d[0];
    n_unlock();
    return made(c, err);
}

static cl_int CL_API_CALL retain_context(cl_context c)
{
    return again(&c->o);
}

static cl_int CL_API_CALL release_context(cl_context c)
{
    n_lock();
    if (dies(&c->o))
        free(c);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL context_info(cl_context c, cl_context_info what, size_t cap, void *dst,
                                       size_t *ret)
{
    /* Only what fits is asked for by size of the array, so a larger one is fine. */
    return what == CL_CONTEXT_DEVICES ? n_put(&c->device, sizeof c->device, cap, dst, ret)
                                      : CL_INVALID_VALUE;
}

static cl_command_queue CL_API_CALL create_queue(cl_context c, cl_device_id d,
                                                 cl_command_queue_properties p, cl_int *err)
{
    if (d != c->device)
        return refused(CL_INVALID_DEVICE, err);
    n_lock();
    cl_command_queue q = n_new(sizeof *q);
    born(&q->o);
    q->context = c;
    q->properties = p;
    q->number = N.n_queue++;
    n_unlock();
    return made(q, err);
}

static cl_int CL_API_CALL retain_queue(cl_command_queue q)
{
    return again(&q->o);
}

void n_release_queue(cl_command_queue q)
{
    if (q->o.refs == 1)
        n_drain(q); /* commands point to their queue */
    if (!dies(&q->o))
        return;
    if (q->last)
        n_release_event(q->last);
    free(q);
}

static cl_int CL_API_CALL release_queue(cl_command_queue q)
{
    n_lock();
    n_release_queue(q);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL queue_info(cl_command_queue q, cl_command_queue_info what, size_t cap,
                                     void *dst, size_t *ret)
{
    switch (what) {
    case CL_QUEUE_CONTEXT:
        return n_put(&q->context, sizeof q->context, cap, dst, ret);
    case CL_QUEUE_DEVICE:
        return n_put(&q->context->device, sizeof q->context->device, cap, dst, ret);
    case CL_QUEUE_PROPERTIES:
        return n_put(&q->properties, sizeof q->properties, cap, dst, ret);
    default:
        return CL_INVALID_VALUE;
    }
}

/* ---- buffers ---- */

void n_mix(cl_mem m, uint64_t tag)
{
    if (m->n_history == m->cap_history) {
        m->cap_history = m->cap_history ? 2 * m->cap_history : 8;
        m->history = realloc(m->history, m->cap_history * sizeof *m->history);
        if (!m->history)
            abort();
    }
    m->history[m->n_history++] = tag;
}

uint64_t n_tag(cl_mem m)
{
    return m->n_history ? m->history[m->n_history - 1] : 0;
}

uint64_t null_cl_tag(cl_mem m)
{
    return n_tag(m);
}

const uint64_t *null_cl_history(cl_mem m, size_t *n)
{
    *n = m->n_history;
    return m->history;
}

static cl_mem CL_API_CALL create_buffer(cl_context c, cl_mem_flags flags, size_t size, void *host,
                                        cl_int *err)
{
    if (!size)
        return refused(CL_INVALID_BUFFER_SIZE, err);
    n_lock();
    cl_mem m = n_new(sizeof *m);
    born(&m->o);
    m->context = c;
    m->size = size;
    m->bytes = n_new(size); /* pages that nobody touches cost nothing */
    if (host && (flags & CL_MEM_COPY_HOST_PTR)) {
        memcpy(m->bytes, host, size);
        n_mix(m, kl__hash64(host, size, 1));
    }
    m->next = N.mems;
    N.mems = m;
    n_unlock();
    return made(m, err);
}

static cl_int CL_API_CALL retain_mem(cl_mem m)
{
    return again(&m->o);
}

void n_release_mem(cl_mem m)
{
    if (!dies(&m->o))
        return;
    cl_mem *p = &N.mems;
    while (*p != m)
        p = &(*p)->next;
    *p = m->next;
    free(m->bytes);
    free(m->history);
    free(m);
}

static cl_int CL_API_CALL release_mem(cl_mem m)
{
    n_lock();
    n_release_mem(m);
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL mem_info(cl_mem m, cl_mem_info what, size_t cap, void *dst, size_t *ret)
{
    switch (what) {
    case CL_MEM_SIZE:
        return n_put(&m->size, sizeof m->size, cap, dst, ret);
    case CL_MEM_CONTEXT:
        return n_put(&m->context, sizeof m->context, cap, dst, ret);
    default:
        return CL_INVALID_VALUE;
    }
}

/* ---- programs ---- */

static cl_program new_program(cl_context c)
{
    cl_program p = n_new(sizeof *p);
    born(&p->o);
    p->context = c;
    return p;
}

static cl_program CL_API_CALL program_from_source(cl_context c, cl_uint n, const char **text,
                                                  const size_t *len, cl_int *err)
{
    if (n != 1)
        return refused(CL_INVALID_VALUE, err);
    n_lock();
    cl_program p = new_program(c);
    size_t bytes = len && len[0] ? len[0] : strlen(text[0]);
    p->source = n_new(bytes + 1);
    memcpy(p->source, text[0], bytes);
    n_unlock();
    return made(p, err);
}

static cl_program CL_API_CALL program_from_binary(cl_context c, cl_uint n, const cl_device_id *d,
                                                  const size_t *len, const unsigned char **bin,
                                                  cl_int *status, cl_int *err)
{
    (void)n, (void)d;
    size_t head = sizeof BINARY - 1;
    bool ok = len[0] > head && !memcmp(bin[0], BINARY, head);
    if (status)
        *status = ok ? CL_SUCCESS : CL_INVALID_BINARY;
    if (!ok)
        return refused(CL_INVALID_BINARY, err);
    n_lock();
    cl_program p = new_program(c);
    p->source = n_new(len[0] - head + 1);
    memcpy(p->source, bin[0] + head, len[0] - head);
    p->from_binary = true;
    n_unlock();
    return made(p, err);
}

static cl_int CL_API_CALL build_program(cl_program p, cl_uint n, const cl_device_id *d,
                                        const char *options,
                                        void(CL_CALLBACK *f)(cl_program, void *), void *user)
{
    (void)n, (void)d, (void)f, (void)user;
    if (N.device[p->context->device->index].no_denorm_option && strstr(options, "-cl-denorms"))
        return CL_INVALID_BUILD_OPTIONS;
    n_lock();
    bool ok = !strstr(p->source, NULL_CL_BUILD_ERROR);
    free(p->options);
    p->options = n_new(strlen(options) + 1);
    memcpy(p->options, options, strlen(options));
    p->built = ok;
    if (!p->from_binary)
        N.builds++;
    n_unlock();
    return ok ? CL_SUCCESS : CL_BUILD_PROGRAM_FAILURE;
}

static cl_int CL_API_CALL release_program(cl_program p)
{
    n_lock();
    if (dies(&p->o)) {
        free(p->source);
        free(p->options);
        free(p);
    }
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL program_info(cl_program p, cl_program_info what, size_t cap, void *dst,
                                       size_t *ret)
{
    size_t head = sizeof BINARY - 1, bytes = head + strlen(p->source);
    if (what == CL_PROGRAM_BINARY_SIZES)
        return n_put(&bytes, sizeof bytes, cap, dst, ret);
    if (what != CL_PROGRAM_BINARIES || !dst)
        return CL_INVALID_VALUE;
    unsigned char *out = ((unsigned char **)dst)[0];
    memcpy(out, BINARY, head);
    memcpy(out + head, p->source, bytes - head);
    return CL_SUCCESS;
}

static cl_int CL_API_CALL build_info(cl_program p, cl_device_id d, cl_program_build_info what,
                                     size_t cap, void *dst, size_t *ret)
{
    (void)d, (void)what;
    return n_put_text(p->built ? "" : "null: error: the source says so", cap, dst, ret);
}

/* ---- kernels ---- */

static cl_kernel CL_API_CALL create_kernel(cl_program p, const char *name, cl_int *err)
{
    if (!p->built)
        return refused(CL_INVALID_PROGRAM_EXECUTABLE, err);
    if (!strstr(p->source, name) && !strstr(p->source, "##")) /* macros may paste names together */
        return refused(CL_INVALID_KERNEL_NAME, err);
    n_lock();
    cl_kernel k = n_new(sizeof *k);
    born(&k->o);
    k->program = p;
    p->o.refs++;
    N.live++;
    snprintf(k->name, sizeof k->name, "%s", name);
    n_unlock();
    return made(k, err);
}

static cl_int CL_API_CALL release_kernel(cl_kernel k)
{
    n_lock();
    bool gone = dies(&k->o);
    n_unlock();
    if (gone) {
        release_program(k->program);
        free(k);
    }
    return CL_SUCCESS;
}

static cl_int CL_API_CALL set_arg(cl_kernel k, cl_uint i, size_t size, const void *value)
{
    if (i >= MAX_ARGS)
        return CL_INVALID_ARG_INDEX;
    if (!size || (value && size > sizeof k->args[i].bytes))
        return CL_INVALID_ARG_SIZE;
    n_lock();
    arg *a = &k->args[i];
    memset(a, 0, sizeof *a);
    a->set = true;
    a->size = size;
    if (value)
        memcpy(a->bytes, value, size);
    /* A buffer is known by its address; no scalar will happen to be one. */
    if (value && size == sizeof(cl_mem)) {
        cl_mem m;
        memcpy(&m, value, sizeof m);
        for (cl_mem x = N.mems; x; x = x->next)
            if (x == m)
                a->mem = m;
    }
    if (i >= k->n_args)
        k->n_args = i + 1;
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL group_info(cl_kernel k, cl_device_id d, cl_kernel_work_group_info what,
                                     size_t cap, void *dst, size_t *ret)
{
    const size_t group = 1024, fixed[3] = {0, 0, 0};
    const cl_ulong none = 0;
    (void)k, (void)d;
    switch (what) {
    case CL_KERNEL_WORK_GROUP_SIZE:
        return n_put(&group, sizeof group, cap, dst, ret);
    case CL_KERNEL_COMPILE_WORK_GROUP_SIZE:
        return n_put(fixed, sizeof fixed, cap, dst, ret);
    case CL_KERNEL_LOCAL_MEM_SIZE:
        return n_put(&none, sizeof none, cap, dst, ret);
    default:
        return CL_INVALID_VALUE;
    }
}

void null_fill_objects(kl__cl_table *t)
{
    t->clCreateContext = create_context;
    t->clRetainContext = retain_context;
    t->clReleaseContext = release_context;
    t->clGetContextInfo = context_info;
    t->clCreateCommandQueue = create_queue;
    t->clRetainCommandQueue = retain_queue;
    t->clReleaseCommandQueue = release_queue;
    t->clGetCommandQueueInfo = queue_info;
    t->clCreateBuffer = create_buffer;
    t->clRetainMemObject = retain_mem;
    t->clReleaseMemObject = release_mem;
    t->clGetMemObjectInfo = mem_info;
    t->clCreateProgramWithSource = program_from_source;
    t->clCreateProgramWithBinary = program_from_binary;
    t->clBuildProgram = build_program;
    t->clReleaseProgram = release_program;
    t->clGetProgramInfo = program_info;
    t->clGetProgramBuildInfo = build_info;
    t->clCreateKernel = create_kernel;
    t->clReleaseKernel = release_kernel;
    t->clSetKernelArg = set_arg;
    t->clGetKernelWorkGroupInfo = group_info;
}
