"""Two analyses side by side, group by group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from neuromfa.errors import UsageError
from neuromfa.multifractal import Float64
from neuromfa.records import json_text, plain
from neuromfa.results import Analysis, Group

SCHEMA_VERSION = "1.0"
KINDS = ("network", "roles", "blocks")
QUANTITIES = ("alpha_0", "width")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two analyses under one protocol, side by side.

    Attributes
    ----------
    protocol : mapping
        Every setting that defines the numbers; `q` is that of the first.
    a, b : mapping
        ``source``, ``architecture`` and ``content_hash`` of both.
    q : tuple of float
        Moments that both have.
    groups : tuple of mapping
        For the network, each role and each block that both have: ``kind``, ``name``; ``a`` and
        ``b`` with ``alpha_0``, ``width``, their ``_stderr`` and ``fractal_dimension_mean``;
        ``difference`` (b - a) of alpha_0 and width; ``structure_distance``.
    only_a, only_b : tuple of mapping
        ``kind`` and ``name`` of groups that one of them has alone.

    References
    ----------
    Definitions, section 6.
    """

    protocol: Mapping[str, Any]
    a: Mapping[str, Any]
    b: Mapping[str, Any]
    q: tuple[float, ...]
    groups: tuple[Mapping[str, Any], ...]
    only_a: tuple[Mapping[str, str], ...]
    only_b: tuple[Mapping[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; None for what is undefined."""
        return {"schema_version": SCHEMA_VERSION} | {
            field.name: plain(getattr(self, field.name)) for field in fields(self)
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json_text(self.to_dict())


class Dimensions(Protocol):
    """What has generalised dimensions: a group of neurons, or the analysis of a graph."""

    @property
    def q(self) -> Float64:
        """Moments."""

    @property
    def generalised_dimension(self) -> Float64:
        """D(q), NaN where undefined."""


def structure_distance(a: Dimensions, b: Dimensions) -> float:
    """Root mean square difference of the generalised dimensions D(q) over the common moments.

    Parameters
    ----------
    a, b : Group or GraphAnalysis
        Of any two analyses.

    Returns
    -------
    float
        Zero for equal spectra; NaN without a moment at which both are defined.

    References
    ----------
    Definitions, sections 6 and 7; Xiao, Chen and Bogdan, Scientific Reports 11, 22964 (2021).

    Examples
    --------
    >>> import numpy as np, neuromfa
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (256, 128))
    >>> analysis = neuromfa.analyse({"map": weights})
    >>> neuromfa.structure_distance(analysis.network, analysis.network)
    0.0
    """
    _, at_a, at_b = np.intersect1d(a.q, b.q, assume_unique=True, return_indices=True)
    difference = a.generalised_dimension[at_a] - b.generalised_dimension[at_b]
    known = difference[np.isfinite(difference)]
    return float(np.sqrt((known * known).mean())) if len(known) else math.nan


def compare(a: Analysis, b: Analysis) -> Comparison:
    """Put two analyses side by side: of two checkpoints, or of two models.

    Parameters
    ----------
    a, b : Analysis
        Under the same protocol, but for the moments.

    Returns
    -------
    Comparison
        Of the groups that have the same name in both.

    Raises
    ------
    UsageError
        If their protocols differ.

    Examples
    --------
    >>> import numpy as np, neuromfa
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (256, 128))
    >>> a, b = (neuromfa.analyse({"map": k * weights}) for k in (1, 2))
    >>> found = neuromfa.compare(a, b)
    >>> [(group["kind"], group["name"]) for group in found.groups]
    [('network', 'network'), ('roles', 'matrix')]
    """
    for name in a.protocol.keys() | b.protocol.keys():
        if name != "q" and a.protocol.get(name) != b.protocol.get(name):
            raise UsageError(
                f"compare: {a.source} was analysed with {name} {a.protocol.get(name)} and "
                f"{b.source} with {b.protocol.get(name)}; analyse both under one protocol"
            )
    mine, other = _groups(a), _groups(b)
    return Comparison(
        protocol=a.protocol,
        a=_origin(a),
        b=_origin(b),
        q=tuple(np.intersect1d(a.network.q, b.network.q).tolist()),
        groups=tuple(
            {"kind": kind, "name": name} | _beside(group, other[kind, name])
            for (kind, name), group in mine.items()
            if (kind, name) in other
        ),
        only_a=tuple({"kind": k, "name": n} for k, n in mine if (k, n) not in other),
        only_b=tuple({"kind": k, "name": n} for k, n in other if (k, n) not in mine),
    )


def _groups(analysis: Analysis) -> dict[tuple[str, str], Group]:
    found = {(kind, group.name): group for kind, group in analysis.groups()}
    return {key: found[key] for kind in KINDS for key in found if key[0] == kind}


def _origin(analysis: Analysis) -> dict[str, Any]:
    return {
        "source": analysis.source,
        "architecture": analysis.architecture,
        "content_hash": analysis.provenance.get("content_hash"),
    }


def _beside(a: Group, b: Group) -> dict[str, Any]:
    return {
        "a": _numbers(a),
        "b": _numbers(b),
        "difference": {of: getattr(b, of) - getattr(a, of) for of in QUANTITIES},
        "structure_distance": structure_distance(a, b),
    }


def _numbers(group: Group) -> dict[str, Any]:
    errors = group.jackknife or {}
    return {
        **{of: getattr(group, of) for of in QUANTITIES},
        **{f"{of}_stderr": errors.get(f"{of}_stderr") for of in QUANTITIES},
        "fractal_dimension_mean": group.fractal_dimension["mean"],
        "undefined": group.undefined,
    }
