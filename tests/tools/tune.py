"""Measuring and explaining which kernel computes what."""

import glob
import json
import os
import shutil

from support import Case, main

# Dense layers can be computed in two ways on any device, so there is always something to choose.
DENSE = """x = input(shape=[N,64])
label = input(shape=[N], dtype=i32)
a = dense(x, units=96)
r = relu(a)
b = dense(r, units=3)
loss = softmax_xent(b, label)
output logits = b
output loss = loss
"""


class Tune(Case):
    def setUp(self):
        super().setUp()
        self.cache = f"{self.dir}/cache"
        # The suites go by rule alone; here is what that leaves out.
        os.environ.pop("KILN_TUNE", None)
        os.environ["KILN_CACHE_DIR"] = self.cache
        self.write("dense.txt", DENSE)

    def tearDown(self):
        del os.environ["KILN_CACHE_DIR"]
        super().tearDown()

    def table(self):
        (path,) = glob.glob(f"{self.cache}/tuned/*.json")
        with open(path) as f:
            return path, json.load(f)

    def explain(self, *args):
        return json.loads(self.kiln("explain", "dense.txt", "--json", "--batch", 30, *args)[0])

    def test_tuning_is_told_and_kept(self):
        out = json.loads(self.kiln("tune", "dense.txt", "--batch", 30, "--train", "--json")[0])
        self.assertGreater(len(out["rows"]), 1)
        for row in out["rows"]:
            self.assertEqual(row["mode"], "train")
            self.assertTrue(row["complete"])
            names = {a["name"]: a for a in row["alternatives"]}
            for name in (row["chosen"], row["by_rule"]):
                self.assertGreater(names[name]["seconds"], 0)
                self.assertFalse(names[name]["wrong"])
        _, kept = self.table()
        self.assertEqual(len(kept["ops"]), len(out["rows"]))
        again, _ = self.kiln("tune", "dense.txt", "--batch", 30, "--train")
        self.assertIn("0 kinds of work measured", again)
        self.assertIn("--again", again)
        again, _ = self.kiln("tune", "dense.txt", "--batch", 30, "--train", "--again")
        self.assertIn(f"{len(out['rows'])} kinds of work measured", again)
        self.assertEqual(len(self.table()[1]["ops"]), len(out["rows"]))

    def test_layers_are_explained(self):
        before = self.explain("--train")
        self.assertTrue(all(r["why"] in ("rule", "only") for r in before))
        first = next(r for r in before if r["layer"] == "a")
        self.assertEqual((first["op"], first["in"], first["chosen"]), ("dense", "plain", first["by_rule"]))
        self.assertTrue(all(a["seconds"] is None for r in before for a in r["alternatives"]))
        self.kiln("tune", "dense.txt", "--batch", 30, "--train")
        after = self.explain("--train")
        self.assertEqual([r["layer"] for r in after], [r["layer"] for r in before])
        chosen = [r for r in after if r["why"] == "tuned"]
        self.assertIn("a", [r["layer"] for r in chosen])
        self.assertTrue(all(r["complete"] for r in chosen))
        for quiet in (("--no-tune",), ()):
            env = {} if quiet else {"KILN_TUNE": "0"}
            out, _ = self.kiln(
                "explain", "dense.txt", "--json", "--batch", 30, "--train", *quiet, env=env
            )
            self.assertFalse([r for r in json.loads(out) if r["why"] == "tuned"])
        timed = self.explain("--train", "--no-tune")
        self.assertEqual([r["by_rule"] for r in timed], [r["by_rule"] for r in before])
        out, _ = self.kiln("explain", "dense.txt", "--batch", 30, "--train", "--long")
        self.assertIn("not ref: needs ", out)
        self.assertIn("measured", out)

    def test_times_on_demand(self):
        rows = self.explain("--time")
        work = [r for r in rows if r["complete"]]
        self.assertTrue(work)
        for r in work:
            self.assertGreater(r["alternatives"][0]["seconds"], 0)
        self.assertFalse(glob.glob(f"{self.cache}/tuned/*"))  # explaining keeps nothing
        out, _ = self.kiln("explain", "dense.txt", "--batch", 30)
        self.assertRegex(out, r"^layer +op +kernel +why +in +out +time +others\n")

    def test_mistakes(self):
        self.write("bare.txt", DENSE.replace("output loss = loss\n", ""))
        self.fails(2, "no output \"loss\"", "tune", "bare.txt", "--train")
        self.fails(2, "no output \"loss\"", "explain", "bare.txt", "--train")
        self.fails(2, "whole number", "tune", "dense.txt", "--batch", "x")
        self.fails(2, "--budget", "tune", "dense.txt", "--budget", 0)
        self.fails(1, "does not tune", "tune", "dense.txt", env={"KILN_TUNE": "0"})
        self.kiln("tune", "dense.txt", "--budget", 0.001)

    def test_a_bad_cache_costs_nothing(self):
        self.kiln("tune", "dense.txt", "--batch", 30)
        path, _ = self.table()
        for text in ("", "{", "[]", '{"for": 3}', '{"for": "me", "ops": {}}', "\0" * 99):
            with open(path, "w") as f:
                f.write(text)
            self.assertFalse([r for r in self.explain() if r["why"] == "tuned"])
        out, _ = self.kiln("tune", "dense.txt", "--batch", 30)
        self.assertNotIn("\n0 kinds", "\n" + out)
        self.assertTrue([r for r in self.explain() if r["why"] == "tuned"])
        shutil.rmtree(self.cache)
        with open(self.cache, "w"):
            pass  # a file where the folder would be
        _, err = self.kiln("tune", "dense.txt", "--batch", 30)
        self.assertIn("not kept", err)

    def test_a_run_goes_on_with_its_kernels(self):
        """A resumed run gives the bits of one that was not interrupted, whatever is measured meanwhile."""
        self.kiln("tune", "net.txt", "--batch", 30, "--train")
        path, kept = self.table()
        for key, entry in kept["ops"].items():  # other kernels than the rule's, where there are
            others = [n for n in entry["ns"] if n != key.split("|")[1].split()[0]]
            entry["fastest"] = others[-1] if others else entry["fastest"]
        with open(path, "w") as f:
            json.dump(kept, f)
        self.train("--epochs", 4, "--schedule", "constant", out="whole")
        self.train("--epochs", 2, "--schedule", "constant", out="half")
        self.assertEqual(json.loads(self.read("half/tuned.json")), kept)
        os.remove(path)
        self.kiln("train", "--resume", "half", "--epochs", 4)
        self.assertEqual(json.loads(self.read("half/tuned.json")), kept)
        self.assertEqual(self.numbers("half"), self.numbers("whole"))
        self.train("--epochs", 1, "--no-tune", out="by_rule")
        self.assertEqual(json.loads(self.read("by_rule/tuned.json"))["ops"], {})

    def numbers(self, run):
        """The tensors of a checkpoint: what follows the head of a safetensors file."""
        data = self.bytes(f"{run}/last.kiln")
        return data[8 + int.from_bytes(data[:8], "little") :]


main()
