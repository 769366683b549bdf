/* What the files of the team share.
 *
 * Threads: the caller's (queues entries, takes results), the team's (runs entries one by one,
 * decides who carries what and what a loss means), and one per member (drives its context). `lock`
 * guards what says so; the rest of a member belongs to its own thread while it has a task, and to
 * the team's while it has none.
 *
 * Versions: parameters version v are those after v updates of this team. params[v & 1] holds
 * version `version` on the host, states[c & 1] the optimizer's of version `committed`, which is
 * `version` or the one before: the states of a step come from the root while the next one runs. A
 * root that is lost before they are there takes nothing along: the step before is computed again
 * from what is here, with its batch, which the ring still has. */
#ifndef KL_SCHED_TEAM_INSIDE_H
#define KL_SCHED_TEAM_INSIDE_H

#include "base/thread.h"
#include "sched/stepper_inside.h"
#include "sched/team.h"

#include <kiln/context.h>

typedef enum kl__task {
    KL__TASK_NONE,
    KL__TASK_STEP,
    KL__TASK_EVAL,
    KL__TASK_COMMIT, /* of the root: its states come to the host */
    KL__TASK_QUIT
} kl__task;

/** A node of the tree on its way through host memory. */
typedef struct kl__sent {
    kl__node_id id;
    char *bytes;                      /* all sums */
    kl__event read[KL__MAX_BUCKETS];
    int ready;                        /* buckets that are there; lock */
    uint64_t flow;                    /* first of its buckets' ids in a trace */
} kl__sent;

typedef struct kl__team_entry {
    uint64_t number;
    bool eval;
    int64_t batch;
    kl__step_scalars sc;
    void *host[KL__MAX_SLOTS];
    size_t cap[KL__MAX_SLOTS];
    double shard[KL__MAX_SHARDS][4]; /* evaluation: loss, weight, correct, counted */
    kl__result result;
    kl_status status;
    char why[512];
} kl__team_entry;

typedef struct kl__member {
    struct kl__team *team;
    int index;
    kl_ctx *ctx;
    kl__stepper *stepper;
    kl__thread thread;
    bool started;
    kl__task task;    /* lock */
    bool lost;        /* lock */
    char why[512];    /* lock; of the last failure */
    kl_status status; /* lock; of the last task */
    int first, end;   /* shards of this task */
    struct {
        uint64_t entry; /* number + 1 of the entry whose samples lie there; 0: none */
        int first, end; /* shards */
    } staged[KL__STAGES];
    int64_t version, state_version; /* on the device; -1: none */
    kl__sent sent[KL__MAX_NODES];
    int n_sent;                     /* lock */
    uint32_t (*block)[KL__STEP_WORDS]; /* a step block per shard */
    /* where a root's results arrive: exchanged for the team's when whole, so that a device that
     * wakes up late writes where nobody looks */
    char *params, *states;
    char *rows;                   /* its own of a meeting, as they arrive */
    int32_t counts[KL__MAX_SHARDS]; /* samples of the shards, where they meet */
    double (*totals)[KL__TOTALS]; /* evaluation: a shard each; f32 or f64 as read */
    kl__event states_read;        /* a root's; none: they are there */
    kl__event own[KL__MAX_BUCKETS]; /* a root's: its own sums of a bucket are whole */
    /* lock: when its first and its last shard of a step were done, 0: not; calls of the driver's
     * that will say so are still owed */
    double first_done, last_done;
    int owed;
    double per_sample;            /* seconds; 0: not known */
    double fixed;                 /* seconds of a step before its shards follow each other */
    double busy, waited;          /* waited: for others' rows, in this step */
    int measured, n_passes;       /* steps measured; plans there were when it was */
    int idle;                     /* steps without a shard since the last with one */
} kl__member;

struct kl__team {
    kl_model *model;
    kl__team_opts opts;
    double split[KL_MAX_GROUP];
    kl__member member[KL_MAX_GROUP];
    int n;
    int first, end;         /* this process's shards */
    size_t param_bytes, state_bytes, sums_bytes, totals_bytes;
    kl__mutex lock;
    kl__cond cond;
    kl__thread thread;
    bool started, quit;     /* lock */
    bool want_commit;       /* lock */
    bool stop;              /* lock: the attempt is given up */
    bool published;         /* lock: it has given its result */
    kl__team_entry ring[KL__RING];
    uint64_t head, run, tail; /* queued, done, taken; lock */
    kl__team_entry *entry;  /* that runs */
    int root;               /* of the attempt */
    int64_t version, committed;
    int64_t next_step;      /* of the optimizer's clock, after `version`; -1: none yet */
    char *params[2], *states[2];
    uint64_t model_version; /* of the model when its parameters and ours were the same */
    int64_t synced;         /* our version then */
    uint64_t freezes;
    kl__sent *received;     /* rank 0: the other processes' nodes, in their order */
    int n_nodes, n_received[KL__MAX_BUCKETS], n_sent[KL__MAX_BUCKETS];
    char *reduced;          /* all_reduce: the sums of all processes */
    bool exchange_failed;
    char *rows;             /* where shards meet: all rows of a step, placed as on a device */
    int met[KL__MAX_SHARDS]; /* meetings that a shard of this process has left its row for; lock */
    size_t exchanged, given; /* meetings whose rows went round the processes: in all, and in
                                attempts before this one; lock */
    int counts[KL_MAX_GROUP];
    bool counts_known;
    double began;
    bool hung;              /* a driver may still use our memory */
};

static inline int64_t kl__shard_at(int64_t batch, int shard, int shards)
{
    return batch * shard / shards;
}

/* team_member.c */
void *kl__member_main(void *member);
kl_status kl__member_create(kl__member *m);
void kl__member_finish(kl__member *m);
bool kl__team_stopped(kl__team *t);
/** Its shards' passes with the tree as far as it goes within them; what cannot be added here is
 * read to the host. keep: what is held stays in the levels (a root). */
kl_status kl__member_part(kl__member *m, kl__team_entry *e, bool keep, int base, int shards);
kl_status kl__member_export(kl__member *m, kl__node_id id, int bucket, kl__mem *from, bool last);
/** Parameters of the team's version are on the device. */
kl_status kl__member_sync(kl__member *m);
kl_status kl__member_upload(kl__member *m, const kl__team_entry *e, int first, int end);
/** The next entry's samples set out while this one's are computed, if it is there and the split
 * stays.
 */
kl_status kl__member_prefetch(kl__member *m, const kl__team_entry *e);

/* team_root.c */
kl_status kl__root_step(kl__member *m, kl__team_entry *e);
kl_status kl__root_commit(kl__member *m);

/** An exchange that fails leaves the others waiting for ever. */
kl_status kl__team_exchanged(kl__team *t, kl_status st);

/* team_meet.c */
kl_status kl__team_meet_create(kl__team *t);
/** Its shards' passes up to their last meeting. KL_E_CANCELLED: the attempt is given up. */
kl_status kl__member_meet(kl__member *m, const kl__team_entry *e);

/* team_speed.c */
void kl__team_divide(kl__team *t);
/** A step whose shards it began at `begin` is over. */
void kl__member_measured(kl__member *m, double begin, int64_t batch);

#endif
