/* What file.c, reader.c and writer.c share: calls through the table of files, with short counts and
 * interruptions handled in one place. Not for other floors. */
#ifndef KL_BASE_VFS_H
#define KL_BASE_VFS_H

#include <kiln/base.h>

/** Handle, or a negative errno. */
int kl__vfs_open_read(const char *path);
int kl__vfs_open_write(const char *path);
int64_t kl__vfs_size(int file);
/** Fills dst unless the file ends first: bytes read, or a negative errno. */
int64_t kl__vfs_read(int file, void *dst, size_t n);
/** 0 when all n bytes are written, or a negative errno. */
int kl__vfs_write(int file, const void *src, size_t n);
int kl__vfs_sync(int file);
int kl__vfs_close(int file);
int kl__vfs_rename(const char *from, const char *to);
int kl__vfs_remove(const char *path);
int kl__vfs_sync_dir(const char *path);

/** KL_E_IO "PATH: cannot WHAT: reason"; err is a negative errno. */
kl_status kl__fail_errno(const char *path, const char *what, int64_t err);

#endif
