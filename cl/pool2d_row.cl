/* What the pooling kernels share: vectors along a row of windows. */
#ifndef KL_POOL2D_ROW_CL
#define KL_POOL2D_ROW_CL
#include "common.cl"

#ifndef KH /* window, SOLO kernels */
#define KH 2
#endif
#ifndef KW
#define KW 2
#endif
#ifndef SH /* stride, SOLO kernels */
#define SH 2
#endif
#ifndef SW
#define SW 2
#endif
#ifndef V /* windows per vector, SOLO kernels; 1: rows are too short for vectors */
#define V 1
#endif

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define LOAD CAT(vload, V)
#define STORE CAT(vstore, V)
#define TV CAT(T, V)
#define IV CAT(int, V)
#define TO_INT CAT(convert_int, V)

#define REACH (KW > SW ? KW : SW) /* cells of a row that loads for one window may touch */

/* Windows whose cells (and what loads touch beside them) all lie inside the row: [first, end). */
static inline int row_first(int OW, int PL)
{
    return min((PL + SW - 1) / SW, OW);
}
static inline int row_end(int W, int OW, int PL)
{
    return W + PL < REACH ? 0 : min((W + PL - REACH) / SW + 1, OW);
}

#if V > 1 && SW == 1
#define CELLS(p, kw) LOAD(0, (p) + (kw))
#elif V > 1 && SW == 2
/* Column kw of V windows; p is column 0 of the first. Nothing right of the last window's cells is
 * touched but for REACH: columns from 1 on are the odd lanes of loads that begin one cell before.
 */
#define CELLS(p, kw)                                                                               \
    ((kw) == 0 ? (TV)(LOAD(0, (p)).even, LOAD(1, (p)).even)                                        \
               : (TV)(LOAD(0, (p) + (kw)-1).odd, LOAD(1, (p) + (kw)-1).odd))
#endif
#if V > 1 && SW <= 2
#define VECTORS 1
#endif

/* Zeros over n elements. */
static inline void fill_zero(global T *p, int n)
{
    int k = 0;
    for (; k + 16 <= n; k += 16)
        vstore16(0, 0, p + k);
    for (; k < n; k++)
        p[k] = 0;
}
#endif
