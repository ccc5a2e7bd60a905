"""Adds layers up to blocks, roles and the network, and fits each of these groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from neuromfa.dimension import DimensionSummary
from neuromfa.group import Group, fitted_fields
from neuromfa.jackknife import jackknife
from neuromfa.multifractal import (
    Float64,
    PartitionSums,
    mass_exponents,
    radius_grid,
    spectrum,
)
from neuromfa.network import Layer
from neuromfa.protocol import Protocol

NO_PARTS: Mapping[str, PartitionSums] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a layer or a group of layers before anything is fitted; additive."""

    sums: PartitionSums
    dimension: DimensionSummary

    def __add__(self, other: Measured) -> Measured:
        return Measured(self.sums + other.sums, self.dimension + other.dimension)


def fit(
    name: str,
    measured: Measured,
    protocol: Protocol,
    *,
    layer: Layer | None = None,
    block: str | None = None,
    role: str | None = None,
    parts: Mapping[str, PartitionSums] = NO_PARTS,
    over: str = "blocks",
) -> Group:
    """Fit the exponents and the spectrum of one group.

    Parameters
    ----------
    name : str
        Of the group.
    measured : Measured
        Its sums.
    protocol : Protocol
        Decides what is fitted.
    layer : Layer, optional
        For a layer: where its block, role and tensors are read from.
    block, role : str, optional
        For the other groups.
    parts : mapping of str to PartitionSums
        What the jackknife leaves out in turn; none gives no jackknife.
    over : str
        What the parts are.
    """
    sums = measured.sums
    exponents = mass_exponents(sums, protocol)
    curve = spectrum(sums, exponents, protocol)
    errors = None if exponents.undefined else jackknife(sums, parts, protocol)
    asked = np.isin(sums.q, protocol.q)
    return Group(
        name=name,
        block=layer.block if layer else block,
        role=layer.role if layer else role,
        tensors=layer.tensors if layer else (),
        neurons=sums.neurons,
        counted_neurons=sums.counted,
        edges=sums.edges,
        edges_in_range=sums.edges - sums.edges_below - sums.edges_above,
        edges_below=sums.edges_below,
        edges_above=sums.edges_above,
        zeros=sums.zeros,
        nonfinite=sums.nonfinite,
        radii=exponents.radii,
        q=sums.q[asked],
        **fitted_fields(exponents, curve, asked),
        jackknife=None
        if errors is None
        else {
            "over": over,
            "parts": len(errors.left_out),
            "left_out": list(errors.left_out),
            "alpha_0": errors.alpha_0.tolist(),
            "width": errors.width.tolist(),
            "tau_stderr": errors.tau_stderr[asked].tolist(),
            "alpha_0_stderr": errors.alpha_0_stderr,
            "width_stderr": errors.width_stderr,
        },
        fractal_dimension=measured.dimension.to_dict(),
        undefined=exponents.undefined,
    )


class Part(NamedTuple):
    """What the jackknife may leave out: a role of a block, or a layer outside any block."""

    block: str | None
    layer: str | None
    role: str

    @property
    def owner(self) -> str:
        """The block, or a layer outside any."""
        return f"layer {self.layer}" if self.block is None else self.block

    @property
    def name(self) -> str:
        """Tells the parts of a network from each other."""
        return self.owner if self.block is None else f"{self.block}.{self.role}"


@dataclass(slots=True)
class Totals:
    """Running sums over layers, added in the order of the layers.

    Only the sums of each `Part` are kept, so memory does not grow with the number of experts.
    """

    protocol: Protocol
    parts: dict[Part, Measured] = field(default_factory=dict)

    def add(self, layer: Layer, measured: Measured) -> None:
        """Add a layer."""
        part = Part(layer.block, layer.name if layer.block is None else None, layer.role)
        self.parts[part] = self.parts[part] + measured if part in self.parts else measured

    def network(self) -> Group:
        """All layers together, with the jackknife over blocks or, without any, over layers."""
        blocks = _sum_by(self.parts, lambda part: part.owner)
        named = any(part.block is not None for part in self.parts)
        layers = {part.name: measured for part, measured in self.parts.items()}
        over, left_out = ("blocks", blocks) if named and len(blocks) > 1 else ("layers", layers)
        return self._fit("network", self.parts.values(), left_out, over=over)

    def log_partition_function(self) -> Float64:
        """Logarithms of the network's Z_q(r), float64 [n_q, m], at its moments and radii."""
        sums = reduce(add, self.parts.values()).sums
        if not sums.counted:
            return np.zeros((len(self.protocol.q), 0))
        at = radius_grid(sums, self.protocol) - 1
        return np.log(sums.Z[np.isin(sums.q, self.protocol.q)][:, at])

    def blocks(self) -> tuple[Group, ...]:
        """Each block."""
        in_blocks = {part: m for part, m in self.parts.items() if part.block is not None}
        return tuple(
            fit(block, measured, self.protocol, block=block)
            for block, measured in _sum_by(in_blocks, lambda part: part.owner).items()
        )

    def roles(self) -> tuple[Group, ...]:
        """Each role, over all blocks."""
        return tuple(
            self._fit(role, of_role.values(), of_role, role=role)
            for role in dict.fromkeys(part.role for part in self.parts)
            for of_role in [{p.owner: m for p, m in self.parts.items() if p.role == role}]
        )

    def _fit(
        self,
        name: str,
        measured: Iterable[Measured],
        left_out: Mapping[str, Measured],
        *,
        over: str = "blocks",
        role: str | None = None,
    ) -> Group:
        parts = {part: m.sums for part, m in left_out.items()}
        total = reduce(add, measured)
        return fit(name, total, self.protocol, role=role, parts=parts, over=over)


def _sum_by(parts: Mapping[Part, Measured], key: Callable[[Part], str]) -> dict[str, Measured]:
    """Add the parts that share a key, in the order of the parts."""
    sums: dict[str, Measured] = {}
    for part, measured in parts.items():
        k = key(part)
        sums[k] = sums[k] + measured if k in sums else measured
    return sums
