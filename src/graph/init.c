/* Initial values: on the host, in double, rounded once; element i depends on (seed, name, i) alone.
 * Scales as Glorot & Bengio 2010, He et al. 2015 and LeCun et al. 1998 have them, TORCH as
 * PyTorch's Linear and Conv start. */
#include "graph/init.h"

#include "base/hash.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>

typedef enum law_kind { CONSTANT, UNIFORM, NORMAL, TRUNCATED } law_kind;
typedef struct distribution {
    law_kind law;
    double a, b; /* constant a; a..b; mean a, sigma b */
} distribution;

/* A normal cut at 2 sigma has this standard deviation. */
static const double CUT = 0.87962566103423978;

/** Fans of [out, in, k...]; both are the length for rank 1. */
static void fans(const kl__leaf *l, double *in, double *out)
{
    double window = 1;
    const kl_shape *s = &l->shape;
    for (int i = 2; i < s->n_dims; i++)
        window *= (double)s->dim[i];
    *out = s->n_dims > 0 ? (double)s->dim[0] * window : 1;
    *in = s->n_dims > 1 ? (double)s->dim[1] * window : *out;
    if (l->init.fan_in > 0)
        *in = l->init.fan_in;
    if (l->init.fan_out > 0)
        *out = l->init.fan_out;
    *in = *in < 1 ? 1 : *in;
    *out = *out < 1 ? 1 : *out;
}

static distribution scaled(law_kind law, double scale, double fan)
{
    double variance = scale / fan;
    if (law == UNIFORM)
        return (distribution){UNIFORM, -sqrt(3 * variance), sqrt(3 * variance)};
    return (distribution){law, 0, law == TRUNCATED ? sqrt(variance) / CUT : sqrt(variance)};
}

static distribution distribution_of(const kl__leaf *l)
{
    const kl_init *i = &l->init;
    double in, out, sigma = i->b == 0 ? 1 : (double)i->b;
    fans(l, &in, &out);
    switch (i->kind) {
    case KL_INIT_DEFAULT:
        return l->shape.n_dims >= 2 ? scaled(NORMAL, 2, in) : (distribution){CONSTANT, 0, 0};
    case KL_INIT_ZEROS:
        return (distribution){CONSTANT, 0, 0};
    case KL_INIT_ONES:
        return (distribution){CONSTANT, 1, 0};
    case KL_INIT_CONSTANT:
        return (distribution){CONSTANT, (double)i->a, 0};
    case KL_INIT_UNIFORM:
        return (distribution){UNIFORM, (double)i->a, (double)i->b};
    case KL_INIT_NORMAL:
        return (distribution){NORMAL, (double)i->a, sigma};
    case KL_INIT_TRUNC_NORMAL:
        return (distribution){TRUNCATED, (double)i->a, sigma};
    case KL_INIT_HE_NORMAL:
        return scaled(NORMAL, 2, in);
    case KL_INIT_HE_UNIFORM:
        return scaled(UNIFORM, 2, in);
    case KL_INIT_HE_TRUNC:
        return scaled(TRUNCATED, 2, in);
    case KL_INIT_GLOROT_NORMAL:
        return scaled(NORMAL, 2, in + out);
    case KL_INIT_GLOROT_UNIFORM:
        return scaled(UNIFORM, 2, in + out);
    case KL_INIT_GLOROT_TRUNC:
        return scaled(TRUNCATED, 2, in + out);
    case KL_INIT_LECUN_NORMAL:
        return scaled(NORMAL, 1, in);
    case KL_INIT_LECUN_UNIFORM:
        return scaled(UNIFORM, 1, in);
    case KL_INIT_LECUN_TRUNC:
        return scaled(TRUNCATED, 1, in);
    case KL_INIT_TORCH:
        break;
    }
    return (distribution){UNIFORM, -1 / sqrt(in), 1 / sqrt(in)};
}

/** The stream's id without making the text "init/NAME": FNV-1a goes on where it stopped. */
static uint32_t stream_of(const char *name)
{
    uint32_t h = kl__fnv1a("init/");
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return h;
}

void kl__init_fill(const kl__leaf *l, const char *name, uint64_t seed, float *dst)
{
    const int64_t count = kl_shape_count(l->shape);
    const distribution d = distribution_of(l);
    const kl__rng r = {seed, stream_of(name), 0};
    for (int64_t i = 0; i < count; i++) {
        double v = d.a;
        if (d.law == UNIFORM)
            v = d.a + (d.b - d.a) * (double)kl__rng_uniform(r, (uint64_t)i);
        else if (d.law == NORMAL)
            v = d.a + d.b * kl__rng_normal(r, (uint64_t)i);
        else if (d.law == TRUNCATED)
            v = d.a + d.b * kl__rng_trunc_normal(r, (uint64_t)i);
        dst[i] = (float)v;
    }
}
