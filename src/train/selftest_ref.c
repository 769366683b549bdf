/* References in double, as the definitions say, for what everything else stands on. */
#include "train/selftest.h"

#include "ops/conv2d.h"
#include "ops/matmul.h"

#include <math.h>
#include <string.h>

static const double *in_of(const kl__values *in, const char *name)
{
    const kl__value *v = kl__value_find(in, name);
    return v ? v->v : NULL;
}

/** Where the expected numbers of a result go; NULL where the case has none of that name. */
static double *want_of(const kl__values *out, const char *name, size_t *n)
{
    const kl__value *v = kl__value_find(out, name);
    *n = v ? v->n : 0;
    return v ? v->want : NULL;
}

static const kl__apply *apply_of(const kl_graph *g, const char *name)
{
    for (size_t i = 0; i < g->n_applies; i++)
        if (!strcmp(g->applies[i]->name, name))
            return g->applies[i];
    return NULL;
}

/* ---- convolution: sum over all (x, w, y) that meet ---- */
typedef struct arrays {
    const double *x, *w, *y;
    double *to; /* the one that is made */
} arrays;

/** One cell of y, one input channel: all taps. */
static void taps(const kl__conv *c, kl__conv_pass pass, const arrays *a, size_t xc, size_t wc,
                 size_t yi, const int at[2])
{
    for (int i = 0; i < c->kernel[0]; i++)
        for (int k = 0; k < c->kernel[1]; k++) {
            int h = at[0] * c->stride[0] - c->pad[0] + i * c->dilation[0];
            int w = at[1] * c->stride[1] - c->pad[1] + k * c->dilation[1];
            if (h < 0 || w < 0 || h >= c->in[0] || w >= c->in[1])
                continue;
            size_t xi = (xc * (size_t)c->in[0] + (size_t)h) * (size_t)c->in[1] + (size_t)w;
            size_t wi = (wc * (size_t)c->kernel[0] + (size_t)i) * (size_t)c->kernel[1] + (size_t)k;
            if (pass == KL__CONV_FWD)
                a->to[yi] += a->x[xi] * a->w[wi];
            else if (pass == KL__CONV_DATA)
                a->to[xi] += a->y[yi] * a->w[wi];
            else
                a->to[wi] += a->x[xi] * a->y[yi];
        }
}

static void relate(const kl__conv *c, kl__conv_pass pass, arrays a)
{
    size_t per = (size_t)(c->C / c->G), out_per = (size_t)(c->K / c->G), yi = 0;
    for (size_t n = 0; a.to && n < (size_t)c->N; n++)
        for (size_t k = 0; k < (size_t)c->K; k++)
            for (int h = 0; h < c->out[0]; h++)
                for (int w = 0; w < c->out[1]; w++, yi++)
                    for (size_t j = 0; j < per; j++)
                        taps(c, pass, &a, n * (size_t)c->C + k / out_per * per + j, k * per + j, yi,
                             (int[2]){h, w});
}

/** [N,C,cells]: adds b to y, or sums y into db. */
static void add_bias(const double *b, double *y, size_t channels, size_t cells, size_t n)
{
    for (size_t i = 0; b && y && i < n; i++)
        y[i] += b[i / cells % channels];
}

static void sum_bias(const double *dy, double *db, size_t channels, size_t cells, size_t n)
{
    for (size_t i = 0; db && i < n; i++)
        db[i / cells % channels] += dy[i];
}

void kl__ref_conv(const kl_graph *g, const kl__values *in, kl__values *out)
{
    const kl__apply *a = apply_of(g, "y");
    kl__conv c = kl__conv_of(a);
    bool straight = c.pass == KL__CONV_FWD;
    size_t n, n_y;
    const double *x = in_of(in, "x"), *w = in_of(in, "y.weight"), *b = in_of(in, "y.bias"),
                 *dy = in_of(in, "seed:y");
    double *y = want_of(out, "y", &n_y);
    size_t channels = (size_t)a->out[0]->desc.shape.dim[1];
    size_t cells = (size_t)(a->out[0]->desc.shape.dim[2] * a->out[0]->desc.shape.dim[3]);
    if (straight) {
        relate(&c, KL__CONV_FWD, (arrays){x, w, NULL, y});
        relate(&c, KL__CONV_DATA, (arrays){NULL, w, dy, want_of(out, "y by x", &n)});
        relate(&c, KL__CONV_WEIGHTS, (arrays){x, NULL, dy, want_of(out, "y by y.weight", &n)});
    } else { /* the layer's input is the relation's y */
        relate(&c, KL__CONV_DATA, (arrays){NULL, w, x, y});
        relate(&c, KL__CONV_FWD, (arrays){dy, w, NULL, want_of(out, "y by x", &n)});
        relate(&c, KL__CONV_WEIGHTS, (arrays){dy, NULL, x, want_of(out, "y by y.weight", &n)});
    }
    add_bias(b, y, channels, cells, n_y);
    sum_bias(dy, want_of(out, "y by y.bias", &n), channels, cells, n_y);
}

/* ---- products ---- */
void kl__ref_product(const kl_graph *g, const kl__values *in, kl__values *out)
{
    kl__product p = kl__product_of(apply_of(g, "y"));
    bool dense = in_of(in, "x") != NULL;
    const double *a = in_of(in, dense ? "x" : "a"), *b = in_of(in, dense ? "y.weight" : "b"),
                 *dy = in_of(in, "seed:y");
    size_t n, n_y, M = (size_t)p.m, N = (size_t)p.n, K = (size_t)p.k;
    double *y = want_of(out, "y", &n_y), *da = want_of(out, dense ? "y by x" : "y by a", &n);
    double *db = want_of(out, dense ? "y by y.weight" : "y by b", &n);
    for (size_t s = 0; s < (size_t)p.batch; s++)
        for (size_t i = 0; i < M; i++)
            for (size_t j = 0; j < N; j++)
                for (size_t k = 0; k < K; k++) {
                    size_t at = s * M * K + (p.ta ? k * M + i : i * K + k),
                           bt = s * K * N + (p.tb ? j * K + k : k * N + j);
                    size_t yt = s * M * N + i * N + j;
                    y[yt] += a[at] * b[bt];
                    da[at] += dy[yt] * b[bt];
                    db[bt] += dy[yt] * a[at];
                }
    add_bias(in_of(in, "y.bias"), y, N, 1, n_y);
    sum_bias(dy, want_of(out, "y by y.bias", &n), N, 1, n_y);
}

/* ---- reductions of x [A,B,C]: sum over A and C, mean over B, largest over C ---- */
void kl__ref_reduce(const kl_graph *g, const kl__values *in, kl__values *out)
{
    const int64_t *d = kl_graph_find((kl_graph *)(uintptr_t)g, "x")->desc.shape.dim;
    size_t A = (size_t)d[0], B = (size_t)d[1], C = (size_t)d[2], n;
    const double *x = in_of(in, "x");
    const double *da = in_of(in, "seed:a"), *dm = in_of(in, "seed:m"), *dh = in_of(in, "seed:h");
    double *a = want_of(out, "a", &n), *m = want_of(out, "m", &n), *h = want_of(out, "h", &n);
    double *ax = want_of(out, "a by x", &n), *mx = want_of(out, "m by x", &n),
           *hx = want_of(out, "h by x", &n);
    for (size_t i = 0; i < A; i++)
        for (size_t j = 0; j < B; j++) {
            size_t row = (i * B + j) * C, best = row;
            for (size_t k = 0; k < C; k++) {
                a[j] += x[row + k];
                m[i * C + k] += x[row + k] / (double)B;
                ax[row + k] = da[j];
                mx[row + k] = dm[i * C + k] / (double)B;
                if (x[row + k] > x[best])
                    best = row + k;
            }
            h[i * B + j] = x[best];
            hx[best] = dh[i * B + j];
        }
}

/* ---- softmax cross-entropy of x [N,K] with smoothing 0.1 ---- */
void kl__ref_xent(const kl_graph *g, const kl__values *in, kl__values *out)
{
    const int64_t *d = kl_graph_find((kl_graph *)(uintptr_t)g, "x")->desc.shape.dim;
    size_t N = (size_t)d[0], K = (size_t)d[1], n;
    const double *x = in_of(in, "x"), *label = in_of(in, "label"), *dy = in_of(in, "seed:y"),
                 e = (double)0.1f;
    double *y = want_of(out, "y", &n), *dx = want_of(out, "y by x", &n);
    for (size_t i = 0; i < N; i++) {
        const double *r = x + i * K;
        double sum = 0;
        for (size_t k = 0; k < K; k++)
            sum += exp(r[k]);
        for (size_t k = 0; k < K; k++) {
            double t = ((double)k == label[i] ? 1 - e : 0) + e / (double)K;
            y[0] += t * (log(sum) - r[k]) / (double)N;
            dx[i * K + k] = dy[0] * (exp(r[k]) / sum - t) / (double)N;
        }
    }
}

/* ---- element-wise: numbers with their derivative ---- */
typedef struct dual {
    double v, d;
} dual;

static dual plus(dual a, dual b)
{
    return (dual){a.v + b.v, a.d + b.d};
}

static dual times(dual a, dual b)
{
    return (dual){a.v * b.v, a.d * b.v + a.v * b.d};
}

/** f(a) from its value and its slope at a. */
static dual chain(dual a, double v, double slope)
{
    return (dual){v, slope * a.d};
}

static dual sigmoid(dual a)
{
    double s = 1 / (1 + exp(-a.v));
    return chain(a, s, s * (1 - s));
}

/** The graph of the case, line by line. */
static dual unary(dual x)
{
    double t = tanh(x.v), slope = (double)0.1f, factor = (double)0.3f;
    dual p = chain(x, log1p(exp(x.v)), sigmoid(x).v), minus = {-1, 0};
    dual a1 = x.v < 0 ? (dual){0, 0} : x;
    dual a2 = x.v < 0 ? (dual){slope * x.v, slope * x.d} : x;
    dual a3 = x.v < 0 ? chain(x, expm1(x.v), exp(x.v)) : x;
    dual a4 = times(x, sigmoid((dual){1.5 * x.v, 1.5 * x.d}));
    dual a5 = sigmoid(x), a6 = chain(x, t, 1 - t * t);
    dual a8 = x.v < 0 || x.v > 0.75 ? (dual){x.v < 0 ? 0 : 6, 0} : (dual){8 * x.v, 8 * x.d};
    dual b1 = chain(x, exp(x.v), exp(x.v)), b2 = chain(p, log(p.v), 1 / p.v);
    dual b3 = chain(p, sqrt(p.v), 0.5 / sqrt(p.v)), b4 = times(x, x), b5 = times(minus, x);
    dual b6 = x.v < 0 ? b5 : x, b7 = {factor * x.v + 2, factor * x.d};
    dual s4 = times(b1, chain(b7, 1 / b7.v, -1 / (b7.v * b7.v)));
    dual t1 = plus(plus(plus(a1, a8), a2), times(a3, a4));
    dual t2 = plus(plus(a5, times(minus, a6)), s4);
    return plus(plus(t1, t2), times(plus(plus(b2, b3), times(b4, b5)), b6));
}

void kl__ref_unary(const kl_graph *g, const kl__values *in, kl__values *out)
{
    size_t n;
    const double *x = in_of(in, "x"), *dy = in_of(in, "seed:y");
    double *y = want_of(out, "y", &n), *dx = want_of(out, "y by x", &n);
    (void)g;
    for (size_t i = 0; i < n; i++) {
        dual r = unary((dual){x[i], 1});
        y[i] = r.v;
        dx[i] = r.d * dy[i];
    }
}
