/* What the files of the doctor share. */
#ifndef KL_DEVICE_DOCTOR_H
#define KL_DEVICE_DOCTOR_H

#include "base/error.h"

#include <kiln/inspect.h>

enum { KL__DOCTOR_DEVICES = 64, KL__DOCTOR_SECONDS = 60 };

typedef enum kl__record_kind {
    KL__RECORD_FINDING,
    KL__RECORD_TRYING, /* what comes next: the sentence if it ends the process */
    KL__RECORD_DEVICE, /* there is such a device */
    KL__RECORD_PASSED  /* the device that was tried can train */
} kl__record_kind;
typedef struct kl__record {
    kl__record_kind kind;
    kl_finding finding;  /* FINDING; TRYING: what */
    kl_device_info info; /* DEVICE */
} kl__record;

typedef struct kl__doctor {
    kl_finding *list;
    size_t n, cap;
    kl_status status; /* the first failure of the doctor itself */
    int pipe;         /* in a child: where records go; else -1 */
    bool isolate;
    char trying[160];
    kl_device_info device[KL__DOCTOR_DEVICES];
    bool passed[KL__DOCTOR_DEVICES];
    int n_devices, now;  /* now: the device that is tried */
    const char *library; /* that is tried */
} kl__doctor;

/** Adds a finding. fix NULL: nothing is to be done. */
void kl__find(kl__doctor *d, kl_finding_level level, const char *fix, const char *fmt, ...)
    KL_PRINTF(4, 5);
/** Says what is about to be tried, in case it kills the process. */
void kl__trying(kl__doctor *d, const char *fmt, ...) KL_PRINTF(2, 3);
void kl__record_put(kl__doctor *d, const kl__record *r);

/** Runs `stage` in a child where d isolates, else here. A child that dies or takes longer than
 * KL__DOCTOR_SECONDS is a finding with `fix`. */
void kl__doctor_stage(kl__doctor *d, void (*stage)(kl__doctor *d), const char *fix);

/* doctor_system.c: looks at files only, but for kl__doctor_drivers, which opens libraries (in
 * children). */
void kl__doctor_drivers(kl__doctor *d); /* loader, ICD files */
void kl__doctor_permissions(kl__doctor *d);
void kl__doctor_caches(kl__doctor *d);
void kl__doctor_environment(kl__doctor *d);
/** Is `path` a folder that can be written, or could be made as one? */
bool kl__can_write_dir(const char *path);
/** Where PoCL keeps its kernels, fresh memory. */
char *kl__pocl_cache_dir(void);

/* doctor_probe.c: stages that call OpenCL. */
void kl__doctor_list(kl__doctor *d);  /* platforms and devices */
void kl__doctor_probe(kl__doctor *d); /* device d->now */

#endif
