/* Files through the table of hooks. */
#ifndef KL_BASE_FILE_H
#define KL_BASE_FILE_H

#include <kiln/base.h>

/** Whole file into fresh memory with a NUL after it (not counted). At most `limit` bytes (0: no
 * limit). Errors name the path and the reason. Caller frees with kl__free. */
kl_status kl__file_read(const char *path, size_t limit, uint8_t **data, size_t *n);

/** Buffered reader for files larger than memory wants; .gz is inflated when the magic bytes say so.
 */
typedef struct kl__reader kl__reader;
kl__reader *kl__reader_open(const char *path);
/** Exactly n bytes, or KL_E_FORMAT "PATH: ends after ... bytes". */
kl_status kl__reader_exact(kl__reader *r, void *dst, size_t n);
/** Up to n bytes; *got < n only at the end. */
kl_status kl__reader_some(kl__reader *r, void *dst, size_t n, size_t *got);
/** A line without its newline (CR too) into *line (reader's memory, until the next call); false at
 * the end. */
kl_status kl__reader_line(kl__reader *r, char **line, bool *more);
uint64_t kl__reader_at(const kl__reader *r); /* bytes given so far (inflated) */
void kl__reader_close(kl__reader *r);

/** A writer whose file appears whole or not at all: PATH.tmp.PID, fsync, rename, fsync of the
 * folder. */
typedef struct kl__writer kl__writer;
kl__writer *kl__writer_open(const char *path);
kl_status kl__writer_put(kl__writer *w, const void *data, size_t n);
/* frees w, also on failure, when nothing is left behind */
kl_status kl__writer_commit(kl__writer *w);
void kl__writer_drop(kl__writer *w);        /* gives up; NULL is fine */

/** kl__writer around one piece. */
kl_status kl__file_write(const char *path, const void *data, size_t n);

bool kl__path_exists(const char *path);
bool kl__path_is_dir(const char *path);
kl_status kl__make_dirs(const char *path); /* mkdir -p */
/** Names in a folder, sorted by bytes, without . and ..; free each and the array with kl__free. */
kl_status kl__list_dir(const char *path, char ***names, size_t *n);
/** $XDG_CACHE_HOME/kiln or ~/.cache/kiln, fresh memory; NULL when neither is set. */
char *kl__cache_dir(void);

#endif
