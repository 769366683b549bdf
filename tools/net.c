/* A model from a name or a file, and what the program has to know about it. */
#include "net.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- what the graph has
 * ---------------------------------------------------------------------------- */

static bool is_batched(const kl_node *x, kl_dtype dtype)
{
    const kl_shape s = kl_node_shape(x);
    return kl_node_dtype(x) == dtype && s.n_dims > 0 && s.dim[0] == KL_BATCH;
}

/* As kl_fit chooses: the only batched f32 input, or the one of a usual name. */
static const kl_node *data_input(const kl_graph *g)
{
    const kl_node *only = NULL;
    size_t n = 0;
    for (size_t i = 0; i < kl_graph_n_inputs(g); i++) {
        const kl_node *x = kl_graph_input(g, i);
        const char *name = kl_node_name(x);
        if (!is_batched(x, KL_F32)) {
            continue;
        }
        if (!strcmp(name, "image") || !strcmp(name, "x") || !strcmp(name, "input")) {
            return x;
        }
        only = x;
        n++;
    }
    return n == 1 ? only : NULL;
}

static const char *score_output(const kl_graph *g)
{
    const char *only = NULL;
    size_t n = 0;
    for (size_t i = 0; i < kl_graph_n_outputs(g); i++) {
        const char *name = kl_graph_output_name(g, i);
        const kl_node *y = kl_graph_output(g, name);
        if (is_batched(y, KL_F32) && kl_node_shape(y).n_dims == 2) {
            if (!strcmp(name, "logits")) {
                return name;
            }
            only = name;
            n++;
        }
    }
    return n == 1 ? only : NULL;
}

static int look(net *n)
{
    const kl_graph *g = kl_model_graph(n->model);
    const kl_node *x = data_input(g);
    if (!x) {
        return fail(EXIT_DATA,
                    "%s: it has no input for samples, or several; name one \"image\" or \"x\"",
                    n->name);
    }
    const kl_shape s = kl_node_shape(x);
    n->input = kl_node_name(x);
    n->sample = (kl_shape){.n_dims = s.n_dims - 1};
    memcpy(n->sample.dim, s.dim + 1, (size_t)(s.n_dims - 1) * sizeof *s.dim);
    n->loss = kl_graph_output(g, "loss") ? "loss" : NULL;
    n->scores = score_output(g);
    for (size_t i = 0; i < kl_graph_n_inputs(g); i++) {
        const kl_node *label = kl_graph_input(g, i);
        n->labels |= is_batched(label, KL_I32) && kl_node_shape(label).n_dims == 1;
    }
    n->n_scores = n->scores ? (int)kl_node_shape(kl_graph_output(g, n->scores)).dim[1] : 0;
    return 0;
}

/* ---- a loss where the graph has none
 * ------------------------------------------------------------------- */

static kl_node *add_loss(kl_graph *g, const net *n, const char *kind)
{
    kl_node *y = NULL;
    if (!strcmp(kind, "softmax_xent")) {
        kl_node *scores = n->scores ? kl_graph_output(g, n->scores) : NULL;
        if (!scores) {
            fail(EXIT_USAGE, "--loss %s: %s has no output [N,classes] to put it on", kind, n->name);
            return NULL;
        }
        kl_node *label = kl_graph_find(g, "label");
        label = label ? label : kl_input(g, "label", KL_I32, (kl_shape){1, {KL_BATCH}});
        return kl_softmax_xent(g, scores, label, NULL);
    }
    for (size_t i = 0; i < kl_graph_n_outputs(g) && !y; i++) {
        kl_node *out = kl_graph_output(g, kl_graph_output_name(g, i));
        y = kl_shape_equal(kl_node_shape(out), kl_node_shape(kl_graph_find(g, n->input))) ? out
                                                                                          : NULL;
    }
    kl_node *x = kl_graph_find(g, n->input);
    if (!y) {
        fail(EXIT_USAGE,
             "--loss %s compares an output with the samples themselves, and %s has no output of "
             "their "
             "shape; for classes take softmax_xent",
             kind, n->name);
        return NULL;
    }
    return !strcmp(kind, "mse")     ? kl_mse(g, y, x, NULL)
           : !strcmp(kind, "mae")   ? kl_mae(g, y, x, NULL)
           : !strcmp(kind, "huber") ? kl_huber(g, y, x, NULL)
                                    : kl_bce_logits(g, y, x, NULL);
}

static kl_status copy_params(kl_model *to, kl_model *from)
{
    kl_status s = KL_OK;
    for (size_t i = 0; i < kl_model_n_params(from) && s == KL_OK; i++) {
        kl_param_info p;
        s = kl_model_param(from, i, &p);
        float *v = must_alloc(p.count, sizeof *v);
        if (s == KL_OK) {
            s = kl_model_get_param(from, p.name, v, p.count);
        }
        if (s == KL_OK) {
            s = kl_model_set_param(to, p.name, v, p.count);
        }
        free(v);
    }
    return s;
}

static int append_loss(net *n, const char *kind)
{
    char *text = kl_graph_print(kl_model_graph(n->model));
    kl_graph *g = text ? kl_graph_parse(text, n->name) : NULL;
    kl_model *m = NULL;
    int code = g ? 0 : fail_status(KL_OK);
    if (g) {
        kl_node *loss = add_loss(g, n, kind);
        code = loss || kl_graph_check(g) ? 0 : EXIT_USAGE;
        if (code == 0) {
            kl_output(g, "loss", loss);
            m = kl_model_create(g, &(kl_model_opts){.seed = kl_model_seed(n->model)});
            code = m && copy_params(m, n->model) == KL_OK ? 0 : fail_status(KL_OK);
        }
    }
    if (code == 0) {
        kl_model_destroy(n->model);
        n->model = m;
        code = look(n);
    } else {
        kl_model_destroy(m);
    }
    kl_graph_destroy(g);
    kl_free(text);
    return code;
}

/* ---- what the checkpoint says
 * ------------------------------------------------------------------------------ */

static bool read_list(const char *s, char end, float v[16], int *n, const char **next)
{
    char *stop;
    for (*n = 0; *s != end; s = *stop == ',' ? stop + 1 : stop) {
        v[*n < 15 ? *n : 15] = strtof(s, &stop);
        if (stop == s || ++*n > 16 || (*stop != ',' && *stop != end)) {
            return false;
        }
    }
    *next = s + (end != 0);
    return true;
}

/* "mean,mean;std,std" */
static void take_normalise(net *n, const char *s)
{
    kl_normalise v = {0};
    int m = 0;
    if (read_list(s, ';', v.mean, &v.n, &s) && read_list(s, 0, v.std, &m, &s) && m == v.n) {
        n->norm = v;
        n->has_norm = true;
    }
}

static void take_classes(net *n, const char *s)
{
    while (s) {
        const char *end = strchr(s, '\n');
        n->class_name = must_grow(n->class_name, (size_t)n->n_classes + 1, sizeof *n->class_name);
        n->class_name[n->n_classes++] =
            must_print("%.*s", (int)(end ? (size_t)(end - s) : strlen(s)), s);
        s = end ? end + 1 : NULL;
    }
}

static void take_picture(net *n, const char *s)
{
    kl_shape shape = {0};
    for (char *end; shape.n_dims < KL_MAX_DIMS; s = end + 1) {
        const long long d = strtoll(s, &end, 10);
        if (end == s || d < 1) {
            return;
        }
        shape.dim[shape.n_dims++] = d;
        if (*end != 'x') {
            break;
        }
    }
    n->picture = shape;
}

static void read_meta(net *n)
{
    static const struct {
        const char *key;
        void (*take)(net *n, const char *value);
    } keys[] = {{"kiln.normalise", take_normalise},
                {"kiln.classes", take_classes},
                {"sample", take_picture}};
    char *format = kl_checkpoint_meta(n->file, "kiln.format");
    n->checkpoint = format != NULL;
    kl_free(format);
    for (size_t i = 0; n->checkpoint && i < sizeof keys / sizeof *keys; i++) {
        char *v = kl_checkpoint_meta(n->file, keys[i].key);
        if (v) {
            keys[i].take(n, v);
        }
        kl_free(v);
    }
}

/* ---- opening --------------------------------------------------------------------------------- */

/* runs/NAME/best.kiln -> NAME; dir/net.txt -> net */
static char *short_name(const char *path)
{
    char *p = must_copy(path), *slash = strrchr(p, '/');
    char *base = slash ? slash + 1 : p;
    if (slash && (!strcmp(base, "best.kiln") || !strcmp(base, "last.kiln"))) {
        *slash = 0;
        slash = strrchr(p, '/');
        base = slash ? slash + 1 : p;
    } else if (strchr(base, '.') && strchr(base, '.') != base) {
        *strrchr(base, '.') = 0;
    }
    char *name = must_copy(base);
    free(p);
    return name;
}

static char *file_of(const char *what)
{
    struct stat st;
    if (stat(what, &st) != 0) {
        return strchr(what, '/') ? must_copy(what) : NULL;
    }
    if (!S_ISDIR(st.st_mode)) {
        return must_copy(what);
    }
    char *best = must_print("%s/best.kiln", what);
    if (stat(best, &st) != 0) {
        free(best);
        best = must_print("%s/last.kiln", what);
    }
    return best;
}

static int open_file(net *n, const net_opts *o)
{
    n->name = short_name(n->file);
    n->model = kl_model_load(n->file);
    if (!n->model) {
        return fail_status(KL_OK);
    }
    read_meta(n);
    if (!n->checkpoint && o->seed && kl_model_reset(n->model, o->seed)) {
        return fail_status(KL_OK);
    }
    return 0;
}

static int open_zoo(net *n, const char *what, const net_opts *o)
{
    n->name = must_copy(what);
    kl_graph *g = kl_zoo_build(what, o->sample, o->n_classes);
    n->model = g ? kl_model_create(g, &(kl_model_opts){.seed = o->seed}) : NULL;
    kl_graph_destroy(g);
    return n->model ? 0 : fail_status(KL_OK);
}

int net_open(net *n, const char *what, const net_opts *o)
{
    static const net_opts none;
    o = o ? o : &none;
    *n = (net){.file = file_of(what)};
    int code = n->file ? open_file(n, o) : open_zoo(n, what, o);
    if (code == 0) {
        code = look(n);
    }
    if (code == 0 && o->loss) {
        code = n->loss ? fail(EXIT_USAGE, "--loss %s: %s has a loss already; leave --loss out",
                              o->loss, n->name)
                       : append_loss(n, o->loss);
    }
    return code;
}

void net_close(net *n)
{
    kl_model_destroy(n->model);
    free(n->file);
    free(n->name);
    for (int i = 0; i < n->n_classes; i++) {
        free(n->class_name[i]);
    }
    free(n->class_name);
    *n = (net){0};
}

const char *net_class(const net *n, const kl_dataset *d, int k, char buffer[16])
{
    if (k < n->n_classes) {
        return n->class_name[k];
    }
    if (d && k < kl_dataset_classes(d)) {
        return kl_dataset_class_name(d, k);
    }
    snprintf(buffer, 16, "%d", k);
    return buffer;
}

kl_trainer *net_evaluator(const net *n, const group *g, int *code)
{
    kl_trainer *tr =
        kl_trainer_create(n->model, g->ctx, g->n, n->loss, n->labels ? n->scores : NULL, NULL);
    *code = tr ? 0 : fail_status(KL_OK);
    return tr;
}
