/* Emission: from an apply whose values have places to launches in a sequence. */
#ifndef KL_OPS_EMIT_H
#define KL_OPS_EMIT_H

#include "ops/node.h"

/** What changes per step is data: one small device block per step, read by kernels (optimizers,
 * dropout). KL_STEP_* in cl/common.cl are the same indices. 32-bit words. */
enum {
    KL__STEP_STEP,                       /* u32: training step from 0 */
    KL__STEP_SEED_LO, KL__STEP_SEED_HI,  /* u32 */
    /* u64: place of this pass's first sample in the whole batch */
    KL__STEP_FIRST_LO, KL__STEP_FIRST_HI,
    KL__STEP_LR,                         /* f32: learning rate of the step */
    /* f32: per-step scalars of the optimizer (bias corrections, ...) */
    KL__STEP_P0,
    KL__STEP_P1, KL__STEP_P2, KL__STEP_P3,
    /* f32: number of shards summed (batch statistics are divided by it) */
    KL__STEP_SHARDS,
    KL__STEP_WORDS = 16
};

typedef struct kl__emit {
    kl_ctx *ctx;
    const kl__caps *caps;
    kl__seq *seq;
    kl__span step; /* the step block */
    uint32_t reserved[4];
} kl__emit;

/* Arguments. in/out give pointer + element offset (two kernel arguments). */
kl__arg kl__arg_in(const kl__apply *a, int i);
kl__arg kl__arg_out(const kl__apply *a, int i);
/** `elem`-byte elements from byte `offset` of the apply's scratch on. */
kl__arg kl__arg_scratch(const kl__apply *a, size_t offset, uint32_t elem);
kl__arg kl__arg_step(const kl__emit *e); /* global const uint * */
kl__arg kl__arg_i32(int64_t v); /* values checked to fit by desc limits */
kl__arg kl__arg_u32(uint64_t v);
kl__arg kl__arg_u64(uint64_t v);
kl__arg kl__arg_f32(double v);
kl__arg kl__arg_local(size_t bytes);

/** Starts a launch: zeroed, with file and kernel; `defs` gets T (float or double) and KL_FP64 by
 * the apply's real dtype. Add arguments with kl__launch_arg, sizes, then kl__emit_launch. */
kl__launch kl__launch_of(const char *file, const char *kernel, const kl__defs *defs);
void kl__launch_arg(kl__launch *l, kl__arg arg);
/** One dimension of at least n work-items: SOLO devices n groups of 1 (ref kernels: 64), others
 * rounded up to groups of 64..256; kernels test `if (i < n)`. */
void kl__launch_1d(kl__launch *l, const kl__emit *e, size_t n);
/** dims global sizes with local size 1 each (SOLO shells). */
void kl__launch_solo(kl__launch *l, int dims, size_t g0, size_t g1, size_t g2);
/** Labels it with the apply's name and adds it; frees nothing. */
kl_status kl__emit_launch(kl__emit *e, const kl__apply *a, const kl__launch *l);
/** Defs common to all launches of an apply: T=double and KL_FP64 where its graph is f64. */
void kl__defs_real(kl__defs *d, const kl__apply *a);

#endif
