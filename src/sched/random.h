/* Random data for the inputs of a graph: profiles and gradient checks. */
#ifndef KL_SCHED_RANDOM_H
#define KL_SCHED_RANDOM_H

#include "sched/model.h"

typedef struct kl__random {
    kl_bind *binds; /* host memory: f32 (f64 in models of f64) standard normal, i32 0..classes-1, u8
                       0..255 */
    size_t n;
} kl__random;
/** One bind per input of the model's graph. Labels are drawn from the classes that the op reading
 * them has. */
kl_status kl__random_make(const kl_model *m, int64_t batch, uint64_t seed, kl__random *out);
/** One bind, for input x of g; caller frees out->host. `real` is what f32 stands for. */
kl_status kl__random_one(const kl_graph *g, const kl_node *x, kl_dtype real, int64_t batch,
                         uint64_t seed, kl_bind *out);
void kl__random_finish(kl__random *r);

#endif
