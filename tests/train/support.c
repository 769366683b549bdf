#include "support.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

const char *make_dir(const char *name)
{
    const char *p = at(name);
    assert_int_equal(kl__make_dirs(p), KL_OK);
    return p;
}

static void remove_in(const char *dir)
{
    char **names;
    size_t n;
    if (kl__list_dir(dir, &names, &n)) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        if (kl__path_is_dir(path)) {
            remove_in(path);
        }
        remove(path);
        kl__free(names[i]);
    }
    kl__free(names);
}

int tree_remove(void **state)
{
    remove_in(at("."));
    return folder_remove(state);
}

const char *put_idx(const char *name, const uint8_t *data, int n_dims, const uint32_t *dim)
{
    uint8_t b[65536] = {0, 0, 8, (uint8_t)n_dims};
    size_t at_byte = 4, count = 1;
    for (int i = 0; i < n_dims; i++, at_byte += 4) {
        b[at_byte + 2] = (uint8_t)(dim[i] >> 8);
        b[at_byte + 3] = (uint8_t)dim[i];
        count *= dim[i];
    }
    assert_true(at_byte + count <= sizeof b);
    memcpy(b + at_byte, data, count);
    return put_file(name, b, at_byte + count);
}

const char *put_cifar(const char *name, const uint8_t *labels, size_t n, size_t n_label,
                      uint8_t first)
{
    const size_t record = n_label + 3072;
    uint8_t *b = malloc(n * record);
    assert_non_null(b);
    for (size_t i = 0; i < n; i++) {
        memcpy(b + i * record, labels + i * n_label, n_label);
        memset(b + i * record + n_label, (int)(first + i), 3072);
    }
    const char *p = put_file(name, b, n * record);
    free(b);
    return p;
}

const char *put_png(const char *name, int channels, int height, int width, uint8_t value)
{
    uint8_t b[4096];
    const size_t n = (size_t)(channels * height * width);
    kl__array a = {KL__U8, 3, {channels, height, width}, b, n};
    assert_true(n <= sizeof b);
    memset(b, value, n);
    assert_int_equal(kl__png_write(at(name), &a), KL_OK);
    return at(name);
}

const char *put_text(const char *name, const char *text)
{
    return put_file(name, text, strlen(text));
}

kl_dataset *open_spec(const char *fmt, ...)
{
    char spec[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(spec, sizeof spec, fmt, ap);
    va_end(ap);
    kl_dataset *d = kl_dataset_open(spec);
    if (!d) {
        fail_msg("%s: %s", spec, kl_last_error());
    }
    return d;
}

void refused(kl_status status, const char *part, const char *fmt, ...)
{
    char spec[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(spec, sizeof spec, fmt, ap);
    va_end(ap);
    kl_dataset *d = kl_dataset_open(spec);
    if (d) {
        fail_msg("%s was opened", spec);
    }
    if (kl__last_status() != status || !strstr(kl_last_error(), part)) {
        fail_msg("%s: %s with \"%s\" expected, got %s: \"%s\"", spec, kl_status_name(status), part,
                 kl_status_name(kl__last_status()), kl_last_error());
    }
}

void assert_sample(const kl_dataset *d, size_t i, const float *x, size_t n_values, int32_t label)
{
    float got[3072];
    int32_t got_label = -7;
    assert_true(n_values <= 3072 && kl_shape_count(kl_dataset_shape(d)) == (int64_t)n_values);
    assert_int_equal(kl_dataset_get(d, i, got, &got_label), KL_OK);
    assert_int_equal(got_label, label);
    for (size_t k = 0; k < n_values; k++) {
        if (got[k] != x[k]) {
            fail_msg("sample %zu, value %zu: %.9g expected, got %.9g", i, k, (double)x[k],
                     (double)got[k]);
        }
    }
}
