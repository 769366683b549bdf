"""Several devices and micro-batches: the split, what is told of it, the scaling table. The halves of
the CPU are the devices; where it cannot be halved, PoCL is asked for two."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest

from support import KILN, NO_LOSS, Case, main

PAIR = {"POCL_DEVICES": "pthread pthread"}


def group_of():
    """--device and environment of two devices, or None."""
    tries = [("0:0/2", {}), ("all", PAIR)]
    for device, env in tries:
        done = subprocess.run(
            [KILN, "bench", "none.txt", "--train", "--device", device],
            env=dict(os.environ, **env),
            capture_output=True,
            text=True,
            timeout=240,
        )
        if "none.txt" in done.stderr:  # the group was there, the model is not
            return device, env
    return None


GROUP = group_of()


class Micro(Case):
    """A batch in pieces, on one device."""

    def options(self, run="run"):
        return json.loads(self.read(f"{run}/args.json"))["options"]

    def test_a_batch_is_cut_until_it_fits(self):
        out, _ = self.train("--batch", 256, "--epochs", 2, "--memory", "700K")
        said = re.search(
            r"memory +batch of 256 in (\d+) micro-batches of (\d+): ([\d.]+) KiB of 700 KiB on ", out
        )
        self.assertTrue(said, out)
        shards, micro, need = int(said[1]), int(said[2]), float(said[3])
        self.assertGreater(shards, 1)
        self.assertEqual(shards * micro, 256)
        held = re.search(r"at most ([\d.]+) KiB of device memory", out)
        self.assertGreaterEqual(float(held[1]), need)
        self.assertLessEqual(float(held[1]), 700)  # with the short last batch and validation
        options = self.options()
        self.assertEqual((options["shards"], options["micro-batch"]), (shards, micro))
        self.assertNotIn("memory", options)
        self.assertIn(f"{shards} micro-batches", self.read("run/report.html"))
        # It goes on in as many pieces; to the bit as a run that never stopped, told by their size.
        out, _ = self.kiln("train", "--resume", "run", "--epochs", 3)
        self.assertIn(f"in {shards} micro-batches of {micro}", out)

    def test_micro_batch_is_shards(self):
        a, _ = self.train("--epochs", 2, "--micro-batch", 8, out="a")
        self.assertIn("batch of 30 in 4 micro-batches of at most 8", a)
        self.train("--epochs", 2, "--shards", 4, out="b")
        self.assertEqual(self.options("a")["shards"], 4)
        self.assertEqual(self.bytes("a/last.kiln")[-512:], self.bytes("b/last.kiln")[-512:])
        # and the plain run is one shard, which is written down as well
        self.train("--epochs", 1, out="c")
        self.assertEqual(self.options("c")["shards"], 1)

    def test_resume_keeps_the_shards(self):
        self.train("--epochs", 1, "--shards", 3)
        self.fails(2, "leave --micro-batch out", "train", "--resume", "run", "--micro-batch", 8)
        os.rename(f"{self.dir}/run/last.kiln", f"{self.dir}/alone.kiln")
        args = ["--data", "idx:data", "--batch", 30, "--lr", 0.02, "--epochs", 2]
        self.kiln("train", "--resume", "alone.kiln", *args, "--out", "more")
        self.assertEqual(self.options("more")["shards"], 3)
        self.fails(
            1, "in 3 micro-batches", "train", "--resume", "more", "--epochs", 3, "--memory", "9K"
        )

    def test_contradictions_are_told(self):
        def wrong(words, *args, code=2):
            base = ["train", "--data", "idx:data", "--model", "net.txt", "--batch", 60]
            self.fails(code, words, *base, "--out", "a", *args)

        wrong("both say how a batch is cut", "--shards", 2, "--micro-batch", 30)
        wrong("leave --shards out", "--shards", 2, "--memory", "1G")
        wrong("leave --micro-batch out", "--micro-batch", 2, "--memory", "1G")
        wrong("a batch has 60 samples only", "--shards", 61)
        wrong("a batch has 60 samples only", "--micro-batch", 61)
        wrong("at most 256", "--batch", 300, "--micro-batch", 1)
        for size in ("lots", "-1G", "10Q", "0", "GB", "1GG", "nan"):
            wrong("no size such as", "--memory", size)
        wrong("more than 9.0 KiB", "--memory", "9K", code=1)
        wrong("optimizer", "--memory", "9K", code=1)
        wrong("weights for 1 device", "--split", "3:1")
        for split in ("half", "1:", "0", "-1"):
            wrong("auto, equal, or a weight", "--split", split)
        self.assertFalse(os.path.exists(f"{self.dir}/a"))

    def test_sizes(self):
        for size, text in (("1G", "1.00 GiB"), ("1.5g", "1.50 GiB"), ("512MiB", "512 MiB")):
            out, _ = self.train("--epochs", 1, "--memory", size, out=size)
            self.assertIn(f"batch of 30 in one piece: ", out)
            self.assertIn(f" of {text} on", out)


@unittest.skipUnless(GROUP, "no two devices here")
class Several(Case):
    def setUp(self):
        super().setUp()
        self.device, self.env = GROUP

    def both(self, *args, out, **more):
        return self.train(*args, "--device", self.device, out=out, env=self.env, **more)

    def kiln(self, *args, env=None, **more):
        return super().kiln(*args, env=dict(self.env, **(env or {})), **more)

    def weights(self, run):
        return self.bytes(f"{run}/last.kiln")[-512:]

    def test_a_run_over_two(self):
        out, err = self.both("--epochs", 6, out="run")
        self.assertEqual(len(re.findall(r"^(?:devices| {7})    +0:\d\S*  ", out, re.M)), 2, out)
        self.assertIn("16 shards of a batch, by measured speed", out)
        lines = re.findall(r"^  0:\S+ .*   ?(\d+) of 16 shards  [\d.]+ images/s  busy \d+%$", out, re.M)
        self.assertEqual(len(lines), 12, out)
        self.assertTrue(all(int(a) + int(b) == 16 for a, b in zip(lines[::2], lines[1::2])), lines)
        rows = list(csv.DictReader(self.read("run/log.csv").splitlines()))
        self.assertGreater(float(rows[-1]["val_accuracy"]), 0.9)
        options = json.loads(self.read("run/args.json"))["options"]
        self.assertEqual((options["shards"], options["device"]), (16, self.device))
        self.assertTrue(os.listdir(f"{self.dir}/run/tuned"))
        html = self.read("run/report.html")
        self.assertIn("<h2>Devices</h2>", html)
        said = float(re.search(r"test accuracy ([\d.]+)%", out).group(1))
        doc = json.loads(
            self.kiln("eval", "run", "--data", "idx:data:test", "--json", "--device", self.device)[0]
        )
        self.assertAlmostEqual(100 * doc["accuracy"], said, delta=0.006)

    def test_who_computes_does_not_matter(self):
        """The same parameters over two devices, over other devices from the middle on, and on one."""
        self.both("--epochs", 3, "--split", "3:1", out="a")
        self.train("--epochs", 3, "--shards", 16, out="b", env=self.env)
        out, _ = self.both("--epochs", 3, "--split", "equal", out="c")
        self.assertIn("16 shards of a batch, equal", out)
        self.assertEqual(re.findall(r"(\d+) of 16 shards", out), ["8"] * 6)
        if "/" not in self.device:  # halves have another number of units, and kernels know it
            self.assertEqual(self.weights("a"), self.weights("b"))
        self.assertEqual(self.weights("a"), self.weights("c"))

    def test_resume_on_other_devices(self):
        self.both("--epochs", 4, "--schedule", "cosine", out="whole")
        p = subprocess.Popen(
            [KILN, "train", "--data", "idx:data", "--model", "net.txt", "--batch", "30", "--lr"]
            + ["0.02", "--epochs", "4", "--schedule", "cosine", "--device", self.device]
            + ["--split", "3:1", "--out", "cut"],
            cwd=self.dir,
            env=dict(os.environ, **self.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while p.poll() is None and not os.path.exists(f"{self.dir}/cut/log.csv"):
            time.sleep(0.01)
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=120)
        if p.returncode == 0:
            self.skipTest("the training was over before the signal came")
        self.assertEqual(p.returncode, 130, err)
        part = "0:0/2:0" if "/" in self.device else "0:0"
        out, _ = self.kiln("train", "--resume", "cut", "--device", part)
        self.assertIn("resumed", out)
        self.assertNotIn("weights for", out)  # the old --split is of the old devices
        self.assertEqual(self.weights("whole"), self.weights("cut"))

    def test_json_log_has_devices(self):
        out, _ = self.both("--epochs", 2, "--json-log", out="run")
        for line in map(json.loads, out.splitlines()):
            self.assertEqual(len(line["devices"]), 2)
            self.assertEqual(sum(d["shards"] for d in line["devices"]), 16)
            for d in line["devices"]:
                self.assertEqual(d["lost"], False)
                self.assertGreater(d["images_per_second"], 0)
                self.assertTrue(0 <= d["busy"] <= 1.01)

    def test_splits_must_fit(self):
        self.fails(
            2,
            "3 weights for 2 devices",
            *["train", "--data", "idx:data", "--model", "net.txt", "--out", "a", "--split", "1:1:1"],
            *["--device", self.device],
        )

    def test_micro_batches_of_each(self):
        out, _ = self.both("--batch", 256, "--epochs", 1, "--memory", "400K", out="run")
        self.assertRegex(out, r"batch of 256 in (32|64|128) micro-batches of \d+: .* on each device")
        held = re.search(r"at most ([\d.]+) KiB of device memory", out)
        self.assertLessEqual(float(held[1]), 400)

    def test_trace_has_a_process_for_each(self):
        self.both("--epochs", 2, "--trace", "trace.json", out="run")
        events = json.loads(self.read("trace.json"))["traceEvents"]
        slices = [e for e in events if e["ph"] == "X"]
        self.assertEqual(len({e["pid"] for e in slices}), 2)

    def test_scaling_table(self):
        args = ["bench", "net.txt", "--train", "--device", self.device, "--runs", 1, "--batch", 32]
        doc = json.loads(self.kiln(*args, "--json")[0])
        (row,) = doc["rows"]
        self.assertEqual((row["batch"], row["shards"], len(row["devices"])), (32, 16, 2))
        alone = [d["alone_images_per_second"] for d in row["devices"]]
        self.assertAlmostEqual(row["speed_up"], row["images_per_second"] / max(alone), places=6)
        self.assertAlmostEqual(row["efficiency"], row["images_per_second"] / sum(alone), places=6)
        self.assertEqual(sum(d["shards"] for d in row["devices"]), 16)
        text, _ = self.kiln(*args, "--shards", 8)
        self.assertIn("net, train, batch 32 in 8 shards", text)
        lines = text.strip().split("\n")
        self.assertIn("efficiency", lines[-4])
        self.assertTrue(lines[-1].startswith("together"))
        self.assertRegex(lines[-1], r"8/8 .* \d+%$")


class Scaling(Case):
    def test_mistakes(self):
        bench = ["bench", "net.txt", "--device", "all"]
        self.fails(2, "--train alone", *bench)
        self.fails(2, "--train alone", *bench, "--train", "--infer")
        self.fails(2, "takes one device", *bench, "--train", "--trace", "t.json")
        self.fails(3, "9:9", "bench", "net.txt", "--train", "--device", "0:0,9:9")
        self.fails(2, "named twice", "bench", "net.txt", "--train", "--device", "0:0,0:0")
        self.write("no_loss.txt", NO_LOSS)
        if GROUP:
            device, env = GROUP
            self.fails(
                2, "--loss", "bench", "no_loss.txt", "--train", "--device", device, env=env
            )


main()
