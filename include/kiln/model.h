/* Models: a graph and its parameters, in plain host form; needs no device. What one device needs
 * (plans, arena, device parameters) is a replica, made on first use per (model, context) and kept
 * until either goes. */
#ifndef KILN_MODEL_H
#define KILN_MODEL_H

#include "graph.h"
#include "ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kl_model kl_model;
typedef struct kl_model_opts {
    kl_dtype compute;  /* KL_F32; KL_F64 for gradient checks (inputs and outputs are f64 then) */
    uint64_t seed;     /* of the initial values, dropout, ... */
    uint32_t reserved[8];
} kl_model_opts;

/** Copies g and draws the parameters (host, the same bits everywhere). Caller owns. */
KL_API kl_model *kl_model_create(const kl_graph *g, const kl_model_opts *opts);
/** Every trainer of the model must be gone. */
KL_API void kl_model_destroy(kl_model *m);
KL_API const kl_graph *kl_model_graph(const kl_model *m); /* borrowed */
KL_API uint64_t kl_model_seed(const kl_model *m);
/** Draws all parameters anew. */
KL_API kl_status kl_model_reset(kl_model *m, uint64_t seed);

typedef struct kl_param_info {
    const char *name; /* borrowed */
    kl_shape shape;
    size_t count;
    bool trainable;   /* by the graph; false for running statistics */
    bool frozen;      /* by kl_model_freeze */
} kl_param_info;
KL_API size_t kl_model_n_params(const kl_model *m);
KL_API kl_status kl_model_param(const kl_model *m, size_t i, kl_param_info *out);
/** Copies in plain layout; wait for what a replica is still computing. n is the parameter's count.
 */
KL_API kl_status kl_model_get_param(kl_model *m, const char *name, float *dst, size_t n);
KL_API kl_status kl_model_set_param(kl_model *m, const char *name, const float *src, size_t n);
/** No gradient and no update for parameters whose name matches (glob: "conv*"); matches none:
 * KL_E_ARG. */
KL_API kl_status kl_model_freeze(kl_model *m, const char *pattern, bool frozen);

/** An input or output, by name: a tensor of the context, or host memory of plain C order. Host
 * memory's batch size follows from host_bytes. */
typedef struct kl_bind {
    const char *name;
    kl_tensor *tensor;
    void *host;
    size_t host_bytes;
} kl_bind;

/** Inference: computes the bound outputs from the bound inputs. Tensors only: queues and returns.
 * Host memory: returns when it has been read and written. Inputs that no bound output needs may be
 * left out. All batch sizes must agree. */
KL_API kl_status kl_model_run(kl_model *m, kl_ctx *ctx, const kl_bind *binds, size_t n_binds);

/* ---- passes and tickets: queued work whose end can be waited for, polled, called back, or had as
 * an event -------------------------- */
typedef struct kl_queue kl_queue;
typedef struct kl_ticket kl_ticket;
struct kl_trainer;
typedef enum kl_work {
    KL_WORK_FORWARD,  /* 0: inference of `model` */
    KL_WORK_BACKWARD, /* forward and backward of `trainer`: kl_trainer_backward */
    KL_WORK_UPDATE,   /* kl_trainer_update; no binds */
    KL_WORK_STEP      /* kl_trainer_step */
} kl_work;
typedef struct kl_pass {
    kl_model *model;            /* forward */
    const kl_bind *binds;       /* copied; host memory must live until the ticket is done */
    size_t n_binds;
    kl_work kind;
    struct kl_trainer *trainer; /* of all kinds but forward */
    int priority;               /* the larger, the sooner; equal ones in turns between models */
    /* Starts after these are done; one of them failed or was cancelled: so is this. Tickets of this
     * queue; they may be released right after the call. */
    kl_ticket *const *after;
    size_t n_after;
    bool or_full;               /* where the queue is full: KL_E_FULL at once instead of waiting */
    /* Forward, host memory only: may wait so many seconds for other passes of the same model and
     * outputs, to run with them as one batch. 0: runs alone. */
    double merge;
    /* Called once when the pass is done, failed or was cancelled, from a thread of the queue's or
     * of whoever waits; it must not wait for tickets. NULL: none. */
    void (*on_done)(void *user, kl_ticket *t, kl_status status);
    void *user;
    uint32_t reserved[8];
} kl_pass;
typedef struct kl_queue_opts {
    int depth;         /* passes submitted and not done, at which submit waits; 0: 1024 */
    int in_flight;     /* passes handed to one device at a time; 0: 2 */
    int64_t max_batch; /* samples that merged passes may have together; 0: 64 */
    uint32_t reserved[8];
} kl_queue_opts;
/** A queue of passes over a group. Any thread may submit. A forward pass that binds tensors runs on
 * their context; others go to the device that by measured cost is done with them first. Passes of
 * one trainer keep their order. opts NULL: defaults. Caller owns; contexts, models and trainers
 * must outlive it. */
KL_API kl_queue *kl_queue_create(kl_ctx *const *ctx, size_t n_ctx, const kl_queue_opts *opts);
KL_API void kl_queue_destroy(kl_queue *q); /* waits for what was submitted */
/** Queues a pass and returns; only a full queue makes it wait. *out: caller owns,
 * kl_ticket_release; a pass carries its own error there. */
KL_API kl_status kl_queue_submit(kl_queue *q, const kl_pass *pass, kl_ticket **out);
KL_API kl_status kl_ticket_wait(kl_ticket *t);
KL_API bool kl_ticket_done(kl_ticket *t); /* never waits */
/** KL_OK: it will not run, and the ticket is done with KL_E_CANCELLED. KL_E_ARG: it has begun. */
KL_API kl_status kl_ticket_cancel(kl_ticket *t);
/** Waits for the pass first: its host memory is the caller's again. */
KL_API void kl_ticket_release(kl_ticket *t);

/* ---- what a model costs on a device ---------------------------------------------------------- */
typedef struct kl_cost {
    size_t arena_bytes;   /* activations of one pass, as planned */
    size_t sum_bytes;     /* all its tensors side by side */
    size_t param_bytes;
    size_t n_launches, n_applies, n_in_place;
} kl_cost;
/** Plans (and compiles) for a batch size: inference (training = false; of `outputs`, NULL: all), or
 * the whole training step of the loss output (see train.h), and says what it takes. */
KL_API kl_status kl_model_cost(kl_model *m, kl_ctx *ctx, int64_t batch, bool training,
                               kl_cost *out);

#ifdef __cplusplus
}
#endif
#endif
