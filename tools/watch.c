/* A training seen from outside: progress, log, Ctrl-C. */
#include "watch.h"
#include "json.h"
#include "ranks.h"
#include "term.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Ctrl-C
 * ---------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
    static const char text[] = "\nstopping after this step and saving; once more ends at once\n";
    if (stop) {
        _exit(EXIT_INTERRUPTED);
    }
    stop = sig;
    if (ranks_rank()) {
        return; /* the first one says it */
    }
    const ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
}

static void set_handler(void (*handler)(int))
{
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = handler;
    a.sa_flags = SA_RESTART;
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}

void watch_signals(void)
{
    set_handler(on_signal);
}

void unwatch_signals(void)
{
    set_handler(SIG_DFL);
}

bool was_interrupted(void)
{
    return stop != 0;
}

/* ---- progress
 * ---------------------------------------------------------------------------------------------- */

static const char *rate_text(number out, double v)
{
    snprintf(out, sizeof(number), v >= 1000 ? "%.0f" : "%.4g", v);
    return out;
}

static const char *value_text(number out, double v, const char *fmt)
{
    if (isfinite(v)) {
        snprintf(out, sizeof(number), fmt[0] == '%' ? "%.2f%%" : "%.4f",
                 fmt[0] == '%' ? 100 * v : v);
    } else {
        snprintf(out, sizeof(number), "-");
    }
    return out;
}

static void show_step(watch *w, const kl_progress *p)
{
    enum { WIDE = 20 };
    char bar[WIDE + 1], split[96] = "";
    number loss, accuracy, eta, rate;
    const int full = p->steps > 0 ? (int)(WIDE * p->step / p->steps) : 0;
    for (int i = 0; i < WIDE; i++) {
        bar[i] = i < full ? '=' : i == full ? '>' : ' ';
    }
    bar[WIDE] = 0;
    if (w->group->n > 1) {
        shares_take(w->shares, w->trainer);
        shares_brief(split, w->shares);
    }
    progress_line("epoch %d/%d  %lld/%lld [%s]  loss %s  accuracy %s  %s images/s%s  ETA %s",
                  p->epoch + 1, p->epochs, (long long)p->step, (long long)p->steps, bar,
                  value_text(loss, p->loss, "f"), value_text(accuracy, p->accuracy, "%"),
                  rate_text(rate, p->images_per_second), split, seconds_text(eta, p->eta_seconds));
}

static void show_epoch(const watch *w, const kl_progress *p, double seconds)
{
    number loss, accuracy, val_loss, val_accuracy, rate, time;
    progress_clear();
    if (verbosity >= 0) {
        fprintf(w->say, "epoch %*d/%d  loss %s  accuracy %s", p->epochs > 9 ? 2 : 1, p->epoch + 1,
                p->epochs, value_text(loss, p->loss, "f"), value_text(accuracy, p->accuracy, "%"));
        if (w->has_val) {
            fprintf(w->say, "  val_loss %s  val_accuracy %s",
                    value_text(val_loss, p->val_loss, "f"),
                    value_text(val_accuracy, p->val_accuracy, "%"));
        }
        fprintf(w->say, "  %s images/s  %s%s\n", rate_text(rate, p->images_per_second),
                seconds_text(time, seconds), p->best ? "  best" : "");
        fflush(w->say);
        if (w->group->n > 1) {
            shares_print(w->say, w->shares);
        }
    }
}

static void json_epoch(const watch *w, const log_row *r, bool best)
{
    json_t *j = json_object();
    json_object_set_new(j, "epoch", json_integer(r->epoch));
    json_object_set_new(j, "step", json_integer(r->step));
    json_object_set_new(j, "loss", json_number_or_null(r->loss));
    json_object_set_new(j, "accuracy", json_number_or_null(r->accuracy));
    json_object_set_new(j, "val_loss", json_number_or_null(r->val_loss));
    json_object_set_new(j, "val_accuracy", json_number_or_null(r->val_accuracy));
    json_object_set_new(j, "lr", json_number_or_null(r->lr));
    json_object_set_new(j, "images_per_second", json_number_or_null(r->images_per_second));
    json_object_set_new(j, "seconds", json_number_or_null(r->seconds));
    json_object_set_new(j, "best", json_boolean(best));
    json_object_set_new(j, "devices", shares_json(w->shares));
    json_dumpf(j, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    fflush(stdout);
    json_decref(j);
}

static void end_epoch(watch *w, const kl_progress *p)
{
    const double seconds = w->run->seconds_before + now() - w->begin;
    const log_row row = {p->epoch + 1, kl_trainer_steps(w->trainer),
                         p->loss,      p->accuracy,
                         p->val_loss,  p->val_accuracy,
                         p->lr,        p->images_per_second,
                         seconds};
    if (p->best) {
        w->best_epoch = p->epoch + 1;
        w->best_loss = w->has_val ? p->val_loss : p->loss;
        w->best_accuracy = w->has_val ? p->val_accuracy : p->accuracy;
    }
    shares_take(w->shares, w->trainer);
    show_epoch(w, p, seconds);
    if (w->json) {
        json_epoch(w, &row, p->best);
    }
    w->code = run_add_row(w->run, &row);
}

int watch_begin_trace(watch *w)
{
    for (size_t i = 0; w->trace && i < w->group->n; i++) {
        if (kl_ctx_trace(w->group->ctx[i])) {
            return fail_status(KL_OK);
        }
    }
    w->traced = w->trace != NULL;
    return 0;
}

void watch_end_trace(watch *w)
{
    if (w->traced && kl_ctx_trace_write(w->group->ctx, w->group->n, w->trace)) {
        w->code = fail_status(KL_OK);
    }
    w->traced = false;
}

bool watch_progress(void *user, const kl_progress *p)
{
    watch *w = user;
    if (p->epoch_done) {
        end_epoch(w, p);
    } else {
        show_step(w, p);
        side_tuning_step(&w->tuning);
        if (++w->n_traced == TRACE_STEPS) {
            watch_end_trace(w);
        }
    }
    return !stop && w->code == 0;
}
