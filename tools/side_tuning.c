/* Tuning beside a training: between its steps, a small part of the time, for the runs to come.
 *
 * Candidates are not tried inside the steps themselves: a step whose kernels depend on the clock
 * would give other bits each time, and neither a resumed run nor a second one would be the same. */
#include "choice.h"
#include "term.h"

static const double SHARE = 0.05, FIRST_GUESS = 0.5;

void side_tuning_step(side_tuning *s)
{
    const double begin = now();
    if (!s->model || s->off ||
        s->spent + (s->most > 0 ? s->most : FIRST_GUESS) > SHARE * (begin - s->begin)) {
        return;
    }
    if (!s->tuner) {
        const kl_tune_opts o = {.batch = s->batch, .training = true, .loss = s->loss};
        s->tuner = kl_tuner_create(s->model, s->ctx, &o);
    }
    /* It is a courtesy: where it cannot be, the training goes on without. */
    s->off = !s->tuner || kl_tuner_next(s->tuner, NULL) || !kl_tuner_left(s->tuner);
    const double took = now() - begin;
    s->spent += took;
    s->most = took > s->most ? took : s->most;
    if (s->off) {
        side_tuning_end(s);
    }
}

void side_tuning_end(side_tuning *s)
{
    kl_tuner_destroy(s->tuner);
    s->tuner = NULL;
}
