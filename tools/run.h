/* The folder of a training: what it was asked, what it did, what came of it. */
#ifndef RUN_H
#define RUN_H

#include "cli.h"

/** One line of log.csv: an epoch. */
typedef struct log_row {
    int epoch; /* from 1 */
    int64_t step;
    double loss, accuracy, val_loss, val_accuracy, lr, images_per_second, seconds;
} log_row;

typedef struct run {
    char *dir, *last, *best; /* the folder, and its checkpoints */
    log_row *rows;
    size_t n_rows;
    double seconds_before; /* of the trainings that this one goes on from */
} run;

/** Makes the folder; --out, or runs/NAME-date. A folder that has anything in it is refused. 0, or
 * the exit code after a message. */
int run_create(run *r, const char *dir, const char *name);
/** Takes an old one: reads the log's rows before `epoch` (from 0). */
int run_continue(run *r, const char *dir, int epoch);
/** A folder and those above it. 0, or the exit code after a message. */
int run_make_dir(const char *dir);
/** One that another process keeps: its name alone, which it takes. */
void run_adopt(run *r, char *dir);
void run_free(run *r);
bool run_has(const char *dir, const char *name);
/** What --resume names: the folder of the run where it has one, and the checkpoint. Options that
 *  the command line leaves open come from its args.json. 0, or the exit code after a message. */
int run_find(args *a, char **run_dir, char **checkpoint);
/** Reads the options of DIR/args.json that the command line does not give. */
int run_read_args(args *a, const char *dir);
int run_write_args(const run *r, const args *a);
int run_add_row(run *r, const log_row *row);

/** Writes a file whole or not at all. 0, or the exit code after a message. */
int write_whole(const char *path, const char *text, size_t n);

#endif
