#include "ops/conv2d_wino.h"
size_t kl__wino_weights_scratch(const kl__conv *c, int v) { (void)c; (void)v; return 0; }
bool kl__wino_weights_fits(const kl__conv *c, const kl__caps *caps) { (void)c; (void)caps; return false; }
kl_status kl__wino_weights_emit(kl__emit *e, const kl__apply *a, const kl__conv *c) { (void)e; (void)a; (void)c; return KL_OK; }
