/* An allocator that counts, and that can fail at the N-th call. Installed through the library's own
 * hook. */
#ifndef SUPPORT_COUNT_ALLOC_H
#define SUPPORT_COUNT_ALLOC_H

#include <stdbool.h>
#include <stdint.h>

void count_alloc_install(void); /* and resets the counts */
void count_alloc_remove(void);
uint64_t count_alloc_calls(void); /* alloc and realloc */
int64_t count_alloc_live(void);   /* blocks */
/** The nth (1, 2, ...) call from now on fails, and with `forever` all after it; 0: none. */
void count_alloc_fail_at(uint64_t nth, bool forever);
bool count_alloc_failed(void); /* whether one has, since then */

#endif
