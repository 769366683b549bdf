/* Pictures from files: which decoder, EXIF orientation, and the conversion to planar u8. */
#include "io/inside.h"

#include "base/mem.h"

#include <string.h>

#define FILE_MAX ((size_t)1 << 28) /* packed bytes */

kl_status kl__pixels_make(const char *path, kl__pixels *px, size_t max_pixels, size_t most)
{
    size_t n = 0;
    if (px->width == 0 || px->height == 0) {
        return kl__fail(KL_E_FORMAT, "%s: picture of %zu x %zu pixels", path, px->width,
                        px->height);
    }
    if (!kl__mul(px->width, px->height, &n) || n > max_pixels) {
        return kl__fail(KL_E_UNSUPPORTED,
                        "%s: picture of %zu x %zu pixels; at most %zu pixels are read", path,
                        px->width, px->height, max_pixels);
    }
    if (n > most) {
        return kl__fail(KL_E_FORMAT,
                        "%s: says %zu x %zu pixels, more than a file of its length can hold", path,
                        px->width, px->height);
    }
    size_t bytes = 0;
    if (!kl__mul(n, (size_t)px->channels, &bytes)) {
        return kl__no_memory(SIZE_MAX);
    }
    px->data = kl__alloc(bytes);
    return px->data ? KL_OK : kl__last_status();
}

static uint32_t get16(const uint8_t *p, bool big)
{
    return big ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t get32(const uint8_t *p, bool big)
{
    return big ? get16(p, big) << 16 | get16(p + 2, big) : get16(p + 2, big) << 16 | get16(p, big);
}

int kl__exif_orientation(const uint8_t *t, size_t n)
{
    if (n < 8 || (memcmp(t, "II*\0", 4) != 0 && memcmp(t, "MM\0*", 4) != 0)) {
        return 1;
    }
    const bool big = t[0] == 'M';
    const size_t ifd = get32(t + 4, big);
    if (ifd > n - 2) {
        return 1;
    }
    const size_t count = get16(t + ifd, big);
    for (size_t i = 0; i < count && ifd + 2 + (i + 1) * 12 <= n; i++) {
        const uint8_t *e = t + ifd + 2 + i * 12; /* tag, type (3: u16), count, value */
        if (get16(e, big) == 0x0112 && get16(e + 2, big) == 3 && get32(e + 4, big) == 1) {
            const uint32_t v = get16(e + 8, big);
            return v >= 1 && v <= 8 ? (int)v : 1;
        }
    }
    return 1;
}

/* Where pixel (y, x) of the upright picture lies in the stored one: first + y * down + x * right.
 */
typedef struct walk {
    size_t width, height; /* upright */
    ptrdiff_t first, down, right;
} walk;

static walk orient(const kl__pixels *px)
{
    const ptrdiff_t w = (ptrdiff_t)px->width, h = (ptrdiff_t)px->height, last = w * h - 1;
    const bool turned = px->orientation >= 5;
    walk k = {turned ? px->height : px->width, turned ? px->width : px->height, 0, 0, 0};
    switch (px->orientation) {
    case 2:
        k.first = w - 1, k.down = w, k.right = -1;
        break; /* mirrored */
    case 3:
        k.first = last, k.down = -w, k.right = -1;
        break; /* upside down */
    case 4:
        k.first = last - w + 1, k.down = -w, k.right = 1;
        break;
    case 5:
        k.first = 0, k.down = 1, k.right = w;
        break; /* transposed */
    case 6:
        k.first = last - w + 1, k.down = 1, k.right = -w;
        break; /* to be turned right */
    case 7:
        k.first = last, k.down = -1, k.right = -w;
        break;
    case 8:
        k.first = w - 1, k.down = -1, k.right = w;
        break; /* to be turned left */
    default:
        k.first = 0, k.down = w, k.right = 1;
        break;
    }
    return k;
}

static uint8_t on_white(unsigned v, unsigned alpha)
{
    return (uint8_t)((v * alpha + 255 * (255 - alpha) + 127) / 255);
}

/* One stored pixel to `channels` values; grey is BT.601 luma, rounded. */
static void convert(const uint8_t *p, int from, int channels, uint8_t *dst)
{
    const bool grey = from <= 2;
    uint8_t c[3] = {p[0], grey ? p[0] : p[1], grey ? p[0] : p[2]};
    if (from == 2 || from == 4) {
        const uint8_t alpha = p[from - 1];
        for (int i = 0; i < 3; i++) {
            c[i] = on_white(c[i], alpha);
        }
    }
    if (channels == 3) {
        memcpy(dst, c, 3);
    } else {
        dst[0] = grey ? c[0] : (uint8_t)((299u * c[0] + 587u * c[1] + 114u * c[2] + 500u) / 1000u);
    }
}

static kl_status to_planar(const char *path, const kl__pixels *px, int channels, kl__array *out)
{
    const int ch = channels ? channels : px->channels <= 2 ? 1 : 3;
    const walk k = orient(px);
    const int64_t dim[3] = {ch, (int64_t)k.height, (int64_t)k.width};
    kl_status s = kl__array_shape(path, out, KL__U8, 3, dim);
    if (s) {
        return s;
    }
    uint8_t *dst = kl__alloc(out->n_bytes);
    if (!dst) {
        memset(out, 0, sizeof *out);
        return kl__last_status();
    }
    out->data = dst;
    const size_t plane = k.width * k.height;
    for (size_t y = 0; y < k.height; y++) {
        for (size_t x = 0; x < k.width; x++, dst++) {
            uint8_t v[3];
            const ptrdiff_t at = k.first + (ptrdiff_t)y * k.down + (ptrdiff_t)x * k.right;
            convert(px->data + at * px->channels, px->channels, ch, v);
            for (int c = 0; c < ch; c++) {
                dst[(size_t)c * plane] = v[c];
            }
        }
    }
    return KL_OK;
}

kl_status kl__image_read(const char *path, int channels, size_t max_pixels, kl__array *out)
{
    uint8_t *file = NULL;
    size_t n = 0;
    kl__pixels px = {.orientation = 1};
    memset(out, 0, sizeof *out);
    if (channels != 0 && channels != 1 && channels != 3) {
        return kl__fail(KL_E_ARG,
                        "%s: pictures are read with 1 or 3 channels (0: as the file), not %d", path,
                        channels);
    }
    if (max_pixels == 0) {
        max_pixels = (size_t)1 << 28;
    }
    kl_status s = kl__file_read(path, FILE_MAX, &file, &n);
    if (s) {
        return s;
    }
    if (n >= 8 && !memcmp(file, "\x89PNG\r\n\x1a\n", 8)) {
        s = kl__png_decode(path, file, n, max_pixels, &px);
    } else if (n >= 3 && !memcmp(file, "\xff\xd8\xff", 3)) {
        s = kl__jpeg_decode(path, file, n, max_pixels, &px);
    } else {
        s = kl__fail(KL_E_FORMAT, n ? "%s: neither PNG nor JPEG" : "%s: empty file", path);
    }
    kl__free(file);
    if (s == KL_OK) {
        s = to_planar(path, &px, channels, out);
    }
    kl__free(px.data);
    return s;
}
