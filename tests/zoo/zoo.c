/* The zoo: every architecture builds, has the shapes of its original, and takes other pictures and
 * classes. */
#include "ops/op.h"

#include <kiln/zoo.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

/* Numbers of parameters, and of kept state, of the same nets in PyTorch (sum of numel over
 * parameters(), over the running statistics among buffers()), and their weights' shapes in order.
 */
static const struct original {
    const char *name;
    int64_t trained, kept;
    kl_shape weights[10];
} originals[] = {
    {"lenet",
     61706,
     0,
     {{4, {6, 1, 5, 5}}, {4, {16, 6, 5, 5}}, {2, {120, 400}}, {2, {84, 120}}, {2, {10, 84}}}},
    {"fashion",
     421738,
     192,
     {{4, {32, 1, 3, 3}}, {4, {64, 32, 3, 3}}, {2, {128, 3136}}, {2, {10, 128}}}},
    {"practical",
     1191170,
     0,
     {{4, {32, 3, 5, 5}},
      {4, {64, 32, 5, 5}},
      {4, {64, 64, 5, 5}},
      {2, {1000, 1024}},
      {2, {10, 1000}}}},
    {"vgg6",
     2196810,
     0,
     {{4, {64, 3, 3, 3}},
      {4, {64, 64, 3, 3}},
      {4, {128, 64, 3, 3}},
      {4, {128, 128, 3, 3}},
      {4, {256, 128, 3, 3}},
      {4, {256, 256, 3, 3}},
      {2, {256, 4096}},
      {2, {10, 256}}}},
    {"vgg6bn",
     2197706,
     1792,
     {{4, {64, 3, 3, 3}},
      {4, {64, 64, 3, 3}},
      {4, {128, 64, 3, 3}},
      {4, {128, 128, 3, 3}},
      {4, {256, 128, 3, 3}},
      {4, {256, 256, 3, 3}},
      {2, {256, 4096}},
      {2, {10, 256}}}},
    /* shapes: torchvision.c sets their parameters by name and count */
    {"resnet18", 11689512, 9600, {{0}}},
    {"resnet50", 25557032, 53120, {{0}}},
    {"mobilenet_v2", 3504872, 34112, {{0}}},
};
enum { N_ORIGINALS = sizeof originals / sizeof *originals };

static kl_graph *built(const char *name, const kl_shape *sample, int n_classes)
{
    kl_graph *g = kl_zoo_build(name, sample, n_classes);
    if (!g)
        fail_msg("%s", kl_last_error());
    return g;
}

static void parameters_are_the_originals(void **state)
{
    (void)state;
    assert_int_equal(kl_zoo_count(), N_ORIGINALS);
    for (size_t i = 0; i < N_ORIGINALS; i++) {
        const struct original *o = &originals[i];
        kl_graph *g = built(o->name, NULL, 0);
        int64_t trained = 0, kept = 0;
        int n = 0;
        for (size_t k = 0; k < g->n_nodes; k++) {
            const kl_node *x = g->nodes[k];
            if (!kl__is_param(x))
                continue;
            *(kl__leaf_of(x)->trainable ? &trained : &kept) += kl_shape_count(x->desc.shape);
            if (x->desc.shape.n_dims > 1 && o->weights[0].n_dims &&
                !kl_shape_equal(x->desc.shape, o->weights[n++]))
                fail_msg("%s: shape of %s", o->name, x->name);
        }
        assert_int_equal(trained, o->trained);
        assert_int_equal(kept, o->kept);
        assert_true(n == 10 || o->weights[n].n_dims == 0);
        kl_graph_destroy(g);
    }
}

/** Biases too, with the fan of their layer's weights. */
static void layers_start_as_in_pytorch(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ORIGINALS; i++) {
        kl_graph *g = built(originals[i].name, NULL, 0);
        for (size_t k = 0; k < g->n_applies; k++) {
            const kl__apply *a = g->applies[k];
            if (strcmp(a->op->name, "conv2d") != 0 && strcmp(a->op->name, "dense") != 0)
                continue;
            const kl_shape w = a->in[1]->desc.shape;
            const kl_init *init = &kl__leaf_of(a->in[1])->init;
            if (originals[i].weights[0].n_dims == 0 && !strcmp(a->op->name, "conv2d")) {
                /* kaiming_normal_(mode="fan_out"), no bias */
                assert_int_equal(init->kind, KL_INIT_HE_NORMAL);
                assert_int_equal(init->fan_in, kl_shape_count(w) / w.dim[1]);
                assert_int_equal(a->n_in, 2);
                continue;
            }
            if (!strcmp(originals[i].name, "mobilenet_v2")) {
                assert_int_equal(init->kind, KL_INIT_NORMAL);
                assert_true(init->a == 0 && init->b == 0.01f);
                assert_int_equal(kl__leaf_of(a->in[2])->init.kind, KL_INIT_ZEROS);
                continue;
            }
            assert_int_equal(init->kind, KL_INIT_TORCH);
            for (int p = 2; p < a->n_in; p++) {
                assert_int_equal(kl__leaf_of(a->in[p])->init.kind, KL_INIT_TORCH);
                assert_int_equal(kl__leaf_of(a->in[p])->init.fan_in, kl_shape_count(w) / w.dim[0]);
            }
        }
        kl_graph_destroy(g);
    }
}

static void names_are_readable(void **state)
{
    kl_graph *g = built("fashion", NULL, 0);
    (void)state;
    static const char *const names[] = {"image", "label",    "conv1.weight", "bn2.running_var",
                                        "drop1", "fc2.bias", "loss"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!kl_graph_find(g, names[i]))
            fail_msg("no %s", names[i]);
    assert_null(kl_graph_find(g, "conv1.bias"));
    kl_graph_destroy(g);
}

static void inputs_and_outputs_are_as_promised(void **state)
{
    (void)state;
    assert_null(kl_zoo_at(kl_zoo_count()));
    for (size_t i = 0; i < kl_zoo_count(); i++) {
        const kl_zoo_entry *e = kl_zoo_at(i);
        kl_graph *g = built(e->name, NULL, 0);
        kl_shape image = kl_node_shape(kl_graph_find(g, "image")),
                 logits = kl_node_shape(kl_graph_output(g, "logits"));
        assert_int_equal(image.n_dims, 4);
        assert_int_equal(image.dim[0], KL_BATCH);
        for (int d = 0; d < 3; d++)
            assert_int_equal(image.dim[d + 1], e->sample.dim[d]);
        assert_int_equal(kl_node_dtype(kl_graph_find(g, "label")), KL_I32);
        assert_int_equal(logits.n_dims, 2);
        assert_int_equal(logits.dim[1], e->n_classes);
        assert_int_equal(kl_node_shape(kl_graph_output(g, "loss")).n_dims, 0);
        assert_true(strlen(e->doc) > 0);
        kl_graph_destroy(g);
    }
}

static void other_pictures_and_classes(void **state)
{
    const kl_shape small = {3, {3, 16, 24}};
    (void)state;
    for (size_t i = 0; i < kl_zoo_count(); i++) {
        kl_graph *g = built(kl_zoo_at(i)->name, &small, 7);
        assert_int_equal(kl_node_shape(kl_graph_output(g, "logits")).dim[1], 7);
        for (size_t k = 0; k < g->n_nodes; k++)
            if (g->nodes[k]->desc.shape.n_dims == 4 && kl__is_param(g->nodes[k])) {
                assert_int_equal(g->nodes[k]->desc.shape.dim[1], 3);
                break;
            }
        kl_graph_destroy(g);
    }
}

static void refused(const char *name, const kl_shape *sample, int n_classes, const char *part)
{
    assert_null(kl_zoo_build(name, sample, n_classes));
    if (!strstr(kl_last_error(), part))
        fail_msg("\"%s\" does not say \"%s\"", kl_last_error(), part);
}

static void what_cannot_be_built_is_said(void **state)
{
    const kl_shape tiny = {3, {1, 4, 4}}, flat = {2, {28, 28}}, none = {3, {1, 0, 28}};
    (void)state;
    refused("lenett", NULL, 0,
            "there is no architecture \"lenett\" (did you mean \"lenet\"?); there are lenet, "
            "fashion, ");
    refused(NULL, NULL, 0, "there is no architecture");
    refused("lenet", &tiny, 0, "pictures of [1,4,4]: lenet:");
    refused("lenet", &flat, 0, "[channels, height, width]");
    refused("lenet", &none, 0, "[channels, height, width]");
    refused("lenet", NULL, -1, "-1 classes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_the_originals),
        cmocka_unit_test(layers_start_as_in_pytorch),
        cmocka_unit_test(names_are_readable),
        cmocka_unit_test(inputs_and_outputs_are_as_promised),
        cmocka_unit_test(other_pictures_and_classes),
        cmocka_unit_test(what_cannot_be_built_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
