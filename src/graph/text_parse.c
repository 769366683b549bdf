/* Parsing the text form: each line through its op's builder, so that text can say what a program
 * can, and nothing else. */
#include "graph/text.h"

#include "base/mem.h"

#include <string.h>

enum { MAX_LINES = 100000, MAX_INPUTS = 4096, MAX_ATTRS = 64 };

typedef struct parser {
    kl__lexer x;
    kl_graph *g;
    kl_node **in; /* of this line */
    size_t n_in, cap_in;
    union {
        max_align_t align;
        char bytes[2048];
    } attrs;
    bool seen[MAX_ATTRS];
    kl__lexer data; /* where a constant's data stand; data.at NULL: not given */
} parser;

/* ---- what is near ------------------------------------------------------------------------ */
static bool no_such_op(parser *p)
{
    const char *names[256];
    size_t n = 0;
    char b[80];
    for (size_t i = 0; i < kl__op_count() && n < 256; i++)
        if (!(kl__op_at(i)->flags & KL__OP_HIDDEN))
            names[n++] = kl__op_at(i)->name;
    const char *near = kl__nearest(p->x.word, names, n);
    return near ? kl__lex_fail(&p->x, &p->x.t, "there is no op %s; did you mean \"%s\"?",
                               kl__lex_shown(&p->x, b), near)
                : kl__lex_fail(&p->x, &p->x.t, "there is no op %s", kl__lex_shown(&p->x, b));
}

static bool no_such_attr(parser *p, const kl__op *op)
{
    const char *names[MAX_ATTRS + 1];
    size_t n = 0;
    char b[80];
    for (const kl__attr *t = op->attrs; t && t->name && n < MAX_ATTRS; t++)
        if (t->type != KL__ATTR_NAME)
            names[n++] = t->name;
    if (op == &kl__op_constant)
        names[n++] = "data";
    const char *near = kl__nearest(p->x.word, names, n);
    kl__lex_shown(&p->x, b);
    return near ? kl__lex_fail(&p->x, &p->x.t, "%s has no attribute %s; did you mean \"%s\"?",
                               op->name, b, near)
                : kl__lex_fail(&p->x, &p->x.t, "%s has no attribute %s", op->name, b);
}

static bool no_such_value(parser *p, const kl__token *at, const char *word)
{
    const char **names = kl__calloc(p->g->n_nodes + 1, sizeof *names);
    for (size_t i = 0; names && i < p->g->n_nodes; i++)
        names[i] = p->g->nodes[i]->name;
    const char *near = names ? kl__nearest(word, names, p->g->n_nodes) : NULL;
    kl__free(names);
    return near ? kl__lex_fail(&p->x, at, "there is no value \"%s\" above; did you mean \"%s\"?",
                               word, near)
                : kl__lex_fail(&p->x, at, "there is no value \"%s\" above", word);
}

/* ---- one line ---------------------------------------------------------------------------- */
/** The graph's error at a place; false. */
static bool build_failed(parser *p, const kl__token *at)
{
    if (kl_graph_check(p->g) == KL_OK)
        return kl__lex_fail(&p->x, at, "out of host memory");
    return kl__lex_fail_in(&p->x, at);
}

static bool add_input(parser *p, const kl__token *at, const char *word)
{
    kl_node *x = kl_graph_find(p->g, word);
    if (!x)
        return no_such_value(p, at, word);
    if (p->n_in == MAX_INPUTS)
        return kl__lex_fail(&p->x, at, "more than %d inputs", MAX_INPUTS);
    if (kl__grow(&p->in, &p->cap_in, p->n_in + 1, sizeof *p->in) != KL_OK)
        return kl__lex_fail_in(&p->x, at);
    p->in[p->n_in++] = x;
    return true;
}

/** At the value of the attribute whose name stood in `name`. */
static bool read_value(parser *p, const kl__op *op, const kl__lexer *name)
{
    if (op == &kl__op_constant && !strcmp(name->word, "data")) {
        if (p->data.at)
            return kl__lex_fail(&p->x, &name->t, "data is given twice");
        p->data = p->x;
        return kl__skip_value(&p->x);
    }
    for (const kl__attr *t = op->attrs; t && t->name; t++) {
        size_t i = (size_t)(t - op->attrs);
        if (t->type == KL__ATTR_NAME || strcmp(t->name, name->word) != 0)
            continue;
        if (i >= MAX_ATTRS || p->seen[i])
            return kl__lex_fail(&p->x, &name->t, "%s is given twice", t->name);
        p->seen[i] = true;
        return kl__read_attr(&p->x, p->g, t, &p->attrs);
    }
    p->x = *name;
    return no_such_attr(p, op);
}

static bool read_arg(parser *p, const kl__op *op)
{
    char b[80];
    kl__lexer first = p->x;
    if (p->x.t.kind != KL__T_WORD)
        return kl__lex_fail(&p->x, &p->x.t, "an input or an attribute is expected, %s stands here",
                            kl__lex_shown(&p->x, b));
    if (!kl__lex_next(&p->x))
        return false;
    if (!kl__lex_is(&p->x, '='))
        return add_input(p, &first.t, first.word);
    return kl__lex_next(&p->x) && read_value(p, op, &first);
}

static bool read_args(parser *p, const kl__op *op)
{
    char b[80];
    if (!kl__lex_take(&p->x, '(', "after the op"))
        return false;
    while (!kl__lex_is(&p->x, ')')) {
        if (!read_arg(p, op))
            return false;
        if (kl__lex_is(&p->x, ',')) {
            if (!kl__lex_next(&p->x))
                return false;
        } else if (!kl__lex_is(&p->x, ')')) {
            return kl__lex_fail(&p->x, &p->x.t, "',' or ')' is expected, %s stands here",
                                kl__lex_shown(&p->x, b));
        }
    }
    return kl__lex_next(&p->x);
}

static kl_node *build_constant(parser *p, const char *name, const kl__token *at)
{
    const kl__leaf *l = (const void *)&p->attrs;
    int64_t n = kl_shape_count(l->shape);
    void *data = NULL;
    if (n < 0) {
        kl__lex_fail(&p->x, at, "constant \"%s\": its shape must be known and fit in memory", name);
        return NULL;
    }
    if (!p->data.at && n > 0) {
        kl__lex_fail(&p->x, at, "constant \"%s\": data is missing", name);
        return NULL;
    }
    if (p->data.at && !kl__read_data(&p->data, l->dtype, (size_t)n, &data))
        return NULL;
    kl_node *x = kl_constant(p->g, name, l->dtype, l->shape, data);
    if (!x)
        build_failed(p, at);
    kl__free(data);
    return x;
}

static kl_node *build(parser *p, const kl__op *op, const char *name, const kl__token *at)
{
    const kl__leaf *l = (const void *)&p->attrs;
    kl_node *x;
    bool named = false;
    if (op == &kl__op_constant)
        return build_constant(p, name, at);
    for (const kl__attr *t = op->attrs; t && t->name; t++)
        if (t->type == KL__ATTR_NAME) {
            memcpy(p->attrs.bytes + t->offset, &name, sizeof name);
            named = true;
        }
    if (op == &kl__op_input)
        x = kl_input(p->g, name, l->dtype, l->shape);
    else if (op == &kl__op_param)
        x = kl_param(p->g, name, l->shape, l->init, l->trainable);
    else if (!named && !op->build)
        x = kl__apply_new(p->g, op, name, p->in, (int)p->n_in, &p->attrs);
    else
        x = kl__build(p->g, op, p->in, (int)p->n_in, &p->attrs);
    if (!x)
        build_failed(p, at);
    else if (strcmp(x->by->name, name) != 0)
        kl__lex_fail(&p->x, at, "%s cannot be named", op->name);
    else
        return x;
    return NULL;
}

static bool assignment(parser *p, const kl__lexer *name)
{
    char b[80];
    kl__token at = p->x.t;
    const kl__op *op = p->x.t.kind == KL__T_WORD ? kl__op_find(p->x.word) : NULL;
    if (p->x.t.kind != KL__T_WORD)
        return kl__lex_fail(&p->x, &at, "an op is expected, %s stands here",
                            kl__lex_shown(&p->x, b));
    if (!op)
        return no_such_op(p);
    if (op->flags & KL__OP_HIDDEN || op->attrs_bytes > sizeof p->attrs)
        return kl__lex_fail(&p->x, &at, "op %s is made by Kiln's own passes only", op->name);
    p->n_in = 0;
    memset(&p->attrs, 0, sizeof p->attrs);
    memset(p->seen, 0, sizeof p->seen);
    memset(&p->data, 0, sizeof p->data);
    if (!kl__lex_next(&p->x) || !read_args(p, op))
        return false;
    int n = (int)p->n_in;
    if (n < op->min_in || (op->max_in >= 0 && n > op->max_in)) {
        if (op->max_in < 0)
            return kl__lex_fail(&p->x, &at, "%s takes at least %d inputs, %d given", op->name,
                                op->min_in, n);
        if (op->max_in == op->min_in)
            return kl__lex_fail(&p->x, &at, "%s takes %d input%s, %d given", op->name, op->min_in,
                                op->min_in == 1 ? "" : "s", n);
        return kl__lex_fail(&p->x, &at, "%s takes %d to %d inputs, %d given", op->name, op->min_in,
                            op->max_in, n);
    }
    return build(p, op, name->word, &name->t) != NULL;
}

/** `output NAME = VALUE`, at NAME. */
static bool output(parser *p)
{
    char name[KL__WORD_MAX + 1], b[80];
    kl__token at = p->x.t;
    if (p->x.t.kind == KL__T_WORD)
        memcpy(name, p->x.word, sizeof name);
    else if (!kl__lex_string(&p->x, name, sizeof name))
        return kl__lex_fail(&p->x, &at, "this is no name of an output");
    if (!kl__lex_next(&p->x) || !kl__lex_take(&p->x, '=', "after the output's name"))
        return false;
    if (p->x.t.kind != KL__T_WORD)
        return kl__lex_fail(&p->x, &p->x.t, "a value is expected, %s stands here",
                            kl__lex_shown(&p->x, b));
    kl_node *x = kl_graph_find(p->g, p->x.word);
    if (!x)
        return no_such_value(p, &p->x.t, p->x.word);
    kl_output(p->g, name, x);
    if (kl_graph_check(p->g) != KL_OK)
        return build_failed(p, &at);
    return kl__lex_next(&p->x);
}

static bool line(parser *p)
{
    char b[80];
    kl__lexer name = p->x;
    bool ok;
    if (p->x.t.kind != KL__T_WORD)
        return kl__lex_fail(&p->x, &p->x.t, "a name is expected, %s stands here",
                            kl__lex_shown(&p->x, b));
    if (!kl__lex_next(&p->x))
        return false;
    if (!strcmp(name.word, "output") && !kl__lex_is(&p->x, '='))
        ok = (p->x.t.kind == KL__T_WORD || p->x.t.kind == KL__T_STRING)
                 ? output(p)
                 : kl__lex_fail(&p->x, &p->x.t, "a name is expected after output, %s stands here",
                                kl__lex_shown(&p->x, b));
    else
        ok = kl__lex_take(&p->x, '=', "after the name") && assignment(p, &name);
    if (ok && p->x.t.kind != KL__T_LINE && p->x.t.kind != KL__T_END)
        return kl__lex_fail(&p->x, &p->x.t, "the end of the line is expected, %s stands here",
                            kl__lex_shown(&p->x, b));
    return ok;
}

kl_graph *kl_graph_parse(const char *text, const char *source)
{
    parser p = {.g = kl_graph_create()};
    bool ok = p.g != NULL;
    if (!text) {
        kl__fail(KL_E_ARG, "graph text is NULL");
        ok = false;
    }
    if (ok) {
        kl__lex_start(&p.x, text, source);
        ok = kl__lex_next(&p.x);
    }
    while (ok && p.x.t.kind != KL__T_END) {
        if (p.x.line > MAX_LINES)
            ok = kl__lex_fail(&p.x, &p.x.t, "more than %d lines", MAX_LINES);
        else
            ok = p.x.t.kind == KL__T_LINE ? kl__lex_next(&p.x) : line(&p);
    }
    kl__free(p.in);
    if (!ok) {
        kl_graph_destroy(p.g);
        return NULL;
    }
    return p.g;
}
