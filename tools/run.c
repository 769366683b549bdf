/* The folder of a training: what it was asked, what it did, what came of it. */
#include "run.h"
#include "json.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- files
 * ---------------------------------------------------------------------------------------------- */

static int cannot_write(const char *path, int error)
{
    return fail(EXIT_DATA, "%s: it could not be written: %s", path, strerror(error));
}

int write_whole(const char *path, const char *text, size_t n)
{
    char *part = must_print("%s.tmp", path);
    FILE *f = fopen(part, "wb");
    bool ok = f && fwrite(text, 1, n, f) == n && fflush(f) == 0 && fsync(fileno(f)) == 0;
    int error = errno;
    if (f && fclose(f) != 0 && ok) {
        error = errno;
        ok = false;
    }
    if (ok && rename(part, path) != 0) {
        error = errno;
        ok = false;
    }
    if (!ok && f) {
        remove(part);
    }
    free(part);
    return ok ? 0 : cannot_write(path, error);
}

static char *read_whole(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *s = NULL;
    size_t n = 0, got;
    if (!f) {
        return NULL;
    }
    do {
        s = must_grow(s, n + 4097, 1);
        got = fread(s + n, 1, 4096, f);
        n += got;
    } while (got);
    s[n] = 0;
    fclose(f);
    return s;
}

/* ---- the folder
 * ------------------------------------------------------------------------------------------- */

static bool is_empty(const char *dir)
{
    bool empty = true;
    DIR *d = opendir(dir);
    for (struct dirent *e = d ? readdir(d) : NULL; e && empty; e = readdir(d)) {
        empty = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
    }
    if (d) {
        closedir(d);
    }
    return empty;
}

int run_make_dir(const char *dir)
{
    char *p = must_copy(dir);
    int error = 0;
    for (char *slash = p + 1; !error; slash++) {
        slash = strchr(slash, '/');
        if (slash) {
            *slash = 0;
        }
        error = mkdir(p, 0777) != 0 && errno != EEXIST ? errno : 0;
        if (!slash) {
            break;
        }
        *slash = '/';
    }
    struct stat st;
    if (!error && (stat(p, &st) != 0 || !S_ISDIR(st.st_mode))) {
        error = ENOTDIR;
    }
    free(p);
    return error
               ? fail(EXIT_DATA, "%s: the run's folder could not be made: %s", dir, strerror(error))
               : 0;
}

static char *default_dir(const char *name)
{
    char when[32] = "";
    struct tm tm;
    const time_t t = time(NULL);
    struct stat st;
    if (localtime_r(&t, &tm)) {
        strftime(when, sizeof when, "%Y%m%d-%H%M%S", &tm);
    }
    char *dir = must_print("runs/%s-%s", name, when);
    for (int i = 2; stat(dir, &st) == 0; i++) { /* two in one second */
        free(dir);
        dir = must_print("runs/%s-%s-%d", name, when, i);
    }
    return dir;
}

static void set_dir(run *r, char *dir)
{
    for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/'; n--) {
        dir[n - 1] = 0;
    }
    *r = (run){.dir = dir,
               .last = must_print("%s/last.kiln", dir),
               .best = must_print("%s/best.kiln", dir)};
}

int run_create(run *r, const char *dir, const char *name)
{
    set_dir(r, dir ? must_copy(dir) : default_dir(name));
    if (!is_empty(r->dir)) {
        return fail(EXIT_USAGE,
                    "%s is not empty; choose another --out, or --resume %s to go on with it",
                    r->dir, r->dir);
    }
    return run_make_dir(r->dir);
}

void run_adopt(run *r, char *dir)
{
    set_dir(r, dir);
}

void run_free(run *r)
{
    free(r->dir);
    free(r->last);
    free(r->best);
    free(r->rows);
    *r = (run){0};
}

/* ---- log.csv --------------------------------------------------------------------------------- */

static const char HEAD[] =
    "epoch,step,loss,accuracy,val_loss,val_accuracy,lr,images_per_second,seconds\n";

static void put_number(FILE *f, double v, const char *after)
{
    if (isfinite(v)) {
        fprintf(f, "%.8g%s", v, after);
    } else {
        fputs(after, f); /* an empty cell */
    }
}

static void put_row(FILE *f, const log_row *w)
{
    fprintf(f, "%d,%lld,", w->epoch, (long long)w->step);
    put_number(f, w->loss, ",");
    put_number(f, w->accuracy, ",");
    put_number(f, w->val_loss, ",");
    put_number(f, w->val_accuracy, ",");
    put_number(f, w->lr, ",");
    put_number(f, w->images_per_second, ",");
    put_number(f, w->seconds, "\n");
}

/* Rewritten whole each epoch: a few kilobytes, and a full disk leaves the rows before. */
static int write_log(const run *r)
{
    char *text = NULL, *path = must_print("%s/log.csv", r->dir);
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    int code = f ? 0 : fail(EXIT_RUN, "memory ran out");
    if (f) {
        fputs(HEAD, f);
        for (size_t i = 0; i < r->n_rows; i++) {
            put_row(f, &r->rows[i]);
        }
        fclose(f);
        code = write_whole(path, text, n);
    }
    free(text);
    free(path);
    return code;
}

int run_add_row(run *r, const log_row *row)
{
    r->rows = must_grow(r->rows, r->n_rows + 1, sizeof *r->rows);
    r->rows[r->n_rows++] = *row;
    return write_log(r);
}

static const char *next_cell(const char *s, double *out)
{
    char *end;
    *out = *s == ',' || *s == '\n' ? (double)NAN : strtod(s, &end);
    const char *stop = s + strcspn(s, ",\n");
    return *stop == ',' ? stop + 1 : stop;
}

static void read_log(run *r, int epochs)
{
    char *path = must_print("%s/log.csv", r->dir), *text = read_whole(path);
    const char *s = text ? strchr(text, '\n') : NULL;
    for (; s && s[1]; s = strchr(s, '\n')) {
        double v[9];
        s++;
        for (int i = 0; i < 9; i++) {
            s = next_cell(s, &v[i]);
        }
        if (!(v[0] >= 1 && v[0] <= epochs)) { /* of an epoch that is trained again */
            continue;
        }
        r->rows = must_grow(r->rows, r->n_rows + 1, sizeof *r->rows);
        r->rows[r->n_rows++] =
            (log_row){(int)v[0], (int64_t)v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8]};
        r->seconds_before = isfinite(v[8]) ? v[8] : r->seconds_before;
    }
    free(text);
    free(path);
}

int run_continue(run *r, const char *dir, int epoch)
{
    set_dir(r, must_copy(dir));
    read_log(r, epoch);
    return run_make_dir(r->dir);
}

/* ---- args.json ------------------------------------------------------------------------------- */

static json_t *value_json(const option_def *o, const char *v)
{
    return o->kind == OPT_FLAG   ? json_true()
           : o->kind == OPT_INT  ? json_integer(strtoll(v, NULL, 10))
           : o->kind == OPT_REAL ? json_real(strtod(v, NULL))
                                 : json_string(v);
}

/* Not of the training; --memory has become its --shards and --micro-batch. */
static bool is_of_the_call(const char *name)
{
    static const char *const names[] = {"resume", "out", "trace", "memory"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(name, names[i])) {
            return true;
        }
    }
    return false;
}

static json_t *options_json(const args *a)
{
    json_t *j = json_object();
    for (size_t i = 0; i < a->n_given; i++) {
        const option_def *o = a->given[i].option;
        json_t *v =
            a->given[i].value || o->kind == OPT_FLAG ? value_json(o, a->given[i].value) : NULL;
        json_t *list = json_object_get(j, o->name);
        if (is_of_the_call(o->name)) {
            json_decref(v);
        } else if (o->kind != OPT_LIST) {
            json_object_set_new(j, o->name, v);
        } else if (list) {
            json_array_append_new(list, v);
        } else {
            list = json_array();
            json_array_append_new(list, v);
            json_object_set_new(j, o->name, list);
        }
    }
    return j;
}

int run_write_args(const run *r, const args *a)
{
    char *path = must_print("%s/args.json", r->dir);
    json_t *j = json_pack("{s:s, s:s, s:o}", "kiln", kl_version(), "command", a->command->name,
                          "options", options_json(a));
    char *bare =
        j ? json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(15) | JSON_PRESERVE_ORDER) : NULL;
    char *text = must_print("%s\n", bare ? bare : "");
    const int code = bare ? write_whole(path, text, strlen(text))
                          : fail(EXIT_RUN, "args.json could not be made");
    free(bare);
    free(text);
    json_decref(j);
    free(path);
    return code;
}

static int take_value(args *a, const char *name, const json_t *v)
{
    char text[64];
    if (json_is_integer(v)) {
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
    } else if (json_is_real(v)) {
        snprintf(text, sizeof text, "%.17g", json_real_value(v));
    }
    return json_is_true(v) ? args_set(a, name, NULL)
                           : args_set(a, name, json_is_string(v) ? json_string_value(v) : text);
}

int run_read_args(args *a, const char *dir)
{
    json_error_t error;
    char *path = must_print("%s/args.json", dir);
    json_t *j = json_load_file(path, 0, &error), *v;
    const char *name;
    const bool other_devices = args_has(a, "device"); /* an old --split is not of these */
    int code = 0;
    if (!j) {
        code = fail(EXIT_DATA, "%s: %s", path, error.text);
    }
    json_object_foreach(json_object_get(j, "options"), name, v)
    {
        if (code || args_has(a, name) || (other_devices && !strcmp(name, "split"))) {
            continue;
        }
        for (size_t i = 0; json_is_array(v) && i < json_array_size(v) && code == 0; i++) {
            code = take_value(a, name, json_array_get(v, i));
        }
        code = json_is_array(v) ? code : take_value(a, name, v);
    }
    json_decref(j);
    free(path);
    return code;
}
