/* Devices and contexts. A context is one device with its queues, kernel cache and memory. Its calls
 * may come from any thread. */
#ifndef KILN_CONTEXT_H
#define KILN_CONTEXT_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What `kiln devices` prints. Strings are cut to fit. */
typedef struct kl_device_info {
    int platform, device; /* the P:D of the choice syntax */
    char name[128], vendor[64], driver[64], platform_name[96], version[64];
    char type[16];                              /* "gpu", "cpu", "accelerator" */
    int compute_units, clock_mhz, vector_width; /* native float width */
    int work_group_max;
    uint64_t memory_bytes, alloc_max_bytes, local_bytes;
    bool fp16, fp64, sub_groups;
    bool usable;      /* OpenCL C 1.2, a compiler, little-endian */
    char why_not[96]; /* when not usable */
    double score;     /* `auto` takes the highest */
} kl_device_info;

/** Fills at most `cap` entries, best first, and *n with how many there are. No device: KL_OK and *n
 * = 0; a machine without an OpenCL loader: KL_E_NO_DEVICE and a sentence that says what to install.
 */
KL_API kl_status kl_device_list(kl_device_info *out, size_t cap, size_t *n);

enum {
    KL_CTX_SYNC = 1,          /* finish after each op, check its outputs for NaN (slow) */
    KL_CTX_DEBUG_BUFFERS = 2, /* a buffer per tensor, NaN poison, guard bands checked (slower) */
    KL_CTX_PROFILE = 4,       /* queues with profiling: per-op times for `kiln bench` */
    KL_CTX_BARE_BUFFERS = 8,  /* a buffer per tensor of just its size, for memory checkers */
    /* sums of products in their plain order of factors only: no Winograd convolution, whose
     * rounding errors are a few times larger (f32 either way; slower) */
    KL_CTX_EXACT = 16,
    /* kernels by rule alone, steps on one compute queue: what was measured on this device is not
     * looked at, nothing measured */
    KL_CTX_NO_TUNE = 32
};

typedef struct kl_ctx kl_ctx;

/** Zero means default. KILN_DEVICE, KILN_CACHE_DIR, KILN_CL_DIR, KILN_SYNC=1, KILN_DEBUG_BUFFERS=1,
 * KILN_EXACT=1 and KILN_TUNE=0 (KL_CTX_NO_TUNE) in the environment stand in for fields left zero.
 */
typedef struct kl_ctx_opts {
    /* "auto", "gpu", "cpu", "P:D" or part of a name; NULL: auto. Behind it "/N:I": part I (from 0)
     * of N equal parts of that device's compute units */
    const char *device;
    const char *cache_dir;  /* compiled kernels; NULL: the user's cache directory; "": none */
    const char *kernel_dir; /* development: .cl files here win over the built-in ones */
    uint32_t flags;         /* KL_CTX_* */
    /** Called as kernels are compiled: `done` so far, `name` of this one. From the thread that
     * waits. */
    void (*on_compile)(void *user, int done, const char *name);
    void *user;
    /** Which kernels were measured to be fastest (see tune.h): a file of kl_ctx_save_tuned; NULL:
     * what the user's cache has; "": none. Read once, here: the choices of a context never change.
     */
    const char *tuned;
    /* Seconds that a wait for the device may last before the device counts as hung: the call gives
     * KL_E_DEVICE, and nothing waits for that device again. 0: 600; KL_NONE: no bound. KILN_TIMEOUT
     * in the environment stands in for 0. */
    double timeout;
    uint32_t reserved[4];
} kl_ctx_opts;

/** Opens a device. Caller owns. NULL: see kl_last_error() (no device, ambiguous name with the
 * matches listed, ...). */
KL_API kl_ctx *kl_ctx_create(const kl_ctx_opts *opts);
/** Opens a group: one context for each device that opts->device names, a list separated by commas.
 * Each entry is a choice as above, or "all" (every usable device; of several drivers for one CPU
 * the best, software rasterisers left out), or "gpu" or "cpu" (every usable one of that kind), or a
 * choice with "/N" behind it: all N equal parts of that device. A device that is named twice is an
 * error. Fills at most `cap` contexts, caller owns each; *n is how many there are; more than `cap`
 * is an error. All or nothing. */
KL_API kl_status kl_ctx_create_group(const kl_ctx_opts *opts, kl_ctx **out, size_t cap, size_t *n);
enum { KL_MAX_GROUP = 64 };
/** Writes the choices that this context was made with to a file for kl_ctx_opts.tuned, or into a
 * folder that is there and may hold those of other devices: a run that is to go on later with the
 * same bits keeps them beside its checkpoints. */
KL_API kl_status kl_ctx_save_tuned(const kl_ctx *ctx, const char *path);
/** Waits for queued work, then frees. Models, tensors and trainers of this context must be gone.
 * NULL is fine, here and in every destroy. */
KL_API void kl_ctx_destroy(kl_ctx *ctx);
/** Waits until everything queued is done; reports what failed meanwhile. */
KL_API kl_status kl_ctx_finish(kl_ctx *ctx);
KL_API kl_status kl_ctx_info(const kl_ctx *ctx, kl_device_info *out);

typedef struct kl_ctx_stats {
    uint64_t kernels_built, kernels_from_cache; /* programs compiled here; taken from our cache */
    double build_seconds;
    uint64_t live_buffers, live_bytes, peak_bytes; /* device memory held through this context */
    uint64_t launches, creates;                    /* kernels enqueued; clCreate* calls */
    uint64_t pooled_bytes; /* released and kept for reuse; not in live_bytes */
} kl_ctx_stats;
KL_API void kl_ctx_stats_get(const kl_ctx *ctx, kl_ctx_stats *out);

/** Sets the environment that drivers want before their first call (POCL_AFFINITY=1, only if this
 * process may run on exactly CPUs 0..n-1 and the user has not set it). For programs, at the top of
 * main; the library itself never changes the environment. Not thread-safe. */
KL_API void kl_env_prepare(void);

#ifdef __cplusplus
}
#endif
#endif
