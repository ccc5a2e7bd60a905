"""Sums of the network, its blocks and roles that keep one block at a time."""

from __future__ import annotations

from typing import Any

from neuromfa.multifractal import PartitionSums, mass_exponents, spectrum
from neuromfa.network import Layer
from neuromfa.protocol import Protocol


class RunningGroups:
    """Adds layers, in order, up to groups, and fits each block as soon as it is complete.

    The sums are added in the order of `neuromfa.groups.Totals`: the layers of a block that share
    a role first, then these. So groups that nothing was done to have the same bits.

    Parameters
    ----------
    protocol : Protocol
        Decides what is fitted.
    """

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._owner: tuple[str | None, str | None] | None = None
        self._parts: dict[str, PartitionSums] = {}
        self._network: PartitionSums | None = None
        self._roles: dict[str, PartitionSums] = {}
        self._blocks: dict[str, dict[str, Any]] = {}

    def add(self, layer: Layer, sums: PartitionSums) -> None:
        """Add a layer; those of a block follow one another."""
        owner = (layer.block, None if layer.block is not None else layer.name)
        if owner != self._owner:
            self._complete()
            self._owner = owner
        known = self._parts.get(layer.role)
        self._parts[layer.role] = sums if known is None else known + sums

    def finish(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Exponents by kind and name of the group."""
        self._complete()
        groups: dict[tuple[str, str], dict[str, Any]] = {}
        if self._network is not None:
            groups["network", "network"] = self._fit(self._network)
        groups |= {("blocks", name): found for name, found in self._blocks.items()}
        return groups | {("roles", role): self._fit(s) for role, s in self._roles.items()}

    def _complete(self) -> None:
        if self._owner is None:
            return
        block: PartitionSums | None = None
        for role, sums in self._parts.items():
            block = sums if block is None else block + sums
            self._network = sums if self._network is None else self._network + sums
            self._roles[role] = self._roles[role] + sums if role in self._roles else sums
        if self._owner[0] is not None and block is not None:
            self._blocks[self._owner[0]] = self._fit(block)
        self._parts = {}

    def _fit(self, sums: PartitionSums) -> dict[str, Any]:
        exponents = mass_exponents(sums, self._protocol)
        curve = spectrum(sums, exponents, self._protocol)
        return {
            "alpha_0": curve.alpha_0,
            "width": curve.width,
            "undefined": exponents.undefined,
        }
