/* report.html: a training on one page that needs nothing else. */
#ifndef REPORT_H
#define REPORT_H

#include "classes.h"
#include "run.h"
#include "shares.h"

typedef struct report {
    const run *run;
    const args *args;
    const classes *classes; /* NULL: no confusion matrix */
    const shares *shares;
    const char *pieces; /* how a batch was cut; NULL: not worth a word */
    const char *model, *data, *val, *result; /* phrases */
    double seconds;
} report;

int report_write(const report *r, const char *path);

#endif
