/* What the files of the stepper share. */
#ifndef KL_SCHED_STEPPER_INSIDE_H
#define KL_SCHED_STEPPER_INSIDE_H

#include "sched/lanes.h"
#include "sched/stepper.h"
#include "sched/tree.h"

enum {
    /* steps whose host memory is kept: the one being made, and the two that may still run */
    KL__RING = 3,
    /* device copies of the inputs: the step before the last has ended when one is used again */
    KL__STAGES = 2,
    KL__MAX_SLOTS = 16, KL__MAX_SHARDS = 256, KL__MAX_BUCKETS = 8,
    KL__TOTALS = 256     /* elements at the end of the sums: */
};
enum { KL__T_LOSS = 0, KL__T_WEIGHT = 64, KL__T_CORRECT = 128, KL__T_NORM = 192 };

/** One frozen pass for one number of samples. */
typedef struct kl__pass {
    struct kl__pass *next;
    int64_t n;
    bool training;
    kl__plan *plan;
    int n_slots;
    bool finite_known; /* the totals it writes */
    bool has_correct;
    size_t cut[KL__MAX_BUCKETS]; /* applies after which a bucket of the sums is complete */
} kl__pass;

/** A range of the sums, in elements. */
typedef struct kl__bucket {
    size_t first, n;
} kl__bucket;

/** An input of the model: its host and device copies. */
typedef struct kl__input {
    const char *name; /* of the model's graph */
    bool batched;
    kl_dtype dtype;
    size_t sample_bytes; /* of one sample, or of all where not batched */
    void *host[KL__RING];
    size_t host_cap;
    kl__mem *device[KL__STAGES];
    size_t device_cap;
} kl__input;

/** A queued step or evaluation. */
typedef struct kl__entry {
    bool used, eval, by_hand; /* by_hand: one shard, whose results come with the update */
    int64_t step, samples;
    int shards;          /* of a step; 0: by hand */
    kl__event done;
    uint32_t block[KL__MAX_SHARDS][KL__STEP_WORDS]; /* lives until the step ran */
    double totals[KL__TOTALS]; /* room for f32 or f64 as read */
    bool has_correct;
    kl_status status;
} kl__entry;

struct kl__stepper {
    kl_model *model;
    kl_ctx *ctx;
    kl__replica *replica;
    kl__stepper_opts opts;
    kl__group *groups_kept; /* opts.groups */
    char *loss, *logits;
    void *optim_attrs;
    size_t real_size;
    /* elements: gradients, values of state updates, totals */
    size_t sums_elems, state_at, totals_at;
    kl__mem *sums, *level[KL__MAX_LEVELS], *states, *groups, *table, *step_block;
    kl__bucket bucket[KL__MAX_BUCKETS];
    int n_buckets;
    kl__pass *passes;
    kl__plan *update, *add[KL__MAX_LEVELS][KL__MAX_BUCKETS]; /* sums += level[i], a bucket */
    /* by hand: shards added since the last update, and the node that the last one became */
    int by_hand;
    kl__node_id last;
    int64_t hand_samples;
    bool hand_correct;
    kl__lane_choice choice; /* one compute lane or two: measured by turns */
    int lanes;              /* of the step */
    kl__input inputs[KL__MAX_SLOTS];
    int n_inputs;
    kl__entry ring[KL__RING];
    /* entries queued, entries whose results were taken; ring index is modulo */
    uint64_t head, tail;
    uint64_t freezes;    /* of the model when the passes were made */
};

/* stepper_inputs.c */
kl_status kl__inputs_list(kl__stepper *s);
void kl__inputs_finish(kl__stepper *s);
/** Device copies of an input become large enough; what is queued ends first. */
kl_status kl__input_grow_device(kl__stepper *s, kl__input *in, size_t bytes);
/** Host memory into the entry's copy and on to the device by the upload lane; the compute lane
 * waits for it. */
kl_status kl__inputs_upload(kl__stepper *s, const kl_bind *binds, size_t n, int64_t batch,
                            uint64_t entry);
/** Binds the slots of a pass to samples [first, first + pass->n) of what was uploaded or bound
 * (binds NULL: all was uploaded). */
kl_status kl__inputs_bind(kl__stepper *s, kl__pass *p, const kl_bind *binds, size_t n,
                          int64_t first, uint64_t entry);

/* stepper_update.c */
kl_status kl__update_create(kl__stepper *s);
/** KL_E_NUMERIC and a sentence where an op of the pass over n samples, which lie on the device from
 * sample `at` on, gives a number that is not finite. */
kl_status kl__explain_shard(kl__stepper *s, int64_t n, int64_t at, uint64_t entry,
                            const uint32_t *block, int64_t step);
kl_status kl__explain_failed(int64_t step);

/* tree.c */
void kl__tree_buckets(kl__stepper *s);
void kl__tree_cuts(const kl__stepper *s, kl__pass *p);
kl__span kl__tree_span(const kl__stepper *s, kl__mem *mem, int bucket);
/** Levels enough for so many shards. */
kl_status kl__tree_grow(kl__stepper *s, int shards);
/** The sums of a bucket are `node`'s: adds to them what they can be added to, and keeps the result
 * in its level, or, of the whole tree (`first` 0 and the last shard in it), in the sums. A node of
 * odd index that comes back is in the sums: its left neighbour holds shards before `first`. */
kl_status kl__tree_join(kl__stepper *s, int bucket, kl__node_id *node, int first, int shards,
                        kl__lane *lane);
kl_status kl__tree_fold(kl__stepper *s, int bucket, kl__node_id node, kl__lane *lane);

/* stepper.c */
kl__pass *kl__pass_get(kl__stepper *s, int64_t n, bool training);
/** What the totals of an entry that is done say. */
void kl__result_of(const kl__stepper *s, const kl__entry *e, kl__result *out);
/** A shard without samples. */
kl_status kl__shard_zero(kl__stepper *s, kl__lane *lane);
kl_status kl__step_block_write(kl__stepper *s, uint32_t *block, int64_t first, int shards,
                               const kl__step_scalars *sc);

#endif
