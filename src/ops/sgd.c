/* Stochastic gradient descent, with momentum and Nesterov's; torch: buf = mu buf + (1 - dampening)
 * g, w -= lr buf; keras: m = mu m - lr g, w += m. */
#include "ops/norm_common.h"
#include "ops/optim.h"

static const kl__attr sgd_attrs[] = {
    {"compat", KL__ATTR_ENUM, offsetof(kl__optim, compat), 0, kl__compat_words, 0, "whose formula"},
    {"momentum", KL__ATTR_FLOAT, offsetof(kl__optim, momentum), 0, NULL, 0, "mu"},
    {"dampening", KL__ATTR_FLOAT, offsetof(kl__optim, dampening), 0, NULL, 0,
     "of the gradient in the buffer, torch"},
    {"nesterov", KL__ATTR_BOOL, offsetof(kl__optim, nesterov), 0, NULL, 0, "look ahead"},
    KL__ATTR_END,
};

const kl__op kl__op_sgd = {
    .name = "sgd",
    .doc = "in place: w -= lr (g + weight decay), momentum, Nesterov",
    .min_in = 6,
    .max_in = 7,
    .n_out = 0,
    .flags = KL__OP_STATE | KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__optim),
    .attrs = sgd_attrs,
    .infer = kl__optim_infer,
    .aliases = kl__optim_aliases,
    .variants = kl__optim_variants,
};
