/* The pass queue: tickets, dependencies, order, room, batches, several devices, faults, trainers. */
#include "nets.h"

#include "base/thread.h"
#include "sched/queue.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { W = 6, MOST = 64 };

static kl_ctx *ctx[2];
static size_t n_ctx;
static kl_model *net; /* y = a small dense net of x, both [N,6] */

static kl_model *model_of(uint64_t seed)
{
    kl_graph *g = kl_graph_parse("x = input(shape=[N,6])\nh = dense(x, units=5)\nr = tanh(h)\n"
                                 "y = dense(r, units=6)\ns = reduce_sum(y, axes=[0,1])\noutput y = y\noutput s = s\n",
                                 "tiny");
    kl_model *m = g ? kl_model_create(g, &(kl_model_opts){.seed = seed}) : NULL;
    kl_graph_destroy(g);
    if (!m)
        fail_msg("%s", kl_last_error());
    return m;
}

static int open_all(void **state)
{
    (void)state;
    kl_device_info info[2];
    size_t n;
    if (kl_device_list(info, 2, &n) != KL_OK || !n)
        return -1;
    const char *name[] = {"0:0", "0:1"};
    ctx[0] = n > 1 ? kl_ctx_create(&(kl_ctx_opts){.device = name[0]}) : kl_ctx_create(NULL);
    ctx[1] = n > 1 ? kl_ctx_create(&(kl_ctx_opts){.device = name[1]}) : NULL;
    n_ctx = ctx[1] ? 2 : 1;
    net = model_of(3);
    return ctx[0] && net ? 0 : -1;
}

static int close_all(void **state)
{
    (void)state;
    kl_model_destroy(net);
    kl_ctx_destroy(ctx[0]);
    kl_ctx_destroy(ctx[1]);
    return 0;
}

/** A pass of `n` samples from x to y; its binds live in `b`. */
static kl_pass pass_of(kl_model *m, kl_bind b[2], const float *x, float *y, size_t n)
{
    b[0] = (kl_bind){.name = "x", .host = (void *)(uintptr_t)x, .host_bytes = n * W * sizeof *x};
    b[1] = (kl_bind){.name = "y", .host = y, .host_bytes = n * W * sizeof *y};
    return (kl_pass){.model = m, .binds = b, .n_binds = 2};
}

static void numbers(float *x, size_t n, int k)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((int)((i * 7 + (size_t)k * 13) % 23) - 11) / 7;
}

static void alone(kl_model *m, const float *x, float *y, size_t n)
{
    kl_bind b[2];
    pass_of(m, b, x, y, n);
    if (kl_model_run(m, ctx[0], b, 2) != KL_OK)
        fail_msg("%s", kl_last_error());
}

static kl_ticket *submit(kl_queue *q, const kl_pass *p)
{
    kl_ticket *t = NULL;
    if (kl_queue_submit(q, p, &t) != KL_OK)
        fail_msg("%s", kl_last_error());
    assert_non_null(t);
    return t;
}

static void good(kl_ticket *t)
{
    if (kl_ticket_wait(t) != KL_OK)
        fail_msg("%s", kl_last_error());
    assert_true(kl_ticket_done(t));
    kl_ticket_release(t);
}

static kl_queue *queue(size_t n, const kl_queue_opts *o)
{
    kl_queue *q = kl_queue_create(ctx, n, o);
    if (!q)
        fail_msg("%s", kl_last_error());
    return q;
}

/* Binds and their names are copied: the caller's may change as soon as submit has returned. Many
 * passes at once each give what they give alone. */
static void binds_are_copied(void **state)
{
    (void)state;
    kl_queue *q = queue(n_ctx, NULL);
    float x[MOST][W], y[MOST][W], want[W];
    kl_ticket *t[MOST];
    for (int i = 0; i < MOST; i++) {
        char in[8] = "x", out[8] = "y";
        kl_bind b[2];
        numbers(x[i], W, i);
        kl_pass p = pass_of(net, b, x[i], y[i], 1);
        b[0].name = in;
        b[1].name = out;
        t[i] = submit(q, &p);
        memset(in, '?', sizeof in);
        memset(out, '?', sizeof out);
        memset(b, 0, sizeof b);
    }
    for (int i = MOST; i-- > 0;)
        good(t[i]);
    for (int i = 0; i < MOST; i++) {
        alone(net, x[i], want, 1);
        assert_memory_equal(want, y[i], sizeof want);
    }
    kl_queue_destroy(q);
}

/* A chain through host memory: each pass reads what the one before wrote. Tickets are released right
 * after they were named, by a thread, for release waits. */
static void a_chain_through_host_memory(void **state)
{
    (void)state;
    kl_queue *q = queue(n_ctx, NULL);
    float v[9][W], want[W], next[W];
    kl_ticket *t[8];
    memset(v, 0xff, sizeof v);
    numbers(v[0], W, 4);
    memcpy(want, v[0], sizeof want);
    for (int i = 0; i < 8; i++) {
        kl_bind b[2];
        kl_pass p = pass_of(net, b, v[i], v[i + 1], 1);
        p.after = &t[i ? i - 1 : 0];
        p.n_after = i > 0;
        t[i] = submit(q, &p);
        alone(net, want, next, 1);
        memcpy(want, next, sizeof want);
    }
    for (int i = 0; i < 7; i++)
        kl_ticket_release(t[i]);
    good(t[7]);
    assert_memory_equal(want, v[8], sizeof want);
    kl_queue_destroy(q);
}

typedef struct calls {
    kl__mutex lock;
    int n, order[MOST];
    kl_status status[MOST];
} calls;
typedef struct call {
    calls *to;
    int id;
} call;

static void note(void *user, kl_ticket *t, kl_status status)
{
    call *c = user;
    assert_true(kl_ticket_done(t));
    kl__lock(&c->to->lock);
    c->to->order[c->to->n] = c->id;
    c->to->status[c->to->n++] = status;
    kl__unlock(&c->to->lock);
}

/* What comes after a pass that failed fails with it, and says why; each is called back once. */
static void failure_is_passed_on(void **state)
{
    (void)state;
    kl_queue *q = queue(n_ctx, NULL);
    static calls to;
    call c[3] = {{&to, 0}, {&to, 1}, {&to, 2}};
    kl__mutex_init(&to.lock);
    float x[W] = {1}, y[W];
    kl_bind b[2];
    kl_ticket *t[3];
    for (int i = 0; i < 3; i++) {
        kl_pass p = pass_of(net, b, x, y, 1);
        if (!i)
            b[0].name = "nothing";
        p.after = &t[i ? i - 1 : 0];
        p.n_after = i > 0;
        p.on_done = note;
        p.user = &c[i];
        t[i] = submit(q, &p);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kl_ticket_wait(t[i]), KL_E_ARG);
        assert_non_null(strstr(kl_last_error(), "\"nothing\""));
        assert_int_equal(kl_ticket_cancel(t[i]), KL_E_ARG);
        kl_ticket_release(t[i]);
    }
    assert_int_equal(to.n, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(to.status[i], KL_E_ARG);
    kl_queue_destroy(q);
}

/* Before it has begun a pass can be cancelled, and what comes after it is too. */
static void cancelled_before_start(void **state)
{
    (void)state;
    kl_queue *q = queue(n_ctx, NULL);
    float x[W] = {1}, y[2][W] = {{7}, {7}};
    kl_bind b[2];
    kl_pass p = pass_of(net, b, x, y[0], 1);
    p.merge = 1e6; /* waits for others that never come */
    kl_ticket *t = submit(q, &p);
    p = pass_of(net, b, x, y[1], 1);
    p.after = &t;
    p.n_after = 1;
    kl_ticket *heir = submit(q, &p);
    assert_false(kl_ticket_done(t));
    assert_false(kl_ticket_done(heir));
    assert_int_equal(kl_ticket_cancel(t), KL_OK);
    assert_int_equal(kl_ticket_cancel(t), KL_E_ARG);
    assert_int_equal(kl_ticket_wait(t), KL_E_CANCELLED);
    assert_int_equal(kl_ticket_wait(heir), KL_E_CANCELLED);
    assert_int_equal(kl_ticket_cancel(NULL), KL_E_ARG);
    kl_ticket_release(t);
    kl_ticket_release(heir);
    assert_true(y[0][0] == 7 && y[1][0] == 7);
    kl_queue_destroy(q);
}

/* Of what waits, the larger priority goes first; equal ones go in turns between models, though one
 * model's were all submitted before. */
static void priorities_and_turns(void **state)
{
    (void)state;
    kl_queue *q = queue(1, &(kl_queue_opts){.in_flight = 1, .max_batch = 2});
    kl_model *other = model_of(8);
    static calls to;
    const int model[] = {0, 0, 0, 1, 1, 0, 1}, priority[] = {0, 0, 0, 0, 0, 5, 9},
              want[] = {6, 5, 0, 3, 1, 4, 2};
    call c[7];
    float x[W] = {1}, y[9][W];
    kl_bind b[2];
    kl_ticket *t[9];
    kl__mutex_init(&to.lock);
    kl_pass p = pass_of(net, b, x, y[7], 1);
    p.merge = 1e6;
    t[7] = submit(q, &p); /* all others wait for this one, which waits for a second */
    for (int i = 0; i < 7; i++) {
        c[i] = (call){&to, i};
        p = pass_of(model[i] ? other : net, b, x, y[i], 1);
        p.priority = priority[i];
        p.after = &t[7];
        p.n_after = 1;
        p.on_done = note;
        p.user = &c[i];
        t[i] = submit(q, &p);
    }
    p = pass_of(net, b, x, y[8], 1);
    p.merge = 1e6;
    t[8] = submit(q, &p);
    for (int i = 0; i < 9; i++)
        good(t[i]);
    assert_int_equal(to.n, 7);
    for (int i = 0; i < 7; i++)
        assert_int_equal(to.order[i], want[i]);
    kl_queue_destroy(q);
    kl_model_destroy(other);
}

/* A full queue says so at once where asked; else submit waits until there is room. */
static void a_full_queue(void **state)
{
    (void)state;
    kl_queue *q = queue(n_ctx, &(kl_queue_opts){.depth = 2});
    float x[W] = {1}, y[3][W], want[W];
    kl_bind b[2];
    kl_ticket *t[3], *none = (kl_ticket *)b;
    alone(net, x, want, 1);
    for (int i = 0; i < 2; i++) {
        kl_pass p = pass_of(net, b, x, y[i], 1);
        p.merge = 1e6;
        p.or_full = true;
        t[i] = submit(q, &p);
    }
    kl_pass p = pass_of(net, b, x, y[2], 1);
    p.or_full = true;
    assert_int_equal(kl_queue_submit(q, &p, &none), KL_E_FULL);
    assert_null(none);
    assert_non_null(strstr(kl_last_error(), "2 passes"));
    p.or_full = false;
    t[2] = submit(q, &p); /* nobody else can come now: what waits for others goes without them */
    for (int i = 0; i < 3; i++) {
        good(t[i]);
        for (int k = 0; k < W; k++)
            assert_true(fabsf(y[i][k] - want[k]) <= 1e-5f * (1 + fabsf(want[k])));
    }
    kl_queue_destroy(q);
}

/* Five passes of 1, 2, 1, 3, 1 samples run as one batch of eight: as many launches as one pass, and
 * each result is that of its pass alone, to 1e-5. */
static void passes_merge(void **state)
{
    (void)state;
    enum { N = 5 };
    const size_t n[N] = {1, 2, 1, 3, 1};
    kl_queue *q = queue(1, &(kl_queue_opts){.max_batch = 8});
    float x[N][3 * W], y[N][3 * W], want[3 * W], xx[8 * W], yy[8 * W];
    kl_bind b[2];
    kl_ticket *t[N];
    kl_ctx_stats s[4];
    numbers(xx, 8 * W, 1);
    alone(net, xx, yy, 8);
    kl_ctx_stats_get(ctx[0], &s[0]);
    alone(net, xx, yy, 8);
    kl_ctx_stats_get(ctx[0], &s[1]);
    for (int i = 0; i < N; i++) {
        numbers(x[i], 3 * W, i);
        kl_pass p = pass_of(net, b, x[i], y[i], n[i]);
        p.merge = 1e6;
        t[i] = submit(q, &p); /* the last fills the batch */
    }
    for (int i = 0; i < N; i++)
        good(t[i]);
    kl_ctx_stats_get(ctx[0], &s[2]);
    assert_int_equal(s[2].launches - s[1].launches, s[1].launches - s[0].launches);
    for (int i = 0; i < N; i++) {
        alone(net, x[i], want, n[i]);
        for (size_t k = 0; k < n[i] * W; k++)
            assert_true(fabsf(y[i][k] - want[k]) <= 1e-5f * (1 + fabsf(want[k])));
    }
    kl_queue_destroy(q);
}

/* At its deadline a batch goes with what has come, padded; what has no batch dimension never waits. */
static void deadlines_and_what_cannot_merge(void **state)
{
    (void)state;
    kl_queue *q = queue(1, NULL);
    float x[3][W], y[3][W], want[W], sum = 0;
    kl_bind b[2];
    kl_ticket *t[3];
    for (int i = 0; i < 3; i++) {
        numbers(x[i], W, i);
        kl_pass p = pass_of(net, b, x[i], y[i], 1);
        p.merge = 0.02;
        t[i] = submit(q, &p);
    }
    for (int i = 0; i < 3; i++) {
        good(t[i]);
        alone(net, x[i], want, 1);
        for (int k = 0; k < W; k++)
            assert_true(fabsf(y[i][k] - want[k]) <= 1e-5f * (1 + fabsf(want[k])));
    }
    kl_pass p = pass_of(net, b, x[0], y[0], 1);
    b[1] = (kl_bind){.name = "s", .host = &sum, .host_bytes = sizeof sum};
    p.merge = 1e6; /* a sum over the batch would be another's too */
    good(submit(q, &p));
    alone(net, x[0], want, 1);
    float is = 0;
    for (int k = 0; k < W; k++)
        is += want[k];
    assert_true(fabsf(sum - is) <= 1e-5f * (1 + fabsf(is)));
    kl_queue_destroy(q);
}

typedef struct relay {
    kl_queue *queue;
    kl__mutex lock;
    kl__cond over;
    int left;
    float x[W], y[W];
} relay;

static void pass_on(void *user, kl_ticket *t, kl_status status)
{
    relay *r = user;
    kl_bind b[2];
    kl_pass p = pass_of(net, b, r->x, r->y, 1);
    p.on_done = pass_on;
    p.user = r;
    kl__lock(&r->lock);
    bool more = status == KL_OK && --r->left > 0;
    if (!more)
        kl__cond_signal(&r->over);
    kl__unlock(&r->lock);
    kl_ticket *next;
    if (more)
        assert_int_equal(kl_queue_submit(r->queue, &p, &next), KL_OK);
    kl_ticket_release(t);
}

/* A callback may release its ticket and submit the next pass; nobody waits for any of them. */
static void callbacks_submit_and_release(void **state)
{
    (void)state;
    static relay r = {.left = 50};
    r.queue = queue(n_ctx, &(kl_queue_opts){.depth = 1});
    kl__mutex_init(&r.lock);
    kl__cond_init(&r.over);
    kl_bind b[2];
    kl_pass p = pass_of(net, b, r.x, r.y, 1);
    p.on_done = pass_on;
    p.user = &r;
    submit(r.queue, &p);
    kl__lock(&r.lock);
    while (r.left > 0)
        kl__cond_wait(&r.over, &r.lock);
    kl__unlock(&r.lock);
    kl_queue_destroy(r.queue);
}

/* Destroying a queue waits for its passes; tickets may be asked and released after it. */
static void tickets_outlive_the_queue(void **state)
{
    (void)state;
    kl_queue *q = queue(n_ctx, NULL);
    float x[W] = {1}, y[4][W], want[W];
    kl_bind b[2];
    kl_ticket *t[4];
    alone(net, x, want, 1);
    for (int i = 0; i < 4; i++) {
        kl_pass p = pass_of(net, b, x, y[i], 1);
        p.merge = i == 3 ? 1e6 : 0;
        t[i] = submit(q, &p);
    }
    kl_queue_destroy(q);
    for (int i = 0; i < 4; i++) {
        assert_memory_equal(y[i], want, sizeof want);
        good(t[i]);
    }
}

/* Bad calls are refused with nothing made. */
static void bad_calls(void **state)
{
    (void)state;
    kl_queue *q = queue(1, NULL), *p2 = queue(1, NULL);
    float x[W] = {1}, y[W];
    kl_bind b[2];
    kl_pass p = pass_of(net, b, x, y, 1);
    kl_ctx *twice[2] = {ctx[0], ctx[0]};
    assert_null(kl_queue_create(twice, 2, NULL));
    assert_null(kl_queue_create(ctx, 0, NULL));
    assert_null(kl_queue_create(ctx, 1, &(kl_queue_opts){.depth = -1}));
    kl_ticket *t = NULL, *foreign = submit(p2, &p);
    assert_int_equal(kl_queue_submit(NULL, &p, &t), KL_E_ARG);
    assert_int_equal(kl_queue_submit(q, &(kl_pass){.binds = b, .n_binds = 2}, &t), KL_E_ARG);
    assert_int_equal(kl_queue_submit(q, &(kl_pass){.kind = KL_WORK_STEP}, &t), KL_E_ARG);
    p.after = &foreign;
    p.n_after = 1;
    assert_int_equal(kl_queue_submit(q, &p, &t), KL_E_ARG);
    assert_null(t);
    good(foreign);
    kl_queue_destroy(q);
    kl_queue_destroy(p2);
    kl_queue_destroy(NULL);
    kl_ticket_release(NULL);
}

/* ---- trainers ---- */

static float *trained(bool queued, int steps, bool by_hand, size_t *n)
{
    static net_batch batch;
    kl_model *m = net_model(false, 5);
    kl_trainer *tr = kl_trainer_create(m, ctx, 1, "loss", "logits",
                                       &(kl_trainer_opts){.shards = by_hand ? 2 : 1});
    if (!tr)
        fail_msg("%s", kl_last_error());
    kl_queue *q = queued ? queue(n_ctx, NULL) : NULL;
    net_batch *all = calloc((size_t)steps, sizeof *all);
    kl_ticket *t[MOST];
    int k = 0;
    for (int i = 0; i < steps; i++) {
        net_fill(&batch, 8, i);
        all[i] = batch;
        kl_bind b[] = {all[i].binds[0], all[i].binds[1]};
        b[0].host = all[i].x;
        b[1].host = all[i].y;
        if (!queued) {
            assert_int_equal(kl_trainer_step(tr, b, 2), KL_OK);
            continue;
        }
        for (int half = 0; half < 1 + by_hand; half++) {
            kl_bind h[] = {b[0], b[1]};
            for (int s = 0; by_hand && s < 2; s++) {
                h[s].host_bytes = b[s].host_bytes / 2;
                h[s].host = (char *)b[s].host + (size_t)half * h[s].host_bytes;
            }
            t[k++] = submit(q, &(kl_pass){.trainer = tr,
                                          .kind = by_hand ? KL_WORK_BACKWARD : KL_WORK_STEP,
                                          .priority = i % 3, /* their order is kept all the same */
                                          .binds = h,
                                          .n_binds = 2});
        }
        if (by_hand)
            t[k++] = submit(q, &(kl_pass){.trainer = tr, .kind = KL_WORK_UPDATE, .priority = 7});
    }
    while (k > 0)
        good(t[--k]);
    assert_int_equal(kl_trainer_steps(tr), steps);
    kl_queue_destroy(q);
    kl_trainer_destroy(tr);
    float *p = net_params(m, n);
    kl_model_destroy(m);
    free(all);
    return p;
}

/* Steps by the queue are the trainer's own, bit by bit, in the order in which they were submitted. */
static void a_trainer_keeps_its_order(void **state)
{
    (void)state;
    size_t n, n2;
    float *direct = trained(false, 9, false, &n), *by_queue = trained(true, 9, false, &n2);
    assert_int_equal(n, n2);
    assert_memory_equal(direct, by_queue, n * sizeof *direct);
    free(direct);
    free(by_queue);
}

/* Forward and backward of two halves, then the update: the step of two shards. */
static void steps_by_hand(void **state)
{
    (void)state;
    size_t n, n2;
    float *one = trained(true, 4, true, &n);
    static net_batch b;
    kl_model *m = net_model(false, 5);
    kl_trainer *tr =
        kl_trainer_create(m, ctx, 1, "loss", "logits", &(kl_trainer_opts){.shards = 2});
    for (int i = 0; i < 4; i++) {
        net_fill(&b, 8, i);
        assert_int_equal(kl_trainer_step(tr, b.binds, 2), KL_OK);
    }
    assert_int_equal(kl_trainer_metrics(tr, NULL), KL_OK);
    kl_trainer_destroy(tr);
    float *two = net_params(m, &n2);
    assert_int_equal(n, n2);
    assert_memory_equal(one, two, n * sizeof *one);
    free(one);
    free(two);
    kl_model_destroy(m);
}

typedef struct group_trainer {
    const kl__train_calls *calls;
    int order[MOST], n;
} group_trainer;

static kl_ctx *no_ctx(const struct kl_trainer *tr)
{
    (void)tr;
    return NULL;
}

static kl_status waits(struct kl_trainer *tr, const kl_bind *binds, size_t n, kl__event *done)
{
    group_trainer *g = (group_trainer *)(void *)tr;
    (void)n, (void)done;
    g->order[g->n++] = *(int *)binds[0].host;
    return kl_ctx_finish(ctx[0]);
}

static kl_status fails(struct kl_trainer *tr, kl__event *done)
{
    (void)tr, (void)done;
    return kl__fail(KL_E_NUMERIC, "not finite");
}

/* A group's steps wait for themselves: not in the thread that submits, one after the other, in their
 * order; an error is its ticket's alone. */
static void a_group_trains(void **state)
{
    (void)state;
    static const kl__train_calls group_calls = {no_ctx, waits, fails, waits};
    group_trainer g = {.calls = &group_calls};
    struct kl_trainer *tr = (struct kl_trainer *)(void *)&g;
    kl_queue *q = queue(n_ctx, NULL);
    int number[20];
    float x[W] = {1}, y[W];
    kl_ticket *t[20], *first;
    kl_bind io[2];
    kl_pass p = pass_of(net, io, x, y, 1);
    first = submit(q, &p);
    for (int i = 0; i < 20; i++) {
        number[i] = i;
        kl_bind b = {.name = "i", .host = &number[i], .host_bytes = sizeof number[i]};
        p = (kl_pass){.trainer = tr, .priority = i, .binds = &b, .n_binds = 1};
        p.kind = i == 10 ? KL_WORK_UPDATE : KL_WORK_STEP;
        p.after = i == 3 ? &first : NULL;
        p.n_after = i == 3;
        t[i] = submit(q, &p);
    }
    assert_int_equal(kl_ticket_wait(t[10]), KL_E_NUMERIC);
    assert_string_equal(kl_last_error(), "not finite");
    kl_ticket_release(t[10]);
    for (int i = 0; i < 20; i++)
        if (i != 10)
            good(t[i]);
    good(first);
    assert_int_equal(g.n, 19);
    for (int i = 0; i < 19; i++)
        assert_int_equal(g.order[i], i < 10 ? i : i + 1);
    kl_queue_destroy(q);
}

/* ---- several devices ---- */

/* Both devices get work, and all results are right. */
static void two_devices(void **state)
{
    (void)state;
    if (n_ctx < 2)
        skip();
    enum { N = 256 };
    kl_queue *q = queue(2, NULL);
    static float x[N][W], y[N][W];
    float want[W];
    kl_ticket *t[N];
    kl_ctx_stats s[4];
    kl_ctx_stats_get(ctx[0], &s[0]);
    kl_ctx_stats_get(ctx[1], &s[1]);
    for (int i = 0; i < N; i++) {
        kl_bind b[2];
        numbers(x[i], W, i);
        kl_pass p = pass_of(net, b, x[i], y[i], 1);
        t[i] = submit(q, &p);
    }
    for (int i = 0; i < N; i++)
        good(t[i]);
    kl_ctx_stats_get(ctx[0], &s[2]);
    kl_ctx_stats_get(ctx[1], &s[3]);
    assert_true(s[2].launches > s[0].launches);
    assert_true(s[3].launches > s[1].launches);
    for (int i = 0; i < N; i++) {
        alone(net, x[i], want, 1);
        assert_memory_equal(want, y[i], sizeof want);
    }
    kl_queue_destroy(q);
}

/* A tensor's pass runs where the tensor is; one that comes after it on the other device sees what it
 * wrote. */
static void tensors_stay_on_their_device(void **state)
{
    (void)state;
    if (n_ctx < 2)
        skip();
    kl_queue *q = queue(2, NULL);
    float x[W], y[W], mid[W], want[W];
    numbers(x, W, 2);
    kl_tensor *in = kl_tensor_create(ctx[1], KL_F32, (kl_shape){2, {1, W}});
    assert_int_equal(kl_tensor_write(in, x, sizeof x), KL_OK);
    kl_bind b[] = {{.name = "x", .tensor = in},
                   {.name = "y", .host = mid, .host_bytes = sizeof mid}};
    kl_ticket *t = submit(q, &(kl_pass){.model = net, .binds = b, .n_binds = 2});
    kl_tensor_release(in);
    kl_tensor *out = kl_tensor_create(ctx[0], KL_F32, (kl_shape){2, {1, W}});
    kl_bind c[] = {{.name = "x", .host = mid, .host_bytes = sizeof mid},
                   {.name = "y", .tensor = out}};
    kl_ticket *u = submit(
        q, &(kl_pass){.model = net, .binds = c, .n_binds = 2, .after = &t, .n_after = 1});
    kl_ticket_release(t);
    good(u);
    assert_int_equal(kl_tensor_read(out, y, sizeof y), KL_OK);
    kl_tensor_release(out);
    alone(net, x, mid, 1);
    alone(net, mid, want, 1);
    assert_memory_equal(want, y, sizeof y);
    kl_queue *one = queue(1, NULL);
    kl_tensor *there = kl_tensor_create(ctx[1], KL_F32, (kl_shape){2, {1, W}});
    kl_bind d[] = {{.name = "x", .tensor = there}, {.name = "y", .tensor = there}};
    t = submit(one, &(kl_pass){.model = net, .binds = d, .n_binds = 2});
    assert_int_equal(kl_ticket_wait(t), KL_E_ARG);
    kl_ticket_release(t);
    kl_tensor_release(there);
    kl_queue_destroy(one);
    kl_queue_destroy(q);
}

/* ---- many threads ---- */

typedef struct job {
    kl_queue *queue;
    kl_model *model[2];
    int id;
    bool ok;
    calls *to;
} job;

static void count(void *user, kl_ticket *t, kl_status status)
{
    calls *c = user;
    (void)t;
    kl__lock(&c->lock);
    c->n += status == KL_OK;
    kl__unlock(&c->lock);
}

static void *submit_mixed(void *arg)
{
    job *j = arg;
    float x[W], y[3][W], want[2][W];
    numbers(x, W, j->id);
    j->ok = true;
    for (int m = 0; m < 2; m++) {
        kl_bind b[2];
        pass_of(j->model[m], b, x, want[m], 1);
        j->ok &= kl_model_run(j->model[m], ctx[0], b, 2) == KL_OK;
    }
    for (int i = 0; i < 15 && j->ok; i++) {
        kl_ticket *t[3];
        for (int k = 0; k < 3 && j->ok; k++) {
            kl_bind b[2];
            kl_pass p = pass_of(j->model[k & 1], b, x, y[k], 1);
            p.priority = (i + j->id) % 3;
            p.merge = k == 1 ? 1e-4 : 0;
            p.after = t;
            p.n_after = k == 2 ? 2 : 0;
            p.on_done = k == 2 ? count : NULL;
            p.user = j->to;
            j->ok = kl_queue_submit(j->queue, &p, &t[k]) == KL_OK;
        }
        for (int k = 0; k < 3; k++) {
            j->ok &= kl_ticket_wait(t[k]) == KL_OK;
            for (int e = 0; e < W; e++)
                j->ok &= fabsf(y[k][e] - want[k & 1][e]) <= 1e-5f * (1 + fabsf(y[k][e]));
            kl_ticket_release(t[k]);
        }
    }
    return NULL;
}

/* Eight threads submit passes with and without merging, callbacks and dependencies into a small
 * queue: all results are right, every callback comes. */
static void eight_threads(void **state)
{
    (void)state;
    enum { THREADS = 8 };
    static calls to;
    job jobs[THREADS];
    kl__thread threads[THREADS];
    kl_model *other = model_of(12);
    kl_queue *q = queue(n_ctx, &(kl_queue_opts){.depth = 12, .max_batch = 8});
    kl__mutex_init(&to.lock);
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (job){q, {net, other}, i, false, &to};
        assert_int_equal(kl__thread_start(&threads[i], submit_mixed, &jobs[i]), KL_OK);
    }
    for (int i = 0; i < THREADS; i++)
        kl__thread_join(threads[i]);
    for (int i = 0; i < THREADS; i++)
        assert_true(jobs[i].ok);
    assert_int_equal(to.n, THREADS * 15);
    kl_queue_destroy(q);
    kl_model_destroy(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binds_are_copied),
        cmocka_unit_test(a_chain_through_host_memory),
        cmocka_unit_test(failure_is_passed_on),
        cmocka_unit_test(cancelled_before_start),
        cmocka_unit_test(priorities_and_turns),
        cmocka_unit_test(a_full_queue),
        cmocka_unit_test(passes_merge),
        cmocka_unit_test(deadlines_and_what_cannot_merge),
        cmocka_unit_test(callbacks_submit_and_release),
        cmocka_unit_test(tickets_outlive_the_queue),
        cmocka_unit_test(bad_calls),
        cmocka_unit_test(a_trainer_keeps_its_order),
        cmocka_unit_test(steps_by_hand),
        cmocka_unit_test(a_group_trains),
        cmocka_unit_test(two_devices),
        cmocka_unit_test(tensors_stay_on_their_device),
        cmocka_unit_test(eight_threads),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
