/* Sync mode and debug-buffer mode: one op at a time, each checked. */
#ifndef KL_SCHED_DEBUG_H
#define KL_SCHED_DEBUG_H

#include "sched/plan.h"

enum { KL__GUARD_BYTES = 4096 };

/** In place of the arena: every storage in a buffer of its own, between guard bands, all filled
 * with a NaN that is easily told (0x7fc0dead); with KL_CTX_BARE_BUFFERS just a buffer of its own.
 * The plan's memory was planned with `separate`. */
kl_status kl__debug_arena(kl__plan *p);
/** Runs applies first .. last-1 op by op; after each waits, and checks outputs for NaN and (debug
 * buffers) the guard bands. The error names the op. */
kl_status kl__debug_run(kl__plan *p, kl__lane *lane, size_t first, size_t last);

/** The same of any plan and stops at the first output that is NaN or infinite: KL_E_NUMERIC and a
 * sentence that names it. */
kl_status kl__debug_find(kl__plan *p, kl__lane *lane, size_t first, size_t last);

#endif
