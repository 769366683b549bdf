/* kiln dump: a model as text. */
#include "net.h"

#include <stdio.h>

static int run_dump(args *a)
{
    net n;
    int code = net_open(&n, a->operands[0], NULL);
    char *text = NULL;
    if (code == 0) {
        const kl_graph *g = kl_model_graph(n.model);
        text = args_has(a, "dot") ? kl_graph_dot(g) : kl_graph_print(g);
        code = text ? 0 : fail_status(KL_OK);
    }
    if (code == 0) {
        fputs(text, stdout);
    }
    kl_free(text);
    net_close(&n);
    return code;
}

static const option_def options[] = {
    {"dot", 0, OPT_FLAG, NULL, "Graphviz DOT: kiln dump --dot lenet | dot -Tsvg > lenet.svg", 0, 0},
    OPTION_TALK,
    OPTION_HELP,
    {0}};

const command_def cmd_dump = {.name = "dump",
                              .operands = "MODEL",
                              .summary = "print a model's graph",
                              .more = "MODEL is an architecture, a graph's text file, a checkpoint "
                                      "or a run's folder. What is printed is what\n"
                                      "--model takes: change it and train it.\n",
                              .options = options,
                              .min_operands = 1,
                              .max_operands = 1,
                              .run = run_dump};
