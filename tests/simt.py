"""Run the `.cu` files of the kernels on the CPU: a driver for the launchers, without a GPU.

g++ makes a shared library of a `.cu` file and `simt.h`; kernels are launched on NumPy arrays, one
fiber per CUDA thread. Three builds: `plain`; `race`, which checks every access; `sanitized`, under
the address and undefined-behaviour sanitizers, which need a process of their own.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from neuromfa_kernels.cuda_driver import source_text

HERE = Path(__file__).parent
HEADERS = ("simt.h", "simt_launch.h", "simt_race.h", "simt_intrinsics.h")
ORDERS = {"forward": 0, "reverse": 1, "random": 12345}
PLAIN = (
    *("-O2", "-g1", "-std=c++20", "-fPIC", "-w", "-ffp-contract=off", "-fno-strict-aliasing"),
    *("-fvisibility=hidden", "-fno-gnu-unique"),  # each library its own fibers
)
BUILDS = {
    "plain": (),
    "race": ("-O1", "-fsanitize=thread"),
    "sanitized": ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
}
KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\s*\(\s*(\d+)[^)]*\)\s*)?(\w+)\s*\(")
PLACE = re.compile(r"\[pc ([0-9a-f]+)\]")
_loading = threading.Lock()
"""A library is made once, also when several lanes ask for it at the same time."""

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="the harness needs g++, which is not installed"
)


class SimtError(RuntimeError):
    """What the harness found wrong with a kernel."""


@cache
def _room():
    """A folder for this session's libraries."""
    folder = tempfile.TemporaryDirectory(prefix="neuromfa-simt-")
    _room.keep = folder  # removed when the interpreter ends
    return Path(folder.name)


def _compile(text, build, defines):
    """Library and kernels of a `.cu` text: {name: most threads of a block}."""
    options = [*PLAIN, *BUILDS[build], *(f"-D{name}={value}" for name, value in defines)]
    headers = "".join((HERE / name).read_text() for name in HEADERS)
    key = hashlib.sha256(repr((text, options, headers)).encode()).hexdigest()[:20]
    kernels = _kernels(text, defines)
    library = _room() / f"{key}.so"
    if not library.exists():
        source = _room() / f"{key}.cpp"
        exports = "\n".join(f"SIMT_EXPORT({name})" for name in kernels)
        body = text.replace("extern __shared__", "extern")
        source.write_text(f'#include "simt.h"\n{body}\n{exports}\n')
        unit = source.with_suffix(".o")
        _run(["g++", *options, f"-I{HERE}", "-c", str(source), "-o", str(unit)])
        # the race build is compiled, but not linked, with the thread sanitizer: simt_race.h answers
        linked = BUILDS[build] if build != "race" else ()
        _run(["g++", "-shared", *linked, str(unit), "-o", str(library), "-ldl"])
    return library, kernels


def _kernels(text, defines):
    """Names of the kernels, as they stand after the macros."""
    command = ["g++", "-E", "-P", "-x", "c++", *(f"-D{n}={v}" for n, v in defines), "-"]
    expanded = _run(command, text).stdout
    return {name: int(most or 1024) for most, name in KERNEL.findall(expanded)}


def _run(command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SimtError(f"{' '.join(command[:2])}:\n{done.stderr[:4000]}")
    return done


_building = threading.Lock()  # lanes of a GPU ask for the same library at the same time


def _load(text, build, defines):
    with _building:
        return _loaded(text, build, defines)


@cache
def _loaded(text, build, defines):
    library, kernels = _compile(text, build, defines)
    return ctypes.CDLL(str(library)), kernels


class Kernel:
    """A kernel of a library, launched as the CUDA driver would."""

    lock = threading.Lock()  # a library has one set of fibers

    def __init__(self, library, name, most_threads):
        self.name, self.most_threads, self.library = name, most_threads, library
        self._launch = getattr(library, f"simt_run_{name}")
        self._launch.restype = ctypes.c_char_p
        sizes = (ctypes.c_int * 64)()
        n = getattr(library, f"simt_sizes_{name}")(sizes)
        self.sizes = list(sizes[:n])

    def __call__(self, args, *, grid, block, shared, order):
        if block > self.most_threads:
            raise SimtError(f"{self.name}: {block} threads; __launch_bounds__ {self.most_threads}")
        values = [_value(a) for a in args]
        given = [ctypes.sizeof(v) for v in values]
        if given != self.sizes:
            raise SimtError(f"{self.name}: arguments of {given} bytes; it takes {self.sizes}")
        places = (ctypes.c_void_p * max(1, len(values)))(*map(ctypes.addressof, values))
        shape = (ctypes.c_uint * 4)(*(*grid, 1, 1)[:3], block)
        with self.lock:
            error = self._launch(shape, ctypes.c_size_t(shared), order, places)
        if error:
            raise SimtError(f"{self.name}: {self._with_lines(error.decode())}")

    def _with_lines(self, message):
        def line(found):
            command = ["addr2line", "-i", "-e", self.library._name, "0x" + found[1]]
            if shutil.which(command[0]) is None:
                return found[0]
            lines = _run(command).stdout.split()
            names = [Path(one).name for one in lines]  # the innermost, and who inlined it
            return f"({next((n for n in names if '.cu' in n), names[0])})"

        return PLACE.sub(line, message)


def _value(argument):
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    if not isinstance(argument, np.generic):
        raise SimtError(f"argument {argument!r}: must be an array or a NumPy scalar")
    return np.ctypeslib.as_ctypes_type(argument.dtype)(argument.item())


class SimtArray(np.ndarray):
    """An array that lies on the simulated GPU, as far as the door can tell."""


class SimtDriver:
    """The interface of `neuromfa_kernels.cuda_driver.Driver` over NumPy arrays."""

    def __init__(
        self,
        *,
        multiprocessors=4,
        shared_memory=232448,
        architecture=90,
        order="forward",
        build="plain",
        defines=None,
    ):
        self.name = f"simulated GPU of {multiprocessors} multiprocessors"
        self.multiprocessors, self.shared_memory = multiprocessors, shared_memory
        self.architecture, self.order, self.build = architecture, ORDERS[order], build
        self.device, self.defines, self.launches = 0, defines or {}, []

    def kernel(self, source, name, *, defines=None):
        return self.kernel_of(source_text(source), name, defines=defines)

    def kernel_of(self, text, name, *, defines=None):
        every = {**self.defines, **(defines or {})}
        with _loading:
            library, kernels = _load(text, self.build, tuple(sorted(every.items())))
        return Kernel(library, name, kernels[name])

    def launch(self, kernel, args, *, grid, block, shared=0):
        if shared > self.shared_memory:
            raise ValueError(
                f"shared memory of {shared} bytes: {self.name} has {self.shared_memory} a block"
            )
        blocks = grid if isinstance(grid, tuple) else (grid,)
        self.launches.append((kernel.name, blocks, block, shared))
        kernel(args, grid=blocks, block=block, shared=shared, order=self.order)

    def empty(self, shape, dtype):
        found = np.empty(shape, dtype)
        found.reshape(-1).view(np.uint8)[...] = 0xA5  # no kernel may rely on zeros
        return found.view(SimtArray)

    def zeros(self, shape, dtype):
        return np.zeros(shape, dtype).view(SimtArray)

    def from_host(self, array):
        return np.array(array, order="C").view(SimtArray)

    def to_host(self, array):
        return np.array(array)

    def address(self, array):
        return array.ctypes.data


class AlteredDriver(SimtDriver):
    """Runs kernels with one expression replaced by another: a mutation that tests must notice."""

    def __init__(self, old, new, **settings):
        super().__init__(**settings)
        self.old, self.new = old, new

    def kernel(self, source, name, *, defines=None):
        text = source_text(source)
        assert text.count(self.old) == 1
        return self.kernel_of(text.replace(self.old, self.new), name, defines=defines)


def sanitized_environment():
    """Environment of a process that may load `sanitized` libraries."""
    found = [
        _run(["g++", f"-print-file-name={n}.so"]).stdout.strip() for n in ("libasan", "libubsan")
    ]
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(found),
        # Python frees little at exit, and its own allocator hides the ends of small arrays
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
    }
