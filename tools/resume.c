/* Which training --resume means. */
#include "run.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool run_has(const char *dir, const char *name)
{
    struct stat st;
    char *p = must_print("%s/%s", dir, name);
    const bool there = stat(p, &st) == 0;
    free(p);
    return there;
}

int run_find(args *a, char **run_dir, char **checkpoint)
{
    const char *what = args_text(a, "resume");
    struct stat st;
    what = what ? what : args_text(a, "out");
    if (!what) {
        return fail(EXIT_USAGE, "--resume: say which run's folder or checkpoint, or --out DIR");
    }
    if (args_has(a, "model") || args_has(a, "loss")) {
        return fail(EXIT_USAGE,
                    "--resume: the model and its loss are the checkpoint's; leave --%s out",
                    args_has(a, "model") ? "model" : "loss");
    }
    if (args_has(a, "micro-batch")) {
        return fail(EXIT_USAGE,
                    "--resume: a training keeps its number of shards, on which its bits "
                    "depend; leave --micro-batch out");
    }
    if (stat(what, &st) != 0) {
        return fail(EXIT_DATA, "--resume %s: there is no such folder or file", what);
    }
    if (S_ISDIR(st.st_mode)) {
        *run_dir = must_copy(what);
        *checkpoint = must_print("%s/last.kiln", what);
        if (!run_has(what, "last.kiln")) {
            return fail(EXIT_DATA, "%s: there is no last.kiln to go on from", what);
        }
    } else {
        const char *slash = strrchr(what, '/');
        char *dir = slash ? must_print("%.*s", (int)(slash - what), what) : must_copy(".");
        *checkpoint = must_copy(what);
        if (run_has(dir, "args.json")) {
            *run_dir = dir;
        } else {
            free(dir);
        }
    }
    return *run_dir && run_has(*run_dir, "args.json") ? run_read_args(a, *run_dir) : 0;
}
