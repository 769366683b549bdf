/* cl/rng.cl gives, word for word, what src/base/rng.h gives. Argument: the folder of the kernels.
 */
#include "rig.h"

#include "base/rng.h"

#include <CL/cl.h>
#include <stdio.h>
#include <string.h>

enum { N = 4096, SKIPPED = 77 };

static const char *kernels;
static cl_device_id device;

static const char source[] =
    "#include \"rng.cl\"\n"
    "kernel void draw(uint lo, uint hi, uint stream, uint step, ulong first,\n"
    "                 global uint *words, global T *uniforms)\n"
    "{\n"
    "    const ulong i = first + get_global_id(0);\n"
    "    words[get_global_id(0)] = rng_u32(lo, hi, stream, step, i);\n"
    "    uniforms[get_global_id(0)] = rng_uniform(lo, hi, stream, step, i);\n"
    "}\n";

static bool find_device(void)
{
    cl_platform_id platforms[8];
    cl_uint n = 0;
    if (clGetPlatformIDs(8, platforms, &n)) {
        return false;
    }
    for (cl_uint i = 0; i < n && i < 8; i++) {
        if (!clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, 1, &device, NULL)) {
            return true;
        }
    }
    return false;
}

static cl_kernel build(cl_context ctx)
{
    const char *text = source;
    char options[600], log[4000] = "";
    cl_int rc;
    snprintf(options, sizeof options, "-cl-std=CL1.2 -I %s", kernels);
    cl_program p = clCreateProgramWithSource(ctx, 1, &text, NULL, &rc);
    assert_int_equal(rc, CL_SUCCESS);
    if (clBuildProgram(p, 1, &device, options, NULL, NULL)) {
        clGetProgramBuildInfo(p, device, CL_PROGRAM_BUILD_LOG, sizeof log - 1, log, NULL);
        fail_msg("%s", log);
    }
    cl_kernel k = clCreateKernel(p, "draw", &rc);
    assert_int_equal(rc, CL_SUCCESS);
    clReleaseProgram(p);
    return k;
}

static void compare(cl_command_queue q, cl_kernel k, cl_mem out[2], kl__rng r, uint64_t first)
{
    static uint32_t words[N];
    static float uniforms[N];
    const cl_uint lo = (cl_uint)r.seed, hi = (cl_uint)(r.seed >> 32);
    const cl_ulong at = first;
    const size_t n = N;
    clSetKernelArg(k, 0, sizeof lo, &lo);
    clSetKernelArg(k, 1, sizeof hi, &hi);
    clSetKernelArg(k, 2, sizeof r.stream, &r.stream);
    clSetKernelArg(k, 3, sizeof r.step, &r.step);
    clSetKernelArg(k, 4, sizeof at, &at);
    clSetKernelArg(k, 5, sizeof *out, &out[0]);
    clSetKernelArg(k, 6, sizeof *out, &out[1]);
    assert_int_equal(clEnqueueNDRangeKernel(q, k, 1, NULL, &n, NULL, 0, NULL, NULL), CL_SUCCESS);
    assert_int_equal(clEnqueueReadBuffer(q, out[0], CL_TRUE, 0, sizeof words, words, 0, NULL, NULL),
                     CL_SUCCESS);
    assert_int_equal(
        clEnqueueReadBuffer(q, out[1], CL_TRUE, 0, sizeof uniforms, uniforms, 0, NULL, NULL),
        CL_SUCCESS);
    for (uint64_t i = 0; i < N; i++) {
        const float u = kl__rng_uniform(r, first + i);
        assert_int_equal(words[i], kl__rng_u32(r, first + i));
        assert_memory_equal(&uniforms[i], &u, sizeof u);
    }
}

static void device_draws_what_the_host_draws(void **state)
{
    (void)state;
    cl_int rc;
    cl_context ctx = clCreateContext(NULL, 1, &device, NULL, NULL, &rc);
    assert_int_equal(rc, CL_SUCCESS);
    cl_command_queue q = clCreateCommandQueue(ctx, device, 0, &rc);
    assert_int_equal(rc, CL_SUCCESS);
    cl_kernel k = build(ctx);
    cl_mem out[2];
    for (int i = 0; i < 2; i++) {
        out[i] = clCreateBuffer(ctx, CL_MEM_WRITE_ONLY, N * 4, NULL, &rc);
        assert_int_equal(rc, CL_SUCCESS);
    }
    compare(q, k, out, kl__rng_of(42, "dropout/fc1", 3), 0);
    compare(q, k, out, kl__rng_of(((uint64_t)1 << 32) + 42, "dropout/fc1", 0xffffffffu), 3);
    compare(q, k, out, kl__rng_of(UINT64_MAX, "x", 1), ((uint64_t)1 << 34) - 5); /* c1 turns to 1 */
    for (int i = 0; i < 2; i++) {
        clReleaseMemObject(out[i]);
    }
    clReleaseKernel(k);
    clReleaseCommandQueue(q);
    clReleaseContext(ctx);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(device_draws_what_the_host_draws)};
    kernels = argc > 1 ? argv[1] : "cl";
    if (!find_device()) {
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
