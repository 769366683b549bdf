/* The program kiln: finds the command and runs it. */
#include "cli.h"
#include "term.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const command_def cmd_bench, cmd_devices, cmd_doctor, cmd_dump, cmd_eval, cmd_explain,
    cmd_gradcheck, cmd_ops, cmd_predict, cmd_selftest, cmd_summary, cmd_train, cmd_tune;

static int run_help(args *a);
static int run_version(args *a);

static const option_def help_options[] = {OPTION_HELP, {0}};
static const command_def cmd_help = {.name = "help",
                                     .operands = "[command]",
                                     .summary = "explain a command",
                                     .options = help_options,
                                     .max_operands = 1,
                                     .run = run_help};
static const option_def version_options[] = {OPTION_HELP, {0}};
static const command_def cmd_version = {.name = "version",
                                        .operands = "",
                                        .summary = "print the version",
                                        .options = version_options,
                                        .run = run_version};

const command_def *const commands[] = {&cmd_devices,   &cmd_doctor,  &cmd_selftest, &cmd_train,
                                       &cmd_eval,      &cmd_predict, &cmd_summary,  &cmd_bench,
                                       &cmd_tune,      &cmd_explain, &cmd_gradcheck, &cmd_ops,
                                       &cmd_dump,      &cmd_version, &cmd_help,     NULL};

const command_def *find_command(const char *name)
{
    for (size_t i = 0; commands[i]; i++) {
        if (!strcmp(commands[i]->name, name)) {
            return commands[i];
        }
    }
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[32];
    size_t n = 0;
    for (; commands[n]; n++) {
        names[n] = commands[n]->name;
    }
    const char *near = nearest(name, names, n);
    return near ? fail(EXIT_USAGE, "there is no command \"%s\"; did you mean \"%s\"?", name, near)
                : fail(EXIT_USAGE, "there is no command \"%s\"; `kiln help` lists them", name);
}

static void print_overview(FILE *to)
{
    fprintf(to,
            "kiln %s: trains and runs deep networks on any OpenCL device\n\nusage: kiln COMMAND "
            "[options]\n\n",
            kl_version());
    for (size_t i = 0; commands[i]; i++) {
        fprintf(to, "  %-10s  %s\n", commands[i]->name, commands[i]->summary);
    }
    fprintf(to, "\nfirst steps:\n"
                "  kiln doctor                                     what may be wrong with this "
                "machine's OpenCL\n"
                "  kiln train --data fashion-mnist --model lenet   train; the run lies in runs/\n"
                "  kiln predict runs/NAME/best.kiln photo.png      what is it?\n"
                "\n`kiln help COMMAND` explains. Exit codes: 0 ok, 1 the run failed, 2 usage, 3 no "
                "device,\n"
                "4 data or files, 5 device or driver, 130 interrupted.\n");
}

static int run_help(args *a)
{
    if (a->n_operands == 0) {
        print_overview(stdout);
        return 0;
    }
    const command_def *c = find_command(a->operands[0]);
    if (!c) {
        return unknown_command(a->operands[0]);
    }
    print_help(c, stdout);
    return 0;
}

static int run_version(args *a)
{
    (void)a;
    printf("kiln %s\n", kl_version());
    return 0;
}

static void on_log(void *user, kl_log_level level, const char *line)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    (void)user;
    flockfile(stderr); /* devices' threads warn, too, while progress is drawn */
    progress_clear();
    fprintf(stderr, "kiln: %s: %s\n", names[level], line);
    funlockfile(stderr);
}

static void set_verbosity(const args *a)
{
    for (size_t i = 0; i < a->n_given; i++) {
        const char letter = a->given[i].option->letter;
        if (letter == 'v') {
            verbosity = verbosity < 0 ? 1 : verbosity + 1;
        } else if (letter == 'q') {
            verbosity = -1;
        }
    }
    const kl_log_level level = verbosity < 0    ? KL_LOG_ERROR
                               : verbosity == 0 ? KL_LOG_WARN
                               : verbosity == 1 ? KL_LOG_INFO
                                                : KL_LOG_DEBUG;
    kl_set_log(on_log, NULL, level);
}

/* What was printed must have arrived: a full disk is no success. */
static int close_output(int code)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return code ? code : fail(EXIT_DATA, "the output could not be written");
    }
    return code;
}

static int run(const command_def *c, int argc, char **argv)
{
    args a;
    char *name = must_print("kiln %s", c->name);
    set_message_name(name);
    int code = args_parse(&a, c, argc, argv);
    if (code == 0 && a.help) {
        print_help(c, stdout);
    } else if (code == 0) {
        set_verbosity(&a);
        code = c->run(&a);
    }
    progress_clear();
    code = close_output(code);
    args_free(&a);
    set_message_name("kiln");
    free(name);
    return code;
}

/* A standard stream that is closed would give its number to the next file opened, and what is
 * printed would land in a checkpoint. Opened for reading, so that printing fails as it should. */
static void hold_streams(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDONLY) != fd) {
            _exit(EXIT_RUN);
        }
    }
}

int main(int argc, char **argv)
{
    hold_streams();
    signal(SIGXFSZ, SIG_IGN); /* a file too large is an error that is told, as a full disk is */
    kl_env_prepare();
    if (argc < 2) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    word = !strcmp(word, "--help") || !strcmp(word, "-h") ? "help" : word;
    word = !strcmp(word, "--version") || !strcmp(word, "-V") ? "version" : word;
    const command_def *c = find_command(word);
    return c ? run(c, argc - 1, argv + 1) : unknown_command(word);
}
