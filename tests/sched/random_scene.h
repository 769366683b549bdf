/* A random program over random nets, contexts and kinds of passes on the null device. */
#ifndef KL_TESTS_SCHED_RANDOM_SCENE_H
#define KL_TESTS_SCHED_RANDOM_SCENE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct scene_result {
    uint64_t tags;     /* of every command, and of everything the host was given */
    size_t commands, programs; /* enqueued; passes and accesses of the program */
} scene_result;

typedef enum scene_order { SCENE_EAGER, SCENE_RANDOM, SCENE_DELAYED } scene_order;

/** Plays program `program`, its commands carried out in the given order (seed: of SCENE_RANDOM;
 * SCENE_DELAYED: the number of the command, from 1, that comes as late as can be).
 * chained: every context is an out-of-order queue of the caller's. Fails the test on any error. */
scene_result scene_play(uint64_t program, scene_order order, uint64_t seed, bool chained);

#endif
