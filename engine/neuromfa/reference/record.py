"""The record of an analysis by the reference protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from neuromfa.errors import BadInputError
from neuromfa.records import check_version, json_text, plain
from neuromfa.reference.samples import TOLERANCE, ReferenceSample, mean_and_sd

SCHEMA_VERSION = "1.0"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ReferenceAnalysis:
    """The analysis of one checkpoint by the authors' procedure.

    Attributes
    ----------
    protocol : mapping
        Every setting that defines the numbers; its ``name`` is "reference".
    source, architecture : str
        The checkpoint as it was asked for, and its family.
    generalised : bool
        Whether the procedure was carried over from GPT-NeoX, to this architecture's true layout.
    layout : mapping of str to list of str
        By layer of a block, how the outputs of its tensors were sampled; t is a drawn attention
        dimension of A, n any other drawn unit.
    sizes : mapping of str to list of int
        Units of each kind, block by block.
    coverage : mapping
        Every tensor, as for `Analysis`: what is analysed is sampled.
    samples : tuple of ReferenceSample
        The sampled networks.
    provenance : mapping
        Versions, files, content hash, resources, time.
    warnings : tuple of str
        What a careful reader should know.
    keeps_dimensions : bool
        Whether records hold the fractal dimensions of single neurons.
    """

    protocol: Mapping[str, Any]
    source: str
    architecture: str
    generalised: bool
    layout: Mapping[str, list[str]]
    sizes: Mapping[str, list[int]]
    coverage: Mapping[str, Any]
    samples: tuple[ReferenceSample, ...]
    provenance: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    keeps_dimensions: bool = False

    def kept(self, mode: int = 0, tolerance: float = 0.0) -> tuple[ReferenceSample, ...]:
        """Samples that a filter mode keeps: see `ReferenceSample.passes`."""
        return tuple(sample for sample in self.samples if sample.passes(mode, tolerance))

    def statistics(self, mode: int = 0, tolerance: float = 0.0) -> dict[str, float]:
        """Mean and standard deviation over the samples that a filter mode keeps.

        Returns
        -------
        dict of str to float
            ``alpha_0_mean``, ``alpha_0_sd``, ``alpha_0_derivative_mean``,
            ``alpha_0_derivative_sd``, ``width_mean``, ``width_sd``; NaN where there are too few.
        """
        kept = self.kept(mode, tolerance)
        found = {}
        for name in ("alpha_0", "alpha_0_derivative", "width"):
            values = np.array([getattr(sample, name) for sample in kept], dtype=np.float64)
            found[f"{name}_mean"], found[f"{name}_sd"] = mean_and_sd(values)
        return found

    def filters(self) -> Iterator[dict[str, Any]]:
        """Every filter mode with its survivors and their means; f > 0 with and without noise."""
        for mode in range(4):
            for tolerance in (0.0, TOLERANCE) if mode in (1, 3) else (0.0,):
                yield {
                    "mode": mode,
                    "tolerance": tolerance,
                    "kept": [sample.sample for sample in self.kept(mode, tolerance)],
                    **plain(self.statistics(mode, tolerance)),
                }

    def to_dict(self) -> dict[str, Any]:
        """The record that ``schema("reference")`` describes."""
        return {
            "schema_version": SCHEMA_VERSION,
            "protocol": dict(self.protocol),
            "source": self.source,
            "architecture": self.architecture,
            "generalised": self.generalised,
            "layout": dict(self.layout),
            "sizes": dict(self.sizes),
            "coverage": dict(self.coverage),
            **plain(self.statistics()),
            "filters": list(self.filters()),
            "samples": [s.to_dict(dimensions=self.keeps_dimensions) for s in self.samples],
            "provenance": dict(self.provenance),
            "warnings": list(self.warnings),
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
            If the record was written under another major version of the schema, or by another
            protocol.
        """
        check_version(record, SCHEMA_VERSION, "reference record")
        if (name := record["protocol"].get("name")) != "reference":
            raise BadInputError(
                f"reference record: its protocol is {name or 'exact'}, not reference; read it with "
                "read_analysis"
            )
        samples = tuple(map(ReferenceSample.from_dict, record["samples"]))
        names = ("protocol", "source", "architecture", "generalised", "layout", "sizes", "coverage")
        return cls(
            **{name: record[name] for name in names},
            samples=samples,
            provenance=record["provenance"],
            warnings=tuple(record["warnings"]),
            keeps_dimensions=any("values" in s["fractal_dimension"] for s in record["samples"]),
        )
