/* Architectures by name. */
#ifndef KILN_ZOO_H
#define KILN_ZOO_H

#include "graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kl_zoo_entry {
    const char *name, *doc;
    kl_shape sample;  /* default input without the batch */
    int n_classes;
} kl_zoo_entry;
KL_API size_t kl_zoo_count(void);
KL_API const kl_zoo_entry *kl_zoo_at(size_t i);
/** A graph with input "image" [N, sample], i32 input "label" [N], outputs "logits" and "loss".
 * sample NULL and n_classes 0: the architecture's own. NULL for an unknown name (the sentence lists
 * what there is) or a sample that it can't take. */
KL_API kl_graph *kl_zoo_build(const char *name, const kl_shape *sample, int n_classes);

#ifdef __cplusplus
}
#endif
#endif
