"""Which layer reads the units that another one leads to: two topologies, each stated in results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from neuromfa.errors import UnsupportedError, UsageError
from neuromfa.network import Layer, Map

PAPER_CHAIN, RESIDUAL = "paper_chain", "residual"
TOPOLOGIES = (PAPER_CHAIN, RESIDUAL)
"""paper_chain: attention output, MLP input, MLP hidden, attention input of the next block, one
after another, as in the authors' networks. residual: outputs of attention and MLP are added to a
stream, which every later attention and MLP reads. In both, queries, keys and values lead nowhere:
the authors' edges from there to the attention output have distance 1 and never count."""

_NEXT_ROLE = {
    "attention_output": ("mlp_input", 0),
    "mlp_input": ("mlp_hidden", 0),
    "mlp_hidden": ("attention_input", 1),
}
"""By role, the role that reads its outputs, and in which block from here."""
_READS_STREAM = ("attention_input", "mlp_input")
_WRITES_STREAM = ("attention_output", "mlp_hidden")
_STREAM = "stream"
_PARALLEL = ("gpt_neox", "gptj", "codegen", "phi", "falcon", "cohere", "cohere2")
"""Architectures whose MLP reads what the attention beside it reads, if nothing else is said."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A layer that paths run through.

    Attributes
    ----------
    layer : Layer
        The first stage's are the neurons that paths begin at.
    reads, writes : str
        Units that its neurons are, and those that its outputs are; "" for none that matter. Several
        stages may write to the same units.
    least, most : int
        Edges of the shortest and of the longest path that ends at its outputs.
    """

    layer: Layer
    reads: str
    writes: str
    least: int
    most: int


def stages(
    layers: Sequence[Layer], start: Layer, hops: int, *, topology: str, parallel: bool
) -> tuple[Stage, ...]:
    """Find the layers that paths of up to some hops run through, the first one included.

    Parameters
    ----------
    layers : sequence of Layer
        All layers of the network.
    start : Layer
        Whose neurons the paths begin at.
    hops : int
        Most edges of a path.
    topology : {"paper_chain", "residual"}
        What follows what.
    parallel : bool
        Whether the MLP of a block reads what its attention reads, not what it adds.

    Returns
    -------
    tuple of Stage
        In the order of the forward pass, so that whoever writes units comes before who reads them.

    Raises
    ------
    UnsupportedError
        If it is not known which unit an output is.

    References
    ----------
    Definitions, section 7.
    """
    if topology == PAPER_CHAIN:
        path = chain(layers, start, hops)
        found = [Stage(x, str(k), str(k + 1), k + 1, k + 1) for k, x in enumerate(path)]
    else:
        found = _along_stream(layers, start, hops, parallel=parallel)
    read = {stage.reads for stage in found[1:]}
    return tuple(s if s.writes in read else replace(s, writes="") for s in found)


def chain(layers: Sequence[Layer], start: Layer, hops: int) -> tuple[Layer, ...]:
    """Layers of the paper's chain from one on; fewer than `hops` where the chain ends."""
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


def _along_stream(
    layers: Sequence[Layer], start: Layer, hops: int, *, parallel: bool
) -> list[Stage]:
    """Stages along residual connections: a path may leave the stream at any later layer."""
    found = [Stage(start, "", _writes(start), 1, 1)]
    later = list(layers[layers.index(start) + 1 :]) if start.block is not None else []
    for layer in later:
        if layer.block is None or _stack(layer) != _stack(start):
            continue
        if parallel and start.role == "attention_output" and layer.block == start.block:
            continue  # its MLP does not read what it adds
        reads = _reads(layer)
        writers = [stage for stage in found if reads and stage.writes == reads]
        if not writers or min(stage.least for stage in writers) >= hops:
            continue
        for stage in writers:
            _check(stage.layer, layer)
        least, most = (
            1 + pick(getattr(stage, of) for stage in writers)
            for pick, of in ((min, "least"), (max, "most"))
        )
        found.append(Stage(layer, reads, _writes(layer), least, min(most, hops)))
    return found


def _reads(layer: Layer) -> str:
    return _STREAM if layer.role in _READS_STREAM else _hidden(layer, "mlp_hidden")


def _writes(layer: Layer) -> str:
    return _STREAM if layer.role in _WRITES_STREAM else _hidden(layer, "mlp_input")


def _hidden(layer: Layer, role: str) -> str:
    return f"{layer.block}.hidden" if layer.role == role else ""


def parallel_blocks(config: Mapping[str, Any], architecture: str) -> bool:
    """Whether attention and MLP of a block read the same units, as a configuration says.

    Parameters
    ----------
    config : mapping
        ``config.json``; may be empty.
    architecture : str
        Family of the registry.
    """
    for key in ("use_parallel_residual", "parallel_attn"):
        if key in config:
            return bool(config[key])
    return config.get("model_type", architecture) in _PARALLEL


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


def unit_slices(part: Map) -> tuple[slice, ...]:
    """Outputs of a map that are units 0, 1, ... of the layer that reads them, one slice for each.

    A tensor that holds gate and up has two outputs for every unit.
    """
    n = outputs(part)
    if part.split == "gate_up_cat":
        return slice(0, n // 2), slice(n // 2, n)
    if part.split == "gate_up_interleaved":
        return slice(0, n, 2), slice(1, n, 2)
    return (slice(0, n),)


def _check(here: Layer, follower: Layer) -> None:
    for part in _maps(here, follower):
        if part.start or part.first_neuron or part.columns_per_neuron != 1:
            layer = here if part in here.maps else follower
            raise UnsupportedError(
                f"layer {layer.name}: tensor {part.tensor} holds several maps; paths through "
                "mixtures of experts and convolutions are not built: choose other layers"
            )
    for part in here.maps:
        units = outputs(part) // len(unit_slices(part))
        if units != follower.neurons:
            raise UnsupportedError(
                f"layer {here.name}: tensor {part.tensor} has {units} outputs and "
                f"{follower.name} {follower.neurons} neurons; which output is which neuron is not "
                "known: choose other layers"
            )


def _maps(*layers: Layer) -> Iterable[Map]:
    return (part for layer in layers for part in layer.maps)
