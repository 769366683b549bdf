/* What the files of the reduce family share. */
#ifndef KL_OPS_REDUCE_LAUNCH_H
#define KL_OPS_REDUCE_LAUNCH_H

#include "ops/reduce.h"

/** A shape cut into kept and reduced axes, neighbours of a kind merged and ones dropped: at most
 * three of each, outer first, right-aligned in the arrays (size 1 where unused). Steps are in
 * elements of the full shape. */
typedef struct kl__fold {
    int keep[3], keep_step[3], red[3], red_step[3];
    int n_keep, n_red; /* products */
    bool inner_red;    /* the contiguous axis is reduced */
} kl__fold;
/** `reduced` has bit i set where axis i of the full shape is reduced. */
void kl__fold_of(kl_shape full, uint32_t reduced, kl__fold *f);
/** The arguments FOLD_PARAMS of cl/reduce_fold.cl. */
void kl__launch_fold(kl__launch *l, const kl__fold *f);

/** Attributes of the hidden op broadcast_to. */
typedef struct kl__broadcast {
    kl_shape shape; /* target; -1 is the batch */
    /* axes of the target that the input lacks or has as 1; none: NumPy's alignment */
    kl_shape axes;
    bool mean;      /* divide by the number of copies: the gradient of a mean */
    const char *name;
} kl__broadcast;
/** Attributes of the hidden op sum_to. */
typedef struct kl__sum_shape {
    kl_shape shape; /* -1 is the batch */
    const char *name;
} kl__sum_shape;

/** Axes mask of a reduce op's attributes on an input of rank n; false where an axis is out of range
 * or given twice. */
bool kl__reduce_mask(kl_shape axes, int n, uint32_t *mask, int64_t *bad);
/** Axes of `full` along which `small` is stretched (NumPy alignment), false where it does not
 * broadcast. */
bool kl__broadcast_mask(kl_shape full, kl_shape small, uint32_t *mask);
/** The same mask for an apply of reduce_*, sum_to or reduce_max_bwd, whose shapes were checked. */
uint32_t kl__reduce_mask_of(const kl__apply *a);
/** Shape with -1 replaced by the batch size for which the graph was resolved. */
kl_shape kl__shape_in(const kl_graph *g, kl_shape s);

extern const kl__variant kl__reduce_variants[];

/* Variant "blocked" (reduce_channels.c): axes 0, 2, 3 of an input that comes as NCHWc. */
bool kl__reduce_channels_fits(const kl__apply *a, const kl__caps *caps);
void kl__reduce_channels_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in,
                                 kl__layout *out);
size_t kl__reduce_channels_scratch(const kl__apply *a, const kl__caps *caps);
kl_status kl__reduce_channels_emit(kl__emit *e, const kl__apply *a);

/* Variant "coop" (reduce_coop.c). */
bool kl__reduce_coop_fits(const kl__apply *a, const kl__caps *caps);
size_t kl__reduce_coop_scratch(const kl__apply *a, const kl__caps *caps);
kl_status kl__reduce_coop_emit(kl__emit *e, const kl__apply *a);

#endif
