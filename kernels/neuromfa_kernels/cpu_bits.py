"""Rows of bits: 512 yes-or-no answers in a register, and what can be said of them at once.

A row is eight words of 64 bits. Where a machine has AVX-512, any function of three rows is one
instruction, and with GFNI codes are taken apart without leaving registers; elsewhere both are a few
instructions more.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from neuromfa_kernels.cpu_jit import broadcast, has_feature

WORDS, WORD = 8, 64
"""Words of a row, and bits of a word."""
ROW = WORDS * WORD // 8
"""Bytes of a row; rows lie at multiples of it."""
DIGITS = 7
"""Bits of a code without its sign."""

_BYTE, _INTEGER = ir.IntType(8), ir.IntType(64)
_BITS, _CODES = ir.VectorType(_INTEGER, WORDS), ir.VectorType(_BYTE, WORD)
_NONE, _ALL = ir.Constant(_BITS, None), ir.Constant(_BITS, [_INTEGER(-1)] * WORDS)
_REACHED, _CHOSEN = 0b11111000, 0b11001010


class Bits(types.Type):  # type: ignore[misc]
    """A row of bits in a register."""


BITS = Bits("Bits")


@register_model(Bits)
class _Register(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _BITS)


def _at(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _BITS.as_pointer())


def _add_numbers(builder: Any, address: Any, values: Any, chosen: Any = None) -> None:
    """Add numbers uint32 to those at an address, or only where a bit is set."""
    place = builder.inttoptr(address, values.type.as_pointer())
    before = builder.load(place)
    before.align = 4
    after = builder.add(before, values)
    if chosen is not None:
        after = builder.select(chosen, after, before)
    builder.store(after, place).align = 4


def _of_three(target: Any, builder: Any, truth: int, rows: Any) -> Any:
    """`_REACHED`: a, or both b and c. `_CHOSEN`: b where a has a bit, else c."""
    if has_feature(target, "avx512f"):
        kind = ir.FunctionType(_BITS, [_BITS, _BITS, _BITS, ir.IntType(32)])
        name = "llvm.x86.avx512.pternlog.q.512"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, [*rows, ir.IntType(32)(truth)])
    a, b, c = rows
    if truth == _REACHED:
        return builder.or_(a, builder.and_(b, c))
    return builder.xor(c, builder.and_(a, builder.xor(b, c)))


@intrinsic
def get(_context: Any, address: Any) -> Any:
    """Return the row at an address."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        value = builder.load(_at(builder, arguments[0]))
        value.align = ROW
        return value

    return BITS(address), generate


@intrinsic
def put(_context: Any, row: Any, address: Any) -> Any:
    """Store a row at an address."""

    def generate(target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        builder.store(arguments[0], _at(builder, arguments[1])).align = ROW
        return target.get_dummy_value()

    return types.void(row, address), generate


@intrinsic
def reached(_context: Any, above: Any, equal: Any, low: Any) -> Any:
    """Where numbers reach a bound: their high digits do more than that, or do and so do the low."""

    def generate(target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _of_three(target, builder, _REACHED, arguments)

    return BITS(above, equal, low), generate


@intrinsic
def add(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Add three rows, bit by bit: the low and the high digits of the sums."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b, c = arguments
        differ = builder.xor(a, b)
        high = _of_three(target, builder, _CHOSEN, (differ, c, a))
        return target.make_tuple(builder, signature.return_type, (builder.xor(differ, c), high))

    return types.UniTuple(BITS, 2)(a, b, c), generate


@intrinsic
def add_lanes(_context: Any, word: Any, digit: Any, totals: Any) -> Any:
    """Add the bits of a word, as this binary digit, to `WORD` numbers uint32 at an address."""

    def generate(target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word, digit, totals = arguments
        value = builder.shl(ir.IntType(32)(1), builder.trunc(digit, ir.IntType(32)))
        bits = builder.bitcast(word, ir.VectorType(ir.IntType(1), WORD))
        _add_numbers(builder, totals, broadcast(builder, value, WORD), bits)
        return target.get_dummy_value()

    return types.void(types.uint64, types.uint64, totals), generate


@intrinsic
def add_words(_context: Any, row: Any, digit: Any, totals: Any) -> Any:
    """Add how many bits each word of a row has, times 2^digit, to `WORDS` numbers uint32."""

    def generate(target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        row, digit, totals = arguments
        count = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_BITS, [_BITS]), f"llvm.ctpop.v{WORDS}i64"
        )
        found = builder.shl(builder.call(count, [row]), broadcast(builder, digit, WORDS))
        found = builder.trunc(found, ir.VectorType(ir.IntType(32), WORDS))
        _add_numbers(builder, totals, found)
        return target.get_dummy_value()

    return types.void(BITS, types.uint64, totals), generate


def _digits(builder: Any, codes: list[Any]) -> list[Any]:
    """Take words of codes apart: a row for each digit, the highest first."""
    rows = [cgutils.alloca_once(builder, _BITS) for _ in range(DIGITS)]
    for word, code in enumerate(codes):
        shifted = code
        for row in rows:
            shifted = builder.add(shifted, shifted)
            negative = builder.icmp_signed("<", shifted, ir.Constant(_CODES, None))
            place = builder.bitcast(row, _INTEGER.as_pointer())
            builder.store(builder.bitcast(negative, _INTEGER), builder.gep(place, [_INTEGER(word)]))
    return [builder.load(row) for row in rows]


def _digits_by_gfni(builder: Any, codes: list[Any]) -> list[Any]:
    """Do the same in registers, as three transpositions: of bits, of bytes, of words."""

    def shuffled(a: Any, b: Any, order: list[int]) -> Any:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
        return builder.shuffle_vector(a, b, mask)

    kind = ir.FunctionType(_CODES, [_CODES, _CODES, _BYTE])
    affine = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.vgf2p8affineqb.512")
    each_bit = ir.Constant(_CODES, [_BYTE(1 << k) for k in range(8)] * WORDS)
    backwards = [8 * k + 7 - n for k in range(WORDS) for n in range(8)]
    by_digit = [8 * k + n for n in range(8) for k in range(WORDS)]
    rows = []
    for code in codes:
        turned = builder.call(affine, [each_bit, shuffled(code, code, backwards), _BYTE(0)])
        rows.append(builder.bitcast(shuffled(turned, turned, by_digit), _BITS))
    for apart in (1, 2, 4):  # exchange a bit of the word's number for one of the row's
        for k in range(WORDS):
            if not k & apart:
                a, b = rows[k], rows[k + apart]
                low = [n if not n & apart else n + WORDS - apart for n in range(WORDS)]
                rows[k] = shuffled(a, b, low)
                rows[k + apart] = shuffled(a, b, [n + apart for n in low])
    return rows[DIGITS - 1 :: -1]


def _reach_all(target: Any, builder: Any, digits: list[Any]) -> list[Any]:
    """Where numbers reach 0, 1, ... and 2^n - 1, by rows of their n digits, the highest first."""
    if not digits:
        return [_ALL]
    low = _reach_all(target, builder, digits[1:])
    bounds = ((digits[0], _ALL), (_NONE, digits[0]))
    return [_of_three(target, builder, _REACHED, (*b, c)) for b in bounds for c in low]


@intrinsic
def reach(_context: Any, codes: Any, by_word: Any, n_high: Any, out: Any, step: Any) -> Any:
    """Say where the digits of 512 codes of 8 bits reach every number.

    The codes are words of 64, `by_word` bytes apart. At `out`, `step` bytes apart, are stored the
    rows for the numbers 1, 2 and so on, of the `n_high` high digits, which is written out; two are
    left out, that for one more and that for zero, which never change; then follow the low digits.
    """
    if not isinstance(n_high, types.IntegerLiteral):
        return None

    def generate(target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, by_word, _, out, step = arguments
        codes = []
        for _ in range(WORDS):
            codes.append(builder.load(builder.inttoptr(address, _CODES.as_pointer())))
            codes[-1].align = 1
            address = builder.add(address, by_word)
        wide = has_feature(target, "gfni") and has_feature(target, "avx512f")
        digits = (_digits_by_gfni if wide else _digits)(builder, codes)
        n = n_high.literal_value
        for part in (digits[:n], digits[n:]):
            for row in _reach_all(target, builder, part)[1:]:
                builder.store(row, _at(builder, out)).align = ROW
                out = builder.add(out, step)
            out = builder.add(out, builder.add(step, step))
        return target.get_dummy_value()

    return types.void(codes, by_word, n_high, out, step), generate
