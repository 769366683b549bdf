#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

const char *rig_path(const char *name)
{
    static char paths[4][512];
    static int turn;
    char *p = paths[turn++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", folder, name);
    return p;
}

int rig_enter(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/kiln-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

/* Counts the entries of a folder, and removes them with all they hold when asked. */
static size_t visit(const char *path, bool clear)
{
    size_t n = 0;
    DIR *d = opendir(path);
    const struct dirent *e;
    while (d && (e = readdir(d)) != NULL) {
        char sub[512];
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) {
            continue;
        }
        n++;
        if (clear && snprintf(sub, sizeof sub, "%s/%s", path, e->d_name) < (int)sizeof sub) {
            if (unlink(sub)) {
                visit(sub, true);
                rmdir(sub);
            }
        }
    }
    if (d) {
        closedir(d);
    }
    return n;
}

int rig_leave(void **state)
{
    (void)state;
    rig_mem_off();
    rig_disk_off();
    visit(folder, true);
    return rmdir(folder);
}

size_t rig_entries(void)
{
    return visit(folder, false);
}

/* ---- memory -----------------------------------------------------------------------------------
 */

rig_mem rig_memory;

static bool mem_fails(void)
{
    return ++rig_memory.calls == rig_memory.fail_at;
}

static void *mem_alloc(void *user, size_t bytes)
{
    (void)user;
    void *p = mem_fails() ? NULL : malloc(bytes);
    rig_memory.alive += p != NULL;
    return p;
}

static void *mem_realloc(void *user, void *p, size_t bytes)
{
    (void)user;
    void *q = mem_fails() ? NULL : realloc(p, bytes);
    rig_memory.alive += q && !p;
    return q;
}

static void mem_free(void *user, void *p)
{
    (void)user;
    rig_memory.alive -= p != NULL;
    free(p);
}

void rig_mem_on(long fail_at)
{
    rig_memory = (rig_mem){0, 0, fail_at};
    kl_set_allocator(&(kl_allocator){mem_alloc, mem_realloc, mem_free, NULL});
}

void rig_mem_off(void)
{
    kl_set_allocator(NULL);
}

/* ---- files ------------------------------------------------------------------------------------
 */

rig_disk rig_files;

static bool disk_fails(char letter)
{
    rig_disk *d = &rig_files;
    if (d->calls < (long)sizeof d->trace - 1) {
        d->trace[d->calls] = letter;
    }
    d->calls++;
    return d->fail_at && (d->calls == d->fail_at || (d->forever && d->calls > d->fail_at));
}

static size_t portion(size_t n)
{
    return rig_files.most && rig_files.most < n ? rig_files.most : n;
}

static int opened(int fd)
{
    rig_files.open += fd >= 0;
    return fd >= 0 ? fd : -errno;
}

static int disk_open_read(void *user, const char *path)
{
    (void)user;
    return disk_fails('o') ? -rig_files.error : opened(open(path, O_RDONLY));
}

static int disk_open_write(void *user, const char *path)
{
    (void)user;
    return disk_fails('O') ? -rig_files.error
                           : opened(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666));
}

static int64_t disk_size(void *user, int file)
{
    (void)user;
    const int64_t n = lseek(file, 0, SEEK_END);
    lseek(file, 0, SEEK_SET);
    return disk_fails('z') ? -rig_files.error : n;
}

static int64_t disk_read(void *user, int file, void *dst, size_t n)
{
    (void)user;
    return disk_fails('r') ? -rig_files.error : read(file, dst, portion(n));
}

static int64_t disk_write(void *user, int file, const void *src, size_t n)
{
    (void)user;
    return disk_fails('w') ? -rig_files.error : write(file, src, portion(n));
}

static int disk_sync(void *user, int file)
{
    (void)user;
    (void)file;
    return disk_fails('s') ? -rig_files.error : 0;
}

/* As POSIX has it, a close that fails has closed. */
static int disk_close(void *user, int file)
{
    (void)user;
    rig_files.open--;
    close(file);
    return disk_fails('c') ? -rig_files.error : 0;
}

static int disk_rename(void *user, const char *from, const char *to)
{
    (void)user;
    return disk_fails('n') ? -rig_files.error : rename(from, to) ? -errno : 0;
}

/* Works even when all else fails for ever, as the tests ask whether it was called. */
static int disk_remove(void *user, const char *path)
{
    (void)user;
    disk_fails('x');
    return unlink(path) ? -errno : 0;
}

static int disk_sync_dir(void *user, const char *path)
{
    (void)user;
    return disk_fails('d') ? -rig_files.error : access(path, F_OK) ? -errno : 0;
}

void rig_disk_on(rig_disk how)
{
    rig_files = how;
    kl_set_files(&(kl_files){disk_open_read, disk_open_write, disk_size, disk_read, disk_write,
                             disk_sync, disk_close, disk_rename, disk_remove, disk_sync_dir, NULL});
}

void rig_disk_off(void)
{
    kl_set_files(NULL);
}
