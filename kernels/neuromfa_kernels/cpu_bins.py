"""Bins of wide weights: the definition itself in float64, eight weights at a time.

A division for every weight is no loss: it is done for eight at once, while the counters, one load
and one store each, are what the time goes into.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from neuromfa_kernels.cpu_jit import kernel, load32, load64
from neuromfa_kernels.cpu_vectors import LANES
from neuromfa_kernels.radius import FIRST_RADIUS, NEAR, NEAREST, NONFINITE

ROUND = 1.5 * 2.0**52
"""Added to a distance, leaves it rounded half to even in the low bits of the sum."""

_DOUBLE, _WORD, _INTEGER = ir.DoubleType(), ir.IntType(16), ir.IntType(64)


def _vector(element: Any) -> Any:
    return ir.VectorType(element, LANES)


def _all(element: Any, value: float) -> Any:
    return ir.Constant(_vector(element), [ir.Constant(element, value)] * LANES)


def _spread(builder: Any, value: Any) -> Any:
    """Make a vector of a number."""
    unset = ir.Constant(_vector(value.type), ir.Undefined)
    one = builder.insert_element(unset, value, ir.IntType(32)(0))
    return builder.shuffle_vector(one, unset, _all(ir.IntType(32), 0))


def _binner(stored: Any, size: int) -> Any:
    @intrinsic
    def bins(_context: Any, source: Any, out: Any, groups: Any, definition: Any) -> Any:
        """Write the bins (uint16) of `groups` times `LANES` weights; both are addresses.

        `definition` is the cutoff, the factor and the bin of what is farther than the cutoff.
        """

        def generate(target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            source, out, groups, definition = arguments
            cutoff, factor, above = (builder.extract_value(definition, k) for k in range(3))
            farthest, times = _spread(builder, cutoff), _spread(builder, factor)
            beyond = _spread(builder, builder.trunc(above, _WORD))
            with cgutils.for_range(builder, groups, intp=_INTEGER) as group:

                def at(base: Any, element: Any, width: int) -> Any:
                    offset = builder.mul(group.index, _INTEGER(LANES * width))
                    address = builder.add(base, offset)
                    return builder.inttoptr(address, _vector(element).as_pointer())

                weights = builder.load(at(source, stored, size))
                weights.align = size
                wide = builder.fpext(weights, _vector(_DOUBLE)) if size < 8 else weights
                unsigned = builder.and_(
                    builder.bitcast(wide, _vector(_INTEGER)), _all(_INTEGER, (1 << 63) - 1)
                )
                value = builder.bitcast(unsigned, _vector(_DOUBLE))
                distance = builder.fdiv(_all(_DOUBLE, 1.0), builder.fmul(value, times))
                rounded = builder.fadd(distance, _all(_DOUBLE, ROUND + FIRST_RADIUS - 1))
                bits = builder.bitcast(rounded, _vector(_INTEGER))
                radius = builder.trunc(bits, _vector(_WORD))
                too_far = builder.fcmp_ordered(">", distance, farthest)
                usual = builder.select(too_far, beyond, radius)
                place = at(out, _WORD, 2)
                builder.store(usual, place).align = 2
                zero = builder.fcmp_ordered("==", value, _all(_DOUBLE, 0.0))
                close = builder.fcmp_unordered("<=", distance, _all(_DOUBLE, 1.0))
                flags = builder.bitcast(builder.or_(close, zero), ir.IntType(LANES))
                rare = builder.icmp_unsigned("!=", flags, ir.IntType(LANES)(0))
                with builder.if_then(rare, likely=False):
                    near = builder.select(
                        builder.fcmp_ordered("<=", distance, _all(_DOUBLE, 0.5)),
                        _all(_WORD, NEAREST),
                        _all(_WORD, NEAR),
                    )
                    exact = builder.select(close, near, usual)
                    after = builder.add(beyond, _all(_WORD, 1))
                    exact = builder.select(zero, after, exact)
                    finite = builder.fcmp_ordered("<", value, _all(_DOUBLE, float("inf")))
                    exact = builder.select(finite, exact, _all(_WORD, NONFINITE))
                    builder.store(exact, place).align = 2
            return target.get_dummy_value()

        whole = types.int64
        return types.void(whole, whole, whole, definition), generate

    return bins


_bins_32, _bins_64 = _binner(ir.FloatType(), 4), _binner(_DOUBLE, 8)


@kernel
def _find(size: Any, address: Any, groups: Any, definition: Any, out: Any) -> None:
    if size == 4:
        _bins_32(address, out, groups, definition)
    else:
        _bins_64(address, out, groups, definition)


@kernel
def _find_apart(size: Any, place: Any, definition: Any, out: Any) -> None:
    """Bring weights that lie apart, or are too few for a vector, together first."""
    address, step, n = place
    words, double_words = np.zeros(LANES, np.uint32), np.zeros(LANES, np.uint64)
    together = words.ctypes.data if size == 4 else double_words.ctypes.data
    for k in range(n):
        if size == 4:
            words[k] = load32(address + k * step)
        else:
            double_words[k] = load64(address + k * step)
    _find(size, together, 1, definition, out)


@kernel
def find_bins(size: Any, place: Any, definition: Any, out: Any) -> None:
    """Bins of n weights of `size` bytes that lie `step` bytes apart.

    They are uint16 at the address `out`, where there is room for a multiple of `LANES`.
    """
    address, step, n = place
    groups = n // LANES if step == size else 0
    _find(size, address, groups, definition, out)
    for first in range(groups * LANES, n, LANES):
        few = (address + first * step, step, min(LANES, n - first))
        _find_apart(size, few, definition, out + np.uint64(2 * first))
