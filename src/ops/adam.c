/* Adam and AdamW; torch: epsilon beside the corrected root, coupled decay unless decoupled; keras:
 * bias correction folded into the learning rate, decay always decoupled. */
#include "ops/norm_common.h"
#include "ops/optim.h"

static const kl__attr adam_attrs[] = {
    {"compat", KL__ATTR_ENUM, offsetof(kl__optim, compat), 0, kl__compat_words, 0, "whose formula"},
    {"beta1", KL__ATTR_FLOAT, offsetof(kl__optim, beta1), 0, NULL, 0, "decay of the mean"},
    {"beta2", KL__ATTR_FLOAT, offsetof(kl__optim, beta2), 0, NULL, 0, "decay of the mean square"},
    {"eps", KL__ATTR_FLOAT, offsetof(kl__optim, eps), 0, NULL, 0, "added to the root"},
    {"decoupled", KL__ATTR_BOOL, offsetof(kl__optim, decoupled), 0, NULL, 0, "AdamW"},
    KL__ATTR_END,
};

const kl__op kl__op_adam = {
    .name = "adam",
    .doc = "in place: w -= lr m / (sqrt(v) + eps), bias-corrected; AdamW by decoupled",
    .min_in = 8,
    .max_in = 8,
    .n_out = 0,
    .flags = KL__OP_STATE | KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__optim),
    .attrs = adam_attrs,
    .infer = kl__optim_infer,
    .aliases = kl__optim_aliases,
    .variants = kl__optim_variants,
};
