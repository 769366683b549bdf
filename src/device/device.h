/* The device floor as the floors above see it: no OpenCL types. A context has caps, lanes (queues),
 * memory, kernels, and sequences: frozen lists of launches, copies, fills and calls. */
#ifndef KL_DEVICE_DEVICE_H
#define KL_DEVICE_DEVICE_H

#include "base/error.h"
#include "base/str.h"

#include <kiln/context.h>

/* ---- capabilities: queried once, changed by quirks.c, then never again ----------------------- */
typedef struct kl__caps {
    kl_device_info info;
    bool cpu;                /* the CPU bit of the device's type */
    /* cpu and native float width >= 4: one work-item per group, explicit vectors */
    bool solo;
    /* floats per SOLO vector: 4, 8, 16; 1 where !solo (KILN_VECTOR overrides: 1 makes it !solo) */
    int vector;
    int cl_version;          /* 120, 200, 300: highest -cl-std that the device's compiler takes */
    size_t max_group, max_item[3];
    uint64_t max_alloc, global_bytes, local_bytes, cache_bytes, constant_bytes;
    /* of one core, where the host can tell (CPU devices), else guesses 32 KB / 256 KB */
    size_t l1_bytes, l2_bytes;
    /* COOP: floats that an item keeps in registers where groups are still many enough to hide the
     * wait for memory */
    int item_floats;
    uint32_t align_bytes;    /* base alignment of buffers */
    int compute_units;
    /* host_memory: device and host share memory */
    bool fp16, fp64, sub_groups, out_of_order, host_memory;
    /* the driver keeps compiled kernels itself: never ask it for binaries */
    bool caches_kernels;
    bool groups_useless;     /* of a kernel, as the driver says them: the device's limit counts */
    bool short_loops;        /* the driver ends long loops early, without a word */
    bool times_useless;      /* profiling gives nonsense: use the host's clock */
    bool gemm_library_slow;  /* CLBlast loses against our own kernels here */
    bool last_resort;        /* a rasteriser, an interpreter: never one of `all` */
    bool exact;              /* KL_CTX_EXACT: no Winograd */
    /* the device's as its driver says it: info.name also says which part of it this is. For keys:
     * equal parts are equal devices. */
    char own_name[sizeof(((kl_device_info *)0)->name)];
    char std_option[16];     /* "-cl-std=CL1.2" */
    /* what was measured to be fastest here (winners.h); NULL: nothing */
    const struct kl__winners *winners;
} kl__caps;
const kl__caps *kl__ctx_caps(const kl_ctx *ctx);
uint32_t kl__ctx_flags(const kl_ctx *ctx); /* KL_CTX_* in force */

/* ---- events: a value, no allocation ---------------------------------------------------------- */
typedef struct kl__event {
    void *h; /* NULL: nothing to wait for */
} kl__event;
kl_status kl__event_wait(kl_ctx *ctx, kl__event e); /* KL_E_DEVICE where the command failed */
/** 0 done, 1 not yet, negative: kl_status of a failed command. */
int kl__event_poll(kl_ctx *ctx, kl__event e);
void kl__event_retain(kl__event e);
void kl__event_release(kl__event *e); /* and sets it to none */
/** Device seconds from start to end; false where the context does not profile or times are useless.
 */
bool kl__event_seconds(kl_ctx *ctx, kl__event e, double *start, double *end);

/** Calls fn once when e is done or failed, from a thread of the driver's: it must be short and call
 * no OpenCL. e without a handle: called before this returns. */
kl_status kl__event_notify(kl_ctx *ctx, kl__event e, void (*fn)(void *user, kl_status st),
                           void *user);

/* ---- losing a device: a context that failed or hangs. Its enqueue calls and waits give
 * KL_E_DEVICE at once, and its destruction waits for nothing; a hung one's objects are left behind,
 * for the driver may still use them. ---- */
void kl__ctx_lose(kl_ctx *ctx, bool hung, const char *why);
bool kl__ctx_lost(const kl_ctx *ctx);
/** Host memory that it was given to read or write is not to be freed: it may still use it. */
bool kl__ctx_hung(const kl_ctx *ctx);

/* ---- memory ---------------------------------------------------------------------------------- */
typedef struct kl__mem kl__mem;
/** Counted, count 1. 0 bytes are legal and need no device memory. NULL: error set (size, what is
 * held, limit). */
kl__mem *kl__mem_create(kl_ctx *ctx, size_t bytes);
kl__mem *kl__mem_retain(kl__mem *m);
void kl__mem_release(kl__mem *m);
size_t kl__mem_bytes(const kl__mem *m);
kl_ctx *kl__mem_ctx(const kl__mem *m);

/** A place in memory. */
typedef struct kl__span {
    kl__mem *mem; /* NULL: absent */
    size_t offset; /* bytes */
} kl__span;

/* ---- lanes: command queues. Enqueue calls take the context's lock; they queue and return.
 * --------- Where the caller brought one queue, all lanes are that queue. On an out-of-order queue
 * a lane chains its own commands by events, so that every lane is in order. */
typedef struct kl__lane kl__lane;
typedef enum kl__lane_kind {
    KL__COMPUTE, KL__UPLOAD, KL__DOWNLOAD, KL__N_LANES,
    KL__SIDE = KL__N_LANES, /* a second compute lane; only kl__seq_run_lanes uses it */
    KL__ALL_LANES
} kl__lane_kind;
kl__lane *kl__ctx_lane(kl_ctx *ctx, kl__lane_kind kind); /* not KL__SIDE */
/** The second compute lane, made at the first call. NULL: error set; none beside the caller's own
 * queue. */
kl__lane *kl__ctx_side(kl_ctx *ctx);
kl_ctx *kl__lane_ctx(const kl__lane *lane);
/** Later commands of `lane` start after `e`. */
kl_status kl__lane_wait(kl__lane *lane, kl__event e);
/** An event that is done when all commands queued so far are. Caller releases. */
kl_status kl__lane_mark(kl__lane *lane, kl__event *done);
/** src must live until *done (done NULL: blocks). */
kl_status kl__lane_write(kl__lane *lane, kl__span dst, const void *src, size_t bytes,
                         kl__event *done);
kl_status kl__lane_read(kl__lane *lane, kl__span src, void *dst, size_t bytes, kl__event *done);
kl_status kl__lane_copy(kl__lane *lane, kl__span dst, kl__span src, size_t bytes);
/** Fills with a pattern of 1, 4 or 8 bytes; `bytes` a multiple of it. */
kl_status kl__lane_fill(kl__lane *lane, kl__span dst, const void *pattern, size_t pattern_bytes,
                        size_t bytes);
/** The next command of the lane is one end of transfer `id` between devices: for the arrows of a
 * trace. Nothing where the context records none. */
void kl__lane_flow(kl__lane *lane, uint64_t id, bool begins);
/** Ids for it, unique in the process. */
uint64_t kl__flow_ids(size_t n);
kl_status kl__lane_flush(kl__lane *lane);
kl_status kl__lane_finish(kl__lane *lane);
/** The same by an event: a queue that the caller brought is waited for, never finished. */
kl_status kl__lane_drain(kl__lane *lane);

/* ---- kernels --------------------------------------------------------------------------------- */
/** -D options, zero-initialise: names and integers or words that we formatted, never text from a
 * file. */
typedef struct kl__defs {
    kl__text options;
} kl__defs;
void kl__def_int(kl__defs *d, const char *name, int64_t value);
void kl__def_word(kl__defs *d, const char *name, const char *word); /* word: [A-Za-z0-9_]+ */
void kl__def_flag(kl__defs *d, const char *name);
void kl__defs_free(kl__defs *d);

typedef enum kl__arg_kind {
    KL__ARG_SPAN,  /* two kernel arguments: the pointer, and `ulong` offset in elements after it */
    KL__ARG_SLOT,  /* the same, bound later by kl__seq_bind */
    KL__ARG_I32, KL__ARG_U32, KL__ARG_U64, KL__ARG_F32,
    KL__ARG_LOCAL  /* local memory of `u64` bytes */
} kl__arg_kind;
typedef struct kl__arg {
    kl__arg_kind kind;
    uint32_t elem;    /* bytes of an element, SPAN and SLOT */
    kl__span span;    /* SPAN; for SLOT the offset is added to the bound span's */
    union { int32_t i32; uint32_t u32; uint64_t u64; float f32; int slot; } v;
} kl__arg;

enum { KL__MAX_ARGS = 64 };
typedef struct kl__launch {
    const char *file;    /* "conv2d.cl", embedded or on disk */
    const char *kernel;  /* "conv2d_fwd_ref" */
    const char *label;   /* node's name, for profiles and error sentences; copied */
    const char *prelude; /* generated source put before the file (fused expressions); NULL: none */
    const kl__defs *defs; /* NULL: none */
    int n_args;
    kl__arg arg[KL__MAX_ARGS];
    int dims;
    /* local[0] 0: the floor chooses; global is rounded up by the caller */
    size_t global[3], local[3];
    /* __local declared inside the kernel, in bytes, for the check against the limit */
    size_t local_bytes;
} kl__launch;

/* ---- sequences: a list frozen once, run by enqueueing only ----------------------------------- */
typedef struct kl__seq kl__seq;
kl__seq *kl__seq_create(kl_ctx *ctx);
void kl__seq_destroy(kl__seq *s);
/** Builds (or finds) the program, makes a kernel object of its own and sets all arguments. Retains
 * spans' memory. Checks group size and local memory against the device, so that a run cannot abort
 * the process. */
kl_status kl__seq_kernel(kl__seq *s, const kl__launch *l);
kl_status kl__seq_copy(kl__seq *s, const char *label, kl__span dst, kl__span src, size_t bytes);
kl_status kl__seq_fill(kl__seq *s, const char *label, kl__span dst, uint32_t pattern, size_t bytes);
/** A library's call in place of a kernel: C[m,n] = alpha op(A) op(B) + beta C, row-major f32,
 * through CLBlast. KL_E_UNSUPPORTED where CLBlast is not to be had (not installed, foreign table).
 */
typedef struct kl__gemm {
    bool ta, tb;
    int m, n, k;
    float alpha, beta;
    kl__span a, b, c;
    int lda, ldb, ldc;
} kl__gemm;
kl_status kl__seq_gemm(kl__seq *s, const char *label, const kl__gemm *g);
bool kl__gemm_available(const kl_ctx *ctx);

/** Binds slot `slot` (all arguments that name it) to a span from the next run on. Retains; no
 * clCreate*. */
kl_status kl__seq_bind(kl__seq *s, int slot, kl__span span);
/** What a slot is bound to; false: nothing. */
bool kl__seq_bound(const kl__seq *s, int slot, kl__span *out);
size_t kl__seq_count(const kl__seq *s);
const char *kl__seq_label(const kl__seq *s, size_t i);
/* "copy", "fill", "gemm" for the others */
const char *kl__seq_kernel_name(const kl__seq *s, size_t i);
/** Enqueues steps first..last-1 on the lane, in order. No allocation, no clCreate*. */
kl_status kl__seq_run(kl__seq *s, kl__lane *lane, size_t first, size_t last);
/** Splits a sequence over two lanes: step i goes to the side lane where side[i], and starts after
 * step after[i] < i of the other lane (SIZE_MAX: none). kl__seq_count entries each, copied. */
kl_status kl__seq_split(kl__seq *s, const bool *side, const size_t *after);
/** kl__seq_run of a split sequence. Everything before on `main` is done before a step on the side
 * lane begins, and what comes after on `main` waits for the side: to the caller it is one lane. */
kl_status kl__seq_run_lanes(kl__seq *s, kl__lane *main, kl__lane *side, size_t first, size_t last);
/** Runs the whole sequence step by step and gives each step's seconds (device clock where it can be
 * trusted). `seconds` has kl__seq_count entries. Waits. */
kl_status kl__seq_profile(kl__seq *s, kl__lane *lane, double *seconds);

#endif
