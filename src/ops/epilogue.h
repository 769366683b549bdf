/* Epilogues: element-wise applies that fusion put into the kernel that makes their input. A kernel
 * that includes cl/epilogue.cl and a launch made by kl__epi_launch can do any of them. */
#ifndef KL_OPS_EPILOGUE_H
#define KL_OPS_EPILOGUE_H

#include "ops/op.h"

/** For kl__variant.epilogue of kernels that store rank 4 by channel: NCHWc, or plain with VN 1.
 * elt's output has the shape of a's output 0, its other inputs are whole, scalars, [C,1,1] or
 * [N,C,1,1]. */
bool kl__epi_by_channel(const kl__apply *a, const kl__apply *elt);
/** The same for kernels that store plain rows (a matrix product's): elt's other inputs are whole,
 * scalars, or, beside a matrix, one value per column. Their launch is made by kl__epi_launch_rows;
 * in the kernel EPI_LINE(r) and EPI_AT(y, v, j, n) stand for EPI_ROW and EPI: y is the value of n
 * columns (at most VN) from column j of row r on. */
bool kl__epi_by_rows(const kl__apply *a, const kl__apply *elt);
/** For kl__variant.layouts: `in` of the epilogue's inputs, those of the whole shape in the kind and
 * block of `out`, without halo (any is read). */
void kl__epi_layouts(const kl__apply *a, kl__layout out, kl__layout *in);
/** Adds the arguments of EPI_PARAMS (the kernel's last) and the text before the file, then the
 * launch. l->prelude, where set, comes before that text. */
kl_status kl__epi_launch(kl__emit *e, const kl__apply *a, kl__launch *l);
/** `columns`: of the matrix whose rows are stored. */
kl_status kl__epi_launch_rows(kl__emit *e, const kl__apply *a, kl__launch *l, int columns);

#endif
