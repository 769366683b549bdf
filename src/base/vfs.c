#include "base/vfs.h"

#include "base/clocale.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the POSIX calls --------------------------------------------------------------------------
 */

static int posix_open_read(void *user, const char *path)
{
    (void)user;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

static int posix_open_write(void *user, const char *path)
{
    (void)user;
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return fd >= 0 ? fd : -errno;
}

static int64_t posix_size(void *user, int file)
{
    (void)user;
    struct stat st;
    if (fstat(file, &st)) {
        return -errno;
    }
    return S_ISREG(st.st_mode) ? (int64_t)st.st_size : -ESPIPE;
}

static int64_t posix_read(void *user, int file, void *dst, size_t n)
{
    (void)user;
    const ssize_t got = read(file, dst, n);
    return got >= 0 ? got : -errno;
}

static int64_t posix_write(void *user, int file, const void *src, size_t n)
{
    (void)user;
    const ssize_t put = write(file, src, n);
    return put >= 0 ? put : -errno;
}

static int posix_sync(void *user, int file)
{
    (void)user;
    return fsync(file) ? -errno : 0;
}

static int posix_close(void *user, int file)
{
    (void)user;
    return close(file) ? -errno : 0;
}

static int posix_rename(void *user, const char *from, const char *to)
{
    (void)user;
    return rename(from, to) ? -errno : 0;
}

static int posix_remove(void *user, const char *path)
{
    (void)user;
    return unlink(path) ? -errno : 0;
}

static int posix_sync_dir(void *user, const char *path)
{
    (void)user;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == EACCES ? 0 : -errno; /* may write, may not list: nothing more can be done */
    }
    const int rc =
        fsync(fd) && errno != EINVAL ? -errno : 0; /* EINVAL: no such thing on this system */
    close(fd);
    return rc;
}

static const kl_files posix_files = {posix_open_read, posix_open_write, posix_size,  posix_read,
                                     posix_write,     posix_sync,       posix_close, posix_rename,
                                     posix_remove,    posix_sync_dir,   NULL};
static kl_files hook = {posix_open_read, posix_open_write, posix_size,  posix_read,
                        posix_write,     posix_sync,       posix_close, posix_rename,
                        posix_remove,    posix_sync_dir,   NULL};

void kl_set_files(const kl_files *files)
{
    hook = files ? *files : posix_files;
}

/* ---- calls through the table ------------------------------------------------------------------
 */

/* Interruptions are repeated, but not for ever: a table that always says EINTR is a failure too. */
enum { INTERRUPTIONS = 64 };

#define REPEATED(type, call)                                                                       \
    type rc = -EINTR;                                                                              \
    for (int k = 0; k < INTERRUPTIONS && rc == -EINTR; k++) {                                      \
        rc = (call);                                                                               \
    }

int kl__vfs_open_read(const char *path)
{
    REPEATED(int, hook.open_read(hook.user, path))
    return rc;
}

int kl__vfs_open_write(const char *path)
{
    REPEATED(int, hook.open_write(hook.user, path))
    return rc;
}

int64_t kl__vfs_size(int file)
{
    return hook.size(hook.user, file);
}

int64_t kl__vfs_read(int file, void *dst, size_t n)
{
    size_t done = 0;
    while (done < n) {
        REPEATED(int64_t, hook.read(hook.user, file, (char *)dst + done, n - done))
        if (rc < 0) {
            return rc;
        }
        if (rc == 0) {
            break;
        }
        if ((uint64_t)rc > n - done) {
            return -EIO;
        }
        done += (size_t)rc;
    }
    return (int64_t)done;
}

int kl__vfs_write(int file, const void *src, size_t n)
{
    size_t done = 0;
    while (done < n) {
        REPEATED(int64_t, hook.write(hook.user, file, (const char *)src + done, n - done))
        if (rc < 0) {
            return (int)rc;
        }
        if (rc == 0 || (uint64_t)rc > n - done) {
            return -EIO; /* no progress would be an endless loop */
        }
        done += (size_t)rc;
    }
    return 0;
}

int kl__vfs_sync(int file)
{
    REPEATED(int, hook.sync(hook.user, file))
    return rc;
}

int kl__vfs_close(int file)
{
    /* An interrupted close has closed all the same; to repeat it could hit another's file. */
    const int rc = hook.close(hook.user, file);
    return rc == -EINTR ? 0 : rc;
}

int kl__vfs_rename(const char *from, const char *to)
{
    REPEATED(int, hook.rename(hook.user, from, to))
    return rc;
}

int kl__vfs_remove(const char *path)
{
    return hook.remove(hook.user, path);
}

int kl__vfs_sync_dir(const char *path)
{
    REPEATED(int, hook.sync_dir(hook.user, path))
    return rc;
}

kl_status kl__fail_errno(const char *path, const char *what, int64_t err)
{
    char reason[128];
    const kl__clocale l = kl__clocale_enter();
    if (strerror_r((int)-err, reason, sizeof reason)) {
        snprintf(reason, sizeof reason, "error %d", (int)-err);
    }
    kl__clocale_leave(l);
    return kl__fail(KL_E_IO, "%s: cannot %s: %s", path, what, reason);
}
