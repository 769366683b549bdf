#include "base/mem.h"

#include "base/clocale.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static void *libc_alloc(void *user, size_t bytes)
{
    (void)user;
    return malloc(bytes);
}

static void *libc_realloc(void *user, void *p, size_t bytes)
{
    (void)user;
    return realloc(p, bytes);
}

static void libc_free(void *user, void *p)
{
    (void)user;
    free(p);
}

static const kl_allocator libc_allocator = {libc_alloc, libc_realloc, libc_free, NULL};
static kl_allocator hook = {libc_alloc, libc_realloc, libc_free, NULL};

void kl_set_allocator(const kl_allocator *allocator)
{
    hook = allocator ? *allocator : libc_allocator;
}

void *kl__alloc(size_t bytes)
{
    /* Above PTRDIFF_MAX no object can be; asking would only make sanitizers and hooks stumble. */
    void *p = bytes <= PTRDIFF_MAX ? hook.alloc(hook.user, bytes ? bytes : 1) : NULL;
    if (!p) {
        kl__no_memory(bytes);
    }
    return p;
}

static bool product(size_t n, size_t size, size_t *bytes)
{
    if (kl__mul(n, size, bytes)) {
        return true;
    }
    kl__fail(KL_E_MEMORY, "out of host memory: %zu items of %zu bytes were asked for", n, size);
    return false;
}

void *kl__calloc(size_t n, size_t size)
{
    size_t bytes;
    void *p = product(n, size, &bytes) ? kl__alloc(bytes) : NULL;
    return p ? memset(p, 0, bytes) : NULL;
}

void *kl__realloc(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (!product(n, size, &bytes)) {
        return NULL;
    }
    void *q = bytes <= PTRDIFF_MAX ? hook.realloc(hook.user, p, bytes ? bytes : 1) : NULL;
    if (!q) {
        kl__no_memory(bytes);
    }
    return q;
}

void kl__free(void *p)
{
    if (p) {
        hook.free(hook.user, p);
    }
}

char *kl__strndup(const char *s, size_t n)
{
    size_t len = 0;
    while (len < n && s[len]) {
        len++;
    }
    char *copy = kl__alloc(len + 1);
    if (copy) {
        memcpy(copy, s, len);
        copy[len] = '\0';
    }
    return copy;
}

char *kl__strdup(const char *s)
{
    return kl__strndup(s, strlen(s));
}

char *kl__asprintf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const int n = kl__vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        kl__fail(KL_E_ARG, "a text could not be formatted by \"%s\"", fmt);
        return NULL;
    }
    char *s = kl__alloc((size_t)n + 1);
    if (s) {
        va_start(ap, fmt);
        kl__vsnprintf(s, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    return s;
}

kl_status kl__grow(void *p_to_pointer, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap) {
        return KL_OK;
    }
    size_t room = *cap > SIZE_MAX / 2 ? need : *cap * 2;
    if (room < need) {
        room = need;
    }
    if (room < 8) {
        room = 8;
    }
    void *p;
    memcpy(&p, p_to_pointer, sizeof p);
    void *q = kl__realloc(p, room, size);
    if (!q) {
        return KL_E_MEMORY;
    }
    memcpy(p_to_pointer, &q, sizeof q);
    *cap = room;
    return KL_OK;
}

bool kl__mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool kl__add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

bool kl__mul64(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
