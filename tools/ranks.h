/* One training in several processes: who started them, what they tell each other outside of it, and
 * their end. The first one, rank 0, writes and speaks; the others say only what goes wrong. */
#ifndef RANKS_H
#define RANKS_H

#include "cli.h"

/** Looks whether mpirun (or --mpi on) made this process one of several, and begins to speak with
 * the others. 0, or the exit code after a message. */
int ranks_start(const args *a);
/** For the trainer; NULL: this process is alone. */
const kl_exchange *ranks_exchange(void);
/** 0 .. ; 0 also where it is alone. */
int ranks_rank(void);
/** The first exit code that any process has; all must ask, at the same places. */
int ranks_agree(int code);
/** What the first process has, in all. */
bool ranks_same_flag(bool mine);
/** The same for text, in fresh memory. */
char *ranks_same_text(const char *mine);
/** After a failure in the midst of what all do together: ends all, where there are others. Gives
 * `code` back where it is alone. */
int ranks_abort(int code);
/** kl_fit's callback where nothing is shown. */
bool ranks_progress(void *user, const kl_progress *p);
/** The end: gives what ranks_agree does. */
int ranks_finish(int code);

#endif
