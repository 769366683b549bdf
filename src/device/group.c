/* Groups and parts: the choice syntax from `choice/N:I` up to lists, and one context for each
 * device that a list names. */
#include "base/mem.h"
#include "device/ctx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- choice/N:I ---- */

/** One device of an enumeration, or a part of it. */
typedef struct pick {
    size_t device;
    int parts, part; /* parts 1: the whole; part -1: all of them */
} pick;

static bool all_digits(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] < '0' || s[i] > '9')
            return false;
    return n > 0 && n < 6;
}

/** Cuts "/N" or "/N:I" off, where it stands: names may hold slashes, too. */
static kl_status take_part(char *choice, pick *out)
{
    *out = (pick){0, 1, 0};
    char *slash = strrchr(choice, '/');
    if (!slash)
        return KL_OK;
    const char *n = slash + 1, *i = strchr(n, ':');
    if (!all_digits(n, i ? (size_t)(i - n) : strlen(n)) || (i && !all_digits(i + 1, strlen(i + 1))))
        return KL_OK;
    out->parts = atoi(n);
    out->part = i ? atoi(i + 1) : -1;
    if (out->parts < 1 || out->parts > KL_MAX_GROUP)
        return kl__fail(KL_E_ARG, "\"%.60s\": a device can be taken in 1 to %d equal parts", choice,
                        KL_MAX_GROUP);
    if (out->part >= out->parts)
        return kl__fail(KL_E_ARG, "\"%.60s\": the parts are numbered from 0 to %d", choice,
                        out->parts - 1);
    *slash = 0;
    return KL_OK;
}

/* ---- parts of a device ---- */

static bool splits(const kl__cl_table *cl, cl_device_id device)
{
    cl_device_partition_property ways[16] = {0};
    size_t bytes = 0;
    if (cl->clGetDeviceInfo(device, CL_DEVICE_PARTITION_PROPERTIES, sizeof ways, ways, &bytes))
        return false;
    for (size_t i = 0; i < bytes / sizeof *ways; i++)
        if (ways[i] == CL_DEVICE_PARTITION_EQUALLY)
            return true;
    return false;
}

static kl_status check_split(const kl__cl_table *cl, const kl__found *f, int parts)
{
    const kl_device_info *d = &f->caps.info;
    int units = d->compute_units;
    if (!splits(cl, f->device))
        return kl__fail(
            KL_E_UNSUPPORTED,
            "device %d:%d \"%s\" cannot be taken in parts: its driver (%s) does not split "
            "devices; take it as a whole",
            d->platform, d->device, d->name, d->platform_name);
    if (units % parts == 0)
        return KL_OK;
    int fits = parts < units ? parts : units;
    while (units % fits)
        fits--;
    return kl__fail(KL_E_ARG,
                    "device %d:%d \"%s\" has %d compute unit%s, which are not %d equal parts; %d "
                    "would do: %d:%d/%d",
                    d->platform, d->device, d->name, units, units == 1 ? "" : "s", parts, fits,
                    d->platform, d->device, fits);
}

/** What a part is called: the driver's name stays readable where both do not fit. */
static void name_part(kl__caps *c, int part, int parts)
{
    char tail[32];
    int n = snprintf(tail, sizeof tail, " (part %d of %d)", part, parts);
    snprintf(c->info.name, sizeof c->info.name, "%.*s%s", (int)sizeof c->info.name - 1 - n,
             c->own_name, tail);
}

/** The whole in *f becomes its part, which kl__found_release gives back. */
static kl_status take_sub_device(const kl__cl_table *cl, kl__found *f, int parts, int part)
{
    cl_device_id all[KL_MAX_GROUP] = {NULL};
    cl_uint n = 0;
    if (parts == 1)
        return KL_OK;
    kl_status st = check_split(cl, f, parts);
    if (st)
        return st;
    const kl_device_info whole = f->caps.info;
    const cl_device_partition_property way[] = {CL_DEVICE_PARTITION_EQUALLY,
                                                whole.compute_units / parts, 0};
    cl_int code = cl->clCreateSubDevices(f->device, way, (cl_uint)parts, all, &n);
    if (code)
        return kl__fail_in(kl__cl_fail(NULL, "clCreateSubDevices", NULL, code), "%s", whole.name);
    if (n != (cl_uint)parts)
        st = kl__fail(KL_E_DEVICE, "clCreateSubDevices: \"%s\" gave %u parts in place of %d",
                      whole.name, n, parts);
    for (cl_uint i = 0; i < n; i++)
        if (st || i != (cl_uint)part)
            cl->clReleaseDevice(all[i]);
    if (st)
        return st;
    f->device = all[part];
    f->owned = true;
    kl__caps_query(cl, f->platform, f->device, &f->caps);
    f->caps.info.platform = whole.platform;
    f->caps.info.device = whole.device;
    name_part(&f->caps, part, parts);
    if (!f->caps.info.usable) {
        st = kl__fail(KL_E_NO_DEVICE, "%s is not usable: %s", f->caps.info.name,
                      f->caps.info.why_not);
        kl__found_release(cl, f);
    }
    return st;
}

void kl__found_release(const kl__cl_table *cl, kl__found *f)
{
    if (f->owned)
        cl->clReleaseDevice(f->device);
    f->owned = false;
}

/* ---- one device ---- */

static kl_status found_any(const kl__cl_table *cl, kl__found **list, size_t *n)
{
    kl_status st = kl__found_all(cl, list, n);
    if (!st && !*n)
        st = kl__fail_in(KL_E_NO_DEVICE,
                         "no OpenCL device (for the CPU install pocl-opencl-icd; see `clinfo`)");
    return st;
}

kl_status kl__found_one(const kl__cl_table *cl, const char *choice, kl__found *out)
{
    kl__found *list = NULL;
    size_t n;
    pick p;
    char *base = kl__strdup(choice ? choice : "auto");
    if (!base)
        return KL_E_MEMORY;
    kl_status st = take_part(base, &p);
    if (!st && !strcmp(base, "all"))
        st = kl__fail(KL_E_ARG, "\"all\" names a group of devices, and one is wanted here");
    if (!st && p.part < 0)
        st = kl__fail(KL_E_ARG, "\"%.60s\" names %d parts, and one is wanted here: %.60s:0", choice,
                      p.parts, choice);
    if (!st)
        st = found_any(cl, &list, &n);
    if (!st)
        st = kl__choose(list, n, base, &p.device);
    if (!st) {
        *out = list[p.device];
        st = take_sub_device(cl, out, p.parts, p.part);
    }
    kl__free(list);
    kl__free(base);
    return st;
}

/* ---- lists ---- */

typedef struct picks {
    pick *p;
    size_t n, cap;
} picks;

static bool overlap(const pick *a, const pick *b)
{
    return a->device == b->device && a->part * b->parts < (b->part + 1) * a->parts &&
           b->part * a->parts < (a->part + 1) * b->parts;
}

static void pick_name(const kl__found *list, const pick *p, char out[48])
{
    const kl_device_info *d = &list[p->device].caps.info;
    int n = snprintf(out, 48, "%d:%d", d->platform, d->device);
    if (p->parts > 1)
        snprintf(out + n, 48 - (size_t)n, "/%d:%d", p->parts, p->part);
}

static kl_status add_pick(picks *all, const kl__found *list, pick p)
{
    char one[48], other[48];
    for (size_t i = 0; i < all->n; i++) {
        if (!overlap(&all->p[i], &p))
            continue;
        pick_name(list, &all->p[i], one);
        pick_name(list, &p, other);
        const char *name = list[p.device].caps.info.name;
        return strcmp(one, other) == 0
                   ? kl__fail(KL_E_ARG, "device %s \"%s\" is named twice", one, name)
                   : kl__fail(KL_E_ARG, "%s and %s share compute units of \"%s\"", one, other,
                              name);
    }
    kl_status st = kl__grow(&all->p, &all->cap, all->n + 1, sizeof *all->p);
    if (!st)
        all->p[all->n++] = p;
    return st;
}

static bool is_type(const kl_device_info *d, const char *type)
{
    return d->usable && (!type || !strcmp(d->type, type));
}

/** Every usable device of a type (NULL: any): of several drivers' CPU devices the best driver's,
 * since they are the same cores; what is a last resort only where there is nothing else. */
static kl_status add_all(picks *all, const kl__found *list, size_t n, const char *type)
{
    kl_status st = KL_OK;
    size_t best = n, before = all->n;
    bool better = false;
    for (size_t i = 0; i < n; i++)
        better = better || (is_type(&list[i].caps.info, type) && !list[i].caps.last_resort);
    for (size_t i = 0; i < n; i++) {
        const kl__caps *c = &list[i].caps;
        if (is_type(&c->info, type) && c->cpu && !(better && c->last_resort) &&
            (best == n || c->info.score > list[best].caps.info.score))
            best = i;
    }
    for (size_t i = 0; !st && i < n; i++) {
        const kl__caps *c = &list[i].caps;
        if (is_type(&c->info, type) && !(better && c->last_resort) &&
            (!c->cpu || c->info.platform == list[best].caps.info.platform))
            st = add_pick(all, list, (pick){i, 1, 0});
    }
    return !st && all->n == before ? kl__no_match(list, n, type ? type : "all") : st;
}

static kl_status add_entry(picks *all, const kl__found *list, size_t n, char *entry)
{
    pick p;
    while (*entry == ' ')
        entry++;
    for (size_t k = strlen(entry); k && entry[k - 1] == ' ';)
        entry[--k] = 0;
    if (!*entry)
        return kl__fail(KL_E_ARG, "the list of devices has an empty entry");
    if (!strcmp(entry, "all"))
        return add_all(all, list, n, NULL);
    if (!strcmp(entry, "gpu") || !strcmp(entry, "cpu"))
        return add_all(all, list, n, entry);
    kl_status st = take_part(entry, &p);
    if (!st && !strcmp(entry, "all"))
        st = kl__fail(KL_E_ARG, "\"all\" cannot be taken in parts; name the devices one by one");
    if (!st)
        st = kl__choose(list, n, entry, &p.device);
    if (!st && p.part >= 0)
        return add_pick(all, list, p);
    for (int i = 0; !st && i < p.parts; i++)
        st = add_pick(all, list, (pick){p.device, p.parts, i});
    return st;
}

static kl_status add_list(picks *all, const kl__found *list, size_t n, const char *choice)
{
    char *text = kl__strdup(choice && *choice ? choice : "auto");
    kl_status st = text ? KL_OK : KL_E_MEMORY;
    for (char *at = text, *next; !st && at; at = next) {
        next = strchr(at, ',');
        if (next)
            *next++ = 0;
        st = add_entry(all, list, n, at);
    }
    kl__free(text);
    return st;
}

static kl_status open_picks(const kl__cl_table *cl, const kl_ctx_opts *o, const kl__found *list,
                            const picks *all, kl_ctx **out)
{
    kl_status st = KL_OK;
    size_t n = 0;
    for (; !st && n < all->n; n++) {
        kl__found f = list[all->p[n].device];
        st = take_sub_device(cl, &f, all->p[n].parts, all->p[n].part);
        if (st)
            break;
        out[n] = kl__ctx_open(cl, &f, o);
        kl__found_release(cl, &f);
        if (!out[n]) {
            st = kl__last_status();
            break;
        }
    }
    while (st && n) {
        kl_ctx_destroy(out[--n]);
        out[n] = NULL;
    }
    return st;
}

kl_status kl_ctx_create_group(const kl_ctx_opts *opts, kl_ctx **out, size_t cap, size_t *n)
{
    static const kl_ctx_opts defaults;
    const kl_ctx_opts *o = opts ? opts : &defaults;
    kl__found *list = NULL;
    size_t n_list = 0;
    picks all = {0};
    if (!n || (cap && !out))
        return kl__fail(KL_E_ARG, "kl_ctx_create_group: %s is NULL", n ? "out" : "n");
    *n = 0;
    const kl__cl_table *cl = kl__cl();
    kl_status st = cl ? found_any(cl, &list, &n_list) : kl__last_status();
    if (!st)
        st = add_list(&all, list, n_list, kl__ctx_choice(o));
    if (!st) {
        *n = all.n;
        if (all.n > cap)
            st = kl__fail(KL_E_ARG, "the group has %zu devices, and there is room for %zu", all.n,
                          cap);
    }
    if (!st)
        st = open_picks(cl, o, list, &all, out);
    kl__free(all.p);
    kl__free(list);
    return st;
}
