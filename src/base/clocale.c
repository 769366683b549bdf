#include "base/clocale.h"

#include <stdio.h>

kl__clocale kl__clocale_enter(void)
{
    /* For "C" the usual C libraries hand out a static object, so this costs no allocation. Should
     * there be none, uselocale(0) changes nothing and the call works under the host's locale. */
    kl__clocale l;
    l.c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    l.before = uselocale(l.c);
    return l;
}

void kl__clocale_leave(kl__clocale l)
{
    uselocale(l.before);
    if (l.c) {
        freelocale(l.c);
    }
}

int kl__vsnprintf(char *dst, size_t n, const char *fmt, va_list ap)
{
    const kl__clocale l = kl__clocale_enter();
    const int len = vsnprintf(dst, n, fmt, ap);
    kl__clocale_leave(l);
    return len;
}
