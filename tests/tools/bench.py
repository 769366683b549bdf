"""kiln bench: models, single ops, devices side by side, peaks, traces."""

import json

from support import NO_LOSS, Case, main

CONV = ["--op", "conv2d(x, filters=16, kernel=3, pad=1)", "--shape", "x=2,8,6,6"]


class Bench(Case):
    def test_bench(self):
        doc = json.loads(
            self.kiln(
                "bench",
                "net.txt",
                "--batch",
                "1,8",
                "--train",
                "--infer",
                "--runs",
                2,
                "--layers",
                "--json",
            )[0]
        )
        self.assertEqual(
            [(r["mode"], r["batch"]) for r in doc["rows"]],
            [("infer", 1), ("infer", 8), ("train", 1), ("train", 8)],
        )
        for r in doc["rows"]:
            self.assertGreater(r["images_per_second"], 0)
            self.assertGreater(r["peak_bytes"], r["arena_bytes"])
            self.assertEqual(len(r["layers"]) > 0, True)
        text, _ = self.kiln("bench", "net.txt", "--runs", 1, "--layers")
        self.assertIn("images/s", text)
        self.assertIn("GFLOP/s", text)
        self.fails(2, "list of sizes", "bench", "net.txt", "--batch", "1,x")


    def test_layers_are_told_next_to_the_peaks(self):
        doc = json.loads(
            self.kiln("bench", "net.txt", "--batch", 8, "--runs", 2, "--layers", "--json")[0]
        )
        levels = doc["peaks"]["levels"]
        self.assertEqual([levels[0]["name"], levels[-1]["name"]], ["L1", "memory"])
        self.assertGreater(doc["peaks"]["flops"], 0)
        self.assertEqual(doc["rows"][0]["peaks"], doc["peaks"])
        self.assertGreater(doc["rows"][0]["enqueue_seconds"], 0)
        layers = doc["rows"][0]["layers"]
        self.assertEqual(sum(l["launches"] for l in layers), doc["rows"][0]["launches"])
        conv = next(l for l in layers if l["op"] == "conv2d")
        self.assertEqual(conv["macs"], 8 * 4 * 64 * 9)
        self.assertGreaterEqual(conv["flops"], 2 * conv["macs"])
        for l in layers:
            self.assertIn(l["bound"], ("launch", "arithmetic", "cache", "memory"))
            self.assertGreater(l["share_of_peak"], 0)

    def test_a_single_measurement_is_told_in_full(self):
        text, _ = self.kiln("bench", "net.txt", "--runs", 1, "--sort", "time")
        table = text[text.index("node ") : text.index("peaks measured")].strip().split("\n")
        shares = [float(l.split("%")[0].split()[-1]) for l in table[1:]]
        self.assertEqual(shares, sorted(shares, reverse=True))
        self.assertGreater(len(shares), 3)
        text, _ = self.kiln("bench", "net.txt", "--runs", 1, "--batch", "1,2")
        self.assertNotIn("of peak", text)
        self.fails(2, "--sort", "bench", "net.txt", "--sort", "size")

    def test_op(self):
        doc = json.loads(self.kiln("bench", *CONV, "--train", "--runs", 1, "--json")[0])
        self.assertEqual(
            [(p["pass"], p["of"]) for p in doc["passes"]],
            [
                ("forward", ""),
                ("backward_data", "x"),
                ("backward_weights", "y.weight"),
                ("backward_weights", "y.bias"),
                ("backward", ""),
            ],
        )
        macs = 2 * 16 * 36 * 8 * 9
        self.assertEqual([p["macs"] for p in doc["passes"]], [macs, macs, macs, 0, 2 * macs])
        for p in doc["passes"]:
            self.assertGreater(p["seconds"], 0)
            self.assertGreaterEqual(p["cpu_seconds"], p["best_cpu_seconds"])
        text, _ = self.kiln("bench", *CONV, "--runs", 1)
        self.assertIn("forward", text)
        self.assertNotIn("backward", text)
        labels = ["--op", "softmax_xent(x, l)", "--shape", "x=4,5", "--shape", "l=4:i32"]
        doc = json.loads(self.kiln("bench", *labels, "--train", "--runs", 1, "--json")[0])
        self.assertEqual([p["of"] for p in doc["passes"]], ["", "x"])

    def test_op_mistakes(self):
        self.fails(2, 'did you mean "kernel"', "bench", "--op", "conv2d(x, kernl=3)", *CONV[2:])
        self.fails(2, "NAME=", "bench", "--op", "relu(x)", "--shape", "1,8")
        self.fails(2, "x", "bench", "--op", "relu(x)")
        self.fails(2, "name a model", "bench")

    def test_compare(self):
        text, _ = self.kiln(
            "bench", "net.txt", "--compare", "--device", "0:0,cpu", "--runs", 1, "--layers"
        )
        head, first = text.strip().split("\n")[1:3]
        self.assertEqual(head.count("0:0"), 2)
        self.assertTrue(first.startswith("driver"), text)
        self.assertIn("images/CPU-s", text)
        self.assertIn("fc ", text)
        doc = json.loads(
            self.kiln("bench", "net.txt", "--compare", "--train", "--runs", 1, "--json")[0]
        )
        self.assertGreaterEqual(len(doc["rows"]), 1)
        self.assertEqual(doc["rows"][0]["mode"], "train")
        self.assertRegex(doc["rows"][0]["device_id"], r"^\d+:\d+$")
        # A device that fails is left out; if all do, so does the command.
        _, err = self.kiln(
            "bench", "net.txt", "--compare", "--device", "9:9,0:0", "--runs", 1
        )
        self.assertIn("left out on device 9:9", err)
        self.kiln("bench", "net.txt", "--compare", "--device", "9:9", code=3)
        self.write("no_loss.txt", NO_LOSS)
        self.fails(2, "--loss", "bench", "no_loss.txt", "--compare", "--train")

    def test_trace(self):
        args = ["bench", "net.txt", "--runs", 1, "--batch", 4]
        self.kiln(*args, "--trace", "trace.json")
        events = json.loads(self.read("trace.json"))["traceEvents"]
        names = [e["args"]["name"] for e in events if e["name"] == "thread_name"]
        self.assertEqual(names, ["compute", "upload", "download"])
        slices = [e for e in events if e["ph"] == "X"]
        self.assertEqual(len([e for e in slices if e["args"]["node"] == "fc"]), 3)
        self.assertTrue(all(e["dur"] >= 0 and e["ts"] >= 0 for e in slices))
        self.fails(2, "--trace takes one", *args[:-1], "1,2", "--trace", "trace.json")
        self.fails(4, "no/trace.json", *args, "--trace", "no/trace.json")

    def test_peaks(self):
        doc = json.loads(self.kiln("bench", "--peaks", "--json")[0])
        self.assertGreater(doc["peaks"]["flops"], 0)
        self.assertIn("GFLOP/s", self.kiln("bench", "--peaks")[0])


main()
