#!/usr/bin/env python3
"""Every header compiles alone, without a warning: headers.py ROOT CC [CXX]

Public ones as C99, C11 and C++11 (an embedder's program need not be C11), inner ones as C11.
"""
import pathlib
import subprocess
import sys

root, cc, cxx = pathlib.Path(sys.argv[1]), sys.argv[2], (sys.argv[3:] or [None])[0]
WARN = '-Wall -Wextra -pedantic -Wshadow -Wundef -Werror -fsyntax-only'.split()
C = ['-Wstrict-prototypes', '-Wmissing-prototypes']
public = sorted((root / 'include/kiln').glob('*.h'))
# src/mpi stands on MPI's header, which need not be there, and has one header of its own.
inner = sorted(h for h in (root / 'src').rglob('*.h') if h.parent.name != 'mpi')
ways = [([cc, '-xc', '-std=c99', *C], public), ([cc, '-xc', '-std=c11', *C], public)]
if cxx:
    ways.append(([cxx, '-xc++', '-std=c++11'], public))
ways.append(([cc, '-xc', '-std=c11', '-D_POSIX_C_SOURCE=200809L', '-DCL_TARGET_OPENCL_VERSION=120',
              '-DCL_USE_DEPRECATED_OPENCL_1_2_APIS', f'-I{root}/src', *C], inner))
bad = n = 0
for command, headers in ways:
    for h in headers:
        # Twice: its guard holds. Read as an included file, so that it may hold what a program need not use.
        text = f'#include "{h}"\n#include "{h}"\n'
        got = subprocess.run([*command, *WARN, f'-I{root}/include', '-'], input=text, text=True,
                             capture_output=True)
        n += 1
        if got.returncode:
            bad += 1
            print(f'{h.relative_to(root)} alone, {" ".join(command[:3])}:\n{got.stderr}')
print(f'{n} compilations of {len(public)} public and {len(inner)} inner headers, {bad} failed'
      + ('' if cxx else '; no C++ compiler found, C only'))
sys.exit(bool(bad))
