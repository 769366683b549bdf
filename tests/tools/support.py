"""What the tests of the program share: it is run as a user runs it, on data made here."""

import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

KILN = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.environ["KILN"]

# Small enough that its kernels compile in seconds and an epoch takes a blink.
NET = """image = input(shape=[N,1,8,8])
label = input(shape=[N], dtype=i32)
c1 = conv2d(image, filters=4, kernel=3, pad=1)
r1 = relu(c1)
p1 = maxpool2d(r1, window=2)
fc = dense(p1, units=3)
loss = softmax_xent(fc, label)
output logits = fc
output loss = loss
"""
NO_LOSS = "\n".join(l for l in NET.split("\n") if "loss" not in l and "label" not in l)


def png(path, rows):
    """A grey PNG; rows of bytes."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(r) for r in rows))
    with open(path, "wb") as f:
        f.write(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
        )


def picture(kind, rng):
    """8x8: a bright row, a bright column, or a bright diagonal, on noise."""
    at = rng.randrange(2, 6)

    def pixel(y, x):
        on = (y == at, x == at, (x + y) % 8 == at)[kind]
        return 200 + rng.randrange(56) if on else rng.randrange(60)

    return [[pixel(y, x) for x in range(8)] for y in range(8)]


def write_idx(folder, part, n, seed):
    rng = random.Random(seed)
    kinds = [i % 3 for i in range(n)]
    with open(f"{folder}/{part}-images-idx3-ubyte", "wb") as f:
        f.write(struct.pack(">IIII", 0x803, n, 8, 8))
        for k in kinds:
            f.write(b"".join(bytes(r) for r in picture(k, rng)))
    with open(f"{folder}/{part}-labels-idx1-ubyte", "wb") as f:
        f.write(struct.pack(">II", 0x801, n) + bytes(kinds))


class Case(unittest.TestCase):
    """Each test has a folder of its own, in which the program runs."""

    def setUp(self):
        self.temp = tempfile.TemporaryDirectory()
        self.dir = self.temp.name
        os.mkdir(f"{self.dir}/data")
        write_idx(f"{self.dir}/data", "train", 300, 1)
        write_idx(f"{self.dir}/data", "t10k", 90, 2)
        self.write("net.txt", NET)

    def tearDown(self):
        self.temp.cleanup()

    def write(self, name, text):
        with open(f"{self.dir}/{name}", "w") as f:
            f.write(text)

    def read(self, name):
        with open(f"{self.dir}/{name}") as f:
            return f.read()

    def bytes(self, name):
        with open(f"{self.dir}/{name}", "rb") as f:
            return f.read()

    def kiln(self, *args, code=0, env=None, **more):
        """Runs it; the exit code must be `code`. Gives (stdout, stderr)."""
        all_env = dict(os.environ, **(env or {}))
        done = subprocess.run(
            [KILN, *map(str, args)],
            cwd=self.dir,
            env=all_env,
            text=True,
            stdout=more.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            timeout=240,
            **more,
        )
        self.assertEqual(done.returncode, code, f"kiln {args}: {done.stdout}\n{done.stderr}")
        return done.stdout, done.stderr

    def fails(self, code, words, *args, **more):
        """It fails with `code` and says so in one line of stderr that holds `words`."""
        _, err = self.kiln(*args, code=code, **more)
        lines = [l for l in err.split("\n") if l.startswith("kiln")]
        self.assertEqual(len(lines), 1, err)
        self.assertIn(words, lines[0])

    def train(self, *args, out="run", code=0, **more):
        return self.kiln(
            "train",
            "--data",
            "idx:data",
            "--model",
            "net.txt",
            "--batch",
            30,
            "--lr",
            0.02,
            "--out",
            out,
            *args,
            code=code,
            **more,
        )


def main():
    unittest.main(argv=sys.argv[:1] + sys.argv[2:], verbosity=2)
