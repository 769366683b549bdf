/* Compiled kernels on disk, for drivers that keep none: CACHE/kernels/HASH.bin. A file that is not
 * right in every byte is as good as none, and a cache that cannot be written is no error. */
#include "base/file.h"
#include "base/mem.h"
#include "device/ctx.h"

#include <inttypes.h>
#include <string.h>

/* magic, length of the key text, of the binary, hash of both; then both. Host byte order: it is
 * this machine's. */
typedef struct header {
    char magic[8];
    uint64_t key_len, bin_len, hash;
} header;
static const char MAGIC[8] = "KLBIN\0\0\1";
enum { MAX_BINARY = 256 << 20 };

static char *path_of(kl_ctx *ctx, const kl__text *key_text)
{
    kl__hash128 h = kl__hash_wide(key_text->s, key_text->len);
    return kl__asprintf("%s/kernels/%016" PRIx64 "%016" PRIx64 ".bin", ctx->cache_dir, h.hi, h.lo);
}

static bool right(const uint8_t *all, size_t n, const kl__text *key_text)
{
    header h;
    if (n < sizeof h)
        return false;
    memcpy(&h, all, sizeof h);
    return !memcmp(h.magic, MAGIC, sizeof MAGIC) && h.key_len == key_text->len && h.bin_len <= n &&
           sizeof h + h.key_len + h.bin_len == n && h.bin_len &&
           !memcmp(all + sizeof h, key_text->s, key_text->len) &&
           h.hash == kl__hash64(all + sizeof h, n - sizeof h, 0);
}

bool kl__binary_load(kl_ctx *ctx, const kl__text *key_text, uint8_t **data, size_t *n)
{
    char *path = path_of(ctx, key_text);
    uint8_t *all = NULL;
    size_t got = 0;
    bool ok = path && kl__path_exists(path) && !kl__file_read(path, MAX_BINARY, &all, &got);
    if (ok && !(ok = right(all, got, key_text)))
        kl__log(KL_LOG_WARN, "%s is damaged; the kernel is compiled anew", path);
    if (ok) {
        size_t skip = sizeof(header) + key_text->len;
        *n = got - skip;
        memmove(all, all + skip, *n);
        *data = all;
    } else {
        kl__free(all);
    }
    kl__free(path);
    return ok;
}

static void write_entry(const char *path, const kl__text *key_text, const uint8_t *bin, size_t n)
{
    kl__text body = {0};
    header h = {.key_len = key_text->len, .bin_len = n};
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    kl__put_n(&body, key_text->s, key_text->len);
    kl__put_n(&body, (const char *)bin, n);
    kl__writer *w = NULL;
    if (!body.failed) {
        h.hash = kl__hash64(body.s, body.len, 0);
        w = kl__writer_open(path);
    }
    if (w && (kl__writer_put(w, &h, sizeof h) || kl__writer_put(w, body.s, body.len))) {
        kl__writer_drop(w);
        w = NULL;
    } else if (w && kl__writer_commit(w)) {
        w = NULL;
    }
    if (!w)
        kl__log(KL_LOG_WARN, "kernel cache: %s", kl_last_error());
    kl__text_free(&body);
}

void kl__binary_store(kl_ctx *ctx, const kl__text *key_text, cl_program program)
{
    size_t n = 0;
    uint8_t *bin = NULL;
    if (!ctx->cl->clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof n, &n, NULL) && n &&
        n <= MAX_BINARY)
        bin = kl__alloc(n);
    if (!bin || ctx->cl->clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof bin, &bin, NULL)) {
        kl__log(KL_LOG_DEBUG, "%s gives no binary of its kernels", ctx->caps.info.name);
        kl__free(bin);
        return;
    }
    char *dir = kl__asprintf("%s/kernels", ctx->cache_dir), *path = path_of(ctx, key_text);
    if (dir && path && kl__make_dirs(dir))
        kl__log(KL_LOG_WARN, "kernel cache: %s", kl_last_error());
    else if (dir && path)
        write_entry(path, key_text, bin, n);
    kl__free(dir);
    kl__free(path);
    kl__free(bin);
}
