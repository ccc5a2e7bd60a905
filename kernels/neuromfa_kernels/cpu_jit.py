"""What numba lacks: unaligned loads from an address, prefetch, and a fused multiply-add.

numba's cache does not see changes of functions imported from another file: after editing this
file delete the ``__pycache__`` folders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, and keep the machine code where a folder for it can be written."""
    compiled: Callable[..., Any]
    try:
        compiled = njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no place for the cache, e.g. a read-only installation without a home
        compiled = njit(**_OPTIONS)(function)
    return compiled


def _loader(bits: int) -> Any:
    @intrinsic
    def load(_context: Any, address: Any) -> Any:
        """Return the unsigned integer stored at an address, aligned or not."""

        def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            integer = ir.IntType(bits)
            pointer = builder.inttoptr(arguments[0], integer.as_pointer())
            value = builder.load(pointer)
            value.align = 1
            return builder.zext(value, ir.IntType(64)) if bits < 64 else value

        return types.uint64(address), generate

    return load


load8, load16, load32, load64 = _loader(8), _loader(16), _loader(32), _loader(64)


@intrinsic
def prefetch(_context: Any, address: Any) -> Any:
    """Ask for the cache line at an address; an address that is not mapped does no harm."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        )
        pointer = builder.inttoptr(arguments[0], byte)
        builder.call(function, [pointer, number(0), number(3), number(1)])
        return _target.get_dummy_value()

    return types.void(address), generate


@intrinsic
def fma(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


LANES = 8
"""Radii side by side in a vector: one register of AVX-512, two of AVX2."""
COLUMNS = 8
ABREAST = 8
"""Columns whose sums are in registers together, for Z and Z_log."""


@intrinsic
def add_products(
    _context: Any, Z: Any, Z_log: Any, u: Any, v: Any, log_p: Any, rows: Any, neurons: Any
) -> Any:
    """Add, neuron after neuron, u[m] * v[n] to Z[m, n] and u[m] * log_p * v[n] to Z_log[m, n].

    Every element is `LANES` float64: Z, Z_log [rows, COLUMNS], u [neurons, COLUMNS] (m < rows),
    v [neurons, COLUMNS], log_p [neurons]. The compiler keeps the sums in memory when it is left to
    itself; here they stay in registers while the neurons pass.
    """
    vector = ir.VectorType(ir.DoubleType(), LANES)
    integer = ir.IntType(64)

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        fused = builder.module.globals.get("llvm.fma.v8f64") or ir.Function(
            builder.module, ir.FunctionType(vector, [vector] * 3), "llvm.fma.v8f64"
        )

        def element(k: int, index: Any) -> Any:
            array = target.make_array(signature.args[k])(target, builder, arguments[k])
            base = builder.bitcast(array.data, vector.as_pointer())
            return builder.gep(base, [index])

        def load(pointer: Any) -> Any:
            value = builder.load(pointer)
            value.align = 8
            return value

        def place(index: Any, offset: int = 0) -> Any:
            return builder.add(builder.mul(index, integer(COLUMNS)), integer(offset))

        n_rows, n_neurons = arguments[5], arguments[6]
        sums = [[cgutils.alloca_once(builder, vector) for _ in range(ABREAST)] for _ in range(2)]
        for first in range(0, COLUMNS, ABREAST):
            with cgutils.for_range(builder, n_rows, intp=integer) as row:
                homes = [
                    [element(k, place(row.index, first + n)) for n in range(ABREAST)]
                    for k in range(2)
                ]
                for k in range(2):
                    for total, home in zip(sums[k], homes[k], strict=True):
                        builder.store(load(home), total)
                with cgutils.for_range(builder, n_neurons, intp=integer) as neuron:
                    left = load(element(2, builder.add(place(neuron.index), row.index)))
                    factors = (left, builder.fmul(left, load(element(4, neuron.index))))
                    for n in range(ABREAST):
                        right = load(element(3, place(neuron.index, first + n)))
                        for k in range(2):
                            total = sums[k][n]
                            builder.store(
                                builder.call(fused, [factors[k], right, builder.load(total)]), total
                            )
                for k in range(2):
                    for total, home in zip(sums[k], homes[k], strict=True):
                        builder.store(builder.load(total), home).align = 8
        return target.get_dummy_value()

    return types.void(Z, Z_log, u, v, log_p, types.int64, types.int64), generate
