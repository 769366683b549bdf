/* A confusion matrix, printed. */
#ifndef CLASSES_H
#define CLASSES_H

#include "json.h"
#include "net.h"

typedef struct classes {
    const net *net;
    const kl_dataset *data;
    const kl_confusion *confusion;
    int n;
} classes;

void classes_print_table(const classes *c);  /* precision, recall, F1, samples of each */
void classes_print_matrix(const classes *c); /* nothing for more than 20 classes */
int classes_write_csv(const classes *c, const char *path);
json_t *classes_json(const classes *c);
const char *class_name(const classes *c, int k, char buffer[16]);

#endif
