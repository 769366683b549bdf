#!/usr/bin/env python3
"""Runs the cases of `kernels` and the bugs of planted.cl under Oclgrind, two at a time, and reads
its log: its exit status is always 0. A case passes with no report; a planted bug passes with the
report it is made for; at the end every kernel of cl/ must have been launched.

usage: run.py KERNELS PLANTED SOURCE_ROOT [-v WIDTH] [CASE ...]"""
import concurrent.futures as futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ICD = '/usr/lib/oclgrind/liboclgrind-rt-icd.so'
CASE_SECONDS = 400
LONG = ('step', 'dense_long')  # begin first
WIDTHS = {
    '4': None,
    '8': ['conv_same', 'conv_stride', 'conv_first', 'conv_groups', 'matmul', 'matmul_tatb', 'dense',
          'maxpool', 'avgpool', 'maxpool_c', 'avgpool_c', 'conv_lanes', 'conv_depthwise_stride',
          'batchnorm', 'batchnorm_cols', 'batchnorm_blocked',
          'softmax_cols', 'xent', 'dropout', 'sum_mixed', 'reorder0', 'reorder1', 'unary', 'adam'],
    # a device that runs work-groups in step
    '1': ['conv_same', 'conv_stride', 'conv_groups', 'conv_depthwise', 'conv_transpose',
          'rows_long', 'batchnorm', 'global_avg', 'global_max'],
}

# Oclgrind's check of uninitialised memory dies of a shuffle that gives fewer lanes than it takes
# (`v.even` in pool2d_row.cl): these cases run with the other checks only. Blocked pooling, maxpool_c
# and avgpool_c, runs with all.
NOT_UNINITIALISED = {'maxpool', 'maxpool_2', 'maxpool_infer', 'avgpool', 'avgpool_skip'}

# Kernels that no case launches, with the reason.
NOT_LAUNCHED = {}

PLANTED = {
    'planted_nothing': None,
    'planted_global_bounds': r'Invalid write of size 4 at global',
    'planted_read_bounds': r'Invalid read of size 4 at global',
    'planted_local_bounds': r'Invalid read of size 4 at local',
    'planted_local_race': r'data race at local',
    'planted_group_race': r'data race at global',
    'planted_uninitialised': r'[Uu]ninitiali[sz]ed',
    'planted_barrier': r'[Bb]arrier divergence|[Dd]iverge',
    'planted_misaligned': r'[Mm]isaligned|[Uu]naligned|alignment',
}


# Kernels are built without optimization: what LLVM makes of x / n beside x % n (`freeze`) is
# unknown to that check. Prefetches are unknown to the interpreter.
def env(log, width, uninitialised=True):
    ours = ('KILN_', 'OCLGRIND_', 'OCL_ICD', 'OPENCL_')
    e = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    e.update(OCL_ICD_VENDORS=ICD, KILN_VECTOR=width, OCLGRIND_LOG=log, OCLGRIND_DATA_RACES='1',
             OCLGRIND_CHECK_API='1', OCLGRIND_MAX_ERRORS='20', OCLGRIND_LOCAL_MEM_SIZE='2097152',
             OCLGRIND_BUILD_OPTIONS='-cl-opt-disable -DKL_PREFETCH=0', OCLGRIND_NUM_THREADS='1')
    if uninitialised:
        e['OCLGRIND_UNINITIALIZED'] = '1'
    return e


def play(command, width, uninitialised=True):
    """(what went wrong or '', log, output, seconds)"""
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, 'log')
        start = time.monotonic()
        try:
            r = subprocess.run(command, env=env(log, width, uninitialised), capture_output=True,
                               text=True, timeout=CASE_SECONDS)
            out, said = r.stdout, r.stderr.strip()[-600:]
            wrong = f'exit status {r.returncode}: {said}' if r.returncode else ''
            if not wrong and not out.rstrip().endswith('done'):
                wrong = 'ended before its end'
        except subprocess.TimeoutExpired as e:
            wrong, out = f'more than {CASE_SECONDS} s', (e.stdout or b'').decode()
        text = open(log, errors='replace').read() if os.path.exists(log) else ''
        return wrong, text, out, time.monotonic() - start


def first_report(log):
    return ' / '.join(line.strip() for line in log.split('\n') if line.strip())[:700]


def run_case(kernels, name, width):
    wrong, log, out, seconds = play([kernels, name], width, name not in NOT_UNINITIALISED)
    if not wrong and 'Oclgrind' not in out:
        wrong = f'ran on another device: {out.splitlines()[0] if out else ""}'
    if not wrong and log.strip():
        wrong = first_report(log)
    launched = set(re.findall(r'^kernel (\w+)$', out, re.M))
    return f'{name}, width {width}', wrong, launched, seconds


def run_planted(planted, folder, name):
    wrong, log, _, seconds = play([planted, folder, name], '4')
    want = PLANTED[name]
    if want is None:
        wrong = wrong or first_report(log)
    elif re.search(want, log):
        wrong = ''
    else:
        wrong = f'not reported ({wrong or first_report(log) or "nothing was"})'
    return name, wrong, set(), seconds


def all_kernels(root):
    """Names of all kernels in cl/, as the preprocessor leaves them: some are pasted."""
    names, include = set(), os.path.join(root, 'cl')
    head = r'\b(?:__)?kernel\b(?:\s+__attribute__\s*\(\(.*?\)\)\s*)?\s+void\s+(\w+)\s*\('
    compiler = next(c for c in ('cc', 'gcc', 'clang') if shutil.which(c))
    for path in sorted(glob.glob(os.path.join(root, 'cl', '*.cl'))):
        text = subprocess.run([compiler, '-E', '-P', '-x', 'c', '-I', include, path],
                              capture_output=True, text=True, check=True).stdout
        names |= set(re.findall(head, text, re.S))
    return names


def say(wrong, name):
    print(f'[  FAILED  ] {name}: {wrong}' if wrong else f'[       OK ] {name}', flush=True)


def main():
    kernels, planted, root, *rest = sys.argv[1:]
    if not os.path.exists(ICD):
        print(f'skipped: {ICD} is not installed (Debian: oclgrind)')
        return 77
    widths = dict(WIDTHS)
    if rest[:1] == ['-v']:
        widths, rest = {rest[1]: None}, rest[2:]
    r = subprocess.run([kernels, 'list'], capture_output=True, text=True, check=True)
    cases = r.stdout.split()
    passed, failed, launched = 0, 0, set()
    with futures.ThreadPoolExecutor(2) as pool:
        jobs = []
        for width, names in widths.items():
            chosen = sorted(rest or names or cases, key=lambda n: not n.startswith(LONG))
            jobs += [pool.submit(run_case, kernels, n, width) for n in chosen]
        if not rest:
            folder = os.path.join(root, 'tests', 'oclgrind')
            jobs += [pool.submit(run_planted, planted, folder, n) for n in PLANTED]
        for job in jobs:
            name, wrong, names, seconds = job.result()
            launched |= names
            passed, failed = passed + (not wrong), failed + bool(wrong)
            say(wrong, f'{name} ({seconds:.1f} s)')
    if not rest:
        missing = sorted(all_kernels(root) - launched - set(NOT_LAUNCHED))
        passed, failed = passed + (not missing), failed + bool(missing)
        say(', '.join(missing), 'every kernel of cl/ was launched')
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
