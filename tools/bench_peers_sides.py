"""The sides that tools/bench_peers lets run against each other, and how the peers get onto the machine.

A side has a name and `measure(seconds)`, which gives {"cpu": CPU seconds of one run, "wall": seconds} or raises
Missing. Kiln's are short processes of the program; the peers' stay, with what they need made and warmed up.
"""
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOOLS = os.path.join(ROOT, "tools")
WHEELS = ["torch", "numpy", "onnx", "onnxruntime", "intel-opencl-rt", "intel-cmplr-lib-rt"]
SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's PyTorch is this one's


class Missing(Exception):
    """Why a side cannot run here."""


def last_line(text):
    return (text.strip().split("\n") or [""])[-1][:300]


def run_json(command, env, what, timeout=1800):
    """The last line of its standard output that is JSON."""
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Missing(f"{what}: {e}") from e
    if done.returncode:
        raise Missing(f"{what}: {last_line(done.stderr)}")
    return json.loads(done.stdout)


class Bench:
    """The build folder with Kiln and the peers, their processes, and how many cores they may use."""

    def __init__(self, build, cores):
        self.build, self.cores, self.workers = build, cores, {}
        self.venv = os.path.join(build, "peers-venv")
        self.cache = os.path.join(build, "peers-cache")

    def install(self):
        subprocess.run([f"{TOOLS}/packages", "install", "build", "run", "peers"], cwd=ROOT)
        if not os.path.exists(f"{self.venv}/bin/pip"):
            subprocess.run([sys.executable, "-m", "venv", self.venv], check=True)
        have = subprocess.run([f"{self.venv}/bin/pip", "list", "--format=freeze"], capture_output=True, text=True)
        for wheel in WHEELS:  # one by one: what a machine cannot have does not keep the others away
            if f"\n{wheel}==" not in "\n" + have.stdout:
                print(f"installing {wheel} from PyPI", file=sys.stderr)
                if subprocess.run([f"{self.venv}/bin/pip", "install", "-q", wheel], stdout=sys.stderr).returncode:
                    print(f"tools/bench_peers: {wheel} is not to be had", file=sys.stderr)

    def make(self):
        if not os.path.exists(f"{self.build}/build.ninja"):
            subprocess.run(["meson", "setup", self.build], cwd=ROOT, check=True, stdout=sys.stderr)
        subprocess.run(["ninja", "-C", self.build], check=True, stdout=sys.stderr)

    def environment(self, cores=None, cache=None, **more):
        n, cache = str(cores or self.cores), cache or self.cache
        env = {k: v for k, v in os.environ.items() if not k.startswith(("KILN_", "POCL_", "OCL_ICD"))}
        env.update(OMP_NUM_THREADS=n, OPENBLAS_NUM_THREADS=n, MKL_NUM_THREADS=n, POCL_MAX_PTHREAD_COUNT=n,
                   DPCPP_CPU_NUM_CUS=n, OPENBLAS_CORETYPE="SkylakeX", POCL_CACHE_DIR=f"{cache}/pocl",
                   KILN_CACHE_DIR=f"{cache}/kiln", PYTHONDONTWRITEBYTECODE="1", PYTHONPATH="")
        env.update(more)
        for folder in (env["POCL_CACHE_DIR"], env["KILN_CACHE_DIR"]):
            os.makedirs(folder, exist_ok=True)
        return env

    def other_driver(self):
        """Environment in which the loader sees Intel's CPU driver alone."""
        library = os.path.join(self.venv, "lib", "libintelocl.so")
        if not os.path.exists(library):
            raise Missing("Intel's CPU driver is not installed")
        folder = os.path.join(self.build, "peers-icd")
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/driver.icd", "w") as f:
            f.write(library + "\n")
        return {"OCL_ICD_VENDORS": folder + "/"}

    def pythons(self):
        """Interpreters that may have peers: Debian's PyTorch first, then the virtual environment's."""
        return [p for p in (SYSTEM_PYTHON, f"{self.venv}/bin/python") if os.path.exists(p)]

    def worker(self, python):
        if python not in self.workers:
            self.workers[python] = Worker(python, self.environment())
        return self.workers[python]

    def drop(self):
        for w in self.workers.values():
            w.ask({"drop": True})

    def close(self):
        for w in self.workers.values():
            w.close()
        self.workers = {}


class Worker:
    """bench_peers_work.py in one interpreter."""

    def __init__(self, python, env):
        self.process = subprocess.Popen([python, f"{TOOLS}/bench_peers_work.py"], env=env, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def ask(self, question):
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = ""
        return json.loads(line) if line else {"error": "its process ended"}

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Peer:
    """One way to do a work in one interpreter."""

    def __init__(self, bench, python, work, way):
        self.worker, self.question = bench.worker(python), {"work": work, "way": way}
        self.name = f"{os.path.dirname(os.path.dirname(python))}: {way}"

    def measure(self, seconds):
        answer = self.worker.ask({**self.question, "seconds": seconds})
        if "error" in answer:
            raise Missing(f"{self.name}: {answer['error']}")
        self.name = answer["version"]
        return answer


class Kiln:
    """`kiln bench` as a short process, with as many runs as fill the time."""

    def __init__(self, bench, arguments, pick, name="Kiln", **env):
        self.name, self.pick, self.runs, self.arguments = name, pick, 1, arguments
        self.least = 0.02 if arguments[0] == "--op" else 0  # a run of an op repeats it that long
        self.kiln, self.env = f"{bench.build}/tools/kiln", bench.environment(**env)

    def measure(self, seconds):
        command = [self.kiln, "bench", *self.arguments, "--runs", str(self.runs), "--json", "-q"]
        got = self.pick(run_json(command, self.env, " ".join(["kiln", *command[1:]])))
        if not got["wall"] or not got["cpu"]:
            raise Missing("kiln bench timed nothing")
        self.runs = max(1, min(1000, round(seconds / max(got["wall"], self.least))))
        return got


def pick_net(doc):
    r = doc["rows"][0]
    return {"cpu": r["cpu_seconds"], "wall": r["step_seconds"]}


def pick_passes(*names):
    """Sum over the passes of an op; a gradient of several parts is that of the whole, where that is timed."""
    def pick(doc):
        passes = [p for p in doc["passes"] if p["pass"] in names]
        if {p["pass"] for p in passes} != set(names):
            raise Missing(f"kiln bench --op tells no {', '.join(names)}")
        return {"cpu": sum(p["cpu_seconds"] for p in passes), "wall": sum(p["seconds"] for p in passes)}
    return pick


def kiln_net(bench, net, batch, training, **more):
    mode = "--train" if training else "--infer"
    return Kiln(bench, [net, "--batch", str(batch), mode], pick_net, **more)


def kiln_conv(bench, work, **more):
    op = (f"conv2d(x, filters={work['k']}, kernel={work['kernel']}, stride={work['stride']}, "
          f"groups={work['groups']}, pad={work['kernel'] // 2}, no_bias=true)")
    shape = "x={n},{c},{size},{size}".format(**work)
    passes = ("forward", "backward") if work["pass"] == "both" else (work["pass"],)
    return Kiln(bench, ["--op", op, "--shape", shape, *["--train"] * (work["pass"] != "forward")],
                pick_passes(*passes), **more)


def kiln_gemm(bench, n, **more):
    return Kiln(bench, ["--op", "matmul(a, b)", "--shape", f"a={n},{n}", "--shape", f"b={n},{n}"],
                pick_passes("forward"), **more)


# ---- what one process can tell but once -----------------------------------------------------------------------------
def embedded(bench, net, batch, steps, env):
    command = [sys.executable, f"{TOOLS}/bench_peers_kiln.py", f"{bench.build}/libkiln.so", net, str(batch),
               str(steps)]
    return run_json(command, env, "Kiln embedded")


class KilnMemory:
    name = "Kiln"

    def __init__(self, bench, net, batch):
        self.make = lambda: embedded(bench, net, batch, 3, bench.environment())

    def measure(self, _):
        return {"bytes": self.make()["growth"]}


class PeerMemory:
    def __init__(self, bench, python, work, way):
        self.env, self.name = bench.environment(), f"{os.path.dirname(os.path.dirname(python))}: {way}"
        self.command = [python, f"{TOOLS}/bench_peers_work.py", "--memory", json.dumps(work), way]

    def measure(self, _):
        answer = run_json(self.command, self.env, self.name)
        self.name = answer["version"]
        return {"bytes": answer["growth"]}


class FirstStep:
    """Seconds to the end of the first training step, with kernel caches that are new (cold) or filled (warm)."""
    name = "Kiln"

    def __init__(self, bench, net, batch, cold):
        self.bench, self.net, self.batch, self.cold = bench, net, batch, cold

    def measure(self, _):
        with tempfile.TemporaryDirectory() as cache:
            env = self.bench.environment(cores=os.cpu_count(), cache=cache)
            if not self.cold:
                embedded(self.bench, self.net, self.batch, 1, env)
            return {"wall": embedded(self.bench, self.net, self.batch, 1, env)["first"]}
