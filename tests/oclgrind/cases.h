/* Small graphs that between them launch every kernel. Each is run forward and backward, in every
 * variant that fits. */
#ifndef KL_TESTS_OCLGRIND_CASES_H
#define KL_TESTS_OCLGRIND_CASES_H

typedef struct text_case {
    const char *name, *text;
    int inference; /* in inference form, no gradient */
} text_case;

/* Inputs of i32 hold 0, 1, 2; others are normal numbers, parameters lie in 0.3..1. No gradient by
 * inputs named t. */
static const text_case text_cases[] = {
    /* convolution: block tails, stride and dilation, groups, first layer (few channels), 1 x 1,
       transposed */
    {"conv_same",
     "x = input(shape=[2,5,6,7])\ny = conv2d(x, filters=9, kernel=3, pad=same)\noutput y = y\n", 0},
    /* enough tiles for Winograd's weight gradient in parts */
    {"conv_parts",
     "x = input(shape=[2,4,32,32])\ny = conv2d(x, filters=4, kernel=3, pad=1, "
     "no_bias=true)\noutput y = y\n",
     0},
    {"conv_stride",
     "x = input(shape=[1,8,9,8])\ny = conv2d(x, filters=8, kernel=[3,2], stride=2, dilation=[1,2], "
     "pad=[1,0,2,1])\noutput y = y\n",
     0},
    {"conv_groups",
     "x = input(shape=[2,8,5,5])\ny = conv2d(x, filters=16, kernel=3, groups=2, pad=1, "
     "no_bias=true)\noutput y = y\n",
     0},
    {"conv_depthwise",
     "x = input(shape=[1,6,5,5])\ny = conv2d(x, filters=6, kernel=3, groups=6)\noutput y = y\n", 0},
    {"conv_depthwise_stride",
     "x = input(shape=[2,5,6,7])\na = conv2d(x, filters=5, kernel=3, stride=2, groups=5, "
     "pad=1)\nb = relu(a)\ny = conv2d(b, filters=5, kernel=3, groups=5, pad=1)\noutput y = y\n",
     0},
    {"conv_lanes",
     "x = input(shape=[2,6,5,5])\ny = conv2d(x, filters=6, kernel=3, groups=3, pad=1)\noutput y = "
     "y\n",
     0},
    {"conv_group",
     "x = input(shape=[2,6,5,6])\ny = conv2d(x, filters=9, kernel=[2,3], stride=[1,2], groups=3, "
     "pad=1)\noutput y = y\n",
     0},
    {"conv_first",
     "x = input(shape=[2,1,9,9])\ny = conv2d(x, filters=4, kernel=5, pad=same)\noutput y = y\n", 0},
    {"conv_1x1", "x = input(shape=[1,12,4,4])\ny = conv2d(x, filters=8, kernel=1)\noutput y = y\n",
     0},
    {"conv_chain",
     "x = input(shape=[1,3,6,6])\na = conv2d(x, filters=8, kernel=3, pad=same)\nb = relu(a)\nc = "
     "conv2d(b, filters=4, kernel=3)\noutput y = c\n",
     0},
    {"conv_transpose",
     "x = input(shape=[1,8,4,4])\ny = conv2d_transpose(x, filters=4, kernel=3, stride=2, "
     "output_pad=1, pad=1)\noutput y = y\n",
     0},
    /* pooling */
    {"maxpool",
     "x = input(shape=[1,2,7,22])\ny = maxpool2d(x, window=3, stride=2, pad=1, "
     "ceil_mode=true)\noutput y = y\n",
     0},
    {"maxpool_2", "x = input(shape=[2,3,6,20])\ny = maxpool2d(x, window=2)\noutput y = y\n", 0},
    {"maxpool_c",
     "x = input(shape=[1,2,6,6])\na = conv2d(x, filters=9, kernel=2)\np = maxpool2d(a, window=3, "
     "stride=2, pad=1)\ny = conv2d(p, filters=5, kernel=1)\noutput y = y\n",
     0},
    {"avgpool",
     "x = input(shape=[1,2,7,22])\ny = avgpool2d(x, window=[2,3], stride=[1,2], pad=1)\noutput y = "
     "y\n",
     0},
    {"avgpool_skip",
     "x = input(shape=[1,2,6,20])\ny = avgpool2d(x, window=2, pad=1, skip_pad=true)\noutput y = "
     "y\n",
     0},
    {"avgpool_c",
     "x = input(shape=[1,2,6,6])\na = conv2d(x, filters=9, kernel=2)\np = avgpool2d(a, window=3, "
     "stride=2, pad=1)\ny = conv2d(p, filters=5, kernel=1)\noutput y = y\n",
     0},
    {"maxpool_2_c",
     "x = input(shape=[1,2,6,7])\na = conv2d(x, filters=5, kernel=2)\np = maxpool2d(a, "
     "window=2)\nb = relu(p)\ny = conv2d(b, filters=5, kernel=3, pad=1)\noutput y = y\n",
     0},
    {"maxpool_infer",
     "x = input(shape=[1,2,6,20])\na = maxpool2d(x, window=2)\nb = global_maxpool(x)\noutput a = "
     "a\noutput b = b\n",
     1},
    {"maxpool_infer_c",
     "x = input(shape=[1,2,6,9])\na = conv2d(x, filters=5, kernel=2)\nb = maxpool2d(a, window=3, "
     "stride=2, pad=1)\nc = global_maxpool(a)\noutput b = b\noutput c = c\n",
     1},
    {"global_avg_c",
     "x = input(shape=[2,3,5,6])\na = conv2d(x, filters=5, kernel=2)\nb = relu(a)\ny = "
     "global_avgpool(b)\noutput y = y\n",
     0},
    {"global_max_c",
     "x = input(shape=[2,3,5,6])\na = conv2d(x, filters=5, kernel=2)\nb = relu(a)\ny = "
     "global_maxpool(b)\noutput y = y\n",
     0},
    {"global_avg", "x = input(shape=[2,5,5,7])\ny = global_avgpool(x)\noutput y = y\n", 0},
    {"global_max", "x = input(shape=[2,5,5,7])\ny = global_maxpool(x)\noutput y = y\n", 0},
    {"maxout", "x = input(shape=[2,12,3,7])\ny = maxout(x, window=4)\noutput y = y\n", 0},
    /* products */
    {"dense", "x = input(shape=[5,19])\ny = dense(x, units=9)\noutput y = y\n", 0},
    {"dense_plain", "x = input(shape=[3,4,5])\ny = dense(x, units=6, no_bias=true)\noutput y = y\n",
     0},
    {"dense_long", "x = input(shape=[1,513])\ny = dense(x, units=1)\noutput y = y\n", 1},
    {"dense_batch", "x = input(shape=[35,5])\ny = dense(x, units=18)\noutput y = y\n", 0},
    {"matmul",
     "a = input(shape=[2,9,21])\nb = input(shape=[2,21,13])\ny = matmul(a, b)\noutput y = y\n", 0},
    {"matmul_ta",
     "a = input(shape=[21,9])\nb = input(shape=[21,13])\ny = matmul(a, b, ta=true)\noutput y = y\n",
     0},
    {"matmul_tb",
     "a = input(shape=[9,21])\nb = input(shape=[13,21])\ny = matmul(a, b, tb=true)\noutput y = y\n",
     0},
    {"matmul_tatb",
     "a = input(shape=[21,9])\nb = input(shape=[13,21])\ny = matmul(a, b, ta=true, "
     "tb=true)\noutput y = y\n",
     0},
    {"bias", "x = input(shape=[3,6,5])\nb = param(shape=[6])\ny = bias(x, b)\noutput y = y\n", 0},
    {"bias_rows", "x = input(shape=[7,19])\nb = param(shape=[19])\ny = bias(x, b)\noutput y = y\n",
     0},
    /* element-wise: one each, fused, broadcast, blocked */
    {"unary",
     "v = input(shape=[3,7])\na = relu(v)\nb = leaky_relu(v)\nc = elu(v)\nd = swish(v)\ne = "
     "sigmoid(v)\nf = tanh(v)\ng = softplus(v)\nh = exp(v)\n"
     "i = square(v)\nj = neg(v)\nk = abs(v)\nl = scale(v, scale=2, shift=1)\nm = sqrt(i)\nn = "
     "log(h)\no = relu6(v)\n"
     "output a = a\noutput b = b\noutput c = c\noutput d = d\noutput e = e\noutput f = f\noutput g "
     "= g\noutput h = h\noutput i = i\noutput j = j\n"
     "output k = k\noutput l = l\noutput m = m\noutput n = n\noutput o = o\n",
     0},
    {"binary",
     "a = input(shape=[3,2,9])\nb = input(shape=[2,1])\nc = param(shape=[3,1,9])\nd = add(a, b)\ne "
     "= sub(d, c)\nf = mul(e, b)\ng = div(f, c)\noutput y = g\n",
     0},
    {"fused_blocked",
     "x = input(shape=[1,5,6,6])\nb = param(shape=[1,9,1,1])\na = conv2d(x, filters=9, kernel=3, "
     "pad=same)\nc = mul(a, b)\nd = relu(c)\ne = add(d, a)\noutput y = e\n",
     0},
    {"cast",
     "x = input(shape=[3,7], dtype=u8)\ny = cast(x, scale=0.5, shift=1)\ni = input(shape=[5], "
     "dtype=i32)\nz = cast(i)\noutput y = y\noutput z = z\n",
     1},
    /* reductions */
    {"sum_rows", "x = input(shape=[5,3,23])\ny = reduce_sum(x, axes=[2])\noutput y = y\n", 0},
    {"sum_cols", "x = input(shape=[5,3,23])\ny = reduce_sum(x, axes=[0])\noutput y = y\n", 0},
    {"sum_mixed",
     "x = input(shape=[3,4,5,6])\ny = reduce_sum(x, axes=[0,2], keep_dims=true)\nz = reduce_sum(x, "
     "axes=[1,3])\noutput y = y\noutput z = z\n",
     0},
    {"mean_all", "x = input(shape=[3,4,5,6])\ny = reduce_mean(x)\noutput y = y\n", 0},
    {"max",
     "x = input(shape=[3,4,5,6])\ny = reduce_max(x, axes=[1,3])\nz = reduce_max(x, axes=[3])\nw = "
     "reduce_max(x, axes=[0])\noutput y = y\noutput z = z\noutput w = w\n",
     0},
    {"rows_long",
     "x = input(shape=[2,67])\na = softmax(x)\nb = log_softmax(x)\nc = reduce_mean(x, "
     "axes=[1])\nd = reduce_max(x, axes=[1])\noutput a = a\noutput b = b\noutput c = "
     "c\noutput d = d\n",
     0},
    /* shape */
    {"concat",
     "a = input(shape=[2,3,5])\nb = input(shape=[2,4,5])\ny = concat(a, b)\nz = concat(a, a, "
     "axis=0)\noutput y = y\noutput z = z\n",
     0},
    {"slice",
     "x = input(shape=[2,6,9])\ny = slice(x, start=2, size=3)\nz = slice(x, axis=2, "
     "start=-4)\noutput y = y\noutput z = z\n",
     0},
    {"pad",
     "x = input(shape=[2,3,5,6])\na = pad(x, before=[0,0,1,2], after=[0,1,-1])\nb = pad(x, "
     "before=[0,0,1,2], after=[0,0,2,1], fill=edge)\n"
     "c = pad(x, before=[0,0,1,2], after=[0,0,2,1], fill=reflect)\noutput a = a\noutput b = "
     "b\noutput c = c\n",
     0},
    {"transpose",
     "x = input(shape=[2,6,9,5])\na = transpose(x, perm=[0,2,3,1])\nb = transpose(x, "
     "perm=[3,2,1,0])\nc = transpose(x, perm=[1,0,2,3])\n"
     "output a = a\noutput b = b\noutput c = c\n",
     0},
    {"transpose_square", "x = input(shape=[33,34])\ny = transpose(x, perm=[1,0])\noutput y = y\n",
     0},
    {"reshape",
     "x = input(shape=[2,6,4])\na = flatten(x)\nb = reshape(a, shape=[4,12])\nc = relu(b)\noutput "
     "y = c\n",
     0},
    /* normalisation, dropout, softmax, losses */
    {"batchnorm", "x = input(shape=[3,5,3,7])\ny = batchnorm(x)\noutput y = y\n", 0},
    {"batchnorm_cols", "x = input(shape=[6,21])\ny = batchnorm(x, compat=keras)\noutput y = y\n",
     0},
    {"batchnorm_bare",
     "x = input(shape=[2,9,4,4])\ny = batchnorm(x, no_scale=true, no_shift=true)\noutput y = y\n",
     0},
    {"batchnorm_blocked",
     "x = input(shape=[3,5,6,6])\na = conv2d(x, filters=9, kernel=3, pad=1)\ny = batchnorm(a)\nr = "
     "relu(y)\nz = conv2d(r, filters=4, kernel=3)\noutput y = z\n",
     0},
    {"batchnorm_parts", /* several items along the samples, joined; the bias's sum too */
     "x = input(shape=[9,1,22,22])\na = conv2d(x, filters=3, kernel=1)\ny = batchnorm(a)\noutput y "
     "= y\n",
     0},
    {"batchnorm_infer", "x = input(shape=[2,5,3,7])\ny = batchnorm(x)\noutput y = y\n", 1},
    {"dropout", "x = input(shape=[3,23])\ny = dropout(x, rate=0.3)\noutput y = y\n", 0},
    {"dropout_image", "x = input(shape=[2,3,5,5])\ny = dropout(x)\noutput y = y\n", 0},
    {"dropout_blocked",
     "x = input(shape=[1,5,6,6])\na = conv2d(x, filters=9, kernel=3)\ny = dropout(a, rate=0.3)\nz "
     "= conv2d(y, filters=4, kernel=1)\noutput y = z\n",
     0},
    {"softmax",
     "x = input(shape=[4,10])\ny = softmax(x)\nz = log_softmax(x)\noutput y = y\noutput z = z\n",
     0},
    {"softmax_cols",
     "x = input(shape=[2,5,19])\ny = softmax(x)\nz = log_softmax(x, axis=1)\noutput y = y\noutput "
     "z = z\n",
     0},
    {"xent",
     "x = input(shape=[6,10])\nl = input(shape=[6], dtype=i32)\ny = softmax_xent(x, l)\noutput y = "
     "y\n",
     0},
    {"xent_weights",
     "x = input(shape=[6,4])\nl = input(shape=[6], dtype=i32)\ny = softmax_xent(x, l, "
     "smoothing=0.1, class_weight=[1,2,3,0.5], ignore_index=1)\noutput y = y\n",
     0},
    {"xent_keras",
     "x = input(shape=[6,4])\nl = input(shape=[6], dtype=i32)\ny = softmax_xent(x, l, "
     "class_weight=[1,2,3,0.5], compat=keras)\noutput y = y\n",
     0},
    {"xent_soft",
     "x = input(shape=[5,7])\nt = input(shape=[5,7])\ny = softmax_xent(x, t, "
     "smoothing=0.1)\noutput y = y\n",
     0},
    {"xent_cols",
     "x = input(shape=[2,4,3,7])\nl = input(shape=[2,3,7], dtype=i32)\ny = softmax_xent(x, l, "
     "ignore_index=2)\noutput y = y\n",
     0},
    {"xent_cols_soft",
     "x = input(shape=[2,4,3,7])\nt = input(shape=[2,4,3,7])\ny = softmax_xent(x, t, "
     "class_weight=[1,2,3,0.5])\noutput y = y\n",
     0},
    {"losses",
     "x = input(shape=[4,9])\ng = input(shape=[4,9])\na = mse(x, g)\nb = mae(x, g)\nc = huber(x, "
     "g, delta=0.5)\nd = bce_logits(x, g)\n"
     "output a = a\noutput b = b\noutput c = c\noutput d = d\n",
     0},
};

#endif
