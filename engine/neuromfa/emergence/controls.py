"""Controls and null models of a checkpoint: how its exponents change when scale or places do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from neuromfa.emergence.altered import Alteration, altered_exponents, open_pair
from neuromfa.errors import UsageError
from neuromfa.protocol import Protocol
from neuromfa.provenance import versions
from neuromfa.records import check_version, json_text, plain
from neuromfa.units import DEFAULT_MEMORY

if TYPE_CHECKING:
    from neuromfa.scheduler import Source

SCHEMA_VERSION = "1.0"
RESCALED = ("scale", "scale_free")
NULL_MODELS = ("shuffled", "gaussian")
QUANTITIES = ("alpha_0", "width")
PACKAGES = ("neuromfa", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What the exponents of a checkpoint become when scale or places of its weights are changed.

    Attributes
    ----------
    protocol : mapping
        Every setting that defines the numbers.
    source, baseline : str
        The checkpoint, and the one it is compared with.
    content_hash, baseline_content_hash : str
        Identities of their weights.
    seed, replicates : int
        Of the null models.
    tensors : mapping
        By tensor, the ``rms`` and ``baseline_rms`` of its weights.
    groups : tuple of mapping
        For the network, each block and each role (``kind``, ``name``): ``scale`` and
        ``scale_free`` with ``alpha_0``, ``width`` and why they are ``undefined``; ``shuffled`` and
        ``gaussian`` with ``value``, null ``mean``, ``sd`` and ``z`` of both, and the single
        ``replicates``.
    versions : mapping
        What the random numbers depend on.

    References
    ----------
    Definitions, section 6.
    """

    protocol: Mapping[str, Any]
    source: str
    baseline: str
    content_hash: str
    baseline_content_hash: str
    seed: int
    replicates: int
    tensors: Mapping[str, Mapping[str, float]]
    groups: tuple[Mapping[str, Any], ...]
    versions: Mapping[str, str | None]

    def group(self, kind: str, name: str) -> Mapping[str, Any] | None:
        """One of the groups; None if there is none of that name."""
        found = (g for g in self.groups if (g["kind"], g["name"]) == (kind, name))
        return next(found, None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; None for what is undefined."""
        return {"schema_version": SCHEMA_VERSION} | {
            field.name: plain(getattr(self, field.name)) for field in fields(self)
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
        check_version(record, SCHEMA_VERSION, "record of controls")
        values = {field.name: record[field.name] for field in fields(cls)}
        return cls(**values | {"groups": tuple(record["groups"])})


def measure_controls(
    source: Source,
    baseline: Source,
    protocol: Protocol | None = None,
    *,
    seed: int = 0,
    replicates: int = 10,
    opening: Mapping[str, Any] | None = None,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Controls:
    """Measure the controls and null models that a degree of emergence comes with.

    Parameters
    ----------
    source : path, str, mapping, torch.nn.Module or Checkpoint
        As for `neuromfa.analyse`.
    baseline : path, str, mapping, torch.nn.Module or Checkpoint
        The same model where its emergence begins; may be `source` itself.
    protocol : Protocol, optional
        Everything that may change a number.
    seed : int
        Of the null models; not negative.
    replicates : int
        Draws of each null model; 0 for none.
    opening : mapping, optional
        ``allow_pickle``, ``architectures`` and ``strict`` of `neuromfa.analyse`, for both.
    threads : int, optional
        As many as the process may use by default; changes no bit of the result.
    memory : int
        Bytes of private memory for the work in flight; changes no bit of the result.

    Returns
    -------
    Controls
        Of the network, each block and each role.

    Raises
    ------
    UsageError
        If the two are not checkpoints of one model, or a setting makes no sense.
    UnsupportedError
        If a tensor is too large to be shuffled, or of a type that is not known.
    BadInputError
        If a file is missing or broken, or a weight is NaN or infinite.
    ResourceError
        If `memory` is too small.

    References
    ----------
    Definitions, section 6.

    Examples
    --------
    >>> import numpy as np, neuromfa
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (256, 128))
    >>> found = neuromfa.measure_controls({"map": 2 * weights}, {"map": weights}, replicates=2)
    >>> group = found.group("network", "network")
    >>> sorted(set(group) - {"kind", "name"})
    ['gaussian', 'scale', 'scale_free', 'shuffled']
    """
    protocol = protocol or Protocol()
    for name, value in (("seed", seed), ("replicates", replicates)):
        if value != int(value) or value < 0:
            raise UsageError(f"{name} {value}: must be a whole number, not negative")
    alterations = [Alteration(name) for name in ("value", *RESCALED)]
    alterations += [Alteration(name, k) for name in NULL_MODELS for k in range(replicates)]
    resources = {"threads": threads, "memory": memory}
    with open_pair(source, baseline, protocol, {**(opening or {}), **resources}) as pair:
        exponents = altered_exponents(pair, protocol, alterations, seed)
        return Controls(
            protocol=protocol.to_dict(),
            source=pair.job.checkpoint.source,
            baseline=pair.base.checkpoint.source,
            content_hash=pair.content_hash,
            baseline_content_hash=pair.baseline_content_hash,
            seed=seed,
            replicates=replicates,
            tensors={
                tensor: {"rms": scale.rms, "baseline_rms": pair.baseline_scales[tensor].rms}
                for tensor, scale in pair.scales.items()
            },
            groups=tuple(
                {"kind": kind, "name": name} | _group(found)
                for (kind, name), found in exponents.items()
            ),
            versions=versions(PACKAGES),
        )


def _group(found: Mapping[Alteration, Mapping[str, Any]]) -> dict[str, Any]:
    """One group's controls and null models."""
    value = found[Alteration("value")]
    group: dict[str, Any] = {name: found[Alteration(name)] for name in RESCALED}
    for model in NULL_MODELS:
        drawn = [exponents for alteration, exponents in found.items() if alteration.name == model]
        replicates = {of: [exponents[of] for exponents in drawn] for of in QUANTITIES}
        group[model] = {of: _against(value[of], replicates[of]) for of in QUANTITIES}
        group[model]["replicates"] = replicates
    return group


def _against(value: float, replicates: list[float]) -> dict[str, float]:
    """A value beside what a null model gives; NaN where that is undefined."""
    n = len(replicates)
    mean = math.fsum(replicates) / n if n else math.nan
    sd = math.sqrt(math.fsum((x - mean) ** 2 for x in replicates) / (n - 1)) if n > 1 else math.nan
    return {"value": value, "mean": mean, "sd": sd, "z": (value - mean) / sd if sd else math.nan}
