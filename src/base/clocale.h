/* The C locale for one call on this thread: numbers read and print with '.' whatever the host
 * application chose. The thread's own locale is put back; the process's is never touched. */
#ifndef KL_BASE_CLOCALE_H
#define KL_BASE_CLOCALE_H

#include <kiln/base.h>

#include <locale.h>
#include <stdarg.h>

typedef struct kl__clocale {
    locale_t c, before;
} kl__clocale;

kl__clocale kl__clocale_enter(void);
void kl__clocale_leave(kl__clocale l);

/** vsnprintf under the C locale. */
int kl__vsnprintf(char *dst, size_t n, const char *fmt, va_list ap) KL_PRINTF(3, 0);

#endif
