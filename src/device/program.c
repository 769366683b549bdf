/* Programs: from a launch to a built cl_program, once per context. The key is the expanded text and
 * the options. */
#include "base/mem.h"
#include "device/ctx.h"
#include "device/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- options ---- */

void kl__def_int(kl__defs *d, const char *name, int64_t value)
{
    kl__put(&d->options, " -D%s=%" PRId64, name, value);
}

void kl__def_word(kl__defs *d, const char *name, const char *word)
{
    kl__put(&d->options, " -D%s=%s", name, word);
}

void kl__def_flag(kl__defs *d, const char *name)
{
    kl__put(&d->options, " -D%s", name);
}

void kl__defs_free(kl__defs *d)
{
    kl__text_free(&d->options);
}

static const char FLUSH_DENORMALS[] = " -cl-denorms-are-zero";

/* What the driver is given, and what the key is made of. */
typedef struct recipe {
    kl__text source, options;
    kl__hash128 key;
} recipe;

static void recipe_free(recipe *r)
{
    kl__text_free(&r->source);
    kl__text_free(&r->options);
}

static kl_status recipe_of(kl_ctx *ctx, const kl__launch *l, recipe *r)
{
    const char *defs = l->defs && l->defs->options.s ? l->defs->options.s : "";
    bool fp64 = strstr(defs, " -DT=double") != NULL;
    if (l->defs && l->defs->options.failed)
        return kl__no_memory(l->defs->options.len);
    if (fp64 && !ctx->caps.fp64)
        return kl__fail(KL_E_UNSUPPORTED, "kernel %s in double precision: %s has none", l->kernel,
                        ctx->caps.info.name);
    char *text = kl__source_expand(ctx->kernel_dir, l->file);
    if (!text)
        return kl__last_status();
    if (l->prelude) {
        kl__put(&r->source, "#line 1 \"prelude\"\n");
        kl__put_n(&r->source, l->prelude, strlen(l->prelude));
        kl__put(&r->source, "\n");
    }
    kl__put_n(&r->source, text, strlen(text));
    kl__free(text);
    kl__put(&r->options, "%s%s", ctx->caps.std_option, FLUSH_DENORMALS);
    kl__put_n(&r->options, defs, strlen(defs));
    if (fp64)
        kl__put(&r->options, " -DKL_FP64");
    if (r->source.failed || r->options.failed)
        return kl__no_memory(r->source.len + r->options.len);
    kl__hash128 s = kl__hash_wide(r->source.s, r->source.len),
                o = kl__hash_wide(r->options.s, r->options.len);
    uint64_t both[4] = {s.lo, s.hi, o.lo, o.hi};
    r->key = kl__hash_wide(both, sizeof both);
    return KL_OK;
}

/* All that a binary depends on, as text: it is hashed into the file's name and compared when the
 * file is read. */
static void put_key_text(kl_ctx *ctx, const recipe *r, kl__text *t)
{
    const kl_device_info *d = &ctx->caps.info;
    kl__hash128 s = kl__hash_wide(r->source.s, r->source.len);
    kl__put(t,
            "source %016" PRIx64 "%016" PRIx64
            " %zu\noptions %s\ndevice %s\nvendor %s\ndriver %s\nversion %s\n"
            "platform %s\nkiln %s\n",
            s.hi, s.lo, r->source.len, r->options.s, ctx->caps.own_name, d->vendor, d->driver,
            d->version, d->platform_name, kl_version());
}

/* ---- building ---- */

/* The first lines of the log into the sentence, the whole of it into the log. */
static kl_status build_failed(kl_ctx *ctx, const kl__launch *l, const recipe *r, cl_program p,
                              cl_int code)
{
    size_t n = 0;
    char *log = NULL;
    if (!ctx->cl->clGetProgramBuildInfo(p, ctx->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &n) && n)
        log = kl__calloc(n + 1, 1);
    if (log && ctx->cl->clGetProgramBuildInfo(p, ctx->device, CL_PROGRAM_BUILD_LOG, n, log, NULL))
        log[0] = 0;
    kl__log(KL_LOG_ERROR, "%s of %s with \"%s\":\n%s", l->kernel, l->file, r->options.s,
            log ? log : "");
    /* The sentence holds about a thousand bytes; errors come before the notes about them. */
    const char *first = log ? strstr(log, "error") : NULL;
    while (first && first > log && first[-1] != '\n')
        first--;
    kl__fail(KL_E_BUILD,
             "clBuildProgram: kernel %s (%s) does not compile on %s (driver %s): %s (%d); options "
             "\"%.250s\"; "
             "%.420s",
             l->kernel, l->file, ctx->caps.info.name, ctx->caps.info.driver, kl__cl_code_name(code),
             code, r->options.s,
             first         ? first
             : log && *log ? log
                           : "the driver gives no log");
    kl__free(log);
    return KL_E_BUILD;
}

static cl_program build_source(kl_ctx *ctx, const kl__launch *l, const recipe *r)
{
    cl_int code;
    const char *text = r->source.s;
    cl_program p =
        ctx->cl->clCreateProgramWithSource(ctx->context, 1, &text, &r->source.len, &code);
    if (!p) {
        kl__cl_fail(ctx, "clCreateProgramWithSource", l->kernel, code);
        return NULL;
    }
    kl__count_create(ctx);
    code = ctx->cl->clBuildProgram(p, 1, &ctx->device, r->options.s, NULL, NULL);
    if (code == CL_INVALID_BUILD_OPTIONS) {
        /* Speed only, and some compilers do not know it. */
        kl__text bare = {0};
        char *at = strstr(r->options.s, FLUSH_DENORMALS);
        kl__put_n(&bare, r->options.s, (size_t)(at - r->options.s));
        kl__put_n(&bare, at + strlen(FLUSH_DENORMALS), strlen(at) - strlen(FLUSH_DENORMALS));
        if (!bare.failed)
            code = ctx->cl->clBuildProgram(p, 1, &ctx->device, bare.s, NULL, NULL);
        kl__text_free(&bare);
    }
    if (code) {
        build_failed(ctx, l, r, p, code);
        ctx->cl->clReleaseProgram(p);
        return NULL;
    }
    atomic_fetch_add(&ctx->n_built, 1);
    return p;
}

/* NULL without a word: then it is built from source. */
static cl_program build_binary(kl_ctx *ctx, const recipe *r, const kl__text *key_text)
{
    uint8_t *data;
    size_t n;
    if (!kl__binary_load(ctx, key_text, &data, &n))
        return NULL;
    cl_int code, status = CL_SUCCESS;
    const unsigned char *bin = data;
    cl_program p =
        ctx->cl->clCreateProgramWithBinary(ctx->context, 1, &ctx->device, &n, &bin, &status, &code);
    kl__free(data);
    if (!p)
        return NULL;
    kl__count_create(ctx);
    if (!status && !ctx->cl->clBuildProgram(p, 1, &ctx->device, r->options.s, NULL, NULL)) {
        atomic_fetch_add(&ctx->n_from_cache, 1);
        return p;
    }
    kl__log(KL_LOG_INFO, "a cached kernel is not what %s takes; it is compiled anew",
            ctx->caps.info.name);
    ctx->cl->clReleaseProgram(p);
    return NULL;
}

static cl_program build(kl_ctx *ctx, const kl__launch *l, const recipe *r)
{
    kl__text key_text = {0};
    bool ours = ctx->cache_dir && !ctx->caps.caches_kernels;
    cl_program p = NULL;
    if (ours) {
        put_key_text(ctx, r, &key_text);
        ours = !key_text.failed;
    }
    if (ours)
        p = build_binary(ctx, r, &key_text);
    if (!p) {
        if (ctx->on_compile)
            ctx->on_compile(ctx->user, (int)atomic_load(&ctx->n_built), l->kernel);
        double t = kl__now();
        p = build_source(ctx, l, r);
        t = kl__now() - t;
        atomic_fetch_add(&ctx->build_ns, (uint_fast64_t)(t * 1e9));
        kl__log(KL_LOG_DEBUG, "%s (%s) compiled in %.2f s", l->kernel, l->file, t);
        if (p && ours)
            kl__binary_store(ctx, &key_text, p);
    }
    kl__text_free(&key_text);
    return p;
}

/* ---- the programs of a context ---- */

static kl__program **find(kl_ctx *ctx, kl__hash128 key)
{
    kl__program **p = &ctx->programs;
    while (*p && ((*p)->key.lo != key.lo || (*p)->key.hi != key.hi))
        p = &(*p)->next;
    return p;
}

/* Takes a finished program, or leaves a mark that it is being built: *mine. Different programs
 * build at once. */
static kl_status take_or_mark(kl_ctx *ctx, kl__hash128 key, kl__program **mine, cl_program *ready)
{
    kl_status st = KL_OK;
    kl__lock(&ctx->build_lock);
    kl__program **p = find(ctx, key);
    while (*p && !(*p)->program) {
        kl__cond_wait(&ctx->built, &ctx->build_lock);
        p = find(ctx, key);
    }
    *mine = NULL;
    *ready = *p ? (*p)->program : NULL;
    if (!*p) {
        *mine = *p = kl__calloc(1, sizeof **p);
        if (*mine)
            (*mine)->key = key;
        else
            st = KL_E_MEMORY;
    }
    kl__unlock(&ctx->build_lock);
    return st;
}

static void deliver(kl_ctx *ctx, kl__program *mine, cl_program program)
{
    kl__lock(&ctx->build_lock);
    mine->program = program;
    if (!program) {
        /* Those who wait will try themselves, and get a sentence of their own. */
        kl__program **p = find(ctx, mine->key);
        *p = mine->next;
        kl__free(mine);
    }
    kl__cond_broadcast(&ctx->built);
    kl__unlock(&ctx->build_lock);
}

cl_program kl__program_get(kl_ctx *ctx, const kl__launch *l)
{
    recipe r = {0};
    kl__program *mine = NULL;
    cl_program program = NULL;
    if (!kl__ctx_well(ctx) && !recipe_of(ctx, l, &r) &&
        !take_or_mark(ctx, r.key, &mine, &program) && mine) {
        program = build(ctx, l, &r);
        deliver(ctx, mine, program);
    }
    recipe_free(&r);
    return program;
}

void kl__programs_release(kl_ctx *ctx)
{
    while (ctx->programs) {
        kl__program *p = ctx->programs;
        ctx->programs = p->next;
        if (!kl__ctx_hung(ctx))
            ctx->cl->clReleaseProgram(p->program);
        kl__free(p);
    }
}
