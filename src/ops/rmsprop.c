/* RMSprop, centered and with momentum; torch: epsilon beside the root; keras: under it. */
#include "ops/norm_common.h"
#include "ops/optim.h"

static const kl__attr rmsprop_attrs[] = {
    {"compat", KL__ATTR_ENUM, offsetof(kl__optim, compat), 0, kl__compat_words, 0, "whose formula"},
    {"rho", KL__ATTR_FLOAT, offsetof(kl__optim, rho), 0, NULL, 0, "decay of the mean square"},
    {"eps", KL__ATTR_FLOAT, offsetof(kl__optim, eps), 0, NULL, 0, "added to the root"},
    {"momentum", KL__ATTR_FLOAT, offsetof(kl__optim, momentum), 0, NULL, 0, "mu"},
    {"centered", KL__ATTR_BOOL, offsetof(kl__optim, centered), 0, NULL, 0,
     "less the square of the mean"},
    KL__ATTR_END,
};

const kl__op kl__op_rmsprop = {
    .name = "rmsprop",
    .doc = "in place: w -= lr g / (sqrt(v) + eps), centered, momentum",
    .min_in = 7,
    .max_in = 9,
    .n_out = 0,
    .flags = KL__OP_STATE | KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__optim),
    .attrs = rmsprop_attrs,
    .infer = kl__optim_infer,
    .aliases = kl__optim_aliases,
    .variants = kl__optim_variants,
};
