/* The architectures. Weights and biases start as PyTorch's layers do: runs can be compared. */
#include "zoo/nets.h"

#define CIFAR {3, {3, 32, 32}}
#define DIGIT {3, {1, 28, 28}}
#define IMAGENET {3, {3, 224, 224}}

static const char lenet[] =
    "conv1 = conv2d(image, filters=6, kernel=5, pad=2, init=torch)\n"
    "relu1 = relu(conv1)\n"
    "pool1 = maxpool2d(relu1, window=2)\n"
    "conv2 = conv2d(pool1, filters=16, kernel=5, init=torch)\n"
    "relu2 = relu(conv2)\n"
    "pool2 = maxpool2d(relu2, window=2)\n"
    "fc1 = dense(pool2, units=120, init=torch)\n"
    "relu3 = relu(fc1)\n"
    "fc2 = dense(relu3, units=84, init=torch)\n"
    "relu4 = relu(fc2)\n"
    "fc3 = dense(relu4, units=%K, init=torch)\n";

static const char fashion[] =
    "conv1 = conv2d(image, filters=32, kernel=3, pad=1, no_bias=true, init=torch)\n"
    "bn1 = batchnorm(conv1)\n"
    "relu1 = relu(bn1)\n"
    "pool1 = maxpool2d(relu1, window=2)\n"
    "conv2 = conv2d(pool1, filters=64, kernel=3, pad=1, no_bias=true, init=torch)\n"
    "bn2 = batchnorm(conv2)\n"
    "relu2 = relu(bn2)\n"
    "pool2 = maxpool2d(relu2, window=2)\n"
    "fc1 = dense(pool2, units=128, init=torch)\n"
    "relu3 = relu(fc1)\n"
    "drop1 = dropout(relu3, rate=0.3)\n"
    "fc2 = dense(drop1, units=%K, init=torch)\n";

static const char practical[] =
    "conv1 = conv2d(image, filters=32, kernel=5, pad=2, init=torch)\n"
    "relu1 = relu(conv1)\n"
    "pool1 = maxpool2d(relu1, window=2)\n"
    "conv2 = conv2d(pool1, filters=64, kernel=5, pad=2, init=torch)\n"
    "relu2 = relu(conv2)\n"
    "pool2 = maxpool2d(relu2, window=2)\n"
    "conv3 = conv2d(pool2, filters=64, kernel=5, pad=2, init=torch)\n"
    "relu3 = relu(conv3)\n"
    "pool3 = maxpool2d(relu3, window=2)\n"
    "fc1 = dense(pool3, units=1000, init=torch)\n"
    "relu4 = relu(fc1)\n"
    "fc2 = dense(relu4, units=%K, init=torch)\n";

/* One layer of VGG: convolution 3x3 with K filters, [batch norm,] relu. I: number, FROM: input. */
#define PLAIN(I, FROM, K)                                                                          \
    "conv" #I " = conv2d(" #FROM ", filters=" #K ", kernel=3, pad=1, init=torch)\n"                \
    "relu" #I " = relu(conv" #I ")\n"
#define NORMED(I, FROM, K)                                                                         \
    "conv" #I " = conv2d(" #FROM ", filters=" #K ", kernel=3, pad=1, no_bias=true, init=torch)\n"  \
    "bn" #I " = batchnorm(conv" #I ")\n"                                                           \
    "relu" #I " = relu(bn" #I ")\n"
#define VGG6(LAYER)                                                                                \
    LAYER(1, image, 64) LAYER(2, relu1, 64) "pool1 = maxpool2d(relu2, window=2)\n"                 \
    LAYER(3, pool1, 128) LAYER(4, relu3, 128) "pool2 = maxpool2d(relu4, window=2)\n"               \
    LAYER(5, pool2, 256) LAYER(6, relu5, 256) "pool3 = maxpool2d(relu6, window=2)\n"               \
    "fc1 = dense(pool3, units=256, init=torch)\n"                                                  \
    "relu7 = relu(fc1)\n"                                                                          \
    "fc2 = dense(relu7, units=%K, init=torch)\n"

static const char vgg6[] = VGG6(PLAIN);
static const char vgg6bn[] = VGG6(NORMED);

const kl__zoo_net kl__zoo_nets[] = {
    {{"lenet", "LeNet-5 with relu, max pooling: 2 convolutions, 3 dense layers", DIGIT, 10},
     lenet,
     "fc3",
     NULL},
    {{"fashion", "2 convolutions with batch norm, a dense layer with dropout", DIGIT, 10},
     fashion,
     "fc2",
     NULL},
    {{"practical", "3 convolutions of 5x5, a dense layer of 1000", CIFAR, 10},
     practical,
     "fc2",
     NULL},
    {{"vgg6", "VGG with 6 convolutions of 3x3 and 2 dense layers", CIFAR, 10}, vgg6, "fc2", NULL},
    {{"vgg6bn", "vgg6 with batch norm", CIFAR, 10}, vgg6bn, "fc2", NULL},
    {{"resnet18", "residual network of 18 layers, blocks of two 3x3", IMAGENET, 1000},
     NULL,
     "fc",
     kl__zoo_resnet18},
    {{"resnet50", "residual network of 50 layers, blocks of 1x1, 3x3, 1x1", IMAGENET, 1000},
     NULL,
     "fc",
     kl__zoo_resnet50},
    {{"mobilenet_v2", "inverted residuals: depthwise 3x3 between 1x1", IMAGENET, 1000},
     NULL,
     "classifier.1",
     kl__zoo_mobilenet_v2},
};
const size_t kl__zoo_n_nets = sizeof kl__zoo_nets / sizeof *kl__zoo_nets;
