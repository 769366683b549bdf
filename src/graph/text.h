/* What the parts of the text form share: words of values, the lexer, and one attribute as text. */
#ifndef KL_GRAPH_TEXT_H
#define KL_GRAPH_TEXT_H

#include "ops/op.h"

#include "base/str.h"

/* ---- writing ----------------------------------------------------------------------------- */
/** Stored bits that stand for "not given": the attribute is not printed. */
bool kl__attr_unset(const kl__attr *t, const void *attrs);
void kl__attr_clear(const kl__attr *t, void *attrs);
/** Do two structs hold the same value? `raw`: options as they were given, where zero stands for the
 * default. */
bool kl__attr_equal(const kl__attr *t, const void *a, const void *b, bool raw);
bool kl__init_equal(const kl_init *a, const kl_init *b);
/** Puts `NAME=VALUE`. */
void kl__put_attr(kl__text *t, const kl__attr *attr, const void *attrs);
/** Puts "..." with escapes; the bare word where it is one and not `always`. */
void kl__put_quoted(kl__text *t, const char *s, bool always);

/** The shortest way to write an apply: which inputs and attributes build the same one again. */
typedef struct kl__short_form {
    bool no_memory; /* what stands here cannot be relied on */
    int n_in; /* inputs after these are parameters that the op makes itself */
    union {
        max_align_t align;
        char bytes[2048];
    } attrs; /* what is unset here is left out */
} kl__short_form;
void kl__short_form_of(const kl__apply *a, kl__short_form *f);
/** By apply id: true for parameters that the op using them makes itself. Caller frees; NULL: out of
 * memory. */
bool *kl__implicit_params(const kl_graph *g);
/** Puts `op(inputs, attr=value, ...)` with the first n_in inputs; -1: attributes only, and no data
 * of constants. */
void kl__put_call(kl__text *t, const kl__apply *a, const kl__short_form *f, int n_in);
/** Puts `data=...`. */
void kl__put_data(kl__text *t, const kl__leaf *l);

/* ---- reading ----------------------------------------------------------------------------- */
typedef enum kl__token_kind {
    KL__T_END,
    KL__T_LINE,   /* end of text, of line */
    KL__T_WORD,   /* names, numbers and words of values */
    KL__T_STRING, /* "...": s and len without the quotes, escapes as written */
    KL__T_MARK    /* one of ( ) [ ] , = */
} kl__token_kind;
typedef struct kl__token {
    kl__token_kind kind;
    const char *s;
    size_t len;
    int line, column;
} kl__token;
enum { KL__WORD_MAX = 255 };
typedef struct kl__lexer {
    const char *source; /* in errors; NULL: "line L, column C: " */
    const char *at, *line_start;
    int line;
    kl__token t;                 /* the token that stands now */
    char word[KL__WORD_MAX + 1]; /* its text, where it is a word */
} kl__lexer;

void kl__lex_start(kl__lexer *x, const char *text, const char *source);
/** Moves to the next token; false where there is none (the sentence is set). */
bool kl__lex_next(kl__lexer *x);
bool kl__lex_is(const kl__lexer *x, char mark);
/** Takes the mark or fails saying what was expected `where`. */
bool kl__lex_take(kl__lexer *x, char mark, const char *where);
/** Sets the sentence with the place of token t before it; returns false. */
bool kl__lex_fail(const kl__lexer *x, const kl__token *t, const char *fmt, ...) KL_PRINTF(3, 4);
/** The same before the sentence that stands. */
bool kl__lex_fail_in(const kl__lexer *x, const kl__token *t);
/** The standing token as error text: `"kernle"`, `end of line`. */
const char *kl__lex_shown(const kl__lexer *x, char buf[80]);
/** The string that stands, escapes resolved, into buf; false where it does not fit or is no string.
 */
bool kl__lex_string(const kl__lexer *x, char *buf, size_t size);

/** Reads the value that stands into its field. g gives memory for lists. */
bool kl__read_attr(kl__lexer *x, kl_graph *g, const kl__attr *t, void *attrs);
/** Steps over a value. */
bool kl__skip_value(kl__lexer *x);
/** Reads `count` numbers of a constant (a list, or a string of base64) into fresh memory; caller
 * frees. */
bool kl__read_data(kl__lexer *x, kl_dtype dtype, size_t count, void **data);

extern const char *const kl__init_words[]; /* by kl_init_kind */
/** How many numbers the kind takes: at least, at most. */
void kl__init_numbers(kl_init_kind kind, int *least, int *most);

#endif
