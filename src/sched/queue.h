/* What the queue of passes asks of a trainer, which lives on a floor above. */
#ifndef KL_SCHED_QUEUE_H
#define KL_SCHED_QUEUE_H

#include "device/device.h"

#include <kiln/model.h>

/** The first member of every kl_trainer points to these. */
typedef struct kl__train_calls {
    /** Where it works; NULL: a group, whose steps wait until they are done. */
    kl_ctx *(*ctx)(const struct kl_trainer *tr);
    /** Each queues its work and gives an event of its end (none where it has waited). */
    kl_status (*backward)(struct kl_trainer *tr, const kl_bind *binds, size_t n, kl__event *done);
    kl_status (*update)(struct kl_trainer *tr, kl__event *done);
    kl_status (*step)(struct kl_trainer *tr, const kl_bind *binds, size_t n, kl__event *done);
} kl__train_calls;

static inline const kl__train_calls *kl__train_calls_of(const struct kl_trainer *tr)
{
    return *(const kl__train_calls *const *)(const void *)tr;
}

/** The end of a ticket's pass, borrowed. Waits until the pass was handed to its device; where its
 * results come by way of the host (a merged pass), until it is done. None where it
 * could not be queued. */
kl__event kl__ticket_event(kl_ticket *t);

#endif
