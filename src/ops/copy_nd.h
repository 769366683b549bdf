/* Strided copies, the launches behind concat, slice and transpose. */
#ifndef KL_OPS_COPY_ND_H
#define KL_OPS_COPY_ND_H

#include "ops/op.h"

/** Elements at src[from_first + sum i_k from[k]] go to dst[to_first + sum i_k to[k]]; axes in the
 * order of dst. */
typedef struct kl__copy_nd {
    int n_dims;
    int64_t dim[KL_MAX_DIMS], from[KL_MAX_DIMS], to[KL_MAX_DIMS];
    int64_t from_first, to_first;
} kl__copy_nd;

/** C-order strides of a concrete shape. */
void kl__strides(kl_shape s, int64_t stride[KL_MAX_DIMS]);
/** Drops axes of 1 and merges neighbours that are one run on both sides. */
void kl__copy_merge(kl__copy_nd *c);
/** Unsigned OpenCL type of an element's size, for -DE. */
const char *kl__elem_word(uint32_t bytes);
/** One launch; no elements: none. solo: vectors and tiles, one work-item per group; else one item
 * per element. */
kl_status kl__emit_copy(kl__emit *e, const kl__apply *a, kl__arg src, kl__arg dst,
                        const kl__copy_nd *c, bool solo);
/** The 2-D swap in a merged copy: axis *m is contiguous in dst, *n in src. False: there is none. */
bool kl__copy_swap(const kl__copy_nd *c, int *m, int *n);
/** One launch of a kernel of transpose.cl for such a swap. */
kl_status kl__emit_swap(kl__emit *e, const kl__apply *a, kl__arg src, kl__arg dst,
                        const kl__copy_nd *c, int m, int n, bool solo);
/** Fits of every SOLO copy. */
bool kl__copy_solo_fits(const kl__apply *a, const kl__caps *caps);

/** Gradients of other ops are slices too: size elements along `axis` from `start`. */
kl_node *kl__slice(kl_graph *g, kl_node *x, int axis, int64_t start, int64_t size);

#endif
