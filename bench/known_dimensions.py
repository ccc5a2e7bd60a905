"""Draw how D(q) approaches known values as graphs grow: the figure of docs/graphs.md.

python bench/known_dimensions.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import networkx as nx
import numpy as np
from neuromfa.report import COLOURS, figure_file

import neuromfa

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests"))

from naive_graph import flower, flower_dimension  # noqa: E402  (beside the tests)

Q = neuromfa.q_grid(-5, 10, 0.25)
GENERATIONS = (3, 4, 5, 6, 7, 8)
SIDES = (10, 20, 40, 80, 160)


def dimensions(graph: nx.Graph, extent: float) -> np.ndarray:
    """D(q) over radii around the geometric middle of 1 and the extent of the graph."""
    window = (extent**0.5 / 2, 2 * extent**0.5)
    protocol = neuromfa.GraphProtocol(q=Q, radii=window)
    return neuromfa.analyse_graph(graph, protocol).generalised_dimension


def main() -> None:
    """Analyse and draw."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "known_dimensions.png"
    with figure_file(path, (10, 4.2)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        for generation, colour in zip(GENERATIONS, COLOURS, strict=False):
            graph = flower(2, 2, generation)
            label = f"{len(graph):,} nodes"
            left.plot(Q, dimensions(graph, 2**generation), color=colour, label=label)
        for side, colour in zip(SIDES, COLOURS, strict=False):
            graph = nx.grid_2d_graph(side, side)
            right.plot(Q, dimensions(graph, side), color=colour, label=f"{side} x {side}")
        left.plot(Q, [flower_dimension(2, 2, q) for q in Q], "k--", label="large flower")
        right.axhline(2, color="black", linestyle="--", label="large lattice")
        left.set(title="(2,2)-flower", xlabel="q", ylabel="D(q)")
        right.set(title="square lattice", xlabel="q")
        for axes in (left, right):
            axes.grid(alpha=0.25)
            axes.legend(frameon=False, fontsize=8)
    print(path)


if __name__ == "__main__":
    main()
