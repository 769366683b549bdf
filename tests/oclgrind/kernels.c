/* Runs one small case of Kiln's kernels, or names them all; the script beside it starts it under
 * Oclgrind and reads the log.
 *
 * usage: kernels list | CASE: prints "kernel NAME" for each kernel that it launched. */
#include "oclgrind/cases.h"

#include "base/mem.h"
#include "base/rng.h"
#include "device/opencl.h"
#include "ops/batchnorm.h"
#include "ops/grad_norm.h"
#include "ops/optim.h"
#include "ops/reorder.h"
#include "ops/running_update.h"
#include "sched/plan.h"

#include <kiln/kiln.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LEAVES = 48, MAX_FORMS = 16 };
#define COUNT(a) (sizeof(a) / sizeof *(a))

static kl_ctx *ctx;

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, kl_last_error());
    exit(1);
}

/* Oclgrind's check of uninitialised memory keeps what it knew of a buffer that is gone, size and
 * all, and takes it for the next one, so no buffer goes; and it sees neither fills nor copies, so
 * these are writes here. */
static const kl__cl_table *loader;

static cl_int CL_API_CALL keep(cl_mem mem)
{
    (void)mem;
    return CL_SUCCESS;
}

static cl_int CL_API_CALL copy(cl_command_queue q, cl_mem src, cl_mem dst, size_t from, size_t to,
                               size_t n, cl_uint n_wait, const cl_event *wait, cl_event *done)
{
    void *p = malloc(n);
    cl_int code = p ? loader->clEnqueueReadBuffer(q, src, CL_TRUE, from, n, p, n_wait, wait, NULL)
                    : CL_OUT_OF_HOST_MEMORY;
    if (!code)
        code = loader->clEnqueueWriteBuffer(q, dst, CL_TRUE, to, n, p, 0, NULL, done);
    free(p);
    return code;
}

static cl_int CL_API_CALL fill(cl_command_queue q, cl_mem dst, const void *pattern, size_t each,
                               size_t to, size_t n, cl_uint n_wait, const cl_event *wait,
                               cl_event *done)
{
    char *p = malloc(n);
    for (size_t i = 0; p && i < n; i += each)
        memcpy(p + i, pattern, each);
    cl_int code = p ? loader->clEnqueueWriteBuffer(q, dst, CL_TRUE, to, n, p, n_wait, wait, done)
                    : CL_OUT_OF_HOST_MEMORY;
    free(p);
    return code;
}

static kl_ctx *open_device(void)
{
    static kl__cl_table table;
    if (!(loader = kl__cl()))
        return NULL;
    table = *loader;
    table.clReleaseMemObject = keep;
    table.clEnqueueCopyBuffer = copy;
    table.clEnqueueFillBuffer = fill;
    kl__cl_set_table(&table);
    return kl_ctx_create(&(kl_ctx_opts){.flags = KL_CTX_BARE_BUFFERS, .cache_dir = ""});
}

/* ---- leaves: each in a buffer of exactly its size
 * ---------------------------------------------------------- */
static kl__mem *memory(const void *p, size_t bytes)
{
    kl__mem *m = kl__mem_create(ctx, bytes);
    if (!m || (bytes && kl__lane_write(kl__ctx_lane(ctx, KL__COMPUTE), (kl__span){m, 0}, p, bytes,
                                       NULL) != KL_OK))
        die("memory");
    return m;
}

static kl__mem *fill_leaf(const kl_node *x, uint32_t k)
{
    size_t n = 0, bytes = 0;
    if (!kl__desc_elems(&x->desc, &n) || !kl__desc_bytes(&x->desc, &bytes))
        die(x->name);
    double *v = calloc(n + 1, sizeof *v);
    void *raw = calloc(bytes + 8, 1);
    if (!v || !raw)
        die("out of memory");
    kl__rng r = kl__rng_of(5, "oclgrind", k);
    for (size_t i = 0; i < n; i++)
        v[i] = x->desc.dtype != KL_F32       ? (double)(i % 3)
               : !strncmp(x->name, "pos", 3) ? 0.5 + 0.1 * (double)kl__rng_uniform(r, i)
               : kl__is_param(x)             ? 0.3 + 0.7 * (double)kl__rng_uniform(r, i)
                                             : (double)kl__rng_normal(r, i);
    kl__convert(raw, x->desc.dtype, v, KL_F64, n);
    kl__mem *m = memory(raw, bytes);
    free(raw);
    free(v);
    return m;
}

/* ---- graphs
 * ------------------------------------------------------------------------------------------------
 */
typedef kl_graph *make_graph(const void *what);

/** Outputs "d:NAME": gradients by every f32 input and every parameter that is trained. */
static void append_gradients(kl_graph *g)
{
    kl_node *wrt[MAX_LEAVES], *dx[MAX_LEAVES];
    size_t n = 0, n_outputs = g->n_outputs;
    for (size_t i = 0; i < g->n_nodes && n < MAX_LEAVES; i++)
        if ((kl__is_input(g->nodes[i]) && g->nodes[i]->desc.dtype == KL_F32 &&
             strcmp(g->nodes[i]->name, "t") != 0) ||
            (kl__is_param(g->nodes[i]) && kl__leaf_of(g->nodes[i])->trainable))
            wrt[n++] = g->nodes[i];
    for (size_t o = 0; o < n_outputs; o++) {
        char name[64];
        kl_node *y = g->outputs[o].node;
        if (y->desc.dtype != KL_F32)
            continue;
        snprintf(name, sizeof name, "dy%zu", o);
        kl_node *dy = kl_input(g, name, KL_F32, y->desc.shape);
        memset(dx, 0, sizeof dx);
        if (kl__graph_grad(g, y, dy, wrt, n, dx) != KL_OK)
            die("gradient");
        for (size_t i = 0; i < n; i++) {
            snprintf(name, sizeof name, "d%zu:%s", o, wrt[i]->name);
            if (dx[i])
                kl_output(g, name, dx[i]);
        }
    }
}

static kl_graph *from_text(const void *what)
{
    const text_case *c = what;
    kl_graph *g = kl_graph_parse(c->text, c->name);
    kl_graph *low = g ? kl__graph_lower(g, 0, !c->inference, KL_F32, NULL, 0) : NULL;
    if (!low)
        die(c->name);
    kl_graph_destroy(g);
    low->n_updates = 0; /* the running statistics have a case of their own */
    if (!c->inference)
        append_gradients(low);
    return low;
}

/* ---- ops that no text names
 * -------------------------------------------------------------------------------- */
typedef struct op_case {
    const char *name;
    const kl__op *op;
    const void *attrs;
    int n_in;
    kl_shape in[6];
    kl_dtype dtype[6];
} op_case;

#define D1(a)                                                                                      \
    {                                                                                              \
        1,                                                                                         \
        {                                                                                          \
            a                                                                                      \
        }                                                                                          \
    }
#define D2(a, b)                                                                                   \
    {                                                                                              \
        2,                                                                                         \
        {                                                                                          \
            a, b                                                                                   \
        }                                                                                          \
    }

static const op_case op_cases[] = {
    {"correct", &kl__op_correct, NULL, 2, {D2(7, 10), D1(7)}, {KL_F32, KL_I32}},
    {"tree_add", &kl__op_tree_add, NULL, 2, {D1(83), D1(83)}, {KL_F32, KL_F32}},
    {"bn_meet",
     &kl__op_bn_meet,
     &(kl__bn_meet){{.eps = 100, .scale = true}, 3}, /* rows are drawn: variances below 0 too */
     5,
     {D1(13), D1(13), D2(4, 26), D1(4), D1(13)},
     {KL_F32, KL_F32, KL_F32, KL_I32, KL_F32}},
    {"bn_bwd_meet",
     &kl__op_bn_bwd_meet,
     &(kl__bn_meet){.each = 3},
     6,
     {D1(13), D1(13), D2(4, 26), D1(4), D1(13), D1(13)},
     {KL_F32, KL_F32, KL_F32, KL_I32, KL_F32, KL_F32}},
    {"running_update",
     &kl__op_running_update,
     &(kl__running){0.1f, KL_TORCH},
     2,
     {D1(13), D1(13)},
     {KL_F32, KL_F32}},
    {"running_update_keras",
     &kl__op_running_update,
     &(kl__running){0.9f, KL_KERAS},
     2,
     {D1(13), D1(13)},
     {KL_F32, KL_F32}},
    {"grad_norm",
     &kl__op_grad_norm,
     &(kl__grad_norm){1.5f},
     4,
     {D1(640), D1(10), D2(3, 4), D1(1)},
     {KL_F32, KL_U8, KL_F32, KL_F32}},
    {"grad_norm_parts",
     &kl__op_grad_norm,
     &(kl__grad_norm){1.5f},
     4,
     {D1(65600), D1(1025), D2(3, 4), D1(1)},
     {KL_F32, KL_U8, KL_F32, KL_F32}},
};

static kl_graph *from_op(const void *what)
{
    const op_case *c = what;
    kl_graph *g = kl_graph_create();
    kl_node *in[6];
    char name[16];
    for (int i = 0; i < c->n_in; i++) {
        snprintf(name, sizeof name, "in%d", i);
        in[i] = kl_input(g, name, c->dtype[i], c->in[i]);
    }
    kl_output(g, "y", kl__apply_new(g, c->op, "op", in, c->n_in, c->attrs));
    return g;
}

typedef struct optim_case {
    const char *name;
    const kl__op *op;
    kl__optim o;
} optim_case;

static const optim_case optim_cases[] = {
    {"sgd", &kl__op_sgd, {0}},
    {"sgd_keras", &kl__op_sgd, {.compat = KL_KERAS, .momentum = 0.9f, .nesterov = true}},
    {"momentum", &kl__op_sgd, {.momentum = 0.9f, .nesterov = true}},
    {"adam", &kl__op_adam, {0}},
    {"adamw", &kl__op_adam, {.decoupled = true}},
    {"adam_keras", &kl__op_adam, {.compat = KL_KERAS}},
    {"rmsprop", &kl__op_rmsprop, {0}},
    {"rmsprop_centered", &kl__op_rmsprop, {.momentum = 0.9f, .centered = true}},
    {"rmsprop_keras", &kl__op_rmsprop, {.compat = KL_KERAS, .momentum = 0.9f, .centered = true}},
};

static kl_graph *from_optim(const void *what)
{
    const optim_case *c = what;
    kl__optim o = c->o;
    kl__optim_defaults(c->op, &o);
    kl_graph *g = kl_graph_create();
    kl_node *in[9];
    char name[16];
    int n_states = kl__optim_n_states(c->op, &o), n = 2 + n_states + 4;
    for (int i = 0; i < n; i++) {
        static const kl_shape rest[4] = {D1(5), D2(3, 4), D1(1), D1(2)};
        int r = i - 2 - n_states;
        kl_shape s = r < 0 ? (kl_shape)D1(320) : rest[r];
        snprintf(name, sizeof name, "pos%d", i); /* moments that can be: 0.5..0.6 */
        in[i] = kl_input(g, name, r == 0 ? KL_U8 : KL_F32, s);
    }
    kl_node *w = kl__optim_new(g, c->op, "op", in, n, &o);
    for (int i = 0; w && i < w->by->n_out; i++) {
        snprintf(name, sizeof name, "y%d", i);
        kl_output(g, name, kl__out(w, i));
    }
    return g;
}

typedef struct reorder_case {
    kl__layout from, to;
    kl_shape shape;
} reorder_case;

static kl_graph *from_reorder(const void *what)
{
    const reorder_case *c = what;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, c->shape);
    x->desc.layout = c->from;
    kl_output(g, "y", kl__reorder(g, x, &c->to));
    return g;
}

/* ---- a graph in each form: variants by choice, by name, and with the element-wise ops apart
 * ------------------ */
typedef struct forms {
    char *seen[MAX_FORMS];
    int n;
} forms;

/** Variants and kernels as one text; false: this form has run. */
static bool is_new(forms *f, const kl__plan *p)
{
    kl__text t = {0};
    for (size_t i = 0; i < p->graph->n_applies; i++)
        if (p->graph->applies[i]->variant)
            kl__put(&t, "%s:%s ", p->graph->applies[i]->op->name,
                    p->graph->applies[i]->variant->name);
    for (int i = 0; i < f->n; i++)
        if (t.s && !strcmp(f->seen[i], t.s)) {
            kl__text_free(&t);
            return false;
        }
    if (t.s && f->n < MAX_FORMS)
        f->seen[f->n++] = t.s;
    return true;
}

static void say_kernels(const kl__plan *p)
{
    for (size_t i = 0; i < kl__seq_count(p->seq); i++)
        printf("kernel %s\n", kl__seq_kernel_name(p->seq, i));
    fflush(stdout);
}

static void run_form(forms *f, make_graph *make, const void *what, const char *force, bool no_fuse)
{
    static const uint32_t words[KL__STEP_WORDS] = {
        3, 1, 2, 0, 0, 0x3a83126f, 0x3f000000, 0x3f000000, 0x3f000000, 0x3f000000, 0x3f800000};
    kl__mem *leaf[MAX_LEAVES], *step = memory(words, sizeof words);
    size_t n = 0;
    kl_graph *g = make(what);
    if (kl_graph_check(g) != KL_OK)
        die("graph");
    for (size_t i = 0; i < g->n_nodes && n < MAX_LEAVES; i++) {
        kl_node *x = g->nodes[i];
        if (!kl__is_input(x) && !kl__is_param(x))
            continue;
        leaf[n] = fill_leaf(x, (uint32_t)n);
        x->place = (kl__place){KL__AT_SPAN, {leaf[n++], 0}, 0};
    }
    kl__plan *p =
        kl__plan_create(ctx, g, &(kl__plan_opts){.force = force, .step = step, .no_fuse = no_fuse});
    if (!p)
        die(force ? force : "plan");
    if (is_new(f, p)) {
        say_kernels(p);
        if (kl__plan_run(p, kl__ctx_lane(ctx, KL__COMPUTE)) != KL_OK || kl_ctx_finish(ctx) != KL_OK)
            die(force ? force : "run");
    }
    kl__plan_destroy(p);
    kl__mem_release(step);
    while (n > 0)
        kl__mem_release(leaf[--n]);
}

static void run_forms(make_graph *make, const void *what)
{
    static const char *const force[] = {"*:solo", "*:wino", "*:wino@3", "*:coop", "*:ref"};
    forms f = {.n = 0};
    run_form(&f, make, what, NULL, false);
    for (size_t i = 0; i < COUNT(force); i++)
        run_form(&f, make, what, force[i], true);
    for (int i = 0; i < f.n; i++)
        kl__free(f.seen[i]);
}

static void run_reorders(int only)
{
    int v = kl__ctx_caps(ctx)->vector;
    const kl__layout all[] = {{KL__PLAIN, 0, {0}},
                              {KL__NCHWC, v, {0}},
                              {KL__NCHWC, v, {1, 2, 0, 3}},
                              {KL__NCHWC, 1, {2, 1, 1, 0}},
                              {KL__OIHWC, v, {0}},
                              {KL__OIHWCT, v, {0}}};
    static const int64_t shapes[][4] = {{1, 9, 3, 5}, {2, 3, 1, 1}, {4, 9, 3, 1}};
    for (size_t s = 0; s < COUNT(shapes); s++)
        for (size_t to = 0; to < COUNT(all); to++)
            run_forms(from_reorder, &(reorder_case){all[only], all[to],
                                                    kl__shape4(shapes[s][0], shapes[s][1],
                                                               shapes[s][2], shapes[s][3])});
}

/* ---- a step of training through the public door
 * ------------------------------------------------------------- */
static const char lenet[] =
    "image = input(shape=[N,1,12,12])\nlabel = input(shape=[N], dtype=i32)\n"
    "c1 = conv2d(image, filters=6, kernel=5, pad=same)\na1 = tanh(c1)\np1 = maxpool2d(a1, "
    "window=2)\n"
    "c2 = conv2d(p1, filters=10, kernel=3)\na2 = relu(c2)\np2 = maxpool2d(a2, window=2)\n"
    "f1 = dense(p2, units=20)\na3 = relu(f1)\ndr = dropout(a3, rate=0.25)\nf2 = dense(dr, "
    "units=10)\nls = softmax_xent(f2, label)\n"
    "output logits = f2\noutput loss = ls\n";

static void run_step(const char *ref)
{
    float x[2 * 144];
    int32_t y[2] = {1, 3};
    kl__rng r = kl__rng_of(5, "step", 0);
    for (size_t i = 0; i < COUNT(x); i++)
        x[i] = (float)kl__rng_normal(r, i);
    if (ref)
        setenv("KILN_VARIANT", ref, 1);
    kl_graph *g = kl_graph_parse(lenet, "lenet");
    kl_model *m = g ? kl_model_create(g, NULL) : NULL;
    const kl_trainer_opts opts = {.optim = {.kind = KL_ADAMW}, .clip_norm = 1, .shards = 2};
    kl_trainer *tr = m ? kl_trainer_create(m, &ctx, 1, "loss", "logits", &opts) : NULL;
    kl_bind binds[] = {{.name = "image", .host = x, .host_bytes = sizeof x},
                       {.name = "label", .host = y, .host_bytes = sizeof y}};
    kl_metrics got;
    if (!tr || kl_trainer_step(tr, binds, 2) != KL_OK || kl_trainer_step(tr, binds, 2) != KL_OK ||
        kl_trainer_eval(tr, binds, 2) != KL_OK || kl_trainer_metrics(tr, &got) != KL_OK)
        die("step");
    printf("loss %g\n", got.loss);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_graph_destroy(g);
}

/* ---- kernels that no op launches, or only beside a library's
 * --------------------------------------------------- */
static void launch(kl__seq *s, kl__launch l)
{
    l.label = "direct";
    l.dims = 1;
    if (kl__seq_kernel(s, &l) != KL_OK)
        die(l.kernel);
    printf("kernel %s\n", l.kernel);
}

/* The twin of what the layout pass always has in the faster form. */
static void launch_wino_weights(kl__seq *s)
{
    enum { O = 5, I = 3, VN = 4, N = 36 * (2 * 4 + 1) * VN };
    float w[O * I * 9];
    for (size_t i = 0; i < COUNT(w); i++)
        w[i] = (float)i;
    kl__mem *x = memory(w, sizeof w), *u = kl__mem_create(ctx, N * sizeof *w);
    if (!u)
        die("memory");
    const int32_t v[] = {N, O, I, KL__PLAIN, 0, 0, 0, 0, 0, 0, VN};
    kl__launch l = {.file = "wino_weights.cl",
                    .kernel = "wino_weights_ref",
                    .global = {(N + 63) / 64 * 64},
                    .local = {64}};
    kl__launch_arg(&l, (kl__arg){.kind = KL__ARG_SPAN, .elem = 4, .span = {x, 0}});
    kl__launch_arg(&l, (kl__arg){.kind = KL__ARG_SPAN, .elem = 4, .span = {u, 0}});
    for (size_t i = 0; i < COUNT(v); i++)
        kl__launch_arg(&l, kl__arg_i32(v[i]));
    launch(s, l);
    kl__mem_release(x);
    kl__mem_release(u);
}

/* The kernels of peaks.cl over all 128 numbers, in two groups of `items`. */
static void add_peaks(kl__seq *s, kl__arg from, kl__arg to, int vn, uint32_t items)
{
    kl__defs d = {{0}};
    const kl__arg n = {.kind = KL__ARG_U32, .v = {.u32 = 64 / (uint32_t)vn}},
                  rounds = {.kind = KL__ARG_U32, .v = {.u32 = 2}};
    kl__launch l = {.file = "peaks.cl",
                    .kernel = "peaks_fma",
                    .defs = &d,
                    .n_args = 4,
                    .arg = {to, rounds, kl__arg_f32(0.5f), kl__arg_f32(1)},
                    .global = {2 * items},
                    .local = {items}};
    kl__def_int(&d, "VN", vn);
    launch(s, l);
    l.kernel = "peaks_empty";
    l.n_args = 1;
    launch(s, l);
    l.kernel = "peaks_read";
    l.n_args = 4;
    l.arg[0] = from;
    l.arg[1] = to;
    l.arg[2] = n;
    l.arg[3] = rounds;
    launch(s, l);
    l.kernel = "peaks_copy";
    launch(s, l);
    kl__defs_free(&d);
}

static void run_direct(void)
{
    static const float x[128];
    kl__mem *a = memory(x, sizeof x), *b = kl__mem_create(ctx, sizeof x);
    kl__seq *s = kl__seq_create(ctx);
    if (!a || !b || !s)
        die("direct");
    const kl__arg from = {.kind = KL__ARG_SPAN, .elem = 4, .span = {a, 0}},
                  to = {.kind = KL__ARG_SPAN, .elem = 4, .span = {b, 0}};
    const kl__arg from4 = {.kind = KL__ARG_SPAN, .elem = 16, .span = {a, 0}},
                  to4 = {.kind = KL__ARG_SPAN, .elem = 16, .span = {b, 0}};
    const kl__arg n = {.kind = KL__ARG_U32, .v = {.u32 = 128}},
                  n4 = {.kind = KL__ARG_U32, .v = {.u32 = 31}},
                  per = {.kind = KL__ARG_U32, .v = {.u32 = 4}};
    launch(s, (kl__launch){.file = "selfprobe.cl",
                           .kernel = "selfprobe_mix",
                           .n_args = 3,
                           .arg = {from, to, n},
                           .global = {128},
                           .local = {8}});
    launch(s, (kl__launch){.file = "selfprobe.cl",
                           .kernel = "selfprobe_turn",
                           .n_args = 2,
                           .arg = {from, to},
                           .global = {128},
                           .local = {8}});
    launch(s, (kl__launch){.file = "selfprobe.cl",
                           .kernel = "selfprobe_stream",
                           .n_args = 4,
                           .arg = {from4, to4, n4, per},
                           .global = {8},
                           .local = {1}});
    launch(s, (kl__launch){.file = "matmul_coop.cl",
                           .kernel = "matmul_bias",
                           .n_args = 4,
                           .arg = {from, to, kl__arg_i32(121), kl__arg_i32(11)},
                           .global = {128},
                           .local = {64}});
    launch_wino_weights(s);
    add_peaks(s, from, to, 1, 8);
    add_peaks(s, from, to, 4, 2);
    if (kl__seq_run(s, kl__ctx_lane(ctx, KL__COMPUTE), 0, kl__seq_count(s)) != KL_OK ||
        kl_ctx_finish(ctx) != KL_OK)
        die("direct");
    kl__seq_destroy(s);
    kl__mem_release(a);
    kl__mem_release(b);
}

/* ---- the program
 * -------------------------------------------------------------------------------------------- */
static bool run_table(const char *name, bool list)
{
#define EACH(table, make)                                                                          \
    for (size_t i = 0; i < COUNT(table); i++) {                                                    \
        if (list)                                                                                  \
            printf("%s\n", (table)[i].name);                                                       \
        else if (!strcmp(name, (table)[i].name)) {                                                 \
            run_forms(make, &(table)[i]);                                                          \
            return true;                                                                           \
        }                                                                                          \
    }
    EACH(text_cases, from_text)
    EACH(op_cases, from_op)
    EACH(optim_cases, from_optim)
    return false;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "list";
    if (!strcmp(name, "list")) {
        run_table(NULL, true);
        printf("reorder0\nreorder1\nreorder2\nreorder3\nreorder4\ndirect\nstep\nstep_ref\n");
        return 0;
    }
    ctx = open_device();
    if (!ctx)
        die("context");
    kl_device_info info;
    kl_ctx_info(ctx, &info);
    printf("device %s\n", info.name);
    if (!strncmp(name, "reorder", 7) && name[7] >= '0' && name[7] <= '4')
        run_reorders(name[7] - '0');
    else if (!strcmp(name, "direct"))
        run_direct();
    else if (!strcmp(name, "step"))
        run_step(NULL);
    else if (!strcmp(name, "step_ref"))
        run_step("*:ref");
    else if (!run_table(name, false)) {
        fprintf(stderr, "no case \"%s\"\n", name);
        return 2;
    }
    kl_ctx_destroy(ctx);
    printf("done\n");
    return 0;
}
