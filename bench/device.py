"""The kernels on a GPU against its measured limits and against other ways, all in one run.

    python bench/kernels.py --device cuda [--record]

Needs a GPU, the extra `gpu`, and a torch that knows the GPU; triton and torch.compile are used if
they are there. Answers are compared first, with the definition or with the CPU's bits. Floors:
counting, the bytes of the weights over the bandwidth of a copy measured here; partition functions,
the 2 n_q multiply-adds of each (neuron, radius) over the rate of float64 multiply-adds measured
here. Times are medians of CUDA events, over inputs larger than the cache taken in turn.

"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import median
from typing import Any

import cupy
import ml_dtypes
import numpy as np
import numpy.typing as npt
import torch

import neuromfa_kernels as nk
from neuromfa_kernels import cuda
from neuromfa_kernels.cuda_arrays import on_device
from peers import PEERS

CUTOFF = 150.0
Q = np.round(np.arange(-30, 31) / 10, 1)
DTYPES = ("bfloat16", "float16", "float32", "float8_e4m3fn")
LAYERS_70B = ((10240, 8192), (8192, 8192), (57344, 8192), (8192, 28672))
"""Edges and neurons of the four layers of a block of a 70B Llama."""
BLOCKS_70B = 80
BLOCKS_COUNTED = 4
SPARE_BYTES = 8 << 30
"""Of the GPU's memory, for results beside the resident weights."""
PEER_SHAPE = (4096, 11008)
MANY_NEURONS = 6_000_000
COPY_BYTES = 4 << 30
CHECKED = 512
"""Neurons compared with the definition."""
TURNS = 4
BUSY_CYCLES = 10_000_000
"""About 5 ms."""
FMA_SOURCE = """
extern "C" __global__ void multiply_add(double* out, double a, double b, int turns) {
  double x[16];
  for (int k = 0; k < 16; ++k) x[k] = threadIdx.x + k;
  for (int turn = 0; turn < turns; ++turn)
#pragma unroll
    for (int k = 0; k < 16; ++k) x[k] = __fma_rn(x[k], a, b);
  double sum = 0;
  for (int k = 0; k < 16; ++k) sum += x[k];
  if (sum == 0.5) out[0] = sum;
}
"""

Row = dict[str, Any]
Definition = Callable[[npt.NDArray[Any]], npt.NDArray[np.int64]]


def name() -> str:
    """Name of the GPU, and what it is driven by; without one, a single sentence and the end."""
    if not torch.cuda.is_available():
        raise SystemExit(
            f"bench: torch {torch.__version__} sees no NVIDIA GPU; run it where there is one,"
            " or without --device cuda"
        )
    return f"{torch.cuda.get_device_name(0)}, cupy {cupy.__version__}, torch {torch.__version__}"


def median_seconds(work: Callable[[int], object], repeats: int = 9, *, busy: bool = False) -> float:
    """Median time of work(turn) on the GPU; the first runs compile and do not count.

    With `busy` the GPU has something else to do while the host prepares the work.
    """
    seconds = []
    for turn in range(-2, repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        if busy:
            torch.cuda._sleep(BUSY_CYCLES)
        start.record()
        work(turn % TURNS)
        end.record()
        end.synchronize()
        if turn >= 0:
            seconds.append(start.elapsed_time(end) / 1e3)
    return median(seconds)


def copy_bandwidth() -> float:
    """Bytes per second, read and written, of a copy on the GPU."""
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / median_seconds(lambda _: target.copy_(source))


def multiply_adds() -> float:
    """Float64 multiply-adds per second of the vector units."""
    kernel = cupy.RawKernel(FMA_SOURCE, "multiply_add")
    out, turns = cupy.zeros(1), 4096
    blocks = 8 * torch.cuda.get_device_properties(0).multi_processor_count
    arguments = (out, np.float64(0.5), np.float64(0.25), np.int32(turns))
    seconds = median_seconds(lambda _: kernel((blocks,), (256,), arguments))
    return blocks * 256 * 16 * turns / seconds


def normal(shape: tuple[int, int], dtype: str, seed: int = 0) -> torch.Tensor:
    """Weights as of a trained model, made on the GPU."""
    kind = getattr(torch, dtype)
    generator = torch.Generator(device="cuda").manual_seed(seed)
    if kind.itemsize > 1:
        made = torch.empty(shape, dtype=kind, device="cuda")
        return made.normal_(0, 0.02, generator=generator)
    return normal(shape, "float32", seed).to(kind)


def on_host(array: Any) -> npt.NDArray[Any]:
    """Copy a result, of whichever library, to the host."""
    if isinstance(array, torch.Tensor):
        array = array.cpu()
    return np.asarray(cupy.asnumpy(array) if isinstance(array, cupy.ndarray) else array)


def weights_on_host(weights: torch.Tensor, dtype: str) -> npt.NDArray[Any]:
    """Copy weights to the host as an array of their stored type."""
    stored = np.dtype(getattr(ml_dtypes, dtype, dtype))
    plain = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[stored.itemsize]
    copied: npt.NDArray[Any] = weights.contiguous().view(plain).cpu().numpy().view(stored)
    return copied


def count(weights: torch.Tensor, dtype: str, axis: int) -> nk.NeighbourCounts:
    """Neighbour counts on the GPU."""
    stored = np.dtype(getattr(ml_dtypes, dtype, dtype))
    table = nk.radius_table(stored, CUTOFF)
    return nk.count_neighbours(weights, table, neuron_axis=axis)


def check(by_definition: Definition) -> None:
    """Compare every type and layout with the definition, and sums and fits with the CPU's bits."""
    for dtype in DTYPES:
        weights = normal((1037, CHECKED + 3), dtype)
        host = weights_on_host(weights, dtype)
        for axis in (1, 0):
            expected = by_definition(host if axis else host.T)
            if not np.array_equal(on_host(count(weights, dtype, axis).counts), expected):
                raise ArithmeticError(f"{dtype}, axis {axis}: counts differ from the definition")
    found = count(normal((2048, 3 * nk.TILE + 7), "bfloat16"), "bfloat16", 1)
    counts, near = on_host(found.counts), on_host(found.near)
    for q in (Q, np.array([-2.5, 0.0, 0.1, 3.0])):
        here, there = nk.partition_function(found.counts, q), nk.partition_function(counts, q)
        for name, mine, other in zip(there._fields, here, there, strict=True):
            exact = name in ("counted", "observed") or len(q) == len(Q)
            tolerance = 0 if exact else 1e-12
            if not np.allclose(on_host(mine), other, rtol=tolerance, atol=0):
                raise ArithmeticError(f"{name} differs from the CPU's, q {q}")
    fits = nk.fractal_dimension(found.counts, found.near), nk.fractal_dimension(counts, near)
    for mine, other in zip(*fits, strict=True):
        if not np.array_equal(on_host(mine), other, equal_nan=True):
            raise ArithmeticError("fractal dimensions differ from the CPU's")


def counter(block: list[torch.Tensor], dtype: str, axis: int) -> Callable[[int], None]:
    """Make a function that counts several matrices together, each into counts of its own."""
    stored = np.dtype(getattr(ml_dtypes, dtype, dtype))
    table = nk.radius_table(stored, CUTOFF)
    layers = [on_device(weights, "weights") for weights in block]
    driver = layers[0].driver
    sizes = [weights.shape[axis] for weights in block]
    into = [
        nk.NeighbourCounts(
            driver.zeros((table.n_radii, n), np.uint32),
            driver.zeros((2, n), np.uint32),
            driver.zeros(4, np.int64),
        )
        for n in sizes
    ]
    jobs = list(zip([layer.array for layer in layers], into, strict=True))
    return lambda _: cuda.add_many(jobs, table, axis, driver=driver)


def counting(bandwidth: float) -> Iterator[Row]:
    """Some blocks of a 70B Llama in each type and layout against the bandwidth of a copy.

    Launched together, and the GPU kept busy until they are: what the host does is not measured.
    """
    for dtype in DTYPES:
        for axis, layout in ((1, "columns"), (0, "rows")):
            shapes = LAYERS_70B * BLOCKS_COUNTED
            block = [normal(s if axis else s[::-1], dtype) for s in shapes]
            size = sum(w.numel() * w.element_size() for w in block)
            seconds = median_seconds(counter(block, dtype, axis), busy=True)
            del block
            give_back()
            yield {
                "kind": "kernel",
                "what": f"neighbour counts of {BLOCKS_COUNTED} blocks of a 70B model on the GPU",
                "dtype": dtype,
                "layout": layout,
                "bytes": size,
                "seconds": seconds,
                "gbytes_per_s": size / seconds / 1e9,
                "floor_gbytes_per_s": bandwidth / 1e9,
                "share": size / seconds / bandwidth,
            }


def host() -> Row:
    """What a single call costs the host, without waiting for the GPU."""
    weights = normal(PEER_SHAPE, "bfloat16")
    seconds = []
    for _ in range(32):
        start = time.perf_counter()
        count(weights, "bfloat16", 1)
        seconds.append(time.perf_counter() - start)
        torch.cuda.synchronize()
    return {
        "kind": "kernel",
        "what": "the host's part of one call of count_neighbours on the GPU",
        "dtype": "bfloat16",
        "layout": "columns",
        "seconds": median(seconds),
    }


def partition(rate: float) -> Row:
    """Z and Z_log of six million neurons against the rate of multiply-adds."""
    made = count(normal(LAYERS_70B[2], "bfloat16"), "bfloat16", 1)
    one = torch.from_dlpack(made.counts).view(torch.int32)
    counts = one.repeat(1, MANY_NEURONS // one.shape[1]).view(torch.uint32)
    seconds = median_seconds(lambda _: nk.partition_function(counts, Q), 5)
    floor = 2 * len(Q) * counts.numel() / rate
    return {
        "kind": "kernel",
        "what": f"partition functions Z and Z' of {counts.shape[1]:,} neurons on the GPU",
        "neurons": counts.shape[1],
        "seconds": seconds,
        "floor_seconds": floor,
        "share": floor / seconds,
    }


def peers() -> Iterator[Row]:
    """Other ways on the same matrices, time of the GPU; what is not installed is not measured."""
    table = nk.radius_table(ml_dtypes.bfloat16, CUTOFF)
    matrices = [normal(PEER_SHAPE, "bfloat16", seed) for seed in range(TURNS)]
    expected = on_host(count(matrices[0], "bfloat16", 1).counts)
    own = median_seconds(lambda turn: count(matrices[turn], "bfloat16", 1), busy=True)
    size = matrices[0].numel() * matrices[0].element_size()
    for name, make in PEERS.items():
        ratio = None
        try:
            way = make(table, torch.device("cuda"))
        except ImportError as error:
            print(f"{name}: {error.name} is not installed")
        else:
            if not np.array_equal(on_host(way(matrices[0])), expected):
                raise ArithmeticError(f"{name}: counts differ")
            theirs = median_seconds(lambda turn, w=way: w(matrices[turn]), busy=True)  # type: ignore[misc]
            ratio = theirs / own
        yield {
            "kind": "kernel",
            "what": f"neighbour counts of one {PEER_SHAPE[0]} x {PEER_SHAPE[1]} matrix on the GPU",
            "dtype": "bfloat16",
            "layout": "columns",
            "bytes": size,
            "seconds": own,
            "gbytes_per_s": size / own / 1e9,
            "peer": name,
            "ratio": ratio,
        }


def whole_model(bandwidth: float) -> Row:
    """Everything for as many blocks of a 70B Llama as the GPU holds, weights resident.

    Layers are counted together and lie side by side, each a whole number of tiles, so that their
    sums are those of one call.
    """
    of_block = sum(2 * rows * cols for rows, cols in LAYERS_70B)
    free, _ = torch.cuda.mem_get_info()
    blocks = max(1, min(BLOCKS_70B, int(free - SPARE_BYTES) // of_block))
    shapes = LAYERS_70B * blocks
    layers = [on_device(normal(shape, "bfloat16", k), "layer") for k, shape in enumerate(shapes)]
    driver, table = layers[0].driver, nk.radius_table(ml_dtypes.bfloat16, CUTOFF)
    ends = np.cumsum([0, *(neurons for _, neurons in shapes)])
    if (ends % nk.TILE).any():
        raise ValueError(f"{shapes}: not whole tiles of {nk.TILE} neurons")

    def analyse(_: int) -> None:
        counts = driver.zeros((table.n_radii, int(ends[-1])), np.uint32)
        near, dropped = driver.zeros((2, int(ends[-1])), np.uint32), driver.zeros(4, np.int64)
        places = [slice(int(a), int(b)) for a, b in pairwise(ends)]
        into = [nk.NeighbourCounts(counts[:, at], near[:, at], dropped) for at in places]
        weights = [layer.array for layer in layers]
        cuda.add_many(zip(weights, into, strict=True), table, 1, driver=driver)
        cuda.partition_function(counts, Q, 10, driver)
        cuda.fractal_dimension(counts, near, 10, driver)

    seconds, size = median_seconds(analyse, 3), blocks * of_block
    return {
        "kind": "kernel",
        "what": f"counts, partition functions, dimensions of {blocks} of 80 blocks of a 70B model",
        "dtype": "bfloat16",
        "layout": "columns",
        "bytes": size,
        "seconds": seconds,
        "gbytes_per_s": size / seconds / 1e9,
        "floor_gbytes_per_s": bandwidth / 1e9,
        "share": size / seconds / bandwidth,
    }


def give_back() -> None:
    """Return unused memory to the GPU: torch and cupy keep what they had."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    cupy.get_default_memory_pool().free_all_blocks()


def measure(by_definition: Definition) -> Iterator[Row]:
    """Check everything, then every row."""
    check(by_definition)
    bandwidth, rate = copy_bandwidth(), multiply_adds()
    print(f"copy {bandwidth / 1e9:,.0f} GB/s, float64 {rate / 1e12:.1f} T multiply-adds/s")
    yield from counting(bandwidth)
    yield partition(rate)
    give_back()
    yield host()
    yield from peers()
    give_back()
    yield whole_model(bandwidth)
