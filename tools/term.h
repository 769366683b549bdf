/* What is seen: colours, tables, numbers for people, the line that shows progress. */
#ifndef TERM_H
#define TERM_H

#include <kiln/kiln.h>

#include <stdio.h>

typedef enum style { PLAIN, BOLD, DIM, RED, GREEN, YELLOW } style;
/** "" where `to` is no terminal or NO_COLOR is set. PLAIN ends a style. */
const char *sgr(FILE *to, style s);
bool is_terminal(FILE *f);

/* ---- tables: cells as text, columns as wide as their widest cell
 * ------------------------------------ */
typedef struct table {
    const char *align; /* one letter a column: l or r */
    char **cell;
    size_t n, columns;
} table;
void table_init(table *t, const char *align);
void table_cell(table *t, const char *fmt, ...) KL_PRINTF(2, 3);
/** The first row is the head. Frees the cells. */
void table_print(table *t, FILE *to);
void table_print_markdown(table *t, FILE *to);
void table_free(table *t);

/** Bytes of the first n letters of UTF-8 text, for %.*s. */
int letters(const char *s, int n);

/* ---- numbers
 * ------------------------------------------------------------------------------------------ */
typedef char number[32];
const char *bytes_text(number out, double bytes);     /* "1.5 MiB" */
const char *count_text(number out, double n);         /* "61.7 k" */
const char *seconds_text(number out, double seconds); /* "340 ms", "12.3 s", "1:02:03" */
const char *shape_text(char out[96], kl_shape s);     /* "32x28x28"; the batch as N */

/* ---- progress
 * ------------------------------------------------------------------------------------------ */
/** On a terminal: the line is drawn over the last one. Elsewhere: a line of its own, one in ten
 * seconds. */
void progress_line(const char *fmt, ...) KL_PRINTF(1, 2);
/** Takes the line away, before anything else is printed. */
void progress_clear(void);
double now(void); /* seconds, monotonic */

#endif
