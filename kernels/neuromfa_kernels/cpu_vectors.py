"""Arithmetic on vectors of radii, written out because the compiler does not find it by itself.

An array's last axis has `LANES` float64 and is one vector; addresses should be multiples of 64.
The operations and their order are stated here to the last rounding, so no bit depends on what
registers a machine has.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from neuromfa_kernels.powers import COLUMNS

LANES = 8
"""Radii side by side in a vector: one register of AVX-512, two of AVX2."""

_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_INTEGER = ir.IntType(64)


class _Vectors:
    """The vectors of an array that is an argument of an intrinsic."""

    def __init__(self, call: tuple[Any, Any, Any, Any], argument: int) -> None:
        target, self._builder, signature, arguments = call
        array = target.make_array(signature.args[argument])(
            target, self._builder, arguments[argument]
        )
        self._first = self._builder.bitcast(array.data, _VECTOR.as_pointer())

    def _at(self, row: Any, column: int) -> Any:
        return self._builder.gep(self._first, [self._builder.add(row, _INTEGER(column))])

    def load(self, row: Any, column: int = 0) -> Any:
        value = self._builder.load(self._at(row, column))
        value.align = 8
        return value

    def store(self, value: Any, row: Any, column: int = 0) -> None:
        self._builder.store(value, self._at(row, column)).align = 8


@intrinsic
def raise_powers(_context: Any, x: Any, u: Any, v: Any, neurons: Any) -> Any:
    """From x [neurons] and u[:, 0] make v[:, n] = x^n (n > 0) and u[:, m] = u[:, 0] x^(8 m).

    u, v [neurons, COLUMNS].
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        call = (target, builder, signature, arguments)
        xs, us, vs = _Vectors(call, 0), _Vectors(call, 1), _Vectors(call, 2)
        times = builder.fmul
        with cgutils.for_range(builder, arguments[3], intp=_INTEGER) as neuron:
            row = builder.mul(neuron.index, _INTEGER(COLUMNS))
            x1 = xs.load(neuron.index)
            x2 = times(x1, x1)
            x3, x4 = times(x2, x1), times(x2, x2)
            powers = [x1, x2, x3, x4, times(x4, x1), times(x4, x2), times(x4, x3)]
            for n, power in enumerate(powers, start=1):
                vs.store(power, row, n)
            factor = times(x4, x4)
            products = [us.load(row)]
            while len(products) < COLUMNS:
                products += [times(product, factor) for product in products]
                factor = times(factor, factor)
            for m, product in enumerate(products[1:], start=1):
                us.store(product, row, m)
        return target.get_dummy_value()

    return types.void(x, u, v, types.int64), generate


@intrinsic
def add_products(
    _context: Any, Z: Any, Z_log: Any, u: Any, v: Any, log_p: Any, rows: Any, neurons: Any
) -> Any:
    """Add, neuron after neuron, u[m] * v[n] to Z[m, n] and u[m] * log_p * v[n] to Z_log[m, n].

    Z, Z_log [rows, COLUMNS], u, v [neurons, COLUMNS], log_p [neurons]. A row of Z and of Z_log is
    in registers while the neurons pass.
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        call = (target, builder, signature, arguments)
        sums = (_Vectors(call, 0), _Vectors(call, 1))
        us, vs, logs = _Vectors(call, 2), _Vectors(call, 3), _Vectors(call, 4)
        name = f"llvm.fma.v{LANES}f64"
        fma = builder.module.globals.get(name) or ir.Function(
            builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), name
        )
        cells = [
            (k, n, cgutils.alloca_once(builder, _VECTOR)) for n in range(COLUMNS) for k in (0, 1)
        ]
        with cgutils.for_range(builder, arguments[5], intp=_INTEGER) as m:
            row = builder.mul(m.index, _INTEGER(COLUMNS))
            for k, n, cell in cells:
                builder.store(sums[k].load(row, n), cell)
            with cgutils.for_range(builder, arguments[6], intp=_INTEGER) as neuron:
                own = builder.mul(neuron.index, _INTEGER(COLUMNS))
                left = us.load(builder.add(own, m.index))
                factors = (left, builder.fmul(left, logs.load(neuron.index)))
                right = [vs.load(own, n) for n in range(COLUMNS)]
                for k, n, cell in cells:
                    total = builder.call(fma, [factors[k], right[n], builder.load(cell)])
                    builder.store(total, cell)
            for k, n, cell in cells:
                sums[k].store(builder.load(cell), row, n)
        return target.get_dummy_value()

    return types.void(Z, Z_log, u, v, log_p, types.int64, types.int64), generate
