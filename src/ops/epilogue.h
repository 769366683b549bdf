/* Epilogues: element-wise applies that fusion put into the kernel that makes their input. A kernel
 * that includes cl/epilogue.cl and a launch made by kl__epi_launch can do any of them. */
#ifndef KL_OPS_EPILOGUE_H
#define KL_OPS_EPILOGUE_H

#include "ops/op.h"

/** For kl__variant.epilogue of kernels that store rank 4 by channel: NCHWc, or plain with VN 1.
 * elt's output has the shape of a's output 0, its other inputs are whole, scalars, [C,1,1] or
 * [N,C,1,1]. */
bool kl__epi_by_channel(const kl__apply *a, const kl__apply *elt);
/** For kl__variant.layouts: `in` of the epilogue's inputs, those of the whole shape in the kind and
 * block of `out`, without halo (any is read). */
void kl__epi_layouts(const kl__apply *a, kl__layout out, kl__layout *in);
/** Adds the arguments of EPI_PARAMS (the kernel's last) and the text before the file, then the
 * launch. l->prelude, where set, comes before that text. */
kl_status kl__epi_launch(kl__emit *e, const kl__apply *a, kl__launch *l);

#endif
