/* What the tests of the codecs share: a folder of their own, damage, and memory that runs out. */
#ifndef KL_TESTS_IO_SUPPORT_H
#define KL_TESTS_IO_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/mem.h"
#include "io/io.h"

/** PATH of `name` in this process's folder; static memory, valid for the next 63 calls. */
const char *at(const char *name);
/** The file `name` with these bytes; gives its path. */
const char *put_file(const char *name, const void *data, size_t n);
const char *put_gz(const char *name, const void *data, size_t n);
uint8_t *get_file(const char *path, size_t *n); /* kl__free it */
int folder_make(void **state);
int folder_remove(void **state);

/** Reads the file and lets go of what came; must assert that a failure left the outputs zeroed. */
typedef kl_status read_fn(const char *path);

/** The last sentence: has a reason, and the path where the file could be opened. */
void assert_sentence(const char *path);
/** Reading fails with this status and a sentence that has `part` in it. */
void assert_refused(read_fn *read, const char *path, kl_status status, const char *part);

/** The file cut at every 1/16, and with each of its first 256 bytes flipped in two ways: a cut one
 * must be refused, a flipped one may be read or refused; either way nothing else may happen. */
void assert_bears_damage(read_fn *read, const char *path);

/** Allocation 1, 2, 3, ... fails until reading succeeds; each time all memory came back. */
void assert_bears_no_memory(read_fn *read, const char *path);

/** Like assert_refused, and no more than `limit` bytes were asked for at once on the way. */
void assert_refused_cheaply(read_fn *read, const char *path, kl_status status, const char *part,
                            size_t limit);

#endif
