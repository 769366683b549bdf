/* Paths and folders. These ask the file system itself: the table of files has no such calls. */
#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/vfs.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool kl__path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool kl__path_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static kl_status make_dir(const char *path)
{
    /* Asked first as a folder that stands may be one in which we may not create (EROFS, EACCES);
     * asked again as another process may have made it in between. */
    if (kl__path_is_dir(path) || mkdir(path, 0777) == 0) {
        return KL_OK;
    }
    const int err = errno;
    return kl__path_is_dir(path) ? KL_OK : kl__fail_errno(path, "be made a folder", -err);
}

kl_status kl__make_dirs(const char *path)
{
    char *p = kl__strdup(path);
    if (!p) {
        return KL_E_MEMORY;
    }
    kl_status st = *p ? KL_OK : kl__fail(KL_E_ARG, "a folder needs a name, this one is empty");
    for (char *s = p; !st && *s; s++) {
        if (*s == '/' && s > p) {
            *s = '\0';
            st = make_dir(p);
            *s = '/';
        }
    }
    if (!st) {
        st = make_dir(p);
    }
    kl__free(p);
    return st;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static kl_status read_names(const char *path, DIR *dir, char ***names, size_t *n)
{
    size_t cap = 0;
    const struct dirent *e;
    while (errno = 0, (e = readdir(dir)) != NULL) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) {
            continue;
        }
        const kl_status st = kl__grow(names, &cap, *n + 1, sizeof **names);
        if (st) {
            return st;
        }
        (*names)[*n] = kl__strdup(e->d_name);
        if (!(*names)[*n]) {
            return KL_E_MEMORY;
        }
        ++*n;
    }
    return errno ? kl__fail_errno(path, "be listed", -errno) : KL_OK;
}

kl_status kl__list_dir(const char *path, char ***names, size_t *n)
{
    *names = NULL;
    *n = 0;
    DIR *dir = opendir(path);
    if (!dir) {
        return kl__fail_errno(path, "be listed", -errno);
    }
    const kl_status st = read_names(path, dir, names, n);
    closedir(dir);
    if (st) {
        for (size_t i = 0; i < *n; i++) {
            kl__free((*names)[i]);
        }
        kl__free(*names);
        *names = NULL;
        *n = 0;
    } else if (*n) {
        qsort(*names, *n, sizeof **names, by_bytes);
    }
    return st;
}

char *kl__cache_dir(void)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (xdg && *xdg == '/') { /* the standard says: a relative one is to be ignored */
        return kl__asprintf("%s/kiln", xdg);
    }
    return home && *home ? kl__asprintf("%s/.cache/kiln", home) : NULL;
}
