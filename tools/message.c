/* Messages, exit codes and the program's own memory. */
#include "cli.h"
#include "term.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int verbosity;
static const char *message_name = "kiln";

int exit_code(kl_status s)
{
    switch (s) {
    case KL_OK:
        return 0;
    case KL_E_ARG:
        return EXIT_USAGE;
    case KL_E_NO_DEVICE:
        return EXIT_NO_DEVICE;
    case KL_E_IO:
    case KL_E_FORMAT:
        return EXIT_DATA;
    case KL_E_DEVICE:
    case KL_E_BUILD:
        return EXIT_DEVICE;
    case KL_E_CANCELLED:
        return EXIT_INTERRUPTED;
    case KL_E_SHAPE:
    case KL_E_MEMORY:
    case KL_E_UNSUPPORTED:
    case KL_E_NUMERIC:
    case KL_E_FULL:
        break;
    }
    return EXIT_RUN;
}

void set_message_name(const char *command)
{
    message_name = command;
}

static void put(const char *fmt, va_list ap) KL_PRINTF(1, 0);

/* In one piece: other processes may be writing there too. */
static void put(const char *fmt, va_list ap)
{
    char line[2048];
    vsnprintf(line, sizeof line, fmt, ap);
    progress_clear();
    fprintf(stderr, "%s: %s\n", message_name, line);
}

int fail(int code, const char *fmt, ...)
{
    va_list ap;
    fflush(stdout);
    va_start(ap, fmt);
    put(fmt, ap);
    va_end(ap);
    return code;
}

int fail_status(kl_status s)
{
    s = s ? s : kl_last_status();
    char *line = must_copy(*kl_last_error() ? kl_last_error() : kl_status_name(s));
    size_t n = 0;
    for (const char *p = line; *p; p++) { /* compilers' words come in lines; a message is one */
        if (*p != '\n' || (n > 0 && line[n - 1] != ' ')) {
            line[n++] = *p == '\n' ? ' ' : *p;
        }
    }
    while (n > 0 && line[n - 1] == ' ') {
        n--;
    }
    line[n] = 0;
    const int code = fail(exit_code(s), "%s", line);
    free(line);
    return code;
}

void note(const char *fmt, ...)
{
    va_list ap;
    if (verbosity < 0) {
        return;
    }
    va_start(ap, fmt);
    put(fmt, ap);
    va_end(ap);
}

/* ---- memory
 * ----------------------------------------------------------------------------------------- */

static void *check(void *p)
{
    if (!p) {
        fprintf(stderr, "%s: memory ran out\n", message_name);
        exit(EXIT_RUN);
    }
    return p;
}

void *must_alloc(size_t n, size_t size)
{
    return check(calloc(n ? n : 1, size));
}

void *must_grow(void *p, size_t n, size_t size)
{
    return check(n && size > SIZE_MAX / n ? NULL : realloc(p, n * size));
}

char *must_copy(const char *s)
{
    return strcpy(check(malloc(strlen(s) + 1)), s);
}

char *must_print(const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    char *s = check(n < 0 ? NULL : malloc((size_t)n + 1));
    vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(ap);
    va_end(again);
    return s;
}
