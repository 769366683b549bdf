#!/usr/bin/env python3
"""Writes curves.h: ten-step loss curves of small nets in PyTorch, float64, for tests/train/curves.c.

Weights and data follow a formula that both sides compute (hash_value), so a few kB of numbers are all that is stored.
usage: python3 torch_curves.py > curves.h     (needs torch; Debian's python3-torch will do)
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
STEPS, BATCH = 10, 8


def values(seed, n, scale):
    """The i-th number of stream `seed`: a 32-bit mix of both, as a multiple of 2^-16 in [-scale, scale)."""
    i = torch.arange(n, dtype=torch.int64)
    x = (i * 2654435761 + seed * 40503 + 12345) % (1 << 32)
    x = ((x ^ (x >> 15)) * 2246822519) % (1 << 32)
    x = (x ^ (x >> 13)) % (1 << 32)
    return ((x >> 16).double() / 32768.0 - 1.0) * scale


class Net(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def lenet():
    return (1, 28, 28), 10, [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
                             nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 10)]


def bnnet():
    return (3, 12, 12), 5, [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                            nn.Conv2d(8, 20, 3, padding=1, bias=False), nn.BatchNorm2d(20), nn.ReLU(),
                            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 5)]


def odd():
    return (4, 15, 13), 6, [nn.Conv2d(4, 8, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(2, 1), groups=2),
                            nn.ELU(),
                            nn.AvgPool2d(2, 2, padding=1), nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4),
                            nn.SiLU(),
                            nn.ConvTranspose2d(12, 6, 3, stride=2, padding=1, output_padding=1),
                            nn.LeakyReLU(0.1),
                            nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), nn.Flatten(),
                            nn.LazyLinear(16), nn.Sigmoid(),
                            nn.Linear(16, 6)]


CASES = [
    ("lenet_sgd", lenet, lambda p: torch.optim.SGD(p, lr=.05, momentum=.9, nesterov=True, weight_decay=1e-3), {}, None),
    ("lenet_adam_clip", lenet, lambda p: torch.optim.Adam(p, lr=2e-3), {}, .5),
    ("bnnet_adamw", bnnet, lambda p: torch.optim.AdamW(p, lr=5e-3, weight_decay=.05), {"label_smoothing": .1}, None),
    ("bnnet_rmsprop", bnnet, lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=.9, centered=True), {}, None),
    ("odd_sgd", odd, lambda p: torch.optim.SGD(p, lr=.05, momentum=.5),
     {"weight": torch.tensor([1., 2., .5, 1., 3., 1.])}, None),
    ("odd_adamw", odd, lambda p: torch.optim.AdamW(p, lr=3e-3), {}, None),
]


def curve(make, optim, loss_args, clip):
    shape, classes, layers = make()
    net = Net(layers)
    net(torch.zeros(2, *shape))  # lazy layers take their shape
    for layer in net.layers:     # the pass above must leave no statistics behind
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
    with torch.no_grad():
        k = 0
        for layer in net.layers:
            if isinstance(layer, nn.BatchNorm2d):
                continue
            for p in layer.parameters(recurse=False):
                k += 1
                fan = p[0].numel() if p.dim() > 1 else p.numel()
                p.copy_(values(k, p.numel(), fan ** -.5).float().double().reshape(p.shape))
    opt, losses = optim(net.parameters()), []
    for step in range(STEPS):
        x = values(1000 + step, BATCH * shape[0] * shape[1] * shape[2], 1.0).reshape(BATCH, *shape)
        y = torch.arange(BATCH) * 7 % classes
        x = x + (y.double() / classes).reshape(-1, 1, 1, 1)
        opt.zero_grad()
        loss = F.cross_entropy(net(x.float().double()), y, **loss_args)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        opt.step()
        losses.append(loss.item())
    return losses


print("/* Written by torch_curves.py with torch", torch.__version__, "in double precision. */")
for name, make, optim, args, clip in CASES:
    print(f"static const double curve_{name}[{STEPS}] = {{")
    numbers = [f"{v:.12g}" for v in curve(make, optim, args, clip)]
    for i in range(0, STEPS, 5):
        print("    " + ", ".join(numbers[i:i + 5]) + ",")
    print("};")
