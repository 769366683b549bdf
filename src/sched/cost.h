/* What costs and profiles look at: the plans as running makes them. */
#ifndef KL_SCHED_COST_H
#define KL_SCHED_COST_H

#include "sched/stepper_inside.h"

/** A plan of the inference pass of all outputs, its inputs at slots. Lock held. */
kl__plan *kl__cost_infer_plan(kl_model *m, kl_ctx *ctx, int64_t batch);
/** A stepper with the default optimizer and one shard. loss NULL: the output "loss", or the only
 * scalar. */
kl__stepper *kl__cost_stepper(kl_model *m, kl_ctx *ctx, const char *loss);
/** The output to minimise: the one named, else "loss", else the only scalar. NULL: error set. */
const char *kl__cost_loss(const kl_model *m, const char *loss);
/** Sorts v; what stands in the middle. */
double kl__median(double *v, size_t n);
/** Storage of an apply's inputs and outputs, each once: what it must read and write at least. */
size_t kl__apply_bytes(const kl__apply *a);
/** Two per multiply-accumulate; of element-wise work (an epilogue's too) the formula's operations
 * per element; else one per element read. Transforms and recomputation are not counted. */
double kl__apply_flops(const kl__apply *a);

#endif
