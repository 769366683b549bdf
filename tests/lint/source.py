#!/usr/bin/env python3
"""House rules that a look at the text can check: source.py RULE ROOT

budgets    lines per file and per function (hard limits; the soft ones are printed, not failed)
columns    lines of at most 100 characters (scripts 120), no tabs or trailing blanks, a newline at the end
vendors    vendors and drivers by name in quirks.c, env.c and doctor only
opencl     OpenCL's types in device/ and interop/ only
marks      no word that says: still to do; no merge's marks
doors      a README.md of at most 40 lines on every floor; nothing else at the top
wrap       (no rule) lets clang-format wrap the lines that are too long, and only those
"""
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(sys.argv[2])
LINES = {'.c': (400, 700), '.cl': (250, 400), '.h': (200, 350)}
FUNCTION = (40, 80)
COLUMNS, SCRIPT_COLUMNS = 100, 120
TOP = set('''include src cl tests tools meson.build README.md LICENSE .ci .clang-format .clang-tidy .gitignore
.gitattributes .editorconfig .git'''.split())
VENDORS = re.compile(r'(?<![a-z])(nvidia|cuda|geforce|amd|radeon|intel|pocl|mesa|rusticl|clover|llvmpipe|adreno|'
                     r'qualcomm|mali|oclgrind)(?![a-z])', re.I)
VENDORS_IN = {'src/device/quirks.c', 'src/device/env.c', 'tools/driver_cache.c'}
# Not a vendor's name: advice on what package to install, and an extension's name, which is a capability.
PACKAGE = re.compile(r'pocl-opencl-icd|mesa-opencl-icd|intel-opencl-icd|cl_[a-z]+_\w+')


def code(*suffixes, under=('include', 'src', 'cl', 'tests', 'tools')):
    for top in under:
        for p in sorted((ROOT / top).rglob('*')):
            if p.suffix in suffixes and p.is_file():
                yield p.relative_to(ROOT), p.read_text()


def without_comments(text):
    blank = lambda m: re.sub(r'[^\n]', ' ', m.group(0)) if m.group(0)[0] == '/' else m.group(0)
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def functions(text):
    """(line, name, lines) of each function: its brace stands alone in the first column."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if line == '{' and i:
            end = next((j for j in range(i, len(lines)) if lines[j].startswith('}')), len(lines) - 1)
            head = ' '.join(lines[max(0, i - 6):i])
            name = re.findall(r'(\w+)\s*\(', head)
            yield i + 1, name[-1] if name else '?', end - i + 1


def budgets():
    for p, text in code('.c', '.h', '.cl'):
        n, (soft, hard) = text.count('\n'), LINES[p.suffix]
        if n > hard:
            yield f'{p}: {n} lines, the limit is {hard}'
        elif n > soft:
            print(f'  {p}: {n} lines of {soft}')
        for at, name, n in functions(text):
            if n > FUNCTION[1]:
                yield f'{p}:{at}: {name} has {n} lines, the limit is {FUNCTION[1]}'
            elif n > FUNCTION[0]:
                print(f'  {p}:{at}: {name} has {n} lines of {FUNCTION[0]}')


def columns():
    for p, text in code('.c', '.h', '.cl', '.py', '.build', '.sh'):
        limit = COLUMNS if p.suffix in LINES else SCRIPT_COLUMNS
        for at, line in enumerate(text.split('\n'), 1):
            if len(line) > limit:
                yield f'{p}:{at}: {len(line)} columns'
            if '\t' in line or line != line.rstrip():
                yield f'{p}:{at}: a tab or a trailing blank'
        if text and not text.endswith('\n'):
            yield f'{p}: no newline at the end'


def vendors():
    for p, text in code('.c', '.h', '.cl', under=('include', 'src', 'cl', 'tools')):
        if str(p) in VENDORS_IN or p.name.startswith('doctor'):
            continue
        for at, line in enumerate(without_comments(text).split('\n'), 1):
            m = VENDORS.search(PACKAGE.sub('', line))
            if m:
                yield f'{p}:{at}: "{m.group(0)}"; ask a capability, or make it a quirk'


def opencl():
    for p, text in code('.c', '.h', under=('include', 'src', 'tools')):
        if p.parts[:2] in (('src', 'device'), ('src', 'interop')) or p.name == 'opencl.h':
            continue
        for at, line in enumerate(without_comments(text).split('\n'), 1):
            if re.search(r'\bcl_(?!files?\b)[a-z]\w*\b(?!\s*\()|\bCL_[A-Z]\w+|\bcl[A-Z]\w+\s*\(|<CL/',
                         re.sub(r'"(?:\\.|[^"\\])*"', '""', line)):
                yield f'{p}:{at}: {line.strip()}'


def marks():
    word = re.compile(r'\b(TO' r'DO|FIX' r'ME|XX' r'X|HA' r'CK)\b|^(<{7}|>{7}) ')
    for p, text in code('.c', '.h', '.cl', '.py', '.build', '.sh', '.md', ''):
        for at, line in enumerate(text.split('\n'), 1):
            if word.search(line):
                yield f'{p}:{at}: {line.strip()}'


def doors():
    for floor in sorted(p for p in (ROOT / 'src').iterdir() if p.is_dir()):
        sign = floor / 'README.md'
        if not sign.exists():
            yield f'src/{floor.name}: no README.md'
        elif (n := sign.read_text().count('\n')) > 40:
            yield f'src/{floor.name}/README.md: {n} lines, a sign has 40'
    git = shutil.which('git')
    known = git and subprocess.run([git, '-C', ROOT, 'ls-files', '-z'], capture_output=True, text=True)
    if known and known.returncode == 0:
        tops = {n.split('/')[0] for n in known.stdout.split('\0') if n}
    else:  # an unpacked archive, or no git here: what a build makes may stand there too
        tops = {p.name for p in ROOT.iterdir() if not re.match(r'build|runs$', p.name)}
    for name in sorted(tops - TOP):
        yield f'{name}: not at the top of the house'


def wrap():
    for p, text in code('.c', '.h', '.cl'):
        wide = [at for at, line in enumerate(text.split('\n'), 1) if len(line) > COLUMNS]
        if wide:
            subprocess.run(['clang-format', '-i', '--assume-filename=x.c',
                            *(f'--lines={at}:{at}' for at in wide), ROOT / p], check=True)
    return []


bad = list({f.__name__: f for f in (budgets, columns, vendors, opencl, marks, doors, wrap)}[sys.argv[1]]())
print('\n'.join(bad))
print(f'{len(bad)} breaches of "{sys.argv[1]}"')
sys.exit(bool(bad))
