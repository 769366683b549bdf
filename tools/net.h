/* A model and what the program has to know about it. */
#ifndef NET_H
#define NET_H

#include "cli.h"

typedef struct net {
    kl_model *model;
    char *file;         /* the checkpoint or text; NULL: an architecture by name */
    bool checkpoint;    /* the file has parameters */
    char *name;         /* for people and for the run's folder */
    const char *input;  /* name of the data input; borrowed from the graph */
    kl_shape sample;    /* of that input, without the batch */
    const char *loss;   /* "loss" where there is one, else NULL */
    const char *scores; /* the output [N,K] whose largest entry is the class, else NULL; borrowed */
    int n_scores;       /* K */
    bool labels;        /* it has an input for labels */
    bool has_norm;      /* the checkpoint says how its data was normalised */
    kl_normalise norm;
    char **class_name; /* of the checkpoint */
    int n_classes;
    kl_shape picture; /* shape of the samples it was trained on; n_dims 0: not known */
} net;

typedef struct net_opts {
    const kl_shape *sample; /* of the data; NULL: the architecture's own */
    int n_classes;          /* of the data; 0: the architecture's own */
    const char *loss;       /* kind to append where the graph has none; NULL: none */
    uint64_t seed;          /* of fresh parameters */
} net_opts;

/** NAME of an architecture, a graph's text file, a checkpoint, or a run's folder (its best.kiln).
 * 0, or the exit code after a message. */
int net_open(net *n, const char *what, const net_opts *o);
void net_close(net *n);
/** Name of class k: the checkpoint's, else the data's (may be NULL), else its number in `buffer`.
 */
const char *net_class(const net *n, const kl_dataset *d, int k, char buffer[16]);
/** A trainer for evaluation only. NULL after a message: *code. */
kl_trainer *net_evaluator(const net *n, const group *g, int *code);

#endif
