#!/usr/bin/env python3
"""What the library shows and what it calls.

symbols.py exports ROOT LIB      headers (KL_API), src/kiln.map and the library's table say the same
symbols.py mpi ROOT LIB          libkiln_mpi: its header and its table say the same
symbols.py names ROOT ARCHIVE    every global name is kl_ (declared in a header) or kl__
symbols.py calls ROOT ARCHIVE    nothing that ends, prints, or belongs to one file of base only
symbols.py update ROOT           writes src/kiln.map from the headers
"""
import pathlib
import re
import subprocess
import sys

# Call -> the objects that may make it. A library must not end, print, take signals or change what the
# whole process shares; memory, files and threads go through base, where a test can make them fail.
NOWHERE = '''abort exit _Exit quick_exit atexit on_exit __assert_fail signal sigaction raise system
popen printf vprintf puts putchar perror putc fputc fputs fprintf vfprintf fwrite stdout stderr __printf_chk
__fprintf_chk __vfprintf_chk setlocale srand rand random srandom strtok strerror gmtime localtime putenv unsetenv
chdir umask gets strcpy strcat sprintf vsprintf __sprintf_chk __strcpy_chk fopen fdopen tmpfile tmpnam'''.split()
ONLY = {
    'malloc realloc calloc posix_memalign aligned_alloc strdup strndup asprintf vasprintf': {'base_mem'},
    'free': {'base_mem', 'io_safetensors_write', 'device_winners_file'},  # jansson's text, which it allocated
    'open open64 openat rename unlink fsync fdatasync': {'base_vfs'},
    'write': {'base_vfs', 'device_doctor'},  # there the end of a pipe
    'fork _exit kill': {'device_doctor'},  # a driver that may crash is tried in a child
    'pthread_create pthread_join pthread_mutex_lock pthread_cond_wait': {'base_thread'},
    'setenv': {'device_env'},  # kl_env_prepare, which programs call and the library never does
    'dlopen': {'device_loader', 'device_clblast', 'device_doctor_system'},
}


def nm(*args):
    return subprocess.run(['nm', '-P', *args], check=True, capture_output=True, text=True).stdout


def declared(root, of_mpi=False):
    """By the headers of libkiln, or by the one header of the library over MPI."""
    names = set()
    for h in sorted(pathlib.Path(root, 'include/kiln').glob('*.h')):
        if (h.stem == 'mpi') != of_mpi:
            continue
        text = re.sub(r'/\*.*?\*/|//[^\n]*', ' ', h.read_text(), flags=re.S)
        text = re.sub(r'^\s*#.*?(?<!\\)$', '', text, flags=re.M)
        for m in re.finditer(r'\bKL_API\b([^;{]*?)\b(kl_\w+)\s*(\(|;|\[)', text):
            names.add(m.group(2))
    return names


def mapped(root):
    text = pathlib.Path(root, 'src/kiln.map').read_text()
    return set(re.findall(r'^\s*(kl_\w+);', text, flags=re.M))


def objects(archive):
    """{object: [(symbol, kind)]}"""
    out, here = {}, None
    for line in nm(archive).splitlines():
        m = re.match(r'.*\[(.*)\.o\]:$', line)
        if m:
            here = out.setdefault(re.sub(r'^src_|\.c$', '', m.group(1).split('/')[-1]), [])
        elif line.strip():
            here.append(tuple(line.split()[:2]))
    return out


def differ(what, a, b):
    lines = [f'{what[0]} but not {what[1]}: {n}' for n in sorted(a - b)]
    return lines + [f'{what[1]} but not {what[0]}: {n}' for n in sorted(b - a)]


def shown_by(lib):
    return {l.split()[0].split('@')[0] for l in nm('-D', '--defined-only', lib).splitlines()}


def check_mpi(root, lib):
    shown = shown_by(lib)
    return differ(('in kiln/mpi.h', 'exported'), declared(root, of_mpi=True), shown), f'{len(shown)} symbols'


def check_exports(root, lib):
    heads, listed, shown = declared(root), mapped(root), shown_by(lib)
    bad = differ(('in the headers', 'in src/kiln.map'), heads, listed)
    return bad + differ(('in src/kiln.map', 'exported'), listed, shown), f'{len(shown)} symbols'


def check_names(root, archive):
    heads, bad, n = declared(root), [], 0
    for obj, symbols in objects(archive).items():
        for name, kind in symbols:
            if kind not in 'TDBRCGSVW':
                continue
            n += 1
            if not name.startswith('kl__') and name not in heads and not name.startswith('__asan'):
                bad.append(f'{obj}: {name} is global; kl__ inside, kl_ with KL_API outside, else static')
    return bad, f'{n} global names'


def check_calls(root, archive):
    allowed = {call: set() for call in NOWHERE}
    for calls, where in ONLY.items():
        allowed.update({call: where for call in calls.split()})
    bad, n = [], 0
    for obj, symbols in objects(archive).items():
        for name, kind in symbols:
            name = name.split('@')[0]
            n += kind == 'U'
            if kind == 'U' and name in allowed and obj not in allowed[name]:
                there = ', '.join(sorted(allowed[name])) or 'nowhere'
                bad.append(f'{obj} calls {name}, which belongs: {there}')
    return bad, f'{n} calls'


def update(root):
    names = ''.join(f'    {n};\n' for n in sorted(declared(root)))
    pathlib.Path(root, 'src/kiln.map').write_text(
        '/* What libkiln exports: every KL_API of include/kiln. `tests/lint/symbols.py update .` writes it. */\n'
        '{\nglobal:\n' + names + 'local:\n    *;\n};\n')


if sys.argv[1] == 'update':
    update(sys.argv[2])
else:
    check = {'exports': check_exports, 'mpi': check_mpi, 'names': check_names, 'calls': check_calls}[sys.argv[1]]
    bad, seen = check(sys.argv[2], sys.argv[3])
    print('\n'.join(bad) if bad else f'{seen}, none amiss')
    sys.exit(bool(bad))
