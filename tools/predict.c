/* kiln predict: what is on a picture? */
#include "json.h"
#include "net.h"
#include "term.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct predict {
    args *a;
    net net;
    kl_ctx *ctx;
    int channels, height, width;
    size_t per; /* numbers of one picture */
    float *x, *scores;
    int top;
    json_t *list;
} predict;

/* The shape of pictures: the data's that it was trained on, else the input's. */
static int find_shape(predict *p)
{
    kl_shape s = p->net.sample;
    char text[96];
    if (s.n_dims != 3 && p->net.picture.n_dims == 3 &&
        kl_shape_count(p->net.picture) == kl_shape_count(s)) {
        s = p->net.picture;
    }
    if (s.n_dims != 3 || (s.dim[0] != 1 && s.dim[0] != 3) || s.dim[1] > 65536 || s.dim[2] > 65536) {
        return fail(EXIT_RUN, "%s takes samples %s, which are no pictures", p->net.name,
                    shape_text(text, s));
    }
    p->channels = (int)s.dim[0];
    p->height = (int)s.dim[1];
    p->width = (int)s.dim[2];
    p->per = (size_t)kl_shape_count(s);
    return 0;
}

static int set_up(predict *p)
{
    int code = net_open(&p->net, p->a->operands[0], NULL);
    if (code == 0 && !p->net.checkpoint) {
        code =
            fail(EXIT_USAGE, "%s has no trained parameters; give a checkpoint", p->a->operands[0]);
    }
    if (code == 0 && !p->net.scores) {
        code = fail(EXIT_RUN, "%s has no output [N,classes]; name one \"logits\"", p->net.name);
    }
    code = code ? code : find_shape(p);
    p->ctx = code ? NULL : open_device(p->a, 0, &code);
    if (code == 0) {
        p->x = must_alloc(p->per, sizeof *p->x);
        p->scores = must_alloc((size_t)p->net.n_scores, sizeof *p->scores);
        p->top = (int)args_int(p->a, "top", 3);
        p->top = p->top > p->net.n_scores ? p->net.n_scores : p->top;
    }
    return code;
}

static void normalise(const predict *p)
{
    const kl_normalise *n = &p->net.norm;
    const size_t plane = p->per / (size_t)p->channels;
    const bool invert = args_has(p->a, "invert");
    for (size_t i = 0; i < p->per; i++) {
        const size_t c = n->n > 1 ? i / plane : 0;
        p->x[i] = invert ? 1 - p->x[i] : p->x[i];
        if (n->n) {
            p->x[i] = (p->x[i] - n->mean[c]) / n->std[c];
        }
    }
}

/* The graph's own softmax may be its last layer; doing it twice would flatten the probabilities. */
static bool are_probabilities(const float *v, int n)
{
    double sum = 0;
    for (int k = 0; k < n; k++) {
        if (!(v[k] >= 0)) {
            return false;
        }
        sum += (double)v[k];
    }
    return fabs(sum - 1) < 1e-4;
}

static void softmax(float *v, int n)
{
    double sum = 0;
    float most = v[0];
    if (are_probabilities(v, n)) {
        return;
    }
    for (int k = 1; k < n; k++) {
        most = v[k] > most ? v[k] : most;
    }
    for (int k = 0; k < n; k++) {
        v[k] = expf(v[k] - most);
        sum += (double)v[k];
    }
    for (int k = 0; k < n; k++) {
        v[k] = (float)((double)v[k] / sum);
    }
}

static int best_left(const float *v, int n)
{
    int best = 0;
    for (int k = 1; k < n; k++) {
        best = v[k] > v[best] ? k : best;
    }
    return best;
}

static void print_one(predict *p, const char *file)
{
    char buffer[16];
    json_t *top = json_array();
    if (!p->list) {
        printf("%s%s%s\n", sgr(stdout, BOLD), file, sgr(stdout, PLAIN));
    }
    for (int i = 0; i < p->top; i++) {
        const int k = best_left(p->scores, p->net.n_scores);
        const double v = (double)p->scores[k];
        const char *name = net_class(&p->net, NULL, k, buffer);
        p->scores[k] = -1; /* taken */
        if (p->list) {
            json_t *one = json_object();
            json_object_set_new(one, "class", json_text(name));
            json_object_set_new(one, "index", json_integer(k));
            json_object_set_new(one, "probability", json_real(v));
            json_array_append_new(top, one);
        } else {
            printf("  %6.2f%%  %s\n", 100 * v, name);
        }
    }
    if (p->list) {
        json_t *one = json_object();
        json_object_set_new(one, "file", json_text(file));
        json_object_set_new(one, "top", json_incref(top));
        json_array_append_new(p->list, one);
    }
    json_decref(top);
}

static int predict_one(predict *p, const char *file)
{
    if (kl_image_load(file, p->channels, p->height, p->width, p->x)) {
        return fail_status(KL_OK);
    }
    normalise(p);
    const size_t n = (size_t)p->net.n_scores * sizeof(float);
    const kl_bind binds[2] = {{p->net.input, NULL, p->x, p->per * sizeof(float)},
                              {p->net.scores, NULL, p->scores, n}};
    if (kl_model_run(p->net.model, p->ctx, binds, 2)) {
        return fail_status(KL_OK);
    }
    for (int k = 0; k < p->net.n_scores; k++) {
        if (!isfinite(p->scores[k])) {
            return fail(EXIT_RUN, "%s: the model's output is not finite", file);
        }
    }
    softmax(p->scores, p->net.n_scores);
    progress_clear();
    print_one(p, file);
    return 0;
}

static int run_predict(args *a)
{
    predict p = {.a = a, .list = args_has(a, "json") ? json_array() : NULL};
    int code = set_up(&p), worst = code;
    for (int i = 1; i < a->n_operands && code != EXIT_DEVICE && p.x; i++) {
        code = predict_one(&p, a->operands[i]); /* a damaged picture does not hide the others */
        worst = code ? code : worst;
    }
    if (p.list && p.x) {
        print_json(p.list);
    } else {
        json_decref(p.list);
    }
    free(p.x);
    free(p.scores);
    net_close(&p.net);
    kl_ctx_destroy(p.ctx);
    return worst;
}

static const option_def options[] = {
    {"top", 'k', OPT_INT, "N", "how many classes to print (3)", 1, 1000},
    {"invert", 0, OPT_FLAG, NULL,
     "black for white: a photo of ink on paper, for a model of white on black", 0, 0},
    OPTION_JSON,
    OPTION_DEVICE,
    OPTION_EXACT,
    OPTION_TALK,
    OPTION_HELP,
    {0}};

const command_def cmd_predict = {
    .name = "predict",
    .operands = "CHECKPOINT PICTURE...",
    .summary = "say what is on pictures",
    .more = "CHECKPOINT is a file, or a run's folder (its best.kiln). Pictures are PNG or JPEG; "
            "they are resized,\n"
            "made grey or RGB, and normalised as the training data was.\n"
            "\nexample:\n  kiln predict runs/lenet-20250102-030405 shoe.png shirt.jpg\n",
    .options = options,
    .min_operands = 2,
    .max_operands = -1,
    .run = run_predict};
