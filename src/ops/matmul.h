/* Matrix products as the families that lower to them see them. */
#ifndef KL_OPS_MATMUL_H
#define KL_OPS_MATMUL_H

#include "ops/op.h"

/** C [batch,m,n] = op(A) op(B) + bias by column; A is [batch,m,k] or, with ta, [batch,k,m]; B
 * likewise. */
typedef struct kl__product {
    bool ta, tb;
    int batch, m, n, k;
    int a, b, bias; /* which input; bias -1: none */
} kl__product;
/** The product that an apply of matmul, dense, dense_bwd_data or dense_bwd_weights is; shapes
 * concrete. */
kl__product kl__product_of(const kl__apply *a);
int64_t kl__product_macs(const kl__apply *a);
/* an output sees a whole row */
void kl__product_window(const kl__apply *a, int extent[2], int stride[2]);

extern const kl__variant kl__matmul_variants[]; /* of all four */

/** Attributes of the hidden op dense_bwd_data. */
typedef struct kl__dense_shape {
    kl_shape shape; /* of dx; -1 is the batch */
    const char *name;
} kl__dense_shape;

#endif
