"""Neighbourhoods of two hops through a pair of layers of a 7B model: time and memory, in one run.

    python bench/hops.py [--hidden 4096] [--inner 11008] [--record]

Writes a pair of bfloat16 matrices, hidden -> inner -> hidden, with normal weights, and analyses all
neurons of the first in a fresh process. The plain (min,+) product of NumPy over a few neurons is
the peer; its answers are compared before any ratio is printed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

import neuromfa
from neuromfa_kernels.hops import extend_paths
from record import RESULTS, record

CUTOFF = 150.0
PEER_NEURONS = 8


def distances(weights: np.ndarray) -> np.ndarray:
    """Float64 distances [neurons, outputs]; infinite out of range."""
    found = 1.0 / np.abs(weights.T.astype(np.float64))
    found[~((found > 1) & (found <= CUTOFF))] = np.inf
    return np.ascontiguousarray(found)


def peer(up: np.ndarray, down: np.ndarray) -> float:
    """Seconds that NumPy's plain product takes for a neuron, after a comparison."""
    ways, lengths = distances(up[:, :PEER_NEURONS]), distances(down)
    start = time.perf_counter()
    plain = np.array([(way[:, None] + lengths).min(axis=0) for way in ways])
    seconds = (time.perf_counter() - start) / PEER_NEURONS
    ours = extend_paths(ways, lengths, cutoff=CUTOFF)
    np.testing.assert_array_equal(np.where(ours <= CUTOFF, ours, np.inf)[plain <= CUTOFF],
                                  plain[plain <= CUTOFF])  # fmt: skip
    return seconds


def worker(path: str) -> None:
    """Analyse in this process and print what it took, as JSON."""
    found = {}
    for name in ("first", "second"):  # the first also compiles
        wall, processor = time.perf_counter(), time.process_time()
        analysis = neuromfa.analyse_hops(path, 2, layers=["0.mlp_input"])
        found[name] = (time.perf_counter() - wall, time.process_time() - processor)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    group = analysis.layers[0]
    print(json.dumps({**found, "peak": peak, "reached": group.edges_in_range}))


def main() -> None:
    """Run and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--hidden", type=int, default=4096)
    arguments.add_argument("--inner", type=int, default=11008)
    arguments.add_argument("--record", action="store_true")
    arguments.add_argument("--worker", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.worker:
        worker(options.worker)
        return
    rng = np.random.default_rng(0)
    up = rng.normal(0, 0.02, (options.inner, options.hidden)).astype(ml_dtypes.bfloat16)
    down = rng.normal(0, 0.02, (options.hidden, options.inner)).astype(ml_dtypes.bfloat16)
    with tempfile.TemporaryDirectory(prefix="neuromfa-bench-") as name:
        folder = Path(name)
        tensors = {"up_proj": up, "down_proj": down}
        named = {f"model.layers.0.mlp.{k}.weight": v for k, v in tensors.items()}
        save_file(named, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
        run = subprocess.run(
            [sys.executable, __file__, "--worker", name], check=True, capture_output=True, text=True
        )
    found = json.loads(run.stdout)
    seconds, processor = found["second"]
    alone = peer(up, down) * options.hidden
    print(
        f"{options.hidden:,} -> {options.inner:,} -> {options.hidden:,}, all neurons, two hops, "
        f"T = {CUTOFF:g}\n"
        f"  {seconds:.1f} s ({processor:.1f} s of processor; first run {found['first'][0]:.1f} s), "
        f"peak memory {found['peak'] / 1e9:.2f} GB with the mapped weights\n"
        f"  NumPy's plain product would take {alone:,.0f} s (from {PEER_NEURONS} neurons, equal "
        f"lengths): {alone / seconds:,.0f} times as long"
    )
    if options.record:
        sizes = f"{options.hidden:,} -> {options.inner:,} -> {options.hidden:,}"
        row = {
            "kind": "hops",
            "what": f"analysis of two hops, {sizes} neurons",
            "seconds": seconds,
            "processor_seconds": processor,
            "first_seconds": found["first"][0],
            "peak_bytes": found["peak"],
            "peer": f"NumPy's plain product (from {PEER_NEURONS} neurons)",
            "peer_seconds": alone,
            "ratio": alone / seconds,
        }
        record([row], RESULTS)


if __name__ == "__main__":
    main()
