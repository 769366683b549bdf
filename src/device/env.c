/* The environment that drivers want before their first call; for programs, never for the library
 * itself. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "base/thread.h"

#include <kiln/context.h>

#include <stdlib.h>
#ifdef __linux__
#include <sched.h>
#include <unistd.h>

/* PoCL pins its worker i to CPU i, over the head of taskset and cgroups, and aborts where that CPU
 * may not be used. */
static bool runs_on_exactly_all(void)
{
    cpu_set_t set;
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    CPU_ZERO(&set);
    if (n < 1 || n > CPU_SETSIZE || sched_getaffinity(0, sizeof set, &set) || CPU_COUNT(&set) != n)
        return false;
    for (int i = 0; i < n; i++)
        if (!CPU_ISSET((size_t)i, &set))
            return false;
    return true;
}
#else
static bool runs_on_exactly_all(void)
{
    return false;
}
#endif

void kl_env_prepare(void)
{
    if (!getenv("POCL_AFFINITY") && runs_on_exactly_all())
        setenv("POCL_AFFINITY", "1", 0);
}
