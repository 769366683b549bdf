"""Devices: none, several, a driver that cannot write its cache."""

import json
import os
import shutil
import unittest

from support import Case, main

NONE = {"OCL_ICD_VENDORS": "/nonexistent"}


class Devices(Case):
    def test_list(self):
        found = json.loads(self.kiln("devices", "--json")[0])
        self.assertTrue(found[0]["usable"])
        text, _ = self.kiln("devices")
        self.assertIn(found[0]["name"], text)
        self.assertEqual(len(text.strip().split("\n")), len(found) + 1)

    def test_none_is_code_3(self):
        self.fails(3, "kiln doctor", "devices", env=NONE)
        self.fails(3, "device", "selftest", env=NONE)
        self.fails(3, "device", "bench", "net.txt", env=NONE)
        self.fails(
            3,
            "device",
            "train",
            "--data",
            "idx:data",
            "--model",
            "net.txt",
            "--out",
            "run",
            env=NONE,
        )
        self.assertFalse(os.path.exists(f"{self.dir}/run"), "a run that never was left a folder")

    def test_a_summary_needs_none(self):
        out, err = self.kiln("summary", "net.txt", env=NONE)
        self.assertIn("conv2d", out)
        self.assertIn("no memory plan", err)

    def test_unknown_is_code_3(self):
        self.fails(3, "there are", "selftest", "--device", "no such device")
        self.fails(3, "there are", "selftest", "--device", "7:7")

    def test_ambiguous_names_the_matches(self):
        two = {"POCL_DEVICES": "pthread basic"}
        found = json.loads(self.kiln("devices", "--json", env=two)[0])
        names = [d["platform"] for d in found]
        if len(found) < 2 or names[0] != names[1]:
            self.skipTest("this machine's driver cannot offer two devices")
        self.fails(3, f"matches {len(found)} devices", "selftest", "--device", names[0], env=two)
        self.kiln("summary", "net.txt", "--device", found[1]["id"], env=two)

    def test_selftest(self):
        doc = json.loads(self.kiln("selftest", "--json")[0])
        self.assertEqual(doc["failed"], 0)
        self.assertEqual(len(doc["rows"]), doc["tests"])
        self.assertGreater(doc["tests"], 10)

    def test_doctor(self):
        doc = json.loads(self.kiln("doctor", "--json")[0])
        self.assertTrue(doc["usable_device"])
        self.assertTrue(all(f["level"] in ("ok", "note", "bad") for f in doc["findings"]))
        out, _ = self.kiln("doctor", code=3, env=NONE)
        self.assertIn("->", out)
        doc = json.loads(self.kiln("doctor", "--json", code=3, env=NONE)[0])
        self.assertFalse(doc["usable_device"])
        self.assertIn("bad", [f["level"] for f in doc["findings"]])

    @unittest.skipUnless(
        shutil.which("true") and os.path.exists("/etc/OpenCL/vendors/pocl.icd"), "no PoCL here"
    )
    def test_a_cache_that_cannot_be_written_is_replaced(self):
        os.mkdir(f"{self.dir}/tmp")
        self.write("file", "")
        env = {
            "XDG_CACHE_HOME": f"{self.dir}/file",
            "POCL_CACHE_DIR": "",
            "TMPDIR": f"{self.dir}/tmp",
        }
        out, err = self.kiln("devices", "--json", env=env)
        self.assertTrue(json.loads(out)[0]["usable"])
        self.assertIn(f"{self.dir}/tmp/kiln-pocl-", err)
        _, err = self.kiln("devices", "-q", env=env)
        self.assertEqual(err, "")


main()
