/* Curves over epochs as SVG. */
#ifndef CHART_H
#define CHART_H

#include "run.h"

#include <stddef.h>

typedef struct chart_line {
    const char *name;
    size_t offset; /* of the double in log_row */
} chart_line;

/** Lines without a finite number are left out. Colours are the classes c0, c1 of the page. */
void put_chart(FILE *f, const char *title, const log_row *rows, size_t n, const chart_line *lines,
               size_t n_lines);
/** Text with what HTML reads as its own made harmless. */
void put_html(FILE *f, const char *s);

#endif
