/* Winners on disk: CACHE/tuned/HASH.json, one file for each device, driver, version of Kiln and
 * state of its kernels. All that a file can be wrong in costs measuring again, never more. */
#include "base/file.h"
#include "base/mem.h"
#include "device/ctx.h"
#include "device/source.h"
#include "device/winners.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum { MAX_FILE = 16 << 20, MAX_KEY = 4096 };

/* ---- whose file it is ---- */
/** Of all kernels as this context compiles them: times of other kernels say nothing. */
static uint64_t kernels_hash(const kl_ctx *ctx)
{
    uint64_t h = 0;
    for (size_t i = 0; i < kl__cl_n_files; i++) {
        const kl__cl_file *f = &kl__cl_files[i];
        char *path = ctx->kernel_dir ? kl__asprintf("%s/%s", ctx->kernel_dir, f->name) : NULL;
        uint8_t *own = NULL;
        size_t n = 0;
        if (path && kl__path_exists(path) && kl__file_read(path, MAX_FILE, &own, &n) == KL_OK)
            h = kl__hash64(own, n, h);
        else
            h = kl__hash64(f->text, f->len, h);
        kl__free(own);
        kl__free(path);
    }
    return h;
}

/** JSON holds UTF-8 only, drivers say what they like. */
static void put_ascii(kl__text *t, const char *name, const char *s)
{
    kl__put(t, "%s=", name);
    for (; *s; s++)
        kl__put(t, "%c", *s < 32 || *s > 126 ? '?' : *s);
    kl__put(t, "; ");
}

/** Everything that the table holds for, one line; NULL: no memory. kl__free it. */
static char *identity(const kl_ctx *ctx)
{
    const kl__caps *c = &ctx->caps;
    kl__text t = {0};
    put_ascii(&t, "kiln", kl_version());
    put_ascii(&t, "device", c->own_name);
    put_ascii(&t, "vendor", c->info.vendor);
    put_ascii(&t, "driver", c->info.driver);
    put_ascii(&t, "version", c->info.version);
    put_ascii(&t, "platform", c->info.platform_name);
    kl__put(&t, "units=%d; vector=%d; l1=%zu; l2=%zu; kernels=%016" PRIx64, c->compute_units,
            c->vector, c->l1_bytes, c->l2_bytes, kernels_hash(ctx));
    if (t.failed)
        kl__text_free(&t);
    return t.s;
}

static char *path_of(const kl_ctx *ctx, const char *id)
{
    return ctx->cache_dir ? kl__asprintf("%s/tuned/%016" PRIx64 ".json", ctx->cache_dir,
                                         kl__hash64(id, strlen(id), 0))
                          : NULL;
}

/* ---- reading ---- */
static bool take_name(const json_t *j, char name[KL__WINNER_NAME])
{
    const char *s = json_string_value(j);
    if (!s || !*s || strlen(s) >= KL__WINNER_NAME)
        return false;
    memcpy(name, s, strlen(s) + 1);
    return true;
}

/** false: no entry of ours. */
static bool take_entry(const char *key, json_t *j, kl__winners *w)
{
    kl__winner x = {0};
    const char *name;
    json_t *t, *times = json_object_get(j, "ns");
    if (strlen(key) > MAX_KEY || !take_name(json_object_get(j, "fastest"), x.name) ||
        !json_is_object(times) || json_object_size(times) > KL__MAX_TIMES)
        return false;
    json_object_foreach(times, name, t)
    {
        if (!json_is_integer(t) || json_integer_value(t) < 0 || strlen(name) >= KL__WINNER_NAME)
            return false;
        kl__winner_time *to = &x.time[x.n_times++];
        memcpy(to->name, name, strlen(name) + 1);
        to->seconds = 1e-9 * (double)json_integer_value(t);
    }
    char *copy = kl__strdup(key);
    x.key = copy;
    bool ok = copy && kl__winners_put(w, &x) == KL_OK;
    kl__free(copy);
    return ok;
}

static void take_all(const char *path, const char *id, const uint8_t *text, size_t n,
                     kl__winners *w)
{
    json_error_t error;
    json_t *root = json_loadb((const char *)text, n, 0, &error), *j;
    const char *key, *whose = json_string_value(json_object_get(root, "for"));
    size_t bad = 0;
    if (!whose) {
        kl__log(KL_LOG_WARN, "%s is damaged; what it held is measured anew", path);
    } else if (strcmp(whose, id) != 0) {
        kl__log(KL_LOG_INFO, "%s is of another device, driver or version: not used", path);
    } else {
        json_object_foreach(json_object_get(root, "ops"), key, j) bad += !take_entry(key, j, w);
        if (bad)
            kl__log(KL_LOG_WARN, "%s: %zu entries are damaged and not used", path, bad);
    }
    json_decref(root);
}

static void load(const char *path, const char *id, kl__winners *w)
{
    uint8_t *text = NULL;
    size_t n = 0;
    if (!kl__path_exists(path))
        return;
    if (kl__file_read(path, MAX_FILE, &text, &n) == KL_OK)
        take_all(path, id, text, n, w);
    else
        kl__log(KL_LOG_WARN, "%s", kl_last_error());
    kl__free(text);
}

/** Of a folder, the file of this device in it; fresh memory. NULL: no memory. */
static char *file_at(const char *path, const char *id)
{
    return kl__path_is_dir(path)
               ? kl__asprintf("%s/%016" PRIx64 ".json", path, kl__hash64(id, strlen(id), 0))
               : kl__strdup(path);
}

void kl__winners_load(const kl_ctx *ctx, const char *path, kl__winners *w)
{
    char *id = identity(ctx), *file = id ? path ? file_at(path, id) : path_of(ctx, id) : NULL;
    if (file)
        load(file, id, w);
    kl__free(file);
    kl__free(id);
}

/* ---- writing ---- */
static json_t *entry_json(const kl__winner *x)
{
    json_t *j = json_object(), *times = json_object();
    for (int i = 0; i < x->n_times; i++)
        json_object_set_new(times, x->time[i].name,
                            json_integer((json_int_t)(x->time[i].seconds * 1e9 + 0.5)));
    json_object_set_new(j, "fastest", json_string(x->name));
    json_object_set_new(j, "ns", times);
    return j;
}

/** The file's text, allocated by jansson; NULL: no memory. */
static char *dump(const char *id, const kl__winners *w)
{
    json_t *root = json_object(), *ops = json_object();
    for (size_t i = 0; i < w->n; i++)
        json_object_set_new(ops, w->list[i].key, entry_json(&w->list[i]));
    json_object_set_new(root, "for", json_string(id));
    json_object_set_new(root, "ops", ops);
    char *text = json_object_size(ops) == w->n ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    return text;
}

static kl_status write_table(const char *path, const char *id, const kl__winners *w)
{
    char *text = dump(id, w);
    if (!text)
        return kl__no_memory(w->n * sizeof *w->list);
    kl_status st = kl__file_write(path, text, strlen(text));
    free(text);
    return st;
}

bool kl__winners_store(const kl_ctx *ctx, const kl__winners *more)
{
    kl__winners all = {0};
    char *id = identity(ctx), *path = id ? path_of(ctx, id) : NULL;
    char *dir = path ? kl__asprintf("%s/tuned", ctx->cache_dir) : NULL;
    kl_status st = dir ? kl__make_dirs(dir) : KL_E_MEMORY;
    if (id && !ctx->cache_dir) {
        kl__log(KL_LOG_WARN, "there is no cache folder: what was measured is not kept");
    } else if (st == KL_OK) {
        load(path, id, &all);
        for (size_t i = 0; st == KL_OK && i < more->n; i++)
            st = kl__winners_put(&all, &more->list[i]);
        if (st == KL_OK)
            st = write_table(path, id, &all);
    }
    if (st != KL_OK && ctx->cache_dir)
        kl__log(KL_LOG_WARN, "what was measured is not kept: %s", kl_last_error());
    kl__winners_free(&all);
    kl__free(dir);
    kl__free(path);
    kl__free(id);
    return st == KL_OK;
}

kl_status kl__winners_write(const kl_ctx *ctx, const kl__winners *w, const char *path)
{
    static const kl__winners none;
    char *id = identity(ctx), *file = id ? file_at(path, id) : NULL;
    kl_status st = file ? write_table(file, id, w ? w : &none) : KL_E_MEMORY;
    kl__free(file);
    kl__free(id);
    return st;
}
