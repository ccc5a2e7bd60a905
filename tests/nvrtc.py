"""Compile the kernels with NVRTC, as CuPy does, but without a GPU; and write docs/kernels.md.

    python tests/nvrtc.py

The compiler is that of the package nvidia-cuda-nvrtc, called through ctypes: CuPy asks for a GPU
before it compiles anything.
"""

import ctypes
import importlib
import importlib.util
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

from neuromfa_kernels.cuda_driver import OPTIONS, SOURCES, source_text

ARCHITECTURES = (80, 90, 100, 120)
"""A100; H100 and H200; B200; the Blackwell of workstations."""
PAGE = Path(__file__).parent.parent / "docs" / "kernels.md"
ENTRY = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads.*?Used (\d+) registers([^\n]*)",
    re.DOTALL,
)


class Variant(NamedTuple):
    """A source file with the options that a launcher gives it."""

    source: str
    defines: tuple[tuple[str, int], ...]


class Figures(NamedTuple):
    """What the assembler says of one kernel."""

    kernel: str
    registers: int
    shared: int
    stack: int
    spilled: int


def variants():
    """Everything that the launchers can ask for: their own lists, other sources as they stand."""
    modules = [
        importlib.import_module(f"neuromfa_kernels.{path.stem}")
        for path in sorted(SOURCES.glob("cuda_*.py"))
    ]
    listed = [pair for module in modules for pair in getattr(module, "VARIANTS", ())]
    plain = {path.name for path in SOURCES.glob("*.cu")} - {source for source, _ in listed}
    listed += [(source, {}) for source in sorted(plain)]
    return [Variant(source, tuple(defines.items())) for source, defines in listed]


@cache
def library():
    """NVRTC, or None where the package is not installed."""
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec else []
    found = [path for folder in folders for path in Path(folder).glob("*/lib/libnvrtc.so.*")]
    return ctypes.CDLL(str(min(found))) if found else None


def version():
    """Version of the compiler, such as 13.5."""
    numbers = ctypes.c_int(), ctypes.c_int()
    library().nvrtcVersion(*map(ctypes.byref, numbers))
    return ".".join(str(number.value) for number in numbers)


def _text(program, what):
    size = ctypes.c_size_t()
    getattr(library(), f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(library(), f"nvrtcGet{what}")(program, text)
    return text.raw


def compiled(text, architecture, defines: Mapping[str, int]):
    """Machine code and the assembler's log; a ValueError with the log if it does not compile."""
    program = ctypes.c_void_p()
    status = library().nvrtcCreateProgram(
        ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None
    )
    if status:
        raise ValueError(f"nvrtcCreateProgram: status {status}")
    options = [*OPTIONS, f"--gpu-architecture=sm_{architecture}", "--ptxas-options=-v"]
    options += [f"-D{name}={value}" for name, value in defines.items()]
    try:
        array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = library().nvrtcCompileProgram(program, len(options), array)
        log = _text(program, "ProgramLog").rstrip(b"\0").decode()
        if status:
            raise ValueError(f"sm_{architecture} {dict(defines)}: status {status}\n{log}")
        return _text(program, "CUBIN"), log
    finally:
        library().nvrtcDestroyProgram(ctypes.byref(program))


def figures(log):
    """Figures of every kernel in a log."""
    found = []
    for kernel, stack, stores, loads, registers, rest in ENTRY.findall(log):
        shared = re.search(r"(\d+) bytes smem", rest)
        spilled = int(stores) + int(loads)
        size = int(shared[1]) if shared else 0
        found.append(Figures(kernel, int(registers), size, int(stack), spilled))
    return sorted(found)


@cache
def everything():
    """Log and size of the code of each (variant, architecture)."""

    def one(job):
        variant, architecture = job
        code, log = compiled(source_text(variant.source), architecture, dict(variant.defines))
        return job, (len(code), log)

    jobs = [(variant, architecture) for variant in variants() for architecture in ARCHITECTURES]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as executor:
        return dict(executor.map(one, jobs))


def page():
    """The page: registers and shared memory of each kernel, as compiled here."""
    head = f"""# Kernels

Written by `python tests/nvrtc.py` with NVRTC {version()}; do not edit. Registers of a thread on
each architecture, and static shared memory of a block (dynamic shared memory is the launchers'
choice). Nothing is spilled to local memory, which `tests/test_compile.py` asserts. None of this was
measured: it is what the compiler says.
"""
    columns = ["kernel", "options", *(f"sm_{a}" for a in ARCHITECTURES), "shared memory"]
    parts = [head]
    for source in sorted({variant.source for variant in variants()}):
        parts.append(f"\n## {source}\n\n| {' | '.join(columns)} |")
        parts.append("|---|---|" + "---:|" * (len(columns) - 2))
        parts += sorted(_rows([v for v in variants() if v.source == source]))
    return "\n".join(parts).replace("\n\n\n", "\n\n") + "\n"


def _rows(own):
    """Lines of a table; variants that make no difference to a kernel share one."""
    constant = set.intersection(*(set(variant.defines) for variant in own))
    rows = {}
    for variant in own:
        by_architecture = [figures(everything()[variant, a][1]) for a in ARCHITECTURES]
        for found in zip(*by_architecture, strict=True):
            shared = " / ".join(dict.fromkeys(f"{one.shared:,} B" for one in found))
            numbers = (*(str(one.registers) for one in found), shared)
            options = " ".join(f"{k}={v}" for k, v in variant.defines if (k, v) not in constant)
            rows.setdefault((found[0].kernel, numbers), []).append(options)
    return [
        f"| {kernel} | {'; '.join(options) or '-'} | {' | '.join(numbers)} |"
        for (kernel, numbers), options in rows.items()
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
