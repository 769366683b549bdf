/* What the tests of this floor share: a folder that goes away, an allocator and a table of files
 * that can be told to fail at the N-th call. */
#ifndef TESTS_BASE_RIG_H
#define TESTS_BASE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <kiln/base.h>

/** cmocka set-up and tear-down: a fresh folder before each test, gone with all in it after. */
int rig_enter(void **state);
int rig_leave(void **state);
/** The folder's path with "/NAME". Static storage, four at a time. */
const char *rig_path(const char *name);
/** How many entries the folder has. */
size_t rig_entries(void);

/** Allocator that counts what is alive, and fails at call `fail_at` (from 1; 0: never). */
typedef struct rig_mem {
    long calls, alive, fail_at;
} rig_mem;
extern rig_mem rig_memory;
void rig_mem_on(long fail_at);
void rig_mem_off(void);

/** Table of files over POSIX. `trace` gets a letter per call: o open for reading, O for writing, z
 * size, r read, w write, s sync, c close, n rename, x remove, d sync_dir. */
typedef struct rig_disk {
    long calls, fail_at; /* fails at this call (from 1; 0: never) */
    bool forever;        /* and at all later ones */
    int error;           /* with this errno */
    size_t most;         /* bytes per read or write (0: all) */
    int open;            /* handles now */
    char trace[256];
} rig_disk;
extern rig_disk rig_files;
void rig_disk_on(rig_disk how);
void rig_disk_off(void);

#endif
