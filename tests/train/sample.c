/* What a data set gives: memory, splitting, statistics, normalisation, augmentation. */
#include "support.h"

#include "base/rng.h"
#include "train/dataset.h"
#include "train/meta.h"

#include <math.h>
#include <stdlib.h>

enum { C = 2, H = 5, W = 7, PER = C * H * W, MANY = 90 };

/* Numbers 1, 2, 3, ... so that every place of every sample is told from every other. */
static kl_dataset *counting(size_t n, const int32_t *labels, int n_classes)
{
    float *x = malloc(n * PER * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n * PER; i++) {
        x[i] = (float)(i + 1);
    }
    const kl_shape s = {3, {C, H, W}};
    kl_dataset *d = kl_dataset_from_memory(x, labels, n, s, n_classes);
    free(x);
    assert_non_null(d);
    return d;
}

static void refuse_memory(const float *x, const int32_t *labels, size_t n, kl_shape s, int k,
                          kl_status status, const char *part)
{
    assert_null(kl_dataset_from_memory(x, labels, n, s, k));
    assert_int_equal(kl__last_status(), status);
    if (!strstr(kl_last_error(), part)) {
        fail_msg("\"%s\" expected in \"%s\"", part, kl_last_error());
    }
}

static void from_memory(void **state)
{
    (void)state;
    const float x[4] = {1, 2, NAN, 4};
    const int32_t good[2] = {0, 1}, low[2] = {0, -1}, high[2] = {0, 2};
    const kl_shape s = {1, {2}}, none = {1, {0}}, big = {2, {INT32_MAX, INT32_MAX}};
    kl_dataset *d = kl_dataset_from_memory(x, good, 2, s, 0);
    assert_int_equal(kl_dataset_classes(d), 2); /* 0: counted */
    assert_sample(d, 0, x, 2, 0);
    assert_int_equal(kl_dataset_get(d, 2, NULL, NULL), KL_E_ARG);
    kl_dataset_destroy(d);
    d = kl_dataset_from_memory(x, good, 2, s, 5);
    assert_int_equal(kl_dataset_classes(d), 5);
    kl_dataset_destroy(d);
    refuse_memory(x, low, 2, s, 2, KL_E_FORMAT, "the label of sample 1 is -1");
    refuse_memory(x, high, 2, s, 2, KL_E_FORMAT, "the label of sample 1 is 2; there are 2 classes");
    refuse_memory(x, good, 0, s, 2, KL_E_ARG, "no samples");
    refuse_memory(NULL, good, 2, s, 2, KL_E_ARG, "no samples");
    refuse_memory(x, good, 2, none, 2, KL_E_SHAPE, "[0]");
    refuse_memory(x, good, SIZE_MAX, big, 2, KL_E_SHAPE, "not possible");
    refuse_memory(x, good, 2, s, -1, KL_E_ARG, "-1 classes");
    kl_dataset_destroy(NULL);
    assert_int_equal(kl_dataset_count(NULL), 0);
}

/* ---- splitting -------------------------------------------------------------------------- */

static size_t number_of(const kl_dataset *d, size_t i)
{
    float x[PER];
    assert_int_equal(kl_dataset_get(d, i, x, NULL), KL_OK);
    return (size_t)(x[0] - 1) / PER;
}

/* Which samples go, worked out from the sentence in data.h. */
static void reference_split(const int32_t *labels, uint64_t seed, double fraction, bool goes[MANY])
{
    uint32_t order[MANY];
    kl__rng_shuffle(seed, 0, order, MANY);
    for (int k = 0; k < 3; k++) {
        size_t of_class[MANY], n = 0;
        for (size_t i = 0; i < MANY; i++) {
            if (labels[order[i]] == k) {
                of_class[n++] = order[i];
            }
        }
        const size_t keep = n - (size_t)floor((double)n * fraction);
        for (size_t i = 0; i < n; i++) {
            goes[of_class[i]] = i >= keep;
        }
    }
}

static void split(void **state)
{
    (void)state;
    int32_t labels[MANY];
    for (int i = 0; i < MANY; i++) {
        labels[i] = i < 50 ? 0 : i < 83 ? 1 : 2; /* 50, 33 and 7 */
    }
    for (uint64_t seed = 0; seed < 4; seed++) {
        bool goes[MANY];
        kl_dataset *d = counting(MANY, labels, 3), *rest;
        const kl_normalise n = {1, {0}, {2}};
        kl_dataset_set_normalise(d, &n);
        assert_int_equal(kl_dataset_split(d, 0.2, seed, &rest), KL_OK);
        kl_normalise kept;
        kl_dataset_get_normalise(rest, &kept);
        assert_true(kept.n == 1 && kept.std[0] == 2);
        kl_dataset_set_normalise(d, NULL);
        kl_dataset_set_normalise(rest, NULL);
        assert_int_equal(kl_dataset_count(rest), 10 + 6 + 1);
        assert_int_equal(kl_dataset_count(d), MANY - 17);
        reference_split(labels, seed, 0.2, goes);
        size_t a = 0, b = 0;
        for (size_t i = 0; i < MANY; i++) {
            int32_t label;
            assert_int_equal(number_of(goes[i] ? rest : d, goes[i] ? b : a), i);
            kl_dataset_get(goes[i] ? rest : d, goes[i] ? b++ : a++, NULL, &label);
            assert_int_equal(label, labels[i]);
        }
        kl_dataset_destroy(d); /* the rest lives on */
        assert_int_equal(kl_dataset_count(rest), 17);
        assert_true(number_of(rest, 16) >= 83);
        kl_dataset_destroy(rest);
    }
}

static void split_again_and_refused(void **state)
{
    (void)state;
    kl_dataset *d = counting(MANY, NULL, 0), *a, *b, *c;
    bool seen[MANY] = {false};
    assert_int_equal(kl_dataset_split(d, 0.29, 1, &a), KL_OK); /* 0.29 * 100 is 28.99 in double */
    assert_int_equal(kl_dataset_count(a), 26);
    assert_int_equal(kl_dataset_split(a, 0.5, 2, &b), KL_OK);
    assert_int_equal(kl_dataset_count(a) + kl_dataset_count(b), 26);
    const kl_dataset *all[] = {d, a, b};
    for (size_t k = 0; k < 3; k++) {
        for (size_t i = 0; i < kl_dataset_count(all[k]); i++) {
            const size_t n = number_of(all[k], i);
            assert_false(seen[n]);
            seen[n] = true;
        }
    }
    for (size_t i = 0; i < MANY; i++) {
        assert_true(seen[i]);
    }
    assert_int_equal(kl_dataset_split(d, 0.001, 1, &c), KL_E_ARG);
    assert_null(c);
    assert_int_equal(kl_dataset_split(d, 1, 1, &c), KL_E_ARG);
    assert_int_equal(kl_dataset_split(d, NAN, 1, &c), KL_E_ARG);
    assert_int_equal(kl_dataset_count(d), 64);
    kl_dataset_destroy(d);
    kl_dataset_destroy(a);
    kl_dataset_destroy(b);
}

/* ---- statistics and normalisation ------------------------------------------------------- */

static void statistics_of_numbers(void **state)
{
    (void)state;
    const float x[] = {1, 5, 2, 5, 4, 5, 5, 5}; /* 4 samples of 2 features, the second constant */
    const kl_shape s = {1, {2}}, wide = {1, {17}};
    kl_normalise n;
    kl_dataset *d = kl_dataset_from_memory(x, NULL, 4, s, 0);
    assert_int_equal(kl_dataset_statistics(d, &n), KL_OK);
    assert_int_equal(n.n, 2);
    assert_true(n.mean[0] == 3 && n.mean[1] == 5 && n.std[1] == 1);
    assert_true(n.std[0] == (float)sqrt(10.0 / 4));
    kl_dataset_set_normalise(d, &n);
    assert_sample(d, 0, (const float[]){(1 - n.mean[0]) / n.std[0], 0}, 2, -1);
    kl_dataset_destroy(d);
    float y[34];
    for (int i = 0; i < 34; i++) {
        y[i] = (float)(i % 2 ? 3 : -1);
    }
    d = kl_dataset_from_memory(y, NULL, 2, wide, 0); /* more than 16: one pair */
    assert_int_equal(kl_dataset_statistics(d, &n), KL_OK);
    assert_true(n.n == 1 && n.mean[0] == 1 && n.std[0] == 2);
    kl_dataset_destroy(d);
    y[20] = NAN;
    d = kl_dataset_from_memory(y, NULL, 2, wide, 0);
    assert_int_equal(kl_dataset_statistics(d, &n), KL_E_NUMERIC);
    assert_non_null(strstr(kl_last_error(), "sample 1, value 3 is NaN"));
    assert_int_equal(n.n, 0);
    kl_dataset_destroy(d);
}

/* Bytes, per channel, against a plain sum in double; and the table of 256 gives the formula's bits.
 */
static void statistics_of_bytes(void **state)
{
    (void)state;
    uint8_t b[4 * 3 * 4];
    kl_normalise n;
    for (size_t i = 0; i < sizeof b; i++) {
        b[i] = (uint8_t)(i * 37 + i / 16);
    }
    put_idx("rgb-idx", b, 4, (uint32_t[]){4, 3, 2, 2});
    kl_dataset *d = open_spec("idx:%s", at("rgb-idx"));
    assert_int_equal(kl_dataset_statistics(d, &n), KL_OK);
    assert_int_equal(n.n, 3);
    for (size_t c = 0; c < 3; c++) {
        double sum = 0, square = 0;
        for (size_t i = 0; i < 16; i++) {
            sum += b[i / 4 * 12 + c * 4 + i % 4] / 255.0;
        }
        for (size_t i = 0; i < 16; i++) {
            square += pow(b[i / 4 * 12 + c * 4 + i % 4] / 255.0 - sum / 16, 2);
        }
        assert_true(fabs((double)n.mean[c] - sum / 16) < 1e-7);
        assert_true(fabs((double)n.std[c] - sqrt(square / 16)) < 1e-7);
    }
    kl_dataset_set_normalise(d, &n);
    float want[12];
    for (size_t i = 0; i < 12; i++) {
        want[i] = ((float)b[12 + i] / 255.0f - n.mean[i / 4]) / n.std[i / 4];
    }
    assert_sample(d, 1, want, 12, -1);
    kl_dataset_destroy(d);
}

static void normalisation_that_does_not_fit(void **state)
{
    (void)state;
    kl_dataset *d = counting(1, NULL, 0);
    float x[PER];
    const kl_normalise three = {3, {0}, {1, 1, 1}}, zero = {1, {0}, {0}},
                       nan = {2, {NAN, 0}, {1, 1}};
    kl_dataset_set_normalise(d, &three);
    assert_int_equal(kl_dataset_get(d, 0, x, NULL), KL_E_SHAPE);
    kl_dataset_set_normalise(d, &zero);
    assert_int_equal(kl_dataset_get(d, 0, x, NULL), KL_E_ARG);
    kl_dataset_set_normalise(d, &nan);
    assert_null(kl_loader_create(d, NULL, 0, 0));
    kl_dataset_set_normalise(d, NULL);
    assert_int_equal(kl_dataset_get(d, 0, x, NULL), KL_OK);
    kl_dataset_destroy(d);
}

static void normalisation_as_text(void **state)
{
    (void)state;
    const kl_normalise n = {3, {0.1f, 1.0f / 3, -7e-9f}, {1, 0.2860405f, 3e20f}};
    kl_normalise got;
    kl__text t = {0};
    kl__put_normalise(&t, &n);
    assert_true(kl__parse_normalise(t.s, &got));
    assert_memory_equal(&got, &n, sizeof n);
    assert_true(kl__parse_normalise(";", &got) && got.n == 0);
    const char *bad[] = {"", "1", "1;", "1;2,3", "1,2;3", "a;1", "1;1x", "1 ;1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (kl__parse_normalise(bad[i], &got)) {
            fail_msg("\"%s\" was taken", bad[i]);
        }
    }
    kl__text_free(&t);
}

/* ---- augmentation ----------------------------------------------------------------------- */

static float pick(const float *plane, long y, long x)
{
    return y >= 0 && y < H && x >= 0 && x < W ? plane[y * W + x] : 0;
}

/* One plane by the definition, one operation after the other: window, shift, flips. */
static void reference(const float *in, const kl_augment *a, uint64_t seed, uint32_t epoch,
                      size_t number, float *out)
{
    float window[H * W], shifted[H * W];
    const kl__rng r = kl__rng_of(seed, "augment", epoch);
    long draw[6];
    for (uint64_t k = 0; k < 6; k++) {
        const uint32_t reach = (uint32_t)(k < 2 ? 0 : k < 4 ? a->shift : a->crop_pad);
        const uint32_t below = k < 2 ? 2 : 2 * reach + 1;
        const uint64_t word = kl__rng_u32(r, 8 * (uint64_t)number + k);
        draw[k] = (long)(word * below >> 32) - (long)reach;
    }
    for (long y = 0; y < H; y++) {
        for (long x = 0; x < W; x++) {
            window[y * W + x] = pick(in, y + draw[4], x + draw[5]);
        }
    }
    for (long y = 0; y < H; y++) {
        for (long x = 0; x < W; x++) {
            shifted[y * W + x] = pick(window, y + draw[2], x + draw[3]);
        }
    }
    for (long y = 0; y < H; y++) {
        for (long x = 0; x < W; x++) {
            const long fy = a->flip_vertical && draw[1] ? H - 1 - y : y;
            const long fx = a->flip && draw[0] ? W - 1 - x : x;
            out[y * W + x] = shifted[fy * W + fx];
        }
    }
}

static void augmentation(void **state)
{
    (void)state;
    const kl_augment ways[] = {{true, false, 0, 0},  {false, true, 0, 0}, {false, false, 2, 0},
                               {false, false, 0, 4}, {true, true, 3, 2},  {true, true, 4, 4}};
    kl_dataset *d = counting(MANY, NULL, 0);
    float plain[PER], got[PER], want[H * W];
    size_t changed = 0;
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        kl_dataset_set_augment(d, &ways[k]);
        assert_int_equal(kl__dataset_check_augment(d), KL_OK);
        for (size_t i = 0; i < MANY; i++) {
            kl_dataset_get(d, i, plain, NULL);
            kl__dataset_fill_augmented(d, i, 42 + k, (uint32_t)k, got);
            changed += memcmp(plain, got, sizeof got) != 0;
            for (size_t c = 0; c < C; c++) {
                reference(plain + c * H * W, &ways[k], 42 + k, (uint32_t)k, i, want);
                assert_memory_equal(got + c * H * W, want, sizeof want);
            }
        }
    }
    assert_true(changed > 3 * MANY && changed < 6 * MANY);
    kl_dataset_destroy(d);
}

/* What moves in is the data's zero, so normalised; and a set that was split draws as before. */
static void augmentation_zero_and_number(void **state)
{
    (void)state;
    kl_dataset *d = counting(MANY, NULL, 0), *rest;
    const kl_normalise n = {2, {10, 20}, {2, 4}};
    const kl_augment a = {false, false, 4, 0};
    float x[PER];
    kl_dataset_set_normalise(d, &n);
    kl_dataset_set_augment(d, &a);
    size_t zeros[C] = {0};
    for (size_t i = 0; i < MANY; i++) {
        kl__dataset_fill_augmented(d, i, 1, 0, x);
        for (size_t k = 0; k < PER; k++) {
            zeros[k / (H * W)] += x[k] == -5;
        }
    }
    assert_true(zeros[0] > MANY && zeros[1] > MANY);
    assert_int_equal(kl_dataset_split(d, 0.5, 3, &rest), KL_OK);
    const kl_loader_opts o = {.batch = 1, .augment = true, .seed = 1};
    kl_loader *l = kl_loader_create(rest, &o, 0, 0);
    kl_batch b;
    for (size_t i = 0; kl_loader_next(l, &b, NULL); i++) {
        kl__dataset_fill_augmented(d, kl__dataset_number(rest, i), 1, 0, x);
        assert_memory_equal(b.x, x, sizeof x);
    }
    kl_loader_destroy(l);
    kl_dataset_destroy(d);
    kl_dataset_destroy(rest);
}

static void augmentation_that_does_not_fit(void **state)
{
    (void)state;
    const kl_shape flat = {1, {4}};
    const float x[4] = {1, 2, 3, 4};
    const kl_augment flip = {true, false, 0, 0}, far = {false, false, H, 0},
                     odd = {false, false, 0, -1};
    const kl_loader_opts with = {.augment = true}, without = {.augment = false};
    kl_dataset *d = kl_dataset_from_memory(x, NULL, 1, flat, 0);
    kl_dataset_set_augment(d, &flip);
    assert_null(kl_loader_create(d, &with, 0, 0));
    assert_int_equal(kl__last_status(), KL_E_SHAPE);
    kl_loader *l = kl_loader_create(d, &without, 0, 0);
    assert_non_null(l);
    kl_loader_destroy(l);
    kl_dataset_destroy(d);
    d = counting(1, NULL, 0);
    kl_dataset_set_augment(d, &far);
    assert_null(kl_loader_create(d, &with, 0, 0));
    assert_int_equal(kl__last_status(), KL_E_ARG);
    kl_dataset_set_augment(d, &odd);
    assert_null(kl_loader_create(d, &with, 0, 0));
    kl_dataset_destroy(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_memory),
        cmocka_unit_test(split),
        cmocka_unit_test(split_again_and_refused),
        cmocka_unit_test(statistics_of_numbers),
        cmocka_unit_test(statistics_of_bytes),
        cmocka_unit_test(normalisation_that_does_not_fit),
        cmocka_unit_test(normalisation_as_text),
        cmocka_unit_test(augmentation),
        cmocka_unit_test(augmentation_zero_and_number),
        cmocka_unit_test(augmentation_that_does_not_fit),
    };
    return cmocka_run_group_tests(tests, folder_make, tree_remove);
}
