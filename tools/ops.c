/* kiln ops: what graphs are made of. */
#include "json.h"
#include "cli.h"
#include "term.h"

#include <stdlib.h>
#include <string.h>

static json_t *op_json(const kl_op_info *o)
{
    json_t *j = json_object();
    json_object_set_new(j, "name", json_string(o->name));
    json_object_set_new(j, "doc", json_text(o->doc ? o->doc : ""));
    json_object_set_new(j, "attributes", json_text(o->attrs ? o->attrs : ""));
    json_object_set_new(j, "variants", json_text(o->variants ? o->variants : ""));
    json_object_set_new(j, "differentiable", json_boolean(o->differentiable));
    json_object_set_new(j, "elementwise", json_boolean(o->elementwise));
    json_object_set_new(j, "hidden", json_boolean(o->hidden));
    return j;
}

/* A bar would end the cell. */
static char *escaped(const char *s)
{
    char *out = must_alloc(2 * strlen(s) + 1, 1), *p = out;
    for (; *s; s++) {
        if (*s == '|') {
            *p++ = '\\';
        }
        *p++ = *s;
    }
    return out;
}

static void add_row(table *t, const kl_op_info *o)
{
    const bool attrs = o->attrs && *o->attrs;
    table_cell(t, "`%s`", o->name);
    char *doc = escaped(o->doc ? o->doc : "");
    table_cell(t, "%s", doc);
    free(doc);
    table_cell(t, "%s%s%s", attrs ? "`" : "", attrs ? o->attrs : "", attrs ? "`" : "");
    table_cell(t, "%s", o->differentiable ? "yes" : "no");
    table_cell(t, "%s", o->elementwise ? "element-wise" : o->variants ? o->variants : "");
}

/* Two lines an op: a table would be wider than any terminal. */
static void print_op(const kl_op_info *o)
{
    const char *dim = sgr(stdout, DIM), *plain = sgr(stdout, PLAIN);
    printf("%s%-18s%s %s%s\n", sgr(stdout, BOLD), o->name, plain, o->doc ? o->doc : "",
           o->differentiable ? "" : "  [no gradient]");
    if (o->attrs && *o->attrs) {
        printf("%s%18s %s%s\n", dim, "", o->attrs, plain);
    }
}

static int run_ops(args *a)
{
    const bool markdown = args_has(a, "markdown"), json = args_has(a, "json");
    json_t *list = json ? json_array() : NULL;
    table t;
    table_init(&t, "lllll");
    for (const char *const *h =
             (const char *const[]){"op", "what", "attributes", "gradient", "kernels", NULL};
         *h; h++) {
        table_cell(&t, "%s", *h);
    }
    for (size_t i = 0; i < kl_op_list_count(); i++) {
        kl_op_info o;
        if (kl_op_list_at(i, &o)) {
            return fail_status(KL_OK);
        }
        if (o.hidden && !args_has(a, "all")) {
            continue;
        }
        if (json) {
            json_array_append_new(list, op_json(&o));
        }
        if (markdown) {
            add_row(&t, &o);
        } else if (!json) {
            print_op(&o);
        }
    }
    if (json) {
        print_json(list);
    } else if (markdown) {
        table_print_markdown(&t, stdout);
    }
    table_free(&t);
    return 0;
}

static const option_def options[] = {
    {"all", 'a', OPT_FLAG, NULL, "also those that only gradients and passes make", 0, 0},
    {"markdown", 0, OPT_FLAG, NULL, "a Markdown table", 0, 0},
    OPTION_JSON,
    OPTION_TALK,
    OPTION_HELP,
    {0}};

const command_def cmd_ops = {.name = "ops",
                             .operands = "",
                             .summary = "list the operations that graphs are made of",
                             .options = options,
                             .run = run_ops};
