/* Graph storage: an arena, applies and values, the sticky error. */
#include "ops/op.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

typedef struct kl__chunk {
    struct kl__chunk *next;
    size_t used, cap;
    max_align_t data[];
} kl__chunk;

enum { CHUNK_BYTES = 16384 };

void *kl__graph_alloc(kl_graph *g, size_t bytes)
{
    bytes = (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (!g->chunks || g->chunks->cap - g->chunks->used < bytes) {
        size_t cap = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        kl__chunk *c = kl__alloc(sizeof *c + cap);
        if (!c)
            return kl__graph_fail(g, KL_E_MEMORY, "graph: out of host memory");
        c->next = g->chunks;
        c->used = 0;
        c->cap = cap;
        g->chunks = c;
    }
    char *p = (char *)g->chunks->data + g->chunks->used;
    g->chunks->used += bytes;
    memset(p, 0, bytes);
    return p;
}

char *kl__graph_strdup(kl_graph *g, const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = kl__graph_alloc(g, n);
    if (p)
        memcpy(p, s, n);
    return p;
}

void *kl__graph_fail(kl_graph *g, kl_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    kl__failv(status, fmt, ap);
    va_end(ap);
    if (g && g->status == KL_OK) {
        g->status = status;
        g->error = kl__strdup(kl_last_error());
    }
    return NULL;
}

/** Makes the sentence that stands the graph's error. */
static void *keep_error(kl_graph *g)
{
    if (g->status == KL_OK) {
        g->status = kl__last_status();
        g->error = kl__strdup(kl_last_error());
    }
    return NULL;
}

kl_graph *kl_graph_create(void)
{
    kl_graph *g = kl__calloc(1, sizeof *g);
    if (g)
        g->real = KL_F32;
    return g;
}

void kl_graph_destroy(kl_graph *g)
{
    if (!g)
        return;
    kl__names_free(g); /* its entries lie in the arena */
    for (kl__chunk *c = g->chunks, *next; c; c = next) {
        next = c->next;
        kl__free(c);
    }
    kl__free(g->applies);
    kl__free(g->nodes);
    kl__free(g->outputs);
    kl__free(g->updates);
    kl__free(g->error);
    kl__free(g);
}

kl_status kl_graph_check(const kl_graph *g)
{
    if (!g)
        return kl__fail(KL_E_ARG, "graph is NULL");
    if (g->status != KL_OK)
        return kl__fail(g->status, "%s", g->error ? g->error : "graph: out of host memory");
    return KL_OK;
}

void kl_free(void *p)
{
    kl__free(p);
}

/** Attributes into the graph: the struct, and the lists it points to. */
static bool copy_attrs(kl_graph *g, const kl__op *op, const void *attrs, kl__apply *a)
{
    if (!op->attrs_bytes)
        return true;
    char *copy = kl__graph_alloc(g, op->attrs_bytes);
    if (!copy)
        return false;
    if (attrs)
        memcpy(copy, attrs, op->attrs_bytes);
    for (const kl__attr *t = op->attrs; t && t->name; t++) {
        if (t->type == KL__ATTR_FLOATS) {
            kl_floats *f = (kl_floats *)(void *)(copy + t->offset);
            if (f->n <= 0 || !f->v)
                continue;
            float *v = kl__graph_alloc(g, (size_t)f->n * sizeof *v);
            if (!v)
                return false;
            memcpy(v, f->v, (size_t)f->n * sizeof *v);
            f->v = v;
        } else if (t->type == KL__ATTR_NAME) {
            memcpy(copy + t->offset, &a->name, sizeof a->name);
        } else if (t->type == KL__ATTR_TEXT) {
            const char *s;
            memcpy(&s, copy + t->offset, sizeof s);
            if (s && !(s = kl__graph_strdup(g, s)))
                return false;
            memcpy(copy + t->offset, &s, sizeof s);
        }
    }
    a->attrs = copy;
    return true;
}

static bool add_outputs(kl_graph *g, kl__apply *a, const kl__desc *desc)
{
    if (kl__grow(&g->nodes, &g->cap_nodes, g->n_nodes + (size_t)a->n_out, sizeof *g->nodes) !=
        KL_OK)
        return keep_error(g) != NULL;
    for (int i = 0; i < a->n_out; i++) {
        kl_node *x = kl__graph_alloc(g, sizeof *x);
        if (!x)
            return false;
        x->desc = desc[i];
        x->by = a;
        x->slot = i;
        x->id = (uint32_t)g->n_nodes;
        x->name = a->name;
        if (i > 0) {
            char *s = kl__asprintf("%s:%d", a->name, i);
            x->name = s ? kl__graph_strdup(g, s) : NULL;
            kl__free(s);
            if (!x->name)
                return keep_error(g) != NULL;
            if (kl_graph_find(g, x->name))
                return kl__graph_fail(g, KL_E_ARG, "%s: the name \"%s\" is taken", a->op->name,
                                      x->name) != NULL;
        }
        a->out[i] = x;
        g->nodes[g->n_nodes++] = x;
        if (!kl__names_add(g, x))
            return keep_error(g) != NULL;
    }
    return true;
}

enum { MAX_OUT = 64 };

kl_node *kl__apply_new_n(kl_graph *g, const kl__op *op, const char *name, kl_node *const *in,
                         int n_in, int n_out, const void *attrs)
{
    if (!g || g->status != KL_OK)
        return NULL;
    if (n_out < 1 || n_out > MAX_OUT)
        return kl__graph_fail(g, KL_E_ARG, "%s: %d outputs; 1 to %d are possible", op->name, n_out,
                              MAX_OUT);
    if (n_in < op->min_in || (op->max_in >= 0 && n_in > op->max_in))
        return kl__graph_fail(g, KL_E_ARG, "%s \"%s\": takes %d to %d inputs, %d given", op->name,
                              name ? name : "", op->min_in, op->max_in, n_in);
    for (int i = 0; i < n_in; i++) {
        if (!in[i])
            return kl__graph_fail(g, KL_E_ARG, "%s \"%s\": input %d is NULL", op->name,
                                  name ? name : "", i);
        if (in[i]->by->graph != g)
            return kl__graph_fail(g, KL_E_ARG, "%s: input %d (\"%s\") belongs to another graph",
                                  op->name, i, in[i]->name);
    }
    kl__apply *a = kl__graph_alloc(g, sizeof *a);
    if (!a)
        return NULL;
    a->op = op;
    a->graph = g;
    a->n_in = a->n_own = n_in;
    a->n_out = n_out;
    a->name = kl__graph_name(g, op, name);
    a->in = kl__graph_alloc(g, (size_t)(n_in ? n_in : 1) * sizeof *a->in);
    a->out = kl__graph_alloc(g, (size_t)n_out * sizeof *a->out);
    if (!a->name || !a->in || !a->out)
        return NULL;
    if (n_in)
        memcpy(a->in, in, (size_t)n_in * sizeof *in);
    if (!copy_attrs(g, op, attrs, a))
        return NULL;
    kl__desc desc[MAX_OUT];
    memset(desc, 0, sizeof desc);
    if (op->infer(a, desc) != KL_OK)
        return keep_error(g);
    for (int i = 0; i < n_out; i++)
        if (!kl__desc_legal(&desc[i]))
            return kl__graph_fail(g, KL_E_SHAPE, "%s \"%s\": %s", op->name, a->name,
                                  kl_last_error());
    if (kl__grow(&g->applies, &g->cap_applies, g->n_applies + 1, sizeof *g->applies) != KL_OK)
        return keep_error(g);
    if (!add_outputs(g, a, desc))
        return NULL;
    a->id = (uint32_t)g->n_applies;
    g->applies[g->n_applies++] = a;
    return a->out[0];
}

kl_node *kl__apply_new(kl_graph *g, const kl__op *op, const char *name, kl_node *const *in,
                       int n_in, const void *attrs)
{
    return kl__apply_new_n(g, op, name, in, n_in, op->n_out ? op->n_out : 1, attrs);
}

kl_node *kl__build(kl_graph *g, const kl__op *op, kl_node *const *in, int n_in, const void *attrs)
{
    static const max_align_t zeros[64];
    if (!g || g->status != KL_OK)
        return NULL;
    for (int i = 0; i < n_in; i++)
        if (!in[i])
            return kl__graph_fail(g, KL_E_ARG, "%s: input %d is NULL", op->name, i);
    if (!attrs && op->attrs_bytes > sizeof zeros)
        return kl__graph_fail(g, KL_E_ARG, "%s: options are needed", op->name);
    const void *opts = attrs ? attrs : zeros;
    if (op->build)
        return op->build(g, in, n_in, opts);
    const char *name = NULL;
    for (const kl__attr *t = op->attrs; t && t->name; t++)
        if (t->type == KL__ATTR_NAME)
            memcpy(&name, (const char *)opts + t->offset, sizeof name);
    return kl__apply_new(g, op, name, in, n_in, opts);
}

void kl_output(kl_graph *g, const char *name, kl_node *x)
{
    if (!g || g->status != KL_OK)
        return;
    if (!name || !*name || !x || x->by->graph != g) {
        kl__graph_fail(g, KL_E_ARG, "output \"%s\": %s", name ? name : "",
                       x ? "value of another graph" : "value is NULL");
        return;
    }
    if (kl_graph_output(g, name)) {
        kl__graph_fail(g, KL_E_ARG, "output \"%s\": this name is taken", name);
        return;
    }
    if (kl__grow(&g->outputs, &g->cap_outputs, g->n_outputs + 1, sizeof *g->outputs) != KL_OK) {
        keep_error(g);
        return;
    }
    const char *copy = kl__graph_strdup(g, name);
    if (copy)
        g->outputs[g->n_outputs++] = (kl__graph_output){.name = copy, .node = x};
}

kl_status kl__graph_add_update(kl_graph *g, const kl__op *op, const void *attrs, kl_node *state,
                               kl_node *value)
{
    if (!g || g->status != KL_OK || !state || !value)
        return g ? g->status : KL_E_ARG;
    kl_status st = kl__grow(&g->updates, &g->cap_updates, g->n_updates + 1, sizeof *g->updates);
    if (st != KL_OK)
        return keep_error(g), st;
    void *copy = op->attrs_bytes ? kl__graph_alloc(g, op->attrs_bytes) : NULL;
    if (op->attrs_bytes && !copy)
        return KL_E_MEMORY;
    if (copy)
        memcpy(copy, attrs, op->attrs_bytes);
    g->updates[g->n_updates++] = (kl__graph_update){op, copy, state, value};
    return KL_OK;
}

kl_shape kl_node_shape(const kl_node *x)
{
    return x ? x->desc.shape : (kl_shape){0, {0}};
}

kl_dtype kl_node_dtype(const kl_node *x)
{
    return x ? x->desc.dtype : KL_F32;
}

const char *kl_node_name(const kl_node *x)
{
    return x ? x->name : "";
}

size_t kl_graph_n_outputs(const kl_graph *g)
{
    return g ? g->n_outputs : 0;
}

const char *kl_graph_output_name(const kl_graph *g, size_t i)
{
    return g && i < g->n_outputs ? g->outputs[i].name : NULL;
}

kl_node *kl_graph_output(const kl_graph *g, const char *name)
{
    for (size_t i = 0; g && name && i < g->n_outputs; i++)
        if (!strcmp(g->outputs[i].name, name))
            return g->outputs[i].node;
    return NULL;
}

size_t kl_graph_n_inputs(const kl_graph *g)
{
    size_t n = 0;
    for (size_t i = 0; g && i < g->n_applies; i++)
        n += kl__is_input(g->applies[i]->out[0]);
    return n;
}

kl_node *kl_graph_input(const kl_graph *g, size_t k)
{
    for (size_t i = 0; g && i < g->n_applies; i++)
        if (kl__is_input(g->applies[i]->out[0]) && k-- == 0)
            return g->applies[i]->out[0];
    return NULL;
}
