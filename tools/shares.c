/* What each device of a training does. */
#include "shares.h"
#include "json.h"
#include "term.h"

#include <string.h>

enum { IN_BRIEF = 4 }; /* devices named in the progress line */

shares *shares_create(const group *g)
{
    shares *s = must_alloc(1, sizeof *s);
    s->group = g;
    return s;
}

void shares_take(shares *s, const kl_trainer *tr)
{
    size_t n = 0;
    s->total = 0;
    s->n = kl_trainer_shares(tr, s->of, KL_MAX_GROUP, &n) == KL_OK ? n : 0;
    s->n = s->n < s->group->n ? s->n : s->group->n;
    for (size_t i = 0; i < s->n; i++) {
        s->total += s->of[i].shards;
    }
}

const char *shares_brief(char out[96], const shares *s)
{
    size_t at = 0;
    const size_t n = s->n < IN_BRIEF ? s->n : IN_BRIEF;
    out[0] = 0;
    if (s->n < 2) {
        return out;
    }
    for (size_t i = 0; i < n; i++) {
        const char *before = i ? ":" : "  ";
        at += (size_t)(s->of[i].lost
                           ? snprintf(out + at, 96 - at, "%slost", before)
                           : snprintf(out + at, 96 - at, "%s%d", before, s->of[i].shards));
    }
    at += (size_t)snprintf(out + at, 96 - at, "%s", n < s->n ? ":..." : "");
    for (size_t i = 0; i < n && at < 80; i++) {
        at += (size_t)snprintf(out + at, 96 - at, "%s%.*f", i ? " + " : ", ",
                               s->of[i].images_per_second < 9.5 ? 1 : 0,
                               s->of[i].images_per_second);
    }
    return out;
}

void shares_print(FILE *to, const shares *s)
{
    char id[32], name[64];
    const char *dim = sgr(to, DIM), *plain = sgr(to, PLAIN);
    for (size_t i = 0; i < s->n; i++) {
        const kl_share *x = &s->of[i];
        fprintf(to, "  %s%s%s  %s  ", dim, device_id(id, &x->device), plain,
                device_label(name, &x->device));
        if (x->lost) {
            fprintf(to, "%slost%s: %s\n", sgr(to, RED), plain, x->why);
        } else {
            fprintf(to, "%2d of %d shards  ", x->shards, s->total);
            if (x->images_per_second > 0) {
                fprintf(to, "%.*f images/s", x->images_per_second < 99.5 ? 1 : 0,
                        x->images_per_second);
            } else {
                fputs("speed not known yet", to);
            }
            fprintf(to, "  busy %.0f%%\n", 100 * x->busy);
        }
    }
    fflush(to);
}

json_t *shares_json(const shares *s)
{
    json_t *list = json_array();
    char id[32];
    for (size_t i = 0; i < s->n; i++) {
        const kl_share *x = &s->of[i];
        json_t *j = json_object();
        json_object_set_new(j, "id", json_string(device_id(id, &x->device)));
        json_object_set_new(j, "name", json_text(x->device.name));
        json_object_set_new(j, "shards", json_integer(x->shards));
        json_object_set_new(j, "images_per_second", json_number_or_null(x->images_per_second));
        json_object_set_new(j, "busy", json_number_or_null(x->busy));
        json_object_set_new(j, "lost", json_boolean(x->lost));
        if (x->lost) {
            json_object_set_new(j, "why", json_text(x->why));
        }
        json_array_append_new(list, j);
    }
    return list;
}
