/* Output sizes and SAME padding of sliding windows. */
#include "ops/geom.h"

void kl__geom_pair(const int *given, int dflt, int out[2])
{
    int h = given ? given[0] : 0, w = given ? given[1] : 0;
    out[0] = h == 0 ? dflt : h;
    out[1] = w == 0 ? out[0] : w;
}

/* The padding of one axis: `before` and `after` from the mode. */
static void pad_axis(const kl__geom *g, int i, kl_pad_mode mode, int given_before, int given_after,
                     int *before, int *after)
{
    *before = *after = 0;
    if (mode == KL_PAD_EXPLICIT) {
        *before = given_before;
        *after = given_after;
    } else if (mode == KL_PAD_SAME || mode == KL_PAD_SAME_LOWER) {
        int64_t out = (g->in[i] + g->stride[i] - 1) / g->stride[i];
        int64_t total = (out - 1) * g->stride[i] + kl__geom_extent(g, i) - g->in[i];
        if (total > 0) {
            int half = (int)(total / 2), rest = (int)(total - total / 2);
            *before = mode == KL_PAD_SAME ? half : rest;
            *after = mode == KL_PAD_SAME ? rest : half;
        }
    }
}

static kl_status check_given(const char *op, const char *name, const kl__geom *g, kl_pad pad)
{
    enum { LIMIT = 1 << 24 }; /* sums and products below stay far inside 64 bits, pads inside 32 */
    static const char *const words[] = {"window", "stride", "dilation"};
    const int *const pairs[] = {g->window, g->stride, g->dilation};
    for (int i = 0; i < 3; i++)
        if (pairs[i][0] < 1 || pairs[i][1] < 1 || pairs[i][0] > LIMIT || pairs[i][1] > LIMIT)
            return kl__fail(KL_E_ARG, "%s \"%s\": %s %dx%d must be at least 1x1", op, name,
                            words[i], pairs[i][0], pairs[i][1]);
    for (int i = 0; i < 2; i++)
        if (kl__geom_extent(g, i) > LIMIT)
            return kl__fail(KL_E_ARG, "%s \"%s\": window %d with dilation %d is too large", op,
                            name, g->window[i], g->dilation[i]);
    if ((unsigned)pad.mode > KL_PAD_VALID)
        return kl__fail(KL_E_ARG, "%s \"%s\": unknown padding mode %d", op, name, (int)pad.mode);
    if (pad.mode == KL_PAD_EXPLICIT &&
        (pad.top < 0 || pad.left < 0 || pad.bottom < 0 || pad.right < 0 || pad.top > LIMIT ||
         pad.left > LIMIT || pad.bottom > LIMIT || pad.right > LIMIT))
        return kl__fail(KL_E_ARG, "%s \"%s\": padding (%d, %d, %d, %d) must not be negative", op,
                        name, pad.top, pad.left, pad.bottom, pad.right);
    return KL_OK;
}

kl_status kl__geom_resolve(const char *op, const char *name, const int window[2], const int *stride,
                           const int *dilation, kl_pad pad, bool ceil_mode, int64_t h, int64_t w,
                           kl__geom *g)
{
    *g = (kl__geom){.in = {h, w}};
    kl__geom_pair(window, 0, g->window);
    kl__geom_pair(stride, 1, g->stride);
    kl__geom_pair(dilation, 1, g->dilation);
    kl_status status = check_given(op, name, g, pad);
    if (status != KL_OK)
        return status;
    if (h < 1 || w < 1 || h > INT_MAX || w > INT_MAX)
        return kl__fail(KL_E_SHAPE,
                        "%s \"%s\": input height %lld and width %lld must be known and positive",
                        op, name, (long long)h, (long long)w);
    pad_axis(g, 0, pad.mode, pad.top, pad.bottom, &g->pad[0], &g->pad[2]);
    pad_axis(g, 1, pad.mode, pad.left, pad.right, &g->pad[1], &g->pad[3]);
    for (int i = 0; i < 2; i++) {
        int64_t room = g->in[i] + g->pad[i] + g->pad[i + 2] - kl__geom_extent(g, i);
        if (room < 0)
            return kl__fail(KL_E_SHAPE,
                            "%s \"%s\": window of %lld cells does not fit %s %lld with padding "
                            "%d and %d",
                            op, name, (long long)kl__geom_extent(g, i), i ? "width" : "height",
                            (long long)g->in[i], g->pad[i], g->pad[i + 2]);
        g->out[i] =
            (ceil_mode ? (room + g->stride[i] - 1) / g->stride[i] : room / g->stride[i]) + 1;
        if (ceil_mode && (g->out[i] - 1) * g->stride[i] >= g->in[i] + g->pad[i])
            g->out[i]--;
    }
    return KL_OK;
}
