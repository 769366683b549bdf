/* Pooling over windows and whole planes, forward and backward, against plain loops in double. */
#include "rig.h"

#include "ops/pool2d.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct shape_case {
    const char *name;
    int64_t n, c, h, w;
    kl_pool2d_opts o;
    int64_t oh, ow; /* what torch (or Keras for SAME) gives */
} shape_case;

static const shape_case shapes[] = {
    {"2x2/2 even", 2, 3, 34, 66, {.window = {2, 2}, .stride = {2, 2}}, 17, 33},
    {"2x2/2 odd: a row and a column are left out",
     2,
     3,
     9,
     35,
     {.window = {2, 2}, .stride = {2, 2}},
     4,
     17},
    {"2x2/2 small", 3, 5, 8, 8, {.window = {2, 2}, .stride = {2, 2}}, 4, 4},
    {"2x2/2 one window", 1, 1, 2, 2, {.window = {2, 2}, .stride = {2, 2}}, 1, 1},
    {"2x2/2 ceil: the last window is cut",
     1,
     2,
     9,
     33,
     {.window = {2, 2}, .stride = {2, 2}, .ceil_mode = true},
     5,
     17},
    {"2x2/2 ceil, pad 1: a window in the right pad is dropped",
     1,
     2,
     5,
     33,
     {.window = {2, 2},
      .stride = {2, 2},
      .pad = {.top = 1, .left = 1, .bottom = 1, .right = 1},
      .ceil_mode = true},
     3,
     17},
    {"3x3/2 pad 1 (ResNet)",
     2,
     2,
     16,
     70,
     {.window = {3, 3}, .stride = {2, 2}, .pad = {.top = 1, .left = 1, .bottom = 1, .right = 1}},
     8,
     35},
    {"3x3/2 valid (Inception)",
     1,
     3,
     15,
     35,
     {.window = {3, 3}, .stride = {2, 2}, .pad = {.mode = KL_PAD_VALID}},
     7,
     17},
    {"3x3/2 same, even: the extra cell is at the bottom right",
     1,
     2,
     8,
     32,
     {.window = {3, 3}, .stride = {2, 2}, .pad = {.mode = KL_PAD_SAME}},
     4,
     16},
    {"3x3/2 same lower",
     1,
     2,
     8,
     32,
     {.window = {3, 3}, .stride = {2, 2}, .pad = {.mode = KL_PAD_SAME_LOWER}},
     4,
     16},
    {"3x3/2 ceil", 1, 2, 8, 32, {.window = {3, 3}, .stride = {2, 2}, .ceil_mode = true}, 4, 16},
    {"3x3/2 ceil, asymmetric pads",
     1,
     1,
     7,
     12,
     {.window = {3, 3},
      .stride = {2, 2},
      .pad = {.top = 0, .left = 2, .bottom = 2, .right = 1},
      .ceil_mode = true},
     4,
     7},
    {"3x3/1 same",
     2,
     2,
     5,
     37,
     {.window = {3, 3}, .stride = {1, 1}, .pad = {.mode = KL_PAD_SAME}},
     5,
     37},
    {"3x3/1 on one cell",
     1,
     2,
     1,
     1,
     {.window = {3, 3}, .stride = {1, 1}, .pad = {.mode = KL_PAD_SAME}},
     1,
     1},
    {"1x7/1x3", 1, 3, 4, 50, {.window = {1, 7}, .stride = {1, 3}}, 4, 15},
    {"2x2/3: cells between windows", 1, 2, 8, 20, {.window = {2, 2}, .stride = {3, 3}}, 3, 7},
    {"16x16: the place needs more than a byte",
     2,
     1,
     16,
     18,
     {.window = {16, 16}, .stride = {2, 2}},
     1,
     2},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

/* ---- the reference ---- */
typedef struct window {
    int64_t h, w, oh, ow;
    int64_t pad[4];
    const kl_pool2d_opts *o;
} window;

static int64_t total_same(int64_t in, int k, int s)
{
    int64_t t = ((in + s - 1) / s - 1) * s + k - in;
    return t > 0 ? t : 0;
}

static window window_of(const kl_pool2d_opts *o, int64_t h, int64_t w, int64_t oh, int64_t ow)
{
    window g = {h, w, oh, ow, {o->pad.top, o->pad.left, o->pad.bottom, o->pad.right}, o};
    for (int i = 0; i < 2 && o->pad.mode != KL_PAD_EXPLICIT; i++) {
        int64_t t =
            o->pad.mode == KL_PAD_VALID ? 0 : total_same(i ? w : h, o->window[i], o->stride[i]);
        g.pad[i] = o->pad.mode == KL_PAD_SAME ? t / 2 : t - t / 2;
        g.pad[i + 2] = t - g.pad[i];
    }
    return g;
}

static window fwd_window(const kl__apply *a)
{
    const int64_t *x = a->in[0]->desc.shape.dim, *y = a->out[0]->desc.shape.dim;
    return window_of(a->attrs, x[2], x[3], y[2], y[3]);
}

static window bwd_window(const kl__apply *a)
{
    const int64_t *dy = a->in[0]->desc.shape.dim, *dx = a->out[0]->desc.shape.dim;
    return window_of(&((const kl__pool2d_bwd *)a->attrs)->pool, dx[2], dx[3], dy[2], dy[3]);
}

/** Visits the cells inside the input of window (oh, ow): value k of the window and its index in the
 * plane. */
typedef struct cell {
    int64_t at;
    int k;
} cell;

static int cells_of(const window *g, int64_t oh, int64_t ow, cell *out)
{
    int n = 0;
    for (int i = 0; i < g->o->window[0]; i++)
        for (int j = 0; j < g->o->window[1]; j++) {
            int64_t h = oh * g->o->stride[0] - g->pad[0] + i,
                    w = ow * g->o->stride[1] - g->pad[1] + j;
            if (h >= 0 && h < g->h && w >= 0 && w < g->w)
                out[n++] = (cell){h * g->w + w, i * g->o->window[1] + j};
        }
    return n;
}

static double divisor(const window *g, int64_t oh, int64_t ow, int inside)
{
    int64_t h = oh * g->o->stride[0] - g->pad[0], w = ow * g->o->stride[1] - g->pad[1];
    double rows = fmin(g->o->window[0], (double)(g->h + g->pad[2] - h));
    double columns = fmin(g->o->window[1], (double)(g->w + g->pad[3] - w));
    return g->o->skip_pad ? inside : rows * columns;
}

static void max_planes(const window *g, int64_t planes, const double *x, double *y, double *arg)
{
    cell c[256];
    for (int64_t p = 0; p < planes; p++, x += g->h * g->w)
        for (int64_t o = 0; o < g->oh * g->ow; o++) {
            int n = cells_of(g, o / g->ow, o % g->ow, c), best = 0;
            for (int i = 1; i < n; i++)
                if (!isnan(x[c[best].at]) && (isnan(x[c[i].at]) || x[c[i].at] > x[c[best].at]))
                    best = i;
            *y++ = x[c[best].at];
            *arg++ = c[best].k;
        }
}

static int64_t planes_of(const kl_node *x)
{
    return x->desc.shape.dim[0] * x->desc.shape.dim[1];
}

static void max_ref(const kl__apply *a, const double *const *in, double *const *out)
{
    window g = fwd_window(a);
    max_planes(&g, planes_of(a->in[0]), in[0], out[0], out[1]);
}

static void max_bwd_ref(const kl__apply *a, const double *const *in, double *const *out)
{
    window g = bwd_window(a);
    cell c[256];
    for (int64_t p = 0; p < planes_of(a->in[0]); p++)
        for (int64_t o = 0; o < g.oh * g.ow; o++) {
            int n = cells_of(&g, o / g.ow, o % g.ow, c);
            int64_t at = p * g.oh * g.ow + o;
            for (int i = 0; i < n; i++)
                if (c[i].k == (int)fabs(in[1][at]))
                    out[0][p * g.h * g.w + c[i].at] += in[0][at];
        }
}

static void avg_ref(const kl__apply *a, const double *const *in, double *const *out)
{
    window g = fwd_window(a);
    cell c[256];
    for (int64_t p = 0; p < planes_of(a->in[0]); p++)
        for (int64_t o = 0; o < g.oh * g.ow; o++) {
            int n = cells_of(&g, o / g.ow, o % g.ow, c);
            double sum = 0;
            for (int i = 0; i < n; i++)
                sum += in[0][p * g.h * g.w + c[i].at];
            out[0][p * g.oh * g.ow + o] = sum / divisor(&g, o / g.ow, o % g.ow, n);
        }
}

static void avg_bwd_ref(const kl__apply *a, const double *const *in, double *const *out)
{
    window g = bwd_window(a);
    cell c[256];
    for (int64_t p = 0; p < planes_of(a->in[0]); p++)
        for (int64_t o = 0; o < g.oh * g.ow; o++) {
            int n = cells_of(&g, o / g.ow, o % g.ow, c);
            for (int i = 0; i < n; i++)
                out[0][p * g.h * g.w + c[i].at] +=
                    in[0][p * g.oh * g.ow + o] / divisor(&g, o / g.ow, o % g.ow, n);
        }
}

/* ---- windows ---- */
static void expect_size(const shape_case *s, const kl__op *op)
{
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, kl__shape4(KL_BATCH, s->c, s->h, s->w));
    kl_shape y = kl_node_shape(kl__build(g, op, &x, 1, &s->o));
    if (y.n_dims != 4 || y.dim[0] != KL_BATCH || y.dim[1] != s->c || y.dim[2] != s->oh ||
        y.dim[3] != s->ow)
        fail_msg("%s \"%s\": output is not [N,%d,%d,%d]: %s", op->name, s->name, (int)s->c,
                 (int)s->oh, (int)s->ow, kl_last_error());
    kl_graph_destroy(g);
}

static void test_sizes_are_torchs(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        expect_size(&shapes[i], &kl__op_maxpool2d);
        expect_size(&shapes[i], &kl__op_avgpool2d);
    }
}

static rig_case fwd_case(const shape_case *s, const kl__op *op, rig_ref *ref)
{
    return (rig_case){
        .name = s->name,
        .op = op,
        .attrs = &s->o,
        .n_in = 1,
        .ref = ref,
        .in = {{KL_F32, kl__shape4(s->n, s->c, s->h, s->w), RIG_NORMAL, 0, 0, NULL, false}}};
}

static void test_max(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        rig_case c = fwd_case(&shapes[i], &kl__op_maxpool2d, max_ref);
        rig_run(&c);
    }
}

/* Few values, so that most windows hold their maximum twice: the first one's place is given. */
static void test_max_takes_the_first_of_equals(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i += 6) {
        rig_case c = fwd_case(&shapes[i], &kl__op_maxpool2d, max_ref);
        c.in[0].fill = RIG_INTEGER;
        c.in[0].lo = -1;
        c.in[0].hi = 1;
        rig_run(&c);
    }
}

static void test_max_nan_and_infinity(void **state)
{
    (void)state;
    static double x[2 * 2 * 16 * 70];
    for (int i = 0; i < 2 * 2 * 16 * 70; i++)
        x[i] = i % 11 == 3  ? (double)NAN
               : i % 7 == 2 ? (double)INFINITY
               : i % 3      ? -(double)INFINITY
                            : i % 5 - 2;
    for (int i = 70 * 16; i < 2 * 70 * 16; i++)
        x[i] = -(double)INFINITY;
    for (int i = 6; i < 8; i++) {
        rig_case c = fwd_case(&shapes[i], &kl__op_maxpool2d, max_ref);
        c.in[0].fill = RIG_DATA;
        c.in[0].data = x;
        rig_run(&c);
    }
}

static rig_case bwd_case(const shape_case *s, const kl__pool2d_bwd *attrs, const kl__op *op,
                         rig_ref *ref)
{
    return (rig_case){
        .name = s->name,
        .op = op,
        .attrs = attrs,
        .n_in = 1,
        .ref = ref,
        .in = {{KL_F32, kl__shape4(s->n, s->c, s->oh, s->ow), RIG_INTEGER, -8, 8, NULL, false}}};
}

static void test_max_backward(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        const shape_case *s = &shapes[i];
        kl__pool2d_bwd attrs = {s->o, {(int)s->h, (int)s->w}};
        rig_case c = bwd_case(s, &attrs, &kl__op_maxpool2d_bwd, max_bwd_ref);
        size_t n_in = (size_t)(s->n * s->c * s->h * s->w),
               n_out = (size_t)(s->n * s->c * s->oh * s->ow);
        double *x = calloc(n_in, sizeof *x), *y = calloc(n_out, sizeof *y),
               *arg = calloc(n_out, sizeof *arg);
        assert_true(x && y && arg);
        for (size_t k = 0; k < n_in; k++)
            x[k] = (double)(k * 2654435761u % 1009);
        window g = window_of(&s->o, s->h, s->w, s->oh, s->ow);
        max_planes(&g, s->n * s->c, x, y, arg);
        c.n_in = 2;
        c.in[1] = (rig_input){s->o.window[0] * s->o.window[1] > 255 ? KL_I32 : KL_U8,
                              c.in[0].shape,
                              RIG_DATA,
                              0,
                              0,
                              arg,
                              true};
        rig_run(&c);
        free(x);
        free(y);
        free(arg);
    }
}

static void test_avg(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * N_SHAPES; i++) {
        shape_case s = shapes[i / 2];
        s.o.skip_pad = i % 2;
        rig_case c = fwd_case(&s, &kl__op_avgpool2d, avg_ref);
        c.tol = (rig_tol){RIG_ANCHORED, s.o.window[0] * s.o.window[1] + 1};
        rig_run(&c);
    }
}

/* Sums of integers over a power of two are exact. */
static void test_avg_exact(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        rig_case c = fwd_case(&shapes[i], &kl__op_avgpool2d, avg_ref);
        c.in[0] = (rig_input){KL_F32, c.in[0].shape, RIG_INTEGER, -100, 100, NULL, false};
        rig_run(&c);
    }
}

static void test_avg_backward(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * N_SHAPES; i++) {
        const shape_case *s = &shapes[i / 2];
        kl__pool2d_bwd attrs = {s->o, {(int)s->h, (int)s->w}};
        attrs.pool.skip_pad = i % 2;
        rig_case c = bwd_case(s, &attrs, &kl__op_avgpool2d_bwd, avg_bwd_ref);
        c.in[0].fill = RIG_NORMAL;
        c.in[0].hi = 0;
        c.tol = (rig_tol){RIG_ANCHORED, s->o.window[0] * s->o.window[1] + 1};
        rig_run(&c);
    }
}

static void test_gradients(void **state)
{
    (void)state;
    static const int which[] = {3, 5, 11, 12};
    for (int i = 0; i < 4; i++) {
        shape_case s = shapes[which[i]];
        if (s.w > 20)
            s.w = 10;
        rig_case c = fwd_case(&s, &kl__op_maxpool2d, max_ref);
        rig_grad(&c);
        c = fwd_case(&s, &kl__op_avgpool2d, avg_ref);
        rig_grad(&c);
        s.o.skip_pad = true;
        rig_grad(&c);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    kl_pool2d_opts o = {.window = {2, 2}, .stride = {2, 2}};
    rig_case c = {.name = "refused",
                  .op = &kl__op_maxpool2d,
                  .attrs = &o,
                  .n_in = 1,
                  .in = {{KL_F32, {3, {2, 3, 4}}, RIG_NORMAL, 0, 0, NULL, false}}};
    rig_refused(&c, "input [2,3,4] is not [N,C,H,W]");
    c.in[0].shape = kl__shape4(1, 1, 4, 4);
    c.in[0].dtype = KL_I32;
    rig_refused(&c, "input is i32");
    c.in[0].dtype = KL_F32;
    o.pad = (kl_pad){.top = 0, .left = 2};
    rig_refused(&c, "padding (0, 2, 0, 0) must be less than the window 2x2");
    o = (kl_pool2d_opts){.window = {5, 2}, .stride = {1, 1}};
    rig_refused(&c, "height 4");
    o.window[0] = 0;
    rig_refused(&c, "window");
}

/* The builder's defaults: square windows, strides of the window. */
static void test_defaults(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, kl__shape4(KL_BATCH, 3, 12, 12));
    kl_node *a = kl_maxpool2d(g, x, &(kl_pool2d_opts){.window = {3}});
    kl_node *b = kl_avgpool2d(g, x, &(kl_pool2d_opts){.window = {2, 3}, .name = "p"});
    kl_node *c = kl_avgpool2d(g, x, &(kl_pool2d_opts){.window = {2, 4}, .stride = {1}});
    assert_true(kl_shape_equal(kl_node_shape(a), kl__shape4(KL_BATCH, 3, 4, 4)));
    assert_true(kl_shape_equal(kl_node_shape(b), kl__shape4(KL_BATCH, 3, 6, 4)));
    assert_true(kl_shape_equal(kl_node_shape(c), kl__shape4(KL_BATCH, 3, 11, 9)));
    assert_string_equal(kl_node_name(b), "p");
    assert_int_equal(kl_graph_check(g), KL_OK);
    assert_null(kl_maxpool2d(g, x, NULL)); /* a window is needed */
    assert_int_not_equal(kl_graph_check(g), KL_OK);
    kl_graph_destroy(g);
}

/* ---- whole planes ---- */
static void global_avg_ref(const kl__apply *a, const double *const *in, double *const *out)
{
    int64_t hw = a->in[0]->desc.shape.dim[2] * a->in[0]->desc.shape.dim[3];
    for (int64_t p = 0; p < planes_of(a->in[0]); p++) {
        for (int64_t i = 0; i < hw; i++)
            out[0][p] += in[0][p * hw + i];
        out[0][p] /= (double)hw;
    }
}

static void global_max_ref(const kl__apply *a, const double *const *in, double *const *out)
{
    int64_t hw = a->in[0]->desc.shape.dim[2] * a->in[0]->desc.shape.dim[3];
    for (int64_t p = 0; p < planes_of(a->in[0]); p++) {
        int64_t best = 0;
        const double *x = in[0] + p * hw;
        for (int64_t i = 1; i < hw; i++)
            if (!isnan(x[best]) && (isnan(x[i]) || x[i] > x[best]))
                best = i;
        out[0][p] = x[best];
        out[1][p] = (double)best;
    }
}

static void global_avg_bwd_ref(const kl__apply *a, const double *const *in, double *const *out)
{
    int64_t hw = a->out[0]->desc.shape.dim[2] * a->out[0]->desc.shape.dim[3];
    for (int64_t i = 0; i < planes_of(a->in[0]) * hw; i++)
        out[0][i] = in[0][i / hw] / (double)hw;
}

static void global_max_bwd_ref(const kl__apply *a, const double *const *in, double *const *out)
{
    int64_t hw = a->out[0]->desc.shape.dim[2] * a->out[0]->desc.shape.dim[3];
    for (int64_t p = 0; p < planes_of(a->in[0]); p++)
        out[0][p * hw + (int64_t)in[1][p]] = in[0][p];
}

static const kl_shape maps[] = {{4, {2, 3, 7, 7}},    {4, {1, 1, 1, 1}},   {4, {5, 2, 1, 3}},
                                {4, {2, 9, 4, 4}},    {4, {1, 3, 31, 33}}, {4, {1, 2, 1, 17}},
                                {4, {1, 2, 150, 151}}};
enum { N_MAPS = sizeof maps / sizeof *maps };

static void test_global(void **state)
{
    (void)state;
    static const struct {
        const char *name;
    } none;
    for (int i = 0; i < N_MAPS; i++) {
        double hw = (double)(maps[i].dim[2] * maps[i].dim[3]);
        rig_case c = {.name = "global",
                      .op = &kl__op_global_avgpool,
                      .attrs = &none,
                      .n_in = 1,
                      .ref = global_avg_ref,
                      .tol = {RIG_ANCHORED, hw + 1},
                      .in = {{KL_F32, maps[i], RIG_NORMAL, 0, 0, NULL, false}}};
        rig_run(&c);
        c.op = &kl__op_global_maxpool;
        c.ref = global_max_ref;
        c.tol = (rig_tol){RIG_EXACT, 0};
        rig_run(&c);
        c.in[0].fill = RIG_INTEGER;
        c.in[0].hi = 3;
        rig_run(&c);
    }
}

static void test_global_max_nan_and_infinity(void **state)
{
    (void)state;
    static const struct {
        const char *name;
    } none;
    static double x[4 * 49];
    for (int i = 0; i < 4 * 49; i++)
        x[i] = i < 49                  ? -(double)INFINITY
               : i % 49 == 20 + i / 49 ? (double)NAN
               : i % 13                ? (double)(i % 5)
                                       : (double)INFINITY;
    x[49 + 40] = (double)NAN;
    rig_case c = {.name = "global NaN",
                  .op = &kl__op_global_maxpool,
                  .attrs = &none,
                  .n_in = 1,
                  .ref = global_max_ref,
                  .in = {{KL_F32, {4, {2, 2, 7, 7}}, RIG_DATA, 0, 0, x, false}}};
    rig_run(&c);
}

static void test_global_backward(void **state)
{
    (void)state;
    for (int i = 0; i < N_MAPS; i++) {
        int size[2] = {(int)maps[i].dim[2], (int)maps[i].dim[3]};
        kl_shape s = kl__shape4(maps[i].dim[0], maps[i].dim[1], 1, 1);
        rig_case c = {.name = "global backward",
                      .op = &kl__op_global_avgpool_bwd,
                      .attrs = size,
                      .n_in = 1,
                      .ref = global_avg_bwd_ref,
                      .tol = {RIG_ULP, 1},
                      .in = {{KL_F32, s, RIG_NORMAL, 0, 0, NULL, false}}};
        rig_run(&c);
        c.op = &kl__op_global_maxpool_bwd;
        c.ref = global_max_bwd_ref;
        c.tol = (rig_tol){RIG_EXACT, 0};
        c.n_in = 2;
        c.in[1] = (rig_input){KL_I32, s, RIG_INDEX, 0, size[0] * size[1], NULL, true};
        rig_run(&c);
    }
}

static void test_global_gradients(void **state)
{
    (void)state;
    static const struct {
        const char *name;
    } none;
    rig_case c = {.name = "global",
                  .op = &kl__op_global_avgpool,
                  .attrs = &none,
                  .n_in = 1,
                  .in = {{KL_F32, {4, {2, 3, 4, 5}}, RIG_NORMAL, 0, 0, NULL, false}}};
    rig_grad(&c);
    c.op = &kl__op_global_maxpool;
    rig_grad(&c);
    c.in[0].shape = (kl_shape){2, {3, 4}};
    rig_refused(&c, "input [3,4] is not [N,C,H,W]");
}

static void test_fast_variants_ran(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    if (kl__ctx_caps(ctx)->solo) {
        static const char *const ops[] = {
            "maxpool2d",      "maxpool2d_bwd",  "avgpool2d",          "avgpool2d_bwd",
            "global_avgpool", "global_maxpool", "global_avgpool_bwd", "global_maxpool_bwd"};
        for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
            assert_true(rig_ran(ops[i], "solo") > 0);
    }
    kl_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_are_torchs),
        cmocka_unit_test(test_max),
        cmocka_unit_test(test_max_takes_the_first_of_equals),
        cmocka_unit_test(test_max_nan_and_infinity),
        cmocka_unit_test(test_max_backward),
        cmocka_unit_test(test_avg),
        cmocka_unit_test(test_avg_exact),
        cmocka_unit_test(test_avg_backward),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_global),
        cmocka_unit_test(test_global_max_nan_and_infinity),
        cmocka_unit_test(test_global_backward),
        cmocka_unit_test(test_global_gradients),
        cmocka_unit_test(test_fast_variants_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
