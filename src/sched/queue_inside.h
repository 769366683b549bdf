/* Inside of the pass queue.
 *
 * Life of a pass: submitted, it is BLOCKED while what it comes after is not done; then READY in the
 * list of one seat (a context of the group; the last seat is for trainers that work on a whole
 * group), or GATHERING until its batch is made up and BATCHED from then on; HANDING while a thread
 * enqueues it; RUNNING while the device has it; ENDED.
 *
 * Who works: whoever comes by. A submitting thread hands its pass over itself where the device has
 * room, and a waiting one waits for the device's own event and takes what has ended; so one thread
 * that submits and waits needs no other. A seat gets a thread of its own from the first time that
 * something must happen though nobody comes by: a pass is left in its list, or one that runs has a
 * callback or others that come after it. Batches get one, for their deadlines.
 *
 * Locks: one mutex per queue guards all that is here. It is never held while a pass is handed over,
 * an event is waited for or a callback runs, so a model's, a trainer's and a context's locks are
 * taken either without it or (polling an event) after it, and none of their holders knows of
 * queues. One thread at a time hands over to a seat (`handing`): so a trainer is used by one thread
 * at a time, and a seat's passes lie on its compute lane in the order of `flight`.
 *
 * Lifetime: a ticket counts the caller, the queue until it has ended, its callback until it has
 * returned, and what comes after it. The queue counts its owner and its tickets, so a ticket may be
 * asked and released after kl_queue_destroy, which waits for all passes and callbacks. Tickets go
 * back to a list with the memory that they hold, so a steady stream of passes allocates nothing. */
#ifndef KL_SCHED_QUEUE_INSIDE_H
#define KL_SCHED_QUEUE_INSIDE_H

#include "base/thread.h"
#include "sched/model.h"
#include "sched/queue.h"

enum { KL__PRICES = 64, KL__OUT_AFTER = 3, KL__KEPT_TICKETS = 64 };

typedef enum kl__stage {
    KL__BLOCKED,
    KL__READY,
    KL__GATHERING,
    KL__BATCHED,
    KL__HANDING,
    KL__RUNNING,
    KL__ENDED
} kl__stage;

typedef struct kl__flow kl__flow;
typedef struct kl__batch kl__batch;
typedef struct kl__tickets {
    kl_ticket **at;
    size_t n, cap;
} kl__tickets;

struct kl_ticket {
    kl_queue *queue;
    int refs;
    kl__stage stage;
    kl_status status;
    char *error;          /* of a status that is not KL_OK; NULL: no memory for it */

    kl_work kind;
    kl_model *model;
    struct kl_trainer *trainer;
    int priority;
    double merge;
    void (*on_done)(void *user, kl_ticket *t, kl_status status);
    void *user;
    bool to_call;         /* on_done has not returned */
    kl_bind *binds;       /* names in `names`, tensors retained until it has ended */
    size_t n_binds, cap_binds, cap_names;
    char *names;

    int seat;             /* READY and after it, or pinned */
    bool pinned;          /* by tensors or a trainer */
    uint64_t tried;       /* bit i: seat i failed */
    uint64_t key;         /* of its cost */
    double est, handed;   /* seconds on its seat as expected; when it was handed over */
    kl__event done;       /* RUNNING and after it */
    bool borrowed;        /* the caller has seen it: the pass stays with its device */

    kl_ticket *prev, *next; /* of a flow, of a seat's flight, of a batch, of the free ones */
    kl_ticket *next_ended;  /* of those that have ended, then of those to be called */
    kl__flow *flow;
    size_t blockers;      /* of `after`, those that it still waits for */
    kl__tickets after, heirs; /* counted; heirs still wait for this one */

    kl__batch *gathering; /* GATHERING */
    kl_ticket *batch; /* BATCHED; the inner ticket that runs it and its like together, counted */
    kl_ticket *members;   /* of such a ticket */
    int64_t samples;      /* GATHERING and BATCHED; of the inner ticket with its padding */
    void *host;           /* an inner ticket's inputs and outputs */
    size_t cap_host;
};

/** Passes of one model or trainer that wait for one seat, in their order. */
struct kl__flow {
    kl__flow *next;
    const void *owner;
    int priority;
    kl_ticket *first, *last;
};

typedef struct kl__price {
    uint64_t key, used; /* used: the queue's clock at the last use; 0: a free entry */
    double seconds;
    int n;              /* measured so often; the first time counts compilation and is left out */
} kl__price;

typedef struct kl__seat {
    kl_queue *queue;
    int index;
    kl_ctx *ctx;            /* NULL: trainers of groups, whose steps are waited for */
    kl__flow *flows;        /* the largest priority first, equal ones in turn */
    size_t n_ready;
    kl_ticket *flight, *flight_last; /* RUNNING, as handed over */
    int n_flight;           /* with the one that is being handed over */
    bool handing;
    bool watched;           /* somebody waits for the end of `flight` */
    int failures;           /* device errors since the last success */
    double load, last_end;  /* est of all that is READY or in flight; when one ended */
    kl__price price[KL__PRICES];

    bool started, idle;     /* the thread */
    kl__thread thread;
    kl__cond work;
} kl__seat;

/** Passes of one kind that gather. */
struct kl__batch {
    kl__batch *next;
    kl_ticket *first, *last;
    int64_t samples;
    double deadline;
};

struct kl_queue {
    kl__mutex lock;
    int depth, in_flight, n_seats; /* n_seats: contexts + 1 */
    int64_t max_batch;
    kl__seat *seat;
    size_t refs;                   /* owner and tickets */
    int pending;                   /* submitted, not ended */
    int waiting;                   /* threads at `changed` */
    int watchers;                  /* threads that wait for an event */
    bool closing, stop;
    kl__cond changed;
    uint64_t clock;
    kl_ticket *free;
    size_t n_free;
    kl__flow *free_flows;
    kl_ticket *ended, **ended_end; /* whose heirs were not told yet */
    kl_ticket *calls, **calls_end;
    bool calling;
    kl__thread caller;
    kl__batch *batches, *free_batches; /* batches: gathering */
    bool merging;                  /* its thread runs */
    kl__thread merge_thread;
    kl__cond merge_work;
};

/* All of these are called with the lock held. */

/* queue.c */
void kl__queue_free(kl_queue *q); /* without the lock, by the last one that counts it */

/* queue_ticket.c */
void kl__ticket_free(kl_ticket *t);
kl_ticket *kl__ticket_take(kl_queue *q);       /* refs 1 */
void kl__ticket_unref(kl_ticket *t);
kl_status kl__ticket_fill(kl_ticket *t, const kl_pass *pass);
kl_status kl__tickets_add(kl__tickets *list, kl_ticket *t);
void kl__changed(kl_queue *q);
void kl__changed_wait(kl_queue *q);
/** Waits for one pass that is in flight, or else for any change; does what can be done meanwhile.
 */
void kl__queue_help(kl_queue *q);

/* queue_seat.c: lists and threads of seats */
void kl__flow_push(kl__seat *s, kl_ticket *t);
void kl__flow_remove(kl__seat *s, kl_ticket *t);
/** Hands over what waits for the seat while there is room, at most `most` passes. */
void kl__seat_pump(kl__seat *s, int most);
/** Sees to it that the seat's thread does what nobody else would. false: no thread can be had. */
bool kl__seat_attend(kl__seat *s);
bool kl__queue_attend(kl_queue *q);
void kl__seat_stop(kl__seat *s);

/* queue_end.c */
/** Takes what of the seat's flight has ended. t (may be NULL) has, with st; exact: just now. */
void kl__seat_reap(kl__seat *s, const kl_ticket *t, kl_status st, bool exact);
/** Waits for the end of t, which runs, then reaps. */
void kl__seat_watch(kl__seat *s, kl_ticket *t);
/** A pass that was handed to s, or was to be, and gave st (kl_last_error has the sentence). */
void kl__ticket_back(kl__seat *s, kl_ticket *t, kl_status st);
void kl__ticket_end(kl_ticket *t, kl_status st, const char *error);
/** Something that t comes after has failed: it has ended with that. */
bool kl__ticket_doomed(kl_ticket *t);
/** Tells heirs of what has ended. */
void kl__queue_settle(kl_queue *q);
void kl__queue_call(kl_queue *q);
/** t, just handed over, need not end first for heirs that run after it on its lane. */
/** t comes after `before`, which runs on the lane that t goes to, and can tell its end by it. */
bool kl__runs_behind(const kl_ticket *t, const kl_ticket *before);
void kl__heirs_early(kl_ticket *t);
/** t waits for nothing any more: to its seat's list, or to a batch; or it ends with what failed. */
void kl__ticket_ready(kl_ticket *t);

/* queue_choose.c */
/** The seat that is done with t first; -1: every one has failed. */
int kl__choose_seat(kl_ticket *t, double now);
double kl__price_expect(kl__seat *s, uint64_t key);
void kl__price_learn(kl__seat *s, const kl_ticket *t, double now, bool exact);
uint64_t kl__price_key(const kl_ticket *t);
bool kl__can_retry(const kl_ticket *t);
/** A pass in another seat's list that s would finish sooner. NULL: none. */
kl_ticket *kl__seat_steal(kl__seat *s);

/* queue_merge.c */
/** true: t gathers, or is in a batch that is READY. */
bool kl__batch_join(kl_ticket *t);
void kl__batch_leave(kl_ticket *t);
void kl__batches_close(kl_queue *q);
/** Without the lock: inputs of all members in a row, the last rows repeated. */
void kl__batch_gather(kl_ticket *inner);
void kl__batch_scatter(kl_ticket *inner);
void kl__batch_stop(kl_queue *q);

#endif
