/* Checkpoints: safetensors, parameters under their names, optimizer states as
 * optim/STATE/PARAMETER, and in the metadata the graph's text, the step, the seed, the optimizer
 * and a checksum of the data. Format 1. A reader refuses a newer format than it knows, and reads
 * every older one: what a format added has a stated default. */
#include "train/trainer.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "io/io.h"

#include <stdio.h>
#include <string.h>

#define FORMAT "1"

/* ---- writing --------------------------------------------------------------------------------- */
typedef struct file {
    kl__st_entry *entries;
    size_t n, cap;
    kl__st_meta_pair *meta;
    size_t n_meta, cap_meta;
    char **owned; /* names and texts */
    size_t n_owned, cap_owned;
    uint32_t crc;
} file;

static const char *own(file *f, char *s)
{
    if (!s || kl__grow(&f->owned, &f->cap_owned, f->n_owned + 1, sizeof *f->owned) != KL_OK) {
        kl__free(s);
        return NULL;
    }
    return f->owned[f->n_owned++] = s;
}

static kl_status add_meta(file *f, const char *key, char *value)
{
    const char *v = own(f, value);
    if (!v)
        return KL_E_MEMORY;
    kl_status st = kl__grow(&f->meta, &f->cap_meta, f->n_meta + 1, sizeof *f->meta);
    if (st == KL_OK)
        f->meta[f->n_meta++] = (kl__st_meta_pair){key, v};
    return st;
}

static kl_status add_tensor(file *f, const char *name, const kl__param *p, kl_dtype real,
                            const void *arena)
{
    kl_status st = kl__grow(&f->entries, &f->cap, f->n + 1, sizeof *f->entries);
    if (!name || st != KL_OK)
        return KL_E_MEMORY;
    kl__st_entry *e = &f->entries[f->n++];
    memset(e, 0, sizeof *e);
    e->name = name;
    e->array.elem = real == KL_F64 ? KL__F64 : KL__F32;
    e->array.n_dims = p->shape.n_dims;
    for (int i = 0; i < p->shape.n_dims; i++)
        e->array.dim[i] = p->shape.dim[i];
    e->array.data = (char *)(uintptr_t)arena + p->offset * kl_dtype_size(real);
    e->array.n_bytes = p->count * kl_dtype_size(real);
    f->crc = kl__crc32(f->crc, e->array.data, e->array.n_bytes);
    return KL_OK;
}

static kl_status write_file(file *f, kl_model *m, const char *path, const kl_meta *meta,
                            size_t n_meta)
{
    kl_status st = add_meta(f, "kiln.format", kl__strdup(FORMAT));
    if (st == KL_OK)
        st = add_meta(f, "kiln.graph", kl_graph_print(m->graph));
    if (st == KL_OK)
        st = add_meta(f, "kiln.seed", kl__asprintf("%llu", (unsigned long long)m->seed));
    if (st == KL_OK)
        st = add_meta(f, "kiln.crc32", kl__asprintf("%08x", (unsigned)f->crc));
    for (size_t i = 0; st == KL_OK && i < n_meta; i++)
        if (meta[i].key && meta[i].value)
            st = add_meta(f, meta[i].key, kl__strdup(meta[i].value));
    return st == KL_OK ? kl__st_write(path, f->entries, f->n, f->meta, f->n_meta) : st;
}

static void finish(file *f)
{
    for (size_t i = 0; i < f->n_owned; i++)
        kl__free(f->owned[i]);
    kl__free(f->owned);
    kl__free(f->entries);
    kl__free(f->meta);
}

static kl_status add_params(file *f, kl_model *m)
{
    kl__model_enter(m);
    kl_status st = kl__model_pull(m);
    kl__unlock(&m->lock);
    for (size_t i = 0; st == KL_OK && i < m->n_params; i++)
        st = add_tensor(f, m->params[i].name, &m->params[i], m->real, m->host);
    return st;
}

kl_status kl_model_save(kl_model *m, const char *path, const kl_meta *meta, size_t n_meta)
{
    file f = {0};
    if (!m || !path)
        return kl__fail(KL_E_ARG, "kl_model_save: %s is NULL", m ? "path" : "model");
    kl_status st = add_params(&f, m);
    if (st == KL_OK)
        st = write_file(&f, m, path, meta, n_meta);
    finish(&f);
    return st;
}

kl_status kl_trainer_save(kl_trainer *tr, const char *path, const kl_meta *meta, size_t n_meta)
{
    file f = {0};
    void *states[KL__MAX_STATES] = {NULL};
    if (!tr || !path)
        return kl__fail(KL_E_ARG, "kl_trainer_save: %s is NULL", tr ? "path" : "trainer");
    kl_model *m = tr->model;
    kl_status st = kl__trainer_collect(tr, true);
    if (st == KL_E_DEVICE && tr->team)
        st = KL_OK; /* the host has the last complete step */
    const int64_t steps = kl__trainer_complete(tr);
    if (st != KL_OK || (tr->exchange && tr->exchange->rank))
        return st; /* the first process writes for all */
    st = add_params(&f, m);
    for (int k = 0; st == KL_OK && k < kl__optim_n_states(tr->optim, &tr->attrs); k++) {
        if (!(states[k] = kl__calloc(m->trainable_elems + 1, kl_dtype_size(m->real))))
            st = KL_E_MEMORY;
        if (st == KL_OK)
            st = kl__trainer_get_state(tr, k, states[k]);
        for (size_t i = 0; st == KL_OK && i < m->n_trainable; i++)
            st = add_tensor(
                &f,
                own(&f, kl__asprintf("optim/%s/%s", kl__optim_state_name(tr->optim, &tr->attrs, k),
                                     m->params[i].name)),
                &m->params[i], m->real, states[k]);
    }
    if (st == KL_OK)
        st = add_meta(&f, "kiln.step", kl__asprintf("%lld", (long long)steps));
    if (st == KL_OK)
        st = add_meta(&f, "kiln.shards", kl__asprintf("%d", tr->shards));
    if (st == KL_OK)
        st = add_meta(&f, "kiln.optimizer", kl__trainer_optimizer(tr));
    if (st == KL_OK)
        st = write_file(&f, m, path, meta, n_meta);
    for (int k = 0; k < KL__MAX_STATES; k++)
        kl__free(states[k]);
    finish(&f);
    return st;
}

/* ---- reading --------------------------------------------------------------------------------- */
/** Opens and checks format and checksum. */
static kl__st *open_checked(const char *path)
{
    int64_t format;
    uint32_t crc = 0;
    char got[16];
    kl__st *st = kl__st_open(path);
    if (!st)
        return NULL;
    const char *f = kl__st_meta(st, "kiln.format"), *sum = kl__st_meta(st, "kiln.crc32");
    if (!f || !kl__parse_i64(f, &format) || format < 1) {
        kl__fail(KL_E_FORMAT, "%s: this safetensors file is no checkpoint of Kiln's", path);
        goto fail;
    }
    if (format > 1) {
        kl__fail(KL_E_FORMAT,
                 "%s: written by a newer Kiln (format %s, this one reads up to " FORMAT ")", path,
                 f);
        goto fail;
    }
    for (size_t i = 0; i < kl__st_count(st); i++)
        crc = kl__crc32(crc, kl__st_at(st, i)->array.data, kl__st_at(st, i)->array.n_bytes);
    snprintf(got, sizeof got, "%08x", (unsigned)crc);
    if (!sum || strcmp(sum, got) != 0) {
        kl__fail(KL_E_FORMAT, "%s: the checksum of the data is wrong: the file is damaged", path);
        goto fail;
    }
    return st;
fail:
    kl__st_close(st);
    return NULL;
}

static kl_status take_tensor(const kl__st *st, const char *path, const char *name,
                             const kl__param *p, kl_dtype real, void *arena)
{
    const kl__st_entry *e = name ? kl__st_find(st, name) : NULL;
    kl_shape s = {0};
    if (!e)
        return kl__fail(KL_E_FORMAT, "%s: there is no tensor \"%s\"", path, name ? name : "");
    s.n_dims = e->array.n_dims <= KL_MAX_DIMS ? e->array.n_dims : -1;
    for (int i = 0; i < s.n_dims; i++)
        s.dim[i] = e->array.dim[i];
    bool real_type = e->array.elem == KL__F32 || e->array.elem == KL__F64;
    if (!real_type || !kl_shape_equal(s, p->shape)) {
        char a[96], b[96];
        return kl__fail(KL_E_FORMAT, "%s: tensor \"%s\" is %s, the model has %s", path, name,
                        kl__shape_str(s, a), kl__shape_str(p->shape, b));
    }
    kl__convert((char *)arena + p->offset * kl_dtype_size(real), real, e->array.data,
                e->array.elem == KL__F64 ? KL_F64 : KL_F32, p->count);
    return KL_OK;
}

static kl_status load_params(kl_model *m, const kl__st *st, const char *path)
{
    void *host = kl__calloc(m->elems + 1, kl_dtype_size(m->real));
    kl_status status = host ? KL_OK : KL_E_MEMORY;
    for (size_t i = 0; status == KL_OK && i < m->n_params; i++)
        status = take_tensor(st, path, m->params[i].name, &m->params[i], m->real, host);
    for (size_t i = 0; status == KL_OK && i < kl__st_count(st); i++) {
        const char *name = kl__st_at(st, i)->name;
        if (!kl__starts(name, "optim/") && !kl__model_find(m, name))
            status =
                kl__fail(KL_E_FORMAT, "%s: tensor \"%s\" is no parameter of the model", path, name);
    }
    if (status != KL_OK) {
        kl__free(host);
        return status;
    }
    kl__model_enter(m); /* all or nothing */
    kl__free(m->host);
    m->host = host;
    m->host_version = ++m->version;
    m->newest = NULL;
    kl__unlock(&m->lock);
    return KL_OK;
}

static bool is_checkpoint(const char *path, bool *exists)
{
    uint8_t head[9] = {0};
    size_t got = 0;
    kl__reader *r = kl__reader_open(path);
    *exists = r != NULL;
    bool ok = r && kl__reader_some(r, head, sizeof head, &got) == KL_OK;
    kl__reader_close(r);
    /* safetensors: 8 bytes of length, then '{'; a text has no NUL among its first bytes */
    return ok && got == 9 && (head[8] == '{' || memchr(head, 0, 8));
}

kl_model *kl_model_load(const char *path)
{
    bool exists;
    uint64_t seed = 0;
    kl_graph *g = NULL;
    kl_model *m = NULL;
    if (!path) {
        kl__fail(KL_E_ARG, "kl_model_load: path is NULL");
        return NULL;
    }
    if (!is_checkpoint(path, &exists)) {
        uint8_t *text = NULL;
        size_t n;
        if (exists && kl__file_read(path, 1 << 26, &text, &n) == KL_OK)
            g = kl_graph_parse((const char *)text, path);
        kl__free(text);
        m = g ? kl_model_create(g, NULL) : NULL;
        kl_graph_destroy(g);
        return m;
    }
    kl__st *st = open_checked(path);
    const char *text = st ? kl__st_meta(st, "kiln.graph") : NULL;
    if (st && !text)
        kl__fail(KL_E_FORMAT, "%s: the checkpoint holds no graph", path);
    if (text && kl__st_meta(st, "kiln.seed"))
        kl__parse_u64(kl__st_meta(st, "kiln.seed"), &seed);
    g = text ? kl_graph_parse(text, path) : NULL;
    m = g ? kl_model_create(g, &(kl_model_opts){.seed = seed}) : NULL;
    if (m && load_params(m, st, path) != KL_OK) {
        kl_model_destroy(m);
        m = NULL;
    }
    kl_graph_destroy(g);
    kl__st_close(st);
    return m;
}

static kl_status same_text(const char *path, const char *what, const char *theirs, char *mine)
{
    kl_status st =
        !mine ? KL_E_MEMORY
        : theirs && !strcmp(theirs, mine)
            ? KL_OK
            : kl__fail(KL_E_ARG, "%s: the checkpoint's %s differs: \"%.200s\", here \"%.200s\"",
                       path, what, theirs ? theirs : "none", mine);
    kl__free(mine);
    return st;
}

static kl_status keep_meta(kl_trainer *tr, const kl__st *st)
{
    size_t n = kl__st_n_meta(st);
    kl_meta *m = kl__calloc(n + 1, sizeof *m);
    if (!m)
        return KL_E_MEMORY;
    for (size_t i = 0; i < tr->n_loaded; i++) {
        kl__free((void *)(uintptr_t)tr->loaded[i].key);
        kl__free((void *)(uintptr_t)tr->loaded[i].value);
    }
    kl__free(tr->loaded);
    tr->loaded = m;
    for (tr->n_loaded = 0; tr->n_loaded < n; tr->n_loaded++) {
        const char *value, *key = kl__st_meta_at(st, tr->n_loaded, &value);
        m[tr->n_loaded] = (kl_meta){kl__strdup(key), kl__strdup(value)};
        if (!m[tr->n_loaded].key || !m[tr->n_loaded].value) {
            tr->n_loaded++;
            return KL_E_MEMORY;
        }
    }
    return KL_OK;
}

static kl_status load_states(kl_trainer *tr, const kl__st *st, const char *path)
{
    const kl_model *m = tr->model;
    kl_status status = KL_OK;
    for (int k = 0; status == KL_OK && k < kl__optim_n_states(tr->optim, &tr->attrs); k++) {
        void *v = kl__calloc(m->trainable_elems + 1, kl_dtype_size(m->real));
        status = v ? KL_OK : KL_E_MEMORY;
        for (size_t i = 0; status == KL_OK && i < m->n_trainable; i++) {
            char *name = kl__asprintf("optim/%s/%s", kl__optim_state_name(tr->optim, &tr->attrs, k),
                                      m->params[i].name);
            status = take_tensor(st, path, name, &m->params[i], m->real, v);
            kl__free(name);
        }
        if (status == KL_OK)
            status = kl__trainer_set_state(tr, k, v);
        kl__free(v);
    }
    return status;
}

kl_status kl_trainer_load(kl_trainer *tr, const char *path)
{
    int64_t step = 0;
    uint64_t seed = 0;
    if (!tr || !path)
        return kl__fail(KL_E_ARG, "kl_trainer_load: %s is NULL", tr ? "path" : "trainer");
    kl_status status = kl__trainer_collect(tr, true);
    kl__st *st = status == KL_OK ? open_checked(path) : NULL;
    if (!st)
        return kl__last_status();
    const char *at = kl__st_meta(st, "kiln.step"), *shards = kl__st_meta(st, "kiln.shards"),
               *seeds = kl__st_meta(st, "kiln.seed");
    if (!at || !kl__parse_i64(at, &step) || step < 0 || !seeds || !kl__parse_u64(seeds, &seed))
        status =
            kl__fail(KL_E_FORMAT,
                     "%s: a model without a trainer's state: it can be loaded, not resumed", path);
    if (status == KL_OK)
        status = same_text(path, "graph", kl__st_meta(st, "kiln.graph"),
                           kl_graph_print(tr->model->graph));
    if (status == KL_OK)
        status = same_text(path, "optimizer", kl__st_meta(st, "kiln.optimizer"),
                           kl__trainer_optimizer(tr));
    if (status == KL_OK)
        status = same_text(path, "number of shards", shards ? shards : "1",
                           kl__asprintf("%d", tr->shards));
    if (status == KL_OK)
        status = load_params(tr->model, st, path);
    if (status == KL_OK)
        status = load_states(tr, st, path);
    if (status == KL_OK)
        status = keep_meta(tr, st);
    if (status == KL_OK) {
        tr->steps = step;
        tr->model->seed = seed;
    }
    kl__st_close(st);
    return status;
}

char *kl_checkpoint_meta(const char *path, const char *key)
{
    if (!path || !key) {
        kl__fail(KL_E_ARG, "kl_checkpoint_meta: %s is NULL", path ? "key" : "path");
        return NULL;
    }
    kl__st *st = kl__st_open(path);
    const char *v = st ? kl__st_meta(st, key) : NULL;
    if (st && !v)
        kl__fail(KL_OK, "%s", "");
    char *copy = v ? kl__strdup(v) : NULL;
    kl__st_close(st);
    return copy;
}
