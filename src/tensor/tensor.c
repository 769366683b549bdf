/* kl_tensor: counted handles on spans of device memory. */
#include "tensor/tensor.h"

#include "base/mem.h"


static int count_add(int *refs, int d)
{
    return __atomic_add_fetch(refs, d, __ATOMIC_ACQ_REL);
}

kl_tensor *kl__tensor_wrap(kl_ctx *ctx, kl__span span, kl_dtype dtype, kl_shape shape)
{
    kl_tensor *t = kl__calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->ctx = ctx;
    t->span = span;
    kl__mem_retain(span.mem);
    t->dtype = dtype;
    t->shape = shape;
    t->refs = 1;
    return t;
}

kl_tensor *kl_tensor_create(kl_ctx *ctx, kl_dtype dtype, kl_shape shape)
{
    char buf[96];
    kl__desc d = {.dtype = dtype, .shape = shape};
    size_t bytes;
    if (!ctx) {
        kl__fail(KL_E_ARG, "kl_tensor_create: ctx is NULL");
        return NULL;
    }
    if (!kl__desc_legal(&d))
        return NULL;
    if (!kl__desc_bytes(&d, &bytes)) {
        kl__fail(KL_E_SHAPE, "a tensor of shape %s cannot be made: its batch size is not known",
                 kl__shape_str(shape, buf));
        return NULL;
    }
    kl__mem *m = kl__mem_create(ctx, bytes);
    if (!m) {
        kl__fail_in(kl__last_status(), "tensor %s %s", kl_dtype_name(dtype),
                    kl__shape_str(shape, buf));
        return NULL;
    }
    kl_tensor *t = kl__tensor_wrap(ctx, (kl__span){m, 0}, dtype, shape);
    kl__mem_release(m);
    return t;
}

kl_tensor *kl_tensor_retain(kl_tensor *t)
{
    if (t)
        count_add(&t->refs, 1);
    return t;
}

void kl_tensor_release(kl_tensor *t)
{
    if (!t || count_add(&t->refs, -1) > 0)
        return;
    kl__mem_release(t->span.mem);
    kl__free(t);
}

kl_tensor *kl_tensor_view(kl_tensor *t, int64_t first, kl_shape shape)
{
    char buf[96];
    if (!t) {
        kl__fail(KL_E_ARG, "kl_tensor_view: tensor is NULL");
        return NULL;
    }
    int64_t n = kl_shape_count(shape), have = kl_shape_count(t->shape);
    if (n < 0 || first < 0 || first > have || n > have - first) {
        kl__fail(KL_E_SHAPE,
                 "view %s at element %lld does not lie inside a tensor of %lld elements",
                 kl__shape_str(shape, buf), (long long)first, (long long)have);
        return NULL;
    }
    kl__span span = t->span;
    span.offset += (size_t)first * kl_dtype_size(t->dtype);
    return kl__tensor_wrap(t->ctx, span, t->dtype, shape);
}

static kl_status check_bytes(const kl_tensor *t, const void *p, size_t bytes, const char *call)
{
    if (!t)
        return kl__fail(KL_E_ARG, "%s: tensor is NULL", call);
    size_t want = kl_tensor_bytes(t);
    if (bytes != want)
        return kl__fail(KL_E_ARG, "%s: the tensor has %zu bytes, %zu were given", call, want,
                        bytes);
    if (want && !p)
        return kl__fail(KL_E_ARG, "%s: host memory is NULL", call);
    return KL_OK;
}

kl_status kl_tensor_write(kl_tensor *t, const void *src, size_t src_bytes)
{
    kl_status st = check_bytes(t, src, src_bytes, "kl_tensor_write");
    if (st != KL_OK || src_bytes == 0)
        return st;
    /* On the compute lane: it comes after every pass that reads t, and later passes come after it.
     */
    return kl__lane_write(kl__ctx_lane(t->ctx, KL__COMPUTE), t->span, src, src_bytes, NULL);
}

kl_status kl_tensor_read(kl_tensor *t, void *dst, size_t dst_bytes)
{
    kl_status st = check_bytes(t, dst, dst_bytes, "kl_tensor_read");
    if (st != KL_OK || dst_bytes == 0)
        return st;
    return kl__lane_read(kl__ctx_lane(t->ctx, KL__COMPUTE), t->span, dst, dst_bytes, NULL);
}

kl_dtype kl_tensor_dtype(const kl_tensor *t)
{
    return t ? t->dtype : KL_F32;
}

kl_shape kl_tensor_shape(const kl_tensor *t)
{
    return t ? t->shape : (kl_shape){0, {0}};
}

size_t kl_tensor_bytes(const kl_tensor *t)
{
    kl__desc d = {.dtype = kl_tensor_dtype(t), .shape = kl_tensor_shape(t)};
    size_t bytes = 0;
    return t && kl__desc_bytes(&d, &bytes) ? bytes : 0;
}

kl_ctx *kl_tensor_ctx(const kl_tensor *t)
{
    return t ? t->ctx : NULL;
}
