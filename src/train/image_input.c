/* A picture from a file as a model's input: what a folder of pictures does for each of its own. */
#include "base/error.h"
#include "io/io.h"

#include <kiln/data.h>

kl_status kl_image_load(const char *path, int channels, int height, int width, float *dst)
{
    kl__array file = {0}, sized = {0};
    if (!path || !dst) {
        return kl__fail(KL_E_ARG, "kl_image_load: %s is NULL", path ? "dst" : "path");
    }
    if ((channels != 1 && channels != 3) || height < 1 || width < 1) {
        return kl__fail(KL_E_ARG, "%s: a picture of %d channels, %d rows and %d columns; channels "
                                  "are 1 or 3", path, channels, height, width);
    }
    kl_status s = kl__image_read(path, channels, 0, &file);
    if (s == KL_OK) {
        s = kl__image_resize(&file, height, width, &sized);
    }
    if (s == KL_OK) {
        const size_t n = (size_t)channels * (size_t)height * (size_t)width;
        kl__array_to_float(&sized, 0, n, dst);
        for (size_t i = 0; i < n; i++) {
            dst[i] /= 255.0f;
        }
    }
    kl__array_free(&sized);
    kl__array_free(&file);
    return s;
}
