/* A confusion matrix, printed. */
#include "classes.h"
#include "run.h"
#include "term.h"

#include <stdlib.h>
#include <string.h>

enum { MATRIX_MOST = 20 };

const char *class_name(const classes *c, int k, char buffer[16])
{
    return net_class(c->net, c->data, k, buffer);
}

void classes_print_table(const classes *c)
{
    table t;
    char buffer[16];
    table_init(&t, "lrrrr");
    for (const char *const *h =
             (const char *const[]){"class", "precision", "recall", "F1", "samples", NULL};
         *h; h++) {
        table_cell(&t, "%s", *h);
    }
    for (int k = 0; k < c->n; k++) {
        double precision, recall, f1;
        int64_t support;
        kl_confusion_class(c->confusion, k, &precision, &recall, &f1, &support);
        table_cell(&t, "%s", class_name(c, k, buffer));
        table_cell(&t, "%.4f", precision);
        table_cell(&t, "%.4f", recall);
        table_cell(&t, "%.4f", f1);
        table_cell(&t, "%lld", (long long)support);
    }
    table_print(&t, stdout);
}

void classes_print_matrix(const classes *c)
{
    table t;
    char buffer[16], align[MATRIX_MOST + 2] = "l";
    if (c->n > MATRIX_MOST) {
        return;
    }
    memset(align + 1, 'r', (size_t)c->n);
    align[c->n + 1] = 0;
    table_init(&t, align);
    table_cell(&t, "truth \\ said");
    for (int k = 0; k < c->n; k++) {
        const char *name = class_name(c, k, buffer);
        table_cell(&t, "%.*s", letters(name, 5), name);
    }
    for (int i = 0; i < c->n; i++) {
        table_cell(&t, "%s", class_name(c, i, buffer));
        for (int k = 0; k < c->n; k++) {
            const int64_t v = kl_confusion_at(c->confusion, i, k);
            if (v) {
                table_cell(&t, "%lld", (long long)v);
            } else {
                table_cell(&t, ".");
            }
        }
    }
    table_print(&t, stdout);
}

static void put_quoted(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++) {
        fputs(*s == '"' ? "\"\"" : (const char[]){*s, 0}, f);
    }
    fputc('"', f);
}

int classes_write_csv(const classes *c, const char *path)
{
    char *text = NULL, buffer[16];
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f) {
        return fail(EXIT_RUN, "memory ran out");
    }
    fputs("truth", f);
    for (int k = 0; k < c->n; k++) {
        fputc(',', f);
        put_quoted(f, class_name(c, k, buffer));
    }
    for (int i = 0; i < c->n; i++) {
        fputc('\n', f);
        put_quoted(f, class_name(c, i, buffer));
        for (int k = 0; k < c->n; k++) {
            fprintf(f, ",%lld", (long long)kl_confusion_at(c->confusion, i, k));
        }
    }
    fputc('\n', f);
    fclose(f);
    const int code = write_whole(path, text, n);
    free(text);
    return code;
}

json_t *classes_json(const classes *c)
{
    json_t *list = json_array();
    char buffer[16];
    for (int k = 0; k < c->n; k++) {
        double precision, recall, f1;
        int64_t support;
        kl_confusion_class(c->confusion, k, &precision, &recall, &f1, &support);
        json_t *row = json_array();
        for (int i = 0; i < c->n; i++) {
            json_array_append_new(row, json_integer(kl_confusion_at(c->confusion, k, i)));
        }
        json_t *one = json_object();
        json_object_set_new(one, "class", json_text(class_name(c, k, buffer)));
        json_object_set_new(one, "precision", json_real(precision));
        json_object_set_new(one, "recall", json_real(recall));
        json_object_set_new(one, "f1", json_real(f1));
        json_object_set_new(one, "samples", json_integer(support));
        json_object_set_new(one, "predicted_as", row);
        json_array_append_new(list, one);
    }
    return list;
}
