#include "random_scene.h"

#include "base/hash.h"
#include "support/drop_cl.h"
#include "support/null_cl.h"
#include "support/random_net.h"

#include <kiln/opencl.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MAX_CTX = 3, MAX_MODELS = 2, MAX_BATCH = 14, MAX_OPS = 18, MAX_KEPT = 256 };

typedef struct actor { /* a model, and its trainer where it has one */
    random_net net;
    kl_model *model;
    kl_trainer *trainer;
    kl_ctx *ctx; /* of the trainer */
    int shards;
} actor;

typedef struct scene {
    random_dice d;
    uint64_t program;
    bool chained;
    int n_ctx, n_actors;
    kl_ctx *ctx[MAX_CTX];
    cl_context context; /* shared by those that are in the caller's */
    cl_device_id device;
    cl_command_queue queue[MAX_CTX];
    actor actor[MAX_MODELS];
    uint64_t batches, hash;
    void *kept[MAX_KEPT]; /* host memory, freed at the end: a late command may still look there */
    size_t n_kept;
    scene_result out;
} scene;

static void must(kl_status st)
{
    if (st != KL_OK)
        fail_msg("%s", kl_last_error());
}

static bool chance(scene *s, int percent)
{
    return random_below(&s->d, 100) < percent;
}

/** What the host was given: part of the outcome. */
static void see(scene *s, const void *p, size_t bytes)
{
    drop_cl_host(p, bytes);
    s->hash = kl__hash64(p, bytes, s->hash);
}

static void *keep(scene *s, void *p)
{
    assert_true(p && s->n_kept < MAX_KEPT);
    return s->kept[s->n_kept++] = p;
}

/* ---- contexts ---- */

static void open_host(scene *s)
{
    const kl__cl_table *cl = kl__cl();
    cl_platform_id p;
    cl_int e;
    cl->clGetPlatformIDs(1, &p, NULL);
    cl->clGetDeviceIDs(p, CL_DEVICE_TYPE_ALL, 1, &s->device, NULL);
    s->context = cl->clCreateContext(NULL, 1, &s->device, NULL, NULL, &e);
    assert_non_null(s->context);
}

/** Kiln's own, or within the caller's OpenCL context: with queues of Kiln's, or in one of the
 * caller's, in order or not. */
static void open_ctx(scene *s, int i)
{
    const kl_ctx_opts o = {.cache_dir = ""};
    int kind = s->chained ? 3 : random_below(&s->d, 4);
    cl_int e;
    if (kind >= 2)
        s->queue[i] = kl__cl()->clCreateCommandQueue(
            s->context, s->device, kind == 3 ? CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE : 0, &e);
    s->ctx[i] = kind ? kl_ctx_from_cl(s->context, s->device, s->queue[i], &o) : kl_ctx_create(&o);
    if (!s->ctx[i])
        fail_msg("%s", kl_last_error());
}

/* ---- models ---- */

static kl_ctx *any_ctx(scene *s)
{
    return s->ctx[random_below(&s->d, s->n_ctx)];
}

static void open_trainer(scene *s, actor *a)
{
    static const kl_optim_kind kinds[] = {KL_ADAMW, KL_SGD, KL_ADAM, KL_RMSPROP};
    a->ctx = any_ctx(s);
    a->shards = chance(s, 40) ? 1 : 1 + random_below(&s->d, 8);
    kl_trainer_opts o = {.optim = {.kind = kinds[random_below(&s->d, 4)]},
                         .shards = a->shards,
                         .allow_nan = true};
    if (chance(s, 30))
        o.clip_norm = 1;
    if (chance(s, 50))
        o.optim.momentum = 0.9f;
    a->trainer = kl_trainer_create(a->model, &a->ctx, 1, "loss", a->net.logits, &o);
    if (!a->trainer)
        fail_msg("%s", kl_last_error());
}

static void open_actor(scene *s, actor *a, int i)
{
    a->net = random_net_make(s->program * MAX_MODELS + (uint64_t)i);
    a->model = kl_model_create(a->net.graph, &(kl_model_opts){.seed = s->program});
    if (!a->model)
        fail_msg("program %llu: %s", (unsigned long long)s->program, kl_last_error());
    if (i == 0 || chance(s, 70))
        open_trainer(s, a);
}

/* ---- passes ---- */

static random_batch make_batch(scene *s, const actor *a, int n)
{
    random_batch b = random_batch_make(&a->net, n, s->program * 1000 + s->batches++);
    for (int i = 0; i < a->net.n_inputs; i++)
        keep(s, b.values[i]);
    return b;
}

/** The library is done with it, so it may change. */
static void spoil_batch(const actor *a, random_batch *b)
{
    for (int i = 0; i < a->net.n_inputs; i++) {
        drop_cl_host(b->values[i], b->bind[i].host_bytes);
        memset(b->values[i], 0x5A, b->bind[i].host_bytes);
    }
}

static kl_shape flat(const actor *a, int i, int n)
{
    const kl_node *x = kl_graph_find(a->net.graph, a->net.input[i]);
    kl_shape s = kl_node_shape(x);
    s.dim[0] = n;
    return s;
}

/** The same batch in tensors of a context. */
static void to_tensors(const actor *a, kl_ctx *c, random_batch *b)
{
    for (int i = 0; i < a->net.n_inputs; i++) {
        kl_tensor *t = kl_tensor_create(c, a->net.label[i] ? KL_I32 : KL_F32, flat(a, i, b->n));
        assert_non_null(t);
        must(kl_tensor_write(t, b->values[i], b->bind[i].host_bytes));
        b->bind[i] = (kl_bind){.name = a->net.input[i], .tensor = t};
    }
}

static void release_tensors(const actor *a, random_batch *b)
{
    for (int i = 0; i < a->net.n_inputs; i++)
        kl_tensor_release(b->bind[i].tensor);
}

static int batch_size(scene *s, const actor *a)
{
    int least = a->trainer ? a->shards : 1;
    return s->batches == 0 ? MAX_BATCH : least + random_below(&s->d, MAX_BATCH - least);
}

static void train(scene *s, actor *a, bool eval)
{
    random_batch b = make_batch(s, a, batch_size(s, a));
    bool tensors = chance(s, 30);
    random_batch host = b;
    if (tensors)
        to_tensors(a, a->ctx, &b);
    must(eval ? kl_trainer_eval(a->trainer, b.bind, (size_t)a->net.n_inputs)
              : kl_trainer_step(a->trainer, b.bind, (size_t)a->net.n_inputs));
    if (tensors)
        release_tensors(a, &b); /* right away: what is queued keeps what it needs */
    spoil_batch(a, &host);
}

static kl_bind bind_output(scene *s, const actor *a, int o, int n, kl_ctx *c)
{
    size_t count = a->net.output_sample[o] * (size_t)n;
    kl_bind b = {.name = a->net.output[o]};
    if (c) {
        kl_shape shape = kl_node_shape(kl_graph_output(a->net.graph, b.name));
        shape.dim[0] = n;
        b.tensor = kl_tensor_create(c, KL_F32, shape);
        assert_non_null(b.tensor);
    } else {
        b.host_bytes = count * sizeof(float);
        b.host = keep(s, calloc(count + 1, sizeof(float)));
    }
    return b;
}

static void see_tensor(scene *s, kl_tensor *t)
{
    size_t bytes = kl_tensor_bytes(t);
    void *p = keep(s, calloc(bytes + 1, 1));
    must(kl_tensor_read(t, p, bytes));
    see(s, p, bytes);
}

static void infer_host(scene *s, actor *a)
{
    kl_bind binds[RANDOM_NET_INPUTS + RANDOM_NET_OUTPUTS];
    int n = 1 + random_below(&s->d, MAX_BATCH - 1), k = a->net.n_inputs - 1;
    random_batch b = make_batch(s, a, n);
    memcpy(binds, b.bind, sizeof b.bind);
    for (int o = 0; o < a->net.n_outputs; o++)
        if (o == a->net.n_outputs - 1 || chance(s, 60))
            binds[k++] = bind_output(s, a, o, n, NULL);
    must(kl_model_run(a->model, any_ctx(s), binds, (size_t)k));
    for (int i = a->net.n_inputs - 1; i < k; i++)
        see(s, binds[i].host, binds[i].host_bytes);
    spoil_batch(a, &b);
}

/** A run of passes over tensors, on contexts in turn, one event to the next: into one buffer where
 * they share an OpenCL context. */
static void infer_tensors(scene *s, actor *a)
{
    const kl__cl_table *cl = kl__cl();
    cl_event last = NULL;
    cl_context from = NULL;
    kl_tensor *shared = NULL;
    int rounds = 1 + random_below(&s->d, 3), o = a->net.n_outputs - 1, k = a->net.n_inputs - 1;
    for (int r = 0; r < rounds; r++) {
        int at = random_below(&s->d, s->n_ctx), n = 3;
        kl_ctx *c = s->ctx[at];
        random_batch b = make_batch(s, a, n), host = b;
        cl_event done = NULL;
        to_tensors(a, c, &b);
        kl_bind out = bind_output(s, a, o, n, c);
        if (shared && kl_ctx_cl_context(kl_tensor_ctx(shared)) == kl_ctx_cl_context(c)) {
            size_t offset;
            cl_mem m = kl_tensor_cl_mem(shared, &offset);
            kl_shape shape = kl_tensor_shape(out.tensor);
            kl_tensor_release(out.tensor);
            out.tensor = kl_tensor_from_cl(c, m, offset, KL_F32, shape);
            assert_non_null(out.tensor);
        }
        kl_bind binds[RANDOM_NET_INPUTS + 1];
        memcpy(binds, b.bind, sizeof b.bind);
        binds[k] = out;
        bool near = last && from == kl_ctx_cl_context(c);
        if (last && !near) /* events are known within one OpenCL context only */
            cl->clWaitForEvents(1, &last);
        must(kl_model_enqueue(a->model, c, binds, (size_t)k + 1, near, &last, &done));
        if (last)
            cl->clReleaseEvent(last);
        from = kl_ctx_cl_context(c);
        last = done;
        release_tensors(a, &b);
        spoil_batch(a, &host);
        kl_tensor_release(shared);
        shared = out.tensor;
    }
    see_tensor(s, shared); /* of the context that wrote last */
    kl_tensor_release(shared);
    cl->clReleaseEvent(last);
}

static void access_params(scene *s, actor *a, bool write)
{
    kl_param_info p;
    must(kl_model_param(a->model, (size_t)random_below(&s->d, (int)kl_model_n_params(a->model)),
                        &p));
    float *v = keep(s, calloc(p.count + 1, sizeof *v));
    must(kl_model_get_param(a->model, p.name, v, p.count));
    see(s, v, p.count * sizeof *v);
    for (size_t i = 0; i < p.count; i++)
        v[i] = (float)random_below(&s->d, 100) * 0.01f;
    if (write)
        must(kl_model_set_param(a->model, p.name, v, p.count));
}

static void metrics(scene *s, actor *a, bool eval)
{
    kl_metrics m;
    memset(&m, 0, sizeof m);
    must(eval ? kl_trainer_eval_metrics(a->trainer, &m) : kl_trainer_metrics(a->trainer, &m));
    double seen[4] = {m.loss, m.accuracy, m.grad_norm, (double)m.samples};
    see(s, seen, sizeof seen);
}

static void play_one(scene *s)
{
    actor *a = &s->actor[random_below(&s->d, s->n_actors)];
    int kind = random_below(&s->d, 12);
    s->out.programs++;
    if (s->out.programs == 1) { /* the largest batch comes first */
        a = &s->actor[0];
        kind = 0;
    }
    if (kind >= 3 || !a->trainer) {
        switch (kind) {
        case 3:
        case 4:
            infer_tensors(s, a);
            return;
        case 5:
        case 6:
            access_params(s, a, kind == 6);
            return;
        case 7:
            must(kl_ctx_finish(any_ctx(s)));
            return;
        default:
            break;
        }
        if (!a->trainer || kind == 8) {
            infer_host(s, a);
            return;
        }
    }
    if (kind >= 10)
        metrics(s, a, kind == 10);
    else
        train(s, a, kind == 2 || kind == 9);
}

/* ---- all of it ---- */

static void close_scene(scene *s)
{
    /* where a dependency was taken away: all must have ended */
    for (int i = 0; i < s->n_ctx; i++)
        if (s->queue[i])
            kl__cl()->clFinish(s->queue[i]);
    for (int i = 0; i < s->n_actors; i++) {
        kl_trainer_destroy(s->actor[i].trainer);
        kl_model_destroy(s->actor[i].model);
        random_net_free(&s->actor[i].net);
    }
    for (int i = 0; i < s->n_ctx; i++) {
        kl_ctx_destroy(s->ctx[i]);
        if (s->queue[i])
            kl__cl()->clReleaseCommandQueue(s->queue[i]);
    }
    kl__cl()->clReleaseContext(s->context);
    for (size_t i = 0; i < s->n_kept; i++)
        free(s->kept[i]);
}

static void digest_log(scene *s)
{
    for (size_t i = 0; i < null_cl_log_count(); i++) {
        null_entry e = null_cl_log_at(i);
        uint64_t of[3] = {(uint64_t)e.queue, e.bytes, e.tag};
        if (!e.ran)
            fail_msg("%s was never carried out", e.call);
        s->hash = kl__hash64(e.call, strlen(e.call), s->hash);
        s->hash = kl__hash64(of, sizeof of, s->hash);
    }
    s->out.commands = null_cl_log_count();
    s->out.tags = s->hash;
}

scene_result scene_play(uint64_t program, scene_order order, uint64_t seed, bool chained)
{
    static scene s;
    s = (scene){.d = random_dice_of(program, "scene"), .program = program, .chained = chained};
    null_cl_setup(NULL, 0, order == SCENE_EAGER ? 0 : seed * 2 + 1);
    null_cl_mix_reads();
    if (order == SCENE_DELAYED)
        null_cl_delay(seed);
    drop_cl_wrap(null_cl_table());
    kl__cl_set_table(drop_cl_table());
    open_host(&s);
    s.n_ctx = 1 + random_below(&s.d, MAX_CTX);
    for (int i = 0; i < s.n_ctx; i++)
        open_ctx(&s, i);
    s.n_actors = 1 + random_below(&s.d, MAX_MODELS);
    for (int i = 0; i < s.n_actors; i++)
        open_actor(&s, &s.actor[i], i);
    for (int i = 2 + random_below(&s.d, MAX_OPS - 2); i > 0; i--)
        play_one(&s);
    for (int i = 0; i < s.n_actors; i++)
        access_params(&s, &s.actor[i], false);
    close_scene(&s);
    digest_log(&s);
    kl__cl_set_table(NULL);
    if (null_cl_live() != 0)
        fail_msg("program %llu leaves %lld OpenCL objects behind", (unsigned long long)program,
                 (long long)null_cl_live());
    return s.out;
}
