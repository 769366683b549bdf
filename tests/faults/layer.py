#!/usr/bin/env python3
"""Faults from outside: runs `life` under the layer of layer_gen.py with the N-th OpenCL call failing,
for every STRIDE-th N and for the first and the last call of each function. A run must end in time
and with no signal; with an error that names the call or the device (what only asks or releases may
go unnoticed); every object released; the checkpoint that was on disk whole.

usage: layer.py LIFE LAYER.so STRIDE [FIRST]"""
import concurrent.futures as futures
import os
import shutil
import subprocess
import sys
import tempfile

SECONDS = 120
MAY_PASS = ('Release', 'clGetDeviceInfo', 'clGetPlatformInfo', 'clGetEventInfo', 'clFlush',
            'clFinish', 'clGetKernelWorkGroupInfo', 'clGetMemObjectInfo',
            'clSetEventCallback')  # a wait goes on by looks
# Destroying waits, and has nobody to tell where waiting fails; before `work ended` these must be heard.
WHEN_DESTROYING = ('clEnqueueMarkerWithWaitList', 'clWaitForEvents')


def play(life, layer, folder, at):
    """(exit status, output, lines of the report); exit status None: it hung"""
    report = os.path.join(folder, 'report')
    env = dict(os.environ, OPENCL_LAYERS=layer, KILN_LAYER_REPORT=report)
    env.pop('KILN_LAYER_AT', None)
    env['KILN_LAYER_AT' if at else 'KILN_LAYER_TRACE'] = str(at or 1)
    try:
        r = subprocess.run([life, folder], env=env, capture_output=True, text=True,
                           timeout=SECONDS)
        code, out = r.returncode, r.stdout + r.stderr
    except subprocess.TimeoutExpired:
        code, out = None, ''
    lines = open(report).read().splitlines() if os.path.exists(report) else []
    return code, out.strip(), lines


def live(lines):
    return int(lines[-1].split()[1]) if lines and lines[-1].startswith('live ') else None


def one(life, layer, kept, at):
    """What is wrong with the run in which call `at` fails, or ''; and the call"""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(kept, os.path.join(folder, 'kept'))
        code, out, lines = play(life, layer, folder, at)
        name = next((line.split()[2] for line in lines if line.startswith('inject ')), None)
        if not lines or not lines[0].endswith('wrapped'):
            return 'the layer was not loaded', '?'
        if code is None:
            return f'hung for {SECONDS} s', name
        if code not in (0, 1):
            return f'ended with {code}: {out[-300:]}', name
        if not name:
            return '', None  # a shorter run than the one that was counted
        at_work = next(i for i, line in enumerate(lines) if line.startswith('inject '))
        destroying = 'work ended' in lines[:at_work]
        quiet = MAY_PASS + (WHEN_DESTROYING if destroying else ())
        if code == 0 and not any(word in name for word in quiet):
            return 'nobody said so', name
        if code == 1 and name not in out and 'device' not in out:
            return f'not named in "{out[-300:]}"', name
        if live(lines) != 0:
            return f'{live(lines)} objects live on', name
        if subprocess.run([life, 'check', folder], capture_output=True).returncode != 0:
            return 'the checkpoint is gone', name
        return '', name


def main():
    life, layer = sys.argv[1:3]
    stride, first = [int(a) for a in sys.argv[3:]] + [1] * (5 - len(sys.argv))
    with tempfile.TemporaryDirectory() as folder:
        code, out, lines = play(life, layer, folder, 0)
        calls = [line.split()[2] for line in lines if line.startswith('call ')]
        if code != 0 or not calls or not lines[0].endswith('wrapped') or live(lines) != 0:
            print(f'without a fault: status {code}, report {lines[:1]} {lines[-1:]}: {out}')
            return 1
        firsts = {calls.index(name) + 1 for name in calls}
        lasts = {len(calls) - calls[::-1].index(name) for name in calls}
        points = sorted(firsts | lasts | set(range(first, len(calls) + 1, stride)))
        print(f'{lines[0]}; {len(calls)} calls of {len(firsts)} functions, {len(points)} of them fail',
              flush=True)
        kept, failed = os.path.join(folder, 'kept'), 0
        with futures.ThreadPoolExecutor(2) as pool:
            results = pool.map(lambda n: one(life, layer, kept, n), points)
            for at, (wrong, name) in zip(points, results):
                if wrong:
                    failed += 1
                    print(f'call {at}, {name}: {wrong}', flush=True)
        print(f'{len(points) - failed} passed, {failed} failed')
        return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
