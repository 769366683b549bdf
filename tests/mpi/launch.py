"""Starting processes by mpirun, as tests need it: more of them than cores, and by root in containers."""
import os
import shutil
import subprocess
import sys

SKIPPED = 77  # meson's word for it


def need_mpirun():
    if not shutil.which("mpirun"):
        print("mpirun is not installed")
        sys.exit(SKIPPED)


def words(n):
    """What stands before a program for n ranks of it; 0: nothing."""
    if n == 0:
        return []
    version = subprocess.run(["mpirun", "--version"], capture_output=True, text=True).stdout
    return ["mpirun", "-n", str(n), *(["--oversubscribe"] if "Open MPI" in version else [])]


def environment(env=None):
    calm = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {**os.environ, **calm, **(env or {})}


def mpirun(n, *command, env=None, timeout=240, **more):
    """Runs it; what hangs is an error."""
    return subprocess.run([*words(n), *map(str, command)], env=environment(env), text=True,
                          capture_output=True, timeout=timeout, **more)
