/* Training: a trainer moves a model by steps of forward, backward and update, on one context or
 * several. */
#ifndef KILN_TRAIN_H
#define KILN_TRAIN_H

#include "data.h"
#include "exchange.h"
#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- learning-rate schedules: a function of the step, formulas and golden values in the README's
 * "Schedules" ------------ */
typedef enum kl_schedule_kind {
    KL_SCHED_CONSTANT,
    KL_SCHED_STEP,            /* lr gamma^floor(t / period) */
    KL_SCHED_EXPONENTIAL,     /* lr gamma^(t / period) */
    KL_SCHED_POLYNOMIAL,      /* (lr - end)(1 - min(t, total) / total)^power + end */
    KL_SCHED_COSINE,          /* end + (lr - end) (1 + cos(pi min(t, total) / total)) / 2 */
    KL_SCHED_COSINE_RESTARTS, /* cosine with first period `period`, each next longer by t_mult */
    KL_SCHED_TRIANGULAR,      /* cyclic from base to lr, up in `period` steps, down in as many */
    KL_SCHED_TRIANGULAR2,     /* the amplitude halves per cycle */
    KL_SCHED_EXP_RANGE,       /* the amplitude falls by gamma^t */
    KL_SCHED_ONE_CYCLE /* lr / div up to lr in pct total steps, down to lr / div / final_div; cosine
                        */
} kl_schedule_kind;
typedef struct kl_schedule {
    kl_schedule_kind kind;
    double lr;             /* peak or start; 0: the optimizer's default */
    double end, base;      /* default 0 */
    double gamma;          /* default 0.1 (step), 0.99... see README */
    double power;          /* default 1 */
    double t_mult;         /* default 1 */
    double pct, div, final_div; /* one-cycle: default 0.3, 25, 1e4 */
    int64_t total, period; /* steps */
    /* linear from 0 over this many steps, then the schedule from its start; not with one-cycle */
    int64_t warmup;
} kl_schedule;
/** Learning rate of step t (from 0), t counted in updates. */
KL_API double kl_schedule_at(const kl_schedule *s, int64_t t);
/** "cosine", "one-cycle", ...; false: no such kind. */
KL_API bool kl_schedule_parse(const char *word, kl_schedule_kind *out);

typedef enum kl_optim_kind { KL_ADAMW, KL_SGD, KL_ADAM, KL_RMSPROP } kl_optim_kind;
typedef struct kl_optim_opts {
    kl_optim_kind kind;
    kl_compat compat;    /* the formulas and defaults of PyTorch (default) or Keras */
    float momentum;      /* SGD, RMSprop; default 0 */
    bool nesterov, centered;
    float beta1, beta2;  /* default 0.9, 0.999 */
    float rho;           /* RMSprop; default 0.99 torch, 0.9 keras */
    float eps;           /* default 1e-8 torch, 1e-7 keras */
    float weight_decay;  /* default 0.01 (0.004 keras) for AdamW, else 0; KL_NONE: 0 */
} kl_optim_opts;

/** Parameters chosen by name. The first rule whose pattern matches counts. */
typedef struct kl_param_rule {
    const char *pattern; /* glob */
    float lr_factor;     /* default 1; KL_NONE: 0 */
    bool no_decay, frozen;
} kl_param_rule;

typedef struct kl_trainer_opts {
    kl_optim_opts optim;
    kl_schedule schedule;
    float clip_norm;             /* of the global gradient; 0: none */
    const kl_param_rule *rules;  /* copied */
    size_t n_rules;
    /* Fixed pieces of a batch, 1 to 256, gradients summed by index in a fixed tree; saved in the
     * checkpoint. The result depends on their number, not on who computes which. One after the
     * other on a device, so its memory holds the values of one. 0: one context 1, several contexts
     * or processes 16 */
    int shards;
    /* default: a step whose gradient is not finite is an error that names the first layer */
    bool allow_nan;
    /* how shards fall to the contexts: n_ctx weights, kept; NULL: by measured speed. Copied */
    const double *split;
    /* training over several processes; NULL: this one alone. Borrowed until the trainer goes */
    const kl_exchange *exchange;
    /* with `exchange`: the processes' gradients are summed by its all_reduce (no fixed order: bits
     * may depend on how many there are) instead of by the tree over all shards */
    bool all_reduce;
    /* steps between two proofs that all devices hold the same parameters; 0: 64 */
    int check_every;
    uint32_t reserved[8];
} kl_trainer_opts;

typedef struct kl_metrics {
    int64_t step;        /* updates done */
    int64_t samples;     /* since the last call */
    double loss;         /* mean since the last call */
    double accuracy;     /* of the class output, where there is one; else NaN */
    double lr, grad_norm; /* of the last step; 0 before the first */
} kl_metrics;

typedef struct kl_trainer kl_trainer;
/** loss: name of the output to minimise (a scalar). logits: name of the output [N,K] whose largest
 * entry is the class, with labels as the i32 input of the same batch, for accuracy; NULL: none.
 * Copies opts. Caller owns. */
KL_API kl_trainer *kl_trainer_create(kl_model *m, kl_ctx *const *ctx, size_t n_ctx,
                                     const char *loss, const char *logits,
                                     const kl_trainer_opts *opts);
KL_API void kl_trainer_destroy(kl_trainer *tr);
/** Several contexts or an exchange: training over a group. Each step's shards are spread over the
 * contexts, the sums meet on the first one, which updates; the others take its parameters. Where a
 * context fails or hangs, it is left out from then on (a warning says so), the step is computed
 * again by the others, to the same bits where they are of one kind, and nothing is lost; with none
 * left the call gives KL_E_DEVICE, and kl_trainer_save still writes the last complete step. */
/** One update from one batch. Queues: host memory of binds is copied before it returns, tensors
 * must stay unchanged until the step ran. Waits for nothing but the end of the step before the
 * last. */
KL_API kl_status kl_trainer_step(kl_trainer *tr, const kl_bind *binds, size_t n_binds);
/** A step by hand, on one context: any number (up to 256) of passes that add their gradients in the
 * order of the calls, then the update from their sum. The same as a kl_trainer_step whose shards
 * they are. */
KL_API kl_status kl_trainer_backward(kl_trainer *tr, const kl_bind *binds, size_t n_binds);
KL_API kl_status kl_trainer_update(kl_trainer *tr);
/** The same forward pass without update, in inference form; adds to the evaluation's totals. */
KL_API kl_status kl_trainer_eval(kl_trainer *tr, const kl_bind *binds, size_t n_binds);
/** Waits; totals of training steps (or of evaluation) since the last call. KL_E_NUMERIC where a
 * step was not finite. */
KL_API kl_status kl_trainer_metrics(kl_trainer *tr, kl_metrics *out);
KL_API kl_status kl_trainer_eval_metrics(kl_trainer *tr, kl_metrics *out);
KL_API int64_t kl_trainer_steps(const kl_trainer *tr); /* updates queued so far */
/** Changes the schedule from the next step on (its clock goes on). */
KL_API kl_status kl_trainer_set_schedule(kl_trainer *tr, const kl_schedule *s);
KL_API kl_model *kl_trainer_model(const kl_trainer *tr); /* borrowed */
/** What one context of a group does. */
typedef struct kl_share {
    kl_device_info device;
    int shards;               /* of the last step */
    double
        images_per_second; /* of its own work, transfers and waiting left out; 0: not known yet */
    double busy;              /* fraction of the time since the training began */
    bool lost;
    char why[160];            /* lost: what happened */
} kl_share;
/** Fills at most `cap` entries, in the order of the contexts, and *n with how many there are. Waits
 * for nothing. */
KL_API kl_status kl_trainer_shares(const kl_trainer *tr, kl_share *out, size_t cap, size_t *n);

/* ---- micro-batches: a batch that no device could hold at once -------------------------------- */
typedef struct kl_micro {
    int shards;          /* fewest (1, or the contexts' or processes' 16, doubled) that fit */
    int64_t micro_batch; /* samples of the largest shard */
    uint64_t bytes; /* device memory of the training, as planned: the largest of the contexts */
} kl_micro;
/** How many shards make a training step of `batch` samples fit into `memory` bytes of each context
 * (0: what the device has), with room to evaluate micro_batch samples at a time. Plans without
 * compiling. opts: as for kl_trainer_create; shards != 0 there is kept and only looked at; with an
 * exchange all processes call, and get the same number. A context of a group may come to do
 * everything, so each must have room for that. KL_E_MEMORY: not even single samples fit; the
 * sentence says what takes how much. */
KL_API kl_status kl_trainer_fit_memory(kl_model *m, kl_ctx *const *ctx, size_t n_ctx,
                                       const char *loss, const char *logits,
                                       const kl_trainer_opts *opts, int64_t batch, uint64_t memory,
                                       kl_micro *out);

/* ---- checkpoints: one safetensors file; README "Checkpoint" has the format and the rule for older
 * versions ------------- */
typedef struct kl_meta { /* extra strings kept in the file */
    const char *key, *value;
} kl_meta;
/** Parameters, optimizer state, step, seed, graph text and `meta`; temp file, fsync, rename. */
KL_API kl_status kl_trainer_save(kl_trainer *tr, const char *path, const kl_meta *meta,
                                 size_t n_meta);
/** Parameters, optimizer state and step; the graph's text and the optimizer must be the same. */
KL_API kl_status kl_trainer_load(kl_trainer *tr, const char *path);
/** Without a trainer: parameters only. */
KL_API kl_status kl_model_save(kl_model *m, const char *path, const kl_meta *meta, size_t n_meta);
/** A model from a checkpoint (graph and parameters) or from a graph's text file. Caller owns. */
KL_API kl_model *kl_model_load(const char *path);
/** Value of a metadata key of a checkpoint in fresh memory (kl_free), NULL where it has none
 * (kl_last_error "" then). */
KL_API char *kl_checkpoint_meta(const char *path, const char *key);

/* ---- evaluation of classifiers --------------------------------------------------------------- */
typedef struct kl_confusion kl_confusion; /* rows: truth, columns: prediction */
KL_API kl_confusion *kl_confusion_create(int n_classes);
KL_API void kl_confusion_destroy(kl_confusion *c);
/** scores [n, n_classes], labels [n]; labels outside are counted as ignored. */
KL_API void kl_confusion_add(kl_confusion *c, const float *scores, const int32_t *labels, size_t n);
KL_API int64_t kl_confusion_at(const kl_confusion *c, int truth, int prediction);
KL_API double kl_confusion_accuracy(const kl_confusion *c);
KL_API double kl_confusion_top_k(const kl_confusion *c, int k); /* k 1..5 */
KL_API void kl_confusion_class(const kl_confusion *c, int k, double *precision, double *recall,
                               double *f1, int64_t *support);

/* ---- a whole training ------------------------------------------------------------------------ */
typedef struct kl_progress {
    int epoch, epochs;
    int64_t step, steps;   /* within the epoch */
    double loss, accuracy; /* of this epoch so far */
    double val_loss, val_accuracy; /* NaN until an epoch's end */
    double lr, images_per_second, eta_seconds;
    bool epoch_done;
    bool best;             /* epoch_done: this epoch has the best monitored value so far */
} kl_progress;
typedef struct kl_fit_opts {
    int epochs;              /* default 1 */
    int batch;               /* default 32; larger than the data: an error */
    bool drop_last;          /* leave out a short last batch */
    /* early stopping: epochs without improvement of val_loss (or loss); 0: never */
    int patience;
    double min_delta;
    const char *checkpoint_last, *checkpoint_best; /* paths; NULL: none */
    int64_t checkpoint_every; /* steps between saves of `last`; 0: at each epoch's end */
    bool resume;             /* go on from the position that kl_trainer_load read */
    const kl_meta *meta;     /* into checkpoints */
    size_t n_meta;
    /** Called after every step (cheap) and at each epoch's end. false: stop; kl_fit saves `last`
     * and returns KL_E_CANCELLED. */
    bool (*progress)(void *user, const kl_progress *p);
    void *user;
    int workers;             /* loader threads; default 1 */
    int eval_batch;          /* samples of an evaluation's pass; 0: batch */
    uint32_t reserved[7];
} kl_fit_opts;
/** Trains on `train`, evaluates on `val` (may be NULL) after each epoch. The graph's data input and
 * label input are found by dtype and shape (or named "image"/"x" and "label"/"y"). Bit-exact
 * resume, also in mid-epoch, where the context's kernels are the same (kl_ctx_opts.tuned). */
KL_API kl_status kl_fit(kl_trainer *tr, kl_dataset *train, kl_dataset *val,
                        const kl_fit_opts *opts);
/** Runs a data set through the model in inference form; fills what is not NULL. */
KL_API kl_status kl_evaluate(kl_trainer *tr, kl_dataset *data, int batch, kl_metrics *out,
                             kl_confusion *confusion);

#ifdef __cplusplus
}
#endif
#endif
