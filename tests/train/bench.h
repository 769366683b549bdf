/* Graph, data and stand-in trainer of the tests of kl_fit and kl_evaluate, and a callback that
 * watches. */
#ifndef KL_TESTS_TRAIN_BENCH_H
#define KL_TESTS_TRAIN_BENCH_H

#include "fake_trainer.h"
#include "support.h"

enum { N = 50, PER = 6, BATCH = 8, STEPS = 7 /* of an epoch */ };

extern fake t; /* the trainer */

typedef struct bench {
    kl_graph *g;
    kl_dataset *train, *val;
} bench;
/** 50 samples to train with, augmented, and 20 to validate; validation losses 5, 4, 4.5, 3 at the
 * ends of epochs. */
void begin(bench *b);
void end(bench *b);
/** A new trainer, as if the program began anew. */
void restart(bench *b);

/** Inputs "image" [N,1,2,3] and "label" [N]. */
kl_graph *make_graph(void);
/** Sample i: class i mod 3, values i, i + 1, ... */
kl_dataset *make_data(size_t n, bool labelled, int n_classes);

typedef struct watch {
    int64_t calls, stop_after; /* stops at that many calls; 0: never */
    int n_epochs;
    kl_progress last, epoch[32];
    bool ordered; /* steps and epochs went up by one */
} watch;
/** Four epochs, watched by w, with checkpoints "last" and "best". */
kl_fit_opts options(watch *w);

#endif
