"""The live weights of a model: all of them, or a fixed random subset of its layers."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neuromfa.analysis import analyse
from neuromfa.architectures import load_registry
from neuromfa.checkpoint import Checkpoint, open_checkpoint
from neuromfa.network import Network, classify
from neuromfa.protocol import Protocol
from neuromfa.results import Analysis

if TYPE_CHECKING:
    import torch

SUBSET = "subset"
"""The rule by which the tensors of layers that were not drawn are left out."""


class Subset(NamedTuple):
    """So many layers of a network, drawn at random, the same ones at every step.

    Layers that are stored together, or are understood only beside each other, come together.

    Attributes
    ----------
    layers : int
        How many are drawn; all if the network has no more.
    seed : int
        Of the draw.
    """

    layers: int
    seed: int


def analyse_live(
    model: torch.nn.Module, protocol: Protocol, subset: Subset | None, **settings: Any
) -> Analysis:
    """Analyse a model as it is now, where it is; nothing of it is copied, changed or kept.

    Parameters
    ----------
    model : torch.nn.Module
        Also inside the wrappers of compilation and of data-parallel training.
    protocol : Protocol
        Everything that may change a number.
    subset : Subset or None
        Which layers; None for all.
    **settings
        Of `neuromfa.analyse`.

    Returns
    -------
    Analysis
        Of a subset, tensors of other layers are excluded by the rule ``subset``, and a warning
        tells how the layers were drawn.
    """
    if subset is None:
        return analyse(model, protocol, **settings)
    with open_checkpoint(model) as whole:
        network = _classified(whole, protocol, settings)
        drawn = _drawn(network, subset)
        part = _part(whole, network, drawn)
        if _layers(_classified(part, protocol, settings), drawn) != _layers(network, drawn):
            # Some layers are only understood beside others: experts beside their router.
            blocks = {x.block for x in network.layers if x.name in drawn and x.block is not None}
            drawn |= {x.name for x in network.layers if x.block in blocks}
            part = _part(whole, network, drawn)
        found = analyse(part, protocol, **settings)
    rules = network.coverage.excluded
    counted = {*found.coverage["analysed"], *found.coverage["unknown"]}
    excluded = {name: rules.get(name, SUBSET) for name in whole.tensors if name not in counted}
    note = f"{len(found.layers)} of {len(network.layers)} layers, drawn with seed {subset.seed}"
    return replace(
        found,
        coverage={**found.coverage, "excluded": excluded},
        warnings=(*found.warnings, f"a random subset of the network: {note}"),
    )


def _drawn(network: Network, subset: Subset) -> set[str]:
    names = [layer.name for layer in network.layers]
    number = min(subset.layers, len(names))
    return set(random.Random(subset.seed).sample(names, number))


def _part(whole: Checkpoint, network: Network, drawn: Collection[str]) -> Checkpoint:
    """The same checkpoint with the tensors of some layers only."""
    wanted = {name for layer in network.layers if layer.name in drawn for name in layer.tensors}
    tensors = {name: ref for name, ref in whole.tensors.items() if name in wanted}
    kept = {a: b for a, b in whole.aliases.items() if a in wanted and b in wanted}
    return replace(whole, tensors=tensors, aliases=kept)


def _classified(checkpoint: Checkpoint, protocol: Protocol, settings: dict[str, Any]) -> Network:
    registry = settings.get("architectures")
    return classify(
        checkpoint.tensors,
        protocol=protocol,
        config=checkpoint.config,
        kinds=checkpoint.kinds,
        aliases=checkpoint.aliases,
        registry=load_registry(Path(registry) if registry else None),
    )


def _layers(network: Network, drawn: Collection[str]) -> list[Any]:
    """Some layers of a network, with their maps."""
    return [layer for layer in network.layers if layer.name in drawn]
