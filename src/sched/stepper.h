/* The stepper: training steps of one model on one context. What a step does is frozen into plans; a
 * step binds inputs, enqueues, and waits for nothing but the end of the step before the last. */
#ifndef KL_SCHED_STEPPER_H
#define KL_SCHED_STEPPER_H

#include "sched/model.h"

enum { KL__MAX_STATES = 3, KL__MAX_GROUPS = 64 };

/** How one parameter is moved. */
typedef struct kl__group {
    float lr_factor, weight_decay;
    bool trained;
} kl__group;

typedef struct kl__stepper_opts {
    const char *loss;    /* output to minimise */
    const char *logits;  /* output for accuracy, or NULL */
    const kl__op *optim; /* arena op, see ops/optim.h */
    const void *optim_attrs;
    int n_states;
    float clip_norm;     /* 0: none */
    int shards;          /* >= 1 */
    const kl__group *groups; /* one per trainable parameter, in the model's order; copied */
    bool buckets;        /* the sums may leave in pieces (teams) */
    bool follower;       /* no update until kl__stepper_lead */
} kl__stepper_opts;

/** What a step or an evaluation pass gave. */
typedef struct kl__result {
    int64_t step;
    int64_t samples;
    double loss_sum, weight; /* the mean is loss_sum / weight */
    double correct, counted;
    double grad_norm;        /* training */
    bool finite;
} kl__result;

typedef struct kl__stepper kl__stepper;
kl__stepper *kl__stepper_create(kl_model *m, kl_ctx *ctx, const kl__stepper_opts *opts);
void kl__stepper_destroy(kl__stepper *s);

/** Numbers of one step for the step block. */
typedef struct kl__step_scalars {
    int64_t step;
    double lr;
    float p[4];
} kl__step_scalars;
/** Queues one update. Host memory of binds is copied before it returns. */
kl_status kl__stepper_step(kl__stepper *s, const kl_bind *binds, size_t n,
                           const kl__step_scalars *sc);
/** One more shard of a step by hand; at most KL__MAX_SHARDS before kl__stepper_update. */
kl_status kl__stepper_backward(kl__stepper *s, const kl_bind *binds, size_t n,
                               const kl__step_scalars *sc);
/** The update from the shards that were added by hand. */
kl_status kl__stepper_update(kl__stepper *s, const kl__step_scalars *sc);
/** A follower gets what an update needs: states (zero) and plans. */
kl_status kl__stepper_lead(kl__stepper *s);
/** Queues one inference pass of the loss (and logits). */
kl_status kl__stepper_eval(kl__stepper *s, const kl_bind *binds, size_t n);
/** Takes the oldest result that is ready; waits for it where `wait`. false: none (left). *st: a
 * failed pass's error. */
bool kl__stepper_result(kl__stepper *s, bool wait, kl__result *out, bool *eval, kl_status *st);
/** Queued steps and evaluations whose results were not taken; at KL__RING - 1 the next one waits,
 * so take results first. */
int kl__stepper_pending(const kl__stepper *s);
enum { KL__MAX_PENDING = 2 };
/** An event of the end of what is queued. Caller releases. */
kl_status kl__stepper_mark(kl__stepper *s, kl__event *done);

/** Finds the first op whose output is not finite when the pass of `step` (one of the last two) is
 * run again, and sets the error sentence; KL_E_NUMERIC. */
kl_status kl__stepper_explain(kl__stepper *s, int64_t step);

/** Optimizer states as host numbers (f32 or f64 as the model): state k of parameter i. Waits. */
/* trainable_elems numbers */
kl_status kl__stepper_get_state(kl__stepper *s, int k, void *dst);
kl_status kl__stepper_set_state(kl__stepper *s, int k, const void *src);

/* pass.c: the graphs */
typedef struct kl__pass_spec {
    bool training;
    const char *loss, *logits;
} kl__pass_spec;
/** Lowered graph for n samples with outputs "loss_sum", "loss_weight", "correct" (where logits),
 * and in training "grad:NAME" for parameters that are trained and "state:I" for value I of the
 * graph's updates. NULL: error. */
kl_graph *kl__pass_graph(const kl_model *m, int64_t n, const kl__pass_spec *spec);

#endif
