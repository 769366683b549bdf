/* CLBlast's SGEMM, opened at run time and only where the table is the loader's: it calls the loader
 * itself. */
#include "base/thread.h"
#include "device/ctx.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

enum { ROW_MAJOR = 101, NOT_TRANSPOSED = 111, TRANSPOSED = 112 };
typedef int sgemm_fn(int layout, int ta, int tb, size_t m, size_t n, size_t k, float alpha,
                     cl_mem a, size_t a_offset, size_t lda, cl_mem b, size_t b_offset, size_t ldb,
                     float beta, cl_mem c, size_t c_offset, size_t ldc, cl_command_queue *queue,
                     cl_event *event);
typedef int clear_fn(void);

static kl__mutex open_lock = PTHREAD_MUTEX_INITIALIZER;
static bool tried;
static sgemm_fn *sgemm;
static clear_fn *clear_cache;

static void open_library(void)
{
    const char *path = getenv("KILN_CLBLAST_LIB");
    void *lib = dlopen(path && *path ? path : "libclblast.so.1", RTLD_NOW | RTLD_LOCAL);
    void *s = lib ? dlsym(lib, "CLBlastSgemm") : NULL,
         *c = lib ? dlsym(lib, "CLBlastClearCache") : NULL;
    if (s && c) {
        memcpy(&sgemm, &s, sizeof s);
        memcpy(&clear_cache, &c, sizeof c);
    } else if (lib) {
        dlclose(lib);
    }
}

static bool available(void)
{
    kl__lock(&open_lock);
    if (!tried)
        open_library();
    tried = true;
    kl__unlock(&open_lock);
    return sgemm != NULL;
}

bool kl__gemm_available(const kl_ctx *ctx)
{
    return ctx && kl__cl_is_loader() && available();
}

cl_int kl__clblast_sgemm(const kl__gemm *g, cl_command_queue *queue, cl_event *event)
{
    size_t e = sizeof(float);
    return sgemm(ROW_MAJOR, g->ta ? TRANSPOSED : NOT_TRANSPOSED,
                 g->tb ? TRANSPOSED : NOT_TRANSPOSED, (size_t)g->m, (size_t)g->n, (size_t)g->k,
                 g->alpha, g->a.mem->mem, g->a.offset / e, (size_t)g->lda, g->b.mem->mem,
                 g->b.offset / e, (size_t)g->ldb, g->beta, g->c.mem->mem, g->c.offset / e,
                 (size_t)g->ldc, queue, event);
}

/* Its programs are in static storage and would be released at exit, when the driver may be gone. */
void kl__clblast_clear(void)
{
    if (clear_cache)
        clear_cache();
}
