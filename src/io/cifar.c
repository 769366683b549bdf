/* CIFAR's binary files: records of label bytes and 3072 bytes of planar RGB, no header. */
#include "io/inside.h"

#include "base/mem.h"

#include <string.h>

#define PICTURE 3072u
#define RECORDS_MAX (1u << 20) /* an endless device of zeros looks like records of class 0 */
#define BATCH 64u              /* records read at a time */

/* A file has no magic, so labels out of range are the only sign of a wrong file or the wrong
 * n_label. */
static kl_status check_label(const char *path, size_t record, const uint8_t *label, int n_label)
{
    static const uint8_t classes[2][2] = {{10, 0}, {20, 100}};
    for (int k = 0; k < n_label; k++) {
        if (label[k] >= classes[n_label - 1][k]) {
            return kl__fail(KL_E_FORMAT, "%s: record %zu has label %d; CIFAR-%d has 0 to %d there",
                            path, record, label[k], n_label == 1 ? 10 : 100,
                            classes[n_label - 1][k] - 1);
        }
    }
    return KL_OK;
}

/* Takes the records apart as they come; memory grows with what the file really has. */
static kl_status read_records(kl__reader *r, const char *path, size_t n_label, uint8_t *batch,
                              uint8_t **pictures, uint8_t **labels, size_t *n)
{
    const size_t record = n_label + PICTURE;
    size_t cap_p = 0, cap_l = 0, got = 0;
    do {
        kl_status s = kl__reader_some(r, batch, BATCH * record, &got);
        if (s) {
            return s;
        }
        if (got % record) {
            return kl__fail(
                KL_E_FORMAT,
                "%s: %zu records of %zu bytes and %zu bytes more: truncated, or not CIFAR with "
                "%zu label byte%s",
                path, *n + got / record, record, got % record, n_label, n_label == 1 ? "" : "s");
        }
        const size_t k = got / record;
        if (*n + k > RECORDS_MAX) {
            return kl__fail(KL_E_FORMAT, "%s: more than %u records, which no CIFAR file has", path,
                            RECORDS_MAX);
        }
        if ((s = kl__grow(pictures, &cap_p, (*n + k) * PICTURE, 1)) != KL_OK ||
            (s = kl__grow(labels, &cap_l, (*n + k) * n_label, 1)) != KL_OK) {
            return s;
        }
        for (size_t i = 0; i < k; i++, (*n)++) {
            const uint8_t *p = batch + i * record;
            if ((s = check_label(path, *n, p, (int)n_label)) != KL_OK) {
                return s;
            }
            memcpy(*labels + *n * n_label, p, n_label);
            memcpy(*pictures + *n * PICTURE, p + n_label, PICTURE);
        }
    } while (got == BATCH * record);
    return *n ? KL_OK : kl__fail(KL_E_FORMAT, "%s: empty, where CIFAR records were expected", path);
}

kl_status kl__cifar_read(const char *path, int n_label, kl__array *images, kl__array *labels)
{
    kl_status s = KL_OK;
    uint8_t *batch = NULL, *pic = NULL, *lab = NULL;
    kl__reader *r = NULL;
    size_t n = 0;
    memset(images, 0, sizeof *images);
    memset(labels, 0, sizeof *labels);
    if (n_label != 1 && n_label != 2) {
        return kl__fail(KL_E_ARG, "%s: CIFAR records have 1 or 2 label bytes, not %d", path,
                        n_label);
    }
    if (!(r = kl__reader_open(path)) || !(batch = kl__alloc(BATCH * ((size_t)n_label + PICTURE)))) {
        s = kl__last_status();
        goto out;
    }
    if ((s = read_records(r, path, (size_t)n_label, batch, &pic, &lab, &n)) != KL_OK) {
        goto out;
    }
    const int64_t pd[4] = {(int64_t)n, 3, 32, 32}, ld[2] = {(int64_t)n, n_label};
    if ((s = kl__array_shape(path, images, KL__U8, 4, pd)) != KL_OK ||
        (s = kl__array_shape(path, labels, KL__U8, 2, ld)) != KL_OK) {
        memset(images, 0, sizeof *images);
        goto out;
    }
    images->data = pic;
    labels->data = lab;
    pic = lab = NULL;
out:
    kl__free(pic);
    kl__free(lab);
    kl__free(batch);
    kl__reader_close(r);
    return s;
}
