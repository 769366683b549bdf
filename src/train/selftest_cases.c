/* The self-test's graphs: every public op, forward and backward, at sizes that fit no vector and no
 * group. */
#include "train/selftest.h"

const kl__selftest_case kl__selftest_cases[] = {
    {.what = "conv2d 3x3, forward and backward",
     .text = "x = param(shape=[2,19,11,13], trainable=true)\n"
             "y = conv2d(x, filters=21, kernel=3, pad=same)\n"
             "output y = y\n",
     .exact = true,
     .ref = kl__ref_conv},
    {.what = "conv2d 3x3 and 5x5 of many channels, forward and backward",
     .text = "x = param(shape=[4,32,14,15], trainable=true)\n"
             "a = conv2d(x, filters=48, kernel=3, pad=same)\n"
             "y = conv2d(a, filters=32, kernel=5, pad=same)\n"
             "output y = y\n",
     .bound = 1e-5},
    {.what = "conv2d 5x3 with stride, dilation and groups, forward and backward",
     .text = "x = param(shape=[2,6,15,17], trainable=true)\n"
             "y = conv2d(x, filters=9, kernel=[5,3], stride=[2,1], dilation=[1,2], groups=3, "
             "pad=[2,1,1,3])\n"
             "output y = y\n",
     .exact = true,
     .ref = kl__ref_conv},
    {.what = "conv2d 1x1, forward and backward",
     .text = "x = param(shape=[3,17,7,5], trainable=true)\n"
             "y = conv2d(x, filters=33, kernel=1, no_bias=true)\n"
             "output y = y\n",
     .exact = true,
     .ref = kl__ref_conv},
    {.what = "conv2d_transpose, forward and backward",
     .text = "x = param(shape=[2,5,6,7], trainable=true)\n"
             "y = conv2d_transpose(x, filters=3, kernel=3, stride=2, pad=1, output_pad=1)\n"
             "output y = y\n",
     .exact = true,
     .ref = kl__ref_conv},
    {.what = "matmul, forward and backward",
     .text = "a = param(shape=[37,19], trainable=true)\n"
             "b = param(shape=[19,53], trainable=true)\n"
             "y = matmul(a, b)\n"
             "output y = y\n",
     .exact = true,
     .ref = kl__ref_product},
    {.what = "matmul, transposed in batches, forward and backward",
     .text = "a = param(shape=[3,19,7], trainable=true)\n"
             "b = param(shape=[3,23,19], trainable=true)\n"
             "y = matmul(a, b, ta=true, tb=true)\n"
             "output y = y\n",
     .exact = true,
     .ref = kl__ref_product},
    {.what = "dense, forward and backward",
     .text = "x = param(shape=[13,71], trainable=true)\n"
             "y = dense(x, units=35)\n"
             "output y = y\n",
     .exact = true,
     .ref = kl__ref_product},
    {.what = "reductions, forward and backward",
     .text = "x = param(shape=[5,8,77], trainable=true)\n"
             "a = reduce_sum(x, axes=[0,2])\n"
             "m = reduce_mean(x, axes=1)\n"
             "h = reduce_max(x, axes=2)\n"
             "output a = a\n"
             "output m = m\n"
             "output h = h\n",
     .exact = true,
     .ref = kl__ref_reduce},
    {.what = "softmax cross-entropy, forward and backward",
     .text = "x = param(shape=[37,11], trainable=true)\n"
             "label = input(shape=[37], dtype=i32)\n"
             "y = softmax_xent(x, label, smoothing=0.1)\n"
             "output y = y\n",
     .bound = 4e-6,
     .ref = kl__ref_xent},
    {.what = "softmax cross-entropy with soft labels and class weights, forward and backward",
     .text = "x = param(shape=[5,3,2,7], trainable=true)\n"
             "t = input(shape=[5,3,2,7])\n"
             "y = softmax_xent(x, t, class_weight=[1,2,0.5], compat=keras)\n"
             "output y = y\n",
     .bound = 1e-5},
    {.what = "element-wise ops of one value, forward and backward",
     .text = "x = param(shape=[3,5,7], trainable=true)\n"
             "p = softplus(x)\n"
             "a1 = relu(x)\n"
             "a2 = leaky_relu(x, slope=0.1)\n"
             "a3 = elu(x)\n"
             "a4 = swish(x, beta=1.5)\n"
             "a5 = sigmoid(x)\n"
             "a6 = tanh(x)\n"
             "a7 = scale(x, scale=8)\n"
             "a8 = relu6(a7)\n"
             "b1 = exp(x)\n"
             "b2 = log(p)\n"
             "b3 = sqrt(p)\n"
             "b4 = square(x)\n"
             "b5 = neg(x)\n"
             "b6 = abs(x)\n"
             "b7 = scale(x, scale=0.3, shift=2)\n"
             "s0 = add(a1, a8)\n"
             "s1 = add(s0, a2)\n"
             "s2 = mul(a3, a4)\n"
             "s3 = sub(a5, a6)\n"
             "s4 = div(b1, b7)\n"
             "s5 = add(b2, b3)\n"
             "s6 = mul(b4, b5)\n"
             "t1 = add(s1, s2)\n"
             "t2 = add(s3, s4)\n"
             "t3 = add(s5, s6)\n"
             "u1 = add(t1, t2)\n"
             "u2 = mul(t3, b6)\n"
             "y = add(u1, u2)\n"
             "output y = y\n",
     .bound = 2e-5,
     .ref = kl__ref_unary},
    {.what = "element-wise ops of two values that are stretched, forward and backward",
     .text = "x = param(shape=[3,5,7], trainable=true)\n"
             "r = param(shape=[5,1], trainable=true)\n"
             "b = param(shape=[5], trainable=true)\n"
             "i = input(shape=[3,5,7], dtype=i32)\n"
             "c = cast(i)\n"
             "q = square(r)\n"
             "p = scale(q, scale=1, shift=1)\n"
             "m = mul(x, r)\n"
             "d = div(m, p)\n"
             "s = sub(d, c)\n"
             "y = bias(s, b)\n"
             "output y = y\n",
     .bound = 1e-5},
    {.what = "pooling, forward and backward",
     .text = "x = param(shape=[2,6,13,11], trainable=true)\n"
             "m = maxpool2d(x, window=3, stride=2, pad=1, ceil_mode=true)\n"
             "a = avgpool2d(x, window=[2,3], stride=[1,2], pad=1, skip_pad=true)\n"
             "g = global_avgpool(x)\n"
             "h = global_maxpool(x)\n"
             "o = maxout(x, window=3)\n"
             "output m = m\n"
             "output a = a\n"
             "output g = g\n"
             "output h = h\n"
             "output o = o\n",
     .bound = 1e-5},
    {.what = "shapes, forward and backward",
     .text = "x = param(shape=[3,5,7,2], trainable=true)\n"
             "z = param(shape=[3,4,7,2], trainable=true)\n"
             "c = concat(x, z)\n"
             "s = slice(c, start=-6, size=5)\n"
             "p = pad(s, before=[0,0,2,-1], after=[0,0,1,1], fill=reflect)\n"
             "t = transpose(p, perm=[0,2,3,1])\n"
             "r = reshape(t, shape=[3,4,-2])\n"
             "y = flatten(r)\n"
             "output y = y\n",
     .exact = true},
    {.what = "batch norm in training, forward and backward",
     .text = "x = param(shape=[5,7,5,3], trainable=true)\n"
             "y = batchnorm(x)\n"
             "output y = y\n",
     .bound = 2e-5},
    {.what = "batch norm and dropout in inference",
     .text = "x = param(shape=[5,7,5,3], trainable=true)\n"
             "b = batchnorm(x)\n"
             "y = dropout(b)\n"
             "output y = y\n",
     .inference = true,
     .bound = 1e-5},
    {.what = "dropout, forward and backward",
     .text = "x = param(shape=[9,77], trainable=true)\n"
             "y = dropout(x, rate=0.3)\n"
             "output y = y\n",
     .bound = 1e-6},
    {.what = "softmax, forward and backward",
     .text = "x = param(shape=[5,13,3], trainable=true)\n"
             "a = softmax(x)\n"
             "b = log_softmax(x, axis=2)\n"
             "output a = a\n"
             "output b = b\n",
     .bound = 1e-5},
    {.what = "losses, forward and backward",
     .text = "x = param(shape=[7,9], trainable=true)\n"
             "t = input(shape=[7,9])\n"
             "s = sigmoid(t)\n"
             "a = mse(x, t)\n"
             "b = mae(x, t)\n"
             "c = huber(x, t, delta=0.7)\n"
             "d = bce_logits(x, s)\n"
             "e = add(a, b)\n"
             "f = add(c, d)\n"
             "y = add(e, f)\n"
             "output y = y\n",
     .bound = 1e-5},
    {.what = "a small network, forward and backward",
     .text = "x = input(shape=[6,3,12,12])\n"
             "label = input(shape=[6], dtype=i32)\n"
             "c1 = conv2d(x, filters=16, kernel=3, pad=same, no_bias=true)\n"
             "b1 = batchnorm(c1)\n"
             "r1 = relu(b1)\n"
             "c2 = conv2d(r1, filters=16, kernel=3, pad=same, no_bias=true)\n"
             "s2 = add(c2, r1)\n"
             "p2 = maxpool2d(s2, window=2)\n"
             "f = dense(p2, units=10)\n"
             "y = softmax_xent(f, label)\n"
             "output y = y\n",
     .bound = 2e-4},
};
const size_t kl__selftest_n_cases = sizeof kl__selftest_cases / sizeof *kl__selftest_cases;
