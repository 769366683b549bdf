/* Architectures as text: what stands between the inputs "image" and "label" and the last layer. */
#ifndef KL_ZOO_NETS_H
#define KL_ZOO_NETS_H

#include "base/str.h"

#include <kiln/zoo.h>

typedef struct kl__zoo_net {
    kl_zoo_entry entry;
    const char *body;   /* text form; %K stands for the number of classes */
    const char *logits; /* the value that is the output */
    void (*write)(kl__text *t); /* writes the body of a long net; body is NULL then */
} kl__zoo_net;

extern const kl__zoo_net kl__zoo_nets[];
extern const size_t kl__zoo_n_nets;

void kl__zoo_resnet18(kl__text *t);
void kl__zoo_resnet50(kl__text *t);
void kl__zoo_mobilenet_v2(kl__text *t);

#endif
