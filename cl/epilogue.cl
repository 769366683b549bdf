/* Element-wise work on a value before it is stored. The generated text before the kernel's file
 * (src/ops/epilogue.c) says what; a kernel has it by three words:
 *   EPI_PARAMS        its last parameters, each with a comma before it
 *   EPI_ROW(n, k, h)  in a scope of its own: declares what row h of channel block k of sample n
 *                     needs (VN 1: channel k of a plain value)
 *   EPI(y, v, w)      declares y, the value to store at column w of that row where the op's own is
 *                     v; pad lanes come out as zero
 * Kernels that store plain rows have instead
 *   EPI_LINE(r)         the same for row r of a matrix
 *   EPI_AT(y, v, j, n)  declares y, the n values (at most a vector) from column j of that row on
 * Without that text they do nothing. */
#include "vec.cl"

#ifdef EPI_VALUES
static inline V epi_value(EPI_VALUES)
{
/* An absorbed chain gives the bits that its parts would give one by one. */
#pragma OPENCL FP_CONTRACT OFF
    EPI_BODY
    return y;
}
#else
#define EPI_PARAMS
#define EPI_ROW(n, k, h)
#define EPI(y, v, w) const V y = (v);
#define EPI_LINE(r)
#define EPI_AT(y, v, j, n) const V y = (v);
#endif
