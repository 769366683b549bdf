#!/usr/bin/env python3
"""The installed copy is whole: install.py SOURCE BUILD MESON CC [CXX]

Installs into a fresh folder, looks for the library with its soname, the headers, the pkg-config file and
the program, then builds embed.c against nothing but that folder, as C99 and as C++11, and runs it.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

source, build, meson, cc = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
cxx = (sys.argv[5:] or [None])[0]
checks, failed = 0, 0


def check(good, what, why=''):
    global checks, failed
    checks += 1
    failed += not good
    print(f'{"ok    " if good else "FAILED"} {what}{": " + why.strip() if why and not good else ""}')
    return good


def run(*command, **env):
    got = subprocess.run([str(c) for c in command], text=True, capture_output=True, env={**os.environ, **env})
    return got.returncode == 0, got.stdout.strip(), f'exit {got.returncode}\n{got.stdout}{got.stderr}'


def main(root):
    ok, _, log = run(meson, 'install', '-C', build, '--no-rebuild', '--destdir', root)
    if not check(ok, 'meson install', log):
        return
    found = sorted(root.rglob('kiln.pc'))
    if not check(len(found) == 1, 'one kiln.pc', str(found)):
        return
    prefix = found[0].parent.parent.parent
    prefix = prefix if (prefix / 'include').is_dir() else prefix.parent  # lib/pkgconfig, lib/TRIPLE/pkgconfig
    lib = found[0].parent.parent
    env = {'PKG_CONFIG_PATH': str(found[0].parent), 'LD_LIBRARY_PATH': str(lib)}

    check((lib / 'libkiln.so.0').is_symlink() and (lib / 'libkiln.so').is_symlink(), 'libkiln.so and .so.0')
    ok, out, log = run('readelf', '-d', lib / 'libkiln.so')
    check(ok and '[libkiln.so.0]' in out, 'its soname is libkiln.so.0', log)
    check(not re.search(r'NEEDED.*(OpenCL|clblast)', out), 'it loads where no OpenCL is', out)
    check('libmpi' not in out, 'it needs no MPI', out)
    if (pathlib.Path(build) / 'src/mpi').is_dir():
        ok, out, log = run('readelf', '-d', lib / 'libkiln_mpi.so')
        check(ok and '[libkiln_mpi.so.0]' in out and (lib / 'libkiln_mpi.so.0').is_symlink(),
              'libkiln_mpi.so.0, its soname', log)
        pc = (lib / 'pkgconfig/kiln-mpi.pc').read_text()
        check(re.search(r'^Requires: *kiln$', pc, re.M) and '-lkiln_mpi' in pc, 'kiln-mpi.pc', pc)
    heads = {p.name for p in (prefix / 'include/kiln').glob('*')}
    check(heads == {p.name for p in (source / 'include/kiln').glob('*.h')}, 'the headers', str(heads))
    if (pathlib.Path(build) / 'tools' / 'kiln').exists():
        ok, _, log = run(prefix / 'bin/kiln', '--version', **env)
        check(ok, 'the program runs', log)

    # Where it was installed for the time of the test, not where it says it will be.
    pkg = ['pkg-config', f'--define-variable=prefix={prefix}', 'kiln']
    ok, version, log = run(*pkg, '--modversion', **env)
    header = (prefix / 'include/kiln/base.h').read_text()
    told = '.'.join(re.search(rf'KL_VERSION_{part} (\d+)', header).group(1)
                    for part in ('MAJOR', 'MINOR', 'PATCH'))
    check(ok and version == told, f'pkg-config and the header agree on {told}', log)
    ok, flags, log = run(*pkg, '--cflags', '--libs', **env)
    if not check(ok and str(prefix) in flags, 'pkg-config gives the flags', log):
        return
    example = source / 'tests/install/embed.c'
    strict = '-Wall -Wextra -pedantic -Werror -O1'.split()
    ways = [('C99', [cc, '-std=c99'])] + ([('C++11', [cxx, '-std=c++11', '-x', 'c++'])] if cxx else [])
    for name, compiler in ways:
        program = root / f'embed-{name}'
        ok, _, log = run(*compiler, *strict, example, '-x', 'none', '-o', program, *flags.split())
        if check(ok, f'the example compiles and links as {name}', log):
            ok, out, log = run(program, **env)
            check(ok, f'as {name} it learns', log)
            print('       ' + out)


folder = pathlib.Path(tempfile.mkdtemp(prefix='kiln-install-'))
try:
    main(folder)
finally:
    shutil.rmtree(folder)
print(f'{checks - failed} checks passed, {failed} failed')
sys.exit(bool(failed))
