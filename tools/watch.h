/* A training seen from outside: progress, log, Ctrl-C. */
#ifndef WATCH_H
#define WATCH_H

#include "choice.h"
#include "run.h"
#include "shares.h"

typedef struct watch {
    run *run;
    FILE *say; /* lines for people; stderr where stdout carries JSON */
    bool json; /* a line of JSON per epoch on stdout */
    double begin;
    const kl_trainer *trainer;
    int best_epoch; /* from 1; 0: none yet */
    double best_loss, best_accuracy;
    bool has_val;
    side_tuning tuning;
    const group *group;
    shares *shares;
    bool traced;       /* a trace is under way */
    const char *trace; /* where it goes after TRACE_STEPS steps */
    int n_traced;
    int code; /* a file that could not be written stops the training */
} watch;

enum { TRACE_STEPS = 10 };
/** Begins --trace, if it is asked for. 0, or the exit code after a message. */
int watch_begin_trace(watch *w);
/** Writes the trace that is under way, if one is. */
void watch_end_trace(watch *w);
/** kl_fit's callback. */
bool watch_progress(void *user, const kl_progress *p);
/** From here on the first Ctrl-C (or SIGTERM) asks the training to stop, the second ends the
 * program. */
void watch_signals(void);
void unwatch_signals(void);
bool was_interrupted(void);

#endif
