/* PNG by libpng, read and written in memory. Errors come back by longjmp to the setjmp of the
 * function that called libpng; what must outlive the jump lies in the job, which that function's
 * caller cleans up. */
#include "io/inside.h"

#include "base/mem.h"

#include <setjmp.h>
#include <string.h>

#include <png.h>

#define CHUNK_MAX 8000000u /* of what libpng may allocate for one ancillary chunk */

typedef struct job {
    png_structp png;
    png_infop info;
    const char *path;
    kl_status status;
    /* reading */
    const uint8_t *file;
    size_t n, at, max_pixels;
    kl__pixels *px;
    int passes;
    /* writing */
    const kl__array *src;
    uint8_t *row, *out;
    size_t out_n, out_cap;
} job;

static void on_error(png_structp png, png_const_charp text)
{
    job *j = png_get_error_ptr(png);
    if (j->status == KL_OK) {
        j->status = kl__fail(KL_E_FORMAT, "%s: PNG: %s", j->path, text);
    }
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    const job *j = png_get_error_ptr(png);
    kl__log(KL_LOG_DEBUG, "%s: PNG: %s", j->path, text);
}

static png_voidp get_memory(png_structp png, png_alloc_size_t n)
{
    job *j = png_get_mem_ptr(png);
    void *p = kl__alloc(n);
    if (!p) {
        j->status = kl__last_status();
    }
    return p;
}

static void put_memory(png_structp png, png_voidp p)
{
    (void)png;
    kl__free(p);
}

static void get_bytes(png_structp png, png_bytep dst, size_t n)
{
    job *j = png_get_io_ptr(png);
    if (n > j->n - j->at) {
        j->status = kl__fail(KL_E_FORMAT, "%s: PNG: truncated after %zu bytes", j->path, j->n);
        png_error(png, "truncated");
    }
    memcpy(dst, j->file + j->at, n);
    j->at += n;
}

/* All kinds become 8-bit grey or RGB, alpha kept where there is some. The size is checked before
 * libpng makes its row buffers. */
static kl_status make_pixels(job *j)
{
    kl__pixels *px = j->px;
    const int kind = png_get_color_type(j->png, j->info);
    px->width = png_get_image_width(j->png, j->info);
    px->height = png_get_image_height(j->png, j->info);
    px->channels =
        (kind & PNG_COLOR_MASK_COLOR ? 3 : 1) +
        (kind & PNG_COLOR_MASK_ALPHA || png_get_valid(j->png, j->info, PNG_INFO_tRNS) ? 1 : 0);
    const int bits = png_get_bit_depth(j->png, j->info) * png_get_channels(j->png, j->info);
    size_t most; /* deflate makes at most 1032 bytes of one */
    if (!kl__mul(j->n, 1032 * 8, &most)) {
        most = SIZE_MAX;
    }
    kl_status s = kl__pixels_make(j->path, px, j->max_pixels, most / (size_t)bits);
    if (s) {
        return s;
    }
    png_set_expand(j->png);   /* palettes, 1, 2 and 4 bits, tRNS */
    png_set_strip_16(j->png); /* the high byte */
    j->passes = png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
    if (png_get_rowbytes(j->png, j->info) != px->width * (size_t)px->channels) {
        return kl__fail(KL_E_UNSUPPORTED, "%s: PNG of a kind that does not become 8 bits", j->path);
    }
    return KL_OK;
}

static int orientation(job *j)
{
    int o = 1;
#ifdef PNG_eXIf_SUPPORTED
    png_uint_32 n = 0;
    png_bytep exif = NULL;
    if (png_get_eXIf_1(j->png, j->info, &n, &exif) && exif) {
        o = kl__exif_orientation(exif, n);
    }
#endif
    return o;
}

/* The only function of reading that errors jump out of. */
static bool read_png(job *j)
{
    if (setjmp(png_jmpbuf(j->png))) {
        return false;
    }
    png_set_read_fn(j->png, j, get_bytes);
    png_set_user_limits(j->png, 0x7fffffff, 0x7fffffff); /* the limit is on pixels */
    png_set_chunk_malloc_max(j->png, CHUNK_MAX);
    png_set_chunk_cache_max(j->png, 128);
    png_read_info(j->png, j->info);
    if ((j->status = make_pixels(j)) != KL_OK) {
        return false;
    }
    const size_t stride = j->px->width * (size_t)j->px->channels;
    for (int p = 0; p < j->passes; p++) {
        for (size_t y = 0; y < j->px->height; y++) {
            png_read_row(j->png, j->px->data + y * stride, NULL);
        }
    }
    png_read_end(j->png, j->info);
    j->px->orientation = orientation(j);
    return true;
}

kl_status kl__png_decode(const char *path, const uint8_t *file, size_t n, size_t max_pixels,
                         kl__pixels *px)
{
    job j = {.path = path, .file = file, .n = n, .max_pixels = max_pixels, .px = px};
    bool ok = false;
    j.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning, &j,
                                     get_memory, put_memory);
    if (j.png) {
        j.info = png_create_info_struct(j.png);
    }
    if (j.info) {
        ok = read_png(&j);
    } else {
        j.status = kl__fail(KL_E_MEMORY, "%s: PNG: no memory for the decoder", path);
    }
    png_destroy_read_struct(j.png ? &j.png : NULL, j.info ? &j.info : NULL, NULL);
    if (!ok) {
        kl__free(px->data);
        px->data = NULL;
    }
    return ok ? KL_OK : j.status;
}

static void put_bytes(png_structp png, png_bytep src, size_t n)
{
    job *j = png_get_io_ptr(png);
    size_t need;
    if (!kl__add(j->out_n, n, &need) ||
        (j->status = kl__grow(&j->out, &j->out_cap, need, 1)) != KL_OK) {
        png_error(png, "no memory");
    }
    memcpy(j->out + j->out_n, src, n);
    j->out_n = need;
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

/* The only function of writing that errors jump out of. */
static bool write_png(job *j)
{
    const size_t ch = (size_t)j->src->dim[0], h = (size_t)j->src->dim[1],
                 w = (size_t)j->src->dim[2];
    const uint8_t *src = j->src->data;
    if (setjmp(png_jmpbuf(j->png))) {
        return false;
    }
    png_set_write_fn(j->png, j, put_bytes, flush_nothing);
    png_set_IHDR(j->png, j->info, (png_uint_32)w, (png_uint_32)h, 8,
                 ch == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(j->png, j->info);
    for (size_t y = 0; y < h; y++) {
        for (size_t x = 0; x < w; x++) {
            for (size_t c = 0; c < ch; c++) {
                j->row[x * ch + c] = src[(c * h + y) * w + x];
            }
        }
        png_write_row(j->png, j->row);
    }
    png_write_end(j->png, j->info);
    return true;
}

static bool is_picture(const kl__array *a)
{
    return a->elem == KL__U8 && a->n_dims == 3 && (a->dim[0] == 1 || a->dim[0] == 3) &&
           a->dim[1] >= 1 && a->dim[2] >= 1 && a->dim[1] <= 1000000 &&
           a->dim[2] <= 1000000 && /* libpng's own limit */
           a->n_bytes == (size_t)(a->dim[0] * a->dim[1] * a->dim[2]);
}

kl_status kl__png_encode(const kl__array *a, uint8_t **data, size_t *n)
{
    job j = {.path = "picture", .src = a};
    bool ok = false;
    *data = NULL;
    *n = 0;
    if (!is_picture(a)) {
        return kl__fail(KL_E_ARG,
                        "a PNG is made of u8 [1 or 3, height, width], sides of 1 to 1000000");
    }
    if (!(j.row = kl__alloc((size_t)(a->dim[0] * a->dim[2])))) {
        return kl__last_status();
    }
    j.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning, &j,
                                      get_memory, put_memory);
    if (j.png) {
        j.info = png_create_info_struct(j.png);
    }
    if (j.info) {
        ok = write_png(&j);
    } else {
        j.status = kl__fail(KL_E_MEMORY, "PNG: no memory for the encoder");
    }
    png_destroy_write_struct(j.png ? &j.png : NULL, j.info ? &j.info : NULL);
    kl__free(j.row);
    if (!ok) {
        kl__free(j.out);
        return j.status;
    }
    *data = j.out;
    *n = j.out_n;
    return KL_OK;
}

kl_status kl__png_write(const char *path, const kl__array *a)
{
    uint8_t *data;
    size_t n;
    kl_status s = kl__png_encode(a, &data, &n);
    if (s) {
        return kl__fail_in(s, "%s", path);
    }
    s = kl__file_write(path, data, n);
    kl__free(data);
    return s;
}
