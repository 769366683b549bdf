/* The text form's lexer: words, strings, six marks and line ends, each with its place. */
#include "graph/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void kl__lex_start(kl__lexer *x, const char *text, const char *source)
{
    memset(x, 0, sizeof *x);
    x->source = source;
    x->at = x->line_start = text;
    x->line = 1;
}

bool kl__lex_fail_in(const kl__lexer *x, const kl__token *t)
{
    if (x->source)
        kl__fail_in(kl__last_status(), "%s:%d:%d", x->source, t->line, t->column);
    else
        kl__fail_in(kl__last_status(), "line %d, column %d", t->line, t->column);
    return false;
}

bool kl__lex_fail(const kl__lexer *x, const kl__token *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    kl__failv(KL_E_FORMAT, fmt, ap);
    va_end(ap);
    return kl__lex_fail_in(x, t);
}

static bool in_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '/' || c == ':' || c == '-' || c == '+';
}

static bool lex_word(kl__lexer *x)
{
    while (in_word(*x->at))
        x->at++;
    x->t.kind = KL__T_WORD;
    x->t.len = (size_t)(x->at - x->t.s);
    if (x->t.len > KL__WORD_MAX)
        return kl__lex_fail(x, &x->t, "a word of %zu characters; at most %d are possible", x->t.len,
                            KL__WORD_MAX);
    memcpy(x->word, x->t.s, x->t.len);
    x->word[x->t.len] = '\0';
    return true;
}

static bool lex_string(kl__lexer *x)
{
    x->t.kind = KL__T_STRING;
    x->t.s = ++x->at;
    while (*x->at && *x->at != '"' && *x->at != '\n')
        x->at += x->at[0] == '\\' && x->at[1] && x->at[1] != '\n' ? 2 : 1;
    x->t.len = (size_t)(x->at - x->t.s);
    if (*x->at != '"')
        return kl__lex_fail(x, &x->t, "this string has no end");
    x->at++;
    return true;
}

bool kl__lex_next(kl__lexer *x)
{
    if (x->t.kind == KL__T_LINE) {
        x->line++;
        x->line_start = x->at;
    }
    while (*x->at == ' ' || *x->at == '\t' || *x->at == '\r')
        x->at++;
    if (*x->at == '#')
        x->at += strcspn(x->at, "\n");
    size_t column = (size_t)(x->at - x->line_start) + 1;
    x->t =
        (kl__token){KL__T_END, x->at, 0, x->line, column < 1000000000 ? (int)column : 1000000000};
    x->word[0] = '\0';
    char c = *x->at;
    if (c == '\0')
        return true;
    if (in_word(c))
        return lex_word(x);
    if (c == '"')
        return lex_string(x);
    x->t.len = 1;
    if (c == '\n' || strchr("()[],=", c)) {
        x->t.kind = c == '\n' ? KL__T_LINE : KL__T_MARK;
        x->at++;
        return true;
    }
    if (c > ' ' && c < 127)
        return kl__lex_fail(x, &x->t, "unexpected '%c'", c);
    return kl__lex_fail(x, &x->t, "unexpected byte 0x%02x", (unsigned)(unsigned char)c);
}

bool kl__lex_is(const kl__lexer *x, char mark)
{
    return x->t.kind == KL__T_MARK && *x->t.s == mark;
}

const char *kl__lex_shown(const kl__lexer *x, char buf[80])
{
    switch (x->t.kind) {
    case KL__T_END:
        return "end of text";
    case KL__T_LINE:
        return "end of line";
    case KL__T_WORD:
        snprintf(buf, 80, "\"%.70s\"", x->word);
        return buf;
    case KL__T_STRING:
        return "a string";
    case KL__T_MARK:
        break;
    }
    snprintf(buf, 80, "'%c'", *x->t.s);
    return buf;
}

bool kl__lex_take(kl__lexer *x, char mark, const char *where)
{
    char b[80];
    if (kl__lex_is(x, mark))
        return kl__lex_next(x);
    return kl__lex_fail(x, &x->t, "'%c' is expected %s, %s stands here", mark, where,
                        kl__lex_shown(x, b));
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool kl__lex_string(const kl__lexer *x, char *buf, size_t size)
{
    size_t n = 0;
    if (x->t.kind != KL__T_STRING)
        return false;
    for (size_t i = 0; i < x->t.len; i++) {
        char c = x->t.s[i];
        if (c == '\\' && i + 3 < x->t.len && x->t.s[i + 1] == 'x' && hex(x->t.s[i + 2]) >= 0 &&
            hex(x->t.s[i + 3]) >= 0) {
            c = (char)(hex(x->t.s[i + 2]) * 16 + hex(x->t.s[i + 3]));
            i += 3;
        } else if (c == '\\' && i + 1 < x->t.len) {
            c = x->t.s[++i];
        }
        if (n + 1 >= size || !c)
            return false;
        buf[n++] = c;
    }
    buf[n] = '\0';
    return true;
}
