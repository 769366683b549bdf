/* Curves over epochs as SVG. */
#include "chart.h"

#include <math.h>

enum { WIDE = 460, HIGH = 280, LEFT = 56, RIGHT = 14, TOP = 34, BOTTOM = 40 };

typedef struct frame {
    const log_row *rows;
    size_t n;
    double low, high, step; /* of the values; step between grid lines */
} frame;

static double value(const frame *c, const chart_line *l, size_t i)
{
    return *(const double *)(const void *)((const char *)&c->rows[i] + l->offset);
}

static bool has_values(const frame *c, const chart_line *l)
{
    for (size_t i = 0; i < c->n; i++) {
        if (isfinite(value(c, l, i))) {
            return true;
        }
    }
    return false;
}

/* A round step, so that there are four to eight grid lines. */
static void scale(frame *c, const chart_line *lines, size_t n_lines)
{
    c->low = INFINITY;
    c->high = -INFINITY;
    for (size_t l = 0; l < n_lines; l++) {
        for (size_t i = 0; i < c->n; i++) {
            const double v = value(c, &lines[l], i);
            c->low = isfinite(v) ? fmin(c->low, v) : c->low;
            c->high = isfinite(v) ? fmax(c->high, v) : c->high;
        }
    }
    if (!(c->high - c->low > 1e-9 * fabs(c->high))) {
        c->low -= 0.5;
        c->high += 0.5;
    }
    const double power = pow(10, floor(log10((c->high - c->low) / 4))),
                 raw = (c->high - c->low) / 4 / power;
    c->step = power * (raw < 2 ? 1 : raw < 5 ? 2 : 5);
    c->low = floor(c->low / c->step) * c->step;
    c->high = ceil(c->high / c->step) * c->step;
}

static double x_at(const frame *c, int epoch)
{
    const int first = c->rows[0].epoch, last = c->rows[c->n - 1].epoch;
    const double part = last > first ? (double)(epoch - first) / (last - first) : 0.5;
    return LEFT + part * (WIDE - LEFT - RIGHT);
}

static double y_at(const frame *c, double v)
{
    return TOP + (c->high - v) / (c->high - c->low) * (HIGH - TOP - BOTTOM);
}

static void put_grid(FILE *f, const frame *c)
{
    for (int i = 0; c->low + i * c->step <= c->high + c->step / 2; i++) {
        const double v = c->low + i * c->step, y = y_at(c, v);
        fprintf(f,
                "<line class=grid x1=%d x2=%d y1=%.1f y2=%.1f />"
                "<text x=%d y=%.1f text-anchor=end>%.4g</text>\n",
                LEFT, WIDE - RIGHT, y, y, LEFT - 6, y + 4, fabs(v) < c->step / 100 ? 0.0 : v);
    }
    const int first = c->rows[0].epoch, last = c->rows[c->n - 1].epoch,
              every = (last - first) / 8 + 1;
    for (int e = first; e <= last; e += every) {
        fprintf(f, "<text x=%.1f y=%d text-anchor=middle>%d</text>\n", x_at(c, e),
                HIGH - BOTTOM + 18, e);
    }
    fprintf(f, "<text x=%d y=%d text-anchor=middle>epoch</text>\n", (LEFT + WIDE - RIGHT) / 2,
            HIGH - 6);
}

static void put_line(FILE *f, const frame *c, const chart_line *l, int colour, int at)
{
    bool begun = false;
    fprintf(f, "<path class=c%d d=\"", colour);
    for (size_t i = 0; i < c->n; i++) {
        const double v = value(c, l, i);
        if (isfinite(v)) {
            fprintf(f, "%c%.1f %.1f", begun ? 'L' : 'M', x_at(c, c->rows[i].epoch), y_at(c, v));
        }
        begun = isfinite(v); /* a gap begins a new stroke */
    }
    fputs("\" />\n", f);
    for (size_t i = 0; i < c->n; i++) {
        const double v = value(c, l, i);
        if (isfinite(v)) {
            fprintf(
                f, "<circle class=d%d r=2.5 cx=%.1f cy=%.1f><title>epoch %d: %.5g</title></circle>",
                colour, x_at(c, c->rows[i].epoch), y_at(c, v), c->rows[i].epoch, v);
        }
    }
    fprintf(f, "\n<circle class=d%d r=4 cx=%d cy=18 /><text x=%d y=22>%s</text>\n", colour, at,
            at + 9, l->name);
}

void put_chart(FILE *f, const char *title, const log_row *rows, size_t n, const chart_line *lines,
               size_t n_lines)
{
    frame c = {.rows = rows, .n = n};
    int at = WIDE - RIGHT - 190;
    scale(&c, lines, n_lines);
    if (!isfinite(c.low) || !isfinite(c.high)) {
        return;
    }
    fprintf(f,
            "<svg viewBox=\"0 0 %d %d\" width=%d height=%d role=img aria-label=\"%s per epoch\">\n"
            "<text x=%d y=22 style=\"font-weight:600;fill:var(--ink)\">%s</text>\n",
            WIDE, HIGH, WIDE, HIGH, title, LEFT, title);
    put_grid(f, &c);
    for (size_t l = 0; l < n_lines; l++) {
        if (has_values(&c, &lines[l])) {
            put_line(f, &c, &lines[l], (int)l, at);
            at += 90;
        }
    }
    fputs("</svg>\n", f);
}
