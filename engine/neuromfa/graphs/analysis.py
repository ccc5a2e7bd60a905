"""The analysis of any graph, from reading it to its spectrum."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from neuromfa.devices import find_devices
from neuromfa.dimension import DimensionSummary
from neuromfa.errors import BadInputError, UsageError
from neuromfa.graphs.adjacency import Adjacency
from neuromfa.graphs.counting import Counted, GroupSums, count
from neuromfa.graphs.reading import WEIGHT, read_graph
from neuromfa.graphs.results import GraphAnalysis
from neuromfa.graphs.searches import Resources
from neuromfa.graphs.settings import GraphProtocol
from neuromfa.graphs.spectra import GROUPS, Fit, fit, sampling_interval
from neuromfa.group import fitted_fields
from neuromfa.multifractal import Float64, Int64
from neuromfa.provenance import PACKAGES, versions
from neuromfa_kernels.cpu_threads import usable_threads

DEFAULT_MEMORY = 2 << 30

Scores = Mapping[Any, float] | npt.ArrayLike


def analyse_graph(  # noqa: PLR0913  (what may be used is four of them)
    graph: Any,
    protocol: GraphProtocol | None = None,
    *,
    weight: str = WEIGHT,
    directed: bool | None = None,
    scores: Scores | None = None,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
    device: str = "cpu",
    device_memory: int | None = None,
) -> GraphAnalysis:
    """Analyse a graph node by node: dimensions, mass exponents, spectrum.

    Parameters
    ----------
    graph : path, networkx.Graph, SciPy sparse matrix or array, cugraph.Graph
        A file is an edge list (``.csv``, ``.tsv``, ``.txt``, ``.edges``, ``.parquet``), Matrix
        Market (``.mtx``), GraphML or SciPy's ``.npz``.
    protocol : GraphProtocol, optional
        Everything else that may change a number.
    weight : str
        Edge attribute or column with the lengths, where the protocol is weighted.
    directed : bool, optional
        By default what NetworkX and cuGraph graphs say of themselves, and False for the others.
    scores : mapping of node to float, or array_like, shape (n_nodes,), optional
        How influential nodes are, where the protocol's `share` is below 1; by default the number
        of edges at each.
    threads : int, optional
        As many as the process may use by default; changes no bit of the result.
    memory : int
        Bytes of private memory for the work, the graph itself not counted; changes no bit.
    device, device_memory
        As for `neuromfa.analyse`; change no bit. GPUs count hops; cuGraph finds lengths of
        paths on one GPU, if asked by name; sums and dimensions are the processors' work.

    Returns
    -------
    GraphAnalysis
        Of one component of the graph.

    Raises
    ------
    UsageError
        If the settings make no sense for this graph.
    UnsupportedError
        If it is nothing that can be read, or lengths of paths are asked of several GPUs.
    BadInputError
        If a file is missing or broken, or a length is missing or not positive.
    ResourceError
        If memory does not suffice or a package is not installed.

    References
    ----------
    Definitions, section 7; Xiao, Chen and Bogdan, Scientific Reports 11, 22964 (2021).

    Examples
    --------
    >>> import networkx, neuromfa
    >>> analysis = neuromfa.analyse_graph(networkx.karate_club_graph())
    >>> analysis.measured, len(analysis.radii)
    (34, 5)
    """
    started = time.perf_counter()
    protocol = protocol or GraphProtocol()
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads}: must be at least 1")
    devices = find_devices("cpu" if protocol.weighted and device == "auto" else device)
    resources = Resources(usable_threads(threads), memory, devices, device_memory)
    whole = read_graph(graph, weighted=protocol.weighted, weight=weight, directed=directed)
    chosen = _choose(whole, protocol, scores)
    q = np.unique(np.array([*protocol.q, 0.0]))
    counted = count(chosen.part, chosen.groups, q, protocol=protocol, resources=resources)
    counted = _in_range(counted, protocol)
    total = GroupSums.empty(len(q), len(counted.radii))
    for group in counted.groups:
        total.add(group.Z, group.Z_log, group.counted)
    fitted = fit(total, counted.radii, q, protocol)
    interval = None
    if chosen.drawn and not fitted.exponents.undefined:
        share = len(np.concatenate(chosen.groups)) / chosen.candidates
        interval = sampling_interval(fitted, total, counted, q=q, protocol=protocol, share=share)
    return _record(
        (whole, chosen, counted, total, fitted),
        q,
        protocol,
        interval=interval,
        provenance={
            "versions": versions((*PACKAGES, "scipy", "networkx")),
            "device": str(devices),
            "machine": platform.machine(),
            "threads": resources.threads,
            "memory_bytes": memory,
            "seconds": round(time.perf_counter() - started, 6),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def _in_range(counted: Counted, protocol: GraphProtocol) -> Counted:
    """Keep the radii that are to be fitted over."""
    if protocol.radii is None:
        return counted
    kept = (counted.radii >= protocol.radii[0]) & (counted.radii <= protocol.radii[1])
    groups = [GroupSums(g.Z[:, kept], g.Z_log[:, kept], g.counted) for g in counted.groups]
    return counted._replace(radii=counted.radii[kept], groups=groups)


class _Chosen(NamedTuple):
    """Component, its nodes to measure in groups, of how many, and what to say about the choice."""

    part: Adjacency
    groups: list[Int64]
    candidates: int
    drawn: bool
    facts: dict[str, Any]
    notes: tuple[str, ...]


def _choose(whole: Adjacency, protocol: GraphProtocol, scores: Scores | None) -> _Chosen:
    """One component, its most influential nodes, and a draw of these."""
    label, sizes = whole.components()
    isolated, components = int((sizes == 1).sum()), int((sizes > 1).sum())
    if protocol.component >= components:
        raise UsageError(
            f"{whole.source}: component {protocol.component}: there are {components} of two nodes "
            "and more, counted from 0, the giant one"
        )
    nodes = np.flatnonzero(label == protocol.component)
    part = whole if len(nodes) == whole.nodes else whole.part(nodes)
    notes = []
    if components > 1:
        notes.append(
            f"disconnected: component {protocol.component} of {components}, by size, was analysed: "
            f"{len(nodes):,} of {whole.nodes:,} nodes"
        )
    if isolated:
        notes.append(f"{isolated:,} nodes without an edge were left out")
    if scores is not None and protocol.share == 1:
        raise UsageError("scores: give the share of the nodes to analyse too (share, 0.1 for 10 %)")
    candidates = np.arange(part.nodes)
    if protocol.share < 1:
        values = part.degrees() if scores is None else _scores(whole, scores)[nodes]
        most = np.argsort(-values, kind="stable")[: math.ceil(protocol.share * part.nodes)]
        candidates = np.sort(most)
    groups, drawn = [candidates], False
    if protocol.sources is not None and protocol.sources < len(candidates):
        drawn = True
        generator = np.random.Generator(np.random.PCG64(protocol.seed))
        sample = generator.choice(candidates, protocol.sources, replace=False)
        groups = np.array_split(sample, min(GROUPS, protocol.sources))
        if protocol.weighted and protocol.radii is None:
            notes.append(
                "which distances occur depends on the draw, and the smallest move the fit most: "
                "fit over a range of radii before comparing with other draws"
            )
    elif protocol.sources is not None:
        notes.append(f"all {len(candidates):,} nodes were measured, as many as there are")
    facts = {
        "nodes": whole.nodes,
        "edges": whole.edges,
        "directed": whole.directed,
        "isolated": isolated,
        "components": components,
        "self_loops": whole.self_loops,
        "parallel_edges": whole.parallel_edges,
        "influence": None if protocol.share == 1 else "degree" if scores is None else "scores",
    }
    return _Chosen(part, groups, len(candidates), drawn, facts, tuple(notes))


def _scores(whole: Adjacency, scores: Scores) -> Float64:
    """One score for each node of the whole graph."""
    if isinstance(scores, Mapping):
        missing = [name for name in whole.names if name not in scores]
        if missing:
            raise BadInputError(f"scores: {len(missing):,} nodes have none, such as {missing[0]}")
        values = np.array([float(scores[name]) for name in whole.names])
    else:
        values = np.asarray(scores, np.float64)
    if values.shape != (whole.nodes,):
        raise BadInputError(f"scores: have shape {values.shape}; the graph has {whole.nodes} nodes")
    if np.isnan(values).any():
        raise BadInputError(f"scores: node {whole.names[int(np.isnan(values).argmax())]} has NaN")
    return values


def _record(
    found: tuple[Adjacency, _Chosen, Counted, GroupSums, Fit],
    q: Float64,
    protocol: GraphProtocol,
    *,
    interval: Mapping[str, Any] | None,
    provenance: Mapping[str, Any],
) -> GraphAnalysis:
    _, chosen, counted, total, fitted = found
    asked = np.isin(q, protocol.q)
    exponents, curve = fitted
    notes = chosen.notes
    if counted.unreaching:
        notes += (f"{counted.unreaching:,} nodes reach no other and were left out",)
    names: Sequence[Any] = [chosen.part.names[i] for i in np.concatenate(chosen.groups)]
    dimensions = counted.dimensions
    return GraphAnalysis(
        protocol=protocol.to_dict(),
        source=chosen.part.source,
        graph=chosen.facts,
        nodes=chosen.part.nodes,
        edges=chosen.part.edges,
        measured=total.counted,
        unreaching=counted.unreaching,
        radii=counted.radii,
        q=q[asked],
        **fitted_fields(exponents, curve, asked),
        log_partition_function=np.log(total.Z[asked]) if total.counted else total.Z[asked] * np.nan,
        interval=interval,
        node_dimension=DimensionSummary.of(dimensions, counted.unreaching).to_dict(),
        provenance=provenance,
        warnings=notes,
        undefined=exponents.undefined,
        node_dimensions=dimensions,
        node_names=names,
    )
