"""What numba lacks: unaligned loads from an address, prefetch, and a fused multiply-add.

numba's cache does not see changes of functions imported from another file: after editing this
file delete the ``__pycache__`` folders.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, and keep the machine code where a folder for it can be written."""
    compiled: Any
    try:
        compiled = njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no place for the cache, e.g. a read-only installation without a home
        compiled = njit(**_OPTIONS)(function)
    else:
        save = compiled._cache.save_overload

        def save_if_there_is_room(*overload: Any) -> None:
            with suppress(OSError):  # a full disk: the next process compiles again
                save(*overload)

        compiled._cache.save_overload = save_if_there_is_room
    return cast("Callable[..., Any]", compiled)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile into whatever kernel calls it: what that one keeps in registers stays there."""
    return cast("Callable[..., Any]", njit(forceinline=True, **_OPTIONS)(function))


def broadcast(builder: Any, value: Any, lanes: int) -> Any:
    """Make a vector of a number, in code that is being generated."""
    unset = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(unset, value, ir.IntType(32)(0))
    return builder.shuffle_vector(
        one, unset, ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
    )


def has_feature(target: Any, feature: str) -> bool:
    """Whether the processor that code is being generated for has instructions of that name."""
    return f"+{feature}" in target.codegen().magic_tuple()[2]


@intrinsic
def load(_context: Any, address: Any, like: Any) -> Any:
    """Return the number stored at an address, aligned or not, of the type of `like`."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], arguments[1].type.as_pointer())
        value = builder.load(place)
        value.align = 1
        return value

    return like(address, like), generate


@intrinsic
def count(_context: Any, counters: Any, index: Any, one: Any) -> Any:
    """Add one to a counter of the type of `one`, in a table of them at an address."""

    def generate(target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        table = builder.inttoptr(arguments[0], arguments[2].type.as_pointer())
        place = builder.gep(table, [arguments[1]])
        builder.store(builder.add(builder.load(place), arguments[2]), place)
        return target.get_dummy_value()

    return types.void(counters, index, one), generate


@intrinsic
def prefetch(_context: Any, address: Any, near: Any) -> Any:
    """Ask for the cache line at an address; an address that is not mapped does no harm.

    `near` is written out: 3 for the first-level cache, 2 for the second.
    """
    if not isinstance(near, types.IntegerLiteral):
        return None

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        )
        pointer = builder.inttoptr(arguments[0], byte)
        builder.call(function, [pointer, number(0), number(near.literal_value), number(1)])
        return _target.get_dummy_value()

    return types.void(address, near), generate


@intrinsic
def fma(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate
