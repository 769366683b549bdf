/* Inside of a context: what the files of this floor share. */
#ifndef KL_DEVICE_CTX_H
#define KL_DEVICE_CTX_H

#include "base/hash.h"
#include "base/thread.h"
#include "device/opencl.h"
#include "device/winners.h"

#include <stdatomic.h>

/* ---- devices ------------------------------------------------------------------------------------
 */
typedef struct kl__found {
    cl_platform_id platform;
    cl_device_id device;
    kl__caps caps; /* info.platform and info.device are set by the enumeration */
    bool owned;    /* a part that was made for us: kl__found_release */
} kl__found;

/** Every device of every driver, in P:D order; kl__free it. *n = 0 is KL_OK: the sentence of a
 * driver that failed stands then in kl_last_error. */
kl_status kl__found_all(const kl__cl_table *cl, kl__found **out, size_t *n);
/** Index into `list` of the one that `choice` names. */
kl_status kl__choose(const kl__found *list, size_t n, const char *choice, size_t *pick);
/** The sentence that nothing usable is what `choice` says, with what there is. */
kl_status kl__no_match(const kl__found *list, size_t n, const char *choice);
/** What kl_ctx_opts.device names, also a part of a device; kl__found_release it. */
kl_status kl__found_one(const kl__cl_table *cl, const char *choice, kl__found *out);
void kl__found_release(const kl__cl_table *cl, kl__found *f);
/** A context on it. NULL: error set. */
kl_ctx *kl__ctx_open(const kl__cl_table *cl, const kl__found *f, const kl_ctx_opts *o);
/** opts->device or KILN_DEVICE; NULL: neither. */
const char *kl__ctx_choice(const kl_ctx_opts *o);

/** A device that cannot be asked is not usable, and why_not says so. */
void kl__caps_query(const kl__cl_table *cl, cl_platform_id platform, cl_device_id device,
                    kl__caps *caps);
/** KILN_VECTOR; KL_E_ARG for a value that is no width. */
kl_status kl__caps_override(kl__caps *caps);
void kl__quirks_apply(kl__caps *caps);

/* ---- lanes ---- */
/** One end of a transfer between devices. */
typedef struct kl__flow {
    uint64_t id;
    bool begins, ends; /* neither: none */
} kl__flow;

struct kl__lane {
    kl_ctx *ctx;
    cl_command_queue queue;
    bool chained;  /* out-of-order queue: each command waits for `last` */
    cl_event last; /* chained only; NULL before the first command */
    /* Commands that use memory, counted: handed to the queue; known to have ended with all before.
     */
    atomic_uint_fast64_t queued, ended;
    kl__flow flow; /* of the next command, for the trace */
};
/** A wait showed that the lane's first n commands have ended. */
void kl__lane_ended(kl__lane *lane, uint64_t n);

/** What a command of a lane hands to an enqueue call: its wait list, and where the event goes. */
typedef struct kl__link {
    cl_uint n;
    const cl_event *wait;
    cl_event *out; /* NULL: no event wanted */
    cl_event event;
    const char *name, *label; /* for traces: "conv2d_solo" of "c1", or "write"; label may be NULL */
    size_t bytes;
} kl__link;
void kl__link_begin(kl__lane *lane, kl__link *link, bool want_event);
/** What the command is, told between begin and end. */
static inline void kl__link_name(kl__link *link, const char *name, const char *label, size_t bytes)
{
    link->name = name;
    link->label = label;
    link->bytes = bytes;
}
/** After the enqueue call: keeps the chain; *done (NULL: nobody wants it) is the caller's to
 * release. */
void kl__link_end(kl__lane *lane, kl__link *link, cl_int code, cl_event *done);
/** The lock is held. What follows starts after all that the lane queued, also for code that knows
 * no chain. */
cl_int kl__lane_barrier(kl__lane *lane);

/* ---- waiting, and losing the device: wait.c ---- */
typedef struct kl__hub
    kl__hub; /* what callbacks of events may touch, also when the context is gone */
kl__hub *kl__hub_create(void);
void kl__hub_leave(kl__hub *hub); /* the context goes */
typedef enum kl__ctx_state { KL__CTX_WELL, KL__CTX_FAILED, KL__CTX_HUNG } kl__ctx_state;
/** KL_OK, or the sentence that the device was lost. */
kl_status kl__ctx_well(const kl_ctx *ctx);
/** As kl__event_wait; `what` is what the sentence says did not end. */
kl_status kl__event_wait_for(kl_ctx *ctx, kl__event e, const char *what);
/** The sentence of a command that ended with `code`. */
kl_status kl__event_failed(const kl_ctx *ctx, const char *call, cl_int code);
/** After a call that should have waited and failed: waits until the queues are idle, in a thread,
 * for a while. false: they are not, and the device counts as hung from now on. */
bool kl__ctx_quiesce(kl_ctx *ctx);
/** Of a device that failed: waits until its last commands are over. false: it is a hung one. */
bool kl__ctx_settle(kl_ctx *ctx);

/* ---- memory ---- */
struct kl__mem {
    atomic_int refs;
    kl_ctx *ctx;
    cl_mem mem;
    size_t bytes;      /* as asked for */
    size_t held;       /* as accounted; 0 for the caller's own */
    atomic_bool given; /* the caller has seen its cl_mem and may use it where we don't look */
    /* in the pool: */
    uint64_t last_use[KL__N_LANES];
    struct kl__mem *next;
};
void kl__mem_free_list(kl__mem *m);

/* Released buffers, kept for reuse; see pool.c. */
/** Takes over a buffer whose last count went; false: it is not to be kept. */
bool kl__pool_put(kl__mem *m);
/** A buffer of `size` bytes or little more that no queued command uses; NULL: there is none. */
kl__mem *kl__pool_take(kl_ctx *ctx, size_t size);
/** Frees all that is kept; false: nothing was. */
bool kl__pool_trim(kl_ctx *ctx);
/** KL_OK, or the sentence: span inside its memory. */
kl_status kl__span_check(kl__span span, size_t bytes, const char *what);

/* ---- programs ---- */
typedef struct kl__program {
    struct kl__program *next;
    kl__hash128 key;
    cl_program program; /* NULL while it is built */
} kl__program;

/** The program of a launch, built once per context; borrowed. NULL: error set. */
cl_program kl__program_get(kl_ctx *ctx, const kl__launch *launch);
void kl__programs_release(kl_ctx *ctx);

/* Binary cache on disk, for drivers that keep none. `key_text` is everything that the binary
 * depends on. */
bool kl__binary_load(kl_ctx *ctx, const kl__text *key_text, uint8_t **data, size_t *n);
void kl__binary_store(kl_ctx *ctx, const kl__text *key_text, cl_program program);

/* ---- traces ---- */
typedef struct kl__trace kl__trace;
/** The lock is held: the command's event goes into the trace. */
void kl__trace_add(kl_ctx *ctx, kl__lane *lane, const kl__link *link);
void kl__trace_destroy(kl_ctx *ctx);

/* ---- CLBlast ---- */
cl_int kl__clblast_sgemm(const kl__gemm *g, cl_command_queue *queue, cl_event *event);
void kl__clblast_clear(void);

struct kl_ctx {
    const kl__cl_table *cl;
    cl_device_id device;
    cl_context context;
    bool part; /* the device is a part that was made for us */
    kl__caps caps;
    uint32_t flags;
    char *cache_dir;  /* NULL: none */
    char *kernel_dir; /* NULL: built-in sources only */
    kl__winners winners; /* caps.winners where there are any; as they were when it was made */
    void (*on_compile)(void *user, int done, const char *name);
    void *user;

    double timeout;   /* seconds that a wait may last; HUGE_VAL: any */
    kl__hub *hub;
    atomic_int state; /* kl__ctx_state, written under the hub's lock; it never gets better */

    kl__mutex lock; /* enqueueing */
    kl__trace *trace; /* NULL: nothing is recorded */
    kl__lane lane[KL__ALL_LANES]; /* the side lane has no queue before it is asked for */
    bool foreign; /* the caller's queue: lane[0] is all lanes */

    kl__mutex build_lock; /* programs */
    kl__cond built;
    kl__program *programs;

    kl__mutex pool_lock;
    kl__mem *pool; /* oldest first */
    size_t pool_count;
    atomic_uint_fast64_t pool_bytes;

    atomic_bool used_clblast;
    atomic_uint_fast64_t n_built, n_from_cache, build_ns, live_buffers, live_bytes, peak_bytes,
        launches, creates;
};

static inline void kl__count_create(kl_ctx *ctx)
{
    atomic_fetch_add_explicit(&ctx->creates, 1, memory_order_relaxed);
}

#endif
