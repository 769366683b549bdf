/* Capabilities of a device: asked once, corrected by quirks.c, constant from then on. */
#include "base/file.h"
#include "base/mem.h"
#include "device/ctx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct asker {
    const kl__cl_table *cl;
    cl_device_id device;
    cl_int code; /* of the first query that failed */
} asker;

static void ask(asker *a, cl_device_info what, void *dst, size_t bytes)
{
    memset(dst, 0, bytes);
    cl_int code = a->cl->clGetDeviceInfo(a->device, what, bytes, dst, NULL);
    if (code && !a->code)
        a->code = code;
}

static cl_uint ask_uint(asker *a, cl_device_info what)
{
    cl_uint v;
    ask(a, what, &v, sizeof v);
    return v;
}

static uint64_t ask_ulong(asker *a, cl_device_info what)
{
    cl_ulong v;
    ask(a, what, &v, sizeof v);
    return v;
}

static size_t ask_size(asker *a, cl_device_info what)
{
    size_t v;
    ask(a, what, &v, sizeof v);
    return v;
}

static bool ask_bool(asker *a, cl_device_info what)
{
    cl_bool v;
    ask(a, what, &v, sizeof v);
    return v != CL_FALSE;
}

/* Strings longer than dst would fail as a whole, so they are read whole and cut. */
static void ask_text(asker *a, cl_device_info what, char *dst, size_t cap)
{
    char whole[1024] = "";
    ask(a, what, whole, sizeof whole - 1);
    const char *s = whole;
    while (*s == ' ')
        s++;
    snprintf(dst, cap, "%s", s);
}

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *s = list; (s = strstr(s, word)); s += n)
        if ((s == list || s[-1] == ' ') && (s[n] == ' ' || !s[n]))
            return true;
    return false;
}

static void ask_extensions(asker *a, kl__caps *c)
{
    size_t n = 0;
    cl_int code = a->cl->clGetDeviceInfo(a->device, CL_DEVICE_EXTENSIONS, 0, NULL, &n);
    char *list = code ? NULL : kl__calloc(n + 1, 1);
    if (list && n)
        code = a->cl->clGetDeviceInfo(a->device, CL_DEVICE_EXTENSIONS, n, list, NULL);
    if (!code && !list)
        code = CL_OUT_OF_HOST_MEMORY;
    if (code && !a->code)
        a->code = code;
    if (!code) {
        c->fp16 = has_word(list, "cl_khr_fp16");
        c->fp64 = has_word(list, "cl_khr_fp64");
        c->sub_groups = has_word(list, "cl_khr_subgroups") || has_word(list, "cl_intel_subgroups");
    }
    kl__free(list);
}

/* "OpenCL 3.0 ..." and "OpenCL C 1.2 ..." give 300 and 120; 0 for anything else. */
static int version_of(const char *s)
{
    int major = 0, minor = 0;
    if (sscanf(s, "OpenCL C %d.%d", &major, &minor) == 2 ||
        sscanf(s, "OpenCL %d.%d", &major, &minor) == 2)
        return major * 100 + minor * 10;
    return 0;
}

/** Plain stdio: /sys tells about the machine, it is no file of the user's, and a guess that hung on
 * an allocation would change blockings without a word. */
static bool first_line(const char *path, char *dst, size_t cap)
{
    FILE *f = fopen(path, "r");
    bool ok = f && fgets(dst, (int)cap, f);
    if (f)
        fclose(f);
    if (ok)
        dst[strcspn(dst, "\n")] = 0;
    return ok;
}

/* Caches of one core, as the kernel lists them; what is not listed keeps its guess. */
static void host_caches(kl__caps *c)
{
    for (int i = 0; i < 8; i++) {
        char path[96], level[16], type[32], size[32];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
        if (!kl__path_exists(path) || !first_line(path, level, sizeof level))
            return;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", i);
        if (!first_line(path, type, sizeof type) || !strcmp(type, "Instruction"))
            continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        if (!first_line(path, size, sizeof size))
            continue;
        char *end;
        size_t bytes = strtoul(size, &end, 10);
        bytes *= *end == 'K' ? 1024u : *end == 'M' ? 1024u * 1024u : 1u;
        if (bytes && !strcmp(level, "1"))
            c->l1_bytes = bytes;
        else if (bytes && !strcmp(level, "2"))
            c->l2_bytes = bytes;
    }
}

static void ask_identity(asker *a, cl_platform_id platform, kl__caps *c, cl_device_type *type)
{
    kl_device_info *d = &c->info;
    ask(a, CL_DEVICE_TYPE, type, sizeof *type);
    ask_text(a, CL_DEVICE_NAME, d->name, sizeof d->name);
    memcpy(c->own_name, d->name, sizeof c->own_name);
    ask_text(a, CL_DEVICE_VENDOR, d->vendor, sizeof d->vendor);
    ask_text(a, CL_DRIVER_VERSION, d->driver, sizeof d->driver);
    ask_text(a, CL_DEVICE_VERSION, d->version, sizeof d->version);
    char name[512] = "";
    if (a->cl->clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof name - 1, name, NULL))
        snprintf(name, sizeof name, "unnamed platform");
    snprintf(d->platform_name, sizeof d->platform_name, "%.*s", (int)sizeof d->platform_name - 1,
             name);
    const char *t = *type & CL_DEVICE_TYPE_GPU   ? "gpu"
                    : *type & CL_DEVICE_TYPE_CPU ? "cpu"
                                                 : "accelerator";
    snprintf(d->type, sizeof d->type, "%s", t);
}

static void ask_limits(asker *a, kl__caps *c)
{
    c->compute_units = (int)ask_uint(a, CL_DEVICE_MAX_COMPUTE_UNITS);
    c->max_group = ask_size(a, CL_DEVICE_MAX_WORK_GROUP_SIZE);
    size_t items[16];
    ask(a, CL_DEVICE_MAX_WORK_ITEM_SIZES, items, sizeof items);
    memcpy(c->max_item, items, sizeof c->max_item);
    c->max_alloc = ask_ulong(a, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
    c->global_bytes = ask_ulong(a, CL_DEVICE_GLOBAL_MEM_SIZE);
    c->local_bytes = ask_ulong(a, CL_DEVICE_LOCAL_MEM_SIZE);
    c->cache_bytes = ask_ulong(a, CL_DEVICE_GLOBAL_MEM_CACHE_SIZE);
    c->constant_bytes = ask_ulong(a, CL_DEVICE_MAX_CONSTANT_BUFFER_SIZE);
    c->align_bytes = ask_uint(a, CL_DEVICE_MEM_BASE_ADDR_ALIGN) / 8;
    if (c->align_bytes < 64)
        c->align_bytes = 64; /* a cache line, and the widest vector */
    cl_command_queue_properties q;
    ask(a, CL_DEVICE_QUEUE_PROPERTIES, &q, sizeof q);
    c->out_of_order = (q & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) != 0;
    c->host_memory = ask_bool(a, CL_DEVICE_HOST_UNIFIED_MEMORY);
}

static void judge(asker *a, kl__caps *c)
{
    kl_device_info *d = &c->info;
    bool compiler = ask_bool(a, CL_DEVICE_COMPILER_AVAILABLE);
    bool little = ask_bool(a, CL_DEVICE_ENDIAN_LITTLE);
    bool available = ask_bool(a, CL_DEVICE_AVAILABLE);
    const char *why = NULL;
    char text[sizeof d->why_not];
    if (a->code) {
        snprintf(text, sizeof text, "clGetDeviceInfo: %s (%d)", kl__cl_code_name(a->code), a->code);
        why = text;
    } else if (version_of(d->version) < 120) {
        snprintf(text, sizeof text, "%.50s, and 1.2 is needed", d->version);
        why = text;
    } else if (!compiler) {
        why = "its driver has no compiler";
    } else if (!little) {
        why = "big-endian";
    } else if (!available) {
        why = "the driver says that it is not available";
    }
    d->usable = !why;
    if (why)
        snprintf(d->why_not, sizeof d->why_not, "%s", why);
}

static void derive(kl__caps *c, int width)
{
    kl_device_info *d = &c->info;
    c->solo = c->cpu && width >= 4;
    c->vector = !c->solo ? 1 : width >= 16 ? 16 : width >= 8 ? 8 : 4;
    c->l1_bytes = 32 * 1024;
    c->l2_bytes = 256 * 1024;
    c->item_floats = c->cpu ? 128 : 64; /* a guess that every GPU meets; quirks.c knows more */
    if (c->cpu)
        host_caches(c);
    snprintf(c->std_option, sizeof c->std_option, "-cl-std=CL1.2");
    d->compute_units = c->compute_units;
    d->vector_width = width;
    d->work_group_max = (int)c->max_group;
    d->memory_bytes = c->global_bytes;
    d->alloc_max_bytes = c->max_alloc;
    d->local_bytes = c->local_bytes;
    d->fp16 = c->fp16;
    d->fp64 = c->fp64;
    d->sub_groups = c->sub_groups;
}

void kl__caps_query(const kl__cl_table *cl, cl_platform_id platform, cl_device_id device,
                    kl__caps *c)
{
    asker a = {cl, device, 0};
    cl_device_type type = 0;
    memset(c, 0, sizeof *c);
    ask_identity(&a, platform, c, &type);
    c->cpu = (type & CL_DEVICE_TYPE_CPU) != 0;
    c->info.clock_mhz = (int)ask_uint(&a, CL_DEVICE_MAX_CLOCK_FREQUENCY);
    ask_limits(&a, c);
    ask_extensions(&a, c);
    char cversion[64];
    ask_text(&a, CL_DEVICE_OPENCL_C_VERSION, cversion, sizeof cversion);
    c->cl_version = version_of(cversion);
    int width = (int)ask_uint(&a, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT);
    judge(&a, c);
    derive(c, width);
    kl__quirks_apply(c);
}

kl_status kl__caps_override(kl__caps *c)
{
    const char *s = getenv("KILN_VECTOR");
    if (!s || !*s)
        return KL_OK;
    int64_t v;
    if (!kl__parse_i64(s, &v) || (v != 1 && v != 4 && v != 8 && v != 16))
        return kl__fail(KL_E_ARG, "KILN_VECTOR is \"%.40s\": it can be 16, 8, 4 or 1", s);
    c->solo = v > 1;
    c->vector = (int)v;
    return KL_OK;
}
