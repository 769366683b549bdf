#!/usr/bin/env python3
"""Writes torchvision.h: what torchvision's nets compute in double precision, for tests/zoo/torchvision.c.

Parameters and pictures follow a formula that both sides compute (values), so a few kB of numbers are all that is
stored: logits by the kept statistics, then one training step's loss, the norm of each parameter's gradient, and the
norm of each running statistic after it.
usage: python3 torchvision.py > torchvision.h     (needs torch and torchvision; Debian's will do)
"""
import sys

sys.path = [p for p in sys.path if not p.endswith("tests/zoo")]  # this file has the name of what it imports

import torch
import torch.nn.functional as F
import torchvision

torch.set_default_dtype(torch.float64)
BATCH, SIZE, CLASSES = 4, 64, 10


def fnv1a(text):
    h = 2166136261
    for c in text.encode():
        h = (h ^ c) * 16777619 % (1 << 32)
    return h


def values(name, shape, scale, middle=0.0):
    """The i-th number of the stream `name`: a 32-bit mix, as a multiple of 2^-15 in [-1, 1), scaled; in f32."""
    n = torch.Size(shape).numel()
    x = (torch.arange(n, dtype=torch.int64) * 2654435761 + fnv1a(name)) % (1 << 32)
    x = ((x ^ (x >> 15)) * 2246822519) % (1 << 32)
    x = (x ^ (x >> 13)) % (1 << 32)
    return (((x >> 16).double() / 32768.0 - 1.0) * scale + middle).float().double().reshape(shape)


def fill(name, p):
    if p.dim() > 1:
        return values(name, p.shape, (6 / p[0].numel()) ** 0.5)
    near_one = name.endswith("running_var") or (name.endswith("weight") and p.dim() == 1)
    return values(name, p.shape, 0.25, 1.0 if near_one else 0.0)


def case(name):
    net = getattr(torchvision.models, name)(num_classes=CLASSES)
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    with torch.no_grad():
        for k, v in state.items():
            v.copy_(fill(k, v))
    x, y = values("image", (BATCH, 3, SIZE, SIZE), 1.0), torch.arange(BATCH) * 7 % CLASSES
    logits = net.eval()(x)
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    loss = F.cross_entropy(net.train()(x), y)
    loss.backward()
    norms = [(k, p.grad.norm().item()) for k, p in net.named_parameters()]
    norms += [(k, v.norm().item()) for k, v in state.items() if "running_" in k]
    print(f"static const double {name}_logits[{CLASSES}] = {{")
    numbers = [f"{v:.9g}" for v in logits[0].tolist()]
    for i in range(0, CLASSES, 5):
        print("    " + ", ".join(numbers[i:i + 5]) + ",")
    print(f"}};\nstatic const double {name}_loss = {loss.item():.9g};\nstatic const norm {name}_norms[] = {{")
    line = "   "
    for entry in (f'{{"{k}", {v:.6g}}},' for k, v in norms):
        if len(line) + 1 + len(entry) > 99:
            print(line)
            line = "   "
        line += " " + entry
    print(line + "\n};")


print("/* Written by torchvision.py with torch", torch.__version__, "and torchvision", torchvision.__version__,
      "in\n * double precision. */")
for net_name in ("resnet18", "resnet50", "mobilenet_v2"):
    case(net_name)
