/* Inside of the hub of a context: wait.c waits, lose.c gives a device up. */
#ifndef KL_DEVICE_WAIT_H
#define KL_DEVICE_WAIT_H

#include "device/ctx.h"

typedef struct kl__pending {
    kl__hub *hub;
    kl__cond cond;
    bool over;   /* the callback has come */
    bool wanted; /* somebody waits and gives it back; else the callback does */
    void (*fn)(void *user, kl_status st); /* to be called, once; NULL: a wait, or it has been */
    void *user;
    struct kl__pending *next, **at; /* in `active`, or `spare` */
} kl__pending;

/** Waits for all queues of a device in a thread, since that may last for ever. */
typedef struct kl__settler {
    kl__hub *hub;
    kl__thread thread;
    const kl__cl_table *cl;
    cl_command_queue queue[KL__ALL_LANES];
    int n;
    bool foreign, done, abandoned;
} kl__settler;

enum { KL__USUAL_WAITS = 8 }; /* at a time: they need no allocation */
struct kl__hub {
    kl__mutex lock;
    kl__cond settled;
    int refs;
    kl__pending usual[KL__USUAL_WAITS];
    kl__pending *active, *spare;
    kl__settler *settler; /* of a device that failed */
    char why[256];        /* it was lost */
};

void kl__hub_drop(kl__hub *h); /* one count less */
/** Wakes who waits for a callback; `notified`: also calls who asked to be, with KL_E_DEVICE. */
void kl__hub_tell(kl__hub *h, bool notified);

#endif
