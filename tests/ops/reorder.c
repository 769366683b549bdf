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
    static const int64_t shapes[][4] = {
        {2, 17, 5, 7}, {1, 3, 1, 1}, {3, 32, 4, 8}, {2, 1, 6, 33}, {1, 31, 2, 3}};
    (void)state;
    for (int i = 0; i < 3; i++) {
        if (widths[i])
            setenv("KILN_VECTOR", widths[i], 1);
        kl_ctx *ctx = kl_ctx_create(NULL);
        unsetenv("KILN_VECTOR");
        assert_non_null(ctx);
        int v = kl__ctx_caps(ctx)->vector;
        const kl__layout all[] = {{KL__PLAIN, 0, {0}},
                                  {KL__NCHWC, v, {0}},
                                  {KL__NCHWC, v, {1, 2, 0, 3}},
                                  {KL__NCHWC, 1, {2, 1, 1, 0}},
                                  {KL__OIHWC, v, {0}}};
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (size_t from = 0; from < 5; from++)
                for (size_t to = 0; to < 5; to++)
                    for (int ref = 0; ref < 2; ref++)
                        check(ctx,
                              kl__shape4(shapes[s][0], shapes[s][1], shapes[s][2], shapes[s][3]),
                              &all[from], &all[to], ref);
        assert_true(!kl__ctx_caps(ctx)->solo || n_solo > 0);
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
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_to_every_other),
        cmocka_unit_test(impossible_layouts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
