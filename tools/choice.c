/* Kernels chosen among others, for people and scripts. */
#include "choice.h"
#include "json.h"
#include "term.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const kl_alternative *choice_find(const kl_choice *c, const char *name)
{
    for (int i = 0; i < c->n_alternatives; i++) {
        if (!strcmp(c->alternative[i].name, name)) {
            return &c->alternative[i];
        }
    }
    return NULL;
}

const char *choice_time(char out[32], double seconds)
{
    if (!(seconds >= 0)) {
        out[0] = 0;
    } else if (seconds < 1e-3) {
        snprintf(out, 32, "%.3g us", 1e6 * seconds);
    } else {
        snprintf(out, 32, "%.3g ms", 1e3 * seconds);
    }
    return out;
}

char *choice_others(const kl_choice *c)
{
    char *all = must_copy(""), time[32];
    for (int i = 0; i < c->n_alternatives; i++) {
        const kl_alternative *x = &c->alternative[i];
        if (x->why_not) {
            continue;
        }
        char *more =
            must_print("%s%s%s%s%s%s", all, *all ? ", " : "", x->name, x->seconds >= 0 ? " " : "",
                       choice_time(time, x->seconds), x->wrong ? " (wrong)" : "");
        free(all);
        all = more;
    }
    return all;
}

static json_t *alternative_json(const kl_alternative *x)
{
    json_t *j = json_object();
    json_object_set_new(j, "name", json_text(x->name));
    json_object_set_new(j, "fits", json_boolean(!x->why_not));
    json_object_set_new(j, "why_not", x->why_not ? json_text(x->why_not) : json_null());
    json_object_set_new(j, "seconds", json_number_or_null(x->seconds));
    json_object_set_new(j, "error", json_number_or_null(x->error));
    json_object_set_new(j, "wrong", json_boolean(x->wrong));
    return j;
}

json_t *choice_json(const kl_choice *c)
{
    static const char *const whys[] = {"only", "rule", "tuned", "forced"};
    json_t *j = json_object(), *list = json_array();
    for (int i = 0; i < c->n_alternatives; i++) {
        json_array_append_new(list, alternative_json(&c->alternative[i]));
    }
    json_object_set_new(j, "layer", json_text(c->layer));
    json_object_set_new(j, "op", json_text(c->op));
    json_object_set_new(j, "work", json_text(c->work));
    json_object_set_new(j, "count", json_integer(c->count));
    json_object_set_new(j, "chosen", json_text(c->chosen));
    json_object_set_new(j, "by_rule", json_text(c->by_rule));
    json_object_set_new(j, "why", json_string(whys[c->why]));
    json_object_set_new(j, "in", json_text(c->in));
    json_object_set_new(j, "out", json_text(c->out));
    json_object_set_new(j, "complete", json_boolean(c->complete));
    json_object_set_new(j, "alternatives", list);
    return j;
}

int choice_opts(const args *a, const char *loss, kl_tune_opts *o)
{
    *o = (kl_tune_opts){
        .batch = args_int(a, "batch", 32), .training = args_has(a, "train"), .loss = loss};
    if (o->training && !loss) {
        return fail(EXIT_USAGE,
                    "%s has no output \"loss\"; say which one to append, --loss softmax_xent",
                    a->operands[0]);
    }
    return 0;
}
