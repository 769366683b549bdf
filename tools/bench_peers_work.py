#!/usr/bin/env python3
"""The peers' side of tools/bench_peers: PyTorch, ONNX Runtime, OpenBLAS and MKL, in the interpreter that has them.

Reads one JSON object a line, answers with one:
    {"work": {"kind": "train", "net": "lenet", "batch": 32}, "way": "channels_last", "seconds": 1}
        -> {"cpu": median CPU seconds of one run, "wall": median, "version": "torch 1.13.1"} or {"error": "..."}
    {"drop": true}   frees what the last work needed
What a work needs is made and warmed up once, and kept while the work stays the same.
With the argument --memory, it is one work and way in its arguments: prints the growth of this process' peak memory.
"""
import json
import os
import statistics
import sys
import tempfile
import time

# Trainable parameters of the same nets in Kiln: that both sides run the same work is checked, not hoped for.
PARAMETERS = {"lenet": 61706, "fashion": 421738, "practical": 1191170, "vgg6": 2196810, "vgg6bn": 2197706,
              "resnet18": 11689512, "resnet50": 25557032, "mobilenet_v2": 3504872}
DIGIT, CIFAR, IMAGENET = ((1, 28, 28), 10), ((3, 32, 32), 10), ((3, 224, 224), 1000)


# ---- the nets -------------------------------------------------------------------------------------------------------
def lenet(nn):
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))


def fashion(nn):
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10))


def practical(nn):
    layers, c = [], 3
    for k in (32, 64, 64):
        layers += [nn.Conv2d(c, k, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        c = k
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 1000), nn.ReLU(), nn.Linear(1000, 10))


def vgg6(nn, bn=False):
    layers, c = [], 3
    for k in (64, 64, 0, 128, 128, 0, 256, 256, 0):
        if k == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(c, k, 3, padding=1, bias=not bn)] + [nn.BatchNorm2d(k)] * bn + [nn.ReLU(inplace=True)]
        c = k
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4096, 256), nn.ReLU(), nn.Linear(256, 10))


def conv_bn(nn, c, k, kernel, stride=1, groups=1, act=None):
    """Starts as torchvision's and Kiln's: with PyTorch's default a deep net's values would sink into denormals."""
    conv = nn.Conv2d(c, k, kernel, stride, kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out")
    return [conv, nn.BatchNorm2d(k)] + ([act(inplace=True)] if act else [])


def residual_class(nn):
    """As torchvision's blocks: the main branch, the shortcut, their sum, then relu where there is one."""
    class Residual(nn.Module):
        def __init__(self, main, shortcut=None, relu=True):
            super().__init__()
            self.main, self.shortcut = nn.Sequential(*main), nn.Sequential(*shortcut) if shortcut else None
            self.relu = nn.ReLU(inplace=True) if relu else None

        def forward(self, x):
            y = self.main(x) + (self.shortcut(x) if self.shortcut else x)
            return self.relu(y) if self.relu else y
    return Residual


def resnet(nn, blocks, bottleneck):
    residual = residual_class(nn)
    layers, c = conv_bn(nn, 3, 64, 7, 2, act=nn.ReLU) + [nn.MaxPool2d(3, 2, 1)], 64
    for stage, n in enumerate(blocks):
        width = 64 << stage
        k = 4 * width if bottleneck else width
        for b in range(n):
            stride = 2 if b == 0 and stage else 1
            if bottleneck:
                main = (conv_bn(nn, c, width, 1, act=nn.ReLU) + conv_bn(nn, width, width, 3, stride, act=nn.ReLU) +
                        conv_bn(nn, width, k, 1))
            else:
                main = conv_bn(nn, c, k, 3, stride, act=nn.ReLU) + conv_bn(nn, k, k, 3)
            layers.append(residual(main, conv_bn(nn, c, k, 1, stride) if stride != 1 or c != k else None))
            c = k
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 1000))


def mobilenet_v2(nn):
    residual = residual_class(nn)
    layers, c = conv_bn(nn, 3, 32, 3, 2, act=nn.ReLU6), 32
    for factor, k, n, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                 (6, 160, 3, 2), (6, 320, 1, 1)):
        for b in range(n):
            s, wide = (1 if b else stride), c * factor
            main = conv_bn(nn, c, wide, 1, act=nn.ReLU6) if factor > 1 else []
            main += conv_bn(nn, wide, wide, 3, s, wide, act=nn.ReLU6) + conv_bn(nn, wide, k, 1)
            layers += [residual(main, relu=False)] if s == 1 and c == k else main
            c = k
    layers += conv_bn(nn, c, 1280, 1, act=nn.ReLU6)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000))


NETS = {
    "lenet": (lenet, *DIGIT), "fashion": (fashion, *DIGIT), "practical": (practical, *CIFAR), "vgg6": (vgg6, *CIFAR),
    "vgg6bn": (lambda nn: vgg6(nn, True), *CIFAR), "mobilenet_v2": (mobilenet_v2, *IMAGENET),
    "resnet18": (lambda nn: resnet(nn, (2, 2, 2, 2), False), *IMAGENET),
    "resnet50": (lambda nn: resnet(nn, (3, 4, 6, 3), True), *IMAGENET),
}


def build(name, batch, channels_last):
    import torch
    torch.manual_seed(0)
    make, shape, classes = NETS[name]
    net, x = make(torch.nn), torch.randn(batch, *shape)
    count = sum(p.numel() for p in net.parameters())
    if count != PARAMETERS[name]:
        raise ValueError(f"{name} has {count} parameters here, {PARAMETERS[name]} in Kiln")
    if channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    return net, x, torch.arange(batch) * 7 % classes


# ---- works: each gives what runs it once ----------------------------------------------------------------------------
def train(work, way):
    import torch
    import torch.nn.functional as F
    net, x, y = build(work["net"], work["batch"], way == "channels_last")
    optim = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def step():
        optim.zero_grad(set_to_none=True)
        F.cross_entropy(net(x), y).backward()
        optim.step()
    return step


def infer(work, way):
    import torch
    net, x, _ = build(work["net"], work["batch"], way in ("channels_last", "frozen"))
    net.eval()
    if way == "onnxruntime":
        return onnx_runtime(net, x)
    if way == "frozen":
        with torch.no_grad():
            net = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, x)))

    def run():
        with torch.no_grad():
            net(x)
    return run


def onnx_runtime(net, x):
    import onnxruntime
    import torch
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.onnx")
        legacy = {} if torch.__version__.startswith("1.") else {"dynamo": False}
        torch.onnx.export(net, x, path, input_names=["x"], **legacy)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {"x": x.numpy()}
    return lambda: session.run(None, feed)


def conv(work, way):
    """One convolution without bias: its forward pass, one of its gradients, or all three ("both")."""
    import torch
    n, c, k, size, kernel, stride, groups = (work[w] for w in ("n", "c", "k", "size", "kernel", "stride", "groups"))
    memory = {"memory_format": torch.channels_last if way == "channels_last" else torch.contiguous_format}
    x, w = torch.randn(n, c, size, size), torch.randn(k, c // groups, kernel, kernel)
    x, w = x.contiguous(**memory), w.contiguous(**memory)
    s, p, d = [stride] * 2, [kernel // 2] * 2, [1, 1]
    dy = torch.randn_like(torch.nn.functional.conv2d(x, w, None, s, p, d, groups)).contiguous(**memory)

    def run():
        with torch.no_grad():
            if work["pass"] in ("forward", "both"):
                torch.nn.functional.conv2d(x, w, None, s, p, d, groups)
            if work["pass"] != "forward":
                want = [work["pass"] != "backward_weights", work["pass"] != "backward_data", False]
                torch.ops.aten.convolution_backward(dy, x, w, None, s, p, d, False, [0, 0], groups, want)
    return run


def clblast(n):
    """CLBlast's SGEMM on the first OpenCL device, waited for."""
    import ctypes
    cl, blas = ctypes.CDLL("libOpenCL.so.1"), ctypes.CDLL("libclblast.so.1")
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    platform, device, status = pointer(), pointer(), ctypes.c_int()

    def made(function, *a):
        function.restype = pointer
        got = function(*a, ctypes.byref(status))
        if status.value:
            raise OSError(f"{function.__name__} fails with {status.value}")
        return pointer(got)

    def done(what, code):
        if code:
            raise OSError(f"{what} fails with {code}")
    done("clGetPlatformIDs", cl.clGetPlatformIDs(1, ctypes.byref(platform), None))
    done("clGetDeviceIDs", cl.clGetDeviceIDs(platform, ctypes.c_uint64(0xFFFFFFFF), 1, ctypes.byref(device), None))
    ctx = made(cl.clCreateContext, None, 1, ctypes.byref(device), None, None)
    queue = made(cl.clCreateCommandQueue, ctx, device, ctypes.c_uint64(0))
    random, copy_host = os.urandom(n * n), 1 << 5
    host = (ctypes.c_float * (n * n))(*(b / 255 for b in random))
    a, b, c = (made(cl.clCreateBuffer, ctx, ctypes.c_uint64(copy_host | 1), size(4 * n * n), host) for _ in range(3))
    row_major, plain, one, zero = 101, 111, ctypes.c_float(1), ctypes.c_float(0)
    wide, none = size(n), size(0)

    def run():
        done("CLBlastSgemm", blas.CLBlastSgemm(row_major, plain, plain, wide, wide, wide, one, a, none, wide, b, none,
                                               wide, zero, c, none, wide, ctypes.byref(queue), None))
        done("clFinish", cl.clFinish(queue))
    return run


def gemm(work, way):
    n = work["n"]
    if way == "clblast":
        return clblast(n)
    if way == "openblas":
        import numpy
        r = numpy.random.default_rng(0)
        a, b = (r.standard_normal((n, n), dtype=numpy.float32) for _ in range(2))
        c = numpy.empty_like(a)
        return lambda: numpy.dot(a, b, out=c)
    import torch
    if not torch.backends.mkl.is_available():
        raise ImportError("this PyTorch has no MKL")
    a, b, c = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
    return lambda: torch.mm(a, b, out=c)


KINDS = {"train": train, "infer": infer, "conv": conv, "gemm": gemm}


def version(way):
    if way == "clblast":
        return "CLBlast"
    if way == "openblas":
        import numpy
        return f"OpenBLAS of numpy {numpy.__version__}"
    if way == "onnxruntime":
        import onnxruntime
        return f"ONNX Runtime {onnxruntime.__version__}"
    import torch
    name = f"PyTorch {torch.__version__.split('+')[0]}"
    return f"MKL of {name}" if way == "mkl" else f"{name} {way}"


def timed(run, seconds):
    cpu, wall, end = [], [], time.perf_counter() + seconds
    while not cpu or time.perf_counter() < end:
        c, w = time.process_time(), time.perf_counter()
        run()
        cpu.append(time.process_time() - c)
        wall.append(time.perf_counter() - w)
    return {"cpu": statistics.median(cpu), "wall": statistics.median(wall)}


def warm_up(run):
    """Three times, of what is long once."""
    end = time.perf_counter() + 1
    for _ in range(3):
        run()
        if time.perf_counter() > end:
            break


def serve():
    kept = {}
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            if ask.get("drop"):
                kept.clear()
                answer = {}
            else:
                key = json.dumps([ask["work"], ask["way"]])
                if key not in kept:
                    kept[key] = KINDS[ask["work"]["kind"]](ask["work"], ask["way"])
                    warm_up(kept[key])
                answer = {**timed(kept[key], ask["seconds"]), "version": version(ask["way"])}
        except Exception as e:  # whatever a peer does not like is its answer
            answer = {"error": f"{type(e).__name__}: {e}".split("\n")[0][:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


# ---- memory ---------------------------------------------------------------------------------------------------------
def peak_bytes():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))


def forget_peak():
    """The peak becomes what is resident now, where the system lets it."""
    try:
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")
    except OSError:
        pass


def memory(work, way):
    step = train(work, way)
    forget_peak()
    before = peak_bytes()
    for _ in range(3):
        step()
    return {"growth": peak_bytes() - before, "version": version(way)}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")  # what libraries print must not get between the answers
    os.dup2(2, 1)
    if sys.argv[1:2] == ["--memory"]:
        answers.write(json.dumps(memory(json.loads(sys.argv[2]), sys.argv[3])) + "\n")
        answers.flush()
    else:
        serve()
