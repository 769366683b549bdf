/* Pooling on blocked storage gives what the plain ref kernels give, whatever the halo of the input
 * and of the output, and leaves zeros in pad lanes and halo. */
#include "blocked.h"

#include "ops/pool2d.h"

static const struct {
    kl_shape x;
    kl_pool2d_opts o;
    int halo[4];
} cases[] = {
    {{4, {2, 19, 8, 8}}, {.window = {2, 2}, .stride = {2, 2}}, {0, 0, 0, 0}},
    {{4, {2, 32, 9, 7}}, {.window = {2, 2}, .stride = {2, 2}}, {1, 1, 1, 1}},
    {{4, {1, 5, 13, 14}},
     {.window = {3, 3}, .stride = {2, 2}, .pad = {KL_PAD_EXPLICIT, 1, 1, 1, 1}},
     {1, 2, 0, 3}},
    {{4, {3, 16, 6, 5}},
     {.window = {3, 3}, .stride = {1, 1}, .pad = {.mode = KL_PAD_SAME}},
     {0, 0, 0, 0}},
    {{4, {1, 17, 7, 12}},
     {.window = {3, 3}, .stride = {2, 2}, .pad = {KL_PAD_EXPLICIT, 0, 2, 2, 1}, .ceil_mode = true},
     {2, 0, 1, 0}},
    {{4, {1, 33, 10, 11}}, {.window = {2, 1}, .stride = {3, 2}, .skip_pad = true}, {0, 0, 0, 0}},
    {{4, {1, 4, 20, 18}}, {.window = {16, 16}, .stride = {2, 2}}, {0, 1, 0, 0}},
    {{4, {1, 16, 90, 91}},
     {.window = {3, 3}, .stride = {2, 2}, .pad = {.mode = KL_PAD_SAME}, .skip_pad = true},
     {1, 1, 1, 1}},
};

static kl_shape out_shape(const kl__op *op, kl_shape x, const void *attrs)
{
    kl_graph *g = kl_graph_create();
    kl_node *in = kl_input(g, "x", KL_F32, x);
    kl_shape y = kl_node_shape(kl__apply_new(g, op, NULL, &in, 1, attrs));
    kl_graph_destroy(g);
    return y;
}

static const int halos[][4] = {{0, 0, 0, 0}, {1, 2, 0, 1}};

/** The pooling's own choice where input 0 is stored in blocks with this halo. */
static problem chosen(kl_ctx *ctx, const kl__op *op, const void *attrs, int n_in, int n_out,
                      const int halo[4], const int out_halo[4])
{
    problem p = {.op = op,
                 .attrs = attrs,
                 .n_in = n_in,
                 .n_out = n_out,
                 .chosen = true,
                 .variant = "solo_c",
                 .first = {KL__NCHWC, kl__ctx_caps(ctx)->vector, {0}}};
    memcpy(p.first.halo, halo, sizeof p.first.halo);
    memcpy(p.out_halo, out_halo, sizeof p.out_halo);
    return p;
}

static void both_passes(kl_ctx *ctx, size_t i)
{
    kl_shape x = cases[i].x, y = out_shape(&kl__op_avgpool2d, x, &cases[i].o);
    kl__pool2d_bwd back = {cases[i].o, {(int)x.dim[2], (int)x.dim[3]}};
    double *vx = numbers(kl_shape_count(x), 1), *vy = numbers(kl_shape_count(y), 2);
    double *max[MAX_IO];
    const int *halo = cases[i].halo, *out_halo = halos[i % 2];
    kl_dtype arg = cases[i].o.window[0] * cases[i].o.window[1] > 255 ? KL_I32 : KL_U8;
    problem p = chosen(ctx, &kl__op_maxpool2d, &cases[i].o, 1, 1, halo, out_halo);
    p.shape[0] = x;
    p.in[0] = vx;
    against_ref(ctx, p, 0, NULL); /* without places, as in inference */
    p.variant = "solo";
    p.chosen = false;
    p.first.kind = KL__PLAIN;
    memset(p.first.halo, 0, sizeof p.first.halo);
    against_ref(ctx, p, 0, NULL);
    p = chosen(ctx, &kl__op_maxpool2d, &cases[i].o, 1, 2, halo, out_halo);
    p.shape[0] = x;
    p.in[0] = vx;
    against_ref(ctx, p, 0, max);
    p.op = &kl__op_avgpool2d;
    p.n_out = 1;
    against_ref(ctx, p, 0, NULL);
    p = chosen(ctx, &kl__op_maxpool2d_bwd, &back, 2, 1, halo, out_halo);
    p.shape[0] = y;
    p.dtype[1] = arg;
    p.in[0] = vy;
    p.in[1] = max[1];
    against_ref(ctx, p, 1e-5, NULL);
    p.op = &kl__op_avgpool2d_bwd;
    p.n_in = 1;
    against_ref(ctx, p, 1e-5, NULL); /* products may be fused into the sums */
    free(max[0]);
    free(max[1]);
    free(vx);
    free(vy);
}

/* Backward knows only by a value of x's shape that is stored so that blocks are wanted. */
static void whole_planes(kl_ctx *ctx, kl_shape x, size_t i)
{
    const char *name = NULL;
    struct {
        int size[2];
    } back = {{(int)x.dim[2], (int)x.dim[3]}};
    kl_shape y = kl__shape4(x.dim[0], x.dim[1], 1, 1);
    double *vx = numbers(kl_shape_count(x), 3), *vy = numbers(kl_shape_count(y), 4);
    double *max[MAX_IO];
    problem p = chosen(ctx, &kl__op_global_avgpool, &name, 1, 1, halos[0], halos[0]);
    p.chosen = false; /* any halo is read, none is asked for */
    p.widen = (int)i;
    p.shape[0] = x;
    p.in[0] = vx;
    against_ref(ctx, p, 1e-5, NULL);
    p.op = &kl__op_global_maxpool;
    against_ref(ctx, p, 0, NULL); /* without places, as in inference */
    p.n_out = 2;
    against_ref(ctx, p, 0, max);
    p = chosen(ctx, &kl__op_global_maxpool_bwd, &back, 2, 1, halos[0], halos[i % 2]);
    p.first = (kl__layout){KL__PLAIN, 0, {0}};
    p.beside = x;
    p.shape[0] = y;
    p.dtype[1] = KL_I32;
    p.in[0] = vy;
    p.in[1] = max[1];
    against_ref(ctx, p, 0, NULL);
    p.op = &kl__op_global_avgpool_bwd;
    p.n_in = 1;
    against_ref(ctx, p, 1e-6, NULL);
    free(max[0]);
    free(max[1]);
    free(vx);
    free(vy);
}

static void test_blocked_is_plain(void **state)
{
    (void)state;
    static const kl_shape planes[] = {
        {4, {2, 19, 7, 5}}, {4, {3, 16, 1, 1}}, {4, {1, 3, 33, 40}}, {4, {9, 32, 4, 4}}};
    for (int w = 0; w < 3; w++) {
        kl_ctx *ctx = with_vectors(widths[w]);
        if (!ctx)
            skip();
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            both_passes(ctx, i);
        for (size_t i = 0; i < sizeof planes / sizeof *planes; i++)
            whole_planes(ctx, planes[i], i);
        kl_ctx_destroy(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocked_is_plain)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
