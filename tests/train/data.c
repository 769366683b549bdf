/* Data sets from files: every spec, every bad input. */
#include "support.h"

#include <math.h>
#include <unistd.h>

static void assert_shape(const kl_dataset *d, int n_dims, int64_t a, int64_t b, int64_t c)
{
    const kl_shape want = {n_dims, {a, b, c}};
    assert_true(kl_shape_equal(kl_dataset_shape(d), want));
}

/* ---- IDX
 * ------------------------------------------------------------------------------------------------
 */

static const uint8_t pictures[12] = {0, 1, 2, 3, 50, 51, 52, 53, 252, 253, 254, 255};
static const uint8_t classes[3] = {2, 0, 1};

static void put_mnist(const char *images, const char *labels)
{
    put_idx(images, pictures, 3, (uint32_t[]){3, 2, 2});
    put_idx(labels, classes, 1, (uint32_t[]){3});
}

static void assert_mnist(kl_dataset *d, bool labels)
{
    float x[4];
    assert_int_equal(kl_dataset_count(d), 3);
    assert_shape(d, 3, 1, 2, 2);
    assert_int_equal(kl_dataset_classes(d), labels ? 3 : 0);
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 4; k++) {
            x[k] = (float)pictures[i * 4 + k] / 255.0f;
        }
        assert_sample(d, i, x, 4, labels ? classes[i] : -1);
    }
    kl_dataset_destroy(d);
}

/* The same three pictures by pair, by the images alone (labels beside them), and by folder; plain
 * and .gz. */
static void idx_in_every_way(void **state)
{
    (void)state;
    size_t n;
    put_mnist("x", "y");
    assert_mnist(open_spec("idx:%s,%s", at("x"), at("y")), true);
    assert_mnist(open_spec("idx:%s", at("x")), false);
    make_dir("mnist");
    put_mnist("mnist/train-images-idx3-ubyte", "mnist/train-labels-idx1-ubyte");
    assert_mnist(open_spec("%s", at("mnist/train-images-idx3-ubyte")), true);
    assert_mnist(open_spec("%s", at("mnist")), true);
    assert_mnist(open_spec("idx:%s", at("mnist")), true);
    uint8_t *b = get_file(at("x"), &n);
    put_gz("mnist/t10k-images-idx3-ubyte.gz", b, n);
    kl__free(b);
    b = get_file(at("y"), &n);
    put_gz("mnist/t10k-labels-idx1-ubyte.gz", b, n);
    kl__free(b);
    assert_mnist(open_spec("%s:test", at("mnist")), true);
    assert_mnist(open_spec("idx:%s:test", at("mnist")), true);
}

static void assert_first_labels(const kl_dataset *d, const char *digits)
{
    float x[784];
    for (size_t i = 0; digits[i]; i++) {
        int32_t label;
        assert_int_equal(kl_dataset_get(d, i, x, &label), KL_OK);
        assert_int_equal(label, digits[i] - '0');
    }
}

/* Counts, first labels and statistics as published: mean .2860, standard deviation .3530. */
static void fashion(void **state)
{
    (void)state;
    kl_normalise n;
    if (access("/usr/share/datasets/fashion-mnist", R_OK)) {
        skip();
    }
    kl_dataset *d = open_spec("fashion-mnist"), *test = open_spec("fashion-mnist:test");
    assert_int_equal(kl_dataset_count(d), 60000);
    assert_int_equal(kl_dataset_count(test), 10000);
    assert_shape(d, 3, 1, 28, 28);
    assert_int_equal(kl_dataset_classes(d), 10);
    assert_string_equal(kl_dataset_class_name(d, 0), "T-shirt/top");
    assert_string_equal(kl_dataset_class_name(test, 9), "Ankle boot");
    assert_null(kl_dataset_class_name(d, 10));
    assert_first_labels(d, "9003027255");
    assert_first_labels(test, "9211614657");
    assert_int_equal(kl_dataset_statistics(d, &n), KL_OK);
    assert_int_equal(n.n, 1);
    assert_true(fabs((double)n.mean[0] - 0.2860) < 5e-5 && fabs((double)n.std[0] - 0.3530) < 5e-5);
    kl_dataset_destroy(d);
    kl_dataset_destroy(test);
}

static void idx_refused(void **state)
{
    (void)state;
    uint8_t none = 0;
    put_mnist("x", "y");
    put_idx("two", classes, 1, (uint32_t[]){2});
    put_idx("empty", &none, 3, (uint32_t[]){0, 2, 2});
    put_idx("flat", &none, 3, (uint32_t[]){3, 0, 2});
    refused(KL_E_SHAPE, "/x has 3 samples, but ", "idx:%s,%s", at("x"), at("two"));
    refused(KL_E_SHAPE, "12 values for 3 samples", "idx:%s,%s", at("x"), at("x"));
    refused(KL_E_ARG, "no samples", "idx:%s", at("empty"));
    refused(KL_E_SHAPE, "no elements", "idx:%s", at("flat"));
    refused(KL_E_ARG, "one part too many", "idx:%s,%s,z", at("x"), at("y"));
    refused(KL_E_IO, "missing", "idx:%s,%s", at("x"), at("missing"));
    refused(KL_E_FORMAT, "not an IDX file", "idx:%s", put_text("text", "hello, world"));
}

/* ---- CIFAR ------------------------------------------------------------------------------ */

static void cifar10(void **state)
{
    (void)state;
    float x[3072];
    make_dir("c10");
    put_cifar("c10/data_batch_1.bin", (uint8_t[]){3, 9}, 2, 1, 10);
    put_cifar("c10/data_batch_2.bin", (uint8_t[]){0}, 1, 1, 12);
    put_cifar("c10/test_batch.bin", (uint8_t[]){7}, 1, 1, 99);
    for (size_t k = 0; k < 3; k++) {
        char text[2048];
        if (k == 0) {
            snprintf(text, sizeof text, "cifar10:%s,%s", at("c10/data_batch_1.bin"),
                     at("c10/data_batch_2.bin"));
        } else {
            snprintf(text, sizeof text, "%s%s", k == 1 ? "cifar10:" : "", at("c10"));
        }
        kl_dataset *d = open_spec("%s", text);
        assert_int_equal(kl_dataset_count(d), 3);
        assert_shape(d, 3, 3, 32, 32);
        assert_int_equal(kl_dataset_classes(d), 10);
        assert_string_equal(kl_dataset_class_name(d, 9), "truck");
        for (size_t i = 0; i < 3; i++) {
            for (size_t j = 0; j < 3072; j++) {
                x[j] = (float)(10 + i) / 255.0f;
            }
            assert_sample(d, i, x, 3072, (int32_t[]){3, 9, 0}[i]);
        }
        kl_dataset_destroy(d);
    }
    kl_dataset *d = open_spec("cifar10:%s:test", at("c10"));
    assert_int_equal(kl_dataset_count(d), 1);
    kl_dataset_destroy(d);
    put_cifar("bad.bin", (uint8_t[]){3, 10}, 2, 1, 0);
    refused(KL_E_FORMAT, "record 1 has label 10", "cifar10:%s", at("bad.bin"));
    make_dir("nothing");
    refused(KL_E_IO, "no data_batch_*.bin", "cifar10:%s", at("nothing"));
}

static void cifar100(void **state)
{
    (void)state;
    int32_t label;
    char names[4096] = "";
    make_dir("c100");
    put_cifar("c100/train.bin", (uint8_t[]){4, 77, 19, 0}, 2, 2, 1);
    put_cifar("c100/test.bin", (uint8_t[]){1, 2}, 1, 2, 1);
    for (int i = 0; i < 100; i++) {
        snprintf(names + strlen(names), sizeof names - strlen(names), "thing %d\n", i);
    }
    put_text("c100/fine_label_names.txt", names);
    kl_dataset *fine = open_spec("cifar100:%s", at("c100"));
    kl_dataset *coarse = open_spec("cifar100:%s,coarse", at("c100/train.bin"));
    kl_dataset *test = open_spec("%s:test", at("c100"));
    assert_int_equal(kl_dataset_classes(fine), 100);
    assert_int_equal(kl_dataset_classes(coarse), 20);
    assert_string_equal(kl_dataset_class_name(fine, 77), "thing 77");
    assert_string_equal(kl_dataset_class_name(coarse, 4), "4"); /* no file of names */
    assert_int_equal(kl_dataset_get(fine, 0, NULL, &label), KL_OK);
    assert_int_equal(label, 77);
    assert_int_equal(kl_dataset_get(coarse, 1, NULL, &label), KL_OK);
    assert_int_equal(label, 19);
    assert_int_equal(kl_dataset_count(test), 1);
    kl_dataset_destroy(fine);
    kl_dataset_destroy(coarse);
    kl_dataset_destroy(test);
}

/* ---- CSV
 * ------------------------------------------------------------------------------------------------
 */

static void csv(void **state)
{
    (void)state;
    const float a[] = {1, 2, 3, 4}, b[] = {.5f, 1, 1.5f, 2}, all[] = {1, 2, 3, 4, 5};
    put_text("t.csv", "p,q,r,s,kind\n1,2,3,4,1\n5,6,7,8,0\n");
    put_text("plain.csv", "1,2,3,4,1\n5,6,7,8,0\n");
    kl_dataset *d = open_spec("%s", at("t.csv"));
    assert_int_equal(kl_dataset_count(d), 2);
    assert_shape(d, 1, 4, 0, 0);
    assert_sample(d, 0, a, 4, 1);
    assert_string_equal(kl_dataset_class_name(d, 1), "1");
    kl_dataset_destroy(d);
    d = open_spec("csv:%s,label=kind,shape=2x2,scale=1/2", at("t.csv"));
    assert_shape(d, 3, 1, 2, 2);
    assert_sample(d, 0, b, 4, 1);
    kl_dataset_destroy(d);
    d = open_spec("csv:%s,label=first", at("plain.csv"));
    assert_sample(d, 0, (const float[]){2, 3, 4, 1}, 4, 1);
    kl_dataset_destroy(d);
    d = open_spec("csv:%s,label=2,shape=1x1x4,scale=0.5", at("plain.csv"));
    assert_sample(d, 1, (const float[]){2.5f, 3.5f, 4, 0}, 4, 6);
    kl_dataset_destroy(d);
    d = open_spec("csv:%s,label=none,shape=5", put_text("five.csv", "1,2,3,4,5\n"));
    assert_sample(d, 0, all, 5, -1);
    assert_int_equal(kl_dataset_classes(d), 0);
    kl_dataset_destroy(d);
}

static void csv_refused(void **state)
{
    (void)state;
    put_text("t.csv", "p,kind\n1,1\n2,0\n3,-1\n");
    refused(KL_E_FORMAT, "the label of sample 2 is -1", "%s", at("t.csv"));
    refused(KL_E_FORMAT, "label of sample 1 is 0.5, which is no whole", "%s",
            put_text("h.csv", "1,1\n2,.5\n"));
    refused(KL_E_FORMAT, "sample 0 is 70000; up to 65536", "%s", put_text("h.csv", "1,70000\n"));
    refused(KL_E_FORMAT, "the label of sample 0 is nan", "%s", put_text("h.csv", "1,nan\n"));
    refused(KL_E_NUMERIC, "sample 1, value 0 is NaN", "%s", put_text("h.csv", "1,1\nnan,0\n"));
    refused(KL_E_NUMERIC, "sample 0, value 0 is infinite", "%s", put_text("h.csv", "1e39,1\n"));
    refused(KL_E_SHAPE, "which do not make [1,2,3]", "csv:%s,shape=2x3", at("h.csv"));
    refused(KL_E_ARG, "shape=2x", "csv:%s,shape=2x", at("h.csv"));
    refused(KL_E_ARG, "shape=0x3", "csv:%s,shape=0x3", at("h.csv"));
    refused(KL_E_ARG, "scale=1/0", "csv:%s,scale=1/0", at("h.csv"));
    refused(KL_E_ARG, "scale=x", "csv:%s,scale=x", at("h.csv"));
    refused(KL_E_ARG, "label=7 is no column: there is no header line, 2 columns", "csv:%s,label=7",
            at("h.csv"));
    refused(KL_E_ARG, "no such name in the header", "csv:%s,label=kin", at("t.csv"));
    refused(KL_E_ARG, "\"size=3\" is no option", "csv:%s,size=3", at("h.csv"));
    refused(KL_E_SHAPE, "nothing is left to learn from", "%s", put_text("one.csv", "1\n2\n"));
    refused(KL_E_ARG, "no samples", "csv:%s,label=none", put_text("head.csv", "a,b\n"));
}

/* ---- npy
 * ------------------------------------------------------------------------------------------------
 */

static const char *put_npy(const char *name, kl__elem e, int n_dims, const int64_t *dim,
                           const void *data)
{
    kl__array a = {e, n_dims, {0}, NULL, kl__elem_size(e)};
    for (int i = 0; i < n_dims; i++) {
        a.dim[i] = dim[i];
        a.n_bytes *= (size_t)dim[i];
    }
    a.data = (void *)(uintptr_t)data;
    assert_int_equal(kl__npy_write(at(name), &a), KL_OK);
    return at(name);
}

static void npy(void **state)
{
    (void)state;
    const uint8_t u[] = {0, 255, 51, 102};
    const double f[] = {1.5, -2, 3, 4};
    const int64_t label[] = {1, 0};
    put_npy("u.npy", KL__U8, 3, (int64_t[]){2, 1, 2}, u);
    put_npy("f.npy", KL__F64, 2, (int64_t[]){2, 2}, f);
    put_npy("y.npy", KL__I64, 2, (int64_t[]){2, 1}, label);
    put_npy("hot.npy", KL__F64, 2, (int64_t[]){2, 2}, f);
    kl_dataset *d = open_spec("npy:%s,%s", at("u.npy"), at("y.npy"));
    assert_shape(d, 3, 1, 1, 2);
    assert_sample(d, 1, (const float[]){51.0f / 255.0f, 102.0f / 255.0f}, 2, 0);
    kl_dataset_destroy(d);
    d = open_spec("%s", at("f.npy"));
    assert_sample(d, 0, (const float[]){1.5f, -2}, 2, -1);
    kl_dataset_destroy(d);
    refused(KL_E_SHAPE, "one whole number each", "npy:%s,%s", at("f.npy"), at("hot.npy"));
}

/* ---- folders ---------------------------------------------------------------------------- */

static void folder(void **state)
{
    (void)state;
    float x[48];
    make_dir("pets/dog");
    make_dir("pets/Cat");
    make_dir("pets/.cache");
    put_png("pets/dog/b.png", 1, 4, 4, 51);
    put_png("pets/dog/a.PNG", 1, 4, 4, 102);
    put_png("pets/Cat/z.png", 1, 4, 4, 255);
    put_text("pets/Cat/notes.txt", "not a picture");
    put_text("pets/README", "not a class");
    const float value[] = {1, .4f, .2f}; /* Cat goes before dog by its bytes */
    for (int k = 0; k < 3; k++) {
        kl_dataset *d = open_spec("%s%s%s", k ? "folder:" : "", at("pets"),
                                  k == 2 ? ",size=2x3,channels=3" : "");
        const size_t n = k < 2 ? 16 : 18;
        assert_int_equal(kl_dataset_count(d), 3);
        assert_shape(d, 3, k < 2 ? 1 : 3, k < 2 ? 4 : 2, k < 2 ? 4 : 3);
        assert_int_equal(kl_dataset_classes(d), 2);
        assert_string_equal(kl_dataset_class_name(d, 0), "Cat");
        assert_string_equal(kl_dataset_class_name(d, 1), "dog");
        for (size_t i = 0; i < 3; i++) {
            for (size_t j = 0; j < n; j++) {
                x[j] = value[i];
            }
            assert_sample(d, i, x, n, i > 0);
        }
        kl_dataset_destroy(d);
    }
}

static void folder_refused(void **state)
{
    (void)state;
    make_dir("odd/a");
    make_dir("odd/b");
    put_png("odd/a/1.png", 1, 4, 4, 51);
    refused(KL_E_FORMAT, "b: no PNG or JPEG", "folder:%s", at("odd"));
    put_png("odd/b/2.png", 1, 4, 5, 51);
    refused(KL_E_SHAPE, "2.png is 5 x 4 (width x height) of 1 channels", "folder:%s", at("odd"));
    put_png("odd/b/2.png", 3, 4, 4, 51);
    refused(KL_E_SHAPE, "give size=HxW or channels=1|3", "folder:%s", at("odd"));
    kl_dataset_destroy(open_spec("folder:%s,channels=1", at("odd")));
    put_text("odd/b/2.png", "no picture at all");
    refused(KL_E_FORMAT, "2.png", "folder:%s", at("odd"));
    make_dir("bare");
    refused(KL_E_FORMAT, "no sub-folders", "%s", at("bare"));
    refused(KL_E_ARG, "size=32", "folder:%s,size=32", at("odd"));
    refused(KL_E_ARG, "channels=2", "folder:%s,channels=2", at("odd"));
    refused(KL_E_ARG, "\"colour\" is no option", "folder:%s,colour", at("odd"));
    refused(KL_E_IO, "no such folder", "folder:%s", at("nowhere"));
}

/* ---- specs ------------------------------------------------------------------------------ */

static void specs_refused(void **state)
{
    (void)state;
    refused(KL_E_ARG, "empty", "%s", "");
    refused(KL_E_ARG, "a path is missing", "%s", "csv:");
    refused(KL_E_IO, "did you mean \"cifar10\"?", "%s", "cifar01:x.bin");
    refused(KL_E_IO, "did you mean \"fashion-mnist\"?", "%s", "fashion_mnist");
    refused(KL_E_IO, "no such file", "%s", "/no/such/place");
    refused(KL_E_ARG, "cannot be told by its name", "%s", put_text("what.dat", "1"));
    refused(KL_E_IO, "csv:test", "csv:%s:test", put_text("a.csv", "1,2\n"));
    assert_null(kl_dataset_open(NULL));
}

static kl_status read_any(const char *path)
{
    kl_dataset *d = kl_dataset_open(path);
    const kl_status s = d ? KL_OK : kl__last_status();
    if (d && strstr(path, "images") && kl_dataset_classes(d) == 0) {
        fail_msg("the labels were lost where memory ran out");
    }
    kl_dataset_destroy(d);
    return s;
}

/* Memory that runs out at any allocation is KL_E_MEMORY, and nothing is lost. */
static void memory_runs_out(void **state)
{
    (void)state;
    make_dir("m");
    put_mnist("m/train-images-idx3-ubyte", "m/train-labels-idx1-ubyte");
    make_dir("f/a");
    put_png("f/a/1.png", 1, 2, 2, 5);
    make_dir("c");
    put_cifar("c/train.bin", (uint8_t[]){4, 77}, 1, 2, 1);
    assert_bears_no_memory(read_any, at("m"));
    assert_bears_no_memory(read_any, at("m/train-images-idx3-ubyte"));
    assert_bears_no_memory(read_any, at("f"));
    assert_bears_no_memory(read_any, at("c"));
    assert_bears_no_memory(read_any, put_text("t.csv", "p,q,k\n1,2,0\n3,4,1\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idx_in_every_way), cmocka_unit_test(fashion),
        cmocka_unit_test(idx_refused),      cmocka_unit_test(cifar10),
        cmocka_unit_test(cifar100),         cmocka_unit_test(csv),
        cmocka_unit_test(csv_refused),      cmocka_unit_test(npy),
        cmocka_unit_test(folder),           cmocka_unit_test(folder_refused),
        cmocka_unit_test(specs_refused),    cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, folder_make, tree_remove);
}
