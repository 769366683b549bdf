/* The doctor without OpenCL: the loader, the files that name drivers, permissions, caches,
 * environment. */
#define _DEFAULT_SOURCE
#include "device/doctor.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <dlfcn.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *env(const char *name)
{
    const char *s = getenv(name);
    return s && *s ? s : NULL;
}

/* ---- loader and drivers ---- */
static void open_loader(kl__doctor *d)
{
    kl__trying(d, "opening the OpenCL loader %s", d->library);
    void *lib = dlopen(d->library, RTLD_NOW | RTLD_LOCAL);
    if (lib) {
        kl__find(d, KL_FINDING_OK, NULL, "loader %s opens", d->library);
        if (d->isolate)
            return; /* this child ends; closing could run what drivers registered */
        dlclose(lib);
        return;
    }
    const char *why = dlerror();
    kl__find(d, KL_FINDING_BAD,
             env("KILN_OPENCL_LIB")
                 ? "unset KILN_OPENCL_LIB, or let it name a library that is there"
                 : "apt install ocl-icd-libopencl1 (other systems: ocl-icd, or "
                   "the Khronos ICD loader)",
             "no OpenCL loader: %s", why ? why : d->library);
}

static void open_driver(kl__doctor *d)
{
    kl__trying(d, "opening the driver %s", d->library);
    void *lib = dlopen(d->library, RTLD_NOW | RTLD_LOCAL);
    if (lib) {
        kl__find(d, KL_FINDING_OK, NULL, "driver %s opens", d->library);
        if (!d->isolate)
            dlclose(lib);
        return;
    }
    const char *why = dlerror();
    kl__find(
        d, KL_FINDING_BAD,
        "install the package that has this library again, or remove the .icd file that names it",
        "driver does not open: %s", why ? why : d->library);
}

static void try_driver(kl__doctor *d, const char *library)
{
    d->library = library;
    kl__doctor_stage(d, open_driver,
                     "remove the .icd file that names this driver, or update its package");
}

static void read_icd(kl__doctor *d, const char *path)
{
    uint8_t *text = NULL;
    size_t n = 0;
    if (kl__file_read(path, 1 << 16, &text, &n) != KL_OK) {
        kl__find(d, KL_FINDING_BAD, "make the file readable", "%s", kl_last_error());
        return;
    }
    char *line = (char *)text;
    line += strspn(line, " \t\r\n");
    line[strcspn(line, "\r\n")] = 0;
    for (size_t k = strlen(line); k && (line[k - 1] == ' ' || line[k - 1] == '\t'); k--)
        line[k - 1] = 0;
    if (*line) {
        kl__find(d, KL_FINDING_OK, NULL, "%s names %s", path, line);
        try_driver(d, line);
    } else {
        kl__find(d, KL_FINDING_BAD, "remove it, or install its driver's package again",
                 "%s is empty", path);
    }
    kl__free(text);
}

/** Every .icd file of a folder; how many. */
static size_t read_folder(kl__doctor *d, const char *dir, const char *why)
{
    char **names = NULL;
    size_t n = 0, icds = 0;
    if (!kl__path_is_dir(dir) || kl__list_dir(dir, &names, &n) != KL_OK) {
        kl__find(d, KL_FINDING_BAD, why, "there is no folder %s to name OpenCL drivers", dir);
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        char *path = kl__ends(names[i], ".icd") ? kl__asprintf("%s/%s", dir, names[i]) : NULL;
        if (path) {
            icds++;
            read_icd(d, path);
        }
        kl__free(path);
        kl__free(names[i]);
    }
    kl__free(names);
    if (!icds)
        kl__find(d, KL_FINDING_BAD, why, "%s has no .icd file: no driver is installed", dir);
    return icds;
}

/** OCL_ICD_FILENAMES: libraries apart by colons, beside those that files name. */
static void read_filenames(kl__doctor *d, const char *list)
{
    while (*list) {
        size_t n = strcspn(list, ":");
        char *one = n ? kl__strndup(list, n) : NULL;
        if (one)
            try_driver(d, one);
        kl__free(one);
        list += n + (list[n] == ':');
    }
}

void kl__doctor_drivers(kl__doctor *d)
{
    static const char install[] =
        "install the driver of your GPU (apt: intel-opencl-icd, nvidia-opencl-icd, "
        "rocm-opencl-icd, mesa-opencl-icd), or for the CPU: apt install pocl-opencl-icd";
    const char *vendors = env("OCL_ICD_VENDORS"), *path = env("OPENCL_VENDOR_PATH");
    d->library = env("KILN_OPENCL_LIB") ? env("KILN_OPENCL_LIB") : "libOpenCL.so.1";
    kl__doctor_stage(d, open_loader, "install the loader's package again");
    if (vendors && kl__ends(vendors, ".icd"))
        read_icd(d, vendors);
    else if (vendors && !kl__path_is_dir(vendors) && kl__path_exists(vendors))
        try_driver(d, vendors);
    else if (vendors)
        read_folder(d, vendors, "unset OCL_ICD_VENDORS, or let it name a folder with .icd files");
    else if (path)
        read_folder(d, path, "unset OPENCL_VENDOR_PATH, or let it name a folder with .icd files");
    else
        read_folder(d, "/etc/OpenCL/vendors", install);
    if (env("OCL_ICD_FILENAMES"))
        read_filenames(d, env("OCL_ICD_FILENAMES"));
}

/* ---- permissions ---- */
static void check_node(kl__doctor *d, const char *path)
{
    struct stat st;
    char fix[240];
    if (stat(path, &st) != 0)
        return;
    if (access(path, R_OK | W_OK) == 0) {
        kl__find(d, KL_FINDING_OK, NULL, "%s can be read and written", path);
        return;
    }
    const struct group *g = getgrgid(st.st_gid);
    snprintf(fix, sizeof fix, "sudo usermod -aG render,video $USER, then log in again%s%s%s",
             g ? " (the node belongs to group " : "", g ? g->gr_name : "", g ? ")" : "");
    kl__find(d, KL_FINDING_BAD, fix,
             "%s is there, but this user may not use it: its GPU stays hidden", path);
}

typedef struct maker {
    const char *id, *name, *fix;
} maker;

/** A GPU on the bus without a device in OpenCL. */
static void check_card(kl__doctor *d, const char *card)
{
    static const maker makers[] = {
        {"0x1002", "AMD",
         "apt install rocm-opencl-icd, or mesa-opencl-icd with RUSTICL_ENABLE=radeonsi"},
        {"0x8086", "Intel", "apt install intel-opencl-icd"},
        {"0x10de", "NVIDIA",
         "install NVIDIA's driver with its OpenCL library (apt: nvidia-opencl-icd)"},
    };
    uint8_t *id = NULL;
    size_t n;
    char *path = kl__asprintf("/sys/class/drm/%s/device/vendor", card);
    bool gpu = false;
    for (int i = 0; i < d->n_devices; i++)
        gpu |= !strcmp(d->device[i].type, "gpu");
    if (path && !gpu && kl__path_exists(path) && kl__file_read(path, 64, &id, &n) == KL_OK)
        for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)
            if (kl__starts((const char *)id, makers[i].id))
                kl__find(d, KL_FINDING_NOTE, makers[i].fix,
                         "%s is a GPU of %s, but OpenCL has no GPU", card, makers[i].name);
    kl__free(id);
    kl__free(path);
}

/** Calls `check` with each name of a folder that starts with `prefix` and has no '-' (connectors of
 * a card do). */
static size_t each(kl__doctor *d, const char *dir, const char *prefix, bool full,
                   void (*check)(kl__doctor *, const char *))
{
    char **names = NULL;
    size_t n = 0, hits = 0;
    if (!kl__path_is_dir(dir) || kl__list_dir(dir, &names, &n) != KL_OK)
        return 0;
    for (size_t i = 0; i < n; i++) {
        char *path = kl__asprintf("%s/%s", dir, names[i]);
        if (path && kl__starts(names[i], prefix) && !strchr(names[i], '-')) {
            hits++;
            check(d, full ? path : names[i]);
        }
        kl__free(path);
        kl__free(names[i]);
    }
    kl__free(names);
    return hits;
}

void kl__doctor_permissions(kl__doctor *d)
{
    size_t nodes = each(d, "/dev/dri", "renderD", true, check_node);
    check_node(d, "/dev/kfd");
    each(d, "/sys/class/drm", "card", false, check_card);
    if (!nodes)
        kl__find(d, KL_FINDING_OK, NULL,
                 "no render node under /dev/dri: no GPU of AMD or Intel is visible to this system");
}

/* ---- caches ---- */
bool kl__can_write_dir(const char *path)
{
    char *p = kl__strdup(path);
    bool ok = false;
    while (p && *p) {
        if (kl__path_exists(p)) {
            ok = kl__path_is_dir(p) && access(p, W_OK | X_OK) == 0;
            break;
        }
        char *slash = strrchr(p, '/');
        if (!slash) {
            ok = access(".", W_OK | X_OK) == 0;
            break;
        }
        slash[slash == p] = 0; /* "/x" becomes "/" */
    }
    kl__free(p);
    return ok;
}

char *kl__pocl_cache_dir(void)
{
    if (env("POCL_CACHE_DIR"))
        return kl__strdup(env("POCL_CACHE_DIR"));
    if (env("XDG_CACHE_HOME"))
        return kl__asprintf("%s/pocl/kcache", env("XDG_CACHE_HOME"));
    return env("HOME") ? kl__asprintf("%s/.cache/pocl/kcache", env("HOME"))
                       : kl__strdup("/tmp/pocl/kcache");
}

void kl__doctor_caches(kl__doctor *d)
{
    const char *own = getenv("KILN_CACHE_DIR");
    char *dir = own ? kl__strdup(own) : kl__cache_dir();
    if (!dir || !*dir)
        kl__find(d, KL_FINDING_NOTE, "set KILN_CACHE_DIR to a folder that can be written",
                 "compiled kernels are not kept: %s",
                 own ? "KILN_CACHE_DIR is empty" : "neither HOME nor XDG_CACHE_HOME is set");
    else if (kl__can_write_dir(dir))
        kl__find(d, KL_FINDING_OK, NULL, "cache of compiled kernels %s can be written", dir);
    else
        kl__find(d, KL_FINDING_NOTE, "set KILN_CACHE_DIR to a folder that can be written",
                 "cache of compiled kernels %s cannot be written: each start compiles anew", dir);
    kl__free(dir);
}

/* ---- environment ---- */
void kl__doctor_environment(kl__doctor *d)
{
    static const struct {
        const char *name, *fix; /* fix: what to do where a device is missing; NULL: harmless */
    } known[] = {
        {"OCL_ICD_VENDORS", "unset it where a driver is missing"},
        {"OPENCL_VENDOR_PATH", "unset it where a driver is missing"},
        {"OCL_ICD_FILENAMES", NULL},
        {"OPENCL_LAYERS", "unset it: layers between program and driver can change what both do"},
        {"POCL_DEVICES", "unset it where a device is missing"},
        {"POCL_MEMORY_LIMIT", "unset it where memory runs out: gigabytes of the CPU device"},
        {"POCL_MAX_PTHREAD_COUNT", "unset it for all cores"},
        {"POCL_CACHE_DIR", NULL},
        {"POCL_AFFINITY", NULL},
        {"RUSTICL_ENABLE", NULL},
        {"RUSTICL_FEATURES", NULL},
        {"GPU_DEVICE_ORDINAL", "unset it where a GPU is missing"},
        {"ROCR_VISIBLE_DEVICES", "unset it where a GPU is missing"},
        {"CUDA_VISIBLE_DEVICES", "unset it where a GPU is missing"},
        {"ONEAPI_DEVICE_SELECTOR", NULL},
        {"ZE_AFFINITY_MASK", "unset it where a GPU is missing"},
        {"KILN_DEVICE", NULL},
        {"KILN_OPENCL_LIB", NULL},
        {"KILN_CACHE_DIR", NULL},
        {"KILN_CL_DIR", "unset it: kernels from a folder stand in for those that were tested"},
        {"KILN_VARIANT", "unset it: it forces slower ways to compute"},
        {"KILN_VECTOR", "unset it: the device knows its width"},
        {"KILN_SYNC", "unset it: each op is waited for"},
        {"KILN_DEBUG_BUFFERS", "unset it: each op is checked"},
        {"KILN_EXACT", "unset it: convolutions are slower without Winograd"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *v = getenv(known[i].name);
        if (v)
            kl__find(d, known[i].fix ? KL_FINDING_NOTE : KL_FINDING_OK, known[i].fix,
                     "environment: %s=%s", known[i].name, v);
    }
}
