/* JSON for scripts. */
#include "json.h"
#include "cli.h"

#include <math.h>
#include <stdlib.h>

void print_json(json_t *j)
{
    if (!j || json_dumpf(j, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) != 0) {
        fail(EXIT_RUN, "the JSON could not be made");
    }
    putchar('\n');
    json_decref(j);
}

json_t *json_number_or_null(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

json_t *json_shape(int n, const int64_t *dim)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        json_array_append_new(list, json_integer(dim[i]));
    }
    return list;
}

json_t *json_text(const char *s)
{
    json_t *j = json_string(s);
    if (!j) {
        char *plain = must_copy(s);
        for (char *p = plain; *p; p++) {
            *p = (unsigned char)*p < 0x80 ? *p : '?';
        }
        j = json_string(plain);
        free(plain);
    }
    return j;
}
