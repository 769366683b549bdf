#!/usr/bin/env python3
"""Every kernel file as a compiler front end sees it: kernels.py ROOT CLANG

Each file of cl/ must compile alone, without a warning and without a double in single precision, with its
defaults and with every set of -D in cl_defines.txt. A line there is the file, then the options; lines after
it that begin with a blank are put before the file's text, as the host does with generated parts. The sets
are those that the test suites asked for when the table was made; a file without one is an error.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

root, clang = pathlib.Path(sys.argv[1]), sys.argv[2]
FLAGS = '''-x cl -cl-std=CL1.2 -Wall -Wextra -Wno-unused-parameter -Wdouble-promotion -Werror -fsyntax-only
-Xclang -finclude-default-header -I'''.split()
# 1.5, 1., .5, 1e-3 without an f: a double. Numbers in T are written (T)1 / (T)6.
DOUBLE = re.compile(r'(?<![\w.])(?:\d+\.\d*|\.\d+|\d+(?=[eE][-+]?\d))(?:[eE][-+]?\d+)?(?![fF\w.])')


def table():
    """[(file, options, prelude)]"""
    sets = []
    for line in pathlib.Path(root, 'tests/lint/cl_defines.txt').read_text().splitlines():
        if line.startswith(' '):
            sets[-1][2].append(line.strip())
        elif line and not line.startswith('#'):
            name, *options = line.split()
            sets.append((name, options, []))
    return sets


def compiles(one):
    name, options, prelude = one
    text = '\n'.join([*prelude, f'#include "{name}"', ''])
    calm = ['-Wno-unused'] if prelude else []  # generated code takes what it needs of what it is given
    got = subprocess.run([clang, *FLAGS, root / 'cl', *calm, *options, '-'], input=text, text=True, capture_output=True)
    return f'{name} {" ".join(options)}:\n{got.stderr}' if got.returncode else None


def doubles(name, text):
    text = re.sub(r'/\*.*?\*/|//[^\n]*', lambda m: '\n' * m.group(0).count('\n'), text, flags=re.S)
    return [f'{name}:{at}: the double {m.group(0)}' for at, line in enumerate(text.split('\n'), 1)
            for m in DOUBLE.finditer(line)]


bad, sets = [], table()
files = {p.name: p.read_text() for p in sorted((root / 'cl').glob('*.cl'))}
included = {n for text in files.values() for n in re.findall(r'#\s*include\s+"(\w+\.cl)"', text)}
for name, text in files.items():
    bad += doubles(name, text)
    if name not in included and name not in {s[0] for s in sets}:
        bad.append(f'{name}: no line in cl_defines.txt')
# A word of the table that no file knows is a word of yesterday.
reach = {}
for name in files:
    todo, seen = [name], set()
    while todo:
        n = todo.pop()
        if n not in seen and n in files:
            seen.add(n)
            todo += re.findall(r'#\s*include\s+"(\w+\.cl)"', files[n])
    reach[name] = ' '.join(files[n] for n in seen)
for name, options, prelude in sets:
    if name not in files:
        bad.append(f'cl_defines.txt: {name} is not in cl/')
        continue
    for option in options:
        word = re.match(r'-D(\w+)', option).group(1)
        if not re.search(rf'\b{word}\b', reach[name]):
            bad.append(f'cl_defines.txt: {name} does not know {word}')
    bad += doubles(f'cl_defines.txt, {name}', '\n'.join(prelude))
todo = [(name, [], []) for name in files] + [s for s in sets if s[0] in files]
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    bad += [b for b in pool.map(compiles, todo) if b]
print('\n'.join(bad))
print(f'{len(files)} kernel files, {len(todo)} compilations, {len(bad)} complaints')
sys.exit(bool(bad))
