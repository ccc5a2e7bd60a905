"""The record of a graph's analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from neuromfa.errors import BadInputError
from neuromfa.multifractal import Float64
from neuromfa.records import from_plain, json_text, to_plain

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = "1.0"
KIND = "graph"
"""Tells the record from that of a checkpoint."""
_APART = ("node_dimensions", "node_names")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GraphAnalysis:
    """The node-based multifractal analysis of one graph; every array of moments runs over `q`.

    Attributes
    ----------
    protocol : mapping
        Every setting that defines the numbers, the seed included.
    source : str
        Where the graph comes from.
    graph : mapping
        Of the whole graph: ``nodes``, ``edges``, ``directed``, ``isolated`` (nodes without an
        edge), ``components`` (of two nodes and more), ``self_loops`` and ``parallel_edges`` that
        were left out.
    nodes, edges : int
        Of the component analysed.
    measured : int
        Nodes that the sums run over.
    unreaching : int
        Nodes that were to be measured and from which no arc leads anywhere.
    radii : float64 array, shape (m,)
        Radii fitted over: hops, or every distance that occurs.
    q, tau, tau_stderr, intercept, r2 : float64 array, shape (n_q,)
        Moments, mass exponents, least squares standard errors, ln Z_q at the largest radius, fit
        quality.
    alpha, f, generalised_dimension, specific_heat : float64 array, shape (n_q,)
        The spectrum and what is derived from it; NaN at the last q with forward differences.
    alpha_0, width, asymmetry, r2_min : float
        Regularity, heterogeneity, asymmetry, the smallest r^2 over q; NaN where undefined.
    concave : bool or None
        Whether tau is concave.
    log_partition_function : float64 array, shape (n_q, m)
        ln Z_q(r), what the exponents are fitted to.
    interval : mapping or None
        Where nodes were drawn at random, how far the numbers may be from those of all nodes:
        ``level``, ``groups``, and for ``alpha_0``, ``width`` and each ``tau`` and
        ``generalised_dimension`` a ``stderr`` and the ends ``low`` and ``high``.
    node_dimension : mapping
        Summary of the node fractal dimensions.
    provenance : mapping
        Versions, resources, time.
    warnings : tuple of str
        What a careful reader should know.
    undefined : str or None
        Why there are no exponents.
    node_dimensions : float64 array, shape (n_sources,)
        Fractal dimension of each node that was to be measured, NaN where undefined.
    node_names : sequence
        These nodes.

    References
    ----------
    Definitions, section 7.
    """

    protocol: Mapping[str, Any]
    source: str
    graph: Mapping[str, Any]
    nodes: int
    edges: int
    measured: int
    unreaching: int
    radii: Float64
    q: Float64
    tau: Float64
    tau_stderr: Float64
    intercept: Float64
    r2: Float64
    alpha: Float64
    f: Float64
    generalised_dimension: Float64
    specific_heat: Float64
    alpha_0: float
    width: float
    asymmetry: float
    r2_min: float
    concave: bool | None
    log_partition_function: Float64
    interval: Mapping[str, Any] | None
    node_dimension: Mapping[str, Any]
    provenance: Mapping[str, Any]
    warnings: tuple[str, ...]
    undefined: str | None
    node_dimensions: Float64 = field(default_factory=lambda: np.zeros(0))
    node_names: Sequence[Any] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record; the dimensions of single nodes are left out."""
        plain = to_plain(self)
        for name in _APART:
            del plain[name]
        return {"kind": KIND, "schema_version": SCHEMA_VERSION, **plain}

    def to_json(self) -> str:
        """`to_dict` as JSON text (RFC 8259: no NaN)."""
        return json_text(self.to_dict())

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises
        ------
        BadInputError
            If it is no such record, or of another major version of the schema.
        """
        version = str(record.get("schema_version"))
        if record.get("kind") != KIND or version.partition(".")[0] != SCHEMA_VERSION[0]:
            raise BadInputError(
                f"graph record: is {record.get('kind')!r} of schema version {version}; this "
                f"version reads {KIND!r}, {SCHEMA_VERSION}"
            )
        return from_plain(cls, {**record, "node_dimensions": [], "node_names": ()})

    def to_arrow(self, table: str = "spectrum") -> pa.Table:
        """One of the tables as Arrow data; what is undefined is null.

        Parameters
        ----------
        table : {"spectrum", "node_dimensions"}
            One row for each q; one for each node that was to be measured.

        Raises
        ------
        ValueError
            If there is no such table.
        """
        import pyarrow as pa  # noqa: PLC0415  (slow to import)

        if table == "spectrum":
            names = [f.name for f in fields(self) if f.type == "Float64"]
            apart = ("radii", "log_partition_function", *_APART)
            columns: dict[str, Any] = {n: getattr(self, n) for n in names if n not in apart}
        elif table == "node_dimensions":
            columns = {"node": [str(n) for n in self.node_names]}
            columns["node_dimension"] = self.node_dimensions
        else:
            raise ValueError(f"table {table!r}: can be spectrum or node_dimensions")
        return pa.table({n: pa.array(values, from_pandas=True) for n, values in columns.items()})
