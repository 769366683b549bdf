#include "base/error.h"

#include "base/clocale.h"

#include <stdio.h>
#include <string.h>

enum { SENTENCE = 1024 };

static _Thread_local char sentence[SENTENCE];
static _Thread_local kl_status last_status;

static struct {
    kl_log_fn *fn;
    void *user;
    kl_log_level level;
} log_hook;

#define TEXT_OF(x) #x
#define VERSION_TEXT(a, b, c) TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)

const char *kl_version(void)
{
    return VERSION_TEXT(KL_VERSION_MAJOR, KL_VERSION_MINOR, KL_VERSION_PATCH);
}

const char *kl_status_name(kl_status status)
{
    static const char *const names[] = {"KL_OK",          "KL_E_ARG",       "KL_E_SHAPE",
                                        "KL_E_MEMORY",    "KL_E_DEVICE",    "KL_E_BUILD",
                                        "KL_E_IO",        "KL_E_FORMAT",    "KL_E_UNSUPPORTED",
                                        "KL_E_CANCELLED", "KL_E_NO_DEVICE", "KL_E_NUMERIC",
                                        "KL_E_FULL"};
    const int n = (int)(sizeof names / sizeof *names);
    const int i = (int)status;
    return i <= 0 && i > -n ? names[-i] : "KL_E_?";
}

const char *kl_last_error(void)
{
    return sentence;
}

kl_status kl__last_status(void)
{
    return last_status;
}

kl_status kl_last_status(void)
{
    return last_status;
}

kl_status kl__failv(kl_status status, const char *fmt, va_list ap)
{
    /* The arguments may be the sentence that stands, so it is replaced only once the new one is
     * whole. */
    char fresh[SENTENCE];
    if (kl__vsnprintf(fresh, sizeof fresh, fmt, ap) < 0) {
        fresh[0] = '\0';
    }
    memcpy(sentence, fresh, sizeof fresh);
    last_status = status;
    return status;
}

kl_status kl__fail(kl_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    kl__failv(status, fmt, ap);
    va_end(ap);
    return status;
}

kl_status kl_set_error(kl_status status, const char *words)
{
    return kl__fail(status, "%s", words ? words : kl_status_name(status));
}

kl_status kl__fail_in(kl_status status, const char *fmt, ...)
{
    char before[SENTENCE], prefix[SENTENCE];
    memcpy(before, sentence, sizeof before);
    va_list ap;
    va_start(ap, fmt);
    const int n = kl__vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    return kl__fail(status, "%s: %s", n < 0 ? "" : prefix, before);
}

kl_status kl__no_memory(size_t bytes)
{
    return kl__fail(KL_E_MEMORY, "out of host memory: %zu bytes were asked for", bytes);
}

void kl_set_log(kl_log_fn *fn, void *user, kl_log_level level)
{
    log_hook.fn = fn;
    log_hook.user = user;
    log_hook.level = level;
}

bool kl__log_wants(kl_log_level level)
{
    return log_hook.fn && level <= log_hook.level;
}

void kl__log(kl_log_level level, const char *fmt, ...)
{
    if (!kl__log_wants(level)) {
        return;
    }
    char line[SENTENCE];
    va_list ap;
    va_start(ap, fmt);
    const int n = kl__vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n >= 0) {
        log_hook.fn(log_hook.user, level, line);
    }
}
