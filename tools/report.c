/* report.html: a training on one page that needs nothing else: no script, no file beside it. */
#include "report.h"
#include "chart.h"
#include "term.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

static const char STYLE[] =
    "<style>\n"
    ":root{color-scheme:light "
    "dark;--ink:#1b1f24;--soft:#5b6470;--line:#d5dae0;--paper:#fff;--a:#1f5fbf;--b:#c2410c}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa4af;--line:#39424c;--paper:#"
    "14181c;"
    "--a:#6ea8fe;--b:#fb923c}}\n"
    "body{font:16px/1.5 "
    "system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;"
    "margin:2rem auto;padding:0 1rem}\n"
    "h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}\n"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid var(--line)}\n"
    "th:first-child,td:first-child{text-align:left}th{color:var(--soft);font-weight:600}\n"
    ".facts td{text-align:left}.matrix td,.matrix th{padding:.25rem .45rem;font-size:.85rem}\n"
    ".matrix thead th{vertical-align:bottom;writing-mode:vertical-rl;transform:rotate(180deg)}\n"
    ".wide{overflow-x:auto}.charts{display:flex;flex-wrap:wrap;gap:1.5rem}svg{max-width:100%;"
    "height:auto}\n"
    "svg text{fill:var(--soft);font:12px system-ui,sans-serif}svg .grid{stroke:var(--line)}\n"
    ".c0{stroke:var(--a);fill:none;stroke-width:2}.c1{stroke:var(--b);fill:none;stroke-width:2}\n"
    ".d0{fill:var(--a)}.d1{fill:var(--b)}.big{font-size:1.25rem}\n"
    "</style>\n";

void put_html(FILE *f, const char *s)
{
    for (; s && *s; s++) {
        switch (*s) {
        case '<':
            fputs("&lt;", f);
            break;
        case '>':
            fputs("&gt;", f);
            break;
        case '&':
            fputs("&amp;", f);
            break;
        case '"':
            fputs("&quot;", f);
            break;
        default:
            fputc(*s, f);
        }
    }
}

static void put_fact(FILE *f, const char *name, const char *value)
{
    fprintf(f, "<tr><th>%s</th><td>", name);
    put_html(f, value);
    fputs("</td></tr>\n", f);
}

static void put_facts(FILE *f, const report *r)
{
    char text[160];
    number memory;
    const group *g = r->shares->group;
    fputs("<table class=facts>\n", f);
    put_fact(f, "model", r->model);
    put_fact(f, "training data", r->data);
    put_fact(f, "validation", r->val);
    for (size_t i = 0; i < g->n; i++) {
        const kl_device_info *d = &g->info[i];
        put_fact(f, i ? "" : g->n > 1 ? "devices" : "device", d->name);
        snprintf(text, sizeof text, "%s, %d compute units, %s, driver %s", d->type,
                 d->compute_units, bytes_text(memory, (double)d->memory_bytes), d->driver);
        put_fact(f, "", text);
    }
    if (r->pieces) {
        put_fact(f, "memory", r->pieces);
    }
    put_fact(f, "time", seconds_text(memory, r->seconds));
    snprintf(text, sizeof text, "kiln %s", kl_version());
    put_fact(f, "program", text);
    fputs("</table>\n", f);
}

static void put_shares(FILE *f, const shares *s)
{
    char id[32];
    fputs("<h2>Devices</h2>\n<table><tr><th>device</th><th></th><th>shards</th><th>images/s</th>"
          "<th>busy</th><th></th></tr>\n",
          f);
    for (size_t i = 0; i < s->n; i++) {
        const kl_share *x = &s->of[i];
        fprintf(f, "<tr><th>%s</th><td>", device_id(id, &x->device));
        put_html(f, x->device.name);
        fprintf(f, "</td><td>%d</td><td>%.1f</td><td>%.0f%%</td><td>", x->shards,
                x->images_per_second, 100 * x->busy);
        put_html(f, x->lost ? "lost: " : "");
        put_html(f, x->lost ? x->why : "");
        fputs("</td></tr>\n", f);
    }
    fputs("</table>\n<p>Shards of the last step; images/s of a device's own work.</p>\n", f);
}

static void put_arguments(FILE *f, const report *r)
{
    fputs("<h2>Arguments</h2>\n<table class=facts>\n", f);
    for (size_t i = 0; i < r->args->n_given; i++) {
        const struct given *g = &r->args->given[i];
        put_fact(f, g->option->name, g->value ? g->value : "yes");
    }
    fputs("</table>\n", f);
}

static void put_curves(FILE *f, const report *r)
{
    const size_t n = r->run->n_rows;
    const chart_line loss[] = {{"training", offsetof(log_row, loss)},
                               {"validation", offsetof(log_row, val_loss)}};
    const chart_line accuracy[] = {{"training", offsetof(log_row, accuracy)},
                                   {"validation", offsetof(log_row, val_accuracy)}};
    if (n == 0) {
        fputs("<p>The training ended before its first epoch did.</p>\n", f);
        return;
    }
    fputs("<h2>Curves</h2>\n<div class=charts>\n", f);
    put_chart(f, "loss", r->run->rows, n, loss, 2);
    put_chart(f, "accuracy", r->run->rows, n, accuracy, 2);
    fputs("</div>\n", f);
}

static void put_cells(FILE *f, const classes *c, int truth, int64_t of)
{
    for (int k = 0; k < c->n; k++) {
        const int64_t v = kl_confusion_at(c->confusion, truth, k);
        const double part = of ? (double)v / (double)of : 0;
        /* the square root lets the few mistakes be seen beside the many hits */
        const double strong = v ? 0.06 + 0.79 * sqrt(part) : 0;
        fprintf(f, "<td style=\"background:rgba(%s,%.2f)%s\" title=\"%.1f%%\">%lld</td>",
                k == truth ? "31,95,191" : "194,65,12", strong, strong > 0.55 ? ";color:#fff" : "",
                100 * part, (long long)v);
    }
}

static void put_matrix(FILE *f, const classes *c)
{
    enum { MOST = 50 };
    char buffer[16];
    fputs("<h2>Confusion matrix</h2>\n", f);
    if (c->n > MOST) {
        fprintf(f, "<p>%d classes: the matrix is in confusion.csv.</p>\n", c->n);
        return;
    }
    fputs("<p>A row is what a sample is, a column what the model said; blue is right, orange "
          "wrong.</p>\n"
          "<div class=wide><table class=matrix><thead><tr><td></td>",
          f);
    for (int k = 0; k < c->n; k++) {
        fputs("<th>", f);
        put_html(f, class_name(c, k, buffer));
        fputs("</th>", f);
    }
    fputs("</tr></thead>\n", f);
    for (int i = 0; i < c->n; i++) {
        int64_t support;
        kl_confusion_class(c->confusion, i, NULL, NULL, NULL, &support);
        fputs("<tr><th>", f);
        put_html(f, class_name(c, i, buffer));
        fputs("</th>", f);
        put_cells(f, c, i, support);
        fputs("</tr>\n", f);
    }
    fputs("</table></div>\n", f);
}

static void put_classes(FILE *f, const classes *c)
{
    char buffer[16];
    fputs("<h2>Classes</h2>\n<table><tr><th>class</th><th>precision</th><th>recall</th><th>F1</"
          "th><th>samples</th>"
          "</tr>\n",
          f);
    for (int k = 0; k < c->n; k++) {
        double precision, recall, f1;
        int64_t support;
        kl_confusion_class(c->confusion, k, &precision, &recall, &f1, &support);
        fputs("<tr><td>", f);
        put_html(f, class_name(c, k, buffer));
        fprintf(f, "</td><td>%.4f</td><td>%.4f</td><td>%.4f</td><td>%lld</td></tr>\n", precision,
                recall, f1, (long long)support);
    }
    fputs("</table>\n", f);
}

static void put_page(FILE *f, const report *r)
{
    char when[40] = "";
    struct tm tm;
    const time_t t = time(NULL);
    if (localtime_r(&t, &tm)) {
        strftime(when, sizeof when, "%Y-%m-%d %H:%M", &tm);
    }
    fputs("<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>\n"
          "<meta name=viewport content=\"width=device-width,initial-scale=1\">\n<title>",
          f);
    put_html(f, r->run->dir);
    fprintf(f, "</title>\n%s</head><body>\n<h1>", STYLE);
    put_html(f, r->run->dir);
    fprintf(f, "</h1>\n<p class=big>");
    put_html(f, r->result);
    fprintf(f, "</p>\n<p>%s</p>\n", when);
    put_facts(f, r);
    if (r->shares->group->n > 1) {
        put_shares(f, r->shares);
    }
    put_curves(f, r);
    if (r->classes) {
        put_matrix(f, r->classes);
        put_classes(f, r->classes);
    }
    put_arguments(f, r);
    fputs("</body></html>\n", f);
}

int report_write(const report *r, const char *path)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f) {
        return fail(EXIT_RUN, "memory ran out");
    }
    put_page(f, r);
    fclose(f);
    const int code = write_whole(path, text, n);
    free(text);
    return code;
}
