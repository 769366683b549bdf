#include "support/random_net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

random_dice random_dice_of(uint64_t seed, const char *stream)
{
    return (random_dice){kl__rng_of(seed, stream, 0), 0};
}

int random_below(random_dice *d, int n)
{
    return (int)kl__rng_below(d->r, d->i++, (uint32_t)n);
}

static bool chance(random_dice *d, int percent)
{
    return random_below(d, 100) < percent;
}

/* ---- layers ---- */

typedef struct builder {
    kl_graph *g;
    random_dice d;
    int made; /* layers so far: their names */
    char name[24];
} builder;

static const char *next_name(builder *b, const char *stem)
{
    snprintf(b->name, sizeof b->name, "%s%d", stem, b->made++);
    return b->name;
}

static kl_node *conv(builder *b, kl_node *x, int filters, int kernel, int stride, int groups)
{
    return kl_conv2d(b->g, x,
                     &(kl_conv2d_opts){.filters = filters,
                                       .kernel = {kernel},
                                       .stride = {stride},
                                       .groups = groups,
                                       .pad = {.mode = KL_PAD_SAME},
                                       .no_bias = chance(&b->d, 30),
                                       .name = next_name(b, "conv")});
}

static kl_node *norm(builder *b, kl_node *x)
{
    return kl_batchnorm(b->g, x, &(kl_batchnorm_opts){.name = next_name(b, "bn")});
}

static kl_node *activation(builder *b, kl_node *x)
{
    switch (random_below(&b->d, 5)) {
    case 0:
        return kl_tanh(b->g, x);
    case 1:
        return kl_leaky_relu(b->g, x, NULL);
    case 2:
        return kl_sigmoid(b->g, x);
    default:
        return kl_relu(b->g, x);
    }
}

static kl_node *drop(builder *b, kl_node *x)
{
    return kl_dropout(b->g, x, &(kl_dropout_opts){.rate = 0.25f, .name = next_name(b, "drop")});
}

static kl_node *pool(builder *b, kl_node *x)
{
    const kl_pool2d_opts o = {.window = {2}, .pad = {.mode = KL_PAD_SAME}};
    return chance(&b->d, 50) ? kl_maxpool2d(b->g, x, &o) : kl_avgpool2d(b->g, x, &o);
}

/** x + f(x), f of one or two convolutions. */
static kl_node *residual(builder *b, kl_node *x)
{
    int channels = (int)kl_node_shape(x).dim[1];
    kl_node *h = conv(b, x, channels, 3, 1, 1);
    if (chance(&b->d, 60))
        h = norm(b, h);
    if (chance(&b->d, 50))
        h = conv(b, kl_relu(b->g, h), channels, chance(&b->d, 50) ? 3 : 1, 1, 1);
    return kl_relu(b->g, kl_add(b->g, h, x));
}

/** x and a convolution of it side by side. */
static kl_node *dense_block(builder *b, kl_node *x)
{
    kl_node *both[2] = {x, activation(b, conv(b, x, 1 + random_below(&b->d, 3), 3, 1, 1))};
    return kl_concat(b->g, both, 2, NULL);
}

static kl_node *image_layer(builder *b, kl_node *x)
{
    switch (random_below(&b->d, 8)) {
    case 0:
        return pool(b, x);
    case 1:
        return residual(b, x);
    case 2:
        return dense_block(b, x);
    case 3:
        return drop(b, x);
    case 4: { /* depthwise */
        int c = (int)kl_node_shape(x).dim[1];
        return conv(b, x, c, 3, 1, c);
    }
    case 5:
        return activation(b, norm(b, x));
    default: {
        kl_node *h = conv(b, x, 1 + random_below(&b->d, 6), chance(&b->d, 70) ? 3 : 1,
                          1 + random_below(&b->d, 2), 1);
        if (chance(&b->d, 40))
            h = norm(b, h);
        return chance(&b->d, 80) ? activation(b, h) : h;
    }
    }
}

static kl_node *vector_layer(builder *b, kl_node *x)
{
    if (chance(&b->d, 15))
        return drop(b, x);
    kl_node *h = kl_dense(b->g, x,
                          &(kl_dense_opts){.units = 2 + random_below(&b->d, 12),
                                           .no_bias = chance(&b->d, 30),
                                           .name = next_name(b, "fc")});
    if (chance(&b->d, 20))
        h = norm(b, h);
    return chance(&b->d, 80) ? activation(b, h) : h;
}

/* ---- a whole net ---- */

static size_t count_of(kl_shape s)
{
    int64_t n = 1;
    for (int i = 1; i < s.n_dims; i++)
        n *= s.dim[i];
    return (size_t)n;
}

static kl_node *data_input(builder *b, random_net *n, bool image, int hw)
{
    static const char *const names[] = {"image", "second", "third"};
    kl_shape s = {2, {KL_BATCH, 3 + random_below(&b->d, 9)}};
    if (image)
        s = (kl_shape){4, {KL_BATCH, 1 + random_below(&b->d, 4), hw, hw}};
    n->input[n->n_inputs] = names[n->n_inputs];
    n->sample[n->n_inputs] = count_of(s);
    return kl_input(b->g, names[n->n_inputs++], KL_F32, s);
}

static kl_node *join(builder *b, kl_node *h, kl_node *y)
{
    kl_node *both[2] = {h, y};
    if (!h)
        return y;
    if (chance(&b->d, 50) && kl_shape_equal(kl_node_shape(h), kl_node_shape(y)))
        return kl_add(b->g, h, y);
    return kl_concat(b->g, both, 2, NULL);
}

static void add_output(random_net *n, const char *name, kl_node *x)
{
    kl_output(n->graph, name, x);
    n->output[n->n_outputs] = name;
    n->output_sample[n->n_outputs++] = count_of(kl_node_shape(x));
}

static void finish(builder *b, random_net *n, kl_node *h)
{
    n->classes = 2 + random_below(&b->d, 5);
    int at = n->n_inputs++;
    h = kl_dense(b->g, h, &(kl_dense_opts){.units = n->classes, .name = "head"});
    n->label[at] = chance(&b->d, 75);
    n->input[at] = n->label[at] ? "label" : "target";
    n->sample[at] = n->label[at] ? 1 : (size_t)n->classes;
    n->logits = n->label[at] ? "logits" : NULL;
    add_output(n, n->label[at] ? "logits" : "out", h);
    kl_node *y = n->label[at]
                     ? kl_input(b->g, "label", KL_I32, (kl_shape){1, {KL_BATCH}})
                     : kl_input(b->g, "target", KL_F32, (kl_shape){2, {KL_BATCH, n->classes}});
    kl_output(b->g, "loss",
              n->label[at] ? kl_softmax_xent(b->g, h, y, NULL) : kl_mse(b->g, h, y, NULL));
}

random_net random_net_make(uint64_t seed)
{
    builder b = {.g = kl_graph_create(), .d = random_dice_of(seed, "random_net")};
    random_net n = {.graph = b.g};
    bool image = chance(&b.d, 70);
    int hw = 4 + random_below(&b.d, 5), inputs = chance(&b.d, 70) ? 1 : 2 + random_below(&b.d, 2);
    int deep = 1 + random_below(&b.d, 4);
    kl_node *h = NULL;
    for (int i = 0; i < inputs; i++) {
        kl_node *x = data_input(&b, &n, image, hw);
        if (image) /* a layer each that keeps the size, so that they join */
            x = activation(&b, conv(&b, x, 1 + random_below(&b.d, 4), 3, 1, 1));
        h = join(&b, h, x);
    }
    for (int i = 0; i < deep; i++)
        h = image ? image_layer(&b, h) : vector_layer(&b, h);
    if (chance(&b.d, 30))
        add_output(&n, "mid", h);
    if (image && chance(&b.d, 30))
        h = kl_global_avgpool(b.g, h, NULL);
    if (chance(&b.d, 40))
        h = vector_layer(&b, kl_flatten(b.g, h));
    finish(&b, &n, h);
    return n;
}

void random_net_free(random_net *n)
{
    kl_graph_destroy(n->graph);
    n->graph = NULL;
}

/* ---- batches ---- */

random_batch random_batch_make(const random_net *net, int n, uint64_t k)
{
    random_batch b = {.n = n};
    random_dice d = random_dice_of(k, "random_batch");
    for (int i = 0; i < net->n_inputs; i++) {
        size_t count = net->sample[i] * (size_t)n;
        b.values[i] = malloc((count + 1) * sizeof(float));
        if (!b.values[i])
            abort(); /* a test that runs out of memory proves nothing */
        for (size_t j = 0; j < count; j++) {
            int32_t y = random_below(&d, net->classes);
            float x = kl__rng_uniform(d.r, d.i++) - 0.5f;
            if (net->label[i])
                memcpy(&b.values[i][j], &y, sizeof y);
            else
                b.values[i][j] = x;
        }
        b.bind[i] = (kl_bind){.name = net->input[i],
                              .host = b.values[i],
                              .host_bytes = count * sizeof(float)};
    }
    return b;
}

void random_batch_free(random_batch *b)
{
    for (int i = 0; i < RANDOM_NET_INPUTS; i++) {
        free(b->values[i]);
        b->values[i] = NULL;
    }
}
