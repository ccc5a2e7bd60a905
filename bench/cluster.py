"""What handing units to a cluster costs, what planning a very large model takes, and what follows.

    python bench/cluster.py

Measured here: the time to hand out a unit and take its answer back, through threads and through a
Dask cluster of local processes; planning Llama-3.1-405B from its headers; what one worker's thread
counts and hashes in a second; what the coordinator does for each layer. From these, on paper: how
long the model takes on 1 to 64 workers. No GPU is measured.
"""

from __future__ import annotations

import heapq
import logging
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

import neuromfa
from large_model import write_headers
from neuromfa.checkpoint import Checkpoint
from neuromfa.cluster.calls import BUNDLE_BYTES, Call, Cluster, in_tail_largest_first
from neuromfa.cluster.connecting import connect
from neuromfa.cluster.worker import digests, measure_unit
from neuromfa.groups import Totals, fit
from neuromfa.measure import UnitSums, add_up
from neuromfa.protocol import Protocol
from neuromfa.scheduler import prepare
from neuromfa.units import Unit

UNITS = 1000
LAYER = (8192, 4096)
"""Weights of the layer that is counted: 67 MB of bfloat16."""
WORKERS = (1, 2, 4, 8, 16, 32, 64)
GPU_READS = 5e9
"""Bytes a second that a worker with a GPU is assumed to read; the GPU counts faster than that."""
ALL_READ = 100e9
"""Bytes a second that the storage is assumed to give to all workers together."""


def overhead(executor: Executor, checkpoint: Checkpoint, cost: int) -> float:
    """Seconds for each of many units that take no time, said to have some bytes."""
    name = next(iter(checkpoint.tensors))
    cluster = Cluster(executor, checkpoint)
    calls = [Call(partial(digests, tensors=(name,)), (name,), cost)] * UNITS
    seconds = []
    for _ in range(3):  # the first imports and connects
        start = time.perf_counter()
        for _ in cluster.answers(calls):
            pass
        seconds.append(time.perf_counter() - start)
    return min(seconds) / UNITS


def handing_over(checkpoint: Checkpoint) -> float:
    """Print what a unit costs through threads and Dask; that of large ones through Dask."""
    from distributed import LocalCluster

    costs = {"units of less than 4 MB, eight at a time": 1, "larger ones": BUNDLE_BYTES}
    with (
        ThreadPoolExecutor(2) as threads,
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as local,
        connect(cluster=local.scheduler_address) as dask,
    ):
        assert dask is not None
        for name, executor in (("threads", threads), ("Dask", dask)):
            for size, cost in costs.items():
                seconds = overhead(executor, checkpoint, cost)
                print(f"handing over, {name}: {1e3 * seconds:.2f} ms a unit ({size})")
        each = time.perf_counter()
        for future in [dask.submit(abs, number) for number in range(UNITS)]:
            future.result()
        each = (time.perf_counter() - each) / UNITS
        print(f"Dask alone, calling abs: {1e3 * each:.2f} ms a call")
    return seconds


def plan_headers(folder: Path) -> tuple[float, int]:
    """Seconds and highest memory of ``neuromfa plan``, the interpreter's included."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "neuromfa", "plan", str(folder), "--json"],
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return time.perf_counter() - start, usage.ru_maxrss << 10


def one_worker(folder: Path) -> tuple[float, float, UnitSums]:
    """Bytes a second that one thread counts, and hashes, of weights in memory; and its answer."""
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 0.02, LAYER).astype(np.float32).astype(ml_dtypes.bfloat16)
    save_file({"map": weights}, folder / "layer.safetensors")
    protocol = Protocol()
    with prepare(folder / "layer.safetensors", protocol, memory=1 << 30, threads=1) as job:
        layer = job.network.layers[0]
        unit = Unit(0, 0, layer.neurons, weights.nbytes)
        rates = []
        for hashed in ((), ("map",)):
            seconds = []
            for _ in range(4):  # the first compiles
                start = time.perf_counter()
                sums, _ = measure_unit(
                    job.checkpoint, layer, unit, protocol, {}, hashed=hashed, chunk_bytes=0
                )
                seconds.append(time.perf_counter() - start)
            rates.append(min(seconds))
    counting, both = rates
    return weights.nbytes / counting, weights.nbytes / max(both - counting, 1e-9), sums


def coordinator(folder: Path, sums: UnitSums) -> tuple[float, float]:
    """Seconds for each layer of the large model, and once at the end: adding up and fitting."""
    protocol = Protocol()
    with prepare(folder, protocol) as job:
        layers = job.network.layers
        totals = Totals(protocol)
        start = time.perf_counter()
        for layer in layers:
            measured, _ = add_up([sums], protocol)
            totals.add(layer, measured)
            fit(layer.name, measured, protocol, layer=layer)
        each = (time.perf_counter() - start) / len(layers)
        start = time.perf_counter()
        totals.network(), totals.blocks(), totals.roles(), totals.log_partition_function()
        return each, time.perf_counter() - start


def makespan(costs: list[float], workers: int) -> float:
    """When the last worker ends, if each takes the next unit as soon as it is free."""
    free = [0.0] * workers
    for cost in costs:
        heapq.heappush(free, heapq.heappop(free) + cost)
    return max(free)


def model(folder: Path, counting: float, hashing: float, *, each: float, shared: bool) -> None:
    """Print, for each number of workers, how long the large model should take."""
    with prepare(folder, Protocol(), threads=1) as job:
        units = [unit.weight_bytes for unit in job.plan.units]
        known = {tensor for layer in job.network.layers for tensor in layer.tensors}
        others = [ref.nbytes for name, ref in job.checkpoint.tensors.items() if name not in known]
    order = in_tail_largest_first(units + others)
    first = 0.0
    for workers in WORKERS:
        most = ALL_READ / workers if shared else np.inf
        costs = [size * (1 / min(counting, most) + 1 / hashing) for size in units]
        costs += [size * (1 / min(hashing, most)) for size in others]
        seconds = max(makespan([costs[k] for k in order], workers), len(units) * each)
        first = first or seconds
        gain = first / seconds
        print(f"  {workers:3} workers: {seconds:7.1f} s, {gain:5.1f} times one worker")


def main() -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory(prefix="neuromfa-bench-") as name:
        folder = Path(name)
        save_file({"map": np.ones((16, 16), np.float32)}, folder / "small.safetensors")
        with neuromfa.open_checkpoint(folder / "small.safetensors") as checkpoint:
            handing = handing_over(checkpoint)
        large = folder / "405b"
        files = write_headers(large)
        seconds, memory = plan_headers(large)
        print(f"plan of Llama-3.1-405B, {files} files: {seconds:.2f} s, {memory / 1e6:.0f} MB")
        counting, hashing, sums = one_worker(folder)
        print(f"one thread: counts {counting / 1e9:.2f} GB/s, hashes {hashing / 1e9:.1f} GB/s")
        each, last = coordinator(large, sums)
        print(f"coordinator: {1e3 * each:.2f} ms a layer, {last:.2f} s at the end")
        each += handing
        print("on paper, Llama-3.1-405B, workers of one thread at these rates:")
        model(large, counting, hashing, each=each, shared=False)
        print(
            f"on paper, workers with a GPU that take {GPU_READS / 1e9:g} GB/s each from storage, "
            f"which gives {ALL_READ / 1e9:g} GB/s in all (both assumed), and hash at this rate:"
        )
        model(large, GPU_READS, hashing, each=each, shared=True)


if __name__ == "__main__":
    main()
