/* Data sets as the commands want them. */
#ifndef DATA_H
#define DATA_H

#include "net.h"

/** Opens `spec`. NULL after a message: *code. */
kl_dataset *data_open(const char *spec, int *code);
/** What --val says: a spec, a fraction of the training data, or without it the data's own test
 * part, else a tenth. *val NULL: no validation. `what`: a phrase for people, fresh memory. */
int data_open_val(kl_dataset *train, const char *spec, const char *val_option, uint64_t seed,
                  kl_dataset **val, char **what);
/** The checkpoint's normalisation where it has one, else the training data's own. */
int data_normalise(const net *n, kl_dataset *train, kl_dataset *val);
/** "flip,shift=2,crop=4" */
int data_augment(kl_dataset *d, const char *text);
/** What is wrong between the samples and the model, before anything is compiled for it. */
int data_check(const net *n, const kl_dataset *d);

#endif
