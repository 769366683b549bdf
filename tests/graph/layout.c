/* Layout assignment: every apply gets the storage that its variant asks for, with as few reorders
 * as values and layouts need, on nets and on random graphs of made-up ops. No device is needed. */
#include "base/rng.h"
#include "graph/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static kl__caps cpu_caps(void)
{
    kl__caps c = {.cpu = true,
                  .solo = true,
                  .vector = 16,
                  .max_group = 4096,
                  .max_item = {4096, 4096, 4096},
                  .max_alloc = 1u << 30,
                  .compute_units = 2,
                  .l1_bytes = 32768,
                  .l2_bytes = 1 << 20,
                  .local_bytes = 1 << 20,
                  .constant_bytes = 1 << 20,
                  .align_bytes = 128};
    strcpy(c.info.name, "made up");
    return c;
}

static bool is_reorder(const kl__apply *a)
{
    return !strcmp(a->op->name, "reorder");
}

static int haloed;

/** x is stored as `want` says, or with a wider halo where that may be. */
static bool serves(const kl__layout *x, const kl__layout *want, bool wide)
{
    kl__layout l = *x;
    for (int i = 0; i < 4 && wide && l.kind == KL__NCHWC; i++)
        if (l.halo[i] > want->halo[i]) {
            l.halo[i] = want->halo[i];
            haloed++;
        }
    return kl__layout_equal(&l, want);
}

/** Number of reorders. */
static int check(const kl_graph *g, const kl__caps *caps)
{
    int reorders = 0;
    for (size_t i = 0; i < g->n_applies; i++) {
        const kl__apply *a = g->applies[i];
        kl__layout want[128];
        memset(want, 0, sizeof want);
        assert_int_equal(a->id, i);
        for (int k = 0; k < a->n_in; k++)
            assert_true(a->in[k]->by->id < i);
        if (a->op->flags & KL__OP_LEAF)
            continue;
        if (a->op->flags & KL__OP_VIEW)
            assert_null(a->variant);
        else
            assert_non_null(a->variant);
        assert_true(a->n_in + a->n_out < 128);
        for (int k = 0; k < a->n_out; k++)
            memcpy(want[a->n_in + k].halo, a->out[k]->desc.layout.halo, sizeof want->halo);
        if (a->variant && a->variant->layouts)
            a->variant->layouts(a, caps, want, want + a->n_in);
        for (int k = 0; k < a->n_in; k++)
            if (!serves(&a->in[k]->desc.layout, &want[k], a->variant && a->variant->wide_halo))
                fail_msg("%s \"%s\": input %d is not stored as %s wants it", a->op->name, a->name,
                         k, a->variant->name);
        for (int k = 0; k < a->n_out; k++)
            if (!kl__layout_equal(&a->out[k]->desc.layout, &want[a->n_in + k]))
                fail_msg("%s \"%s\": output %d is not what %s stores", a->op->name, a->name, k,
                         a->variant->name);
        if (!is_reorder(a))
            continue;
        reorders++;
        assert_false(kl__layout_equal(&a->in[0]->desc.layout, &a->out[0]->desc.layout));
        for (size_t j = 0; j < i; j++) /* one value, one layout: once */
            if (is_reorder(g->applies[j]) && g->applies[j]->in[0] == a->in[0])
                assert_false(
                    kl__layout_equal(&g->applies[j]->out[0]->desc.layout, &a->out[0]->desc.layout));
    }
    for (size_t i = 0; i < g->n_outputs; i++)
        assert_int_equal(g->outputs[i].node->desc.layout.kind, KL__PLAIN);
    for (size_t i = 0; i < g->n_updates; i++)
        assert_int_equal(g->updates[i].value->desc.layout.kind, KL__PLAIN);
    return reorders;
}

static kl_graph *training_graph(void)
{
    static const float one = 1;
    static const char text[] =
        "image = input(shape=[N,3,16,16])\nlabel = input(shape=[N], dtype=i32)\n"
        "c1 = conv2d(image, filters=32, kernel=3, pad=same)\nb1 = batchnorm(c1)\nr1 = relu(b1)\n"
        "c2 = conv2d(r1, filters=32, kernel=3, pad=same)\ns = add(c2, r1)\nr2 = relu(s)\np = "
        "maxpool2d(r2, window=2)\n"
        "c3 = conv2d(p, filters=64, kernel=3, pad=same)\nr3 = relu(c3)\nfc = dense(r3, units=10)\n"
        "l = softmax_xent(fc, label)\noutput loss = l\noutput r1 = r1\n";
    kl_graph *user = kl_graph_parse(text, NULL),
             *g = kl__graph_lower(user, 8, true, KL_F32, NULL, 0);
    kl_node *wrt[16], *dx[16];
    size_t n = 0;
    if (!g)
        fail_msg("%s", kl_last_error());
    for (size_t i = 0; i < g->n_nodes; i++)
        if (kl__is_param(g->nodes[i]) && kl__leaf_of(g->nodes[i])->trainable)
            wrt[n++] = g->nodes[i];
    kl_node *seed = kl_constant(g, "one", KL_F32, (kl_shape){0, {0}}, &one);
    if (kl__graph_grad(g, kl_graph_output(g, "loss"), seed, wrt, n, dx) != KL_OK)
        fail_msg("%s", kl_last_error());
    for (size_t i = 0; i < n; i++)
        kl_output(g, wrt[i]->name, dx[i]);
    assert_int_equal(kl__graph_prune(g), KL_OK);
    kl_graph_destroy(user);
    return g;
}

static int blocked(const kl_graph *g)
{
    int n = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        n += g->nodes[i]->desc.layout.kind != KL__PLAIN;
    return n;
}

static void nets_get_what_their_variants_want(void **state)
{
    const kl__caps caps = cpu_caps();
    (void)state;
    for (int fuse = 0; fuse < 2; fuse++) {
        kl_graph *g = training_graph();
        size_t before = g->n_applies;
        if (fuse)
            assert_int_equal(kl__graph_fuse(g), KL_OK);
        before = g->n_applies;
        if (kl__graph_layouts(g, &caps, NULL) != KL_OK)
            fail_msg("%s", kl_last_error());
        int n = check(g, &caps);
        assert_int_equal(g->n_applies - before, n);
        assert_true(blocked(g) > 6); /* the fast variants do ask for blocks */
        kl_graph_destroy(g);
    }
}

static void reference_variants_stay_plain(void **state)
{
    const kl__caps caps = cpu_caps();
    kl_graph *g = training_graph();
    (void)state;
    assert_int_equal(kl__graph_layouts(g, &caps, "*:ref"), KL_OK);
    assert_int_equal(check(g, &caps), 0);
    assert_int_equal(blocked(g), 0);
    for (size_t i = 0; i < g->n_applies; i++)
        if (g->applies[i]->variant)
            assert_string_equal(g->applies[i]->variant->name, "ref");
    kl_graph_destroy(g);
}

static void a_variant_that_is_not_there_is_refused(void **state)
{
    const kl__caps caps = cpu_caps();
    kl_graph *g = training_graph();
    (void)state;
    assert_int_equal(kl__graph_layouts(g, &caps, "conv2d:nope"), KL_E_UNSUPPORTED);
    assert_non_null(strstr(kl_last_error(), "\"nope\""));
    kl_graph_destroy(g);
}

/* ---- made-up ops with layouts of their own ----------------------------------------------- */
static kl__rng rng;
static uint64_t draws;

static int below(int n)
{
    return (int)kl__rng_below(rng, draws++, (uint32_t)n);
}

typedef struct fake {
    uint32_t in, out; /* which layouts: two bits each */
    bool mirror;      /* the output as the first input comes */
    bool keep;        /* the outputs' halos as readers want them */
} fake;

static kl__layout layout_of(uint32_t bits, int i)
{
    static const kl__layout all[] = {{KL__PLAIN, 0, {0}},
                                     {KL__NCHWC, 16, {0}},
                                     {KL__NCHWC, 16, {1, 1, 1, 1}},
                                     {KL__NCHWC, 16, {0, 1, 2, 0}}};
    return all[bits >> (2 * (i % 16)) & 3];
}

static void layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in, kl__layout *out)
{
    const fake *f = a->attrs;
    (void)caps;
    for (int i = 0; i < a->n_in; i++)
        in[i] = layout_of(f->in, i);
    for (int i = 0; i < a->n_out; i++) {
        kl__layout l = layout_of(f->out, i);
        if (f->keep && l.kind == KL__NCHWC)
            memcpy(l.halo, out[i].halo, sizeof l.halo);
        out[i] = l;
    }
    if (f->mirror && a->n_in)
        in[0] = out[0] = a->in[0]->desc.layout;
}

static kl_status infer(const kl__apply *a, kl__desc *out)
{
    for (int i = 0; i < a->n_out; i++)
        out[i] = (kl__desc){.dtype = KL_F32, .shape = {4, {2, 32, 4, 4}}};
    return KL_OK;
}

static bool fits(const kl__apply *a, const kl__caps *caps)
{
    (void)caps;
    return a->n_in != 1;
}

static bool fits_wide(const kl__apply *a, const kl__caps *caps)
{
    const fake *f = a->attrs;
    return f->keep && fits(a, caps);
}

static const kl__variant fakes[] = {
    {.name = "wide", .fits = fits_wide, .layouts = layouts, .wide_halo = true},
    {.name = "wild", .fits = fits, .layouts = layouts},
    {.name = "ref"},
    {.name = NULL},
};
static const kl__op fake_op = {.name = "fake",
                               .max_in = -1,
                               .n_out = 0,
                               .attrs_bytes = sizeof(fake),
                               .infer = infer,
                               .variants = fakes};
static const kl__op fake_view = {
    .name = "view", .min_in = 1, .max_in = 1, .n_out = 1, .flags = KL__OP_VIEW, .infer = infer};

static void random_graphs_are_consistent(void **state)
{
    const kl__caps caps = cpu_caps();
    int reorders = 0;
    (void)state;
    rng = kl__rng_of(3, "layout", 0);
    for (int k = 0; k < 1000; k++) {
        kl_graph *g = kl_graph_create();
        kl_node *in[40];
        kl_input(g, "x", KL_F32, (kl_shape){4, {2, 32, 4, 4}});
        for (int i = 0, n = 2 + below(30); i < n; i++) {
            fake f = {(uint32_t)below(1 << 30), (uint32_t)below(1 << 30), below(4) == 0,
                      below(2) == 0};
            int n_in = below(30) ? 1 + below(4) : 33; /* also past the small buffer */
            for (int j = 0; j < n_in; j++)
                in[j] = g->nodes[below((int)g->n_nodes)];
            assert_non_null(below(5)
                                ? kl__apply_new_n(g, &fake_op, NULL, in, n_in, 1 + below(3), &f)
                                : kl__apply_new(g, &fake_view, NULL, in, 1, NULL));
        }
        kl_output(g, "a", g->nodes[below((int)g->n_nodes)]);
        kl_output(g, "b", g->nodes[g->n_nodes - 1]);
        if (kl__graph_layouts(g, &caps, NULL) != KL_OK)
            fail_msg("%s", kl_last_error());
        reorders += check(g, &caps);
        kl_graph_destroy(g);
    }
    assert_true(reorders > 5000);
    assert_true(haloed > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nets_get_what_their_variants_want),
        cmocka_unit_test(reference_variants_stay_plain),
        cmocka_unit_test(a_variant_that_is_not_there_is_refused),
        cmocka_unit_test(random_graphs_are_consistent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
