/* JPEG by libjpeg. Its errors come back by longjmp to the one setjmp below; everything that must
 * outlive the jump lies in the job, and the job is cleaned up by the caller of the function that
 * can be jumped out of. */
#include "io/inside.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

/* Progressive files may repeat scans without end, each as costly as the whole picture. */
#define SCANS_MAX 500

typedef struct job {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    const char *path;
    const uint8_t *file;
    size_t n, max_pixels;
    kl__pixels *px;
    uint8_t *row; /* CMYK only */
    long n_warnings;
    kl_status status;
} job;

static void on_error(j_common_ptr c)
{
    job *j = c->client_data;
    char text[JMSG_LENGTH_MAX];
    c->err->format_message(c, text);
    j->status = kl__fail(c->err->msg_code == JERR_OUT_OF_MEMORY ? KL_E_MEMORY : KL_E_FORMAT,
                         "%s: JPEG: %s", j->path, text);
    longjmp(j->back, 1);
}

/* A picture that lacks data would be filled with grey: that is an error here. Other damage is
 * logged once. */
static void on_message(j_common_ptr c, int level)
{
    job *j = c->client_data;
    if (level >= 0) {
        return;
    }
    if (c->err->msg_code == JWRN_JPEG_EOF) {
        j->status = kl__fail(KL_E_FORMAT, "%s: JPEG: truncated after %zu bytes", j->path, j->n);
        longjmp(j->back, 1);
    }
    if (c->err->msg_code == JWRN_HIT_MARKER) {
        j->status = kl__fail(KL_E_FORMAT, "%s: JPEG: a scan ends before the picture does", j->path);
        longjmp(j->back, 1);
    }
    if (j->n_warnings++ == 0) {
        char text[JMSG_LENGTH_MAX];
        c->err->format_message(c, text);
        kl__log(KL_LOG_WARN, "%s: JPEG: %s", j->path, text);
    }
}

static void on_output(j_common_ptr c)
{
    (void)c;
}

static void on_progress(j_common_ptr c)
{
    job *j = c->client_data;
    if (j->jpeg.input_scan_number > SCANS_MAX) {
        j->status = kl__fail(KL_E_FORMAT, "%s: JPEG: more than %d scans", j->path, SCANS_MAX);
        longjmp(j->back, 1);
    }
}

static int orientation(const struct jpeg_decompress_struct *d)
{
    for (jpeg_saved_marker_ptr m = d->marker_list; m; m = m->next) {
        if (m->marker == JPEG_APP0 + 1 && m->data_length > 6 && !memcmp(m->data, "Exif\0", 6)) {
            return kl__exif_orientation(m->data + 6, m->data_length - 6);
        }
    }
    return 1;
}

/* Adobe's files hold the four inks inverted. */
static void cmyk_to_rgb(const uint8_t *src, size_t n, bool inverted, uint8_t *dst)
{
    for (size_t i = 0; i < n; i++, src += 4, dst += 3) {
        const unsigned k = inverted ? src[3] : 255u - src[3];
        for (int c = 0; c < 3; c++) {
            const unsigned v = inverted ? src[c] : 255u - src[c];
            dst[c] = (uint8_t)((v * k + 127) / 255);
        }
    }
}

static bool choose_colours(job *j)
{
    struct jpeg_decompress_struct *d = &j->jpeg;
    switch (d->jpeg_color_space) {
    case JCS_GRAYSCALE:
        d->out_color_space = JCS_GRAYSCALE;
        break;
    case JCS_YCbCr:
    case JCS_RGB:
        d->out_color_space = JCS_RGB;
        break;
    case JCS_CMYK:
    case JCS_YCCK:
        d->out_color_space = JCS_CMYK;
        break;
    default:
        j->status =
            kl__fail(KL_E_UNSUPPORTED, "%s: JPEG of %d components in an unknown colour space",
                     j->path, d->num_components);
        return false;
    }
    j->px->channels = d->out_color_space == JCS_GRAYSCALE ? 1 : 3;
    return true;
}

/* The pixels that the file's bytes can code: Huffman coding spends at least one bit on a block's DC
 * value, and the component with most blocks has one per 8 x 8 times at most 4 x 4 pixels.
 * Arithmetic coding has no such floor. */
static size_t most_pixels(const job *j)
{
    size_t most;
    return !j->jpeg.arith_code && kl__mul(j->n, 8 * 64 * 16, &most) ? most : SIZE_MAX;
}

/* The only function that errors jump out of; false: status and sentence are set. */
static bool decode(job *j)
{
    struct jpeg_decompress_struct *d = &j->jpeg;
    if (setjmp(j->back)) {
        return false;
    }
    jpeg_create_decompress(d);
    d->progress = &j->progress;
    jpeg_mem_src(d, j->file, (unsigned long)j->n);
    jpeg_save_markers(d, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(d, TRUE);
    if (!choose_colours(j)) {
        return false;
    }
    j->px->width = d->image_width;
    j->px->height = d->image_height;
    j->px->orientation = orientation(d);
    if ((j->status = kl__pixels_make(j->path, j->px, j->max_pixels, most_pixels(j))) != KL_OK) {
        return false;
    }
    const bool cmyk = d->out_color_space == JCS_CMYK;
    if (cmyk && !(j->row = kl__alloc(j->px->width * 4))) {
        j->status = kl__last_status();
        return false;
    }
    jpeg_start_decompress(d);
    const size_t stride = j->px->width * (size_t)j->px->channels;
    while (d->output_scanline < d->output_height) {
        uint8_t *dst = j->px->data + d->output_scanline * stride;
        JSAMPROW row = cmyk ? j->row : dst;
        jpeg_read_scanlines(d, &row, 1);
        if (cmyk) {
            cmyk_to_rgb(row, j->px->width, d->saw_Adobe_marker != 0, dst);
        }
    }
    jpeg_finish_decompress(d);
    return true;
}

kl_status kl__jpeg_decode(const char *path, const uint8_t *file, size_t n, size_t max_pixels,
                          kl__pixels *px)
{
    job j;
    memset(&j, 0, sizeof j);
    j.path = path;
    j.file = file;
    j.n = n;
    j.max_pixels = max_pixels;
    j.px = px;
    j.jpeg.err = jpeg_std_error(&j.errors);
    j.jpeg.client_data = &j;
    j.errors.error_exit = on_error;
    j.errors.emit_message = on_message;
    j.errors.output_message = on_output;
    j.progress.progress_monitor = on_progress;
    const bool ok = decode(&j);
    jpeg_destroy_decompress(&j.jpeg);
    kl__free(j.row);
    if (!ok) {
        kl__free(px->data);
        px->data = NULL;
    }
    return ok ? KL_OK : j.status;
}
