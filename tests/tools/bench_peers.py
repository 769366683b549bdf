"""tools/bench_peers: what it makes of measurements, by sides that say what they are told to; and that Kiln's real sides
answer. No peer is needed."""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import subprocess
import sys
import unittest

from support import KILN, Case, main

TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools")
BUILD = os.path.dirname(os.path.dirname(KILN))


def loaded(path):
    loader = importlib.machinery.SourceFileLoader("bench_peers", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_peers", loader))
    loader.exec_module(module)
    return module


bp = loaded(os.path.join(TOOLS, "bench_peers"))
ORDER = []  # who was measured, one after the other


class Side:
    """Gives its values one after the other, the last for ever; None is a side that is missing."""

    def __init__(self, name, *values, of="cpu"):
        self.name, self.values, self.of = name, list(values), of

    def measure(self, seconds):
        ORDER.append(self.name)
        v = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        if v is None:
            raise bp.Missing(f"{self.name} is not here")
        return {self.of: v}


class FakeBench:
    cores, cpu, dropped = 1, "a CPU", 0

    def drop(self):
        self.dropped += 1


def row(kiln, *peers, none=False, **more):
    return bp.Row("a work", "peers", 1.0, 2.0, lambda _: kiln, None if none else lambda _: list(peers), **more)


def measured(r, pairs=3, bench=None):
    del ORDER[:]
    return bp.measure(r, bench or FakeBench(), pairs, 1.0)


class Measuring(unittest.TestCase):
    def test_the_median_of_the_pairs_ratios(self):
        kiln = Side("kiln", 9, 9, 1, 2, 4)  # two warm-ups, then three pairs
        r = measured(row(kiln, Side("peer", 9, 3, 3, 8, 4)))
        self.assertEqual((r["ratio"], r["least"], r["most"]), (3, 1, 4))
        self.assertEqual((r["peer"], r["pairs"], r["kiln"], r["theirs"]), ("peer", 3, 2, 4))
        self.assertEqual((r["at_least"], r["aim"], r["lower"], r["cpu"]), (1.0, 2.0, False, "a CPU"))

    def test_sides_take_turns_and_swap_them(self):
        measured(row(Side("kiln", 1), Side("peer", 2)), pairs=3)
        self.assertEqual(ORDER[-6:], ["kiln", "peer", "peer", "kiln", "kiln", "peer"])

    def test_the_hardest_peer_counts_and_slow_ones_leave(self):
        r = measured(row(Side("kiln", 10), Side("near", 12), Side("best", 11), Side("slow", 20)))
        self.assertEqual((r["peer"], r["ratio"]), ("best", 1.1))
        self.assertEqual(ORDER.count("slow"), 2)
        self.assertEqual(ORDER.count("near"), 2 + 3)
        # at first sight the other one was faster
        r = measured(row(Side("kiln", 10), Side("lucky", 10, 10, 15), Side("steady", 12)))
        self.assertEqual(r["peer"], "steady")

    def test_less_is_better_in_some_rows(self):
        r = measured(row(Side("kiln", 6, of="bytes"), Side("a", 10, of="bytes"), Side("b", 12, of="bytes"),
                         of="bytes", lower=True, few=True), pairs=7)
        self.assertEqual((r["ratio"], r["peer"], r["pairs"], r["lower"]), (0.6, "a", 3, True))

    def test_a_row_without_peer_tells_the_value(self):
        r = measured(row(Side("kiln", 3, 5, 4, of="wall"), none=True, of="wall", lower=True, few=True))
        self.assertEqual((r["ratio"], "theirs" in r), (4, False))

    def test_more_cores_are_judged_by_wall_time(self):
        bench = FakeBench()
        bench.cores = 2
        r = measured(row(Side("kiln", 1, of="wall"), Side("peer", 3, of="wall")), bench=bench)
        self.assertEqual((r["ratio"], r["unit"]), (3, "wall seconds"))

    def test_who_is_missing_is_said(self):
        r = measured(row(Side("kiln", 1), Side("peer", None), Side("other", 2)))
        self.assertEqual((r["ratio"], r["peer"]), (2, "other"))
        r = measured(row(Side("kiln", 1), Side("peer", None)))
        self.assertEqual((r["ratio"], r["why"]), (None, "peer is not here"))
        r = measured(row(Side("kiln", None), Side("peer", 1)))
        self.assertEqual((r["ratio"], r["why"]), (None, "kiln is not here"))
        self.assertEqual(bp.verdict(r), "missing")


class Printing(unittest.TestCase):
    def test_verdicts(self):
        def of(ratio, lower, at_least=1.0, aim=2.0):
            return bp.verdict({"ratio": ratio, "lower": lower, "at_least": at_least, "aim": aim})
        self.assertEqual([of(r, False) for r in (0.99, 1.0, 1.99, 2.0)], ["below", "ok", "ok", "aim"])
        self.assertEqual([of(r, True, 0.7, 0.5) for r in (0.71, 0.7, 0.51, 0.5)], ["below", "ok", "ok", "aim"])

    def run_rows(self, rows, *arguments):
        bench, out = FakeBench(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            good = bp.run(bp.options(["--pairs", "1", *arguments]), bench, rows)
        self.assertEqual(bench.dropped, len(rows))
        return good, out.getvalue()

    def test_the_table(self):
        good, text = self.run_rows([row(Side("kiln", 0.010), Side("Peer 1.2", 0.015)),
                                    row(Side("kiln", 1), Side("peer", None)),
                                    row(Side("kiln", 2), Side("peer", 1))])
        lines = text.strip().split("\n")
        self.assertFalse(good)
        self.assertEqual(lines[0], "a CPU; 1 thread, 1 pairs")
        self.assertEqual(lines[4], "| a work | Peer 1.2 | 1 | 2 | 1.5 | 1.5 to 1.5 | 10 ms | 15 ms |  |")
        self.assertEqual(lines[5], "| a work | peers | 1 | 2 |  |  |  |  | missing: peer is not here |")
        self.assertTrue(lines[6].endswith("| 0.5 | 0.5 to 0.5 | 2 s | 1 s | **below** |"), lines[6])
        self.assertEqual({l.count("|") for l in lines[2:]}, {10})

    def test_json_is_an_object_a_row(self):
        good, text = self.run_rows([row(Side("kiln", 1), Side("peer", 2)), row(Side("kiln", 1), Side("peer", None))],
                                   "--json")
        first, second = map(json.loads, text.strip().split("\n"))
        self.assertTrue(good)
        self.assertEqual({k: first[k] for k in ("work", "peer", "ratio", "at_least", "aim", "lower", "cpu")},
                         {"work": "a work", "peer": "peer", "ratio": 2, "at_least": 1.0, "aim": 2.0, "lower": False,
                          "cpu": "a CPU"})
        self.assertIsNone(second["ratio"])


class Rows(unittest.TestCase):
    def test_goals_stand_as_agreed(self):
        bounds = {r.work: (r.at_least, r.aim) for r in bp.rows()}
        self.assertEqual(len(bounds), len(bp.rows()))
        for work, goal in {"conv 3x3 s1, N16 C64 K64 32x32, backward-data": (1.8, 2.6), "SGEMM 2048": (0.85, 1.05),
                           "SGEMM 1024 against CLBlast": (15, 20), "train resnet18 B8": (1.3, 2),
                           "train lenet B1, time per step": (3, 8), "infer lenet B1": (0.7, 1.5),
                           "infer resnet50 B8": (1.0, 1.5), "infer vgg6 B32": (1.0, 1.5),
                           "peak memory of a step, resnet18 B8": (0.7, 0.5),
                           "two cores over one, wall, train resnet18 B8": (1.7, 1.95)}.items():
            self.assertEqual(bounds[work], goal)
        for r in bp.rows():
            self.assertEqual(r.aim < r.at_least, r.lower, r.work)

    def test_rows_are_picked_by_pattern(self):
        def told(*arguments):
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
                code = bp.main(arguments)
            return code, out.getvalue().split("\n")[:-1]
        self.assertEqual(told("--list", "--rows", "sgemm 5"), (0, ["SGEMM 512"]))
        self.assertEqual(len(told("--list")[1]), len(bp.rows()))
        self.assertEqual(told("--rows", "no such row"), (2, []))


class RealSides(Case):
    def test_kilns_sides_answer(self):
        bench = bp.sides.Bench(self.dir, 1)
        bench.cache = os.environ.get("POCL_CACHE_DIR", f"{self.dir}/cache")
        os.makedirs(f"{self.dir}/tools")
        os.symlink(KILN, f"{self.dir}/tools/kiln")
        conv = {"n": 2, "c": 3, "k": 4, "size": 8, "kernel": 3, "stride": 1, "groups": 1}
        for side in (bp.sides.kiln_net(bench, "lenet", 2, False), bp.sides.kiln_gemm(bench, 16),
                     bp.sides.kiln_conv(bench, {**conv, "pass": "both"})):
            self.assertEqual(side.runs, 1)
            got = side.measure(1.0)
            self.assertGreater(got["cpu"], 0)
            self.assertGreater(got["wall"], 0)
            self.assertGreater(side.runs, 1)  # as many as fill a second
        with self.assertRaisesRegex(bp.Missing, "nonet"):
            bp.sides.kiln_net(bench, "nonet", 2, True).measure(0)

    def test_passes_are_added_up(self):
        doc = {"passes": [{"pass": p, "cpu_seconds": t, "seconds": 2 * t} for p, t in
                          (("forward", 1), ("backward_data", 2), ("backward_weights", 4), ("backward", 5))]}
        self.assertEqual(bp.sides.pick_passes("forward", "backward")(doc), {"cpu": 6, "wall": 12})
        self.assertEqual(bp.sides.pick_passes("backward_weights")(doc), {"cpu": 4, "wall": 8})
        with self.assertRaises(bp.Missing):
            bp.sides.pick_passes("sideways")(doc)

    def test_kiln_embedded(self):
        program = os.path.join(TOOLS, "bench_peers_kiln.py")
        got = bp.sides.run_json([sys.executable, "-B", program, f"{BUILD}/libkiln.so", "lenet", "2", "2"],
                                dict(os.environ), "embedded")
        self.assertGreater(got["first"], 0)
        self.assertGreaterEqual(got["growth"], 0)

    def test_a_worker_answers_what_it_cannot_do(self):
        asked = [{"work": {"kind": "none"}, "way": "nchw", "seconds": 0}, {"drop": True}]
        done = subprocess.run([sys.executable, "-B", os.path.join(TOOLS, "bench_peers_work.py")], text=True,
                              input="".join(json.dumps(a) + "\n" for a in asked), capture_output=True)
        first, second = map(json.loads, done.stdout.strip().split("\n"))
        self.assertIn("none", first["error"])
        self.assertEqual(second, {})


main()
