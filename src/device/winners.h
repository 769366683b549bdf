/* What was measured to be fastest on a device: a table from the key of an op's application
 * (ops/choose.c) to a variant and parameter set. A context reads it once, when it is made, and
 * never changes it: so a run's choices, and with them its bits, stay as they are. */
#ifndef KL_DEVICE_WINNERS_H
#define KL_DEVICE_WINNERS_H

#include "device/device.h"

enum { KL__MAX_TIMES = 5, KL__WINNER_NAME = 32 };
typedef struct kl__winner_time {
    char name[KL__WINNER_NAME]; /* "solo", "solo@1" */
    double seconds;             /* resolution: nanoseconds */
} kl__winner_time;
typedef struct kl__winner {
    char *key;                  /* the table's own copy */
    char name[KL__WINNER_NAME];
    int n_times;                /* of what was tried, the winner with it */
    kl__winner_time time[KL__MAX_TIMES];
} kl__winner;
typedef struct kl__winners {
    kl__winner *list; /* by key */
    size_t n, cap;
} kl__winners;

/** NULL table: NULL. Borrowed. */
const kl__winner *kl__winners_find(const kl__winners *w, const char *key);
/** Copies x, in place of what had its key. */
kl_status kl__winners_put(kl__winners *w, const kl__winner *x);
void kl__winners_free(kl__winners *w); /* what it holds, not w itself */

/* ---- files (winners_file.c): JSON for one device, driver, version of Kiln and of its kernels.
 * Another's, an old one, a damaged or missing file is as good as none. */

/** Adds what the file has to *w. path NULL: the user's cache (where the context has one). */
void kl__winners_load(const kl_ctx *ctx, const char *path, kl__winners *w);
/** Adds `more` to the user's cache, beside what others put there meanwhile. A cache that cannot be
 * written is a warning in the log, and false. */
bool kl__winners_store(const kl_ctx *ctx, const kl__winners *more);
/** The whole table into a file of that form. */
kl_status kl__winners_write(const kl_ctx *ctx, const kl__winners *w, const char *path);

#endif
