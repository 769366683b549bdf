/* What is seen: colours, tables, numbers for people, the line that shows progress. */
#include "term.h"
#include "cli.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* ---- terminal
 * -------------------------------------------------------------------------------------- */

bool is_terminal(FILE *f)
{
    return isatty(fileno(f)) == 1;
}

const char *sgr(FILE *to, style s)
{
    static const char *const codes[] = {"\033[0m",  "\033[1m",  "\033[2m",
                                        "\033[31m", "\033[32m", "\033[33m"};
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    const bool dumb = !term || !strcmp(term, "dumb");
    return (no && *no) || dumb || !is_terminal(to) ? "" : codes[s];
}

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool drawn;        /* a progress line stands on the terminal; guarded by stderr's lock */
static double printed_at; /* where it is none: when the last line went out */

void progress_clear(void)
{
    flockfile(stderr);
    if (drawn) {
        fputs("\r\033[K", stderr);
        drawn = false;
    }
    funlockfile(stderr);
}

/* A line longer than the terminal is wide would wrap, and no longer be drawn over. */
static int terminal_width(void)
{
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 ? w.ws_col - 1 : 79;
}

void progress_line(const char *fmt, ...)
{
    char line[400];
    va_list ap;
    const bool term = is_terminal(stderr);
    const double t = now(), pause = term ? 0.1 : 10;
    if (!term && printed_at == 0) {
        printed_at = t; /* what is over in ten seconds needs no line in a log */
    }
    if (verbosity < 0 || t - printed_at < pause) {
        return;
    }
    printed_at = t;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    fflush(stdout);
    flockfile(stderr);
    fprintf(stderr, term ? "\r%.*s\033[K" : "%.*s\n", term ? letters(line, terminal_width()) : 400,
            line);
    fflush(stderr);
    drawn = term;
    funlockfile(stderr);
}

/* ---- tables
 * ------------------------------------------------------------------------------------------- */

void table_init(table *t, const char *align)
{
    *t = (table){.align = align, .columns = strlen(align)};
}

void table_cell(table *t, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    char *s = must_alloc((size_t)(n < 0 ? 0 : n) + 1, 1);
    vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(ap);
    va_end(again);
    t->cell = must_grow(t->cell, t->n + 1, sizeof *t->cell);
    t->cell[t->n++] = s;
}

/* Letters, not bytes: the bytes that go on with a UTF-8 letter are not counted. */
static size_t width(const char *s)
{
    size_t n = 0;
    for (; *s; s++) {
        n += ((unsigned char)*s & 0xC0) != 0x80;
    }
    return n;
}

int letters(const char *s, int n)
{
    const char *p = s;
    for (; *p && n > 0; n--) {
        for (p++; ((unsigned char)*p & 0xC0) == 0x80; p++) {
        }
    }
    return (int)(p - s);
}

static size_t column_width(const table *t, size_t c)
{
    size_t w = 0;
    for (size_t i = c; i < t->n; i += t->columns) {
        const size_t here = width(t->cell[i]);
        w = here > w ? here : w;
    }
    return w;
}

static void print_row(const table *t, const size_t *w, size_t row, bool markdown, FILE *to)
{
    const bool head = row == 0 && !markdown;
    fputs(head ? sgr(to, BOLD) : markdown ? "| " : "", to);
    for (size_t c = 0; c < t->columns; c++) {
        const char *s = row * t->columns + c < t->n ? t->cell[row * t->columns + c] : "";
        const int space = (int)(w[c] - width(s));
        const bool last = c + 1 == t->columns;
        const bool right = t->align[c] == 'r';
        fprintf(to, "%*s%s%*s%s", right ? space : 0, "", s,
                right || (last && !markdown) ? 0 : space, "",
                last       ? ""
                : markdown ? " | "
                           : "  ");
    }
    fprintf(to, "%s\n", head ? sgr(to, PLAIN) : markdown ? " |" : "");
}

void table_free(table *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->cell[i]);
    }
    free(t->cell);
    *t = (table){.align = t->align, .columns = t->columns};
}

static void print_rows(table *t, FILE *to, bool markdown)
{
    size_t *w = must_alloc(t->columns, sizeof *w);
    for (size_t c = 0; c < t->columns; c++) {
        w[c] = column_width(t, c);
        w[c] = markdown && w[c] < 3 ? 3 : w[c];
    }
    for (size_t r = 0; r * t->columns < t->n; r++) {
        print_row(t, w, r, markdown, to);
        for (size_t c = 0; markdown && r == 0 && c < t->columns; c++) {
            fputs("| ", to);
            for (size_t i = 1; i < w[c]; i++) {
                fputc('-', to);
            }
            fputs(t->align[c] == 'r' ? ": " : "- ", to);
        }
        fputs(markdown && r == 0 ? "|\n" : "", to);
    }
    free(w);
    table_free(t);
}

void table_print(table *t, FILE *to)
{
    print_rows(t, to, false);
}

void table_print_markdown(table *t, FILE *to)
{
    print_rows(t, to, true);
}

/* ---- numbers
 * ------------------------------------------------------------------------------------------- */

static const char *scaled(number out, double v, double base, const char *const *units, size_t n)
{
    size_t u = 0;
    while (fabs(v) >= (base == 1000 ? 1000 : 1023.5) && u + 1 < n) {
        v /= base;
        u++;
    }
    const int digits = u == 0 ? 0 : fabs(v) < 9.995 ? 2 : fabs(v) < 99.95 ? 1 : 0;
    snprintf(out, sizeof(number), "%.*f%s%s", digits, v, *units[u] ? " " : "", units[u]);
    return out;
}

const char *bytes_text(number out, double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    return scaled(out, bytes, 1024, units, 5);
}

const char *count_text(number out, double n)
{
    static const char *const units[] = {"", "k", "M", "G", "T"};
    return scaled(out, n, 1000, units, 5);
}

const char *seconds_text(number out, double s)
{
    if (!isfinite(s) || s < 0) {
        snprintf(out, sizeof(number), "-");
    } else if (s < 1e-3) {
        snprintf(out, sizeof(number), "%.3g us", s * 1e6);
    } else if (s < 1) {
        snprintf(out, sizeof(number), "%.3g ms", s * 1e3);
    } else if (s < 99.95) {
        snprintf(out, sizeof(number), "%.1f s", s);
    } else {
        const long t = s < 1e9 ? (long)(s + 0.5) : 1000000000;
        if (t < 3600) {
            snprintf(out, sizeof(number), "%ld:%02ld", t / 60, t % 60);
        } else {
            snprintf(out, sizeof(number), "%ld:%02ld:%02ld", t / 3600, t / 60 % 60, t % 60);
        }
    }
    return out;
}

const char *shape_text(char out[96], kl_shape s)
{
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < s.n_dims && at < 90; i++) {
        const char *x = i ? "x" : "";
        at += (size_t)(s.dim[i] == KL_BATCH
                           ? snprintf(out + at, 96 - at, "%sN", x)
                           : snprintf(out + at, 96 - at, "%s%lld", x, (long long)s.dim[i]));
    }
    if (s.n_dims == 0) {
        snprintf(out, 96, "scalar");
    }
    return out;
}
