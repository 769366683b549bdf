/* How a batch is cut: --shards, --micro-batch, --memory; and how its pieces fall to the devices:
 * --split. */
#ifndef PIECES_H
#define PIECES_H

#include "cli.h"

/** Do the options agree with each other and with --batch? 0, or the exit code after a message. */
int pieces_check(const args *a);
/** Sets o->shards, which become --shards as well (and what --memory found, --micro-batch), so that
 * a resumed run has as many. checkpoint: the one that the training goes on from, NULL: none. *text:
 * what was done for people, fresh memory; NULL where nothing is worth a word. 0, or the exit code
 * after a message. */
int pieces_choose(args *a, kl_model *m, const group *g, const char *loss, const char *logits,
                  const char *checkpoint, kl_trainer_opts *o, char **text);
/** --split as weights for n devices, fresh memory; NULL: by measured speed. 0, or the exit code
 * after a message. */
int pieces_split(const args *a, size_t n, double **weights);

#endif
