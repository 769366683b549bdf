/* Geometries of convolution that every op of the family is tested on, and a double-precision
 * relation between x, w and y that shares no code with the library. */
#ifndef KL_TESTS_OPS_CONV2D_CASES_H
#define KL_TESTS_OPS_CONV2D_CASES_H

#include "ops/conv2d.h"
#include "rig.h"

typedef struct conv_case {
    const char *name;
    int N, C, H, W, K, KH, KW, SH, SW, DH, DW, G;
    int top, left, bottom, right;
    int OH, OW; /* worked out by hand */
} conv_case;

/* Few distinct widths and channel counts, so that programs are shared; tails in channels: 1, 3, 7,
 * 15, 17, 31, 33. */
static const conv_case conv_cases[] = {
    {"3x3 same, channel tail", 2, 17, 6, 8, 32, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 6, 8},
    {"one input channel", 3, 1, 8, 8, 31, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 8, 8},
    {"5x5 on three channels", 2, 3, 9, 8, 32, 5, 5, 1, 1, 1, 1, 1, 2, 2, 2, 2, 9, 8},
    {"1x7, odd number of blocks", 2, 15, 5, 8, 33, 1, 7, 1, 1, 1, 1, 1, 0, 3, 0, 3, 5, 8},
    {"stride 2", 2, 16, 7, 9, 32, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 4, 5},
    {"stride larger than kernel", 2, 7, 8, 13, 32, 2, 2, 3, 3, 1, 1, 1, 0, 0, 0, 0, 3, 4},
    {"padding larger than kernel", 1, 5, 3, 2, 32, 2, 2, 1, 1, 1, 1, 1, 3, 3, 3, 4, 8, 8},
    {"dilation 6 with padding 6", 1, 16, 8, 8, 32, 3, 3, 1, 1, 6, 6, 1, 6, 6, 6, 6, 8, 8},
    {"kernel of the map's size", 3, 33, 5, 5, 17, 5, 5, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1},
    {"asymmetric everything", 2, 6, 9, 8, 32, 3, 2, 2, 1, 1, 2, 1, 0, 2, 1, 0, 4, 8},
    {"stride 2, dilation 2", 1, 16, 9, 9, 32, 3, 3, 2, 2, 2, 2, 1, 2, 2, 2, 2, 5, 5},
    {"stride 4, dilation 2", 1, 16, 9, 11, 32, 3, 3, 4, 3, 2, 2, 1, 1, 1, 1, 1, 2, 3},
    {"two groups of whole blocks", 2, 32, 4, 8, 64, 3, 3, 1, 1, 1, 1, 2, 1, 1, 1, 1, 4, 8},
    {"depthwise, multiplier 2", 2, 6, 5, 5, 12, 3, 3, 1, 1, 1, 1, 6, 1, 1, 1, 1, 5, 5},
    {"depthwise", 3, 20, 9, 14, 20, 3, 3, 1, 1, 1, 1, 20, 1, 1, 1, 1, 9, 14},
    {"depthwise, stride 2", 2, 17, 9, 15, 17, 3, 3, 2, 2, 1, 1, 17, 1, 1, 1, 1, 5, 8},
    {"depthwise, stride 2, even", 1, 16, 14, 14, 16, 3, 3, 2, 2, 1, 1, 16, 1, 1, 1, 1, 7, 7},
    {"depthwise 5x5, asymmetric", 2, 5, 8, 8, 5, 5, 5, 2, 1, 1, 1, 5, 2, 1, 1, 3, 4, 8},
    {"depthwise, dilation and much padding", 1, 8, 5, 6, 8, 3, 2, 1, 1, 2, 3, 8, 5, 4, 4, 5, 10,
     12},
    {"depthwise 1x1, stride 3 and 2", 2, 6, 7, 8, 6, 1, 1, 3, 2, 1, 1, 6, 0, 0, 0, 0, 3, 4},
    {"depthwise 1x13", 1, 3, 2, 14, 3, 1, 13, 1, 1, 1, 1, 3, 0, 6, 0, 6, 2, 14},
    {"depthwise on one pixel", 2, 16, 1, 1, 16, 3, 3, 1, 1, 1, 1, 16, 1, 1, 1, 1, 1, 1},
    {"groups of two", 2, 20, 6, 8, 20, 3, 3, 1, 1, 1, 1, 10, 1, 1, 1, 1, 6, 8},
    {"groups of four, stride 2", 1, 24, 7, 8, 24, 3, 3, 2, 2, 1, 1, 6, 1, 1, 1, 1, 4, 4},
    {"groups of eight", 2, 24, 5, 8, 24, 3, 3, 1, 1, 1, 1, 3, 1, 1, 1, 1, 5, 8},
    {"groups of three to five", 2, 9, 6, 8, 15, 3, 3, 1, 1, 1, 1, 3, 1, 1, 1, 1, 6, 8},
    {"groups of twenty to six, stride 2", 2, 40, 7, 8, 12, 3, 2, 2, 2, 1, 2, 2, 1, 1, 0, 1, 3, 4},
    {"1x1 in groups of ten", 2, 20, 3, 8, 40, 1, 1, 1, 1, 1, 1, 2, 0, 0, 0, 0, 3, 8},
    {"1x1", 2, 31, 3, 8, 7, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 3, 8},
    {"1x1 with stride", 2, 16, 5, 15, 32, 1, 1, 2, 3, 1, 1, 1, 0, 0, 0, 0, 3, 5},
    {"map of one pixel", 1, 4, 1, 1, 32, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"wide row with a tail", 1, 2, 3, 33, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 33},
};
enum { N_CONV_CASES = sizeof conv_cases / sizeof *conv_cases };

/** made 0: y from x and w; 1: x from w and y; 2: w from x and y. */
static inline void conv_relation(const conv_case *c, double *x, double *w, double *y, int made)
{
    int cg = c->C / c->G, kg = c->K / c->G;
    for (int n = 0; n < c->N; n++)
        for (int k = 0; k < c->K; k++)
            for (int r = 0; r < c->OH; r++)
                for (int q = 0; q < c->OW; q++)
                    for (int ci = 0; ci < cg; ci++)
                        for (int h = 0; h < c->KH; h++)
                            for (int i = 0; i < c->KW; i++) {
                                int row = r * c->SH + h * c->DH - c->top,
                                    col = q * c->SW + i * c->DW - c->left;
                                if (row < 0 || row >= c->H || col < 0 || col >= c->W)
                                    continue;
                                size_t xi =
                                    (((size_t)n * (size_t)c->C + (size_t)(k / kg * cg + ci)) *
                                         (size_t)c->H +
                                     (size_t)row) *
                                        (size_t)c->W +
                                    (size_t)col;
                                size_t wi = (((size_t)k * (size_t)cg + (size_t)ci) * (size_t)c->KH +
                                             (size_t)h) *
                                                (size_t)c->KW +
                                            (size_t)i;
                                size_t yi =
                                    (((size_t)n * (size_t)c->K + (size_t)k) * (size_t)c->OH +
                                     (size_t)r) *
                                        (size_t)c->OW +
                                    (size_t)q;
                                if (made == 0)
                                    y[yi] += x[xi] * w[wi];
                                else if (made == 1)
                                    x[xi] += y[yi] * w[wi];
                                else
                                    w[wi] += x[xi] * y[yi];
                            }
}

static inline void conv_add_bias(double *y, const double *b, int N, int K, int pixels)
{
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++)
            for (int p = 0; p < pixels; p++)
                y[(n * K + k) * pixels + p] += b[k];
}

static inline rig_input conv_input(int a, int b, int c, int d)
{
    return (rig_input){
        .dtype = KL_F32, .shape = kl__shape4(a, b, c, d), .fill = RIG_INTEGER, .lo = -4, .hi = 4};
}

static inline rig_input conv_bias(int k)
{
    return (rig_input){.dtype = KL_F32, .shape = {1, {k}}, .fill = RIG_INTEGER, .lo = -8, .hi = 8};
}

static inline kl_conv2d_opts conv_opts(const conv_case *c)
{
    return (kl_conv2d_opts){.filters = c->K,
                            .kernel = {c->KH, c->KW},
                            .stride = {c->SH, c->SW},
                            .dilation = {c->DH, c->DW},
                            .groups = c->G,
                            .pad = {KL_PAD_EXPLICIT, c->top, c->left, c->bottom, c->right}};
}

static inline kl__conv_bwd conv_bwd(const conv_case *c, int height, int width)
{
    return (kl__conv_bwd){{c->SH, c->SW}, {c->DH, c->DW}, {c->top, c->left}, c->G, {height, width}};
}

#endif
