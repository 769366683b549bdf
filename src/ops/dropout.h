/* The hidden op that draws. */
#ifndef KL_OPS_DROPOUT_H
#define KL_OPS_DROPOUT_H

typedef struct kl__drop {
    float rate;
    int stream; /* FNV-1a of "dropout/NAME", its bits */
} kl__drop;

#endif
