"""Draw how D(q) approaches known values as graphs grow: the figure of docs/graphs.md.

python bench/known_dimensions.py [FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import networkx as nx
import numpy as np

import neuromfa
from neuromfa.reports import chart, pictures

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


def panel(curves: Mapping[str, Sequence[float]]) -> chart.Spec:
    """D(q) of growing graphs, and of the last, what is known, dashed and in ink."""
    *grown, known = curves
    rows = [
        {"series": name, "q": q, "D": value}
        for name, values in curves.items()
        for q, value in zip(Q, values, strict=True)
    ]
    colour = chart.ramp("series", grown)
    colour["scale"] = {
        "domain": [*grown, known],
        "range": [*colour["scale"]["range"], chart.INK],
    }
    dashes = {"domain": [*grown, known], "range": [[1, 0]] * len(grown) + [[5, 4]]}
    y = chart.number("D", "D(q)", scale={"domain": [1, 2.1], "nice": False})
    line = chart.line(
        chart.number("q", "moment q", scale={"nice": False}),
        y,
        color=colour,
        strokeDash={"field": "series", "type": "ordinal", "title": None, "scale": dashes},
        mark={"point": False},
    )
    return chart.chart(rows, [line])


def main() -> None:
    """Analyse and draw."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "known_dimensions.png"
    pictures.check(path)
    flowers = {f"{len(g):,} nodes": dimensions(g, 2**n)
               for n in GENERATIONS for g in [flower(2, 2, n)]}  # fmt: skip
    flowers["large flower"] = [flower_dimension(2, 2, q) for q in Q]
    lattices = {f"{n} x {n}": dimensions(nx.grid_2d_graph(n, n), n) for n in SIDES}
    lattices["large lattice"] = [2.0] * len(Q)
    pictures.draw_beside({"(2,2)-flower": panel(flowers), "Square lattice": panel(lattices)}, path)
    print(path)


if __name__ == "__main__":
    main()
