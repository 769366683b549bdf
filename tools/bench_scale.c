/* kiln bench --train --device A,B: what several devices reach together, next to each of them alone.
 */
#include "bench.h"
#include "json.h"
#include "net.h"
#include "shares.h"

#include <stdlib.h>
#include <string.h>

enum {
    GROUP_SHARDS = 16,
    WARM_ALONE = 2,
    WARM_GROUP = 20, /* the split follows the measured speeds within so many steps */
    MAX_INPUTS = 8
};
static const double RUN_SECONDS = 0.5; /* of a repetition, at least */

typedef struct scale {
    args *a;
    group group;
    json_t *list; /* NULL: tables */
    net net;
    kl_bind binds[MAX_INPUTS];
    size_t n_binds;
    int64_t batch;
    int shards;
    double alone[KL_MAX_GROUP], together; /* images/s */
    shares *shares;
} scale;

/* ---- data ------------------------------------------------------------------------------------ */

/** The same numbers each time; any will do. */
static void fill(kl_dtype dtype, void *to, size_t n, int classes)
{
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        if (dtype == KL_I32) {
            ((int32_t *)to)[i] = (int32_t)((x >> 8) % (uint32_t)(classes > 0 ? classes : 2));
        } else {
            ((float *)to)[i] = (float)(x >> 8) / (float)(1 << 23) - 1;
        }
    }
}

static int make_batch(scale *s)
{
    const kl_graph *g = kl_model_graph(s->net.model);
    for (size_t i = 0; i < kl_graph_n_inputs(g); i++) {
        const kl_node *x = kl_graph_input(g, i);
        const kl_dtype dtype = kl_node_dtype(x);
        kl_shape shape = kl_node_shape(x);
        if (shape.n_dims > 0 && shape.dim[0] == KL_BATCH) {
            shape.dim[0] = s->batch;
        }
        if ((dtype != KL_F32 && dtype != KL_I32) || s->n_binds == MAX_INPUTS) {
            return fail(EXIT_USAGE, "%s: there is no random data for its input \"%s\"", s->net.name,
                        kl_node_name(x));
        }
        const size_t n = (size_t)kl_shape_count(shape), bytes = n * kl_dtype_size(dtype);
        void *host = must_alloc(n, kl_dtype_size(dtype));
        fill(dtype, host, n, s->net.n_scores);
        s->binds[s->n_binds++] =
            (kl_bind){.name = kl_node_name(x), .host = host, .host_bytes = bytes};
    }
    return 0;
}

static void free_batch(scale *s)
{
    while (s->n_binds > 0) {
        free(s->binds[--s->n_binds].host);
    }
}

/* ---- measuring ------------------------------------------------------------------------------- */

static kl_status steps(const scale *s, kl_trainer *tr, int64_t n, double *seconds)
{
    const double begin = now();
    kl_status st = KL_OK;
    for (int64_t i = 0; st == KL_OK && i < n; i++) {
        st = kl_trainer_step(tr, s->binds, s->n_binds);
    }
    st = st ? st : kl_trainer_metrics(tr, NULL);
    *seconds = now() - begin;
    return st;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/** Images per second: the median of the repetitions. */
static kl_status rate(const scale *s, kl_trainer *tr, int warm, double *out)
{
    const int runs = (int)args_int(s->a, "runs", 5);
    double *all = must_alloc((size_t)runs, sizeof *all), first, seconds;
    kl_status st = steps(s, tr, 1, &first); /* compiles */
    st = st ? st : steps(s, tr, warm, &first);
    const double n = RUN_SECONDS * warm / (first > 0 ? first : 1e-9);
    const int64_t each = n < 2 ? 2 : n > 10000 ? 10000 : (int64_t)n;
    for (int i = 0; st == KL_OK && i < runs; i++) {
        st = steps(s, tr, each, &seconds);
        all[i] = (double)(each * s->batch) / seconds;
    }
    qsort(all, (size_t)runs, sizeof *all, by_value);
    *out = runs % 2 ? all[runs / 2] : (all[runs / 2 - 1] + all[runs / 2]) / 2;
    free(all);
    return st;
}

static int measure(scale *s, size_t first, size_t n, double *out)
{
    const kl_trainer_opts o = {.shards = s->shards, .allow_nan = true};
    const int warm = n > 1 ? WARM_GROUP : WARM_ALONE;
    kl_trainer *tr =
        kl_trainer_create(s->net.model, s->group.ctx + first, n, s->net.loss, NULL, &o);
    kl_status st = tr ? rate(s, tr, warm, out) : kl_last_status();
    const int code = st ? fail_status(st) : 0;
    if (n > 1 && code == 0) {
        shares_take(s->shares, tr);
    }
    kl_trainer_destroy(tr);
    progress_clear();
    return code;
}

/* ---- what is printed ------------------------------------------------------------------------- */

static double best_of(const scale *s, double *sum)
{
    double best = 0;
    *sum = 0;
    for (size_t i = 0; i < s->group.n; i++) {
        best = s->alone[i] > best ? s->alone[i] : best;
        *sum += s->alone[i];
    }
    return best;
}

static void print_it(const scale *s)
{
    table t;
    char id[32], name[64];
    double sum;
    const double best = best_of(s, &sum);
    printf("\n%s, train, batch %lld in %d shards\n", s->net.name, (long long)s->batch, s->shards);
    table_init(&t, "llrrrrr");
    bench_heads(&t, (const char *const[]){"device", "", "images/s", "speed-up", "share", "busy",
                                          "efficiency", NULL});
    for (size_t i = 0; i < s->group.n; i++) {
        const kl_device_info *d = &s->group.info[i];
        const kl_share *x = &s->shares->of[i];
        table_cell(&t, "%s", device_id(id, d));
        table_cell(&t, "%s, %d units", device_label(name, d), d->compute_units);
        table_cell(&t, "%.1f", s->alone[i]);
        table_cell(&t, "%.2f", s->alone[i] / best);
        if (x->lost) {
            table_cell(&t, "lost");
        } else {
            table_cell(&t, "%d/%d", x->shards, s->shares->total);
        }
        table_cell(&t, "%.0f%%", 100 * x->busy);
        table_cell(&t, "-");
    }
    table_cell(&t, "together");
    table_cell(&t, "%zu devices", s->group.n);
    table_cell(&t, "%.1f", s->together);
    table_cell(&t, "%.2f", s->together / best);
    table_cell(&t, "%d/%d", s->shares->total, s->shards);
    table_cell(&t, "-");
    table_cell(&t, "%.0f%%", 100 * s->together / sum);
    table_print(&t, stdout);
}

static json_t *scale_json(const scale *s)
{
    double sum;
    const double best = best_of(s, &sum);
    json_t *j = json_object(), *devices = shares_json(s->shares), *one;
    size_t i;
    json_array_foreach(devices, i, one)
    {
        json_object_set_new(one, "compute_units", json_integer(s->group.info[i].compute_units));
        json_object_set_new(one, "alone_images_per_second", json_real(s->alone[i]));
        json_object_set_new(one, "speed_up", json_number_or_null(s->alone[i] / best));
    }
    json_object_set_new(j, "model", json_text(s->net.name));
    json_object_set_new(j, "mode", json_string("train"));
    json_object_set_new(j, "batch", json_integer(s->batch));
    json_object_set_new(j, "shards", json_integer(s->shards));
    json_object_set_new(j, "devices", devices);
    json_object_set_new(j, "images_per_second", json_real(s->together));
    json_object_set_new(j, "speed_up", json_number_or_null(s->together / best));
    json_object_set_new(j, "efficiency", json_number_or_null(s->together / sum));
    return j;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int open_net(scale *s, const char *model)
{
    const int code = net_open(&s->net, model, &(net_opts){.loss = args_text(s->a, "loss")});
    return code || s->net.loss
               ? code
               : fail(EXIT_USAGE,
                      "%s has no output \"loss\"; say which one to append, --loss softmax_xent",
                      s->net.name);
}

static int scale_one(void *user, const char *model, int64_t batch, bool training)
{
    scale *s = user;
    (void)training;
    const int64_t most = batch < GROUP_SHARDS ? batch : GROUP_SHARDS;
    s->batch = batch;
    s->shards = (int)args_int(s->a, "shards", most);
    int code = s->shards <= batch
                   ? open_net(s, model)
                   : fail(EXIT_USAGE, "--shards %d: a batch has %lld samples only", s->shards,
                          (long long)batch);
    code = code ? code : make_batch(s);
    for (size_t i = 0; code == 0 && i < s->group.n; i++) {
        code = measure(s, i, 1, &s->alone[i]);
    }
    code = code ? code : measure(s, 0, s->group.n, &s->together);
    if (code == 0 && s->list) {
        json_array_append_new(s->list, scale_json(s));
    } else if (code == 0) {
        print_it(s);
    }
    free_batch(s);
    net_close(&s->net);
    return code;
}

int bench_scale(args *a)
{
    scale s = {.a = a, .list = args_has(a, "json") ? json_array() : NULL};
    int code =
        args_has(a, "train") && !args_has(a, "infer")
            ? 0
            : fail(EXIT_USAGE, "--device with several devices times training over them: give "
                               "--train alone, or --compare to see them side by side");
    if (code == 0 && args_has(a, "trace")) {
        code = fail(EXIT_USAGE, "--trace takes one device; `kiln train --trace` takes several");
    }
    code = code ? code : open_device_group(a, 0, NULL, &s.group);
    if (code == 0 && s.group.n < 2) {
        code = fail(EXIT_USAGE,
                    "--device %s is a single device (%s): there is nothing to compare it with",
                    args_text(a, "device"), s.group.info[0].name);
    }
    s.shares = shares_create(&s.group);
    code = code ? code : bench_each(a, scale_one, &s);
    if (s.list && code == 0) {
        print_json(json_pack("{s:s, s:O}", "kiln", kl_version(), "rows", s.list));
    }
    json_decref(s.list);
    free(s.shares);
    close_group(&s.group);
    return code;
}
