/* JSON for scripts. */
#ifndef JSON_H
#define JSON_H

#include <jansson.h>
#include <stdint.h>

/** Prints it on stdout with a newline, and frees it. */
void print_json(json_t *j);
/** A number, or null where it is NaN or infinite: JSON has neither. */
json_t *json_number_or_null(double v);
/** A string; bytes that are no UTF-8 become '?': drivers and file names hold what they like. */
json_t *json_text(const char *s);
/** [2, 3]; the batch as -1. */
json_t *json_shape(int n, const int64_t *dim);

#endif
