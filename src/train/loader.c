/* The loader: worker threads fill a ring of batches ahead of use.
 *
 * Batch k since the start lives in slot k mod `ahead`. A worker takes the next k under the lock,
 * together with the sample numbers of that batch, so the order is made in one place and what a
 * batch holds does not depend on who made it or when; then it fills the slot without the lock. The
 * consumer takes the slots in order. Nothing is allocated once the ring is there. */
#include "train/dataset.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"

#include <string.h>

enum { WORKERS_MAX = 64, AHEAD_MAX = 1024 };

typedef enum slot_state { FREE, FILLING, READY } slot_state;

typedef struct slot {
    float *x;
    int32_t *labels;
    uint32_t *number; /* of the samples, in the store */
    size_t n, first;
    int epoch;
    slot_state state;
} slot;

struct kl_loader {
    kl_dataset *d;
    kl_loader_opts o;
    size_t per_epoch; /* samples used of an epoch */
    uint32_t *order;  /* of epoch `epoch` */
    slot *ring;
    void *memory; /* of all slots */
    kl__mutex lock;
    kl__cond work, ready; /* a slot became free, or the end came; the consumer's slot is filled */
    kl__thread thread[WORKERS_MAX];
    int n_threads;
    bool stop;
    /* the makers' place */
    uint64_t next; /* batch to begin next, counted from the start */
    int epoch;
    size_t position;
    /* the consumer's place */
    uint64_t taken; /* batches given */
    int out_epoch;
    size_t out_position;
    bool holds; /* the batch before is still in use */
};

/* ---- workers ---------------------------------------------------------------------------- */

static void order_epoch(kl_loader *l)
{
    const uint32_t n = (uint32_t)l->d->n;
    if (l->o.shuffle) {
        kl__rng_shuffle(l->o.seed, (uint32_t)l->epoch, l->order, n);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        l->order[i] = i;
    }
}

/* Takes the next batch; the lock is held. */
static slot *begin(kl_loader *l)
{
    slot *s = &l->ring[l->next % (uint64_t)l->o.ahead];
    const size_t left = l->per_epoch - l->position, batch = (size_t)l->o.batch;
    l->next++;
    s->state = FILLING;
    s->n = left < batch ? left : batch;
    s->first = l->position;
    s->epoch = l->epoch;
    for (size_t i = 0; i < s->n; i++) {
        s->number[i] = (uint32_t)kl__dataset_number(l->d, l->order[l->position + i]);
    }
    l->position += s->n;
    if (l->position == l->per_epoch) {
        l->epoch++;
        l->position = 0;
        order_epoch(l);
    }
    return s;
}

static void fill(const kl_loader *l, slot *s)
{
    const kl_dataset *d = l->d;
    const bool augment = l->o.augment && kl__dataset_augments(d);
    float *x = s->x;
    for (size_t i = 0; i < s->n; i++, x += d->store->per) {
        if (augment) {
            kl__dataset_fill_augmented(d, s->number[i], l->o.seed, (uint32_t)s->epoch, x);
        } else {
            kl__dataset_fill(d, s->number[i], x);
        }
        if (s->labels) {
            s->labels[i] = d->store->labels[s->number[i]];
        }
    }
}

static void *work(void *arg)
{
    kl_loader *l = arg;
    kl__lock(&l->lock);
    while (!l->stop) {
        if (l->ring[l->next % (uint64_t)l->o.ahead].state != FREE) {
            kl__cond_wait(&l->work, &l->lock);
            continue;
        }
        slot *s = begin(l);
        kl__unlock(&l->lock);
        fill(l, s);
        kl__lock(&l->lock);
        s->state = READY;
        kl__cond_signal(&l->ready); /* there is one consumer */
    }
    kl__unlock(&l->lock);
    return NULL;
}

/* ---- making ----------------------------------------------------------------------------- */

static kl_status check(kl_loader *l, int epoch, size_t position)
{
    const kl_dataset *d = l->d;
    kl_loader_opts *o = &l->o;
    o->batch = o->batch ? o->batch : 32;
    o->workers = o->workers ? o->workers : 1;
    o->ahead = o->ahead ? o->ahead : 4;
    if (o->batch < 0 || o->workers < 0 || o->workers > WORKERS_MAX || o->ahead < 0 ||
        o->ahead > AHEAD_MAX) {
        return kl__fail(KL_E_ARG,
                        "loader: batch %d, %d workers (up to %d), %d batches ahead (up to %d)",
                        o->batch, o->workers, WORKERS_MAX, o->ahead, AHEAD_MAX);
    }
    l->per_epoch = o->drop_last ? d->n - d->n % (size_t)o->batch : d->n;
    if (l->per_epoch == 0) {
        return kl__fail(KL_E_ARG, "%s: %zu samples do not fill one batch of %d", d->store->name,
                        d->n, o->batch);
    }
    if (epoch < 0 || position > d->n) {
        return kl__fail(KL_E_ARG,
                        "%s: the loader cannot begin at sample %zu of epoch %d; there are %zu",
                        d->store->name, position, epoch, d->n);
    }
    const kl_status s = kl__dataset_check_normalise(d);
    return s || !o->augment ? s : kl__dataset_check_augment(d);
}

static kl_status make_ring(kl_loader *l)
{
    const size_t batch = (size_t)l->o.batch, ahead = (size_t)l->o.ahead, per = l->d->store->per;
    size_t one, all;
    /* a slot: x, then labels and numbers, which are as large as floats */
    if (!kl__add(per, 2, &one) || !kl__mul(one, batch, &one) || !kl__mul(one, ahead, &all)) {
        return kl__no_memory(SIZE_MAX);
    }
    l->ring = kl__calloc(ahead, sizeof *l->ring);
    l->memory = kl__calloc(all, sizeof(float));
    l->order = kl__calloc(l->d->n, sizeof *l->order);
    if (!l->ring || !l->memory || !l->order) {
        return KL_E_MEMORY;
    }
    for (size_t i = 0; i < ahead; i++) {
        slot *s = &l->ring[i];
        char *p = (char *)l->memory + i * one * sizeof(float);
        s->x = (float *)(void *)p;
        p += batch * per * sizeof(float);
        s->labels = l->d->store->labels ? (int32_t *)(void *)p : NULL;
        s->number = (uint32_t *)(void *)(p + batch * sizeof(int32_t));
    }
    return KL_OK;
}

kl_loader *kl_loader_create(kl_dataset *d, const kl_loader_opts *opts, int epoch, size_t position)
{
    if (!d) {
        kl__fail(KL_E_ARG, "loader: the data set is NULL");
        return NULL;
    }
    kl_loader *l = kl__calloc(1, sizeof *l);
    if (!l) {
        return NULL;
    }
    l->d = d;
    l->o = opts ? *opts : (kl_loader_opts){0};
    kl__mutex_init(&l->lock);
    kl__cond_init(&l->work);
    kl__cond_init(&l->ready);
    if (check(l, epoch, position) || make_ring(l)) {
        goto fail;
    }
    l->epoch = l->out_epoch = epoch;
    l->position = l->out_position = position < l->per_epoch ? position : l->per_epoch;
    if (l->position ==
        l->per_epoch) { /* nothing is left of this epoch: the consumer sees its end first */
        l->epoch++;
        l->position = 0;
    }
    order_epoch(l);
    for (; l->n_threads < l->o.workers; l->n_threads++) {
        if (kl__thread_start(&l->thread[l->n_threads], work, l)) {
            goto fail;
        }
    }
    return l;
fail:
    kl_loader_destroy(l);
    return NULL;
}

void kl_loader_destroy(kl_loader *l)
{
    if (!l) {
        return;
    }
    kl__lock(&l->lock);
    l->stop = true;
    kl__cond_broadcast(&l->work);
    kl__unlock(&l->lock);
    for (int i = 0; i < l->n_threads; i++) {
        kl__thread_join(l->thread[i]);
    }
    kl__cond_finish(&l->ready);
    kl__cond_finish(&l->work);
    kl__mutex_finish(&l->lock);
    kl__free(l->order);
    kl__free(l->memory);
    kl__free(l->ring);
    kl__free(l);
}

/* ---- taking ----------------------------------------------------------------------------- */

bool kl_loader_next(kl_loader *l, kl_batch *out, kl_status *status)
{
    *out = (kl_batch){0};
    if (status) {
        *status = KL_OK;
    }
    if (!l) {
        const kl_status s = kl__fail(KL_E_ARG, "loader: NULL");
        if (status) {
            *status = s;
        }
        return false;
    }
    kl__lock(&l->lock);
    if (l->holds) {
        l->ring[(l->taken - 1) % (uint64_t)l->o.ahead].state = FREE;
        l->holds = false;
        kl__cond_signal(&l->work);
    }
    if (l->out_position == l->per_epoch) {
        l->out_epoch++;
        l->out_position = 0;
        kl__unlock(&l->lock);
        return false;
    }
    slot *s = &l->ring[l->taken % (uint64_t)l->o.ahead];
    while (s->state != READY) {
        kl__cond_wait(&l->ready, &l->lock);
    }
    l->taken++;
    l->holds = true;
    l->out_position += s->n;
    kl__unlock(&l->lock);
    *out = (kl_batch){s->x, s->labels, s->n, s->epoch, s->first};
    return true;
}

size_t kl_loader_batches(const kl_loader *l)
{
    return l ? (l->per_epoch + (size_t)l->o.batch - 1) / (size_t)l->o.batch : 0;
}
