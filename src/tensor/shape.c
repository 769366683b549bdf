/* Shapes, dtypes, layouts: sizes that cannot wrap. */
#include "tensor/tensor.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const struct {
    size_t size;
    const char *name;
} dtypes[] = {[KL_F32] = {4, "f32"},
              [KL_F16] = {2, "f16"},
              [KL_I32] = {4, "i32"},
              [KL_U8] = {1, "u8"},
              [KL_F64] = {8, "f64"}};

size_t kl_dtype_size(kl_dtype dtype)
{
    return (size_t)dtype < sizeof dtypes / sizeof *dtypes ? dtypes[dtype].size : 0;
}

const char *kl_dtype_name(kl_dtype dtype)
{
    return (size_t)dtype < sizeof dtypes / sizeof *dtypes ? dtypes[dtype].name : "unknown";
}

int64_t kl_shape_count(kl_shape s)
{
    int64_t n = 1;
    bool zero = false;
    if (s.n_dims < 0 || s.n_dims > KL_MAX_DIMS)
        return -1;
    for (int i = 0; i < s.n_dims; i++) {
        if (s.dim[i] < 0)
            return -1;
        zero |= s.dim[i] == 0;
    }
    if (zero)
        return 0;
    for (int i = 0; i < s.n_dims; i++)
        if (!kl__mul64(n, s.dim[i], &n))
            return -1;
    return n;
}

bool kl_shape_equal(kl_shape a, kl_shape b)
{
    if (a.n_dims != b.n_dims)
        return false;
    for (int i = 0; i < a.n_dims; i++)
        if (a.dim[i] != b.dim[i])
            return false;
    return true;
}

bool kl__layout_equal(const kl__layout *a, const kl__layout *b)
{
    if (a->kind != b->kind)
        return false;
    return a->kind == KL__PLAIN ||
           (a->block == b->block && !memcmp(a->halo, b->halo, sizeof a->halo));
}

bool kl__desc_elems(const kl__desc *d, size_t *elems)
{
    int64_t n = kl_shape_count(d->shape);
    if (n < 0)
        return false;
    if (d->layout.kind != KL__PLAIN && n > 0) {
        int64_t c = d->layout.block, dim[5];
        const int64_t *s = d->shape.dim;
        const int *h = d->layout.halo;
        if (d->layout.kind == KL__NCHWC) {
            dim[0] = s[0];
            dim[1] = (s[1] + c - 1) / c;
            dim[2] = s[2] + h[0] + h[2];
            dim[3] = s[3] + h[1] + h[3];
            dim[4] = c;
        } else if (d->layout.kind == KL__OIHWC || d->layout.kind == KL__OIHWCT) {
            dim[0] = (s[0] + c - 1) / c;
            dim[1] = (s[1] + c - 1) / c;
            dim[2] = s[2];
            dim[3] = s[3];
            dim[4] = c * c;
        } else {
            int64_t o = (s[0] + c - 1) / c, i = (s[1] + c - 1) / c, rows;
            if (!kl__mul64(o, i, &rows) || !kl__mul64(rows, c, &rows))
                return false;
            dim[0] = 36;
            dim[1] = rows + 1;
            dim[2] = dim[3] = 1;
            dim[4] = c;
        }
        n = 1;
        for (int i = 0; i < 5; i++)
            if (!kl__mul64(n, dim[i], &n))
                return false;
    }
    if (n > INT32_MAX)
        return false;
    *elems = (size_t)n;
    return true;
}

bool kl__desc_bytes(const kl__desc *d, size_t *bytes)
{
    size_t n;
    return kl__desc_elems(d, &n) && kl__mul(n, kl_dtype_size(d->dtype), bytes);
}

bool kl__desc_legal(const kl__desc *d)
{
    char buf[96];
    kl_shape s = d->shape;
    if (s.n_dims < 0 || s.n_dims > KL_MAX_DIMS)
        return kl__fail(KL_E_SHAPE, "rank %d; 0 to %d are possible", s.n_dims, KL_MAX_DIMS) ==
               KL_OK;
    if (!kl_dtype_size(d->dtype))
        return kl__fail(KL_E_SHAPE, "unknown dtype %d", (int)d->dtype) == KL_OK;
    for (int i = 0; i < s.n_dims; i++) {
        if (s.dim[i] < KL_BATCH)
            return kl__fail(KL_E_SHAPE, "dimension %d is %lld", i, (long long)s.dim[i]) == KL_OK;
        if (s.dim[i] == KL_BATCH)
            s.dim[i] = 1;
    }
    int64_t n = kl_shape_count(s);
    if (n < 0 || n > INT32_MAX)
        return kl__fail(KL_E_UNSUPPORTED, "%s has more than 2^31 - 1 elements",
                        kl__shape_str(d->shape, buf)) == KL_OK;
    return true;
}

void kl__put_shape(kl__text *t, kl_shape s)
{
    kl__put(t, "[");
    for (int i = 0; i < s.n_dims && i < KL_MAX_DIMS; i++) {
        if (s.dim[i] == KL_BATCH)
            kl__put(t, "%sN", i ? "," : "");
        else
            kl__put(t, "%s%lld", i ? "," : "", (long long)s.dim[i]);
    }
    kl__put(t, "]");
}

const char *kl__shape_str(kl_shape s, char buf[96])
{
    size_t at = 0;
    buf[at++] = '[';
    for (int i = 0; i < s.n_dims && i < KL_MAX_DIMS; i++) {
        int n = s.dim[i] == KL_BATCH
                    ? snprintf(buf + at, 96 - at, "%sN", i ? "," : "")
                    : snprintf(buf + at, 96 - at, "%s%lld", i ? "," : "", (long long)s.dim[i]);
        if (n < 0 || (size_t)n >= 94 - at)
            break;
        at += (size_t)n;
    }
    buf[at++] = ']';
    buf[at] = 0;
    return buf;
}
