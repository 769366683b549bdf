/* The whole life of a training through the public door: set-up, two steps, evaluation, save, load,
 * destruction. For faults that come from outside (an OpenCL layer).
 *
 * usage: life FOLDER   writes FOLDER/kept; on an error prints "error: SENTENCE" and ends with 1
 *        life check FOLDER   FOLDER/kept is whole */
#include <kiln/kiln.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char net[] = "image = input(shape=[N,2,8,8])\nlabel = input(shape=[N], dtype=i32)\n"
                          "c = conv2d(image, filters=5, kernel=3, pad=same)\nb = batchnorm(c)\nr = "
                          "relu(b)\np = maxpool2d(r, window=2)\n"
                          "f = dense(p, units=12)\nd = dropout(f, rate=0.25)\nl = dense(d, "
                          "units=4)\ns = softmax_xent(l, label)\n"
                          "output logits = l\noutput loss = s\n";
enum { BATCH = 8, PIXELS = 2 * 8 * 8 };

static kl_status play(kl_trainer *tr, const char *path)
{
    static float x[BATCH * PIXELS];
    static int32_t y[BATCH];
    for (int i = 0; i < BATCH * PIXELS; i++)
        x[i] = (float)(i * 37 % 101) / 101.0f;
    for (int i = 0; i < BATCH; i++)
        y[i] = i % 4;
    const kl_bind binds[] = {{.name = "image", .host = x, .host_bytes = sizeof x},
                             {.name = "label", .host = y, .host_bytes = sizeof y}};
    kl_status st = KL_OK;
    for (int i = 0; st == KL_OK && i < 2; i++)
        st = kl_trainer_step(tr, binds, 2);
    if (st == KL_OK)
        st = kl_trainer_eval(tr, binds, 2);
    if (st == KL_OK)
        st = kl_trainer_metrics(tr, NULL);
    if (st == KL_OK)
        st = kl_trainer_save(tr, path, NULL, 0);
    return st == KL_OK ? kl_trainer_load(tr, path) : st;
}

/** A line of the layer's report: what fails from here on fails in destruction, which returns
 *  nothing. */
static void work_ended(void)
{
    const char *path = getenv("KILN_LAYER_REPORT");
    FILE *f = path ? fopen(path, "a") : NULL;
    if (f) {
        fputs("work ended\n", f);
        fclose(f);
    }
}

int main(int argc, char **argv)
{
    char path[512], error[1024] = "";
    if (argc < 2)
        return 2;
    snprintf(path, sizeof path, "%s/kept", argv[argc - 1]);
    if (!strcmp(argv[1], "check")) {
        kl_model *m = kl_model_load(path);
        if (!m)
            printf("error: %s\n", kl_last_error());
        kl_model_destroy(m);
        return m ? 0 : 1;
    }
    kl_ctx *c = kl_ctx_create(&(kl_ctx_opts){.cache_dir = ""});
    kl_graph *g = c ? kl_graph_parse(net, "net") : NULL;
    kl_model *m = g ? kl_model_create(g, NULL) : NULL;
    kl_trainer *tr = m ? kl_trainer_create(m, &c, 1, "loss", "logits",
                                           &(kl_trainer_opts){.shards = 2, .clip_norm = 1})
                       : NULL;
    kl_status st = tr ? play(tr, path) : KL_E_DEVICE;
    if (st != KL_OK)
        snprintf(error, sizeof error, "%s", kl_last_error());
    work_ended();
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_graph_destroy(g);
    kl_ctx_destroy(c);
    if (st != KL_OK)
        printf("error: %s\n", error);
    return st == KL_OK ? 0 : 1;
}
