/* Kernel sources: embedded at build time, overridable from a folder, #include "..." expanded with
 * #line marks. */
#ifndef KL_DEVICE_SOURCE_H
#define KL_DEVICE_SOURCE_H

#include <stddef.h>

typedef struct kl__cl_file {
    const char *name;
    const unsigned char *text;
    size_t len;
} kl__cl_file;
extern const kl__cl_file kl__cl_files[];
extern const size_t kl__cl_n_files;

/** One NUL-terminated text of `name` and what it includes. dir: NULL or files there win. kl__free
 * it. NULL: error set. */
char *kl__source_expand(const char *dir, const char *name);

#endif
