/* ResNet-18, ResNet-50 and MobileNet-v2 as torchvision builds them (He et al. 2015, the stride of
 * a bottleneck in its 3x3 convolution; Sandler et al. 2018). The layers have the names of
 * torchvision's modules: parameters are called the same in both. */
#include "zoo/nets.h"

#include <stdio.h>

typedef char value_name[64];
typedef struct writer {
    kl__text *t;
    char block[32];  /* what the names of a block's layers begin with */
    value_name last; /* what the next layer reads */
} writer;

static void set_last(writer *w, const char *layer)
{
    snprintf(w->last, sizeof w->last, "%s%s", w->block, layer);
}

typedef struct window {
    int kernel, stride, groups;
} window;

/** Without bias, padded by half its kernel, He normal by fan-out over all groups. */
static void conv(writer *w, const char *layer, int filters, window o)
{
    kl__put(w->t, "%s%s = conv2d(%s, filters=%d, kernel=%d, stride=%d, groups=%d, pad=%d, ",
            w->block, layer, w->last, filters, o.kernel, o.stride, o.groups, o.kernel / 2);
    kl__put(w->t, "no_bias=true, init=he_normal(fan_in=%d))\n", filters * o.kernel * o.kernel);
    set_last(w, layer);
}

/** A layer of one input that needs no attributes. */
static void plain(writer *w, const char *layer, const char *op)
{
    kl__put(w->t, "%s%s = %s(%s)\n", w->block, layer, op, w->last);
    set_last(w, layer);
}

/** The sum of the block's input and its last value. */
static void residual(writer *w, const char *from)
{
    kl__put(w->t, "%ssum = add(%s, %s)\n", w->block, w->last, from);
    set_last(w, "sum");
}

/* ---- ResNet ---------------------------------------------------------------------------------- */
/** w->last becomes the block's input, by a 1x1 convolution of the sum's shape; *main what it was.
 */
static void project(writer *w, const char *from, value_name main, int filters, int stride)
{
    snprintf(main, sizeof(value_name), "%s", w->last);
    snprintf(w->last, sizeof w->last, "%s", from);
    conv(w, "downsample.0", filters, (window){1, stride, 1});
    plain(w, "downsample.1", "batchnorm");
}

static void resnet_block(writer *w, int width, int stride, bool bottleneck, bool projected)
{
    value_name from, main;
    snprintf(from, sizeof from, "%s", w->last);
    conv(w, "conv1", width, bottleneck ? (window){1, 1, 1} : (window){3, stride, 1});
    plain(w, "bn1", "batchnorm");
    plain(w, "relu1", "relu");
    conv(w, "conv2", width, (window){3, bottleneck ? stride : 1, 1});
    plain(w, "bn2", "batchnorm");
    if (bottleneck) {
        plain(w, "relu2", "relu");
        conv(w, "conv3", 4 * width, (window){1, 1, 1});
        plain(w, "bn3", "batchnorm");
    }
    if (projected) {
        project(w, from, main, bottleneck ? 4 * width : width, stride);
        residual(w, main);
    } else {
        residual(w, from);
    }
    plain(w, "relu", "relu");
}

static void resnet(kl__text *t, const int n_blocks[4], bool bottleneck)
{
    writer w = {.t = t, .last = "image"};
    conv(&w, "conv1", 64, (window){7, 2, 1});
    plain(&w, "bn1", "batchnorm");
    plain(&w, "relu", "relu");
    kl__put(t, "maxpool = maxpool2d(relu, window=3, stride=2, pad=1)\n");
    set_last(&w, "maxpool");
    for (int s = 0; s < 4; s++) {
        for (int b = 0; b < n_blocks[s]; b++) {
            const bool first = b == 0;
            snprintf(w.block, sizeof w.block, "layer%d.%d.", s + 1, b);
            resnet_block(&w, 64 << s, first && s > 0 ? 2 : 1, bottleneck,
                         first && (s > 0 || bottleneck));
        }
    }
    w.block[0] = '\0';
    plain(&w, "avgpool", "global_avgpool");
    kl__put(t, "fc = dense(avgpool, units=%%K, init=torch)\n");
}

void kl__zoo_resnet18(kl__text *t)
{
    resnet(t, (const int[]){2, 2, 2, 2}, false);
}

void kl__zoo_resnet50(kl__text *t)
{
    resnet(t, (const int[]){3, 4, 6, 3}, true);
}

/* ---- MobileNet-v2 ---------------------------------------------------------------------------- */
/** Convolution, batch norm, relu6: layers 0, 1 and 2 of the module `name`. */
static void conv_bn_relu6(writer *w, const char *name, int filters, window o)
{
    char layer[3][24];
    for (int i = 0; i < 3; i++)
        snprintf(layer[i], sizeof layer[i], "%s%d", name, i);
    conv(w, layer[0], filters, o);
    plain(w, layer[1], "batchnorm");
    plain(w, layer[2], "relu6");
}

/** Expanded by 1x1, filtered channel by channel, narrowed by 1x1; added to its input where it can
 * be. */
static void inverted_residual(writer *w, int in, int factor, int out, int stride)
{
    const int wide = in * factor;
    const bool expands = factor > 1;
    value_name from;
    snprintf(from, sizeof from, "%s", w->last);
    if (expands)
        conv_bn_relu6(w, "conv.0.", wide, (window){1, 1, 1});
    conv_bn_relu6(w, expands ? "conv.1." : "conv.0.", wide, (window){3, stride, wide});
    conv(w, expands ? "conv.2" : "conv.1", out, (window){1, 1, 1});
    plain(w, expands ? "conv.3" : "conv.2", "batchnorm");
    if (stride == 1 && in == out)
        residual(w, from);
}

void kl__zoo_mobilenet_v2(kl__text *t)
{
    static const struct {
        int factor, out, n_blocks, stride;
    } stages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                  {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    writer w = {.t = t, .block = "features.0.", .last = "image"};
    int n = 1, in = 32;
    conv_bn_relu6(&w, "", in, (window){3, 2, 1});
    for (size_t s = 0; s < sizeof stages / sizeof *stages; s++) {
        for (int b = 0; b < stages[s].n_blocks; b++) {
            snprintf(w.block, sizeof w.block, "features.%d.", n++);
            inverted_residual(&w, in, stages[s].factor, stages[s].out, b ? 1 : stages[s].stride);
            in = stages[s].out;
        }
    }
    snprintf(w.block, sizeof w.block, "features.%d.", n);
    conv_bn_relu6(&w, "", 1280, (window){1, 1, 1});
    w.block[0] = '\0';
    plain(&w, "avgpool", "global_avgpool");
    kl__put(t, "classifier.0 = dropout(avgpool, rate=0.2)\n"
               "classifier.1 = dense(classifier.0, units=%%K, init=normal(0,0.01))\n");
}
