/* The atomic writer: everything goes to a neighbour of the file, which takes its place by rename
 * once it is whole and on the disk. After a crash at any point the path holds the old file or the
 * new. */
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/vfs.h"

#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 16 };

struct kl__writer {
    char *path, *tmp, *dir;
    int file;  /* -1: closed */
    bool made; /* tmp exists */
    kl_status failed;
    size_t n;
    uint8_t buf[BUFFER];
};

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) {
        return kl__strdup(".");
    }
    return slash == path ? kl__strdup("/") : kl__strndup(path, (size_t)(slash - path));
}

/* PATH.tmp.PID.XXXXXXXX: the last part keeps two writers of one process apart. */
static char *tmp_name(const kl__writer *w, const char *path)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const uint64_t salt[3] = {(uint64_t)(uintptr_t)w, (uint64_t)now.tv_sec, (uint64_t)now.tv_nsec};
    return kl__asprintf("%s.tmp.%ld.%08x", path, (long)getpid(),
                        (unsigned)kl__hash64(salt, sizeof salt, 0));
}

kl__writer *kl__writer_open(const char *path)
{
    struct stat st;
    /* A rename would put a plain file in the place of a device or a pipe, /dev/null for one. */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        kl__fail(KL_E_IO, "%s: cannot be written: it is %s", path,
                 S_ISDIR(st.st_mode) ? "a folder" : "no regular file");
        return NULL;
    }
    kl__writer *w = kl__alloc(sizeof *w);
    if (!w) {
        return NULL;
    }
    memset(w, 0, offsetof(kl__writer, buf));
    w->file = -1;
    w->path = kl__strdup(path);
    w->tmp = tmp_name(w, path);
    w->dir = folder_of(path);
    if (!w->path || !w->tmp || !w->dir) {
        goto fail;
    }
    w->file = kl__vfs_open_write(w->tmp);
    if (w->file < 0) {
        kl__fail_errno(path, "be created", w->file);
        goto fail;
    }
    w->made = true;
    return w;
fail:
    kl__writer_drop(w);
    return NULL;
}

static kl_status flush(kl__writer *w)
{
    const int rc = kl__vfs_write(w->file, w->buf, w->n);
    w->n = 0;
    return rc ? (w->failed = kl__fail_errno(w->path, "be written", rc)) : KL_OK;
}

kl_status kl__writer_put(kl__writer *w, const void *data, size_t n)
{
    if (w->failed) {
        return kl__fail(w->failed, "%s: an earlier write failed", w->path);
    }
    if (n > BUFFER - w->n && flush(w)) {
        return w->failed;
    }
    if (n >= BUFFER) {
        const int rc = kl__vfs_write(w->file, data, n);
        return rc ? (w->failed = kl__fail_errno(w->path, "be written", rc)) : KL_OK;
    }
    if (n) {
        memcpy(w->buf + w->n, data, n);
        w->n += n;
    }
    return KL_OK;
}

static kl_status commit(kl__writer *w)
{
    int rc;
    if (w->failed) {
        return kl__fail(w->failed, "%s: an earlier write failed", w->path);
    }
    if (flush(w)) {
        return w->failed;
    }
    if ((rc = kl__vfs_sync(w->file)) < 0) {
        return kl__fail_errno(w->path, "be brought to the disk", rc);
    }
    rc = kl__vfs_close(w->file);
    w->file = -1;
    if (rc < 0) {
        return kl__fail_errno(w->path, "be closed", rc);
    }
    if ((rc = kl__vfs_rename(w->tmp, w->path)) < 0) {
        return kl__fail_errno(w->path, "be put in its place", rc);
    }
    w->made = false;
    if ((rc = kl__vfs_sync_dir(w->dir)) < 0) {
        return kl__fail_errno(w->path, "be made to last (its folder cannot be synced)", rc);
    }
    return KL_OK;
}

kl_status kl__writer_commit(kl__writer *w)
{
    const kl_status st = commit(w);
    kl__writer_drop(w);
    return st;
}

void kl__writer_drop(kl__writer *w)
{
    if (!w) {
        return;
    }
    if (w->file >= 0) {
        kl__vfs_close(w->file);
    }
    if (w->made) {
        kl__vfs_remove(w->tmp);
    }
    kl__free(w->path);
    kl__free(w->tmp);
    kl__free(w->dir);
    kl__free(w);
}
