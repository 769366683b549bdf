/* Kiln: status codes, errors, log, and the hooks a host application may set before first use. */
#ifndef KILN_BASE_H
#define KILN_BASE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define KL_API __declspec(dllexport)
#elif defined(__GNUC__)
#define KL_API __attribute__((visibility("default")))
#else
#define KL_API
#endif

#if defined(__GNUC__)
#define KL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define KL_PRINTF(f, a)
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define KL_VERSION_MAJOR 0
#define KL_VERSION_MINOR 1
#define KL_VERSION_PATCH 0

/** Version of the library that is loaded, as "0.1.0". Static storage. */
KL_API const char *kl_version(void);

/* Where an option's zero means its default: zero itself, or none. Exact as a float too. */
enum { KL_NONE = INT_MIN };

/** What a call says: 0, or a negative code. The sentence with the facts is kl_last_error(). */
typedef enum kl_status {
    KL_OK = 0,
    KL_E_ARG = -1,         /* an argument is not what the call can take */
    KL_E_SHAPE = -2,       /* shapes or dtypes do not fit each other */
    KL_E_MEMORY = -3,      /* host memory ran out */
    KL_E_DEVICE = -4,      /* an OpenCL call failed, or the device did */
    KL_E_BUILD = -5,       /* a kernel did not compile */
    KL_E_IO = -6,          /* a file could not be opened, read or written */
    KL_E_FORMAT = -7,      /* a file or text was read, and is not what it says it is */
    KL_E_UNSUPPORTED = -8, /* right, but not on this device or in this version */
    KL_E_CANCELLED = -9,   /* a callback asked to stop */
    KL_E_NO_DEVICE = -10,  /* no OpenCL device, or none that matches */
    KL_E_NUMERIC = -11,    /* NaN or infinity where a finite number is needed */
    KL_E_FULL = -12        /* a queue has no room now */
} kl_status;

/** Name of a status as in this header ("KL_E_SHAPE"). Static storage; never NULL. */
KL_API const char *kl_status_name(kl_status status);

/** This thread's last error, one sentence. Never NULL; "" before the first error. Valid until the
 *  thread's next failing call. */
KL_API const char *kl_last_error(void);

/** The status that goes with it: for calls that say failure by NULL. */
KL_API kl_status kl_last_status(void);

/** Sets both, for code that Kiln calls back and that fails (kl_exchange); gives `status` back. */
KL_API kl_status kl_set_error(kl_status status, const char *sentence);

typedef enum kl_log_level { KL_LOG_ERROR, KL_LOG_WARN, KL_LOG_INFO, KL_LOG_DEBUG } kl_log_level;

/** One line of log, without newline. May be called from any thread. */
typedef void kl_log_fn(void *user, kl_log_level level, const char *line);

/** Sets the log callback (NULL: silent, the default) and the most talkative level it wants.
 *  Call before first use. */
KL_API void kl_set_log(kl_log_fn *fn, void *user, kl_log_level level);

/** Host memory. alloc and realloc give NULL when there is none; memory is aligned as malloc's. */
typedef struct kl_allocator {
    void *(*alloc)(void *user, size_t bytes);
    void *(*realloc)(void *user, void *p, size_t bytes); /* p NULL: alloc */
    void (*free)(void *user, void *p);                   /* p NULL: nothing */
    void *user;
} kl_allocator;

/** Replaces malloc/realloc/free. NULL: back to those. Only while nothing of Kiln's is alive. */
KL_API void kl_set_allocator(const kl_allocator *allocator);

/** Files. Handles are >= 0; failures are a negative errno. */
typedef struct kl_files {
    int (*open_read)(void *user, const char *path);
    int (*open_write)(void *user, const char *path); /* creates, truncates */
    /* bytes, or negative errno (a pipe has none) */
    int64_t (*size)(void *user, int file);
    int64_t (*read)(void *user, int file, void *dst, size_t n); /* 0: end */
    int64_t (*write)(void *user, int file, const void *src, size_t n);
    int (*sync)(void *user, int file); /* data is on the disk on return */
    int (*close)(void *user, int file);
    int (*rename)(void *user, const char *from, const char *to);
    int (*remove)(void *user, const char *path);
    int (*sync_dir)(void *user, const char *path); /* a rename inside path is on the disk */
    void *user;
} kl_files;

/** Replaces the POSIX calls by which Kiln reads and writes files. NULL: back to those. */
KL_API void kl_set_files(const kl_files *files);

#ifdef __cplusplus
}
#endif
#endif
