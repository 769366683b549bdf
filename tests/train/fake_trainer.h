/* A trainer that keeps a hash of all it was fed instead of parameters, so that "the same training"
 * is one comparison. It stands in for train/trainer.c and for the three functions of a model that
 * kl_fit and kl_evaluate use. */
#ifndef KL_TESTS_TRAIN_FAKE_TRAINER_H
#define KL_TESTS_TRAIN_FAKE_TRAINER_H

#include "train/trainer.h"

typedef struct fake {
    kl_trainer tr; /* first: this is the kl_trainer that fit is given */
    kl_model model;
    uint64_t state; /* hash of the training so far */
    double loss_sum, correct, eval_loss_sum;
    int64_t samples, eval_samples;
    size_t n_metrics, n_saves, n_evals;
    double val_loss[64]; /* of evaluation pass k at that many epochs' steps */
    int64_t steps_per_epoch;
    int64_t broken_at; /* step that gives KL_E_NUMERIC; 0: none */
    int64_t lost_at;   /* the same, KL_E_DEVICE, from kl_trainer_step itself */
    bool full_disk;
    bool strayed;      /* tr.exchange: another process was fed something else */
    size_t batch_of_step[4096];
    char saved[64][64]; /* paths, in order of saving */
} fake;

/** A trainer of graph g (kept, not owned), whose model has this seed. */
void fake_init(fake *f, kl_graph *g, uint64_t seed);
void fake_finish(fake *f);
/** What kl_trainer_load does, from what was saved at `path`. */
void fake_load(fake *f, const char *path);
/** Value in what was saved at `path`; NULL: nothing of the kind. */
const char *fake_meta(const char *path, const char *key);
uint64_t fake_saved_state(const char *path);
void fake_disk_clear(void);

#endif
