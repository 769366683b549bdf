#!/usr/bin/env python3
"""The exchange over MPI, by processes that mpirun starts: adapter.py RANKS"""
import sys
import unittest

from launch import mpirun, need_mpirun

RANKS = sys.argv[1]


class Adapter(unittest.TestCase):
    def kept(self, n, *words, **env):
        done = mpirun(n, RANKS, *words, env=env)
        self.assertEqual(done.returncode, 0, done.stderr)
        for rank in range(n):
            self.assertIn(f"rank {rank} of {n}: kept", done.stdout)

    def test_contract(self):
        """Sums to the bit, broadcasts, messages, in 1, 2, 3 and 4 processes."""
        for n in (1, 2, 3, 4):
            self.kept(n, "contract")

    def test_pieces(self):
        """Messages and sums in many pieces, of sizes that divide nothing."""
        self.kept(3, "contract", KILN_MPI_PIECE="1009")
        self.kept(4, "contract", KILN_MPI_PIECE="30000")

    def test_without_mpirun(self):
        """A program that nobody started as a rank is a training of one."""
        self.kept(1, "contract")
        done = mpirun(0, RANKS, "contract")
        self.assertEqual((done.returncode, done.stdout), (0, "rank 0 of 1: kept\n"), done.stderr)

    def test_guest(self):
        """In a program that runs MPI itself it leaves MPI running."""
        self.kept(2, "twice")

    def test_waiting_sleeps(self):
        """Who waits for another process leaves the cores to it."""
        done = mpirun(4, RANKS, "wait", "2")
        used = [float(l.split()[1]) for l in done.stdout.splitlines() if l.startswith("cpu")]
        self.assertEqual(len(used), 3, done.stderr)
        print(f"a waiting process takes {100 * max(used):.1f}% of a core")
        self.assertLess(max(used), 0.1)

    def test_abort_ends_all(self):
        done = mpirun(4, RANKS, "abort", timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("process 1 of 4 ends the training: the kettle is empty", done.stderr)

    def test_death_ends_all(self):
        done = mpirun(4, RANKS, "die", timeout=60)
        self.assertNotEqual(done.returncode, 0)


need_mpirun()
unittest.main(argv=sys.argv[:1] + sys.argv[2:], verbosity=2)
