/* The table of OpenCL functions: from the loader by dlopen on first use, or a test's. */
#include "base/thread.h"
#include "device/opencl.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define LOADER_NAME "libOpenCL.so.1"

static kl__mutex load_lock = PTHREAD_MUTEX_INITIALIZER;
static kl__cl_table loader_table;
static bool loader_loaded;
static _Atomic(const kl__cl_table *) current;

/* dlsym gives an object pointer; POSIX lets it be copied into a function pointer, ISO C a cast does
 * not. */
static bool fill(void *lib, const char *path)
{
    void *p;
#define FILL(f)                                                                                    \
    p = dlsym(lib, #f);                                                                            \
    if (!p) {                                                                                      \
        kl__fail(KL_E_NO_DEVICE, "the OpenCL loader %s has no %s: OpenCL 1.2 or later is needed",  \
                 path, #f);                                                                        \
        return false;                                                                              \
    }                                                                                              \
    memcpy(&loader_table.f, &p, sizeof p);
    KL__CL_FUNCTIONS(FILL)
#undef FILL
    return true;
}

static const kl__cl_table *load(void)
{
    const char *path = getenv("KILN_OPENCL_LIB");
    if (!path || !*path)
        path = LOADER_NAME;
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        const char *why = dlerror();
        kl__fail(KL_E_NO_DEVICE,
                 "no OpenCL loader (%s): install one (Debian, Ubuntu: ocl-icd-libopencl1, and "
                 "pocl-opencl-icd for "
                 "the CPU) or set KILN_OPENCL_LIB",
                 why ? why : path);
        return NULL;
    }
    if (!fill(lib, path)) {
        dlclose(lib);
        return NULL;
    }
    /* Never closed: drivers keep threads and exit handlers that must outlive us. */
    loader_loaded = true;
    return &loader_table;
}

const kl__cl_table *kl__cl(void)
{
    const kl__cl_table *t = atomic_load(&current);
    if (t)
        return t;
    kl__lock(&load_lock);
    t = atomic_load(&current);
    if (!t)
        t = loader_loaded ? &loader_table : load();
    if (t)
        atomic_store(&current, t);
    kl__unlock(&load_lock);
    return t;
}

void kl__cl_set_table(const kl__cl_table *table)
{
    atomic_store(&current, table);
}

bool kl__cl_started(void)
{
    return atomic_load(&current) != NULL;
}

bool kl__cl_is_loader(void)
{
    return kl__cl() == &loader_table;
}
