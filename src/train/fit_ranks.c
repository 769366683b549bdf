/* kl_fit in several processes at once: what they must decide alike. Between two steps each says
 * what it knows that the others do not: that it was asked to stop, that it failed. The rest (when
 * to validate, to save, to end) follows from numbers that are the same bits in all of them. */
#include "train/fit.h"

#include "base/error.h"

#include <inttypes.h>
#include <string.h>

kl_status kl__fit_vote(kl_trainer *tr, kl_status mine, bool *stop)
{
    const kl_exchange *x = kl__trainer_exchange(tr);
    if (!x) {
        return mine;
    }
    /* The trainer's own messages have to be through: calls come in the same order everywhere. What
     * a step gave, it gave to all. */
    const kl_status s = kl__fit_together(tr, kl__trainer_collect(tr, true));
    if (s) {
        return mine ? mine : s;
    }
    double votes[3] = {*stop ? 1 : 0, mine ? 1 : 0, mine ? (double)x->rank : 0};
    const kl_status told = kl__fit_together(tr, x->all_reduce(x->user, votes, 3, KL_F64));
    if (mine || told) {
        return mine ? mine : told;
    }
    *stop = votes[0] > 0;
    if (votes[1] == 1) {
        return kl__fail(KL_E_DEVICE, "the training ended because process %d of %d could not go on",
                        (int)votes[2], x->size);
    }
    return votes[1] > 0 ? kl__fail(KL_E_DEVICE,
                                   "the training ended because %d of %d processes could not go on",
                                   (int)votes[1], x->size)
                        : KL_OK;
}

kl_status kl__fit_together(const kl_trainer *tr, kl_status s)
{
    const kl_exchange *x = kl__trainer_exchange(tr);
    if (x && s != KL_OK && s != KL_E_NUMERIC) {
        x->abort(x->user, kl_last_error());
    }
    return s;
}

/* ---- the same training ------------------------------------------------------------------ */

static int64_t bits(double v)
{
    int64_t b;
    memcpy(&b, &v, sizeof b);
    return b;
}

enum { N_FACTS = 16 };
typedef struct fact {
    const char *what;
    int64_t value;
} fact;

static void collect(fact out[N_FACTS], const kl_trainer *tr, const kl_fit_opts *o, size_t train,
                    size_t val, const kl__place_in_data *at)
{
    const fact facts[N_FACTS] = {{"epochs", o->epochs},
                                 {"batch", o->batch},
                                 {"eval_batch", o->eval_batch},
                                 {"drop_last", o->drop_last},
                                 {"patience", o->patience},
                                 {"min_delta", bits(o->min_delta)},
                                 {"checkpoint_every", o->checkpoint_every},
                                 {"checkpoint_last", o->checkpoint_last != NULL},
                                 {"checkpoint_best", o->checkpoint_best != NULL},
                                 {"samples to train with", (int64_t)train},
                                 {"samples to validate with", (int64_t)val},
                                 {"seed", (int64_t)at->seed},
                                 {"steps done", kl_trainer_steps(tr)},
                                 {"epochs done", at->epoch},
                                 {"samples of the epoch done", (int64_t)at->position},
                                 {"best value so far", bits(at->best)}};
    memcpy(out, facts, sizeof facts);
}

kl_status kl__fit_alike(kl_trainer *tr, const kl_fit_opts *o, size_t train, size_t val,
                        const kl__place_in_data *at)
{
    const kl_exchange *x = kl__trainer_exchange(tr);
    fact mine[N_FACTS];
    int64_t first[N_FACTS];
    if (!x) {
        return KL_OK;
    }
    collect(mine, tr, o, train, val, at);
    for (int i = 0; i < N_FACTS; i++) {
        first[i] = mine[i].value;
    }
    const kl_status s = x->broadcast(x->user, first, sizeof first, 0);
    for (int i = 0; s == KL_OK && i < N_FACTS; i++) {
        if (first[i] != mine[i].value) {
            return kl__fail(KL_E_ARG,
                            "kl_fit: all processes must be given the same training; %s: %" PRId64
                            " in process %d, %" PRId64 " in process 0",
                            mine[i].what, mine[i].value, x->rank, first[i]);
        }
    }
    return kl__fit_together(tr, s);
}

kl_status kl__fit_same(kl_trainer *tr, double *values, size_t n)
{
    const kl_exchange *x = kl__trainer_exchange(tr);
    return x ? kl__fit_together(tr, x->broadcast(x->user, values, n * sizeof *values, 0)) : KL_OK;
}
