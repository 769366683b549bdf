/* Driver libraries for the doctor's test: one that kills whoever opens it, one that is no driver.
 */
#include <stdlib.h>

#ifdef CRASHES
__attribute__((constructor)) static void die(void)
{
    abort();
}
#else
int doctor_driver_is_none(void);
int doctor_driver_is_none(void)
{
    return 1;
}
#endif
