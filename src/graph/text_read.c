/* One attribute from text, by its table's line. */
#include "graph/text.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static bool expected(const kl__lexer *x, const kl__attr *t, const char *what)
{
    char b[80];
    return kl__lex_fail(x, &x->t, "%s takes %s, %s stands here", t->name, what,
                        kl__lex_shown(x, b));
}

static bool read_int(kl__lexer *x, const kl__attr *t, const char *what, int *out)
{
    int64_t v;
    if (x->t.kind != KL__T_WORD || !kl__parse_i64(x->word, &v))
        return expected(x, t, what);
    if (v <= INT_MIN || v > INT_MAX)
        return kl__lex_fail(x, &x->t, "%s=%s is out of range", t->name, x->word);
    *out = (int)v;
    return kl__lex_next(x);
}

static bool read_float(kl__lexer *x, const kl__attr *t, const char *what, float *out)
{
    double v;
    if (x->t.kind != KL__T_WORD || !kl__parse_double(x->word, &v))
        return expected(x, t, what);
    if (isfinite(v) && !isfinite((float)v))
        return kl__lex_fail(x, &x->t, "%s=%s is out of range", t->name, x->word);
    *out = (float)v;
    return kl__lex_next(x);
}

/** Moves on inside a list: past a comma, or to the closing bracket. */
static bool list_more(kl__lexer *x, const kl__attr *t)
{
    if (kl__lex_is(x, ','))
        return kl__lex_next(x);
    return kl__lex_is(x, ']') || expected(x, t, "',' or ']'");
}

/** `[1,2]` into v, at most `most` numbers; *n of them. */
static bool read_int_list(kl__lexer *x, const kl__attr *t, int *v, int most, int *n)
{
    *n = 0;
    if (!kl__lex_next(x))
        return false;
    while (!kl__lex_is(x, ']')) {
        if (*n == most)
            return kl__lex_fail(x, &x->t, "%s takes at most %d numbers", t->name, most);
        if (!read_int(x, t, "whole numbers", &v[(*n)++]) || !list_more(x, t))
            return false;
    }
    return kl__lex_next(x);
}

static bool read_ints(kl__lexer *x, const kl__attr *t, int *v)
{
    kl__token start = x->t;
    int n = 0, given = t->count;
    memset(v, 0, (size_t)t->count * sizeof *v);
    if (kl__lex_is(x, '[')) {
        if (!read_int_list(x, t, v, t->count, &given))
            return false;
    } else {
        if (!read_int(x, t, "a whole number or a list of them", &v[0]))
            return false;
        for (n = 1; n < t->count; n++)
            v[n] = v[0];
    }
    for (n = 0; n < given && t->dflt != 0; n++) /* in the options zero stands for the default */
        if (v[n] == 0)
            return kl__lex_fail(x, &start, "%s must not be 0", t->name);
    return true;
}

static bool read_dim(kl__lexer *x, const kl__attr *t, int64_t *d)
{
    if (x->t.kind == KL__T_WORD && t->type == KL__ATTR_SHAPE && !strcmp(x->word, "N")) {
        *d = KL_BATCH;
        return kl__lex_next(x);
    }
    if (x->t.kind != KL__T_WORD || !kl__parse_i64(x->word, d))
        return expected(x, t,
                        t->type == KL__ATTR_SHAPE ? "a list like [N,3,32,32]" : "axis numbers");
    return kl__lex_next(x);
}

static bool read_shape(kl__lexer *x, const kl__attr *t, kl_shape *s)
{
    memset(s, 0, sizeof *s);
    if (!kl__lex_is(x, '[')) {
        s->n_dims = 1;
        return read_dim(x, t, &s->dim[0]);
    }
    if (!kl__lex_next(x))
        return false;
    while (!kl__lex_is(x, ']')) {
        if (s->n_dims == KL_MAX_DIMS)
            return kl__lex_fail(x, &x->t, "%s takes at most %d numbers", t->name, KL_MAX_DIMS);
        if (!read_dim(x, t, &s->dim[s->n_dims++]) || !list_more(x, t))
            return false;
    }
    return kl__lex_next(x);
}

static bool read_pad(kl__lexer *x, const kl__attr *t, kl_pad *p)
{
    static const char *const words[] = {"", "same", "same_lower", "valid"}; /* by kl_pad_mode */
    int64_t number;
    int v[4], n = 4;
    memset(p, 0, sizeof *p);
    for (int i = KL_PAD_SAME; i <= KL_PAD_VALID; i++)
        if (x->t.kind == KL__T_WORD && !strcmp(x->word, words[i])) {
            p->mode = (kl_pad_mode)i;
            return kl__lex_next(x);
        }
    if (kl__lex_is(x, '[')) {
        kl__token start = x->t;
        if (!read_int_list(x, t, v, 4, &n))
            return false;
        if (n != 4) /* what fewer mean (sides? corners?) is agreed nowhere */
            return kl__lex_fail(
                x, &start, "%s takes four numbers [top,left,bottom,right], %d given", t->name, n);
    } else {
        if (x->t.kind != KL__T_WORD || !kl__parse_i64(x->word, &number))
            return expected(x, t, "same, same_lower, valid, a number or [top,left,bottom,right]");
        if (!read_int(x, t, "a whole number", &v[0]))
            return false;
        v[1] = v[2] = v[3] = v[0];
    }
    *p = (kl_pad){KL_PAD_EXPLICIT, v[0], v[1], v[2], v[3]};
    return true;
}

static bool read_floats(kl__lexer *x, kl_graph *g, const kl__attr *t, kl_floats *f)
{
    float *v = NULL;
    size_t n = 0, cap = 0;
    bool ok = kl__lex_is(x, '[') || expected(x, t, "a list of numbers");
    ok = ok && kl__lex_next(x);
    while (ok && !kl__lex_is(x, ']')) {
        ok = kl__grow(&v, &cap, n + 1, sizeof *v) == KL_OK;
        ok = ok && read_float(x, t, "numbers", &v[n]) && list_more(x, t);
        n++;
    }
    ok = ok && kl__lex_next(x);
    if (ok && n) {
        float *copy = kl__graph_alloc(g, n * sizeof *copy);
        ok = copy != NULL && n <= INT_MAX;
        if (ok)
            memcpy(copy, v, n * sizeof *v);
        *f = (kl_floats){copy, ok ? (int)n : 0};
    }
    kl__free(v);
    return ok;
}

static size_t count_words(const char *const *words)
{
    size_t n = 0;
    while (words && words[n])
        n++;
    return n;
}

static bool read_word(kl__lexer *x, const kl__attr *t, const char *const *words, int *out)
{
    size_t n = count_words(words);
    kl__text all = {0};
    for (size_t i = 0; i < n; i++) {
        if (x->t.kind == KL__T_WORD && !strcmp(words[i], x->word)) {
            *out = (int)i;
            kl__text_free(&all);
            return kl__lex_next(x);
        }
        kl__put(&all, "%s%s", i ? ", " : "", words[i]);
    }
    const char *near = x->t.kind == KL__T_WORD ? kl__nearest(x->word, words, n) : NULL;
    char b[80];
    if (near)
        kl__lex_fail(x, &x->t, "%s has no value %s; did you mean \"%s\"?", t->name,
                     kl__lex_shown(x, b), near);
    else
        expected(x, t, all.failed || !all.s ? "a word" : all.s);
    kl__text_free(&all);
    return false;
}

static bool read_bool(kl__lexer *x, const kl__attr *t, bool *out)
{
    static const char *const words[] = {"false", "true", NULL};
    int v = 0;
    bool ok = read_word(x, t, words, &v);
    *out = v == 1;
    return ok;
}

/** `(0, 0.05, fan_in=9)` after the word. */
static bool read_init_args(kl__lexer *x, const kl__attr *t, kl_init *i, int *n)
{
    int least, most;
    kl__init_numbers(i->kind, &least, &most);
    while (!kl__lex_is(x, ')')) {
        bool in = !strcmp(x->word, "fan_in"), out = !strcmp(x->word, "fan_out");
        kl__token start = x->t;
        if (x->t.kind == KL__T_WORD && (in || out)) {
            int *fan = in ? &i->fan_in : &i->fan_out;
            if (!kl__lex_next(x) || !kl__lex_take(x, '=', "here") ||
                !read_int(x, t, "a whole number", fan))
                return false;
            if (*fan < 1)
                return kl__lex_fail(x, &start, "%s must be 1 or more", in ? "fan_in" : "fan_out");
        } else {
            if (*n == most)
                return kl__lex_fail(x, &x->t, "%s takes %d number%s", kl__init_words[i->kind], most,
                                    most == 1 ? "" : "s");
            if (!read_float(x, t, "a number", (*n)++ ? &i->b : &i->a))
                return false;
        }
        if (kl__lex_is(x, ',')) {
            if (!kl__lex_next(x))
                return false;
        } else if (!kl__lex_is(x, ')')) {
            return expected(x, t, "',' or ')'");
        }
    }
    return kl__lex_next(x);
}

static bool read_init(kl__lexer *x, const kl__attr *t, kl_init *i)
{
    int kind, n = 0, least, most;
    kl__token start = x->t;
    memset(i, 0, sizeof *i);
    if (!read_word(x, t, kl__init_words, &kind))
        return false;
    i->kind = (kl_init_kind)kind;
    if (kl__lex_is(x, '(') && (!kl__lex_next(x) || !read_init_args(x, t, i, &n)))
        return false;
    kl__init_numbers(i->kind, &least, &most);
    if (n < least)
        return kl__lex_fail(x, &start, "%s takes %d number%s, %d given", kl__init_words[kind],
                            least, least == 1 ? "" : "s", n);
    return true;
}

/** Zero itself where zero in the options stands for something else. */
static bool put_number(const kl__attr *t, int i, float f, char *p)
{
    if (t->type == KL__ATTR_INT) {
        i = i == 0 && t->dflt != 0 ? (int)KL_NONE : i;
        memcpy(p, &i, sizeof i);
    } else {
        f = f == 0 && t->dflt != 0 ? (float)KL_NONE : f;
        memcpy(p, &f, sizeof f);
    }
    return true;
}

bool kl__read_attr(kl__lexer *x, kl_graph *g, const kl__attr *t, void *attrs)
{
    char *p = (char *)attrs + t->offset;
    int i = 0;
    float f = 0;
    switch (t->type) {
    case KL__ATTR_INT:
        return read_int(x, t, "a whole number", &i) && put_number(t, i, f, p);
    case KL__ATTR_FLOAT:
        return read_float(x, t, "a number", &f) && put_number(t, i, f, p);
    case KL__ATTR_BOOL:
        return read_bool(x, t, (bool *)(void *)p);
    case KL__ATTR_ENUM:
        return read_word(x, t, t->words, (int *)(void *)p);
    case KL__ATTR_INTS:
        return read_ints(x, t, (int *)(void *)p);
    case KL__ATTR_SHAPE:
    case KL__ATTR_AXES:
        return read_shape(x, t, (kl_shape *)(void *)p);
    case KL__ATTR_PAD:
        return read_pad(x, t, (kl_pad *)(void *)p);
    case KL__ATTR_FLOATS:
        return read_floats(x, g, t, (kl_floats *)(void *)p);
    case KL__ATTR_INIT:
        return read_init(x, t, (kl_init *)(void *)p);
    case KL__ATTR_TEXT:
    case KL__ATTR_NAME:
        break;
    }
    return kl__lex_fail(x, &x->t, "%s cannot be given in text", t->name);
}

bool kl__skip_value(kl__lexer *x)
{
    char b[80];
    if (kl__lex_is(x, '[')) {
        while (!kl__lex_is(x, ']')) {
            if (x->t.kind == KL__T_END || x->t.kind == KL__T_LINE)
                return kl__lex_fail(x, &x->t, "']' is expected, %s stands here",
                                    kl__lex_shown(x, b));
            if (!kl__lex_next(x))
                return false;
        }
    } else if (x->t.kind != KL__T_WORD && x->t.kind != KL__T_STRING) {
        return kl__lex_fail(x, &x->t, "a value is expected, %s stands here", kl__lex_shown(x, b));
    }
    return kl__lex_next(x);
}
