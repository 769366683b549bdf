/* Data sets as the commands want them. */
#include "data.h"
#include "term.h"

#include <stdlib.h>
#include <string.h>

kl_dataset *data_open(const char *spec, int *code)
{
    kl_dataset *d = kl_dataset_open(spec);
    *code = d ? 0 : fail_status(KL_OK);
    return d;
}

/* ---- validation
 * ---------------------------------------------------------------------------------------- */

static bool is_fraction(const char *s, double *out)
{
    char *end;
    *out = strtod(s, &end);
    return end != s && *end == 0;
}

static int split(kl_dataset *train, double fraction, uint64_t seed, kl_dataset **val, char **what)
{
    if (fraction <= 0 || fraction >= 1) {
        return fail(EXIT_USAGE, "--val %g: a fraction lies between 0 and 1; 0 is none", fraction);
    }
    const kl_status s = kl_dataset_split(train, fraction, seed, val);
    if (s) {
        return fail_status(s);
    }
    if (kl_dataset_count(*val) == 0) {
        kl_dataset_destroy(*val);
        *val = NULL;
        *what = must_copy("none: the data is too little to part with any of it");
        return 0;
    }
    *what = must_print("%zu samples held out of the training data (%.3g of each class)",
                       kl_dataset_count(*val), fraction);
    return 0;
}

/* The test part that belongs to the data, if it has one. Not there is no error; damaged is one. */
static int test_part(const char *spec, kl_dataset **val, char **what)
{
    const size_t n = strlen(spec);
    if (n > 5 && !strcmp(spec + n - 5, ":test")) {
        return 0;
    }
    const bool train = n > 6 && !strcmp(spec + n - 6, ":train");
    char *test = must_print("%.*s:test", (int)(train ? n - 6 : n), spec);
    *val = kl_dataset_open(test);
    const bool damaged = !*val && kl_last_status() == KL_E_FORMAT;
    if (*val) {
        *what = must_print("%s, %zu samples", test, kl_dataset_count(*val));
    }
    free(test);
    return damaged ? fail_status(KL_OK) : 0;
}

int data_open_val(kl_dataset *train, const char *spec, const char *val_option, uint64_t seed,
                  kl_dataset **val, char **what)
{
    double fraction;
    int code = 0;
    *val = NULL;
    *what = NULL;
    if (val_option && is_fraction(val_option, &fraction)) {
        code = fraction == 0 ? 0 : split(train, fraction, seed, val, what);
    } else if (val_option && strcmp(val_option, "none") != 0) {
        *val = data_open(val_option, &code);
        *what = *val ? must_print("%s, %zu samples", val_option, kl_dataset_count(*val)) : NULL;
    } else if (!val_option) {
        code = test_part(spec, val, what);
        if (code == 0 && !*val) {
            code = split(train, 0.1, seed, val, what);
        }
    }
    if (code == 0 && !*what) {
        *what = must_copy("none");
    }
    return code;
}

/* ---- what the model sees
 * ---------------------------------------------------------------------------------- */

int data_normalise(const net *n, kl_dataset *train, kl_dataset *val)
{
    kl_normalise v = n->norm;
    const kl_status s = n->has_norm ? KL_OK : kl_dataset_statistics(train, &v);
    if (s) {
        return fail_status(s);
    }
    kl_dataset_set_normalise(train, &v);
    kl_dataset_set_normalise(val, &v);
    return 0;
}

int data_augment(kl_dataset *d, const char *text)
{
    kl_augment g = {0};
    for (const char *s = text; *s;) {
        const int n = (int)strcspn(s, ",");
        int pixels = 0, used = 0;
        if (!strncmp(s, "flip-vertical", 13) && n == 13) {
            g.flip_vertical = true;
        } else if (!strncmp(s, "flip", 4) && n == 4) {
            g.flip = true;
        } else if (sscanf(s, "shift=%d%n", &pixels, &used) == 1 && used == n && pixels > 0 &&
                   pixels < 4096) {
            g.shift = pixels;
        } else if (sscanf(s, "crop=%d%n", &pixels, &used) == 1 && used == n && pixels > 0 &&
                   pixels < 4096) {
            g.crop_pad = pixels;
        } else if (strcmp(s, "none") != 0) {
            return fail(
                EXIT_USAGE,
                "--augment: \"%.*s\" is none of flip, flip-vertical, shift=PIXELS, crop=PIXELS", n,
                s);
        }
        s += n + (s[n] == ',');
    }
    kl_dataset_set_augment(d, &g);
    return 0;
}

int data_check(const net *n, const kl_dataset *d)
{
    char a[96], b[96];
    const kl_shape sample = kl_dataset_shape(d);
    if (kl_shape_count(sample) != kl_shape_count(n->sample)) {
        return fail(EXIT_RUN, "the samples are %s, %s takes %s", shape_text(a, sample), n->name,
                    shape_text(b, n->sample));
    }
    if (n->labels && kl_dataset_classes(d) == 0) {
        return fail(EXIT_RUN, "%s learns from labels, and the data has none", n->name);
    }
    if (n->labels && n->scores && kl_dataset_classes(d) > n->n_scores) {
        return fail(EXIT_RUN, "the data has %d classes, %s tells %d apart", kl_dataset_classes(d),
                    n->name, n->n_scores);
    }
    return 0;
}
