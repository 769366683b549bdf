/* A tensor cut into kept and reduced axes (kl__fold of src/ops/reduce.h): at most three of each,
 * outer first. */
#ifndef KL_REDUCE_FOLD_CL
#define KL_REDUCE_FOLD_CL

#include "common.cl"

#define FOLD_PARAMS                                                                                \
    int n_keep, int k1, int k2, int ks0, int ks1, int ks2, int n_red, int r1, int r2, int rs0,     \
        int rs1, int rs2
/* Offset of kept position o and of reduced position i in the full tensor. */
#define FOLD_KEEP(o) fold_at(o, k1, k2, ks0, ks1, ks2)
#define FOLD_RED(i) fold_at(i, r1, r2, rs0, rs1, rs2)

int fold_at(int i, int d1, int d2, int s0, int s1, int s2)
{
    const int j = i / d2;
    return j / d1 * s0 + j % d1 * s1 + i % d2 * s2;
}

#endif
