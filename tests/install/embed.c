/* A host program's view of Kiln: twenty lines that learn which of two numbers is the larger. C99
 * and C++11. */
#include <kiln/kiln.h>
#include <stdio.h>
#include <string.h>

static const char net[] = "x = input(shape=[N,2])\n"
                          "label = input(shape=[N], dtype=i32)\n"
                          "hidden = dense(x, units=8)\n"
                          "r = relu(hidden)\n"
                          "scores = dense(r, units=2)\n"
                          "l = softmax_xent(scores, label)\n"
                          "output logits = scores\n"
                          "output loss = l\n";
enum { BATCH = 64 };

static kl_status step(kl_trainer *tr, uint32_t i)
{
    static float x[BATCH][2];
    static int32_t label[BATCH];
    for (uint32_t n = 0; n < BATCH; n++) {
        uint32_t h = (i * BATCH + n) * 2654435761u;
        x[n][0] = (float)(h >> 24) / 128.0f - 1.0f;
        x[n][1] = (float)(h >> 16 & 255) / 128.0f - 1.0f;
        label[n] = x[n][1] > x[n][0];
    }
    kl_bind binds[2] = {{"x", NULL, x, sizeof x}, {"label", NULL, label, sizeof label}};
    return kl_trainer_step(tr, binds, 2);
}

int main(void)
{
    kl_env_prepare(); /* before the first OpenCL call */
    kl_trainer_opts opts;
    memset(&opts, 0, sizeof opts); /* zero: the default of everything */
    opts.schedule.lr = 0.02;
    kl_ctx *ctx = kl_ctx_create(NULL);
    kl_graph *g = kl_graph_parse(net, "net");
    kl_model *m = kl_model_create(g, NULL);
    kl_trainer *tr = kl_trainer_create(m, &ctx, 1, "loss", "logits", &opts);
    kl_metrics first, last;
    kl_status st = tr ? KL_OK : KL_E_ARG;
    for (uint32_t i = 0; !st && i < 200; i++) {
        st = step(tr, i);
        if (!st && i == 9)
            st = kl_trainer_metrics(tr, &first);
    }
    if (!st)
        st = kl_trainer_metrics(tr, &last);
    if (st)
        fprintf(stderr, "%s: %s\n", kl_status_name(st), kl_last_error());
    else
        printf("Kiln %s: loss %.3f, then %.3f; accuracy %.3f\n", kl_version(), first.loss,
               last.loss, last.accuracy);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_graph_destroy(g);
    kl_ctx_destroy(ctx);
    return st || !(last.loss < first.loss && last.accuracy > 0.9);
}
