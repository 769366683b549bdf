/* Who carries how many shards. */
#include "sched/team.h"

#include <math.h>

/* a change costs plans for nobody, but a measured speed wavers by a few per cent */
static const double WORTH = 0.04;

void kl__split_by_speed(int shards, const double *seconds, int n, int *counts)
{
    for (int i = 0; i < n; i++)
        counts[i] = 0;
    for (int k = 0; k < shards; k++) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if (isfinite(seconds[i]) &&
                (best < 0 || (counts[i] + 1) * seconds[i] < (counts[best] + 1) * seconds[best]))
                best = i;
        if (best < 0)
            return;
        counts[best]++;
    }
}

void kl__split_by_weight(int shards, const double *weights, int n, int *counts)
{
    double sum = 0;
    int left = shards;
    for (int i = 0; i < n; i++)
        sum += weights[i];
    for (int i = 0; i < n; i++) {
        counts[i] = sum > 0 ? (int)(shards * weights[i] / sum) : 0;
        left -= counts[i];
    }
    for (; left > 0 && sum > 0; left--) {
        int best = 0;
        double most = -1;
        for (int i = 0; i < n; i++) {
            const double short_of = shards * weights[i] / sum - counts[i];
            if (weights[i] > 0 && short_of > most) {
                most = short_of;
                best = i;
            }
        }
        counts[best]++;
    }
}

static double slowest(const int *counts, const double *seconds, int n)
{
    double most = 0;
    for (int i = 0; i < n; i++)
        if (counts[i])
            most = fmax(most, counts[i] * seconds[i]);
    return most;
}

bool kl__split_better(const int *a, const int *b, const double *seconds, int n)
{
    return slowest(b, seconds, n) < (1 - WORTH) * slowest(a, seconds, n);
}
