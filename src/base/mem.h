/* Host memory through the allocator hook, and size arithmetic that cannot wrap. */
#ifndef KL_BASE_MEM_H
#define KL_BASE_MEM_H

#include <kiln/base.h>

/** Uninitialised memory; 0 bytes give a valid pointer. NULL sets the error sentence. Free with
 * kl__free. */
void *kl__alloc(size_t bytes);
/** n * size zeroed bytes, overflow checked. */
void *kl__calloc(size_t n, size_t size);
/** On failure p stays valid and NULL comes back. */
void *kl__realloc(void *p, size_t n, size_t size);
void kl__free(void *p);
char *kl__strdup(const char *s);
char *kl__strndup(const char *s, size_t n);
/** printf into fresh memory. */
char *kl__asprintf(const char *fmt, ...) KL_PRINTF(1, 2);

/** Grows `*p` (elements of `size` bytes) so that it holds at least `need`; `*cap` in elements. */
kl_status kl__grow(void *p_to_pointer, size_t *cap, size_t need, size_t size);

/** false when the result does not fit. */
bool kl__mul(size_t a, size_t b, size_t *out);
bool kl__add(size_t a, size_t b, size_t *out);
bool kl__mul64(int64_t a, int64_t b, int64_t *out);

#endif
