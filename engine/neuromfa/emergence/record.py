"""The record of a course of emergence: plain values that can be kept, sent and written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from neuromfa.records import check_version, json_text, plain

SCHEMA_VERSION = "1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmergenceGroup:
    """The course of one group.

    Attributes
    ----------
    kind : {"network", "blocks", "roles"}
        What it is.
    name : str
        Its name.
    points : tuple of mapping
        One for each checkpoint: ``label``, ``E``, ``E_stderr``, ``undefined`` and
        ``stderr_undefined`` (reasons), ``alpha_0``, ``width`` and their ``_stderr``, ``controls``
        (``scale``, ``shape``, ``scale_free``), ``nulls`` (``shuffled``, ``gaussian``).
    """

    kind: str
    name: str
    points: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergence:
    """Degree of emergence of a network, its blocks and roles, over checkpoints.

    Attributes
    ----------
    baseline : str
        Label of the checkpoint from which emergence is counted.
    protocol : mapping
        Of all the analyses.
    labels, content_hashes : tuple of str
        The checkpoints, in the order given.
    groups : tuple of EmergenceGroup
        First the network.

    References
    ----------
    Definitions, section 6.
    """

    baseline: str
    protocol: Mapping[str, Any]
    labels: tuple[str, ...]
    content_hashes: tuple[str | None, ...]
    groups: tuple[EmergenceGroup, ...]

    @property
    def network(self) -> EmergenceGroup:
        """The course of the whole network."""
        return self.groups[0]

    def group(self, kind: str, name: str) -> EmergenceGroup | None:
        """One of the groups; None if there is none of that name."""
        return next((g for g in self.groups if (g.kind, g.name) == (kind, name)), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; None for what is undefined."""
        groups = [{"kind": g.kind, "name": g.name, "points": plain(g.points)} for g in self.groups]
        return {
            "schema_version": SCHEMA_VERSION,
            **{f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name != "groups"},
            "groups": groups,
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json_text(self.to_dict())

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises
        ------
        BadInputError
            If the record was written under another major version of the schema.
        """
        check_version(record, SCHEMA_VERSION, "record of emergence")
        return cls(
            baseline=record["baseline"],
            protocol=record["protocol"],
            labels=tuple(record["labels"]),
            content_hashes=tuple(record["content_hashes"]),
            groups=tuple(
                EmergenceGroup(kind=g["kind"], name=g["name"], points=tuple(g["points"]))
                for g in record["groups"]
            ),
        )
