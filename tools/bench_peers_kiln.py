#!/usr/bin/env python3
"""Kiln embedded, for tools/bench_peers: training steps of a net by the library's C interface.

usage: bench_peers_kiln.py LIBRARY NET BATCH STEPS
Prints one JSON line: `first`, seconds from before the device is opened to the end of the first step; `growth`, by how
many bytes the process' peak memory grew over STEPS steps from after set-up (data, device, model, trainer).
"""
import array
import ctypes
import json
import random
import struct
import sys
import time

from bench_peers_work import NETS, forget_peak, peak_bytes


class Bind(ctypes.Structure):  # kl_bind
    _fields_ = [("name", ctypes.c_char_p), ("tensor", ctypes.c_void_p), ("host", ctypes.c_void_p),
                ("host_bytes", ctypes.c_size_t)]


def main(library, net, batch, steps):
    kl = ctypes.CDLL(library)
    for name in ("kl_zoo_build", "kl_model_create", "kl_ctx_create", "kl_trainer_create"):
        getattr(kl, name).restype = ctypes.c_void_p
    kl.kl_last_error.restype = ctypes.c_char_p

    def must(got, bad):
        if got == bad if bad is None else got != bad:
            sys.exit(kl.kl_last_error().decode())
        return got

    _, shape, classes = NETS[net]
    size = batch * shape[0] * shape[1] * shape[2]
    r = random.Random(0)
    image = array.array("f", [r.gauss(0, 1) for _ in range(1021)] * (size // 1021 + 1))[:size]
    label = array.array("i", [i * 7 % classes for i in range(batch)])
    binds = (Bind * 2)(*(Bind(name, None, a.buffer_info()[0], len(a) * 4)
                         for name, a in ((b"image", image), (b"label", label))))
    start = time.perf_counter()
    pointer = ctypes.c_void_p
    ctx = pointer(must(kl.kl_ctx_create(None), None))
    graph = pointer(must(kl.kl_zoo_build(net.encode(), None, 0), None))
    model = pointer(must(kl.kl_model_create(graph, None), None))
    # kl_trainer_opts begins with kl_optim_opts: kind KL_SGD, compat, momentum; zeros are defaults
    opts = ctypes.create_string_buffer(struct.pack("iif", 1, 0, 0.9), 4096)
    trainer = pointer(must(kl.kl_trainer_create(model, ctypes.byref(ctx), ctypes.c_size_t(1), b"loss", None, opts),
                           None))
    forget_peak()
    before, first = peak_bytes(), None
    metrics = ctypes.create_string_buffer(4096)
    for _ in range(steps):
        must(kl.kl_trainer_step(trainer, binds, ctypes.c_size_t(2)), 0)
        must(kl.kl_trainer_metrics(trainer, metrics), 0)
        first = first or time.perf_counter() - start
    print(json.dumps({"first": first, "growth": peak_bytes() - before}))
    kl.kl_trainer_destroy(trainer)
    kl.kl_model_destroy(model)
    kl.kl_graph_destroy(graph)
    kl.kl_ctx_destroy(ctx)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
