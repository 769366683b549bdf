/* Graphviz DOT of a graph as it stands: a box per op with its attributes, an edge per value with
 * its shape. */
#include "graph/text.h"

#include "base/mem.h"
#include "graph/graph.h"

/** Text inside a quoted DOT string. */
static void put_escaped(kl__text *t, const char *s)
{
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            kl__put_n(t, "\\", 1);
        if ((unsigned char)*s >= 32)
            kl__put_n(t, s, 1);
    }
}

static void put_box(kl__text *t, const kl__apply *a, const bool *implicit)
{
    kl__short_form f;
    kl__text call = {0};
    const char *style = "shape=box";
    if (kl__is_input(a->out[0]))
        style = "shape=ellipse, style=filled, fillcolor=\"#dbe9f6\"";
    else if (a->op->flags & KL__OP_LEAF)
        style = "shape=ellipse, style=filled, fillcolor=\"#eeeeee\"";
    kl__short_form_of(a, &f);
    kl__put_call(&call, a, &f, -1);
    kl__put(t, "  n%u [%s, label=\"", a->id, style);
    put_escaped(t, a->name);
    kl__put(t, "\\n");
    put_escaped(t, call.s ? call.s : "");
    for (int i = 0; i < a->n_in; i++) {
        const kl_node *x = a->in[i];
        char s[96];
        if (!implicit[x->by->id])
            continue;
        kl__put(t, "\\n");
        put_escaped(t, x->name);
        kl__put(t, " %s", kl__shape_str(x->desc.shape, s));
    }
    kl__put(t, "\"];\n");
    t->failed = t->failed || call.failed;
    kl__text_free(&call);
}

static void put_edges(kl__text *t, const kl__apply *a, const bool *implicit)
{
    for (int i = 0; i < a->n_in; i++) {
        const kl_node *x = a->in[i];
        char s[96];
        if (!implicit[x->by->id])
            kl__put(t, "  n%u -> n%u [label=\"%s\"];\n", x->by->id, a->id,
                    kl__shape_str(x->desc.shape, s));
    }
}

char *kl_graph_dot(const kl_graph *g)
{
    kl__text t = {0};
    if (kl_graph_check(g) != KL_OK)
        return NULL;
    bool *implicit = kl__implicit_params(g);
    if (!implicit)
        return NULL;
    kl__put(
        &t,
        "digraph kiln {\n  node [fontname=\"sans-serif\", fontsize=10];\n  edge [fontsize=9];\n");
    for (size_t i = 0; i < g->n_applies; i++)
        if (!implicit[i])
            put_box(&t, g->applies[i], implicit);
    for (size_t i = 0; i < g->n_applies; i++)
        put_edges(&t, g->applies[i], implicit);
    for (size_t i = 0; i < g->n_outputs; i++) {
        const kl_node *x = g->outputs[i].node;
        char s[96];
        kl__put(&t, "  o%zu [shape=ellipse, style=filled, fillcolor=\"#dff2d8\", label=\"", i);
        put_escaped(&t, g->outputs[i].name);
        kl__put(&t, "\"];\n  n%u -> o%zu [label=\"%s\"];\n", x->by->id, i,
                kl__shape_str(x->desc.shape, s));
    }
    kl__put(&t, "}\n");
    kl__free(implicit);
    if (t.failed) {
        kl__no_memory(t.cap);
        kl__text_free(&t);
        return NULL;
    }
    return t.s;
}
