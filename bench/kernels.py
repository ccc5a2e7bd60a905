"""The kernels against the floor and against other ways, all in one run.

    python bench/kernels.py [--device cpu|cuda] [--record]

Floor of counting: the bytes of the weights over the read bandwidth measured here. Partition
functions are compared with the counting of the same layers of a 7B-shaped model. Answers are
compared with the definition before anything is timed. For GPUs see `device.py`.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

import neuromfa_kernels as nk
from neuromfa_kernels.cpu_threads import usable_threads
from record import RESULTS, machine, record

CUTOFF = 150.0
Q = np.round(np.arange(-30, 31) / 10, 1)
SIDE = 4096
POOL_BYTES = 512 << 20
"""Weights timed together: more than any cache holds."""
LAYERS_7B = ((12288, 4096), (4096, 4096), (22016, 4096), (4096, 11008))
"""Edges and neurons of the four layers of a block of a 7B Llama."""
AUTHORS_NEURONS = 16


def best(work: Callable[[], object], repeats: int = 5) -> float:
    """Shortest of several times, in seconds; the first run compiles and does not count."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def read_bandwidth(gigabytes: float = 1.0) -> float:
    """Bytes per second at which all cores together read memory."""
    values = np.ones(int(gigabytes * 1e9 / 8))
    parts = np.array_split(values, usable_threads(None) * 4)
    with ThreadPoolExecutor(usable_threads(None)) as executor:
        return values.nbytes / best(lambda: list(executor.map(np.max, parts)))


def authors_way(weights: npt.NDArray[Any]) -> list[float]:
    """The authors' procedure on the neurons of a matrix: lists, a Counter, powers one by one."""
    neighbours = []
    for column in range(weights.shape[1]):
        edges = [1.0 / abs(float(w)) for w in weights[:, column] if w != 0]
        within = [d for d in edges if 1 < d <= CUTOFF]
        if len(within) > 10:
            neighbours.append(Counter(round(d) for d in within))
    radii = sorted(set().union(*neighbours))
    measures = []
    for counter in neighbours:
        total, running = 1 + sum(counter.values()), 1
        measure = []
        for r in radii:
            running += counter.get(r, 0)
            measure.append(running / total)
        measures.append(measure)
    x = np.log(np.array(radii) / radii[-1])
    taus = []
    for q in Q:
        y = [np.log(sum(np.power(m[k], q) for m in measures)) for k in range(len(radii))]
        taus.append(float(np.polyfit(x, y, 1)[0]))
    return taus


def by_definition(weights: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Neighbour counts [radii, neurons] of columns, with NumPy in float64."""
    with np.errstate(all="ignore"):
        d = 1.0 / np.abs(weights.astype(np.float64))
        radius = np.where((d > 1) & (d <= CUTOFF), np.rint(d), 0).astype(np.int64)
    size = int(CUTOFF) + 1
    flat = radius + size * np.arange(weights.shape[1])
    counts = np.bincount(flat.reshape(-1), minlength=size * weights.shape[1])
    return counts.reshape(-1, size).T[1:]


def normal(shape: tuple[int, int], dtype: Any) -> npt.NDArray[Any]:
    """Weights as of a trained model."""
    rng = np.random.default_rng(shape[0])
    return rng.normal(0, 0.02, shape).astype(np.float32).astype(dtype)


def count_all(pool: Sequence[npt.NDArray[Any]], table: nk.RadiusTable, neuron_axis: int) -> None:
    """Count matrix after matrix, each into counts of its own, which are let go."""
    for weights in pool:
        nk.count_neighbours(weights, table, neuron_axis=neuron_axis)


def counting(floor: float) -> list[dict[str, Any]]:
    """Each type and layout, checked and timed."""
    rows = []
    for dtype in (ml_dtypes.bfloat16, np.float16, np.float32, ml_dtypes.float8_e4m3fn):
        weights = normal((SIDE, SIDE), dtype)
        table = nk.radius_table(weights.dtype, CUTOFF)
        pool = [np.roll(weights, k, axis=0) for k in range(POOL_BYTES // weights.nbytes)]
        small = weights[:, :256]
        expected = by_definition(small)
        if not np.array_equal(nk.count_neighbours(small, table, neuron_axis=1).counts, expected):
            raise ArithmeticError(f"{weights.dtype}: counts differ from the definition")
        peer = best(lambda m=small: by_definition(m), 2) / small.size  # type: ignore[misc]
        for axis, layout in ((1, "columns"), (0, "rows")):
            seconds = best(lambda p=pool, t=table, a=axis: count_all(p, t, a), 5)  # type: ignore[misc]
            total = sum(w.nbytes for w in pool)
            rows.append(
                {
                    "kind": "kernel",
                    "what": "neighbour counts",
                    "dtype": weights.dtype.name,
                    "layout": layout,
                    "bytes": total,
                    "seconds": seconds,
                    "gbytes_per_s": total / seconds / 1e9,
                    "floor_gbytes_per_s": floor / 1e9,
                    "share": total / seconds / floor,
                    "peer": "NumPy, float64 definition",
                    "ratio": peer * sum(w.size for w in pool) / seconds,
                }
            )
    return rows


def partition() -> dict[str, Any]:
    """Partition functions of a block of a 7B model, as a ratio to counting it."""
    counted = summed = 0.0
    neurons = 0
    for shape in LAYERS_7B:
        weights = normal(shape, ml_dtypes.bfloat16)
        table = nk.radius_table(weights.dtype, CUTOFF)
        found = nk.count_neighbours(weights, table, neuron_axis=1)
        counted += best(lambda w=weights, t=table: nk.count_neighbours(w, t, neuron_axis=1), 3)  # type: ignore[misc]
        summed += best(lambda c=found.counts: nk.partition_function(c, Q), 3)  # type: ignore[misc]
        neurons += shape[1]
    return {
        "kind": "kernel",
        "what": "partition functions Z and Z' of a 7B block",
        "neurons": neurons,
        "seconds": summed,
        "peer": "counting the same block",
        "ratio": counted / summed,
    }


def shown(row: dict[str, Any]) -> str:
    """One line for a row."""
    name = " ".join(str(row[k]) for k in ("what", "dtype", "layout") if k in row)
    parts = [f"{row['seconds']:.3g} s"]
    if "gbytes_per_s" in row:
        parts.append(f"{row['gbytes_per_s']:.1f} GB/s")
    if "share" in row:
        parts.append(f"{row['share']:.0%} of the floor")
    if "peer" in row:
        ratio = row["ratio"]
        parts.append(f"{row['peer']}: {'not measured' if ratio is None else f'{ratio:.2f} x'}")
    return f"{name}: {', '.join(parts)}"


def main() -> None:
    """Run, print, and record if asked to."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments.add_argument("--record", action="store_true")
    options = arguments.parse_args()
    gpu = ""
    measured = on_cpu()
    if options.device == "cuda":
        device = gpu_bench()
        gpu, measured = device.name(), device.measure(by_definition)
    print(machine(gpu))
    rows = []
    for row in measured:
        rows.append(row)
        print(shown(row), flush=True)
    if options.record:
        record(rows, RESULTS, gpu=gpu)


def gpu_bench() -> ModuleType:
    """Import the bench for GPUs, or say what it needs."""
    try:
        import device
    except ImportError as error:
        raise SystemExit(
            f"bench: {error.name} is not installed; the GPU bench needs `pip install"
            " 'neuromfa[gpu]'` and a torch built for CUDA"
        ) from None
    return device


def on_cpu() -> Iterator[dict[str, Any]]:
    """Every row of the CPU."""
    floor = read_bandwidth()
    print(f"read bandwidth {floor / 1e9:.1f} GB/s")
    yield from counting(floor)
    yield partition()


if __name__ == "__main__":
    main()
