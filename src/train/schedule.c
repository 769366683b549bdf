/* Learning rates as functions of the step. Formulas: this folder's README; golden values:
 * tests/train/schedule.c. */
#include "base/str.h"

#include <kiln/train.h>

#include <math.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

static double or_default(double v, double otherwise)
{
    return v != 0 ? v : otherwise;
}

static double cosine(double from, double to, double part)
{
    return to + (from - to) * (1 + cos(PI * part)) / 2;
}

/* How far t is on its way to n: 0 to 1. */
static double part_of(double t, double n)
{
    return t < n ? t / n : 1;
}

static double polynomial(const kl_schedule *s, double part)
{
    return (s->lr - s->end) * pow(1 - part, or_default(s->power, 1)) + s->end;
}

static double restarts(const kl_schedule *s, double t, double period)
{
    const double mult = or_default(s->t_mult, 1);
    if (!(mult > 1)) {
        return cosine(s->lr, s->end, fmod(t, period) / period);
    }
    while (
        t >=
        period) { /* a logarithm in double misses restarts: of t_mult 3, period 4, the one at 484 */
        t -= period;
        period *= mult;
    }
    return cosine(s->lr, s->end, t / period);
}

static double cyclic(const kl_schedule *s, double t, double period)
{
    const double cycle = floor(t / (2 * period)), in = t - cycle * 2 * period;
    const double up = in < period ? in / period : 2 - in / period;
    double amplitude = s->lr - s->base;
    if (s->kind == KL_SCHED_TRIANGULAR2) {
        amplitude *= exp2(-cycle);
    } else if (s->kind == KL_SCHED_EXP_RANGE) {
        amplitude *= pow(or_default(s->gamma, 0.99994), t);
    }
    return s->base + amplitude * up;
}

static double one_cycle(const kl_schedule *s, double t, double total)
{
    const double start = s->lr / or_default(s->div, 25),
                 least = start / or_default(s->final_div, 1e4);
    const double up = or_default(s->pct, 0.3) * total - 1, last = total - 1;
    if (t < up) {
        return cosine(start, s->lr, t / up);
    }
    /* up may be -1 in a very short training: then the peak is the first step */
    const double from = up > 0 ? up : 0;
    return t < last ? cosine(s->lr, least, (t - from) / (last - from)) : least;
}

/* Without warm-up. Where the length that a kind needs is 0, it is constant. */
static double plain(const kl_schedule *s, double t)
{
    const double total = (double)s->total;
    const double period = (double)(s->period > 0 ? s->period : s->total);
    const double per_step = (double)(s->period > 0 ? s->period : 1), lr = s->lr;
    switch (s->kind) {
    case KL_SCHED_CONSTANT:
        return lr;
    case KL_SCHED_STEP:
        return period > 0 ? lr * pow(or_default(s->gamma, 0.1), floor(t / period)) : lr;
    case KL_SCHED_EXPONENTIAL:
        return lr * pow(or_default(s->gamma, 0.99), t / per_step);
    case KL_SCHED_POLYNOMIAL:
        return total > 0 ? polynomial(s, part_of(t, total)) : lr;
    case KL_SCHED_COSINE:
        return total > 0 ? cosine(lr, s->end, part_of(t, total)) : lr;
    case KL_SCHED_COSINE_RESTARTS:
        return period > 0 ? restarts(s, t, period) : lr;
    case KL_SCHED_TRIANGULAR:
    case KL_SCHED_TRIANGULAR2:
    case KL_SCHED_EXP_RANGE:
        return period > 0 ? cyclic(s, t, period) : lr;
    case KL_SCHED_ONE_CYCLE:
        return total > 0 ? one_cycle(s, t, total) : lr;
    }
    return lr;
}

double kl_schedule_at(const kl_schedule *s, int64_t step)
{
    if (!s) {
        return 0;
    }
    const double t = (double)(step > 0 ? step : 0), warmup = (double)s->warmup;
    if (!(warmup > 0) || s->kind == KL_SCHED_ONE_CYCLE) {
        return plain(s, t);
    }
    return t < warmup ? plain(s, 0) * (t / warmup) : plain(s, t - warmup);
}

bool kl_schedule_parse(const char *word, kl_schedule_kind *out)
{
    static const struct {
        const char *word;
        kl_schedule_kind kind;
    } kinds[] = {
        {"constant", KL_SCHED_CONSTANT},       {"step", KL_SCHED_STEP},
        {"exponential", KL_SCHED_EXPONENTIAL}, {"polynomial", KL_SCHED_POLYNOMIAL},
        {"cosine", KL_SCHED_COSINE},           {"cosine-restarts", KL_SCHED_COSINE_RESTARTS},
        {"triangular", KL_SCHED_TRIANGULAR},   {"triangular2", KL_SCHED_TRIANGULAR2},
        {"exp-range", KL_SCHED_EXP_RANGE},     {"one-cycle", KL_SCHED_ONE_CYCLE},
    };
    for (size_t i = 0; word && out && i < sizeof kinds / sizeof *kinds; i++) {
        if (!strcmp(word, kinds[i].word)) {
            *out = kinds[i].kind;
            return true;
        }
    }
    return false;
}
