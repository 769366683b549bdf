/* Tensors: typed, shaped device storage, plain layout (NCHW, C order), reference-counted. */
#ifndef KILN_TENSOR_H
#define KILN_TENSOR_H

#include "context.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum kl_dtype {
    KL_F32,
    KL_F16, /* storage only: arithmetic is f32 */
    KL_I32,
    KL_U8,
    KL_F64  /* tests and gradient checks */
} kl_dtype;
KL_API size_t kl_dtype_size(kl_dtype dtype);
KL_API const char *kl_dtype_name(kl_dtype dtype); /* "f32" */

enum { KL_MAX_DIMS = 6, KL_BATCH = -1 /* a dimension known when data comes: the batch */ };

/** Rank 0 (a scalar, one element) to 6. A zero dimension is legal: no elements. */
typedef struct kl_shape {
    int n_dims;
    int64_t dim[KL_MAX_DIMS];
} kl_shape;
/** Elements; 0 where a dimension is 0; -1 where it does not fit or a dimension is KL_BATCH. */
KL_API int64_t kl_shape_count(kl_shape shape);
KL_API bool kl_shape_equal(kl_shape a, kl_shape b);

typedef struct kl_tensor kl_tensor;
/** Caller owns one count. Contents are undefined until written. */
KL_API kl_tensor *kl_tensor_create(kl_ctx *ctx, kl_dtype dtype, kl_shape shape);
KL_API kl_tensor *kl_tensor_retain(kl_tensor *t);
KL_API void kl_tensor_release(kl_tensor *t);
/** The elements [first, first + count of shape) of t seen as `shape`; shares storage. Caller owns
 * one count. */
KL_API kl_tensor *kl_tensor_view(kl_tensor *t, int64_t first, kl_shape shape);
/** Copies all of t's elements from host memory; src is free on return. src_bytes must be t's size.
 */
KL_API kl_status kl_tensor_write(kl_tensor *t, const void *src, size_t src_bytes);
/** Waits for t's writers, then copies to dst. */
KL_API kl_status kl_tensor_read(kl_tensor *t, void *dst, size_t dst_bytes);
KL_API kl_dtype kl_tensor_dtype(const kl_tensor *t);
KL_API kl_shape kl_tensor_shape(const kl_tensor *t);
KL_API size_t kl_tensor_bytes(const kl_tensor *t);
KL_API kl_ctx *kl_tensor_ctx(const kl_tensor *t); /* borrowed */

#ifdef __cplusplus
}
#endif
#endif
