/* The pass queue: tickets, dependencies, order, room, batches. */
#include "queue_rig.h"

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

/* A chain through host memory: each pass reads what the one before wrote. Tickets are released
 * right after they were named, by a thread, for release waits. */
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

/* At its deadline a batch goes with what has come, padded; what has no batch dimension never waits.
 */
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
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
