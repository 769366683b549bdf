#!/usr/bin/env python3
"""Builds and runs the suites, and counts: check.py [--quick|--all]. tools/check calls it."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
QUICK = '--quick' in sys.argv
ALL = '--all' in sys.argv
JOBS = str(os.cpu_count())

# Suites that --quick runs, and of the slow suite ops a part: one of each kind of kernel.
QUICK_SUITES = ['base', 'io', 'lint', 'install', 'device', 'tensor', 'graph', 'zoo']
QUICK_TESTS = ['bias', 'dense', 'dropout', 'softmax', 'reorder', 'concat', 'grad_norm', 'sched_recorded']
# What runs under the sanitizers: host code. Kernels are the same code there, and ops would only repeat them.
ASAN_SUITES = ['base', 'io', 'device', 'tensor', 'graph', 'sched', 'train', 'zoo', 'interop', 'tools']
TSAN_SUITES = ['base', 'device', 'sched', 'train', 'interop']

RESULT = re.compile(r'^\[  (PASSED|FAILED) +\] (\d+) test', re.M)
SKIPPED = re.compile(r'^\[  SKIPPED +\] (\d+) test', re.M)
TOLD = re.compile(r'^(\d+) (?:checks )?passed, (\d+) failed\s*\Z', re.M)


def environment(**more):
    """Nothing of the user's that would change a result; kernels compiled into the build folder."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(('KILN_', 'POCL_'))}
    here = ROOT / 'build-check'
    return {**env, 'POCL_CACHE_DIR': str(here / 'pocl-cache'), 'LOCPATH': str(here / 'locale'), **more}


def make_locale():
    """A locale whose decimal point is a comma, which some tests want and few machines have."""
    folder = ROOT / 'build-check' / 'locale' / 'de_DE.UTF-8'
    if not folder.exists() and shutil.which('localedef'):
        folder.parent.mkdir(parents=True, exist_ok=True)
        quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
        subprocess.run(['localedef', '-i', 'de_DE', '-f', 'UTF-8', folder], check=False, **quiet)


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.suites, self.broken = {}, []

    def add(self, suite, passed, failed, skipped=0):
        row = self.suites.setdefault(suite, [0, 0, 0])
        for i, n in enumerate((passed, failed, skipped)):
            row[i] += n
        self.passed += passed
        self.failed += failed

    def fail(self, suite, what):
        self.add(suite, 0, 1)
        self.broken.append(f'{suite}: {what}')


def of_test(entry):
    """(passed, failed, skipped) of one program: cmocka's numbers, a script's last line, else it counts one."""
    text = (entry.get('stdout') or '') + '\n' + (entry.get('stderr') or '')
    n = {'PASSED': 0, 'FAILED': 0}
    for word, k in RESULT.findall(text):
        n[word] += int(k)
    told = TOLD.search(entry.get('stdout') or '')
    if told:
        n = {'PASSED': int(told.group(1)), 'FAILED': int(told.group(2))}
    skipped = sum(map(int, SKIPPED.findall(text)))
    good = entry['result'] in ('OK', 'EXPECTEDFAIL')
    if entry['result'] == 'SKIP':
        return 0, 0, 1
    if good and not n['PASSED'] and not skipped:
        return 1, 0, 0
    if not good and not n['FAILED']:
        n['FAILED'] = 1  # a crash, a time-out, a sanitizer's report
    return n['PASSED'], n['FAILED'], skipped


def run(command, env):
    sys.stdout.flush()
    return subprocess.run(command, cwd=ROOT, env=env).returncode


def quietly(command, env):
    got = subprocess.run(command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if got.returncode:
        print('\n'.join(got.stdout.splitlines()[-60:]))
    return got.returncode == 0


def stage(count, label, folder, options, selections, env):
    """Configures and builds `folder`, runs the tests of each selection, and counts them under `label`."""
    begun = time.time()
    print(f'\n== {label or "suites"}: building {folder}', flush=True)
    again = ['--reconfigure'] if (ROOT / folder / 'build.ninja').exists() else []
    if not quietly(['meson', 'setup', *again, folder, '-Dwerror=true', *options], env):
        return count.fail(label or 'build', 'meson setup')
    # A selection's tests and what they need; the first stage builds everything, so that everything compiles.
    if not label and not quietly(['ninja', '-C', folder], env):
        return count.fail('build', 'ninja')
    print(f'   {time.time() - begun:.0f} s', flush=True)
    for i, selection in enumerate(selections):
        log = f'check{i}'
        path = ROOT / folder / 'meson-logs' / f'{log}.json'
        path.unlink(missing_ok=True)
        run(['meson', 'test', '-C', folder, '--logbase', log, '--num-processes', JOBS, '--print-errorlogs',
             *selection], env)
        if not path.exists():
            count.fail(label or 'build', 'no test ran: ' + ' '.join(selection))
            continue
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            suite, _, name = entry['name'].split(':')[-1].partition(' / ')  # kiln:SUITE / NAME
            suite = f'{suite.split("+")[0]} {label}'.strip()
            passed, failed, skipped = of_test(entry)
            count.add(suite, passed, failed, skipped)
            if failed:
                count.broken.append(f'{suite}: {name} ({entry["result"]})')
    print(f'   {time.time() - begun:.0f} s', flush=True)


def suites(names):
    """--suite words for those that exist; the rest may not have been written, or need cmocka."""
    return [w for n in names if (ROOT / 'tests' / n / 'meson.build').exists() for w in ('--suite', n)]


def main():
    count, begun = Count(), time.time()
    if QUICK:
        picks = [[*suites(QUICK_SUITES), '--no-suite', 'long'], [*QUICK_TESTS, '--no-suite', 'long']]
    else:
        picks = [[]] if ALL else [['--no-suite', 'long'], ['--suite', 'sample']]
    make_locale()
    stage(count, '', 'build-check', ['--buildtype=debugoptimized'], picks, environment())
    if not QUICK:
        sanitizers(count)
    print(f'\n{"suite":24}{"passed":>8}{"failed":>8}{"skipped":>9}')
    for suite in sorted(count.suites):
        print(f'{suite:24}{count.suites[suite][0]:8}{count.suites[suite][1]:8}{count.suites[suite][2]:9}')
    for line in count.broken:
        print(f'failed: {line}')
    print(f'{(time.time() - begun) / 60:.1f} minutes')
    print(f'{count.passed} passed, {count.failed} failed')
    return bool(count.failed) or not count.passed


def sanitizers(count):
    supp = ROOT / 'tests' / 'support'
    clang = environment(CC='clang')
    common = ['--buildtype=debugoptimized', '-Db_lundef=false']
    limits = ['--no-suite', 'long', '--timeout-multiplier', '4']
    # use_tls: a thread of the driver's may be ending just then, and the leak checker falls over what is left of it
    env = {**clang, 'ASAN_OPTIONS': 'halt_on_error=1:detect_stack_use_after_return=1',
           'LSAN_OPTIONS': f'suppressions={supp}/lsan.supp:print_suppressions=0:use_tls=0',
           'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1'}
    stage(count, '(ASan, UBSan)', 'build-asan',
          [*common, '-Db_sanitize=address,undefined', '-Dc_args=-fno-sanitize-recover=undefined'],
          [[*suites(ASAN_SUITES), *limits]], env)
    env = {**clang, 'TSAN_OPTIONS': f'suppressions={supp}/tsan.supp:halt_on_error=0'}
    stage(count, '(TSan)', 'build-tsan', [*common, '-Db_sanitize=thread'],
          [[*suites(TSAN_SUITES), *limits]], env)


sys.exit(main())
