/* From the name of a kernel file to one text: the file, and in place of each #include "..." the
 * included one. */
#include "device/source.h"

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

enum { MAX_DEPTH = 8, MAX_FILE = 4 << 20 };

/* *text points into what must be freed (*owned) or into the program. */
static kl_status load(const char *dir, const char *name, const char **text, uint8_t **owned)
{
    *owned = NULL;
    if (dir) {
        char *path = kl__asprintf("%s/%s", dir, name);
        if (!path)
            return KL_E_MEMORY;
        kl_status st = KL_OK;
        bool there = kl__path_exists(path);
        if (there) {
            size_t n;
            st = kl__file_read(path, MAX_FILE, owned, &n);
            *text = (const char *)*owned;
        }
        kl__free(path);
        if (there)
            return st;
    }
    for (size_t i = 0; i < kl__cl_n_files; i++)
        if (!strcmp(kl__cl_files[i].name, name)) {
            *text = (const char *)kl__cl_files[i].text;
            return KL_OK;
        }
    return kl__fail(KL_E_BUILD, "kernel file \"%s\" is not built in%s%s", name,
                    dir ? " and not in " : "", dir ? dir : "");
}

static const char *skip_blank(const char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    return s;
}

/* The name in `#include "name"`, of length *n; NULL where the line is something else. */
static const char *included(const char *line, size_t *n)
{
    line = skip_blank(line);
    if (*line != '#')
        return NULL;
    line = skip_blank(line + 1);
    if (!kl__starts(line, "include"))
        return NULL;
    line = skip_blank(line + strlen("include"));
    if (*line != '"')
        return NULL;
    *n = strcspn(line + 1, "\"\n");
    return line[1 + *n] == '"' ? line + 1 : NULL;
}

static kl_status expand(kl__text *out, const char *dir, const char *name, int depth)
{
    const char *text = NULL;
    uint8_t *owned;
    kl_status st = load(dir, name, &text, &owned);
    if (st)
        return st;
    kl__put(out, "#line 1 \"cl/%s\"\n", name);
    int line = 1;
    for (const char *s = text; *s && !st; line++) {
        const char *end = strchr(s, '\n');
        size_t len = end ? (size_t)(end - s) + 1 : strlen(s), n;
        const char *inc = included(s, &n);
        if (!inc) {
            kl__put_n(out, s, len);
            if (!end)
                kl__put(out, "\n");
        } else if (depth + 1 >= MAX_DEPTH) {
            st = kl__fail(KL_E_BUILD,
                          "cl/%s:%d: includes are nested %d deep; does a file include itself?",
                          name, line, MAX_DEPTH);
        } else {
            char *sub = kl__strndup(inc, n);
            st = sub ? expand(out, dir, sub, depth + 1) : KL_E_MEMORY;
            if (st && sub && depth + 1 < MAX_DEPTH && kl__last_status() == st)
                kl__fail_in(st, "cl/%s:%d", name, line);
            kl__free(sub);
            kl__put(out, "#line %d \"cl/%s\"\n", line + 1, name);
        }
        s += len;
    }
    kl__free(owned);
    return st;
}

char *kl__source_expand(const char *dir, const char *name)
{
    kl__text out = {0};
    kl_status st = expand(&out, dir, name, 0);
    if (!st && out.failed)
        kl__no_memory(out.len);
    if (st || out.failed) {
        kl__text_free(&out);
        return NULL;
    }
    return out.s;
}
