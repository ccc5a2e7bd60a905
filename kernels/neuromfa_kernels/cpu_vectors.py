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

from neuromfa_kernels.cpu_jit import broadcast
from neuromfa_kernels.powers import COLUMNS, LN_HIGH, LN_LOW, POWER_H, POWER_Q0

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


def _columns(builder: Any, rows: list[Any]) -> list[Any]:
    """Four columns of eight rows of four numbers: three shuffles of two vectors for each."""

    def shuffled(a: Any, b: Any, *order: int) -> Any:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
        return builder.shuffle_vector(a, b, mask)

    pairs = [shuffled(rows[k], rows[k + 4], *range(8)) for k in range(4)]
    even = [shuffled(pairs[k], pairs[k + 1], 0, 8, 2, 10, 4, 12, 6, 14) for k in (0, 2)]
    odd = [shuffled(pairs[k], pairs[k + 1], 1, 9, 3, 11, 5, 13, 7, 15) for k in (0, 2)]
    low, high = (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)
    return [shuffled(*halves, *order) for order in (low, high) for halves in (even, odd)]


@intrinsic
def look_up(
    _context: Any, powers: Any, within: Any, place: Any, total: Any, out: Any, neuron: Any
) -> Any:
    """From N_i(r) at `LANES` radii and N_i(T) make p^h, p^q_0 and ln p, by `power_table`.

    `within` [neurons, radii] is read at `place`, counted in numbers; `out` is x, u and log_p, as
    below.
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        powers, within, place, total, out, neuron = arguments
        four = ir.VectorType(ir.DoubleType(), 4)
        table = target.make_array(signature.args[0])(target, builder, powers).data
        counts = target.make_array(signature.args[1])(target, builder, within).data
        table = builder.bitcast(table, four.as_pointer())

        def row(number: Any) -> Any:
            value = builder.load(builder.gep(table, [builder.zext(number, _INTEGER)]))
            value.align = 8
            return value

        def number(k: int) -> Any:
            return builder.load(builder.gep(counts, [builder.add(place, _INTEGER(k))]))

        def spread(value: Any) -> Any:
            return broadcast(builder, value, LANES)

        total = builder.trunc(total, ir.IntType(32))
        one = ir.DoubleType()(1.0)
        last = [builder.extract_element(row(total), ir.IntType(32)(k)) for k in range(4)]
        within = [number(k) for k in range(LANES)]
        found = _columns(builder, [row(n) for n in within])
        reached = ir.Constant(ir.VectorType(ir.IntType(32), LANES), ir.Undefined)
        for k, n in enumerate(within):
            reached = builder.insert_element(reached, n, ir.IntType(32)(k))
        is_one = builder.icmp_unsigned("==", reached, spread(total))
        answers = []
        for column in (POWER_H, POWER_Q0):
            quotient = builder.fmul(found[column], spread(builder.fdiv(one, last[column])))
            answers.append(builder.select(is_one, spread(one), quotient))
        high, low = (builder.fsub(found[k], spread(last[k])) for k in (LN_HIGH, LN_LOW))
        answers.append(builder.fadd(high, low))
        arrays = cgutils.unpack_tuple(builder, out)
        for array, kind, answer, columns in zip(
            arrays, signature.args[4], answers, (1, COLUMNS, 1), strict=True
        ):
            data = target.make_array(kind)(target, builder, array).data
            data = builder.bitcast(data, _VECTOR.as_pointer())
            where = builder.gep(data, [builder.mul(neuron, _INTEGER(columns))])
            builder.store(answer, where).align = 8
        return target.get_dummy_value()

    wanted = types.int64, types.uint64, out, types.int64
    return types.void(powers, within, *wanted), generate


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
