"""Graphs at large against NetworkX, and a million nodes: speed and memory, all in one run.

    python bench/graphs.py [--nodes 10000] [--record]

The NetworkX way: breadth-first search from every node with NetworkX, counting with NumPy, powers
and fits with NumPy. Its answers are compared with ours before any ratio is printed. The large graph
grows by preferential attachment, is read from a file, and analysed in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp

import neuromfa
from record import RESULTS, record

EDGES_PER_NODE = 3
LARGE_NODES, LARGE_EDGES_PER_NODE, LARGE_SOURCES = 1_000_000, 5, 1000
REPEATS = 3


class Clock:
    """Wall and processor seconds since it was made."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Both."""
        return time.perf_counter() - self.wall, time.process_time() - self.processor


def networkx_way(graph: nx.Graph[int]) -> tuple[list[float], list[float]]:
    """Mass exponents and node dimensions, without any of our code."""
    counts = []
    for node in graph:
        distances = nx.single_source_shortest_path_length(graph, node)
        counts.append(np.cumsum(np.bincount(list(distances.values()))[1:]))
    diameter = max(map(len, counts))
    u = np.array([np.pad(c, (0, diameter - len(c)), mode="edge") / c[-1] for c in counts])
    x = np.log(np.arange(1, diameter + 1) / diameter)
    taus = [float(np.polyfit(x, np.log((u**q).sum(axis=0)), 1)[0]) for q in GRID]
    own = [np.log(np.arange(1, len(c) + 1)) for c in counts]
    dimensions = [float(np.polyfit(r, np.log(c), 1)[0]) for r, c in zip(own, counts, strict=True)]
    return taus, dimensions


GRID = neuromfa.GraphProtocol().q


def against_networkx(nodes: int) -> dict[str, Any]:
    """Compare, then time both on the same graph."""
    graph = nx.barabasi_albert_graph(nodes, EDGES_PER_NODE, seed=1)
    clock = Clock()
    taus, dimensions = networkx_way(graph)
    theirs = clock.read()
    ours = []
    for _ in range(REPEATS):  # the first also compiles
        clock = Clock()
        analysis = neuromfa.analyse_graph(graph)
        ours.append(clock.read())
    np.testing.assert_allclose(analysis.tau, taus, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(analysis.node_dimensions, dimensions, rtol=1e-8)
    best = min(ours)
    print(
        f"Barabasi-Albert, {nodes:,} nodes, {graph.number_of_edges():,} edges: all nodes, "
        f"{len(GRID)} moments\n"
        f"  NetworkX {theirs[0]:.2f} s ({theirs[1]:.2f} s of processor), equal results\n"
        f"  neuromfa {best[0]:.3f} s ({best[1]:.3f} s of processor; first run {ours[0][0]:.2f} s)\n"
        f"  {theirs[0] / best[0]:,.0f} times faster ({theirs[1] / best[1]:,.0f} by processor time)"
    )
    return {
        "kind": "graph",
        "what": f"analysis of a graph of {nodes:,} nodes",
        "seconds": best[0],
        "processor_seconds": best[1],
        "first_seconds": ours[0][0],
        "peer": "NetworkX",
        "peer_seconds": theirs[0],
        "ratio": theirs[0] / best[0],
    }


def write_large(path: Path) -> int:
    """Grow a graph by preferential attachment and write its matrix; the number of edges."""
    draw = random.Random(0)
    ends = list(range(LARGE_EDGES_PER_NODE))
    start = []
    for node in range(LARGE_EDGES_PER_NODE, LARGE_NODES):
        for target in [ends[int(draw.random() * len(ends))] for _ in range(LARGE_EDGES_PER_NODE)]:
            start.append(target)
            ends += (node, target)
    stop = np.repeat(np.arange(LARGE_EDGES_PER_NODE, LARGE_NODES), LARGE_EDGES_PER_NODE)
    shape = (LARGE_NODES, LARGE_NODES)
    matrix = sp.coo_array((np.ones(len(start), np.int8), (start, stop)), shape=shape).tocsr()
    sp.save_npz(path, matrix, compressed=False)
    return int(matrix.nnz)


def worker(path: str) -> None:
    """Analyse the large graph in this process and print what it took, as JSON."""
    clock = Clock()
    analysis = neuromfa.analyse_graph(path, neuromfa.GraphProtocol(sources=LARGE_SOURCES))
    wall, processor = clock.read()
    interval = analysis.interval["alpha_0"] if analysis.interval else {}
    print(
        json.dumps(
            {
                "seconds": wall,
                "processor": processor,
                "peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                "alpha_0": analysis.alpha_0,
                "half": (interval["high"] - interval["low"]) / 2,
                "radii": len(analysis.radii),
                "nodes": analysis.nodes,
                "edges": analysis.edges,
            }
        )
    )


def large() -> dict[str, Any]:
    """Analyse a million nodes from a thousand sources, in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="neuromfa-bench-") as folder:
        path = Path(folder) / "large.npz"
        write_large(path)
        command = [sys.executable, __file__, "--worker", str(path)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(run.stdout)
    print(
        f"preferential attachment, {found['nodes']:,} nodes, {found['edges']:,} edges: "
        f"{LARGE_SOURCES:,} sources\n"
        f"  {found['seconds']:.1f} s ({found['processor']:.1f} s of processor), reading the file "
        f"and compiling included; peak memory {found['peak'] / 1e9:.2f} GB\n"
        f"  alpha_0 = {found['alpha_0']:.4f} ± {found['half']:.4f} (95 %), {found['radii']} radii"
    )
    return {
        "kind": "graph",
        "what": f"analysis of a graph of {LARGE_NODES:,} nodes from {LARGE_SOURCES:,}",
        "seconds": found["seconds"],
        "processor_seconds": found["processor"],
        "peak_bytes": found["peak"],
    }


def main() -> None:
    """Run and print, and record if asked to."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--nodes", type=int, default=10_000)
    arguments.add_argument("--record", action="store_true")
    arguments.add_argument("--worker", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.worker:
        worker(options.worker)
        return
    rows = [against_networkx(options.nodes), large()]
    if options.record:
        record(rows, RESULTS)


if __name__ == "__main__":
    main()
