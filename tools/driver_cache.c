/* PoCL offers no device where it cannot write its cache: in containers with no home, on read-only
 * disks. */
#include "driver_cache.h"
#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool names_pocl(const char *path)
{
    bool found = strstr(path, "pocl") != NULL;
    DIR *d = found ? NULL : opendir(path);
    for (struct dirent *e = d ? readdir(d) : NULL; e && !found; e = readdir(d)) {
        found = strstr(e->d_name, "pocl") != NULL;
    }
    if (d) {
        closedir(d);
    }
    return found;
}

static bool has_pocl(void)
{
    const char *icd = getenv("OCL_ICD_VENDORS");
    return names_pocl(icd && *icd ? icd : "/etc/OpenCL/vendors");
}

/* Could this folder be made, or written to? Nothing is made to find out. */
static bool can_write(const char *path)
{
    char *p = must_copy(path);
    struct stat st;
    while (stat(p, &st) != 0 && errno == ENOENT) {
        char *slash = strrchr(p, '/');
        if (!slash || slash == p) {
            strcpy(p, slash ? "/" : ".");
            break;
        }
        *slash = 0;
    }
    const bool ok = stat(p, &st) == 0 && S_ISDIR(st.st_mode) && access(p, W_OK | X_OK) == 0;
    free(p);
    return ok;
}

/* In the order in which PoCL looks. */
static char *pocl_cache(void)
{
    const char *own = getenv("POCL_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    if (own && *own) {
        return must_copy(own);
    }
    if (xdg && *xdg) {
        return must_print("%s/pocl/kcache", xdg);
    }
    return home && *home ? must_print("%s/.cache/pocl/kcache", home)
                         : must_copy("/tmp/pocl/kcache");
}

/* One folder a user, so that the second run finds what the first one compiled; never another
 * user's. */
static char *own_folder(void)
{
    struct stat st;
    const char *tmp = getenv("TMPDIR");
    tmp = tmp && *tmp && can_write(tmp) ? tmp : "/tmp";
    char *p = must_print("%s/kiln-pocl-%lu", tmp, (unsigned long)getuid());
    if (mkdir(p, 0700) != 0 && errno != EEXIST) {
        free(p);
        return NULL;
    }
    if (lstat(p, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == getuid()) {
        return p;
    }
    free(p);
    p = must_print("%s/kiln-pocl-XXXXXX", tmp);
    if (!mkdtemp(p)) {
        free(p);
        return NULL;
    }
    return p;
}

void prepare_driver_cache(void)
{
    if (!has_pocl()) {
        return;
    }
    char *cache = pocl_cache();
    char *instead = can_write(cache) ? NULL : own_folder();
    if (instead && setenv("POCL_CACHE_DIR", instead, 1) == 0) {
        note("PoCL's cache folder %s cannot be written; using %s (set POCL_CACHE_DIR to choose)",
             cache, instead);
    }
    free(instead);
    free(cache);
}
