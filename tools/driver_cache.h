/* PoCL offers no device where it cannot write its cache. */
#ifndef DRIVER_CACHE_H
#define DRIVER_CACHE_H

/** Where PoCL's cache folder is not writable: sets POCL_CACHE_DIR to a folder that is, and says so.
 * Before the first device is looked for. */
void prepare_driver_cache(void);

#endif
