"""The record of an analysis: plain values that can be kept, sent and written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from neuromfa.errors import ResourceError
from neuromfa.group import Group, moment_rows, scalar_row
from neuromfa.multifractal import Float64
from neuromfa.records import check_version, json_text, plain

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["KINDS", "SCHEMA_VERSION", "Analysis", "Group"]

SCHEMA_VERSION = "1.0"
LATER_SETTINGS = {"distance": "inverse", "relative_scale": None}
"""Of the protocol, in records that were written before there was a choice."""
KINDS = ("blocks", "roles", "layers")


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
    tensor_rms : mapping of str to float, or None
        Root mean square of each tensor's weights, if distances are relative or structure was asked
        for.
    structure : mapping or None
        Simpler structural measures, if they were asked for.
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
    tensor_rms: Mapping[str, float] | None = None
    structure: Mapping[str, Any] | None = None

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
            "tensor_rms": None if self.tensor_rms is None else dict(self.tensor_rms),
            "structure": plain(self.structure),
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text (RFC 8259: no NaN)."""
        return json_text(self.to_dict())

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises
        ------
        BadInputError
            If the record was written under another major version of the schema.
        """
        check_version(record, SCHEMA_VERSION, "analysis record")
        plain = {k: record[k] for k in ("source", "architecture", "coverage")}
        plain["protocol"] = record["protocol"] | {
            name: value for name, value in LATER_SETTINGS.items() if name not in record["protocol"]
        }
        groups: dict[str, Any] = {kind: tuple(map(Group.from_dict, record[kind])) for kind in KINDS}
        return cls(
            **plain,
            **groups,
            network=Group.from_dict(record["network"]),
            log_partition_function=np.array(record["log_partition_function"], dtype=np.float64),
            provenance=record["provenance"],
            warnings=tuple(record["warnings"]),
            tensor_rms=record.get("tensor_rms"),
            structure=record.get("structure"),
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
            return pa.Table.from_pylist([scalar_row(kind, group) for kind, group in self.groups()])
        if table == "spectra":
            parts = [moment_rows(kind, group) for kind, group in self.groups()]
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
