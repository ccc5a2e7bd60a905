"""Where the edges between sampled units lie: which outputs of which tensor belong to which unit.

The sampled network is a chain: block inputs, attention dimensions, MLP inputs, hidden units, next
block's inputs. For GPT-NeoX the rows of queries, keys and values are taken as the authors take
them, for all other architectures as they are laid out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from neuromfa.architectures import Registry
from neuromfa.checkpoint import Checkpoint
from neuromfa.errors import BadInputError, UnsupportedError
from neuromfa.multifractal import Int64
from neuromfa.network import Layer, Map, Network
from neuromfa.reference.heads import Heads, head_layout
from neuromfa.reference.sampling import BlockPlan, BlockSizes

PUBLISHED = "gpt_neox"
"""The family that the authors' scripts read."""
ROLES = ("attention_input", "attention_output", "mlp_input", "mlp_hidden")
"""The layers of a block that the procedure knows, in the order of its lists."""

Outputs = Callable[[Int64], Int64]
"""From drawn units to the outputs of a matrix that belong to them."""

_HIDDEN_LAYOUTS: Mapping[str, tuple[str, Callable[[Int64, int], Int64]]] = {
    "gate_up_cat": ("n, n + I", lambda n, size: np.concatenate([n, n + size])),
    "input_gate_cat": ("n, n + I", lambda n, size: np.concatenate([n, n + size])),
    "gate_up_interleaved": ("2n, 2n + 1", lambda n, _: np.concatenate([2 * n, 2 * n + 1])),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One matrix of a layer, and how its outputs are sampled.

    Attributes
    ----------
    map : Map
        The matrix.
    outputs : callable
        From the drawn units that the layer feeds to outputs of this matrix.
    rule : str
        The same in words.
    """

    map: Map
    outputs: Outputs
    rule: str


@dataclass(frozen=True, slots=True)
class Block:
    """One block of the sampled chain.

    Attributes
    ----------
    sizes : BlockSizes
        Units to draw from.
    layers : tuple of (Layer, tuple of Part)
        One for each of `ROLES`.
    """

    sizes: BlockSizes
    layers: tuple[tuple[Layer, tuple[Part, ...]], ...]

    def drawn(self, plan: BlockPlan) -> list[tuple[Int64, Int64]]:
        """Neurons of each layer, in ascending order, and the units that the layer feeds."""
        neurons = (plan.inputs, plan.attention, plan.mlp_inputs, plan.hidden)
        targets = (plan.attention, plan.mlp_inputs, plan.hidden, plan.outputs)
        return [(np.sort(n), t) for n, t in zip(neurons, targets, strict=True)]


def sampled_blocks(
    checkpoint: Checkpoint, network: Network, registry: Registry
) -> tuple[Block, ...]:
    """Find the chain of layers that the procedure samples, and check it against the configuration.

    Parameters
    ----------
    checkpoint : Checkpoint
        Names its file and says what ``config.json`` does.
    network : Network
        Its layers.
    registry : Registry
        Knows how fused tensors are laid out.

    Raises
    ------
    UnsupportedError
        If the blocks are not one attention and one MLP each, or a layout is not known.
    BadInputError
        If sizes contradict the configuration.
    """
    found: dict[str, dict[str, Layer]] = {}
    for layer in network.layers:
        if layer.block is not None and layer.role in registry.roles:
            found.setdefault(layer.block, {})[layer.role] = layer
    where = checkpoint.source
    if not found or network.architecture == "generic":
        _refuse(where, "the registry knows no architecture with these tensor names")
    stacks = {re.sub(r"\.?\d[\d.]*$", "", block) for block in found}
    if len(stacks) > 1:
        _refuse(
            where, f"there are several stacks of blocks ({', '.join(map(repr, sorted(stacks)))})"
        )
    for name, layers in found.items():
        if missing := [role for role in ROLES if role not in layers]:
            _refuse(where, f"block {name} has no {missing[0]}")
        if more := [role for role in layers if role not in ROLES]:
            _refuse(where, f"block {name} has also {more[0]}")
    blocks = tuple(_block(checkpoint, network, registry, layers) for layers in found.values())
    for name, block, following in zip(found, blocks, blocks[1:], strict=False):
        if block.sizes.outputs != following.sizes.inputs:
            _refuse(where, f"block {name} has not as many outputs as the next has inputs")
    _check_config(checkpoint, blocks)
    return blocks


def _block(
    checkpoint: Checkpoint, network: Network, registry: Registry, layers: Mapping[str, Layer]
) -> Block:
    where = checkpoint.source
    chain = [layers[role] for role in ROLES]
    for layer in (layers["attention_output"], layers["mlp_hidden"]):
        if len(layer.maps) != 1:
            _refuse(where, f"layer {layer.name} is several matrices, as in a mixture of experts")
    for layer in chain:
        if any(m.columns_per_neuron != 1 or m.first_neuron for m in layer.maps):
            _refuse(where, f"layer {layer.name} is no plain matrix")
    inputs, attention, mlp_inputs, hidden = (layer.neurons for layer in chain)
    outputs = _outputs_of(layers["mlp_hidden"])
    if _outputs_of(layers["attention_output"]) != mlp_inputs:
        _refuse(where, f"the outputs of {layers['attention_output'].name} are not the MLP's inputs")
    heads = Heads(attention, _config(checkpoint.config))
    family = registry.family(network.architecture)

    def split(part: Map) -> str:
        match = family.match(part.tensor) if family else None
        return match.row.split if match else "none"

    def attention_part(part: Map) -> Part:
        if network.architecture == PUBLISHED and split(part) == "qkv_head":
            return Part(part, _stacked(attention), "t, t + A, t + 2A (as published)")
        outputs, rule = head_layout(part.tensor, outputs_of(part), split(part), heads, where=where)
        return Part(part, outputs, rule)

    parts = (
        tuple(map(attention_part, chain[0].maps)),
        (Part(chain[1].maps[0], _itself, "n"),),
        tuple(_hidden_part(part, split(part), hidden, where) for part in chain[2].maps),
        (Part(chain[3].maps[0], _itself, "n"),),
    )
    sizes = BlockSizes(inputs, attention, mlp_inputs, hidden, outputs)
    return Block(sizes, tuple(zip(chain, parts, strict=True)))


def outputs_of(part: Map) -> int:
    """Number of output units of a matrix."""
    return part.rows if part.neuron_axis else part.cols


def _outputs_of(layer: Layer) -> int:
    return outputs_of(layer.maps[0])


def _itself(units: Int64) -> Int64:
    return units


def _stacked(size: int) -> Outputs:
    return lambda t: np.concatenate([t, t + size, t + 2 * size])


def _hidden_part(part: Map, split: str, hidden: int, where: str) -> Part:
    n_outputs = outputs_of(part)
    if n_outputs == hidden:
        return Part(part, _itself, "n")
    if n_outputs == 2 * hidden and split in _HIDDEN_LAYOUTS:
        rule, rows = _HIDDEN_LAYOUTS[split]
        return Part(part, lambda n: rows(n, hidden), rule)
    return _refuse(
        where, f"{part.tensor} has {n_outputs} outputs, laid out as {split}, for {hidden} units"
    )


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a configuration: what it says of the language model stands beside the rest."""
    text = config.get("text_config")
    return {**config, **(text if isinstance(text, Mapping) else {})}


def _check_config(checkpoint: Checkpoint, blocks: Sequence[Block]) -> None:
    """Compare the sizes with ``config.json``, which a truncated or mixed checkpoint contradicts."""
    config, first = _config(checkpoint.config), blocks[0].sizes
    for names, size, what in (
        (("hidden_size", "n_embd", "d_model"), first.inputs, "block input units"),
        (("num_hidden_layers", "n_layer", "n_layers", "num_layers"), len(blocks), "blocks"),
        (("intermediate_size",), first.hidden, "hidden units"),
    ):
        for name in names:
            said = config.get(name)
            if what == "blocks" and "num_hidden_groups" in config:
                continue  # the same block is passed several times
            if isinstance(said, int) and said != size:
                raise BadInputError(
                    f"{checkpoint.source}: config.json says {name} {said}, the tensors have {size} "
                    f"{what}, and the sampling plan depends on it; give the complete checkpoint"
                )


def _refuse(where: str, fact: str) -> NoReturn:
    raise UnsupportedError(
        f"{where}: {fact}; the reference protocol knows one chain of blocks with one attention and "
        "one MLP each: analyse this model with --protocol exact"
    )
