/* Architectures by name: their text with input, number of classes and loss put around it. */
#include "zoo/nets.h"

#include "base/error.h"
#include "base/str.h"

#include <string.h>

size_t kl_zoo_count(void)
{
    return kl__zoo_n_nets;
}

const kl_zoo_entry *kl_zoo_at(size_t i)
{
    return i < kl__zoo_n_nets ? &kl__zoo_nets[i].entry : NULL;
}

static const kl__zoo_net *find(const char *name)
{
    const char *names[64];
    kl__text all = {0};
    size_t n = kl__zoo_n_nets < 64 ? kl__zoo_n_nets : 64;
    for (size_t i = 0; i < kl__zoo_n_nets; i++)
        if (name && !strcmp(kl__zoo_nets[i].entry.name, name))
            return &kl__zoo_nets[i];
    for (size_t i = 0; i < n; i++) {
        names[i] = kl__zoo_nets[i].entry.name;
        kl__put(&all, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = name ? kl__nearest(name, names, n) : NULL;
    kl__fail(KL_E_ARG, "there is no architecture \"%s\"%s%s%s; there are %s", name ? name : "",
             near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "",
             all.s ? all.s : "");
    kl__text_free(&all);
    return NULL;
}

static void put_body(kl__text *t, const char *body, int n_classes)
{
    for (const char *p; body && (p = strstr(body, "%K")); body = p + 2) {
        kl__put_n(t, body, (size_t)(p - body));
        kl__put(t, "%d", n_classes);
    }
    kl__put(t, "%s", body ? body : "");
}

kl_graph *kl_zoo_build(const char *name, const kl_shape *sample, int n_classes)
{
    const kl__zoo_net *net = find(name);
    kl__text t = {0}, body = {0};
    kl_graph *g = NULL;
    if (!net)
        return NULL;
    if (!sample)
        sample = &net->entry.sample;
    if (n_classes == 0)
        n_classes = net->entry.n_classes;
    if (sample->n_dims != 3 || sample->dim[0] < 1 || sample->dim[1] < 1 || sample->dim[2] < 1) {
        kl__fail(KL_E_SHAPE, "%s takes pictures [channels, height, width]", name);
        return NULL;
    }
    if (n_classes < 1) {
        kl__fail(KL_E_ARG, "%s: %d classes are not possible", name, n_classes);
        return NULL;
    }
    kl__put(&t, "image = input(shape=[N,%lld,%lld,%lld])\n", (long long)sample->dim[0],
            (long long)sample->dim[1], (long long)sample->dim[2]);
    kl__put(&t, "label = input(shape=[N], dtype=i32)\n");
    if (net->write)
        net->write(&body);
    put_body(&t, net->write ? body.s : net->body, n_classes);
    t.failed |= body.failed;
    kl__text_free(&body);
    kl__put(&t, "loss = softmax_xent(%s, label)\noutput logits = %s\noutput loss = loss\n",
            net->logits, net->logits);
    if (!t.failed)
        g = kl_graph_parse(t.s, name);
    if (!g)
        kl__fail_in(kl__last_status(), "pictures of [%lld,%lld,%lld]", (long long)sample->dim[0],
                    (long long)sample->dim[1], (long long)sample->dim[2]);
    kl__text_free(&t);
    return g;
}
