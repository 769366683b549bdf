/* The error sentence of this thread, and the log. The level that knows the facts writes the
 * sentence. */
#ifndef KL_BASE_ERROR_H
#define KL_BASE_ERROR_H

#include <kiln/base.h>

#include <stdarg.h>

/** Sets this thread's sentence (truncated at 1023 bytes) and returns `status`:
 *  `return kl__fail(KL_E_SHAPE, "conv2d \"%s\": ...", name);` */
kl_status kl__fail(kl_status status, const char *fmt, ...) KL_PRINTF(2, 3);
kl_status kl__failv(kl_status status, const char *fmt, va_list ap) KL_PRINTF(2, 0);

/** Puts "prefix: " before the sentence that stands, for callers that know where it happened. */
kl_status kl__fail_in(kl_status status, const char *fmt, ...) KL_PRINTF(2, 3);

/** Status of the last kl__fail of this thread (constructors return NULL and leave it here). */
kl_status kl__last_status(void);

/** Sentence for an allocation of `bytes` that failed; KL_E_MEMORY. */
kl_status kl__no_memory(size_t bytes);

void kl__log(kl_log_level level, const char *fmt, ...) KL_PRINTF(2, 3);
bool kl__log_wants(kl_log_level level);

#endif
