"""The record of an analysis: plain values that can be kept, sent and written down."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from neuromfa.errors import BadInputError, ResourceError
from neuromfa.multifractal import Float64, Int64

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SCHEMA_VERSION = "1.0"
KINDS = ("blocks", "roles", "layers")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Group:
    """One group of layers and its multifractal analysis; every array runs over `q` but `radii`.

    Attributes
    ----------
    name, block, role : str or None
        The group's name; a layer also has the block and role it belongs to.
    tensors : tuple of str
        For a layer, the tensors whose weights are its edges; else empty.
    neurons, counted_neurons : int
        All neurons, and those with more than ``min_neighbours`` edges in range.
    edges, edges_in_range, edges_below, edges_above : int
        Non-zero finite weights; those with 1 < d <= cutoff, d <= 1 and d > cutoff.
    zeros, nonfinite : int
        Weights that are exactly zero, and NaN or infinite ones that were dropped.
    radii : int64 array, shape (m,)
        Radii fitted over.
    q, tau, tau_stderr, intercept, r2 : float64 array, shape (n_q,)
        Moments, mass exponents, least squares standard errors, ln Z_q at r_max, fit quality.
    alpha, f, generalised_dimension, specific_heat : float64 array, shape (n_q,)
        The spectrum and what is derived from it.
    alpha_0, width, asymmetry, r2_min : float
        Regularity, heterogeneity, asymmetry, the smallest r^2 over q; NaN where undefined.
    concave : bool or None
        Whether tau is concave.
    jackknife : mapping or None
        ``over``, ``parts``, ``tau_stderr``, ``alpha_0_stderr``, ``width_stderr``.
    fractal_dimension : mapping
        Summary of the neuron fractal dimensions.
    undefined : str or None
        Why there are no exponents.

    References
    ----------
    Definitions, sections 0 and 4 to 6.
    """

    name: str
    block: str | None
    role: str | None
    tensors: tuple[str, ...]
    neurons: int
    counted_neurons: int
    edges: int
    edges_in_range: int
    edges_below: int
    edges_above: int
    zeros: int
    nonfinite: int
    radii: Int64
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
    jackknife: Mapping[str, Any] | None
    fractal_dimension: Mapping[str, Any]
    undefined: str | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values: lists for arrays, None for NaN."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(
            **{
                f.name: _FROM_PLAIN.get(str(f.type), lambda value: value)(record[f.name])
                for f in fields(cls)
            }
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Analysis:
    """The multifractal analysis of one checkpoint.

    Attributes
    ----------
    protocol : mapping
        Every setting that defines the numbers.
    source : str
        The checkpoint, as it was asked for.
    architecture : str
        Family whose tensor names matched, or "generic".
    coverage : mapping
        Every tensor: analysed, excluded (with the rule) or unknown.
    network : Group
        All layers together.
    blocks, roles, layers : tuple of Group
        The same by block, by role, and one by one.
    log_partition_function : float64 array, shape (n_q, m)
        ln Z_q(r) of the network, for its moments and its radii: what its exponents are fitted to.
    provenance : mapping
        Versions, files, content hash, resources, time.
    warnings : tuple of str
        What a careful reader should know.
    fractal_dimensions : mapping of str to float64 array, shape (n_neurons,)
        By layer, one value for each neuron and NaN where undefined; empty unless asked for.
    """

    protocol: Mapping[str, Any]
    source: str
    architecture: str
    coverage: Mapping[str, Any]
    network: Group
    blocks: tuple[Group, ...]
    roles: tuple[Group, ...]
    layers: tuple[Group, ...]
    log_partition_function: Float64
    provenance: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    fractal_dimensions: Mapping[str, Float64] = field(default_factory=dict)

    def groups(self) -> Iterator[tuple[str, Group]]:
        """All groups with their kind: first the network."""
        yield "network", self.network
        for kind in KINDS:
            for group in getattr(self, kind):
                yield kind, group

    def to_dict(self) -> dict[str, Any]:
        """The record that `schema` describes; fractal dimensions of single neurons are left out."""
        return {
            "schema_version": SCHEMA_VERSION,
            "protocol": dict(self.protocol),
            "source": self.source,
            "architecture": self.architecture,
            "coverage": dict(self.coverage),
            "network": self.network.to_dict(),
            **{kind: [g.to_dict() for g in getattr(self, kind)] for kind in KINDS},
            "log_partition_function": self.log_partition_function.tolist(),
            "provenance": dict(self.provenance),
            "warnings": list(self.warnings),
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text (RFC 8259: no NaN)."""
        return json.dumps(self.to_dict(), allow_nan=False, indent=1) + "\n"

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises
        ------
        BadInputError
            If the record was written under another major version of the schema.
        """
        version = str(record.get("schema_version"))
        if version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
            raise BadInputError(
                f"analysis record: schema version {version}, this version reads {SCHEMA_VERSION}"
            )
        plain = {k: record[k] for k in ("protocol", "source", "architecture", "coverage")}
        groups: dict[str, Any] = {kind: tuple(map(Group.from_dict, record[kind])) for kind in KINDS}
        return cls(
            **plain,
            **groups,
            network=Group.from_dict(record["network"]),
            log_partition_function=np.array(record["log_partition_function"], dtype=np.float64),
            provenance=record["provenance"],
            warnings=tuple(record["warnings"]),
        )

    def to_arrow(self, table: str = "groups") -> pa.Table:
        """One of the tables as Arrow data.

        Parameters
        ----------
        table : {"groups", "spectra", "fractal_dimensions"}
            One row for each group; one for each group and q; one for each layer and neuron.

        Raises
        ------
        ValueError
            If there is no such table.
        """
        import pyarrow as pa  # noqa: PLC0415  (slow to import)

        if table == "groups":
            return pa.Table.from_pylist([_scalars(kind, group) for kind, group in self.groups()])
        if table == "spectra":
            parts = [_per_moment(kind, group) for kind, group in self.groups()]
        elif table == "fractal_dimensions":
            parts = [
                {"layer": [name] * len(values), "neuron": range(len(values)), table[:-1]: values}
                for name, values in self.fractal_dimensions.items()
            ]
        else:
            raise ValueError(f"table {table!r}: can be groups, spectra or fractal_dimensions")
        if not parts:
            raise ValueError("fractal dimensions of single neurons were not asked for")
        # In Arrow and Parquet, as in JSON, what is undefined is null.
        kinds = dict.fromkeys(("kind", "name", "block", "role", "layer"), pa.string())
        kinds["neuron"] = pa.int64()
        return pa.concat_tables(
            pa.table(
                {
                    name: pa.array(part[name], kinds.get(name, pa.float64()), from_pandas=True)
                    for name in parts[0]
                }
            )
            for part in parts
        )

    def to_pandas(self, table: str = "groups") -> pd.DataFrame:
        """`to_arrow` as a data frame.

        Raises
        ------
        ResourceError
            If pandas is not installed.
        """
        try:
            return self.to_arrow(table).to_pandas()
        except ModuleNotFoundError as error:
            raise ResourceError("to_pandas needs pandas: pip install pandas") from error


_FROM_PLAIN: dict[str, Callable[[Any], Any]] = {  # by a field's declared type
    "Float64": lambda values: np.array(values, dtype=np.float64),
    "Int64": lambda values: np.array(values, dtype=np.int64),
    "float": lambda value: math.nan if value is None else value,
    "tuple[str, ...]": tuple,
}


def _plain(value: Any) -> Any:
    """JSON has no NaN and no arrays."""
    if isinstance(value, np.ndarray):
        return [_plain(x) for x in value.tolist()]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def _scalars(kind: str, group: Group) -> dict[str, Any]:
    """The row of a group in the table ``groups``."""
    plain = group.to_dict()
    errors = plain.pop("jackknife") or {}
    dimension = plain.pop("fractal_dimension")
    arrays = {f.name for f in fields(group) if f.type == "Float64"}
    return {
        "kind": kind,
        **{name: value for name, value in plain.items() if name not in arrays},
        "alpha_0_stderr": errors.get("alpha_0_stderr"),
        "width_stderr": errors.get("width_stderr"),
        "fractal_dimension_mean": dimension["mean"],
        "fractal_dimension_sd": dimension["sd"],
    }


def _per_moment(kind: str, group: Group) -> dict[str, Any]:
    """The rows of a group in the table ``spectra``, as columns."""
    n_q = len(group.q)
    names = {"kind": kind, "name": group.name, "block": group.block, "role": group.role}
    return {
        **{name: [value] * n_q for name, value in names.items()},
        **{f.name: getattr(group, f.name) for f in fields(group) if f.type == "Float64"},
        "tau_jackknife_stderr": (group.jackknife or {}).get("tau_stderr", np.full(n_q, np.nan)),
    }
