/* Runs one kernel of planted.cl.  usage: planted FOLDER KERNEL */
#include "device/device.h"

#include <stdio.h>

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, kl_last_error());
    return 1;
}

int main(int argc, char **argv)
{
    static const float zero[64];
    if (argc != 3)
        return 2;
    kl_ctx *ctx = kl_ctx_create(
        &(kl_ctx_opts){.flags = KL_CTX_BARE_BUFFERS, .cache_dir = "", .kernel_dir = argv[1]});
    kl__mem *a = ctx ? kl__mem_create(ctx, sizeof zero) : NULL,
            *b = a ? kl__mem_create(ctx, sizeof zero) : NULL;
    kl__seq *s = b ? kl__seq_create(ctx) : NULL;
    if (!s || kl__lane_write(kl__ctx_lane(ctx, KL__COMPUTE), (kl__span){a, 0}, zero, sizeof zero,
                             NULL) != KL_OK)
        return fail("set-up");
    const kl__launch l = {.file = "planted.cl",
                          .kernel = argv[2],
                          .label = "planted",
                          .n_args = 2,
                          .dims = 1,
                          .arg = {{.kind = KL__ARG_SPAN, .elem = 4, .span = {a, 0}},
                                  {.kind = KL__ARG_SPAN, .elem = 4, .span = {b, 0}}},
                          .global = {64, 1, 1},
                          .local = {16, 1, 1}};
    if (kl__seq_kernel(s, &l) != KL_OK ||
        kl__seq_run(s, kl__ctx_lane(ctx, KL__COMPUTE), 0, 1) != KL_OK ||
        kl_ctx_finish(ctx) != KL_OK)
        return fail(argv[2]);
    kl__seq_destroy(s);
    kl__mem_release(a);
    kl__mem_release(b);
    kl_ctx_destroy(ctx);
    printf("done\n");
    return 0;
}
