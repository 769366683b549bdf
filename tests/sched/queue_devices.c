/* The pass queue: trainers, several devices, many threads. */
#include "queue_rig.h"

#include "sched/queue.h"

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

/* Steps by the queue are the trainer's own, bit by bit, in the order in which they were submitted.
 */
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

/* A group's steps wait for themselves: not in the thread that submits, one after the other, in
 * their order; an error is its ticket's alone. */
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

/* A tensor's pass runs where the tensor is; one that comes after it on the other device sees what
 * it wrote. */
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
        cmocka_unit_test(a_trainer_keeps_its_order),
        cmocka_unit_test(steps_by_hand),
        cmocka_unit_test(a_group_trains),
        cmocka_unit_test(two_devices),
        cmocka_unit_test(tensors_stay_on_their_device),
        cmocka_unit_test(eight_threads),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
