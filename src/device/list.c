/* Which devices there are, and which one a choice names. */
#include "base/mem.h"
#include "device/ctx.h"

#include <stdlib.h>
#include <string.h>

static kl_status add_platform(const kl__cl_table *cl, cl_platform_id platform, int p,
                              kl__found **out, size_t *n, size_t *cap)
{
    cl_uint count = 0;
    cl_device_id *ids = NULL;
    kl_status st = KL_OK;
    cl_int code = cl->clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, NULL, &count);
    if (code == CL_DEVICE_NOT_FOUND || (!code && !count))
        return KL_OK;
    if (!code) {
        ids = kl__calloc(count, sizeof *ids);
        if (!ids)
            return KL_E_MEMORY;
        code = cl->clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, count, ids, NULL);
    }
    if (code) {
        /* One broken driver must not hide the others; its sentence stands if nothing else is found.
         */
        kl__cl_fail(NULL, "clGetDeviceIDs", NULL, code);
        kl__log(KL_LOG_WARN, "platform %d: %s", p, kl_last_error());
        goto out;
    }
    if ((st = kl__grow(out, cap, *n + count, sizeof **out)))
        goto out;
    for (cl_uint i = 0; i < count; i++) {
        kl__found *f = &(*out)[(*n)++];
        *f = (kl__found){.platform = platform, .device = ids[i]};
        kl__caps_query(cl, platform, ids[i], &f->caps);
        f->caps.info.platform = p;
        f->caps.info.device = (int)i;
    }
out:
    kl__free(ids);
    return st;
}

kl_status kl__found_all(const kl__cl_table *cl, kl__found **out, size_t *n)
{
    size_t cap = 0;
    cl_uint count = 0;
    cl_platform_id *ids = NULL;
    *out = NULL;
    *n = 0;
    kl__fail(KL_OK, "the OpenCL loader found no driver");
    cl_int code = cl->clGetPlatformIDs(0, NULL, &count);
    if (code == CL_PLATFORM_NOT_FOUND_KHR || (!code && !count))
        return KL_OK;
    if (!code) {
        kl__fail(KL_OK, "no driver offers a device");
        ids = kl__calloc(count, sizeof *ids);
        if (!ids)
            return KL_E_MEMORY;
        code = cl->clGetPlatformIDs(count, ids, NULL);
    }
    kl_status st = KL_OK;
    if (code)
        st = kl__cl_fail(NULL, "clGetPlatformIDs", NULL, code);
    for (cl_uint p = 0; !st && p < count; p++)
        st = add_platform(cl, ids[p], (int)p, out, n, &cap);
    kl__free(ids);
    if (st) {
        kl__free(*out);
        *out = NULL;
        *n = 0;
    }
    return st;
}

static int better_first(const void *a, const void *b)
{
    const kl_device_info *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    if (x->platform != y->platform)
        return x->platform - y->platform;
    return x->device - y->device;
}

kl_status kl_device_list(kl_device_info *out, size_t cap, size_t *n)
{
    if (!n || (cap && !out))
        return kl__fail(KL_E_ARG, "kl_device_list: %s is NULL", n ? "out" : "n");
    *n = 0;
    const kl__cl_table *cl = kl__cl();
    if (!cl)
        return KL_E_NO_DEVICE;
    kl__found *found;
    size_t count;
    kl_status st = kl__found_all(cl, &found, &count);
    kl_device_info *all = st ? NULL : kl__calloc(count + 1, sizeof *all);
    if (all) {
        for (size_t i = 0; i < count; i++)
            all[i] = found[i].caps.info;
        qsort(all, count, sizeof *all, better_first);
        size_t m = count < cap ? count : cap;
        if (m)
            memcpy(out, all, m * sizeof *all);
        *n = count;
    } else if (!st) {
        st = KL_E_MEMORY;
    }
    kl__free(all);
    kl__free(found);
    return st;
}

/* ---- the choice syntax: auto, gpu, cpu, P:D, part of a name; what group.c makes of it is more
 * ----
 */

static void put_device(kl__text *t, const kl_device_info *d)
{
    kl__put(t, "%s%d:%d \"%s\" (%s)", t->len ? ", " : "", d->platform, d->device, d->name,
            d->platform_name);
    if (!d->usable)
        kl__put(t, " not usable: %s", d->why_not);
}

kl_status kl__no_match(const kl__found *list, size_t n, const char *choice)
{
    kl__text t = {0};
    for (size_t i = 0; i < n; i++)
        put_device(&t, &list[i].caps.info);
    kl__fail(KL_E_NO_DEVICE, "no usable device matches \"%.60s\"; there are: %s", choice,
             t.s ? t.s : "none");
    kl__text_free(&t);
    return KL_E_NO_DEVICE;
}

static bool matches(const kl_device_info *d, const char *part)
{
    return kl__contains_nocase(d->name, part) || kl__contains_nocase(d->vendor, part) ||
           kl__contains_nocase(d->platform_name, part);
}

static bool parse_pd(const char *s, int64_t *p, int64_t *d)
{
    char left[12];
    const char *colon = strchr(s, ':');
    if (!colon || colon == s || (size_t)(colon - s) >= sizeof left)
        return false;
    memcpy(left, s, (size_t)(colon - s));
    left[colon - s] = 0;
    return kl__parse_i64(left, p) && kl__parse_i64(colon + 1, d);
}

static kl_status choose_best(const kl__found *list, size_t n, const char *choice, size_t *pick)
{
    const char *type = strcmp(choice, "auto") ? choice : NULL;
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        const kl_device_info *d = &list[i].caps.info;
        if (d->usable && (!type || !strcmp(d->type, type)) &&
            (!found || d->score > list[*pick].caps.info.score)) {
            *pick = i;
            found = true;
        }
    }
    return found ? KL_OK : kl__no_match(list, n, choice);
}

static kl_status choose_place(const kl__found *list, size_t n, const char *choice, int64_t p,
                              int64_t d, size_t *pick)
{
    for (size_t i = 0; i < n; i++) {
        const kl_device_info *info = &list[i].caps.info;
        if (info->platform != p || info->device != d)
            continue;
        *pick = i;
        if (info->usable)
            return KL_OK;
        return kl__fail(KL_E_NO_DEVICE, "device %s \"%s\" is not usable: %s", choice, info->name,
                        info->why_not);
    }
    return kl__no_match(list, n, choice);
}

static kl_status choose_name(const kl__found *list, size_t n, const char *choice, size_t *pick)
{
    size_t n_match = 0, n_exact = 0, exact = 0;
    kl__text t = {0};
    for (size_t i = 0; i < n; i++) {
        const kl_device_info *d = &list[i].caps.info;
        if (!d->usable || !matches(d, choice))
            continue;
        n_match++;
        *pick = i;
        put_device(&t, d);
        if (!strcmp(d->name, choice)) {
            n_exact++;
            exact = i;
        }
    }
    kl_status st = KL_OK;
    if (n_exact == 1)
        *pick = exact;
    else if (!n_match)
        st = kl__no_match(list, n, choice);
    else if (n_match > 1)
        st = kl__fail(KL_E_NO_DEVICE, "\"%.60s\" matches %zu devices; say one as P:D: %s", choice,
                      n_match, t.s ? t.s : "");
    kl__text_free(&t);
    return st;
}

kl_status kl__choose(const kl__found *list, size_t n, const char *choice, size_t *pick)
{
    int64_t p, d;
    if (!choice || !*choice)
        choice = "auto";
    if (!strcmp(choice, "auto") || !strcmp(choice, "gpu") || !strcmp(choice, "cpu"))
        return choose_best(list, n, choice, pick);
    if (parse_pd(choice, &p, &d))
        return choose_place(list, n, choice, p, d, pick);
    return choose_name(list, n, choice, pick);
}
