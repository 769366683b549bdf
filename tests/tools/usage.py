"""Command lines: help, mistakes, exit codes."""

import json
import os
import subprocess

from support import KILN, Case, main

COMMANDS = [
    "devices",
    "doctor",
    "selftest",
    "train",
    "eval",
    "predict",
    "summary",
    "bench",
    "tune",
    "explain",
    "gradcheck",
    "ops",
    "dump",
    "version",
    "help",
]


class Usage(Case):
    def test_every_command_explains_itself(self):
        overview, _ = self.kiln("help")
        for c in COMMANDS:
            self.assertIn(f"\n  {c} ", overview)
            text, _ = self.kiln("help", c)
            self.assertTrue(text.startswith(f"kiln {c}: "), text)
            self.assertIn("--help", text)
            self.assertEqual(text, self.kiln(c, "--help")[0])

    def test_version(self):
        self.assertRegex(self.kiln("version")[0], r"^kiln \d+\.\d+\.\d+\n$")
        self.assertEqual(self.kiln("--version"), self.kiln("version"))

    def test_mistakes_are_usage_errors(self):
        self.kiln(code=2)
        self.fails(2, 'did you mean "train"', "trian")
        self.fails(2, "did you mean --epochs", "train", "--epohcs", 3)
        self.fails(2, "did you mean --json", "devices", "--josn")
        self.fails(2, "no option -x", "devices", "-x")
        self.fails(2, "takes no value", "devices", "--json=yes")
        self.fails(2, "needs a value", "train", "--lr")
        self.fails(2, "whole number", "train", "--epochs", "ten")
        self.fails(2, "whole number", "train", "--epochs", "1.5")
        self.fails(2, "0..1", "train", "--momentum", 2)
        self.fails(2, "adamw|adam|sgd|rmsprop", "train", "--optimizer", "adma")
        self.fails(2, "--data is missing", "train")
        self.fails(2, "--model is missing", "train", "--data", "idx:data")
        self.fails(2, "it needs", "predict")
        self.fails(2, "too many", "devices", "now")
        self.fails(2, "no architecture", "summary", "resnot", "--no-device")
        self.fails(
            2,
            "one-cycle",
            "train",
            "--data",
            "idx:data",
            "--model",
            "net.txt",
            "--schedule",
            "one-cycle",
            "--warmup",
            3,
        )
        self.fails(
            2,
            "cosine-restarts",
            "train",
            "--data",
            "idx:data",
            "--model",
            "net.txt",
            "--schedule",
            "fast",
        )
        self.fails(
            2,
            "flip-vertical",
            "train",
            "--data",
            "idx:data",
            "--model",
            "net.txt",
            "--augment",
            "flop",
        )
        self.fails(
            2,
            "no parameter",
            "train",
            "--data",
            "idx:data",
            "--model",
            "net.txt",
            "--freeze",
            "xyz*",
        )

    def test_files_that_are_wrong(self):
        self.fails(4, "nowhere", "train", "--data", "idx:nowhere", "--model", "net.txt")
        self.fails(4, "none.kiln", "predict", "./none.kiln", "x.png")
        self.write("junk.txt", "x = = 3\n")
        self.fails(4, "junk.txt:1:5", "dump", "junk.txt")
        with open(f"{self.dir}/data/t10k-labels-idx1-ubyte", "r+b") as f:
            f.truncate(20)
        self.fails(4, "t10k-labels", "train", "--data", "idx:data", "--model", "net.txt")

    def test_a_full_disk_is_no_success(self):
        with open("/dev/full", "w") as full:
            self.kiln("help", code=4, stdout=full)

    def test_a_closed_stdout_is_no_success(self):
        done = subprocess.run(f"{KILN} help >&-", shell=True, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 4, done.stderr)

    def test_colour_is_for_terminals(self):
        self.assertNotIn("\033", self.kiln("ops")[0])
        self.assertNotIn("\033", self.on_terminal({"NO_COLOR": "1"}))
        self.assertIn("\033[1m", self.on_terminal({"NO_COLOR": ""}))

    def on_terminal(self, env):
        master, slave = os.openpty()
        with subprocess.Popen(
            [KILN, "ops"], stdout=slave, env=dict(os.environ, TERM="xterm", **env)
        ) as p:
            os.close(slave)
            text = b""
            try:
                while True:
                    more = os.read(master, 65536)
                    if not more:
                        break
                    text += more
            except OSError:  # Linux says the end of a terminal so
                pass
            self.assertEqual(p.wait(), 0)
        os.close(master)
        return text.decode()

    def test_ops(self):
        ops = {o["name"]: o for o in json.loads(self.kiln("ops", "--json")[0])}
        self.assertTrue(ops["conv2d"]["differentiable"])
        self.assertIn("filters", ops["conv2d"]["attributes"])
        self.assertNotIn("relu_bwd", ops)
        every = {o["name"] for o in json.loads(self.kiln("ops", "--all", "--json")[0])}
        self.assertIn("relu_bwd", every)
        table = self.kiln("ops", "--markdown")[0].strip().split("\n")
        self.assertEqual(len(table), len(ops) + 2)
        self.assertEqual({line.replace("\\|", "").count("|") for line in table}, {6})

    def test_dump_is_what_model_takes(self):
        text, _ = self.kiln("dump", "net.txt")
        self.write("again.txt", text)
        self.assertEqual(self.kiln("dump", "again.txt")[0], text)
        self.assertIn("digraph", self.kiln("dump", "--dot", "lenet")[0])


main()
