/* Philox4x32-10 (Salmon et al., SC 2011) as a function of (seed, stream, step, index): no state, so
 * every draw is the same on every device, layout, split and thread count. cl/rng.cl is its twin. */
#ifndef KL_BASE_RNG_H
#define KL_BASE_RNG_H

#include <stdint.h>

typedef struct kl__rng { uint64_t seed; uint32_t stream, step; } kl__rng;

/** stream = FNV-1a of its name: "init/<parameter>", "dropout/<node>", "shuffle", "augment". */
kl__rng kl__rng_of(uint64_t seed, const char *stream, uint32_t step);

void kl__philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]);

uint32_t kl__rng_u32(kl__rng r, uint64_t i);    /* word i mod 4 of block i / 4 */
float kl__rng_uniform(kl__rng r, uint64_t i);   /* [0, 1), (x >> 8) 2^-24 */
/* Box-Muller on the word pairs of the block, double */
double kl__rng_normal(kl__rng r, uint64_t i);
/* |z| <= 2: the first attempt c3 = 0, 1, ...; r.step is ignored */
double kl__rng_trunc_normal(kl__rng r, uint64_t i);
uint32_t kl__rng_below(kl__rng r, uint64_t i, uint32_t n); /* (x n) >> 32, n >= 1 */

/** Order of n items in an epoch: Fisher-Yates from the end, from 0..n-1 anew. */
void kl__rng_shuffle(uint64_t seed, uint32_t epoch, uint32_t *order, uint32_t n);

/** floor(rate 2^32 + 0.5), kept iff x >= threshold; rate 1 gives 2^32. */
uint64_t kl__rng_drop_threshold(double rate);

#endif
