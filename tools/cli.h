/* What every file of the program shares: the command table's types, arguments, messages. The
 * program stands on <kiln/...> alone: what it can do, an embedder can do. */
#ifndef CLI_H
#define CLI_H

#include <kiln/kiln.h>

#include <stdio.h>

/* ---- exit codes ------------------------------------------------------------------------------ */
enum {
    EXIT_RUN = 1,       /* the run failed */
    EXIT_USAGE = 2,     /* the command line is wrong */
    EXIT_NO_DEVICE = 3, /* no OpenCL device, or none that matches */
    EXIT_DATA = 4,      /* a file: not there, not readable, not writable, not what it says it is */
    EXIT_DEVICE = 5,    /* the device or its driver failed */
    EXIT_INTERRUPTED = 130
};
int exit_code(kl_status s);

/* ---- messages: one line on stderr, "kiln train: sentence"
 * ---------------------------------------- */
/** Prints the sentence, gives `code` back. */
int fail(int code, const char *fmt, ...) KL_PRINTF(2, 3);
/** The library's last error. A status of KL_OK means "as kl_last_status() has it". */
int fail_status(kl_status s);
/** A remark on stderr; silent under -q. */
void note(const char *fmt, ...) KL_PRINTF(1, 2);
/** What stands before each message: "kiln train". */
void set_message_name(const char *command);
extern int verbosity; /* -1 quiet, 0, 1 verbose, 2 more */

/* ---- options and commands
 * ------------------------------------------------------------------------ */
typedef enum option_kind {
    OPT_FLAG,
    OPT_STRING,
    OPT_INT,    /* whole number in lo..hi */
    OPT_REAL,   /* number in lo..hi */
    OPT_BYTES,  /* 1G, 512M, 64K or bytes */
    OPT_CHOICE, /* one of `arg`, "adamw|adam|sgd" */
    OPT_LIST,   /* may be given several times */
    OPT_MAYBE   /* its value may be left out */
} option_kind;

typedef struct option_def {
    const char *name;
    char letter; /* 0: none */
    option_kind kind;
    const char *arg;  /* what stands for the value in the help */
    const char *help; /* '\n' begins a new line */
    double lo, hi;
} option_def;

typedef struct args args;
typedef struct command_def {
    const char *name, *operands, *summary;
    const char *more;               /* examples and rules, after the options; may be NULL */
    const option_def *options;      /* ends with a zeroed one */
    int min_operands, max_operands; /* max -1: any number */
    int (*run)(args *a);
} command_def;

extern const command_def *const commands[]; /* ends with NULL */
const command_def *find_command(const char *name);
void print_help(const command_def *c, FILE *to);

/* The same line in every command that has it. */
#define OPTION_HELP                                                                                \
    {                                                                                              \
        "help", 'h', OPT_FLAG, NULL, "this text", 0, 0                                             \
    }
#define OPTION_JSON                                                                                \
    {                                                                                              \
        "json", 0, OPT_FLAG, NULL, "print JSON", 0, 0                                              \
    }
#define OPTION_DEVICE                                                                              \
    {                                                                                              \
        "device", 'd', OPT_STRING, "DEV",                                                          \
            "auto (default), gpu, cpu, P:D as `kiln devices` lists it, or part "                   \
            "of a name;\nDEV/N:I: part I (from 0) of N equal parts of its units",                  \
            0, 0                                                                                   \
    }
#define OPTION_EXACT                                                                               \
    {                                                                                              \
        "exact", 0, OPT_FLAG, NULL, "no Winograd convolution: smaller rounding errors, slower", 0, \
            0                                                                                      \
    }
#define OPTION_TALK                                                                                \
    {"verbose", 'v', OPT_FLAG, NULL, "say more; twice: much more", 0, 0},                          \
    {                                                                                              \
        "quiet", 'q', OPT_FLAG, NULL, "errors only", 0, 0                                          \
    }

/* ---- arguments of one call
 * ---------------------------------------------------------------------------- */
struct args {
    const command_def *command;
    struct given {
        const option_def *option;
        char *value; /* NULL: a flag, or a value left out */
    } * given;
    size_t n_given;
    char **operands;
    int n_operands;
    bool help;
};
/** Parses argv[1...] (argv[0] is the command). 0, or the exit code after a message. */
int args_parse(args *a, const command_def *c, int argc, char **argv);
void args_free(args *a);
/** Adds a value as if it had been given. 0, or the exit code after a message. */
int args_set(args *a, const char *name, const char *value);
bool args_has(const args *a, const char *name);
/** The last value given, NULL where there is none. */
const char *args_text(const args *a, const char *name);
int64_t args_int(const args *a, const char *name, int64_t otherwise);
double args_real(const args *a, const char *name, double otherwise);
uint64_t args_bytes(const args *a, const char *name); /* 0: not given */
/** The i-th value of an OPT_LIST; NULL after the last. */
const char *args_nth(const args *a, const char *name, size_t i);
/** The candidate that `word` may have been meant as, or NULL. */
const char *nearest(const char *word, const char *const *candidates, size_t n);

/* ---- memory: the program ends where there is none
 * ------------------------------------------------------ */
void *must_alloc(size_t n, size_t size);
void *must_grow(void *p, size_t n, size_t size);
char *must_copy(const char *s);
char *must_print(const char *fmt, ...) KL_PRINTF(1, 2);

/** Opens the device that --device names, as --exact asks, with kernels' compilation shown. NULL
 * after a message: *code. */
kl_ctx *open_device(const args *a, uint32_t flags, int *code);
/** The same for a choice that stands elsewhere; NULL: auto. */
kl_ctx *open_device_named(const char *device, uint32_t flags, int *code);
/** The same with kl_ctx_opts.tuned. */
kl_ctx *open_device_tuned(const args *a, uint32_t flags, const char *tuned, int *code);

/* ---- several devices ------------------------------------------------------------------------- */
typedef struct group {
    kl_ctx *ctx[KL_MAX_GROUP];
    kl_device_info info[KL_MAX_GROUP];
    size_t n;
} group;
/** Opens all devices that --device names, as --exact and --no-tune ask. tuned: kl_ctx_opts.tuned.
 * 0, or the exit code after a message; close it in any case. */
int open_device_group(const args *a, uint32_t flags, const char *tuned, group *g);
void close_group(group *g);
/** What --device takes for it: "0:0", of a part "0:0/2:1". */
const char *device_id(char out[32], const kl_device_info *d);
/** Its name beside its device_id: cut to fit a line. */
const char *device_label(char out[64], const kl_device_info *d);
/** Does --device name a list, all devices or all parts of one? */
bool names_group(const char *device);

#endif
