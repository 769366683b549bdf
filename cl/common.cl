/* What every kernel file starts from. */
#ifndef KL_COMMON_CL
#define KL_COMMON_CL

#ifdef KL_FP64 /* set where the device has doubles and T is one (gradient checks) */
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif

#ifndef T /* the type that kernels compute in */
#define T float
#endif

#endif
