/* Printing the text form: the shortest lines that build the same graph again.
 *
 * Which attributes are defaults, and which parameters an op makes by itself, is known to the op's
 * builder alone. So an apply is built again in a graph of its own with an attribute or the
 * parameters left out; where the result is the same apply, they are not printed. Hidden ops (of
 * lowered graphs) have no builder in the text form and are printed in full. */
#include "graph/text.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* ---- the shortest form ------------------------------------------------------------------- */
static bool can_rebuild(const kl__apply *a, const kl__short_form *f)
{
    return !(a->op->flags & (KL__OP_HIDDEN | KL__OP_LEAF)) &&
           a->op->attrs_bytes <= sizeof f->attrs && a->n_in <= 64;
}

static void set_name(const kl__op *op, void *attrs, const char *name)
{
    for (const kl__attr *t = op->attrs; t && t->name; t++)
        if (t->type == KL__ATTR_NAME)
            memcpy((char *)attrs + t->offset, &name, sizeof name);
}

static bool same_param(const kl_node *x, const kl_node *y)
{
    if (!kl__is_param(x) || !kl__is_param(y) || strcmp(x->name, y->name) != 0)
        return false;
    const kl__leaf *a = kl__leaf_of(x), *b = kl__leaf_of(y);
    return a->dtype == b->dtype && kl_shape_equal(a->shape, b->shape) &&
           kl__init_equal(&a->init, &b->init) && a->trainable == b->trainable;
}

static bool same_apply(const kl__apply *a, const kl__apply *b, int n_data)
{
    if (a->op != b->op || a->n_in != b->n_in || a->n_out != b->n_out)
        return false;
    for (int i = n_data; i < a->n_in; i++)
        if (!same_param(a->in[i], b->in[i]))
            return false;
    for (int i = 0; i < a->n_out; i++)
        if (a->out[i]->desc.dtype != b->out[i]->desc.dtype ||
            !kl_shape_equal(a->out[i]->desc.shape, b->out[i]->desc.shape))
            return false;
    for (const kl__attr *t = a->op->attrs; t && t->name; t++)
        if (!kl__attr_equal(t, a->attrs, b->attrs, !a->op->build))
            return false;
    return true;
}

/** Does building from the first n_data inputs and `attrs` give `a` again? A trial that found no
 * memory tells nothing: *no_memory. */
static bool builds_same(const kl__apply *a, int n_data, const void *attrs, bool *no_memory)
{
    kl_node *in[64];
    kl_graph *g = kl_graph_create();
    bool same = false;
    if (!g) {
        *no_memory = true;
        return false;
    }
    g->real = a->graph->real;
    g->batch = a->graph->batch;
    for (int i = 0; i < n_data; i++) { /* names that the apply and its parameters cannot have */
        char name[16];
        snprintf(name, sizeof name, "%c/%d", a->name[0] == '0' ? '1' : '0', i);
        in[i] = kl_input(g, name, a->in[i]->desc.dtype, a->in[i]->desc.shape);
    }
    kl_node *y = kl__build(g, a->op, in, n_data, attrs);
    if (y)
        same = same_apply(a, y->by, n_data);
    else
        *no_memory |= g->status == KL_E_MEMORY;
    kl_graph_destroy(g);
    return same;
}

/** Resolved zeros where zero in the options means the default are KL_NONE in them. */
static void zeros_to_none(const kl__op *op, void *attrs)
{
    const int none = KL_NONE;
    const float none_f = (float)KL_NONE;
    for (const kl__attr *t = op->attrs; t && t->name; t++) {
        char *p = (char *)attrs + t->offset;
        if (t->dflt == 0 || !kl__attr_unset(t, attrs))
            continue;
        if (t->type == KL__ATTR_INT)
            memcpy(p, &none, sizeof none);
        else if (t->type == KL__ATTR_FLOAT)
            memcpy(p, &none_f, sizeof none_f);
    }
}

/** Inputs before the parameters that stand last and carry the apply's name. */
static int data_inputs(const kl__apply *a)
{
    int n = a->n_in;
    size_t len = strlen(a->name);
    while (n > 0 && kl__is_param(a->in[n - 1]) && !strncmp(a->in[n - 1]->name, a->name, len) &&
           a->in[n - 1]->name[len] == '.')
        n--;
    return n < a->op->min_in ? a->n_in : n;
}

static void shorten(const kl__apply *a, kl__short_form *f)
{
    int n_data = data_inputs(a);
    set_name(a->op, &f->attrs, a->name);
    if (a->op->build)
        zeros_to_none(a->op, &f->attrs);
    f->n_in = n_data;
    if (!builds_same(a, n_data, &f->attrs, &f->no_memory)) {
        f->n_in = a->n_in;
        if (n_data == a->n_in || !builds_same(a, a->n_in, &f->attrs, &f->no_memory))
            return;
    }
    for (const kl__attr *t = a->op->attrs; t && t->name; t++) {
        kl__short_form less = *f;
        if (kl__attr_unset(t, &f->attrs))
            continue;
        kl__attr_clear(t, &less.attrs);
        if (builds_same(a, f->n_in, &less.attrs, &f->no_memory))
            f->attrs = less.attrs;
    }
}

void kl__short_form_of(const kl__apply *a, kl__short_form *f)
{
    memset(f, 0, sizeof *f);
    f->n_in = a->n_in;
    if (!a->op->attrs_bytes || a->op->attrs_bytes > sizeof f->attrs)
        return;
    memcpy(&f->attrs, a->attrs, a->op->attrs_bytes);
    if (!can_rebuild(a, f))
        return;
    /* Trials that fail are no errors of the caller's. */
    kl_status status = kl__last_status();
    char *sentence = kl__strdup(kl_last_error());
    f->no_memory = !sentence;
    shorten(a, f);
    if (f->no_memory)
        kl__no_memory(0);
    else
        kl__fail(status, "%s", sentence);
    kl__free(sentence);
}

bool *kl__implicit_params(const kl_graph *g)
{
    bool *implicit = kl__calloc(g->n_applies + 1, sizeof *implicit);
    bool *used = kl__calloc(g->n_applies + 1, sizeof *used);
    if (!implicit || !used) {
        kl__free(implicit);
        implicit = NULL;
        goto out;
    }
    for (size_t k = 0; k < g->n_applies; k++) {
        const kl__apply *a = g->applies[k];
        int n_data = a->n_in > 0 ? data_inputs(a) : 0;
        bool early = false; /* used before its maker's line */
        for (int i = n_data; i < a->n_in; i++)
            early = early || used[a->in[i]->by->id];
        if (n_data < a->n_in && !early) {
            kl__short_form f;
            kl__short_form_of(a, &f);
            for (int i = f.n_in; i < a->n_in; i++)
                implicit[a->in[i]->by->id] = true;
            if (f.no_memory) {
                kl__free(implicit);
                implicit = NULL;
                goto out;
            }
        }
        for (int i = 0; i < a->n_in; i++)
            used[a->in[i]->by->id] = true;
    }
out:
    kl__free(used);
    return implicit;
}

/* ---- lines ------------------------------------------------------------------------------- */
void kl__put_call(kl__text *t, const kl__apply *a, const kl__short_form *f, int n_in)
{
    const void *attrs = a->op->attrs_bytes > sizeof f->attrs ? a->attrs : &f->attrs;
    int n = 0;
    kl__put(t, "%s(", a->op->name);
    for (int i = 0; i < n_in; i++)
        kl__put(t, "%s%s", n++ ? ", " : "", a->in[i]->name);
    for (const kl__attr *k = a->op->attrs; k && k->name; k++) {
        if (k->type == KL__ATTR_NAME || kl__attr_unset(k, attrs))
            continue;
        kl__put_n(t, ", ", n++ ? 2 : 0);
        kl__put_attr(t, k, attrs);
    }
    if (kl__is_constant(a->out[0]) && n_in >= 0) {
        kl__put_n(t, ", ", n++ ? 2 : 0);
        kl__put_data(t, a->attrs);
    }
    kl__put(t, ")");
}

static void put_line(kl__text *t, const kl__apply *a, const bool *implicit)
{
    kl__short_form f;
    kl__short_form_of(a, &f);
    t->failed |= f.no_memory;
    bool makes_params = f.n_in < a->n_in && implicit[a->in[f.n_in]->by->id];
    kl__put(t, "%s = ", a->name);
    kl__put_call(t, a, &f, makes_params ? f.n_in : a->n_in);
    kl__put(t, "\n");
}

char *kl_graph_print(const kl_graph *g)
{
    kl__text t = {0};
    if (kl_graph_check(g) != KL_OK)
        return NULL;
    bool *implicit = kl__implicit_params(g);
    if (!implicit)
        return NULL;
    kl__put_n(&t, "", 0);
    for (size_t i = 0; i < g->n_applies; i++)
        if (!implicit[i])
            put_line(&t, g->applies[i], implicit);
    for (size_t i = 0; i < g->n_outputs; i++) {
        kl__put(&t, "output ");
        kl__put_quoted(&t, g->outputs[i].name, false);
        kl__put(&t, " = %s\n", g->outputs[i].node->name);
    }
    kl__free(implicit);
    if (t.failed) {
        kl__no_memory(t.cap);
        kl__text_free(&t);
        return NULL;
    }
    return t.s;
}
