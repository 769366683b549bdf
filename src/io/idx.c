/* IDX, the format of MNIST: 0, 0, type, n_dims, big-endian u32 dims, big-endian elements. */
#include "io/inside.h"

#include <string.h>

static bool elem_of_code(unsigned code, kl__elem *e)
{
    switch (code) {
    case 0x08:
        *e = KL__U8;
        return true;
    case 0x09:
        *e = KL__I8;
        return true;
    case 0x0b:
        *e = KL__I16;
        return true;
    case 0x0c:
        *e = KL__I32;
        return true;
    case 0x0d:
        *e = KL__F32;
        return true;
    case 0x0e:
        *e = KL__F64;
        return true;
    default:
        return false;
    }
}

static kl_status read_header(kl__reader *r, const char *path, kl__array *out)
{
    uint8_t h[4], d[4];
    int64_t dim[8] = {0};
    kl__elem elem;
    kl_status s = kl__reader_exact(r, h, sizeof h);
    if (s) {
        return s;
    }
    if (h[0] != 0 || h[1] != 0 || !elem_of_code(h[2], &elem)) {
        return kl__fail(KL_E_FORMAT, "%s: not an IDX file: it begins %02x %02x %02x %02x", path,
                        h[0], h[1], h[2], h[3]);
    }
    if (h[3] < 1 || h[3] > 8) {
        return kl__fail(KL_E_FORMAT, "%s: IDX header says %d dimensions; 1 to 8 can be read", path,
                        h[3]);
    }
    for (int i = 0; i < h[3]; i++) {
        if ((s = kl__reader_exact(r, d, sizeof d)) != KL_OK) {
            return s;
        }
        dim[i] =
            (int64_t)((uint32_t)d[0] << 24 | (uint32_t)d[1] << 16 | (uint32_t)d[2] << 8 | d[3]);
    }
    return kl__array_shape(path, out, elem, h[3], dim);
}

kl_status kl__idx_read(const char *path, kl__array *out)
{
    memset(out, 0, sizeof *out);
    kl__reader *r = kl__reader_open(path);
    if (!r) {
        return kl__last_status();
    }
    kl_status s = read_header(r, path, out);
    if (s == KL_OK) {
        s = kl__array_fill(r, path, out);
    }
    const size_t size = s ? 1 : kl__elem_size(out->elem);
    if (size > 1 && !kl__host_is_big()) {
        kl__swap(out->data, out->n_bytes / size, size);
    }
    kl__reader_close(r);
    return s;
}
