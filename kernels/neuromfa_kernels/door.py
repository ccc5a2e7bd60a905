"""The checks that all three operations share: where an array lies, what it holds, what fits it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

import numpy as np

from neuromfa_kernels import cpu_memory
from neuromfa_kernels.answers import NeighbourCounts
from neuromfa_kernels.arrays import as_array, lies_on_gpu

if TYPE_CHECKING:
    from neuromfa_kernels.cuda_driver import Driver


class Given(NamedTuple):
    """An array, and where it lies: `driver` is None in the main memory."""

    array: Any
    dtype: np.dtype[Any]
    driver: Driver | None
    threads: int


def given_array(source: Any, name: str, threads: int | None) -> Given:
    """View an array, wherever it lies: that is where the work is done."""
    if not lies_on_gpu(source):
        array = as_array(source, name)
        return Given(array, array.dtype, None, _usable(threads))
    if threads is not None:
        raise ValueError(f"threads {threads}: are of the CPU; {name} lies on a GPU")
    from neuromfa_kernels import cuda_arrays

    return Given(*cuda_arrays.on_device(source, name), 0)


def same_place(source: Any, name: str, driver: Driver | None) -> Any:
    """View a second array of a call, which must lie where the first does."""
    if lies_on_gpu(source) != (driver is not None):
        where = "the main memory" if driver is None else driver.name
        raise TypeError(f"{name}: does not lie in {where}, as the other array does")
    given = given_array(source, name, None)
    if driver is not None and given.driver is not None and given.driver.device != driver.device:
        raise TypeError(f"{name}: lies on {given.driver.name}, the other array on {driver.name}")
    return given.array


def given_counts(counts: Any, threads: int | None) -> Given:
    """View neighbour counts [n_radii, n_neurons], wherever they lie."""
    given = given_array(counts, "counts", threads)
    if given.dtype != np.uint32:
        raise TypeError(f"counts: are {given.dtype.str} {given.dtype}; must be uint32")
    if given.array.ndim != 2 or not given.array.shape[0]:
        raise ValueError(f"counts: have shape {given.array.shape}; must be (n_radii, n_neurons)")
    return given


def new_counts(n_radii: int, n: int, driver: Driver | None) -> NeighbourCounts:
    """Make counts of nothing: on the CPU a neuron's, on a GPU a radius' are adjacent."""
    if driver is None:
        counts = cpu_memory.zeros((n, n_radii), np.uint32).T
        return NeighbourCounts(counts, np.zeros((2, n), np.uint32), np.zeros(4, np.int64))
    shapes = (((n_radii, n), np.uint32), ((2, n), np.uint32), ((4,), np.int64))
    return NeighbourCounts(*(driver.zeros(shape, dtype) for shape, dtype in shapes))


def outputs(
    into: NeighbourCounts, shape: tuple[int, int], driver: Driver | None
) -> NeighbourCounts:
    """View and check the arrays that are added to."""
    wanted = (("counts", np.uint32, shape), ("near", np.uint32, (2, shape[1])))
    found = []
    for source, (name, dtype, size) in zip(
        into, (*wanted, ("dropped", np.int64, (4,))), strict=True
    ):
        if driver is None and not isinstance(source, np.ndarray):
            raise TypeError(f"into.{name}: is {type(source).__name__}; must be a NumPy array")
        array = same_place(source, f"into.{name}", driver)
        if array.dtype != dtype:
            raise TypeError(f"into.{name}: is {array.dtype}; must be a {np.dtype(dtype)} array")
        if array.shape != size:
            raise ValueError(f"into.{name}: has shape {array.shape}; must be {size}")
        if driver is None and not array.flags.writeable:
            raise ValueError(f"into.{name}: is read-only")
        found.append(array)
    return NeighbourCounts(*found)


def whole(value: SupportsIndex, name: str, least: int) -> int:
    """Take a whole number that is at least `least`."""
    try:
        number = value.__index__()
    except AttributeError:
        raise TypeError(f"{name} {value!r}: must be a whole number") from None
    if number < least:
        raise ValueError(f"{name} {number}: must be at least {least}")
    return number


def _usable(threads: int | None) -> int:
    if threads is not None:
        return whole(threads, "threads", 1)
    return len(os.sched_getaffinity(0))
