/* One compute lane or two: the first steps alternate, and two are kept where they are faster by 3 %
 * at least. Both give the same bits, so the clock decides about nothing else. */
#include "sched/lanes.h"

#include "sched/cost.h"

#include <string.h>

enum { WARM_UP = 4, GIVE_UP = 64 };

int kl__lane_choice_begin(kl__lane_choice *c, uint64_t step, int64_t samples)
{
    int *used = &c->used[step % KL__CHOICE_KEPT];
    *used = 0;
    if (c->chosen)
        return c->chosen;
    if (!c->samples)
        c->samples = samples;
    if (samples != c->samples) /* the short batch at the end of an epoch */
        return 1;
    if (c->tried++ == GIVE_UP) { /* the host is slower than the device: nothing to gain */
        c->chosen = 1;
        return 1;
    }
    /* 1 2 2 1: a drift of the clock's speed falls on both */
    int lanes = (c->tried + 1) / 2 % 2 ? 2 : 1;
    *used = c->tried > WARM_UP ? lanes : 0;
    return lanes;
}

/** What disturbs a step makes it longer: the median of the shorter half. */
static void decide(kl__lane_choice *c)
{
    double typical[2];
    for (int k = 0; k < 2; k++) {
        kl__median(c->seconds[k], KL__CHOICE_RUNS); /* sorts */
        typical[k] = kl__median(c->seconds[k], KL__CHOICE_RUNS / 2);
    }
    c->chosen = typical[1] <= 0.97 * typical[0] ? 2 : 1;
}

void kl__lane_choice_end(kl__lane_choice *c, uint64_t step, double now, bool waited)
{
    int *used = &c->used[step % KL__CHOICE_KEPT];
    int k = *used - 1;
    /* Steps follow each other on the device: one took from the end of the last to its own. */
    bool known = waited && c->seen && c->end_step + 1 == step;
    if (!c->chosen && k >= 0 && known && c->n[k] < KL__CHOICE_RUNS) {
        c->seconds[k][c->n[k]++] = now - c->end_at;
        if (c->n[0] == KL__CHOICE_RUNS && c->n[1] == KL__CHOICE_RUNS)
            decide(c);
    }
    *used = 0;
    c->seen = waited;
    c->end_step = step;
    c->end_at = now;
}
