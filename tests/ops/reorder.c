/* reorder: every layout to every other, compared byte by byte in storage, so that halo and pad
 * lanes are seen too. The result's memory holds NaN before. */
#include "rig.h"

#include "ops/reorder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Where a logical element lies in storage; -1: not such an element. */
static int64_t place_of(const kl__desc *d, int64_t a, int64_t b, int64_t h, int64_t w)
{
    const int64_t *s = d->shape.dim, c = d->layout.block;
    const int *halo = d->layout.halo;
    if (d->layout.kind == KL__PLAIN)
        return ((a * s[1] + b) * s[2] + h) * s[3] + w;
    int64_t blocks = (s[1] + c - 1) / c;
    if (d->layout.kind == KL__NCHWC)
        return (((a * blocks + b / c) * (s[2] + halo[0] + halo[2]) + h + halo[0]) *
                    (s[3] + halo[1] + halo[3]) +
                w + halo[1]) *
                   c +
               b % c;
    if (d->layout.kind == KL__OIHWCT)
        return ((((a / c * blocks + b / c) * s[2] + h) * s[3] + w) * c + a % c) * c + b % c;
    return ((((a / c * blocks + b / c) * s[2] + h) * s[3] + w) * c + b % c) * c + a % c;
}

static float *storage(const kl__desc *d, size_t *n)
{
    assert_true(kl__desc_elems(d, n));
    float *v = calloc(*n + 1, sizeof *v), k = 1;
    assert_non_null(v);
    const int64_t *s = d->shape.dim;
    for (int64_t a = 0; a < s[0]; a++)
        for (int64_t b = 0; b < s[1]; b++)
            for (int64_t h = 0; h < s[2]; h++)
                for (int64_t w = 0; w < s[3]; w++)
                    v[place_of(d, a, b, h, w)] = k++;
    return v;
}

static void emit_and_run(kl_ctx *ctx, kl__apply *a)
{
    kl__emit e = {.ctx = ctx, .caps = kl__ctx_caps(ctx), .seq = kl__seq_create(ctx)};
    assert_non_null(e.seq);
    if (a->variant->emit(&e, a) != KL_OK ||
        kl__seq_run(e.seq, kl__ctx_lane(ctx, KL__COMPUTE), 0, kl__seq_count(e.seq)) != KL_OK ||
        kl__lane_finish(kl__ctx_lane(ctx, KL__COMPUTE)) != KL_OK)
        fail_msg("%s", kl_last_error());
    kl__seq_destroy(e.seq);
}

static int n_solo;

static void check(kl_ctx *ctx, kl_shape shape, const kl__layout *from, const kl__layout *to,
                  bool ref)
{
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, shape);
    x->desc.layout = *from;
    kl_node *y = kl__reorder(g, x, to);
    assert_non_null(y);
    assert_int_equal(kl__choose_variant(y->by, kl__ctx_caps(ctx), ref ? "reorder:ref" : NULL),
                     KL_OK);
    n_solo += strcmp(y->by->variant->name, "solo") == 0;
    size_t nx, ny;
    float *vx = storage(&x->desc, &nx), *want = storage(&y->desc, &ny),
          *got = malloc((ny + 8) * sizeof *got);
    assert_non_null(got);
    memset(got, 0xff, (ny + 8) * sizeof *got);
    kl__mem *mx = kl__mem_create(ctx, nx * sizeof *vx),
            *my = kl__mem_create(ctx, (ny + 8) * sizeof *got);
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    assert_int_equal(kl__lane_write(lane, (kl__span){mx, 0}, vx, nx * sizeof *vx, NULL), KL_OK);
    assert_int_equal(kl__lane_write(lane, (kl__span){my, 0}, got, (ny + 8) * sizeof *got, NULL),
                     KL_OK);
    x->place = (kl__place){KL__AT_SPAN, {mx, 0}, 0};
    y->place = (kl__place){KL__AT_SPAN, {my, 0}, 0};
    emit_and_run(ctx, y->by);
    assert_int_equal(kl__lane_read(lane, (kl__span){my, 0}, got, (ny + 8) * sizeof *got, NULL),
                     KL_OK);
    for (size_t i = 0; i < ny + 8; i++)
        if (i < ny ? got[i] != want[i] : !isnan(got[i]))
            fail_msg("%s, %d:%d to %d:%d, element %zu of %zu: got %g, expected %g",
                     y->by->variant->name, (int)from->kind, from->block, (int)to->kind, to->block,
                     i, ny, (double)got[i], i < ny ? (double)want[i] : (double)NAN);
    kl__mem_release(mx);
    kl__mem_release(my);
    free(vx);
    free(want);
    free(got);
    kl_graph_destroy(g);
}

static void every_layout_to_every_other(void **state)
{
    static const char *const widths[] = {NULL, "8", "4"};
    static const int64_t shapes[][4] = {{2, 17, 5, 7}, {1, 3, 1, 1},  {3, 32, 4, 8},
                                        {2, 1, 6, 33}, {1, 31, 2, 3}, {33, 16, 3, 3}};
    (void)state;
    for (int i = 0; i < 3; i++) {
        if (widths[i])
            setenv("KILN_VECTOR", widths[i], 1);
        kl_ctx *ctx = kl_ctx_create(NULL);
        unsetenv("KILN_VECTOR");
        assert_non_null(ctx);
        int v = kl__ctx_caps(ctx)->vector;
        const kl__layout all[] = {{KL__PLAIN, 0, {0}},          {KL__NCHWC, v, {0}},
                                  {KL__NCHWC, v, {1, 2, 0, 3}}, {KL__NCHWC, 1, {2, 1, 1, 0}},
                                  {KL__OIHWC, v, {0}},          {KL__OIHWCT, v, {0}}};
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (size_t from = 0; from < 6; from++)
                for (size_t to = 0; to < 6; to++)
                    for (int ref = 0; ref < 2; ref++)
                        check(ctx,
                              kl__shape4(shapes[s][0], shapes[s][1], shapes[s][2], shapes[s][3]),
                              &all[from], &all[to], ref);
        assert_true(!kl__ctx_caps(ctx)->solo || n_solo > 0);
        kl_ctx_destroy(ctx);
    }
}

/* ---- Winograd's weights ------------------------------------------------------------------------
 */
static double factor(int point, int tap, int taps)
{
    static const double at[] = {0, 1, -1, 2, -2}, scale[] = {4, -6, -6, 24, 24};
    return point == 5 ? tap == taps - 1 : (tap ? pow(at[point], tap) : 1) / scale[point];
}

/* Element i of the storage of `to`, from weights w of [O, I, taps, taps]. */
static double transformed(const double *w, const kl__desc *to, int64_t i)
{
    const int64_t *s = to->shape.dim, c = to->layout.block;
    bool swap = to->layout.kind == KL__WINO_SWAP;
    int64_t lanes = s[swap], rows = s[!swap], taps = s[2], deep = (rows + c - 1) / c * c;
    int64_t plane = ((lanes + c - 1) / c * deep + 1) * c, xi = i / plane, at = i % plane;
    int64_t lane = at / (deep * c) * c + at % c, row = at / c % deep;
    double sum = 0;
    if (at >= plane - c || lane >= lanes || row >= rows)
        return 0;
    for (int h = 0; h < taps; h++)
        for (int k = 0; k < taps; k++) {
            int th = swap ? (int)taps - 1 - h : h, tk = swap ? (int)taps - 1 - k : k;
            sum += factor((int)xi / 6, th, (int)taps) * factor((int)xi % 6, tk, (int)taps) *
                   w[(((swap ? row : lane) * s[1] + (swap ? lane : row)) * taps + h) * taps + k];
        }
    return sum;
}

static void check_wino(kl_ctx *ctx, kl_shape shape, kl__layout from, kl__layout to, bool ref)
{
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, shape);
    x->desc.layout = from;
    kl_node *y = kl__reorder(g, x, &to);
    assert_non_null(y);
    assert_int_equal(kl__choose_variant(y->by, kl__ctx_caps(ctx), ref ? "reorder:ref" : NULL),
                     KL_OK);
    size_t nx, ny, n = (size_t)kl_shape_count(shape);
    float *vx = storage(&x->desc, &nx), *got = NULL;
    double *w = calloc(n, sizeof *w);
    assert_true(kl__desc_elems(&y->desc, &ny) && (got = malloc((ny + 8) * sizeof *got)) && w);
    for (size_t i = 0; i < n; i++)
        w[i] = (double)(i + 1);
    memset(got, 0xff, (ny + 8) * sizeof *got);
    kl__mem *mx = kl__mem_create(ctx, nx * sizeof *vx),
            *my = kl__mem_create(ctx, (ny + 8) * sizeof *got);
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    assert_int_equal(kl__lane_write(lane, (kl__span){mx, 0}, vx, nx * sizeof *vx, NULL), KL_OK);
    assert_int_equal(kl__lane_write(lane, (kl__span){my, 0}, got, (ny + 8) * sizeof *got, NULL),
                     KL_OK);
    x->place = (kl__place){KL__AT_SPAN, {mx, 0}, 0};
    y->place = (kl__place){KL__AT_SPAN, {my, 0}, 0};
    emit_and_run(ctx, y->by);
    assert_int_equal(kl__lane_read(lane, (kl__span){my, 0}, got, (ny + 8) * sizeof *got, NULL),
                     KL_OK);
    for (size_t i = 0; i < ny + 8; i++) {
        double want = i < ny ? transformed(w, &y->desc, (int64_t)i) : (double)NAN;
        if (i < ny ? !(fabs((double)got[i] - want) <= 1e-5 * (double)n) : !isnan(got[i]))
            fail_msg("%s, %d to %d, element %zu of %zu: got %g, expected %g", y->by->variant->name,
                     (int)from.kind, (int)to.kind, i, ny, (double)got[i], want);
    }
    kl__mem_release(mx);
    kl__mem_release(my);
    free(vx);
    free(w);
    free(got);
    kl_graph_destroy(g);
}

static void weights_are_transformed_for_winograd(void **state)
{
    static const char *const widths[] = {NULL, "8", "4"};
    static const int64_t shapes[][3] = {
        {32, 16, 3}, {17, 33, 3}, {3, 1, 3}, {16, 16, 5}, {5, 18, 5}};
    (void)state;
    for (int i = 0; i < 3; i++) {
        if (widths[i])
            setenv("KILN_VECTOR", widths[i], 1);
        kl_ctx *ctx = kl_ctx_create(NULL);
        unsetenv("KILN_VECTOR");
        assert_non_null(ctx);
        int v = kl__ctx_caps(ctx)->vector;
        const kl__layout from[] = {
            {KL__PLAIN, 0, {0}}, {KL__NCHWC, 4, {1, 0, 2, 1}}, {KL__OIHWC, v, {0}}};
        const kl__layout to[] = {{KL__WINO, v, {0}}, {KL__WINO_SWAP, v, {0}}};
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (size_t f = 0; f < 3; f++)
                for (size_t t = 0; t < 2; t++)
                    for (int ref = 0; ref < 2; ref++)
                        check_wino(
                            ctx, kl__shape4(shapes[s][0], shapes[s][1], shapes[s][2], shapes[s][2]),
                            from[f], to[t], ref);
        kl_ctx_destroy(ctx);
    }
}

static void impossible_layouts_are_refused(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){2, {3, 4}});
    kl__layout blocked = {KL__NCHWC, 8, {0}}, halo = {KL__OIHWC, 8, {1, 0, 0, 0}};
    assert_null(kl__reorder(g, x, &blocked));
    assert_non_null(strstr(kl_last_error(), "blocked storage needs rank 4"));
    kl_graph_destroy(g);
    g = kl_graph_create();
    x = kl_input(g, "x", KL_F32, kl__shape4(1, 2, 3, 4));
    assert_null(kl__reorder(g, x, &halo));
    assert_non_null(strstr(kl_last_error(), "halo (1, 0, 0, 0) is not possible in layout oihwc"));
    kl_graph_destroy(g);
    const kl__layout wino = {KL__WINO, 8, {0}}, plain = {KL__PLAIN, 0, {0}};
    g = kl_graph_create();
    assert_null(kl__reorder(g, kl_input(g, "x", KL_F32, kl__shape4(1, 2, 3, 4)), &wino));
    assert_non_null(strstr(kl_last_error(), "layout wino is for kernels of 3x3 and 5x5"));
    kl_graph_destroy(g);
    g = kl_graph_create();
    x = kl__reorder(g, kl_input(g, "x", KL_F32, kl__shape4(1, 2, 3, 3)), &wino);
    assert_non_null(x);
    assert_null(kl__reorder(g, x, &plain));
    assert_non_null(strstr(kl_last_error(), "there is no way back from layout wino"));
    kl_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_to_every_other),
        cmocka_unit_test(weights_are_transformed_for_winograd),
        cmocka_unit_test(impossible_layouts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
