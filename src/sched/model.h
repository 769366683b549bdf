/* Models and replicas. A model holds the newest parameters on the host or knows the replica that
 * does; a replica is what one context needs of a model: its parameters on the device and its
 * inference plans. */
#ifndef KL_SCHED_MODEL_H
#define KL_SCHED_MODEL_H

#include "base/thread.h"
#include "sched/plan.h"

#include <kiln/model.h>

enum { KL__PARAM_ALIGN = 64 }; /* elements: one entry of an optimizer's group table */

typedef struct kl__param {
    const char *name; /* graph memory */
    kl_shape shape;
    size_t count, offset; /* offset in elements from the start of the parameter memory */
    bool trainable, frozen;
} kl__param;

typedef struct kl__infer_plan kl__infer_plan;
typedef struct kl__replica {
    struct kl__replica *next;
    kl_model *model;
    kl_ctx *ctx;
    kl__mem *params;      /* all parameters in their order, `real` */
    uint64_t version;     /* of the parameters here */
    kl__infer_plan *plans;
} kl__replica;

struct kl_model {
    kl_graph *graph;
    kl_dtype real;
    uint64_t seed;
    kl__param *params;    /* trainable ones first */
    size_t n_params, n_trainable;
    size_t trainable_elems, elems; /* padded sizes: [0, trainable_elems) is what optimizers move */
    void *host;           /* `elems` numbers of `real` */
    uint64_t version, host_version; /* newest; what host holds */
    kl__replica *newest;  /* holds `version` where the host does not */
    kl__replica *replicas;
    kl__mutex lock;       /* parameters, replicas and their plans */
    uint64_t freezes;     /* counts kl_model_freeze: trainers look whether they must plan anew */
    /* a team that trains the model works on when its calls have returned: this waits for it */
    void (*settle)(void *user);
    void *settle_user;
};

/** Takes the model's lock once what was queued before is in the parameters. */
void kl__model_enter(kl_model *m);

/** Finds or makes the replica; its parameters are then the newest. Call with the lock held. */
kl__replica *kl__replica_get(kl_model *m, kl_ctx *ctx);
/** The replica's parameters were changed by what was queued on its compute lane. Lock held. */
void kl__replica_changed(kl__replica *r);
/** Host parameters become the newest (waits for the replica that has them). Lock held. */
kl_status kl__model_pull(kl_model *m);
void kl__replica_destroy(kl__replica *r);
const kl__param *kl__model_find(const kl_model *m, const char *name);
/** Gives the parameter leaves of g their places in the replica's memory. */
void kl__replica_place(const kl__replica *r, kl_graph *g);

/* ---- binding inputs -------------------------------------------------------------------------- */
/** Numbers the input leaves of g as slots 0, 1, ... in their order; returns how many. */
int kl__place_inputs(kl_graph *g);
kl_node *kl__slot_input(const kl_graph *g, int slot);
/** Batch size of the binds that name inputs of the model's graph; every mismatch is an error
 * sentence. -1: error; `fixed` (1) where no bound input has a batch. */
int64_t kl__binds_batch(const kl_model *m, const kl_bind *binds, size_t n);
const kl_bind *kl__bind_find(const kl_bind *binds, size_t n, const char *name);

/* ---- inference ------------------------------------------------------------------------------- */
/** Enqueues an inference pass on the compute lane: computes the bound outputs. Reads into host
 * memory are queued; *done is the end of all. Host inputs are copied before it returns. */
kl_status kl__model_pass(kl_model *m, kl_ctx *ctx, const kl_bind *binds, size_t n, kl__event *done);
/** The same for host memory that lives until *done: it waits for nothing. After an error none of it
 * is in use any more. */
kl_status kl__model_start(kl_model *m, kl_ctx *ctx, const kl_bind *binds, size_t n,
                          kl__event *done);
void kl__infer_plans_destroy(kl__infer_plan *p);

#endif
