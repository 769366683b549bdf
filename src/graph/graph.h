/* Algorithms over nodes: from the graph a user built to one that can be emitted for a batch size on
 * a device.
 *
 *   lower     concrete batch and dtype, this mode's forms (batch norm, dropout), only what the
 * outputs need grad      symbol-to-symbol reverse mode; gradients are ordinary nodes fold      what
 * depends on constants only is computed once fuse      chains of element-wise applies become one
 *   epilogues element-wise applies move into the kernels that make their inputs
 *   layouts   variants chosen, storage layouts assigned, reorders inserted where they differ
 *   prepare   what depends on parameters only is computed once per version of them
 *   memory    lifetimes to offsets in one arena
 */
#ifndef KL_GRAPH_GRAPH_H
#define KL_GRAPH_GRAPH_H

#include "ops/op.h"

/** The same graph again, symbolic batch and all. Caller owns. */
kl_graph *kl__graph_copy(const kl_graph *g);
/** A copy for one batch size with the applies that `outputs` (n_outputs names; NULL: all) need, in
 * order. f32 becomes `real`. Names of applies are kept; applies that lowering adds get names of
 * their own. Caller owns. NULL: error set. */
kl_graph *kl__graph_lower(const kl_graph *g, int64_t batch, bool training, kl_dtype real,
                          const char *const *outputs, size_t n_outputs);

/** Gradient of sum(seed * y) by each of wrt[i]: dx[i] is a node of g, or NULL where y does not
 * depend on wrt[i]. Contributions to one value are added in the order of their use, last use first.
 */
kl_status kl__graph_grad(kl_graph *g, kl_node *y, kl_node *seed, kl_node *const *wrt, size_t n,
                         kl_node **dx);

/** Computes applies whose inputs are all constants on `ctx` and puts constants in their place. */
kl_status kl__graph_fold(kl_graph *g, kl_ctx *ctx);
/** Replaces sets of element-wise applies by `fused` ones where no value between is needed
 * elsewhere. */
kl_status kl__graph_fuse(kl_graph *g);
/** Puts element-wise applies into the apply that makes their input, where that one's first choice
 * of variant can do them before it stores (kl__apply.epilogue). After kl__graph_fuse. */
kl_status kl__graph_epilogues(kl_graph *g, const kl__caps *caps, const char *force);
/** Chooses variants (`force` as kl__choose_variant), sets layouts, inserts `reorder` applies.
 * Outputs and updates are plain again at the end. */
kl_status kl__graph_layouts(kl_graph *g, const kl__caps *caps, const char *force);
/** Marks applies that depend on parameters and constants only, and moves them to the front:
 * n_first applies, leaves among them, none where there is nothing to prepare. After layouts. */
kl_status kl__graph_prepare(kl_graph *g, size_t *n_first);
/** Drops applies that no output, update or STATE op needs. */
kl_status kl__graph_prune(kl_graph *g);

typedef struct kl__memory_plan {
    /* one arena; chunks below the device's allocation limit never cut a value */
    size_t arena_bytes;
    /* size of each chunk but the last; arena offset / chunk_bytes is the chunk */
    size_t chunk_bytes;
    size_t sum_bytes;   /* what every value in a buffer of its own would take */
    size_t n_values, n_in_place;
} kl__memory_plan;
/** Offsets for every value and scratch whose place is NOWHERE: place.kind AT_SPAN, span.mem NULL,
 * span.offset in the arena. Values placed before are left alone. Views and in-place outputs share.
 * Outputs and update values live to the end. align: bytes. separate: nothing shares and nothing is
 * reused (debug buffers). */
kl_status kl__graph_memory(kl_graph *g, const kl__caps *caps, size_t align, bool separate,
                           kl__memory_plan *out);
/** The same where applies may run beside later ones: what apply p reads and writes stays untouched
 * through position until[p] >= p (NULL: p). */
kl_status kl__graph_memory_until(kl_graph *g, const kl__caps *caps, size_t align, bool separate,
                                 const uint32_t *until, kl__memory_plan *out);

/** Liveness for reports: apply ids between which value x is needed. */
void kl__graph_lifetime(const kl_graph *g, const kl_node *x, uint32_t *first, uint32_t *last);

#endif
