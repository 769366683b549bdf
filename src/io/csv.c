/* CSV of numbers: commas, RFC 4180 quotes (a quoted cell may hold commas, line ends and doubled
 * quotes), LF or CRLF. Read byte by byte through a bounded cell, so that a zero byte or an endless
 * line is seen as what it is. */
#include "io/inside.h"

#include "base/mem.h"
#include "base/str.h"

#include <string.h>

#define CELL_MAX 4096u
#define CHUNK 65536u

typedef enum cell_state { START, PLAIN, QUOTED, AFTER_QUOTE } cell_state;

typedef struct csv {
    const char *path;
    double *v;
    size_t cap, n_rows, n_cols; /* n_cols: 0 until the first line ended */
    size_t line, col;           /* of the cell being read; line from 1, col from 0 */
    size_t row_line;            /* where the row began; quoted line ends move `line` on */
    size_t quote_line;          /* where the open quote is */
    cell_state state;
    bool names;   /* this line is the header */
    bool decided; /* whether there is a header is known */
    bool was_cr;
    char cell[CELL_MAX + 1];
    size_t len;
    kl__text header;
} csv;

static kl_status bad(const csv *c, const char *what)
{
    return kl__fail(KL_E_FORMAT, "%s: line %zu, column %zu: %s", c->path, c->line, c->col + 1,
                    what);
}

static char *trimmed(csv *c)
{
    char *s = c->cell;
    c->cell[c->len] = 0;
    while (*s == ' ' || *s == '\t') {
        s++;
    }
    for (char *e = c->cell + c->len; e > s && (e[-1] == ' ' || e[-1] == '\t');) {
        *--e = 0;
    }
    return s;
}

static kl_status put_name(csv *c, char *s)
{
    for (char *p = s; *p; p++) {
        *p = *p == '\n' || *p == '\r' ? ' ' : *p; /* '\n' separates the names */
    }
    kl__put(&c->header, "%s%s", c->col ? "\n" : "", s);
    return c->header.failed ? kl__no_memory(c->header.len) : KL_OK;
}

static kl_status put_number(csv *c, double v)
{
    const size_t at = c->n_rows * c->n_cols + c->col;
    if (c->n_cols && c->col >= c->n_cols) {
        return kl__fail(KL_E_FORMAT, "%s: line %zu has more than the %zu cells of the lines before",
                        c->path, c->row_line, c->n_cols);
    }
    kl_status s = kl__grow(&c->v, &c->cap, at + 1, sizeof *c->v);
    if (s == KL_OK) {
        c->v[at] = v;
    }
    return s;
}

static kl_status not_number(const csv *c, const char *s)
{
    if (!*s) {
        return bad(c, "empty cell, a number was expected");
    }
    return kl__fail(KL_E_FORMAT, "%s: line %zu, column %zu: \"%.40s\" is no number", c->path,
                    c->line, c->col + 1, s);
}

static kl_status end_cell(csv *c)
{
    char *s = trimmed(c);
    double v = 0;
    const bool number = kl__parse_double(s, &v);
    if (!c->decided) {
        c->decided = true;
        c->names = !number;
    }
    kl_status st = c->names ? put_name(c, s) : number ? put_number(c, v) : not_number(c, s);
    if (st) {
        return st;
    }
    c->col++;
    c->len = 0;
    c->state = START;
    return KL_OK;
}

static kl_status end_line(csv *c)
{
    kl_status s = KL_OK;
    if (c->col == 0 && c->len == 0 && c->state == START) { /* blank lines are no rows */
        goto next;
    }
    if ((s = end_cell(c)) != KL_OK) {
        return s;
    }
    if (c->n_cols && c->col != c->n_cols) {
        return kl__fail(KL_E_FORMAT, "%s: line %zu has %zu cells, the lines before have %zu",
                        c->path, c->row_line, c->col, c->n_cols);
    }
    c->n_cols = c->col;
    c->n_rows += !c->names;
    c->names = false;
next:
    c->line++;
    c->row_line = c->line;
    c->col = 0;
    return KL_OK;
}

static kl_status keep(csv *c, char b)
{
    if (c->len == CELL_MAX) {
        return bad(c, "a cell of more than 4096 bytes");
    }
    c->cell[c->len++] = b;
    return KL_OK;
}

static kl_status in_quotes(csv *c, char b)
{
    if (b == '"') {
        c->state = AFTER_QUOTE;
        return KL_OK;
    }
    c->line += b == '\n';
    return keep(c, b);
}

static kl_status byte(csv *c, char b)
{
    const bool after_cr = c->was_cr;
    c->was_cr = false;
    if (b == 0) {
        return bad(c, "a zero byte; this is no text file");
    }
    if (c->state == QUOTED) {
        return in_quotes(c, b);
    }
    if (b == '\n' && after_cr) {
        return KL_OK; /* the CR ended the line */
    }
    if (b == '\n' || b == '\r') {
        c->was_cr = b == '\r';
        return end_line(c);
    }
    if (b == ',') {
        return end_cell(c);
    }
    if (c->state == AFTER_QUOTE) {
        if (b != '"') {
            return b == ' ' ? KL_OK : bad(c, "text after the closing quote");
        }
        c->state = QUOTED;
        return keep(c, b);
    }
    if (b == '"') {
        if (c->state != START) {
            return bad(c, "a quote inside an unquoted cell");
        }
        c->state = QUOTED;
        c->quote_line = c->line;
        return KL_OK;
    }
    c->state = PLAIN;
    return keep(c, b);
}

static kl_status read_all(csv *c, kl__reader *r, char *chunk)
{
    bool first = true;
    size_t got = 0;
    do {
        kl_status s = kl__reader_some(r, chunk, CHUNK, &got);
        if (s) {
            return s;
        }
        size_t i =
            first && got >= 3 && !memcmp(chunk, "\xef\xbb\xbf", 3) ? 3 : 0; /* byte-order mark */
        first = false;
        for (; i < got; i++) {
            if ((s = byte(c, chunk[i])) != KL_OK) {
                return s;
            }
        }
    } while (got == CHUNK);
    if (c->state == QUOTED) {
        return kl__fail(KL_E_FORMAT, "%s: the quote opened on line %zu never closes", c->path,
                        c->quote_line);
    }
    if (c->col || c->len || c->state != START) {
        kl_status s = end_line(c);
        if (s) {
            return s;
        }
    }
    return c->n_cols ? KL_OK : kl__fail(KL_E_FORMAT, "%s: no rows", c->path);
}

kl_status kl__csv_read(const char *path, kl__array *out, char **header)
{
    kl_status s = KL_OK;
    memset(out, 0, sizeof *out);
    if (header) {
        *header = NULL;
    }
    char *chunk = NULL;
    csv *c = NULL;
    kl__reader *r = kl__reader_open(path);
    if (!r || !(chunk = kl__alloc(CHUNK)) || !(c = kl__calloc(1, sizeof *c))) {
        s = kl__last_status();
        goto out;
    }
    c->path = path;
    c->line = c->row_line = 1;
    if ((s = read_all(c, r, chunk)) != KL_OK ||
        (s = kl__grow(&c->v, &c->cap, 1, sizeof *c->v)) != KL_OK) {
        goto out;
    }
    const int64_t dim[2] = {(int64_t)c->n_rows, (int64_t)c->n_cols};
    if ((s = kl__array_shape(path, out, KL__F64, 2, dim)) != KL_OK) {
        goto out;
    }
    out->data = c->v;
    c->v = NULL;
    if (header && c->header.s) {
        *header = c->header.s;
        c->header = (kl__text){0};
    }
out:
    if (c) {
        kl__text_free(&c->header);
        kl__free(c->v);
    }
    kl__free(c);
    kl__free(chunk);
    kl__reader_close(r);
    return s;
}
