"""Training and what follows from it, on a small data set that is made here."""

import csv
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time

from support import KILN, NO_LOSS, Case, main, picture, png


def limit_files():
    """No file may grow past 4 MiB: a full disk, as one program sees it. The driver's compiler
    needs that much."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 22, 1 << 22))


class Train(Case):
    def rows(self, run="run"):
        return list(csv.DictReader(self.read(f"{run}/log.csv").splitlines()))

    def test_a_run_and_what_it_leaves(self):
        out, err = self.train("--epochs", 6)
        self.assertEqual(
            sorted(os.listdir(f"{self.dir}/run")),
            [
                "args.json",
                "best.kiln",
                "confusion.csv",
                "last.kiln",
                "log.csv",
                "report.html",
                "tuned.json",
            ],
        )
        self.assertIn("idx:data:test, 90 samples", out)
        self.assertIn("one-cycle", out)
        self.assertEqual(len(re.findall(r"^epoch ", out, re.M)), 6)
        self.assertNotIn("\033", out + err)
        rows = self.rows()
        self.assertEqual([r["epoch"] for r in rows], list("123456"))
        self.assertEqual(rows[-1]["step"], "60")
        self.assertGreater(float(rows[-1]["val_accuracy"]), 0.9)
        self.assertLess(float(rows[-1]["loss"]), float(rows[0]["loss"]))
        options = json.loads(self.read("run/args.json"))["options"]
        self.assertEqual(
            (options["epochs"], options["batch"], options["lr"], options["seed"]), (6, 30, 0.02, 0)
        )
        matrix = list(csv.reader(self.read("run/confusion.csv").splitlines()))
        self.assertEqual(sum(int(v) for r in matrix[1:] for v in r[1:]), 90)
        html = self.read("run/report.html")
        self.assertEqual(html.count("<svg"), 2)
        self.assertNotIn("<script", html)
        self.assertNotIn("http", html)
        self.eval_agrees(out)
        self.predict_agrees()
        self.fails(
            2, "is not empty", "train", "--data", "idx:data", "--model", "net.txt", "--out", "run"
        )

    def eval_agrees(self, out):
        said = float(re.search(r"test accuracy ([\d.]+)%", out).group(1))
        doc = json.loads(self.kiln("eval", "run", "--data", "idx:data:test", "--json")[0])
        self.assertAlmostEqual(100 * doc["accuracy"], said, delta=0.006)
        self.assertEqual(doc["samples"], 90)
        self.assertEqual(sum(c["samples"] for c in doc["classes"]), 90)
        text, _ = self.kiln("eval", "run/best.kiln", "--data", "idx:data:test", "--csv", "m.csv")
        self.assertIn(f"accuracy {said:.2f}%", text)
        self.assertEqual(self.read("m.csv"), self.read("run/confusion.csv"))

    def predict_agrees(self):
        rng, right = random.Random(7), 0
        files = [f"{k}{i}.png" for k in range(3) for i in range(5)]
        for f in files:
            png(f"{self.dir}/{f}", picture(int(f[0]), rng))
        doc = json.loads(self.kiln("predict", "run", *files, "--json", "--top", 3)[0])
        self.assertEqual([d["file"] for d in doc], files)
        for d in doc:
            self.assertAlmostEqual(sum(t["probability"] for t in d["top"]), 1, places=4)
            p = [t["probability"] for t in d["top"]]
            self.assertEqual(p, sorted(p, reverse=True))
            right += d["top"][0]["class"] == d["file"][0]
        self.assertGreaterEqual(right, 13)
        text, _ = self.kiln("predict", "run", "00.png", "--top", 1)
        self.assertRegex(text, r"^00\.png\n +[\d.]+%  \d\n$")
        out, err = self.kiln("predict", "run", "none.png", "00.png", code=4)
        self.assertIn("00.png", out)
        self.assertIn("none.png", err)

    def test_resume_goes_on_to_the_bit(self):
        self.train("--epochs", 4, "--schedule", "cosine", out="whole")
        p = self.start("--epochs", 4, "--schedule", "cosine", "--workers", 2, out="cut")
        self.wait_for("cut/log.csv")
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=120)
        if p.returncode == 0:
            self.skipTest("the training was over before the signal came")
        self.assertEqual(p.returncode, 130, err)
        self.assertIn("kiln train --resume cut", err)
        self.assertTrue(os.path.exists(f"{self.dir}/cut/report.html"))
        self.kiln("eval", "cut/last.kiln", "--data", "idx:data:test")  # it loads
        out, _ = self.kiln("train", "--resume", "cut")
        self.assertIn("resumed", out)
        a, b = self.rows("whole"), self.rows("cut")
        for key in ("epoch", "step", "loss", "val_loss", "val_accuracy", "lr"):
            self.assertEqual([r[key] for r in a], [r[key] for r in b], key)
        weights = [self.bytes(f"{run}/last.kiln")[-512:] for run in ("whole", "cut")]
        self.assertEqual(*weights)
        self.fails(2, "leave --model out", "train", "--resume", "cut", "--model", "net.txt")
        self.fails(4, "no such", "train", "--resume", "gone")

    def start(self, *args, out):
        command = [
            KILN,
            "train",
            "--data",
            "idx:data",
            "--model",
            "net.txt",
            "--batch",
            "30",
            "--lr",
            "0.02",
            "--out",
            out,
            *map(str, args),
        ]
        return subprocess.Popen(
            command, cwd=self.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, name):
        for _ in range(6000):
            if os.path.exists(f"{self.dir}/{name}"):
                return
            time.sleep(0.02)
        self.fail(f"{name} never came")

    def test_a_second_signal_ends_at_once(self):
        p = self.start("--epochs", 1000000, "--patience", 0, out="run")
        self.wait_for("run/log.csv")
        os.kill(p.pid, signal.SIGSTOP)  # so that both signals are there before the step ends
        p.send_signal(signal.SIGINT)
        p.send_signal(signal.SIGTERM)
        os.kill(p.pid, signal.SIGCONT)
        p.communicate(timeout=60)
        self.assertEqual(p.returncode, 130)

    def test_a_loss_is_appended(self):
        self.write("bare.txt", NO_LOSS)
        self.fails(
            2,
            "--loss softmax_xent",
            "train",
            "--data",
            "idx:data",
            "--model",
            "bare.txt",
            "--out",
            "a",
        )
        self.fails(
            2,
            "leave --loss out",
            "train",
            "--data",
            "idx:data",
            "--model",
            "net.txt",
            "--loss",
            "softmax_xent",
            "--out",
            "a",
        )
        self.fails(
            2,
            "samples themselves",
            "train",
            "--data",
            "idx:data",
            "--model",
            "bare.txt",
            "--loss",
            "mse",
            "--out",
            "a",
        )
        out, _ = self.kiln(
            "train",
            "--data",
            "idx:data",
            "--model",
            "bare.txt",
            "--loss",
            "softmax_xent",
            "--epochs",
            1,
            "--val",
            0.2,
            "--freeze",
            "c1.*",
            "--out",
            "a",
        )
        self.assertIn("held out", out)
        self.assertIn("of them trained", out)
        self.assertIn("softmax_xent", self.kiln("dump", "a")[0])

    def test_autoencoder(self):
        self.write(
            "auto.txt",
            "x = input(shape=[N,1,8,8])\nc1 = conv2d(x, filters=4, kernel=3, pad=1)\n"
            "r1 = relu(c1)\nc2 = conv2d(r1, filters=1, kernel=3, pad=1)\noutput y = c2\n",
        )
        out, _ = self.kiln(
            "train",
            "--data",
            "idx:data",
            "--model",
            "auto.txt",
            "--loss",
            "mse",
            "--epochs",
            2,
            "--optimizer",
            "sgd",
            "--momentum",
            0.9,
            "--nesterov",
            "--out",
            "a",
        )
        self.assertRegex(out, r"test loss [\d.]+")
        self.assertNotIn("confusion.csv", os.listdir(f"{self.dir}/a"))

    def test_json_log_is_json_lines(self):
        out, err = self.train("--epochs", 2, "--json-log", "--val", 0)
        lines = [json.loads(l) for l in out.splitlines()]
        self.assertEqual([l["epoch"] for l in lines], [1, 2])
        self.assertIsNone(lines[0]["val_loss"])
        self.assertIn("device", err)

    def test_where_nothing_can_be_written(self):
        self.write("file", "")
        self.fails(
            4, "file/run", "train", "--data", "idx:data", "--model", "net.txt", "--out", "file/run"
        )

    def test_a_full_disk_loses_nothing(self):
        self.write(
            "net.txt",
            self.read("net.txt")
            .replace("fc = ", "f0 = dense(p1, units=8000)\nfc = ")
            .replace("dense(p1, units=3)", "dense(f0, units=3)"),
        )
        self.train("--epochs", 1)
        before = self.bytes("run/last.kiln")
        self.assertGreater(len(before), 1 << 22)
        _, err = self.kiln(
            "train", "--resume", "run", "--epochs", 2, code=4, preexec_fn=limit_files
        )
        self.assertRegex(err, r"kiln train: .*(last|best)\.kiln.*File too large")
        self.assertEqual(self.bytes("run/last.kiln"), before)
        left = [f for f in os.listdir(f"{self.dir}/run") if "tmp" in f]
        self.assertEqual(left, [])
        self.kiln("train", "--resume", "run", "--epochs", 2)
        self.assertEqual(len(self.rows()), 2)

    def test_a_reader_of_stdout_may_go(self):
        p = self.start("--epochs", 3, out="run")
        p.stdout.close()
        with p.stderr:
            self.assertIn("output could not be written", p.stderr.read())
        self.assertEqual(p.wait(timeout=120), 4)
        self.assertEqual(len(self.rows()), 3)

    def test_the_data_must_fit(self):
        self.fails(
            1, "1x28x28", "train", "--data", "idx:data", "--model", self.lenet(), "--out", "a"
        )
        self.fails(
            2,
            "300 samples",
            "train",
            "--data",
            "idx:data",
            "--model",
            "net.txt",
            "--batch",
            301,
            "--out",
            "a",
        )
        self.assertFalse(os.path.exists(f"{self.dir}/a"))

    def lenet(self):
        self.write("lenet.txt", self.kiln("dump", "lenet")[0])
        return "lenet.txt"


class Look(Case):
    def test_summary(self):
        doc = json.loads(self.kiln("summary", "net.txt", "--batch", 16, "--train", "--json")[0])
        layers = {l["name"]: l for l in doc["layers"]}
        self.assertEqual(layers["c1"]["parameters"], 4 * 9 + 4)
        self.assertEqual(layers["c1"]["macs"], 4 * 9 * 64)
        self.assertEqual(layers["c1"]["receptive_field"], [3, 3])
        self.assertEqual(layers["p1"]["output"], [-1, 4, 4, 4])
        self.assertEqual(doc["parameters"], 40 + 64 * 3 + 3)
        self.assertLess(doc["memory"]["arena_bytes"], doc["memory"]["sum_bytes"])
        text, _ = self.kiln("summary", "net.txt", "--no-device")
        self.assertIn("235 parameters", text)
        self.assertIn("lenet", self.kiln("summary")[0])

    def test_trace(self):
        self.train("--epochs", 2, "--trace", "trace.json")
        events = json.loads(self.read("trace.json"))["traceEvents"]
        slices = [e for e in events if e["ph"] == "X"]
        steps = [e for e in slices if e["args"]["node"] == "fc"]
        self.assertEqual(len(steps), 10)  # of 18
        self.assertEqual({e["tid"] for e in slices} - {0, 1, 2}, set())
        self.assertNotIn("trace", self.read("run/args.json"))

    def test_gradcheck(self):
        rows = json.loads(self.kiln("gradcheck", "net.txt", "--per-param", 3, "--json")[0])
        self.assertEqual(
            [r["parameter"] for r in rows], ["c1.weight", "c1.bias", "fc.weight", "fc.bias"]
        )
        self.assertTrue(all(r["ok"] for r in rows))
        self.assertIn("worst", self.kiln("gradcheck", "net.txt", "--per-param", 1)[0])


main()
