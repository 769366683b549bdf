/* The doctor: what may keep OpenCL from working here, in the order in which one thing needs the
 * other, and what to do. */
#define _DEFAULT_SOURCE /* strsignal's neighbours, pipe flags by fcntl */
#include "device/doctor.h"

#include "base/mem.h"
#include "base/thread.h"
#include "base/vfs.h"
#include "device/opencl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- findings ---- */
static void keep(kl__doctor *d, const kl__record *r)
{
    switch (r->kind) {
    case KL__RECORD_FINDING:
        if (kl__grow(&d->list, &d->cap, d->n + 1, sizeof *d->list) != KL_OK)
            d->status = KL_E_MEMORY;
        else
            d->list[d->n++] = r->finding;
        break;
    case KL__RECORD_TRYING:
        memcpy(d->trying, r->finding.what, sizeof d->trying);
        break;
    case KL__RECORD_DEVICE:
        if (d->n_devices < KL__DOCTOR_DEVICES)
            d->device[d->n_devices++] = r->info;
        break;
    case KL__RECORD_PASSED:
        d->passed[d->now] = true;
        break;
    }
}

void kl__record_put(kl__doctor *d, const kl__record *r)
{
    if (d->pipe < 0) {
        keep(d, r);
        return;
    }
    const char *at = (const char *)r;
    for (size_t left = sizeof *r; left;) {
        ssize_t n = write(d->pipe, at, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody listens any more */
        at += n;
        left -= (size_t)n;
    }
}

void kl__find(kl__doctor *d, kl_finding_level level, const char *fix, const char *fmt, ...)
{
    kl__record r;
    va_list ap;
    memset(&r, 0, sizeof r);
    r.kind = KL__RECORD_FINDING;
    r.finding.level = level;
    va_start(ap, fmt);
    vsnprintf(r.finding.what, sizeof r.finding.what, fmt, ap);
    va_end(ap);
    snprintf(r.finding.fix, sizeof r.finding.fix, "%s", fix ? fix : "");
    kl__record_put(d, &r);
}

void kl__trying(kl__doctor *d, const char *fmt, ...)
{
    kl__record r;
    va_list ap;
    memset(&r, 0, sizeof r);
    r.kind = KL__RECORD_TRYING;
    va_start(ap, fmt);
    vsnprintf(r.finding.what, sizeof r.finding.what, fmt, ap);
    va_end(ap);
    kl__record_put(d, &r);
}

/* ---- children ---- */
/** Takes records until the child closes its end; false: the time is over. */
static bool listen_to(kl__doctor *d, int fd)
{
    double end = kl__now() + KL__DOCTOR_SECONDS;
    kl__record r;
    size_t got = 0;
    for (;;) {
        double left = end - kl__now();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left <= 0)
            return false;
        int ready = poll(&p, 1, (int)(left * 1000) + 1);
        if (ready == 0)
            return false;
        if (ready < 0 && errno == EINTR)
            continue;
        ssize_t n = read(fd, (char *)&r + got, sizeof r - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return true;
        got += (size_t)n;
        if (got == sizeof r) {
            keep(d, &r);
            got = 0;
        }
    }
}

static void child(kl__doctor *d, int fd, void (*stage)(kl__doctor *d))
{
    kl_set_log(NULL, NULL, KL_LOG_ERROR);
    d->pipe = fd;
    stage(d);
    _exit(d->status == KL_OK
              ? 0
              : 1); /* no exit handlers: they are the parent's, and drivers' may hang */
}

static void tell_end(kl__doctor *d, bool in_time, pid_t pid, const char *fix)
{
    int status = 0;
    pid_t got;
    if (!in_time)
        kill(pid, SIGKILL);
    while ((got = waitpid(pid, &status, 0)) < 0 && errno == EINTR) {
    }
    if (!in_time)
        kl__find(d, KL_FINDING_BAD, fix, "%s: no answer within %d seconds", d->trying,
                 KL__DOCTOR_SECONDS);
    else if (got == pid && WIFSIGNALED(status))
        kl__find(d, KL_FINDING_BAD, fix, "%s: the driver ended its process (%s)", d->trying,
                 strsignal(WTERMSIG(status)));
    else if (got == pid && WIFEXITED(status) && WEXITSTATUS(status))
        kl__find(d, KL_FINDING_BAD, fix, "%s: the driver left with exit status %d", d->trying,
                 WEXITSTATUS(status));
}

void kl__doctor_stage(kl__doctor *d, void (*stage)(kl__doctor *d), const char *fix)
{
    int fd[2];
    if (!d->isolate) {
        stage(d);
        return;
    }
    if (pipe(fd) != 0) {
        d->status = kl__fail_errno("doctor", "open a pipe", -errno);
        return;
    }
    fcntl(fd[0], F_SETFD, FD_CLOEXEC);
    fcntl(fd[1], F_SETFD, FD_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        close(fd[0]);
        child(d, fd[1], stage);
    }
    close(fd[1]);
    if (pid < 0) {
        d->status = kl__fail_errno("doctor", "start a child process", -errno);
    } else {
        bool in_time = listen_to(d, fd[0]);
        tell_end(d, in_time, pid, fix);
    }
    close(fd[0]);
}

/* ---- the visit ---- */
static void try_devices(kl__doctor *d)
{
    char fix[240];
    for (d->now = 0; d->now < d->n_devices; d->now++) {
        const kl_device_info *i = &d->device[d->now];
        if (!i->usable)
            continue;
        snprintf(fix, sizeof fix,
                 "update or remove the driver %.60s (%.60s), or choose another device by "
                 "KILN_DEVICE=P:D",
                 i->platform_name, i->driver);
        snprintf(d->trying, sizeof d->trying, "device %d:%d %.100s", i->platform, i->device,
                 i->name);
        kl__doctor_stage(d, kl__doctor_probe, fix);
    }
}

/** The last line. `auto` takes the highest score whether or not the device passed. */
static void verdict(kl__doctor *d)
{
    int best = -1, first = -1;
    for (int i = 0; i < d->n_devices; i++) {
        if (d->device[i].usable && (first < 0 || d->device[i].score > d->device[first].score))
            first = i;
        if (d->passed[i] && (best < 0 || d->device[i].score > d->device[best].score))
            best = i;
    }
    if (best < 0) {
        kl__find(d, KL_FINDING_BAD,
                 "mend the first line marked bad above; on a machine without a GPU: apt install "
                 "ocl-icd-libopencl1 pocl-opencl-icd",
                 "training cannot run: no device works");
        return;
    }
    const kl_device_info *i = &d->device[best];
    char fix[64] = "";
    if (first != best)
        snprintf(fix, sizeof fix, "set KILN_DEVICE=%d:%d", i->platform, i->device);
    kl__find(d, first == best ? KL_FINDING_OK : KL_FINDING_BAD, fix,
             "training %s run on %d:%d %.90s%s", first == best ? "will" : "can", i->platform,
             i->device, i->name, first == best ? "" : ", but another that failed is preferred");
}

kl_status kl_doctor(bool isolate, kl_finding **out, size_t *n)
{
    if (!out || !n)
        return kl__fail(KL_E_ARG, "kl_doctor: %s is NULL", out ? "n" : "out");
    *out = NULL;
    *n = 0;
    kl__doctor *d = kl__calloc(1, sizeof *d);
    if (!d)
        return KL_E_MEMORY;
    d->pipe = -1;
    d->isolate = isolate && !kl__cl_started();
    if (isolate && !d->isolate)
        kl__find(
            d, KL_FINDING_NOTE, "run it in a fresh process",
            "this process uses OpenCL already, so drivers are tried in it rather than in children");
    kl__doctor_drivers(d);
    snprintf(d->trying, sizeof d->trying, "listing platforms");
    kl__doctor_stage(
        d, kl__doctor_list,
        "remove the .icd files in /etc/OpenCL/vendors one by one to find the driver that fails");
    kl__doctor_permissions(d);
    try_devices(d);
    kl__doctor_caches(d);
    kl__doctor_environment(d);
    verdict(d);
    kl_status st = d->status;
    if (st == KL_OK) {
        *out = d->list;
        *n = d->n;
    } else {
        kl__free(d->list);
    }
    kl__free(d);
    return st;
}
