/* Optimizers: ops that overwrite arenas in place. Inputs: w, g, states..., groups u8 [P/64], table
 * f32 [n,4] (rows: learning-rate factor, weight decay, trained, 0), weight f32 [1] (g is divided by
 * it), clip f32 [2] (clip[1] multiplies g; where clip[0], the norm, is not finite nothing moves).
 * Outputs: w, states..., each on its input's bytes. The learning rate and p come from the step
 * block. */
#ifndef KL_OPS_OPTIM_H
#define KL_OPS_OPTIM_H

#include "ops/op.h"

/** One struct for all; each op lists the fields it reads. */
typedef struct kl__optim {
    kl_compat compat;
    float momentum;     /* sgd, rmsprop */
    float dampening;    /* sgd, torch only */
    float beta1, beta2; /* adam */
    float rho;          /* rmsprop */
    float eps;          /* adam, rmsprop */
    bool nesterov;      /* sgd */
    bool decoupled;     /* adam: AdamW. Keras decay is always decoupled */
    bool centered;      /* rmsprop */
} kl__optim;

/** Defaults of the op and its convention into fields that are 0 (KL_NONE: 0 itself): betas 0.9 and
 * 0.999; eps 1e-8 torch, 1e-7 keras; rho 0.99 torch, 0.9 keras. */
void kl__optim_defaults(const kl__op *op, kl__optim *o);
/** Learning rate and weight decay where the user names none. */
double kl__optim_lr(const kl__op *op, const kl__optim *o);
double kl__optim_decay(const kl__op *op, const kl__optim *o);

/** What must be kept between steps, in the order of the inputs; names are for checkpoints. */
int kl__optim_n_states(const kl__op *op, const void *attrs);
const char *kl__optim_state_name(const kl__op *op, const void *attrs, int i);

/** Words P0..P3 of the step block for step (from 0), computed in double. */
void kl__optim_scalars(const kl__op *op, const void *attrs, int64_t step, float p[4]);

/** The apply, with its number of outputs; in: the list above. Attributes with defaults resolved. */
kl_node *kl__optim_new(kl_graph *g, const kl__op *op, const char *name, kl_node *const *in,
                       int n_in, const kl__optim *o);

/* Shared by the three ops. */
kl_status kl__optim_infer(const kl__apply *a, kl__desc *out);
int kl__optim_aliases(const kl__apply *a, int out);
extern const kl__variant kl__optim_variants[];
/** Groups, table and weight of `a` at inputs first.. fit an arena of shape [P], P a multiple of 64.
 */
kl_status kl__arena_check(const kl__apply *a, int n_arenas, int n_rest);

#endif
