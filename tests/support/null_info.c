/* The null table: platforms, devices, and the state. */
#include "support/null_inside.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

null_state N;
static pthread_mutex_t lock; /* recursive */
static pthread_once_t lock_once = PTHREAD_ONCE_INIT;
static struct _cl_platform_id platforms[MAX_DEVICES];
static struct _cl_device_id devices[MAX_DEVICES];
static const null_device one;

static void make_lock(void)
{
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &a);
    pthread_mutexattr_destroy(&a);
}

/* Callbacks come when nothing is held, as from a driver: they may take locks that others hold while
 * they call the table. */
static int depth;
static callback *due;

void n_lock(void)
{
    pthread_once(&lock_once, make_lock);
    pthread_mutex_lock(&lock);
    depth++;
}

void n_owe_callback(callback *c)
{
    callback **p = &due;
    c->e->o.refs++; /* not counted as live: the callback's return is nobody's business */
    while (*p)
        p = &(*p)->next;
    c->next = NULL;
    *p = c;
}

void n_unlock(void)
{
    callback *c = depth == 1 ? due : NULL;
    if (c)
        due = NULL;
    depth--;
    pthread_mutex_unlock(&lock);
    for (callback *next; c; c = next) {
        next = c->next;
        c->fn(c->e, c->e->status, c->user);
        n_lock();
        if (--c->e->o.refs == 0)
            free(c->e);
        n_unlock();
        free(c);
    }
}

/* A driver has threads of its own, so what a callback waits for comes about. The thread does no
 * more than that: the rest stays as late as can be. */
static pthread_cond_t owed = PTHREAD_COND_INITIALIZER;

static void *driver(void *unused)
{
    (void)unused;
    n_lock();
    for (;;) {
        cl_event e = N.pending;
        while (e && !e->callbacks)
            e = e->next;
        if (e && n_step()) {
            n_unlock();
            n_lock();
        } else {
            depth--;
            pthread_cond_wait(&owed, &lock);
            depth++;
        }
    }
    return NULL;
}

void n_wake(void)
{
    static bool runs;
    pthread_t t;
    if (!runs && !(runs = !pthread_create(&t, NULL, driver, NULL)))
        abort();
    pthread_cond_signal(&owed);
}

void *n_new(size_t bytes)
{
    void *p = calloc(1, bytes);
    if (!p)
        abort(); /* a test that runs out of memory proves nothing */
    return p;
}

cl_int n_put(const void *value, size_t bytes, size_t cap, void *dst, size_t *ret)
{
    if (ret)
        *ret = bytes;
    if (!dst)
        return CL_SUCCESS;
    if (cap < bytes)
        return CL_INVALID_VALUE;
    memcpy(dst, value, bytes);
    return CL_SUCCESS;
}

cl_int n_put_text(const char *s, size_t cap, void *dst, size_t *ret)
{
    return n_put(s, strlen(s) + 1, cap, dst, ret);
}

static const char *platform_name(const null_device *d)
{
    return d->platform ? d->platform : "Null";
}

void null_cl_setup(const null_device *d, size_t n, uint64_t seed)
{
    n_lock(); /* the driver's thread of the setup before may be looking */
    free(N.log);
    memset(&N, 0, sizeof N);
    N.device = n ? d : &one;
    N.n_device = n ? n : 1;
    N.random = seed;
    for (size_t i = 0; i < N.n_device; i++) {
        if (i && !strcmp(platform_name(&N.device[i]), platform_name(&N.device[i - 1])))
            N.n_platform--;
        N.platform_of[i] = N.n_platform++;
    }
    for (int i = 0; i < MAX_DEVICES; i++)
        platforms[i].index = devices[i].index = i;
    n_unlock();
}

void null_cl_setup_nothing(void)
{
    null_cl_setup(NULL, 0, 0);
    N.n_device = 0;
    N.n_platform = 0;
}

int64_t null_cl_live(void)
{
    return N.live;
}

uint64_t null_cl_builds(void)
{
    return N.builds;
}

/* ---- platforms and devices ---- */

static cl_int CL_API_CALL get_platforms(cl_uint cap, cl_platform_id *out, cl_uint *n)
{
    if (!N.n_platform)
        return CL_PLATFORM_NOT_FOUND_KHR;
    for (cl_uint i = 0; out && i < cap && i < (cl_uint)N.n_platform; i++)
        out[i] = &platforms[i];
    if (n)
        *n = (cl_uint)N.n_platform;
    return CL_SUCCESS;
}

static cl_int CL_API_CALL platform_info(cl_platform_id p, cl_platform_info what, size_t cap,
                                        void *dst, size_t *ret)
{
    size_t i = 0;
    while (i < N.n_device && N.platform_of[i] != p->index)
        i++;
    if (i == N.n_device)
        return CL_INVALID_PLATFORM;
    if (what == CL_PLATFORM_VERSION)
        return n_put_text("OpenCL 1.2 null", cap, dst, ret);
    return n_put_text(what == CL_PLATFORM_NAME ? platform_name(&N.device[i]) : "", cap, dst, ret);
}

static cl_int CL_API_CALL get_devices(cl_platform_id p, cl_device_type type, cl_uint cap,
                                      cl_device_id *out, cl_uint *n)
{
    cl_uint found = 0;
    (void)type;
    for (size_t i = 0; i < N.n_device; i++)
        if (N.platform_of[i] == p->index) {
            if (out && found < cap)
                out[found] = &devices[i];
            found++;
        }
    if (n)
        *n = found;
    return found ? CL_SUCCESS : CL_DEVICE_NOT_FOUND;
}

static cl_int put_uint(cl_uint v, size_t cap, void *dst, size_t *ret)
{
    return n_put(&v, sizeof v, cap, dst, ret);
}

static cl_int put_ulong(cl_ulong v, size_t cap, void *dst, size_t *ret)
{
    return n_put(&v, sizeof v, cap, dst, ret);
}

static cl_uint units_of(cl_device_id id)
{
    const null_device *d = &N.device[id->index];
    return id->units ? id->units : d->units ? d->units : 2;
}

static cl_int CL_API_CALL device_info(cl_device_id id, cl_device_info what, size_t cap, void *dst,
                                      size_t *ret)
{
    const null_device *d = &N.device[id->index];
    const size_t group = 1024, items[3] = {1024, 1024, 1024};
    const cl_ulong mib = 1024 * 1024;
    const cl_device_partition_property way =
        d->no_split || id->units ? 0 : CL_DEVICE_PARTITION_EQUALLY;
    cl_platform_id p = &platforms[N.platform_of[id->index]];
    cl_device_type type = d->type ? d->type : CL_DEVICE_TYPE_CPU;
    cl_command_queue_properties q =
        CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE | CL_QUEUE_PROFILING_ENABLE;
    switch (what) {
    case CL_DEVICE_TYPE:
        return n_put(&type, sizeof type, cap, dst, ret);
    case CL_DEVICE_PLATFORM:
        return n_put(&p, sizeof p, cap, dst, ret);
    case CL_DEVICE_NAME:
        return n_put_text(d->name ? d->name : "null", cap, dst, ret);
    case CL_DEVICE_VENDOR:
        return n_put_text(d->vendor ? d->vendor : "none", cap, dst, ret);
    case CL_DRIVER_VERSION:
        return n_put_text("1.0", cap, dst, ret);
    case CL_DEVICE_VERSION:
        return n_put_text(d->version ? d->version : "OpenCL 1.2 null", cap, dst, ret);
    case CL_DEVICE_OPENCL_C_VERSION:
        return n_put_text("OpenCL C 1.2 null", cap, dst, ret);
    case CL_DEVICE_EXTENSIONS:
        return n_put_text(d->extensions ? d->extensions : "cl_khr_fp64", cap, dst, ret);
    case CL_DEVICE_MAX_WORK_ITEM_SIZES:
        return n_put(items, sizeof items, cap, dst, ret);
    case CL_DEVICE_MAX_WORK_GROUP_SIZE:
        return n_put(&group, sizeof group, cap, dst, ret);
    case CL_DEVICE_QUEUE_PROPERTIES:
        return n_put(&q, sizeof q, cap, dst, ret);
    case CL_DEVICE_MAX_COMPUTE_UNITS:
        return put_uint(units_of(id), cap, dst, ret);
    case CL_DEVICE_PARTITION_PROPERTIES:
        return n_put(&way, sizeof way, cap, dst, ret);
    case CL_DEVICE_MAX_CLOCK_FREQUENCY:
        return put_uint(d->clock ? d->clock : 1000, cap, dst, ret);
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT:
        return put_uint(d->width ? d->width : 16, cap, dst, ret);
    case CL_DEVICE_MEM_BASE_ADDR_ALIGN:
        return put_uint(1024, cap, dst, ret);
    case CL_DEVICE_COMPILER_AVAILABLE:
        return put_uint(!d->no_compiler, cap, dst, ret);
    case CL_DEVICE_ENDIAN_LITTLE:
        return put_uint(!d->big_endian, cap, dst, ret);
    case CL_DEVICE_AVAILABLE:
        return put_uint(CL_TRUE, cap, dst, ret);
    case CL_DEVICE_HOST_UNIFIED_MEMORY:
        return put_uint(d->unified, cap, dst, ret);
    case CL_DEVICE_GLOBAL_MEM_SIZE:
        return put_ulong(d->memory ? d->memory : 4096 * mib, cap, dst, ret);
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
        return put_ulong(d->max_alloc ? d->max_alloc : 1024 * mib, cap, dst, ret);
    case CL_DEVICE_LOCAL_MEM_SIZE:
        return put_ulong(d->local ? d->local : 65536, cap, dst, ret);
    case CL_DEVICE_GLOBAL_MEM_CACHE_SIZE:
        return put_ulong(mib, cap, dst, ret);
    case CL_DEVICE_MAX_CONSTANT_BUFFER_SIZE:
        return put_ulong(65536, cap, dst, ret);
    default:
        return CL_INVALID_VALUE;
    }
}

static cl_int CL_API_CALL create_parts(cl_device_id id, const cl_device_partition_property *way,
                                       cl_uint cap, cl_device_id *out, cl_uint *n)
{
    if (N.device[id->index].no_split || id->units || way[0] != CL_DEVICE_PARTITION_EQUALLY)
        return CL_INVALID_VALUE;
    cl_uint units = (cl_uint)way[1], parts = units ? units_of(id) / units : 0;
    if (!parts)
        return CL_DEVICE_PARTITION_FAILED;
    if (out && cap < parts)
        return CL_INVALID_VALUE;
    n_lock();
    for (cl_uint i = 0; out && i < parts; i++) {
        out[i] = n_new(sizeof *out[i]);
        *out[i] = (struct _cl_device_id){.index = id->index, .units = units, .o = {1}};
        N.live++;
    }
    n_unlock();
    if (n)
        *n = parts;
    return CL_SUCCESS;
}

static cl_int CL_API_CALL retain_device(cl_device_id d)
{
    if (!d)
        return CL_INVALID_DEVICE;
    n_lock();
    if (d->units) {
        d->o.refs++;
        N.live++;
    }
    n_unlock();
    return CL_SUCCESS;
}

static cl_int CL_API_CALL release_device(cl_device_id d)
{
    if (!d)
        return CL_INVALID_DEVICE;
    n_lock();
    if (d->units) {
        N.live--;
        if (--d->o.refs == 0)
            free(d);
    }
    n_unlock();
    return CL_SUCCESS;
}

void null_fill_info(kl__cl_table *t)
{
    t->clGetPlatformIDs = get_platforms;
    t->clGetPlatformInfo = platform_info;
    t->clGetDeviceIDs = get_devices;
    t->clGetDeviceInfo = device_info;
    t->clCreateSubDevices = create_parts;
    t->clRetainDevice = retain_device;
    t->clReleaseDevice = release_device;
}

const kl__cl_table *null_cl_table(void)
{
    static kl__cl_table table;
    if (!N.device)
        null_cl_setup(NULL, 0, 0);
    null_fill_info(&table);
    null_fill_objects(&table);
    null_fill_commands(&table);
    return &table;
}
