#!/usr/bin/env python3
"""kiln train in several processes: train.py KILN [KILLS]

With KILLS only the test that kills ranks, so often.
"""
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))
import launch
import support

KILLS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
SEED = 20261121
PER_EPOCH = 10  # 300 samples by 30
# One core a process, as two machines would have, and kernels by rule: what differs is their number.
ONE_CORE = {"POCL_MAX_PTHREAD_COUNT": "1", "KILN_TUNE": "0"}


def checkpoint(path):
    """(tensors, metadata) of a file, which must be whole."""
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8 : 8 + n])
    meta = head.pop("__metadata__")
    body = data[8 + n :]
    ends = [t["data_offsets"][1] for t in head.values()]
    assert max(ends) == len(body), f"{path}: {len(body)} bytes of tensors, {max(ends)} told"
    return {k: (t["dtype"], t["shape"], body[slice(*t["data_offsets"])]) for k, t in head.items()}, meta


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(word) for word in f.read().split()]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Ranks(support.Case):
    def words(self, *args, out="run", epochs=3):
        return [support.KILN, "train", "--data", "idx:data", "--model", "net.txt", "--batch", 30, "--lr",
                0.02, "--shards", 16, "--epochs", epochs, "--no-tune", "--out", out, *args]

    def launch(self, n, *command, code=0, env=None, **more):
        done = launch.mpirun(n, *command, env={**ONE_CORE, **(env or {})}, cwd=self.dir, **more)
        self.assertEqual(done.returncode, code, f"{command}: {done.stdout}\n{done.stderr}")
        return done.stdout, done.stderr

    def start(self, n, *command):
        return subprocess.Popen([*launch.words(n), *map(str, command)], cwd=self.dir,
                                env=launch.environment(ONE_CORE), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def tensors(self, run, name="last.kiln"):
        return checkpoint(f"{self.dir}/{run}/{name}")[0]

    def step(self, run):
        """That the last checkpoint is of; 0: there is none."""
        path = f"{self.dir}/{run}/last.kiln"
        return int(checkpoint(path)[1]["kiln.step"]) if os.path.exists(path) else 0

    def rows(self, run):
        """Epochs in the log."""
        try:
            return self.read(f"{run}/log.csv").count("\n") - 1
        except FileNotFoundError:
            return 0

    def until(self, what, process, why, seconds=120):
        end = time.monotonic() + seconds
        while not what():
            self.assertIsNone(process.poll(), f"it ended before {why}")
            self.assertLess(time.monotonic(), end, why)
            time.sleep(0.005)

    def gone(self, pids):
        """mpirun does not wait for those it kills."""
        end = time.monotonic() + 20
        while any(alive(p) for p in pids) and time.monotonic() < end:
            time.sleep(0.02)
        self.assertFalse([p for p in pids if alive(p)])

    def results(self, run):
        """What must not depend on how many there were: the log without times, the confusion matrix."""
        log = [",".join(line.split(",")[:7]) for line in self.read(f"{run}/log.csv").split("\n")]
        return log, self.read(f"{run}/confusion.csv")


class Together(Ranks):
    def test_same_bits(self):
        """1, 2 and 4 processes, and one without MPI: parameters and moments to the bit."""
        self.launch(0, *self.words(out="run0"))
        want, said = self.tensors("run0"), None
        for n in (1, 2, 4):
            out, err = self.launch(n, *self.words(out=f"run{n}"))
            self.assertEqual(self.tensors(f"run{n}"), want)
            self.assertEqual(out.count("epoch 1/3"), 1)
            self.assertEqual(out.count("the run is in"), 1)
            self.assertNotIn("rank", err)
            said = said or self.results("run1")
            self.assertEqual(self.results(f"run{n}"), said)
            self.assertEqual(self.tensors(f"run{n}", "best.kiln"), self.tensors("run1", "best.kiln"))
        self.assertEqual(sorted(os.listdir(self.dir)), ["data", "net.txt", "run0", "run1", "run2", "run4"])

    def test_default_shards(self):
        """Without --shards the pieces are 16, whatever the number of processes."""
        words = [w for w in self.words(out="A") if w not in ("--shards", 16)]
        self.launch(2, *words)
        self.launch(0, *self.words(out="B"))
        self.assertEqual(self.tensors("A"), self.tensors("B"))

    def test_stop_and_resume(self):
        """A signal to one stops all after the same step; another number of them goes on to the bit."""
        epochs = 200
        self.launch(0, *self.words(out="whole", epochs=epochs))
        going = self.start(3, *self.words(epochs=epochs))
        self.until(lambda: self.rows("run") >= 2, going, "two epochs")
        os.kill(children(going.pid)[1], signal.SIGTERM)
        out, err = going.communicate(timeout=120)
        self.assertEqual(going.returncode, 130, out + err)
        self.assertIn("go on with: kiln train --resume run", err)
        self.assertLess(self.step("run"), epochs * PER_EPOCH)
        self.launch(4, support.KILN, "train", "--resume", "run")
        self.assertEqual(self.tensors("run"), self.tensors("whole"))
        self.assertEqual(self.rows("run"), epochs)

    def test_interrupt(self):
        """Ctrl-C on mpirun ends all; what is on the disk is whole and goes on."""
        going = self.start(4, *self.words(epochs=4000))
        self.until(lambda: self.rows("run") >= 1, going, "an epoch")
        ranks = children(going.pid)
        going.send_signal(signal.SIGINT)
        going.communicate(timeout=60)
        self.assertNotEqual(going.returncode, 0)
        self.gone(ranks)
        done = self.step("run")
        self.assertGreaterEqual(done, PER_EPOCH)
        self.launch(2, support.KILN, "train", "--resume", "run", "--epochs", done // PER_EPOCH + 1)
        self.assertEqual(self.step("run"), (done // PER_EPOCH + 1) * PER_EPOCH)

    def test_errors(self):
        """What is wrong in all ends all with its code, in one whoever it is in says so."""
        _, err = self.launch(3, *self.words("--val", "idx:nowhere"), code=4)
        self.assertRegex(err, r"(?m)^kiln train: nowhere: cannot be opened")
        self.assertRegex(err, r"(?m)^kiln train: rank 2: nowhere: cannot be opened")
        two = [*self.words(), ":", "-n", "1", *self.words("--patience", 2)]
        _, err = self.launch(1, *two, code=5)
        self.assertIn("kiln train: rank 1: kl_fit: all processes must be given the same training; "
                      "patience: 2 in process 1, 0 in process 0", err)
        self.assertIn("kiln train: the training ended because process 1 of 2 could not go on", err)

    def test_without_library(self):
        """A clear sentence where the library over MPI is not installed."""
        os.mkdir(f"{self.dir}/lib")
        shutil.copy(support.KILN, f"{self.dir}/lib/kiln")
        beside = pathlib.Path(support.KILN).parent.parent / "libkiln.so.0"
        os.symlink(beside, f"{self.dir}/lib/libkiln.so.0")
        words = [f"{self.dir}/lib/kiln", *self.words()[1:]]
        env = {"LD_LIBRARY_PATH": f"{self.dir}/lib"}
        _, err = self.launch(0, *words, "--mpi", "on", code=1, env=env)
        self.assertIn("wants libkiln_mpi.so.0, which this build of Kiln may lack", err)
        self.launch(0, *words, "--mpi", "off", env={**env, "OMPI_COMM_WORLD_SIZE": "4"})


class Killed(Ranks):
    def kill_one(self, rng, command, at_least):
        """Kills one of four some epochs after the start; gives what the log had then."""
        going = self.start(4, *command)
        # four of them, and those by their program's name: mpirun forks before it becomes them
        self.until(lambda: len([p for p in children(going.pid) if "kiln" in
                                os.path.basename(os.readlink(f"/proc/{p}/exe"))]) == 4, going, "ranks")
        ranks = children(going.pid)
        goal = at_least + rng.randrange(4)
        self.until(lambda: self.rows("run") >= goal, going, f"{goal} epochs")
        time.sleep(rng.random() * 0.05)
        seen = self.rows("run")
        victim = rng.choice(ranks)
        os.kill(victim, signal.SIGKILL)
        going.communicate(timeout=60)
        self.assertNotEqual(going.returncode, 0)
        self.gone(ranks)
        return seen

    def test_killed_again_and_again(self):
        """Random ranks die at random moments; all that was saved is there, and the training ends as the
        one that nobody disturbed."""
        rng = random.Random(SEED)
        epochs = 60 + 20 * KILLS
        self.launch(0, *self.words(out="whole", epochs=epochs))
        command, saved = self.words(epochs=epochs), 0
        for _ in range(KILLS):
            seen = self.kill_one(rng, command, max(saved // PER_EPOCH, 1))
            step = self.step("run")
            self.assertEqual(step % PER_EPOCH, 0)  # of those that were saved: at epochs' ends
            self.assertGreaterEqual(step, seen * PER_EPOCH)
            self.assertGreaterEqual(step, saved)
            command, saved = [support.KILN, "train", "--resume", "run"], step
        self.assertLess(saved, epochs * PER_EPOCH)
        self.launch(2, *command)
        self.assertEqual(self.tensors("run"), self.tensors("whole"))
        self.assertEqual(self.results("run")[0][-2].split(",")[:2], [str(epochs), str(epochs * PER_EPOCH)])


launch.need_mpirun()
unittest.main(argv=sys.argv[:1] + (["Killed"] if len(sys.argv) > 2 else []), verbosity=2)
