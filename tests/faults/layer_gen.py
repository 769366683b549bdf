#!/usr/bin/env python3
"""Writes an OpenCL layer (OPENCL_LAYERS) that counts objects and makes the N-th call fail. It wraps
every function of Kiln's table (src/device/opencl.h); prototypes come from the installed CL/cl.h, so
that a new entry point cannot be forgotten.

The layer reads KILN_LAYER_AT=N, the call that fails (from 1; absent: none), and
KILN_LAYER_REPORT=FILE, where it writes "layer W wrapped" when it is loaded, "inject N NAME" and, at
the end, "live L objects". KILN_LAYER_TRACE=1 adds "call N NAME" for each call.

usage: layer_gen.py opencl.h OUTPUT CC [ARG ...]"""
import re
import subprocess
import sys

CODES = {'clCreateBuffer': 'CL_MEM_OBJECT_ALLOCATION_FAILURE',
         'clBuildProgram': 'CL_BUILD_PROGRAM_FAILURE',
         'clGetDeviceIDs': 'CL_DEVICE_NOT_AVAILABLE',
         'clCreateContext': 'CL_DEVICE_NOT_AVAILABLE',
         'clCreateKernel': 'CL_INVALID_KERNEL',
         'clWaitForEvents': 'CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST'}

HEAD = '''/* Made by layer_gen.py. */
#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 300
#endif
#ifndef CL_USE_DEPRECATED_OPENCL_1_2_APIS
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#endif
#include <CL/cl.h>
#include <CL/cl_layer.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct _cl_icd_dispatch mine;
static const struct _cl_icd_dispatch *next;
static atomic_long calls, live;
static long fail_at;
static int trace;

static void say(const char *word, long k, const char *name)
{
    const char *path = getenv("KILN_LAYER_REPORT");
    FILE *f = path ? fopen(path, "a") : NULL;
    if (!f)
        return;
    fprintf(f, "%s %ld %s\\n", word, k, name);
    fclose(f);
}

static int hit(const char *name)
{
    long k = atomic_fetch_add(&calls, 1) + 1;
    if (k == fail_at || trace)
        say(k == fail_at ? "inject" : "call", k, name);
    return k == fail_at;
}

static void at_end(void)
{
    say("live", atomic_load(&live), "objects");
}
'''

TAIL = '''
CL_API_ENTRY cl_int CL_API_CALL clGetLayerInfo(cl_layer_info what, size_t size, void *value,
                                               size_t *size_ret)
{
    static const char name[] = "kiln faults";
    const cl_layer_api_version version = CL_LAYER_API_VERSION_100;
    const void *from = what == CL_LAYER_API_VERSION ? (const void *)&version : name;
    size_t n = what == CL_LAYER_API_VERSION ? sizeof version : sizeof name;
    if ((what != CL_LAYER_API_VERSION && what != CL_LAYER_NAME) || (value && size < n))
        return CL_INVALID_VALUE;
    if (value)
        memcpy(value, from, n);
    if (size_ret)
        *size_ret = n;
    return CL_SUCCESS;
}

CL_API_ENTRY cl_int CL_API_CALL clInitLayer(cl_uint n, const struct _cl_icd_dispatch *target, cl_uint *n_mine,
                                            const struct _cl_icd_dispatch **out)
{
    const char *at = getenv("KILN_LAYER_AT");
    size_t bytes = n * sizeof(void *);
    fail_at = at ? atol(at) : 0;
    trace = getenv("KILN_LAYER_TRACE") != NULL;
    next = target;
    memcpy(&mine, target, bytes < sizeof mine ? bytes : sizeof mine);
%s    *out = &mine;
    *n_mine = (cl_uint)(sizeof mine / sizeof(void *));
    say("layer", %d, "wrapped");
    atexit(at_end);
    return CL_SUCCESS;
}
'''


def table(path):
    text = open(path).read()
    text = text[text.index('#define KL__CL_FUNCTIONS'):]
    return re.findall(r'X\((cl\w+)\)', text[:text.index('\n\n')])


def prototypes(command):
    source = ('#define CL_TARGET_OPENCL_VERSION 300\n#define CL_USE_DEPRECATED_OPENCL_1_2_APIS\n'
              '#include <CL/cl.h>\n')
    text = subprocess.run(command + ['-E', '-P', '-x', 'c', '-'], input=source, capture_output=True,
                          text=True, check=True).stdout
    return re.sub(r'\s+', ' ', re.sub(r'__attribute__\s*\(\(.*?\)\)', '', text))


def split(params):
    """At commas that are in no parenthesis."""
    out, depth = [''], 0
    for c in params:
        depth += (c == '(') - (c == ')')
        if c == ',' and depth == 0:
            out.append('')
        else:
            out[-1] += c
    return [p.strip() for p in out]


def name_of(param):
    callback = re.search(r'\(\s*\*\s*(\w+)\s*\)', param)
    return callback.group(1) if callback else re.search(r'(\w+)\s*(\[\])?$', param).group(1)


def wrapper(name, text):
    m = re.search(r'extern ([\w\s*]+?)\s*\b' + name + r'\s*\(', text)
    if not m:
        sys.exit(f'layer_gen.py: CL/cl.h has no prototype of {name}')
    depth, end = 1, m.end()
    while depth:
        depth += (text[end] == '(') - (text[end] == ')')
        end += 1
    params = split(text[m.end():end - 1])
    names, ret = [name_of(p) for p in params], m.group(1).strip()
    code, makes = CODES.get(name, 'CL_OUT_OF_RESOURCES'), ret != 'cl_int'
    lines = [f'static {ret} CL_API_CALL w_{name}({", ".join(params)})', '{']
    if name.startswith('clRelease'):
        lines.append('    atomic_fetch_sub(&live, 1); /* let go, also where that fails */')
    if makes:
        lines += [f'    if (hit("{name}")) {{', f'        if ({names[-1]})',
                  f'            *{names[-1]} = {code};', '        return NULL;', '    }']
    else:
        lines += [f'    if (hit("{name}"))', f'        return {code};']
    call = f'next->{name}({", ".join(names)})'
    counts = None
    if makes:
        counts = 'r != NULL'
    elif name.startswith('clRetain'):
        counts = 'r == CL_SUCCESS'
    elif name.startswith('clEnqueue'):
        counts = f'r == CL_SUCCESS && {names[-1]} != NULL'
    if counts:
        lines += [f'    {ret} r = {call};', f'    if ({counts})',
                  '        atomic_fetch_add(&live, 1);', '    return r;']
    else:
        lines.append(f'    return {call};')
    return '\n'.join(lines + ['}'])


def main():
    header, output, *command = sys.argv[1:]
    names, text = table(header), prototypes(command)
    sets = ''.join(f'    mine.{n} = w_{n};\n' for n in names)
    with open(output, 'w') as f:
        f.write(HEAD + '\n' + '\n\n'.join(wrapper(n, text) for n in names) + '\n' + TAIL % (sets, len(names)))


main()
