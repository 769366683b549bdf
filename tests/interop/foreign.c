/* Inside somebody else's OpenCL: their context, their queue (in order or not), their buffers, their
 * events. */
#include "device/opencl.h"
#include "support/fault_cl.h"

#include <kiln/kiln.h>
#include <kiln/opencl.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static const kl__cl_table *cl;

typedef struct host {
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    cl_kernel twice; /* x[i] *= 2, slowly */
    cl_program program;
} host;

static void open_host(host *h, cl_command_queue_properties props)
{
    static const char *src =
        "kernel void twice(global float *x, int spin) { int i = get_global_id(0); float s = 0;"
        "for (int k = 0; k < spin; k++) s = fma(s, 0.5f, x[i]); x[i] = x[i] * 2 + 0 * s; }";
    cl_int e = 0;
    cl_platform_id p;
    kl_device_info info;
    size_t n;
    kl_ctx *c = kl_ctx_create(NULL); /* the device that Kiln would choose */
    if (!c)
        fail_msg("%s", kl_last_error());
    assert_int_equal(kl_ctx_info(c, &info), KL_OK);
    assert_int_equal(cl->clGetContextInfo(kl_ctx_cl_context(c), CL_CONTEXT_DEVICES,
                                          sizeof h->device, &h->device, &n),
                     0);
    assert_int_equal(cl->clGetDeviceInfo(h->device, CL_DEVICE_PLATFORM, sizeof p, &p, NULL), 0);
    kl_ctx_destroy(c);
    h->context = cl->clCreateContext(NULL, 1, &h->device, NULL, NULL, &e);
    assert_int_equal(e, 0);
    h->queue = cl->clCreateCommandQueue(h->context, h->device, props, &e);
    assert_int_equal(e, 0);
    h->program = cl->clCreateProgramWithSource(h->context, 1, &src, NULL, &e);
    assert_int_equal(cl->clBuildProgram(h->program, 1, &h->device, "", NULL, NULL), 0);
    h->twice = cl->clCreateKernel(h->program, "twice", &e);
    assert_int_equal(e, 0);
}

static void close_host(host *h)
{
    cl->clReleaseKernel(h->twice);
    cl->clReleaseProgram(h->program);
    cl->clReleaseCommandQueue(h->queue);
    cl->clReleaseContext(h->context);
}

static kl_model *sum_model(void)
{
    kl_graph *g =
        kl_graph_parse("x = input(shape=[N,6])\ny = dense(x, units=3)\noutput y = y\n", "net");
    if (!g)
        fail_msg("%s", kl_last_error());
    kl_model *m = kl_model_create(g, NULL);
    kl_graph_destroy(g);
    float w[18], b[3] = {1, 2, 3};
    for (int i = 0; i < 18; i++)
        w[i] = (float)(i % 5);
    assert_int_equal(kl_model_set_param(m, "y.weight", w, 18), KL_OK);
    assert_int_equal(kl_model_set_param(m, "y.bias", b, 3), KL_OK);
    return m;
}

static void expect(const float *x, float *y)
{
    for (int n = 0; n < 4; n++)
        for (int k = 0; k < 3; k++) {
            y[n * 3 + k] = (float)(k + 1);
            for (int j = 0; j < 6; j++)
                y[n * 3 + k] += x[n * 6 + j] * (float)((k * 6 + j) % 5);
        }
}

/* The host's kernel makes the input, Kiln computes after its event, the host reads after Kiln's: in
 * one buffer, at offsets. */
static void chained(cl_command_queue_properties props)
{
    host h;
    open_host(&h, props);
    enum { IN = 64, OUT = 128, SPACE = 1024 };
    float all[SPACE / 4] = {0}, want[12];
    for (int i = 0; i < 24; i++)
        all[IN / 4 + i] = (float)(i % 7);
    cl_int e;
    cl_mem in =
        cl->clCreateBuffer(h.context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, SPACE, all, &e);
    assert_int_equal(e, 0);
    cl_mem out =
        cl->clCreateBuffer(h.context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, SPACE, all, &e);
    kl_ctx *c = kl_ctx_from_cl(h.context, h.device, h.queue, NULL);
    if (!c)
        fail_msg("%s", kl_last_error());
    assert_ptr_equal(kl_ctx_cl_context(c), h.context);
    assert_ptr_equal(kl_ctx_cl_queue(c), h.queue);
    kl_tensor *x = kl_tensor_from_cl(c, in, IN, KL_F32, (kl_shape){2, {4, 6}});
    kl_tensor *y = kl_tensor_from_cl(c, out, OUT, KL_F32, (kl_shape){2, {4, 3}});
    size_t at;
    assert_ptr_equal(kl_tensor_cl_mem(x, &at), in);
    assert_int_equal(at, IN);
    kl_model *m = sum_model();
    kl_bind binds[] = {{.name = "x", .tensor = x}, {.name = "y", .tensor = y}};
    for (int round = 1; round <= 3; round++) {
        cl_event made, done;
        size_t global = SPACE / 4;
        int spin = 20000;
        cl->clSetKernelArg(h.twice, 0, sizeof in, &in);
        cl->clSetKernelArg(h.twice, 1, sizeof spin, &spin);
        assert_int_equal(
            cl->clEnqueueNDRangeKernel(h.queue, h.twice, 1, NULL, &global, NULL, 0, NULL, &made),
            0);
        if (kl_model_enqueue(m, c, binds, 2, 1, &made, &done) != KL_OK)
            fail_msg("%s", kl_last_error());
        float got[SPACE / 4];
        assert_int_equal(
            cl->clEnqueueReadBuffer(h.queue, out, CL_TRUE, 0, SPACE, got, 1, &done, NULL), 0);
        for (int i = 0; i < 24; i++)
            all[IN / 4 + i] *= 2;
        expect(all + IN / 4, want);
        assert_memory_equal(got + OUT / 4, want, sizeof want);
        for (int i = 0; i < SPACE / 4; i++) /* and nothing beside it was touched */
            if ((i < OUT / 4 || i >= OUT / 4 + 12) && (i < IN / 4 || i >= IN / 4 + 24))
                assert_true(got[i] == 0);
        cl->clReleaseEvent(made);
        cl->clReleaseEvent(done);
    }
    kl_queue *q =
        kl_queue_create(&c, 1, NULL); /* a ticket's event is one the host can wait for, too */
    kl_ticket *ticket = NULL;
    assert_int_equal(
        kl_queue_submit(q, &(kl_pass){.model = m, .binds = binds, .n_binds = 2}, &ticket), KL_OK);
    cl_event end = kl_ticket_cl_event(ticket);
    assert_int_equal(cl->clWaitForEvents(1, &end), 0);
    assert_true(kl_ticket_done(ticket));
    kl_ticket_release(ticket);
    kl_queue_destroy(q);
    kl_model_destroy(m);
    kl_tensor_release(x);
    kl_tensor_release(y);
    kl_ctx_destroy(c);
    cl->clReleaseMemObject(in);
    cl->clReleaseMemObject(out);
    close_host(&h);
}

static void in_an_ordered_queue(void **state)
{
    (void)state;
    chained(0);
}

static void in_an_unordered_queue(void **state)
{
    (void)state;
    kl_ctx *c = kl_ctx_create(NULL);
    bool can = c && kl__ctx_caps(c)->out_of_order;
    kl_ctx_destroy(c);
    if (!can)
        skip(); /* the device has none */
    chained(CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
}

/* Training from tensors in the caller's queue: it learns, and clFinish is never called behind the
 * caller's back. */
static void training_never_finishes_the_queue(void **state)
{
    (void)state;
    host h;
    fault_cl_wrap(kl__cl());
    kl__cl_set_table(fault_cl_table());
    cl = kl__cl();
    open_host(&h, 0);
    kl_ctx *c = kl_ctx_from_cl(h.context, h.device, h.queue, NULL);
    assert_non_null(c);
    kl_graph *g = kl_graph_parse(
        "x = input(shape=[N,6])\nt = input(shape=[N,3])\ny = dense(x, units=3)\nl = mse(y, t)\n"
        "output loss = l\n",
        "net");
    kl_model *m = kl_model_create(g, NULL);
    kl_graph_destroy(g);
    if (!m)
        fail_msg("%s", kl_last_error());
    kl_trainer *tr =
        kl_trainer_create(m, &c, 1, "loss", NULL,
                          &(kl_trainer_opts){.optim = {.kind = KL_SGD}, .schedule = {.lr = 0.05}});
    kl_tensor *x = kl_tensor_create(c, KL_F32, (kl_shape){2, {4, 6}}),
              *t = kl_tensor_create(c, KL_F32, (kl_shape){2, {4, 3}});
    float vx[24], vt[12];
    for (int i = 0; i < 24; i++)
        vx[i] = (float)(i % 5) / 5;
    for (int i = 0; i < 12; i++)
        vt[i] = (float)(i % 3);
    assert_int_equal(kl_tensor_write(x, vx, sizeof vx), KL_OK);
    assert_int_equal(kl_tensor_write(t, vt, sizeof vt), KL_OK);
    kl_bind binds[] = {{.name = "x", .tensor = x}, {.name = "t", .tensor = t}};
    kl_metrics first, last;
    cl_event done;
    assert_int_equal(kl_trainer_enqueue(tr, binds, 2, 0, NULL, &done), KL_OK);
    assert_int_equal(cl->clWaitForEvents(1, &done), 0);
    cl->clReleaseEvent(done);
    assert_int_equal(kl_trainer_metrics(tr, &first), KL_OK);
    uint64_t finishes = fault_cl_calls("clFinish");
    for (int i = 0; i < 30; i++)
        if (kl_trainer_enqueue(tr, binds, 2, 0, NULL, NULL) != KL_OK)
            fail_msg("%s", kl_last_error());
    assert_int_equal(fault_cl_calls("clFinish"), finishes);
    assert_int_equal(kl_trainer_metrics(tr, &last), KL_OK);
    assert_int_equal(fault_cl_calls("clFinish"), finishes);
    assert_true(last.loss < 0.7 * first.loss);
    kl_trainer_destroy(tr);
    assert_int_equal(fault_cl_calls("clFinish"), finishes);
    kl_model_destroy(m);
    kl_tensor_release(x);
    kl_tensor_release(t);
    kl_ctx_destroy(c);
    close_host(&h);
    assert_int_equal(fault_cl_live(), 0);
    kl__cl_set_table(NULL);
    cl = kl__cl();
}

static void bad_wraps_are_refused(void **state)
{
    (void)state;
    host h;
    cl_int e;
    open_host(&h, 0);
    kl_ctx *c = kl_ctx_from_cl(h.context, h.device, h.queue, NULL);
    cl_mem mem = cl->clCreateBuffer(h.context, CL_MEM_READ_WRITE, 64, NULL, &e);
    assert_null(kl_ctx_from_cl(NULL, h.device, h.queue, NULL));
    assert_null(kl_tensor_from_cl(c, NULL, 0, KL_F32, (kl_shape){1, {4}}));
    assert_null(kl_tensor_from_cl(c, mem, 2, KL_F32, (kl_shape){1, {4}}));
    assert_non_null(strstr(kl_last_error(), "multiple"));
    assert_null(kl_tensor_from_cl(c, mem, 32, KL_F32, (kl_shape){1, {9}}));
    assert_non_null(strstr(kl_last_error(), "36 bytes at 32"));
    assert_null(kl_tensor_from_cl(c, mem, 0, KL_F32, (kl_shape){1, {KL_BATCH}}));
    cl->clReleaseMemObject(mem);
    kl_ctx_destroy(c);
    close_host(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_an_ordered_queue),
        cmocka_unit_test(in_an_unordered_queue),
        cmocka_unit_test(training_never_finishes_the_queue),
        cmocka_unit_test(bad_wraps_are_refused),
    };
    cl = kl__cl();
    return cl ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
