"""Which layers are meant, and which layer reads the units that another one leads to."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from neuromfa.errors import UnsupportedError, UsageError
from neuromfa.network import Layer, Map

PAPER_CHAIN = "paper_chain"
"""Attention output, MLP input, MLP hidden, attention input of the next block, one after another, as
in the authors' networks. Residual connections are left out; queries, keys and values lead nowhere,
because the authors' edges from there to the attention output have distance 1 and never count."""

_NEXT_ROLE = {
    "attention_output": ("mlp_input", 0),
    "mlp_input": ("mlp_hidden", 0),
    "mlp_hidden": ("attention_input", 1),
}
"""By role, the role that reads its outputs, and in which block from here."""


def chain(layers: Sequence[Layer], start: Layer, hops: int) -> tuple[Layer, ...]:
    """Layers that paths of up to that many hops run through, the first one included.

    Parameters
    ----------
    layers : sequence of Layer
        All layers of the network.
    start : Layer
        Whose neurons the paths begin at.
    hops : int
        Most edges of a path.

    Returns
    -------
    tuple of Layer
        Fewer than `hops` where the chain ends.

    Raises
    ------
    UnsupportedError
        If it is not known which unit of the next layer an output is.

    References
    ----------
    Definitions, section 7.
    """
    blocks = list(dict.fromkeys(layer.block for layer in layers))
    found = [start]
    while len(found) < hops:
        here = found[-1]
        role, further = _NEXT_ROLE.get(here.role, ("", 0))
        at = blocks.index(here.block) + further
        if not role or here.block is None or at >= len(blocks):
            break
        wanted = (layer for layer in layers if (layer.block, layer.role) == (blocks[at], role))
        follower = next(wanted, None)
        if follower is None or _stack(follower) != _stack(here):
            break
        _check(here, follower)
        found.append(follower)
    return tuple(found)


def choose_layers(layers: Sequence[Layer], names: Sequence[str], source: str) -> tuple[Layer, ...]:
    """Choose layers by names or patterns; all if there are none.

    Raises
    ------
    UsageError
        If no layer has such a name.
    """
    for name in names:
        if not any(fnmatchcase(layer.name, name) for layer in layers):
            raise UsageError(
                f"{source}: no layer is called {name}; the first of {len(layers)} is "
                f"{layers[0].name}"
            )
    return tuple(
        layer for layer in layers if not names or any(fnmatchcase(layer.name, n) for n in names)
    )


def _stack(layer: Layer) -> str:
    return str(layer.block).rpartition(".")[0]


def outputs(part: Map) -> int:
    """Output units of a map."""
    return part.rows if part.neuron_axis else part.cols


def _check(here: Layer, follower: Layer) -> None:
    for layer in (here, follower):
        for part in layer.maps:
            if part.start or part.first_neuron or part.columns_per_neuron != 1:
                raise UnsupportedError(
                    f"layer {layer.name}: tensor {part.tensor} holds several maps; paths through "
                    "mixtures of experts and convolutions are not built: choose other layers"
                )
    for part in here.maps:
        if outputs(part) != follower.neurons:
            raise UnsupportedError(
                f"layer {here.name}: tensor {part.tensor} has {outputs(part)} outputs and "
                f"{follower.name} {follower.neurons} neurons; which output is which neuron is not "
                "known: choose other layers"
            )
