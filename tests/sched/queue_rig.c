/* Devices, a small net and tickets for the tests of the pass queue. */
#include "queue_rig.h"

kl_ctx *ctx[2];
size_t n_ctx;
kl_model *net;

kl_model *model_of(uint64_t seed)
{
    kl_graph *g = kl_graph_parse(
        "x = input(shape=[N,6])\nh = dense(x, units=5)\nr = tanh(h)\n"
        "y = dense(r, units=6)\ns = reduce_sum(y, axes=[0,1])\noutput y = y\noutput s = s\n",
        "tiny");
    kl_model *m = g ? kl_model_create(g, &(kl_model_opts){.seed = seed}) : NULL;
    kl_graph_destroy(g);
    if (!m)
        fail_msg("%s", kl_last_error());
    return m;
}

int open_all(void **state)
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

int close_all(void **state)
{
    (void)state;
    kl_model_destroy(net);
    kl_ctx_destroy(ctx[0]);
    kl_ctx_destroy(ctx[1]);
    return 0;
}

kl_pass pass_of(kl_model *m, kl_bind b[2], const float *x, float *y, size_t n)
{
    b[0] = (kl_bind){.name = "x", .host = (void *)(uintptr_t)x, .host_bytes = n * W * sizeof *x};
    b[1] = (kl_bind){.name = "y", .host = y, .host_bytes = n * W * sizeof *y};
    return (kl_pass){.model = m, .binds = b, .n_binds = 2};
}

void numbers(float *x, size_t n, int k)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((int)((i * 7 + (size_t)k * 13) % 23) - 11) / 7;
}

void alone(kl_model *m, const float *x, float *y, size_t n)
{
    kl_bind b[2];
    pass_of(m, b, x, y, n);
    if (kl_model_run(m, ctx[0], b, 2) != KL_OK)
        fail_msg("%s", kl_last_error());
}

kl_ticket *submit(kl_queue *q, const kl_pass *p)
{
    kl_ticket *t = NULL;
    if (kl_queue_submit(q, p, &t) != KL_OK)
        fail_msg("%s", kl_last_error());
    assert_non_null(t);
    return t;
}

void good(kl_ticket *t)
{
    if (kl_ticket_wait(t) != KL_OK)
        fail_msg("%s", kl_last_error());
    assert_true(kl_ticket_done(t));
    kl_ticket_release(t);
}

kl_queue *queue(size_t n, const kl_queue_opts *o)
{
    kl_queue *q = kl_queue_create(ctx, n, o);
    if (!q)
        fail_msg("%s", kl_last_error());
    return q;
}
