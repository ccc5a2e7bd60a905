"""Slots of weights, a vector of them at a time and in registers.

A slot is one counter of one neuron of a strip. What is farther than the cutoff is told from the
codes and left out; for the rest the definition itself is computed. That has a beginning and an end,
between which there is time for something else: a division takes as long as many hits.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from neuromfa_kernels.cpu_jit import broadcast, has_feature
from neuromfa_kernels.radius import FIRST_RADIUS, NEAR, NEAREST, NONFINITE

LANES = 32
"""Weights of a step."""
EVERY_LANE = (1 << LANES) - 1
_WORD, _INTEGER, _BITS = ir.IntType(16), ir.IntType(64), ir.IntType(LANES)


def _vector(element: Any) -> Any:
    return ir.VectorType(element, LANES)


def _all(element: Any, value: float) -> Any:
    return ir.Constant(_vector(element), [ir.Constant(element, value)] * LANES)


def _spread(builder: Any, value: Any) -> Any:
    return broadcast(builder, value, LANES)


def _at(builder: Any, address: Any, element: Any) -> Any:
    return builder.inttoptr(address, element.as_pointer())


def _load(builder: Any, address: Any, element: Any) -> Any:
    value = builder.load(_at(builder, address, element))
    value.align = 1
    return value


def _distances(builder: Any, codes: Any, work: Any, definition: Any) -> Any:
    """The definition, in float32 or float64: what it is where nothing is in range matters to none.

    A type of 16 bits, its exponent moved to where float32 has it, needs only a factor.
    """
    shift, times = definition
    stored = codes.type.element
    single = ir.FloatType()
    if stored.width == 16:
        wide = builder.zext(codes, _vector(ir.IntType(32)))
        codes = builder.shl(wide, _spread(builder, builder.trunc(shift, ir.IntType(32))))
    values = builder.bitcast(codes, _vector(work if stored.width == 64 else single))
    if work != single:
        times = _spread(builder, times)
        values = builder.fpext(values, _vector(work)) if stored.width < 64 else values
    else:
        times = _spread(builder, builder.fptrunc(times, single))
    return _divide(builder, _all(work, 1.0), builder.fmul(values, times))


def _divide(builder: Any, one: Any, values: Any) -> Any:
    """Divide here: what might raise an exception is not moved behind the hits by the compiler."""
    bits = 32 if isinstance(one.type.element, ir.FloatType) else 64
    name = f"llvm.experimental.constrained.fdiv.v{LANES}f{bits}"
    modes = ("round.tonearest", "fpexcept.strict")
    said = [ir.MetaDataString(builder.module, mode) for mode in modes]
    kind = ir.FunctionType(one.type, [one.type, one.type, ir.MetaDataType(), ir.MetaDataType()])
    divide = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(divide, [one, values, *said])


def _radii(builder: Any, distances: Any) -> tuple[Any, Any]:
    """Bins of distances in range, and how far the distances are from their radii.

    Adding a large number rounds half to even, into the low bits.
    """
    work = distances.type.element
    single = isinstance(work, ir.FloatType)
    large = _all(work, 1.5 * 2.0 ** (23 if single else 52) + FIRST_RADIUS - 1)
    rounded = builder.fadd(distances, large)
    bits = builder.bitcast(rounded, _vector(ir.IntType(32 if single else 64)))
    off = builder.fsub(distances, builder.fsub(rounded, large))
    return builder.trunc(bits, _vector(_WORD)), off


def _doubtful(builder: Any, off: Any, sure: Any) -> Any:
    """Where float32 is so near the middle of two radii that float64 might see another one."""
    absolute = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(off.type, [off.type]), f"llvm.fabs.v{LANES}f32"
    )
    sure = _spread(builder, builder.fptrunc(sure, ir.FloatType()))
    return builder.fcmp_unordered(">=", builder.call(absolute, [off]), sure)


def _write(builder: Any, slots: Any, kept: Any, out: Any) -> Any:
    """Write the slots of the lanes that are kept, without gaps; where the next ones go."""
    name = f"llvm.experimental.vector.compress.v{LANES}i16"
    kind = ir.FunctionType(slots.type, [slots.type, kept.type, slots.type])
    compress = cgutils.get_or_insert_function(builder.module, kind, name)
    packed = builder.call(compress, [slots, kept, ir.Constant(slots.type, ir.Undefined)])
    builder.store(packed, _at(builder, out, slots.type)).align = 2
    written = builder.ctpop(builder.bitcast(kept, _BITS))
    return builder.add(out, builder.shl(builder.zext(written, _INTEGER), _INTEGER(1)))


class Lanes(types.Type):  # type: ignore[misc]
    """A vector of `LANES` numbers, in registers."""

    def __init__(self, element: Any) -> None:
        self.element = element
        super().__init__(f"Lanes({element})")


@register_model(Lanes)
class _Registers(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _vector(manager.lookup(kind.element).get_value_type()))


@intrinsic
def begin(_context: Any, kind: Any, address: Any, definition: Any) -> Any:
    """Codes of `LANES` weights at an address, and their distances.

    `kind` is two numbers, of the types of the codes and of the arithmetic. `definition` is, of
    `RadiusTable.bounds`, the smallest code in range, and of the bins `NEAR`, `NEAREST` and
    `NONFINITE`, then the bins `above` and `zero`, then shift and factor, and how far from its
    radius a distance in float32 may be.
    """
    code, work = kind

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, address, definition = arguments
        stored, real = target.get_value_type(code), target.get_value_type(work)
        *_, shift, times, _ = cgutils.unpack_tuple(builder, definition)
        codes = _load(builder, address, _vector(stored))
        codes = builder.and_(codes, _all(stored, (1 << (stored.width - 1)) - 1))
        distances = _distances(builder, codes, real, (shift, times))
        return target.make_tuple(builder, signature.return_type, [codes, distances])

    lanes = types.Tuple((Lanes(code), Lanes(work)))
    return lanes(kind, address, definition), generate


@intrinsic
def finish(_context: Any, begun: Any, first: Any, lanes: Any, definition: Any, out: Any) -> Any:
    """Write the slots of weights, without gaps; the address behind them.

    `first` is the address of the first slots of their neurons, `lanes` the bits of those lanes that
    count.
    """

    def generate(target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        begun, first, lanes, definition, out = arguments
        codes, distances = cgutils.unpack_tuple(builder, begun)
        stored = codes.type.element
        *bounds, above, zero, shift, times, sure = cgutils.unpack_tuple(builder, definition)
        least, near, nearest, nonfinite = (
            _spread(builder, builder.trunc(b, stored) if stored.width < 64 else b) for b in bounds
        )
        above, zero = (_spread(builder, builder.trunc(b, _WORD)) for b in (above, zero))
        one = _all(stored, 1)
        before = builder.sub(codes, one)  # zero becomes the largest
        in_range = builder.icmp_unsigned(">=", before, builder.sub(least, one))
        kept = builder.bitcast(builder.trunc(lanes, _BITS), in_range.type)
        bins, off = _radii(builder, distances)
        place = cgutils.alloca_once_value(builder, bins)
        rare = builder.icmp_unsigned(">=", before, builder.sub(near, one))
        checked = stored.width == 32 and isinstance(distances.type.element, ir.FloatType)
        if checked:
            rare = builder.or_(rare, builder.and_(in_range, _doubtful(builder, off, sure)))
        any_rare = builder.icmp_unsigned("!=", builder.bitcast(rare, _BITS), _BITS(0))
        with builder.if_then(any_rare, likely=False):
            exact = builder.load(place)
            if checked:
                again = _distances(builder, codes, ir.DoubleType(), (shift, times))
                exact, _ = _radii(builder, again)
            for bound, b in ((near, NEAR), (nearest, NEAREST), (nonfinite, NONFINITE)):
                reached = builder.icmp_unsigned(">=", codes, bound)
                exact = builder.select(reached, _all(_WORD, b), exact)
            is_zero = builder.icmp_unsigned("==", codes, _all(stored, 0))
            builder.store(builder.select(is_zero, zero, exact), place)
        bins = builder.load(place)
        if has_feature(target, "avx512vbmi2"):
            kept = builder.and_(in_range, kept)
        else:  # packing costs more than it saves: far weights are hit as well
            bins = builder.select(in_range, bins, above)
        firsts = _load(builder, first, _vector(_WORD))
        return _write(builder, builder.add(firsts, bins), kept, out)

    return types.uint64(begun, first, lanes, definition, out), generate
