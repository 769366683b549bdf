/* kiln bench --peaks: what the device can do at most. */
#include "bench.h"
#include "json.h"

void bench_print_peaks(const kl_peaks *p)
{
    number size;
    if (!p->n_levels) {
        return;
    }
    printf("peaks measured here: %.1f GFLOP/s", 1e-9 * p->flops);
    for (int i = 0; i < p->n_levels; i++) {
        const kl_peak_level *l = &p->level[i];
        printf(", %s%s%s%s %.1f GB/s", l->name, l->bytes ? " (" : "",
               l->bytes ? bytes_text(size, (double)l->bytes) : "", l->bytes ? ")" : "",
               1e-9 * l->bytes_per_second);
    }
    printf(", empty launch %.2f us\n", 1e6 * p->launch_seconds);
}

json_t *bench_peaks_json(const kl_peaks *p)
{
    json_t *levels = json_array();
    if (!p->n_levels) {
        json_decref(levels);
        return json_null();
    }
    for (int i = 0; i < p->n_levels; i++) {
        const kl_peak_level *l = &p->level[i];
        json_array_append_new(levels, json_pack("{s:s, s:I, s:f}", "name", l->name, "bytes",
                                                (json_int_t)l->bytes, "bytes_per_second",
                                                l->bytes_per_second));
    }
    return json_pack("{s:f, s:f, s:o}", "flops", p->flops, "launch_seconds", p->launch_seconds,
                     "levels", levels);
}

int bench_peaks(args *a)
{
    int code = 0;
    kl_peaks p;
    kl_device_info d;
    kl_ctx *ctx = open_device(a, KL_CTX_PROFILE, &code);
    if (code == 0) {
        const kl_status s = kl_ctx_peaks(ctx, true, &p);
        progress_clear();
        code = s ? fail_status(s) : 0;
    }
    if (code == 0) {
        kl_ctx_info(ctx, &d);
        if (args_has(a, "json")) {
            print_json(json_pack("{s:o, s:s, s:o}", "device", json_text(d.name), "kiln",
                                 kl_version(), "peaks", bench_peaks_json(&p)));
        } else {
            printf("%s (%s, %d units)\n", d.name, d.type, d.compute_units);
            bench_print_peaks(&p);
        }
    }
    kl_ctx_destroy(ctx);
    return code;
}
