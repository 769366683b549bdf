/* Opening a device, and `kiln devices`. */
#include "cli.h"
#include "driver_cache.h"
#include "json.h"
#include "term.h"

#include <stdlib.h>
#include <string.h>

static void on_compile(void *user, int done, const char *name)
{
    (void)user;
    progress_line("compiling kernels %d (%s), once per device", done + 1, name);
}

static kl_ctx_opts options_of(const char *device, uint32_t flags, const char *tuned)
{
    prepare_driver_cache();
    return (kl_ctx_opts){
        .device = device, .flags = flags, .tuned = tuned, .on_compile = on_compile};
}

static uint32_t flags_of(const args *a, uint32_t flags)
{
    return flags | (args_has(a, "no-tune") ? KL_CTX_NO_TUNE : 0u) |
           (args_has(a, "exact") ? KL_CTX_EXACT : 0u);
}

static kl_ctx *open_it(const char *device, uint32_t flags, const char *tuned, int *code)
{
    const kl_ctx_opts o = options_of(device, flags, tuned);
    kl_ctx *ctx = kl_ctx_create(&o);
    progress_clear();
    *code = ctx ? 0 : fail_status(KL_OK);
    return ctx;
}

kl_ctx *open_device_tuned(const args *a, uint32_t flags, const char *tuned, int *code)
{
    return open_it(args_text(a, "device"), flags_of(a, flags), tuned, code);
}

kl_ctx *open_device(const args *a, uint32_t flags, int *code)
{
    return open_device_tuned(a, flags, NULL, code);
}

kl_ctx *open_device_named(const char *device, uint32_t flags, int *code)
{
    return open_it(device, flags, NULL, code);
}

/* ---- groups ---------------------------------------------------------------------------------- */

int open_device_group(const args *a, uint32_t flags, const char *tuned, group *g)
{
    const kl_ctx_opts o = options_of(args_text(a, "device"), flags_of(a, flags), tuned);
    *g = (group){0};
    const kl_status s = kl_ctx_create_group(&o, g->ctx, KL_MAX_GROUP, &g->n);
    progress_clear();
    if (s) {
        *g = (group){0};
        return fail_status(s);
    }
    for (size_t i = 0; i < g->n; i++) {
        kl_ctx_info(g->ctx[i], &g->info[i]);
    }
    return 0;
}

void close_group(group *g)
{
    while (g->n > 0) {
        kl_ctx_destroy(g->ctx[--g->n]);
    }
}

const char *device_id(char out[32], const kl_device_info *d)
{
    int part, parts;
    const char *tail = strstr(d->name, " (part ");
    if (tail && sscanf(tail, " (part %d of %d)", &part, &parts) == 2) {
        snprintf(out, 32, "%d:%d/%d:%d", d->platform, d->device, parts, part);
    } else {
        snprintf(out, 32, "%d:%d", d->platform, d->device);
    }
    return out;
}

const char *device_label(char out[64], const kl_device_info *d)
{
    enum { MOST = 44 };
    const char *tail = strstr(d->name, " (part ");
    const int all = letters(d->name, MOST), part = tail ? (int)(tail - d->name) : all;
    int n = part < all ? part : all;
    n = n < 63 ? n : 63;
    while (n > 0 && d->name[n - 1] == ' ') {
        n--;
    }
    memcpy(out, d->name, (size_t)n);
    out[n] = 0;
    return out;
}

bool names_group(const char *device)
{
    const char *parts = device ? strrchr(device, '/') : NULL;
    return device && (strchr(device, ',') || !strcmp(device, "all") ||
                      (parts && parts[1] >= '0' && parts[1] <= '9' && !strchr(parts, ':')));
}

/* ---- kiln devices
 * -------------------------------------------------------------------------------------- */

static json_t *device_json(const kl_device_info *d)
{
    char id[32];
    snprintf(id, sizeof id, "%d:%d", d->platform, d->device);
    json_t *j = json_object();
    json_object_set_new(j, "id", json_string(id));
    json_object_set_new(j, "name", json_text(d->name));
    json_object_set_new(j, "vendor", json_text(d->vendor));
    json_object_set_new(j, "driver", json_text(d->driver));
    json_object_set_new(j, "platform", json_text(d->platform_name));
    json_object_set_new(j, "version", json_text(d->version));
    json_object_set_new(j, "type", json_text(d->type));
    json_object_set_new(j, "compute_units", json_integer(d->compute_units));
    json_object_set_new(j, "clock_mhz", json_integer(d->clock_mhz));
    json_object_set_new(j, "vector_width", json_integer(d->vector_width));
    json_object_set_new(j, "work_group_max", json_integer(d->work_group_max));
    json_object_set_new(j, "memory_bytes", json_integer((json_int_t)d->memory_bytes));
    json_object_set_new(j, "alloc_max_bytes", json_integer((json_int_t)d->alloc_max_bytes));
    json_object_set_new(j, "local_bytes", json_integer((json_int_t)d->local_bytes));
    json_object_set_new(j, "fp16", json_boolean(d->fp16));
    json_object_set_new(j, "fp64", json_boolean(d->fp64));
    json_object_set_new(j, "sub_groups", json_boolean(d->sub_groups));
    json_object_set_new(j, "usable", json_boolean(d->usable));
    json_object_set_new(j, "why_not", json_text(d->why_not));
    json_object_set_new(j, "score", json_number_or_null(d->score));
    return j;
}

static void print_devices(const kl_device_info *d, size_t n)
{
    table t;
    number memory;
    table_init(&t, "lllrrrlll");
    for (const char *const *h =
             (const char *const[]){"P:D", "device", "type", "units", "MHz", "memory", "fp64",
                                   "driver", "for training", NULL};
         *h; h++) {
        table_cell(&t, "%s", *h);
    }
    for (size_t i = 0; i < n; i++) {
        bytes_text(memory, (double)d[i].memory_bytes);
        table_cell(&t, "%d:%d", d[i].platform, d[i].device);
        table_cell(&t, "%s", d[i].name);
        table_cell(&t, "%s", d[i].type);
        table_cell(&t, "%d", d[i].compute_units);
        table_cell(&t, "%d", d[i].clock_mhz);
        table_cell(&t, "%s", memory);
        table_cell(&t, "%s", d[i].fp64 ? "yes" : "no");
        table_cell(&t, "%s, %s", d[i].platform_name, d[i].driver);
        table_cell(&t, "%s", !d[i].usable ? d[i].why_not : i == 0 ? "yes, chosen by auto" : "yes");
    }
    table_print(&t, stdout);
}

static int run_devices(args *a)
{
    kl_device_info *d = NULL;
    size_t n = 0;
    prepare_driver_cache();
    kl_status s = kl_device_list(NULL, 0, &n);
    if (s == KL_OK && n > 0) {
        d = must_alloc(n, sizeof *d);
        size_t cap = n;
        s = kl_device_list(d, cap, &n);
        n = n < cap ? n : cap;
    }
    int code = s ? fail_status(s) : 0;
    if (code == 0 && args_has(a, "json")) {
        json_t *list = json_array();
        for (size_t i = 0; i < n; i++) {
            json_array_append_new(list, device_json(&d[i]));
        }
        print_json(list);
    } else if (code == 0 && n > 0) {
        print_devices(d, n);
    }
    if (code == 0 && (n == 0 || !d[0].usable)) {
        code = fail(EXIT_NO_DEVICE, "%s; `kiln doctor` looks for the reason",
                    n ? "no device is usable" : "there is no OpenCL device");
    }
    free(d);
    return code;
}

static const option_def devices_options[] = {OPTION_JSON, OPTION_TALK, OPTION_HELP, {0}};
const command_def cmd_devices = {
    .name = "devices",
    .operands = "",
    .summary = "list the OpenCL devices, best first",
    .more = "P:D is what --device and KILN_DEVICE take; so is a part "
            "of a name, where only one device has it.\nP:D/2:0 and P:D/2:1 are "
            "the halves of its compute units (any number of equal "
            "parts).\nWhere a group is taken, A,B is a list, P:D/2 "
            "both halves, all every device, gpu and\ncpu every one of "
            "that kind.\n",
    .options = devices_options,
    .run = run_devices};
