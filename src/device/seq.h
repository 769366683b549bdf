/* Inside of a sequence: seq.c builds it, run.c runs it. */
#ifndef KL_DEVICE_SEQ_H
#define KL_DEVICE_SEQ_H

#include "device/ctx.h"

enum { KL__MAX_SLOTS = 4096 };

typedef enum kl__step_kind {
    KL__STEP_KERNEL,
    KL__STEP_COPY,
    KL__STEP_FILL,
    KL__STEP_GEMM
} kl__step_kind;

typedef struct kl__step {
    kl__step_kind kind;
    bool skip; /* nothing to do: it keeps its index */
    char *label, *name;
    size_t use, n_use; /* its slots in kl__seq.use */

    cl_kernel kernel;
    cl_uint dims;
    size_t global[3], local[3]; /* local[0] 0: the driver chooses */

    kl__span dst, src; /* copy, fill */
    size_t bytes;
    uint32_t pattern;
    kl__gemm gemm;
} kl__step;

/** One argument that names a slot. */
typedef struct kl__slot_use {
    size_t step;
    cl_uint index; /* of the pointer; the offset follows */
    uint32_t elem;
    int slot;
    size_t offset;
} kl__slot_use;

typedef struct kl__slot {
    bool bound;
    kl__span span; /* retained */
} kl__slot;

/** A step's part in a run over two lanes. */
typedef struct kl__cross {
    bool side, signals; /* signals: a step of the other lane waits for it */
    size_t after;       /* the step of the other lane that it waits for; SIZE_MAX: none */
    cl_event event;     /* while a run is being enqueued */
} kl__cross;

struct kl__seq {
    kl_ctx *ctx;
    kl__cross *cross; /* kl__seq_split: n entries; NULL: not split */
    kl__step *step;
    size_t n, cap;
    kl__mem **held;
    size_t n_held, held_cap;
    kl__slot_use *use;
    size_t n_use, use_cap;
    kl__slot *slot;
    size_t n_slot, slot_cap;
};

/** A step: begun, filled in, then kept (st KL_OK) or freed; gives st, or why it cannot be kept. */
kl_status kl__step_begin(kl__seq *s, kl__step *t, kl__step_kind kind, const char *name,
                         const char *label);
kl_status kl__step_end(kl__seq *s, kl__step *t, kl_status st);
/** The lock is held. `after` (NULL: nothing) is waited for besides the lane's order; *done, where
 * wanted, is the caller's. */
cl_int kl__step_enqueue(kl__seq *s, kl__step *t, kl__lane *lane, const cl_event *after,
                        const char **call, cl_event *done);
/** Sentence of a call that failed in a step. */
kl_status kl__step_failed(const kl__seq *s, const kl__step *t, const char *call, cl_int code);
/** Steps first..last-1 exist, are on this lane's device, and their slots are bound. */
kl_status kl__seq_check_range(const kl__seq *s, const kl__lane *lane, size_t first, size_t last);
/** Keeps `m` alive as long as the sequence. */
kl_status kl__seq_hold(kl__seq *s, kl__mem *m);
/** Makes sure that there is such a slot. */
kl_status kl__seq_need_slot(kl__seq *s, int slot);
/** Sets both arguments of a use: the pointer, and after it the offset in elements. */
kl_status kl__step_set_slot(kl__seq *s, const kl__step *t, const kl__slot_use *u, kl__span span);

#endif
