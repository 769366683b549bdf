/* Command lines: parsed from, and explained by, the same tables. */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPTIONS = 64, FIRST_LONG = 256 };

/* ---- did you mean
 * --------------------------------------------------------------------------------- */

static size_t distance(const char *a, const char *b)
{
    enum { MOST = 40 };
    size_t row[MOST + 1];
    const size_t n = strlen(a), m = strlen(b);
    if (n > MOST || m > MOST) {
        return MOST;
    }
    for (size_t j = 0; j <= m; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        size_t before = row[0]++; /* row i - 1, column j - 1 */
        for (size_t j = 1; j <= m; j++) {
            const size_t change = before + (a[i - 1] != b[j - 1]);
            const size_t drop = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            before = row[j];
            row[j] = change < drop ? change : drop;
        }
    }
    return row[m];
}

const char *nearest(const char *word, const char *const *candidates, size_t n)
{
    const char *best = NULL;
    size_t least = strlen(word) / 3 + 2;
    for (size_t i = 0; i < n; i++) {
        const size_t d = distance(word, candidates[i]);
        if (d < least && d < strlen(candidates[i])) {
            least = d;
            best = candidates[i];
        }
    }
    return best;
}

/* ---- values
 * ----------------------------------------------------------------------------------------- */

static const option_def *find_option(const command_def *c, const char *name)
{
    for (const option_def *o = c->options; o->name; o++) {
        if (!strcmp(o->name, name)) {
            return o;
        }
    }
    return NULL;
}

static bool is_choice(const char *choices, const char *value)
{
    const size_t n = strlen(value);
    for (const char *p = choices; p; p = strchr(p, '|'), p = p ? p + 1 : NULL) {
        if (!strncmp(p, value, n) && (p[n] == '|' || p[n] == 0)) {
            return n > 0;
        }
    }
    return false;
}

/* 64K, 512M, 1.5G, 1GiB or plain bytes; powers of 1024. */
static bool parse_bytes(const char *s, uint64_t *out)
{
    static const char units[] = "KMGT";
    char *end;
    double v = strtod(s, &end);
    const char *u = end != s && *end ? strchr(units, *end & ~0x20) : NULL;
    for (int i = 0; u && i <= (int)(u - units); i++) {
        v *= 1024;
    }
    end += u != NULL;
    if (u && *end == 'i') {
        end++;
    }
    if (*end == 'B') {
        end++;
    }
    *out = v >= 1 && v < 1e18 ? (uint64_t)v : 0;
    return end != s && !*end && *out > 0 && *s >= '0' && *s <= '9';
}

static int check_value(const option_def *o, const char *value)
{
    char *end;
    double v;
    uint64_t bytes;
    switch (o->kind) {
    case OPT_CHOICE:
        return is_choice(o->arg, value)
                   ? 0
                   : fail(EXIT_USAGE, "--%s %s: it is one of %s", o->name, value, o->arg);
    case OPT_INT:
    case OPT_REAL:
        errno = 0;
        v = strtod(value, &end);
        if (o->kind == OPT_INT && end != value) {
            (void)strtoll(value, &end, 10);
        }
        if (end == value || *end || errno || !isfinite(v)) {
            return fail(EXIT_USAGE, "--%s %s: that is no %s", o->name, value,
                        o->kind == OPT_INT ? "whole number" : "number");
        }
        if (v < o->lo || v > o->hi) {
            return fail(EXIT_USAGE, "--%s %s: it must lie in %.15g..%.15g", o->name, value, o->lo,
                        o->hi);
        }
        return 0;
    case OPT_BYTES:
        return parse_bytes(value, &bytes)
                   ? 0
                   : fail(EXIT_USAGE, "--%s %s: that is no size such as 512M or 1.5G", o->name,
                          value);
    case OPT_STRING:
    case OPT_LIST:
        return *value ? 0 : fail(EXIT_USAGE, "--%s: the value is empty", o->name);
    case OPT_FLAG:
    case OPT_MAYBE:
        break;
    }
    return 0;
}

static int add(args *a, const option_def *o, const char *value)
{
    const int code = value ? check_value(o, value) : 0;
    if (code) {
        return code;
    }
    a->given = must_grow(a->given, a->n_given + 1, sizeof *a->given);
    a->given[a->n_given++] = (struct given){o, value ? must_copy(value) : NULL};
    return 0;
}

int args_set(args *a, const char *name, const char *value)
{
    const option_def *o = find_option(a->command, name);
    return o ? add(a, o, value) : fail(EXIT_USAGE, "there is no option --%s", name);
}

static const struct given *last(const args *a, const char *name)
{
    for (size_t i = a->n_given; i-- > 0;) {
        if (!strcmp(a->given[i].option->name, name)) {
            return &a->given[i];
        }
    }
    return NULL;
}

bool args_has(const args *a, const char *name)
{
    return last(a, name) != NULL;
}

const char *args_text(const args *a, const char *name)
{
    const struct given *g = last(a, name);
    return g ? g->value : NULL;
}

int64_t args_int(const args *a, const char *name, int64_t otherwise)
{
    const char *v = args_text(a, name);
    return v ? (int64_t)strtoll(v, NULL, 10) : otherwise;
}

double args_real(const args *a, const char *name, double otherwise)
{
    const char *v = args_text(a, name);
    return v ? strtod(v, NULL) : otherwise;
}

uint64_t args_bytes(const args *a, const char *name)
{
    const char *v = args_text(a, name);
    uint64_t bytes = 0;
    return v && parse_bytes(v, &bytes) ? bytes : 0;
}

const char *args_nth(const args *a, const char *name, size_t i)
{
    for (size_t k = 0; k < a->n_given; k++) {
        if (!strcmp(a->given[k].option->name, name) && i-- == 0) {
            return a->given[k].value;
        }
    }
    return NULL;
}

void args_free(args *a)
{
    for (size_t i = 0; i < a->n_given; i++) {
        free(a->given[i].value);
    }
    free(a->given);
    free(a->operands);
    *a = (args){0};
}

/* ---- parsing
 * ------------------------------------------------------------------------------------------ */

static int unknown_option(const command_def *c, const char *word)
{
    const char *names[MAX_OPTIONS];
    char plain[64];
    size_t n = 0;
    if (word[0] != '-' || word[1] != '-') {
        return fail(EXIT_USAGE, "there is no option %s; `kiln help %s` lists them", word, c->name);
    }
    snprintf(plain, sizeof plain, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    for (const option_def *o = c->options; o->name; o++) {
        names[n++] = o->name;
    }
    const char *near = nearest(plain, names, n);
    return near ? fail(EXIT_USAGE, "there is no option --%s; did you mean --%s?", plain, near)
                : fail(EXIT_USAGE, "there is no option --%s; `kiln help %s` lists them", plain,
                       c->name);
}

static int wrong_option(const command_def *c, int got, char **argv)
{
    char letter[3] = {'-', (char)optopt, 0};
    if (got == ':') {
        return fail(EXIT_USAGE, "%s needs a value", argv[optind - 1]);
    }
    if (optopt >= FIRST_LONG) { /* --json=yes */
        return fail(EXIT_USAGE, "--%s takes no value", c->options[optopt - FIRST_LONG].name);
    }
    return unknown_option(c, optopt ? letter : argv[optind - 1]);
}

static void make_getopt(const command_def *c, struct option *longs, char *shorts)
{
    size_t n = 0, s = 0;
    shorts[s++] = ':';
    for (const option_def *o = c->options; o->name; o++, n++) {
        const bool value = o->kind != OPT_FLAG;
        longs[n] = (struct option){o->name,
                                   o->kind == OPT_MAYBE ? optional_argument
                                   : value              ? required_argument
                                                        : no_argument,
                                   NULL, FIRST_LONG + (int)n};
        if (o->letter) {
            shorts[s++] = o->letter;
            if (value) {
                shorts[s++] = ':';
            }
        }
    }
    longs[n] = (struct option){NULL, 0, NULL, 0};
    shorts[s] = 0;
}

static const option_def *option_of(const command_def *c, int got)
{
    if (got >= FIRST_LONG) {
        return &c->options[got - FIRST_LONG];
    }
    for (const option_def *o = c->options; o->name; o++) {
        if (o->letter == got) {
            return o;
        }
    }
    return NULL;
}

static int check_operands(const args *a)
{
    const command_def *c = a->command;
    if (a->n_operands < c->min_operands) {
        return fail(EXIT_USAGE, "it needs %s; `kiln help %s` explains", c->operands, c->name);
    }
    if (c->max_operands >= 0 && a->n_operands > c->max_operands) {
        return fail(EXIT_USAGE, "\"%s\" is one argument too many; `kiln help %s` explains",
                    a->operands[c->max_operands], c->name);
    }
    return 0;
}

int args_parse(args *a, const command_def *c, int argc, char **argv)
{
    struct option longs[MAX_OPTIONS + 1];
    char shorts[2 * MAX_OPTIONS + 2];
    int got, code = 0;
    *a = (args){.command = c};
    make_getopt(c, longs, shorts);
    opterr = 0;
    optind = 1;
    while (code == 0 && (got = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        const option_def *o = got == '?' || got == ':' ? NULL : option_of(c, got);
        const char *value = optarg;
        if (!o) {
            return wrong_option(c, got, argv);
        }
        if (o->kind == OPT_MAYBE && !value && optind < argc && argv[optind][0] != '-') {
            value = argv[optind++];
        }
        code = add(a, o, value);
    }
    if (code) {
        return code;
    }
    a->help = args_has(a, "help");
    a->operands = must_alloc((size_t)(argc - optind) + 1, sizeof *a->operands);
    while (optind < argc) {
        a->operands[a->n_operands++] = argv[optind++];
    }
    return a->help ? 0 : check_operands(a);
}

/* ---- help ------------------------------------------------------------------------------------ */

static void print_option(const option_def *o, FILE *to)
{
    char left[80];
    const bool value = o->kind != OPT_FLAG;
    const char *open = o->kind == OPT_MAYBE ? "[" : "", *close = o->kind == OPT_MAYBE ? "]" : "";
    snprintf(left, sizeof left, "  %s%c%s --%s%s%s%s%s", o->letter ? "-" : " ",
             o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name, value ? " " : "", open,
             value ? o->arg : "", close);
    const bool wide = strlen(left) > 28;
    fprintf(to, "%-28s%s", left, wide ? "\n" : "");
    for (const char *p = o->help; p;) {
        const char *end = strchr(p, '\n');
        fprintf(to, "%*s%.*s\n", p == o->help && !wide ? 1 : 29, "",
                end ? (int)(end - p) : (int)strlen(p), p);
        p = end ? end + 1 : NULL;
    }
}

void print_help(const command_def *c, FILE *to)
{
    fprintf(to, "kiln %s: %s\n\nusage: kiln %s [options]%s%s\n\noptions:\n", c->name, c->summary,
            c->name, *c->operands ? " " : "", c->operands);
    for (const option_def *o = c->options; o->name; o++) {
        print_option(o, to);
    }
    if (c->more) {
        fprintf(to, "\n%s", c->more);
    }
}
