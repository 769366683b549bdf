#include "base/file.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/vfs.h"

#include <string.h>

enum { CHUNK = 1 << 16 };

/* Reads to the end into *buf, which has room for *cap bytes; the size that a file claims is a hint
 * only. */
static kl_status read_all(const char *path, int file, size_t limit, uint8_t **buf, size_t *cap,
                          size_t *n)
{
    const size_t most = limit ? limit : SIZE_MAX - 1;
    size_t done = 0;
    for (;;) {
        /* One byte more than may come, so that a full buffer at the end is told from one too small.
         */
        const int64_t got = kl__vfs_read(file, *buf + done, *cap - done);
        if (got < 0) {
            return kl__fail_errno(path, "be read", got);
        }
        done += (size_t)got;
        if (done > most) {
            return kl__fail(KL_E_FORMAT, "%s: has more than the %zu bytes allowed", path, limit);
        }
        if (done < *cap) {
            break;
        }
        const kl_status st = kl__grow(buf, cap, done + CHUNK, 1);
        if (st) {
            return kl__fail_in(st, "%s", path);
        }
    }
    (*buf)[done] = 0;
    *n = done;
    return KL_OK;
}

kl_status kl__file_read(const char *path, size_t limit, uint8_t **data, size_t *n)
{
    *data = NULL;
    *n = 0;
    const int file = kl__vfs_open_read(path);
    if (file < 0) {
        return kl__fail_errno(path, "be opened", file);
    }
    kl_status st;
    uint8_t *buf = NULL;
    const int64_t size = kl__vfs_size(file);
    if (limit && size > 0 && (uint64_t)size > limit) {
        st = kl__fail(KL_E_FORMAT, "%s: has %lld bytes, more than the %zu allowed", path,
                      (long long)size, limit);
        goto out;
    }
    size_t cap = size > 0 && (uint64_t)size < SIZE_MAX ? (size_t)size + 1 : CHUNK;
    buf = kl__alloc(cap);
    if (!buf) {
        st = kl__fail_in(KL_E_MEMORY, "%s", path);
        goto out;
    }
    st = read_all(path, file, limit, &buf, &cap, n);
    if (!st) {
        *data = buf;
        buf = NULL;
    }
out:
    kl__free(buf);
    kl__vfs_close(file);
    return st;
}

kl_status kl__file_write(const char *path, const void *data, size_t n)
{
    kl__writer *w = kl__writer_open(path);
    if (!w) {
        return kl__last_status();
    }
    const kl_status st = kl__writer_put(w, data, n);
    if (st) {
        kl__writer_drop(w);
        return st;
    }
    return kl__writer_commit(w);
}
