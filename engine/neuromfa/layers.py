"""Layers of the neuron interaction network, formed from the tensors that read the same units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from neuromfa.errors import BadInputError

if TYPE_CHECKING:
    from neuromfa.tensors import TensorRef

PLAIN, EXPERT, SHARED = range(3)
"""Owner of a map in a mixture of experts: the block, one expert, the shared expert."""
GATE_UP = ("gate_up_cat", "gate_up_interleaved")
"""Splits of a tensor with two outputs for every unit that is read next."""


@dataclass(frozen=True, slots=True)
class Map:
    """One weight matrix between units: a row range of ``tensor.reshape(-1, cols)``.

    Attributes
    ----------
    tensor : str
        Name.
    start, stop : int
        Rows.
    cols : int
        Columns.
    neuron_axis : int
        1 if the neurons are the columns ([out, in]), 0 if they are the rows ([in, out]).
    first_neuron : int
        Index in the layer of this map's neuron 0.
    columns_per_neuron : int
        Kernel positions of a convolution, else 1.
    split : str
        How gate and up lie in one tensor, as in the registry; "none" where they do not.
    """

    tensor: str
    start: int
    stop: int
    cols: int
    neuron_axis: int
    first_neuron: int
    columns_per_neuron: int = 1
    split: str = "none"

    @property
    def rows(self) -> int:
        """Rows."""
        return self.stop - self.start

    @property
    def neurons(self) -> int:
        """Neurons that it gives edges to."""
        return self.cols // self.columns_per_neuron if self.neuron_axis else self.rows

    @property
    def weights(self) -> int:
        """Weights."""
        return self.rows * self.cols


@dataclass(frozen=True, slots=True)
class Layer:
    """Tensors that read the same units (definitions, section 1).

    Attributes
    ----------
    name : str
        ``<block>.<role>``, whatever the storage; the tensor's name by the generic rule.
    block : str or None
        Number of the block, with the name of its stack if there are several.
    role : str
        What the units are.
    maps : tuple of Map
        In canonical order: router, experts by number, shared expert.
    """

    name: str
    block: str | None
    role: str
    maps: tuple[Map, ...]

    @property
    def neurons(self) -> int:
        """Source units."""
        return max(m.first_neuron + m.neurons for m in self.maps)

    @property
    def weights(self) -> int:
        """Weights of all maps."""
        return sum(m.weights for m in self.maps)

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names, each once."""
        return tuple(dict.fromkeys(m.tensor for m in self.maps))


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor's place in the network: its layer, and how it holds its maps.

    Attributes
    ----------
    ref : TensorRef
        The tensor.
    role : str
        Units that it reads.
    layer : str
        Name of the layer without the expert.
    block : str or None
        As for the layer.
    order : tuple
        Sorts layers canonically.
    position : tuple
        Sorts the tensors of a layer and owner.
    orientation, form : str
        As in the registry.
    owner : int
        `PLAIN`, `EXPERT` or `SHARED`.
    expert : int
        Number of the expert of a tensor that belongs to one.
    own_units : bool
        Every expert has units of its own.
    split : str
        As in the registry.
    """

    ref: TensorRef
    role: str
    layer: str
    block: str | None
    order: tuple[object, ...]
    position: tuple[object, ...] = ()
    orientation: str = "oi"
    form: str = "matrix"
    owner: int = PLAIN
    expert: int = 0
    own_units: bool = False
    split: str = "none"


def form_layers(places: Iterable[Place], experts: Literal["joint", "separate"]) -> list[Layer]:
    """Form the layers in canonical order; the same for any storage of the same maps.

    Raises
    ------
    BadInputError
        If tensors of one layer read different numbers of units, or a shape is not its role's.
    """
    groups: dict[str, list[Place]] = {}
    for place in places:
        groups.setdefault(place.layer, []).append(place)
    counts = _expert_counts(groups)
    layers = []
    for group in sorted(groups.values(), key=lambda g: g[0].order):
        owners: dict[tuple[int, int], list[tuple[Place, Map]]] = {}
        for place in sorted(group, key=lambda p: (p.position, p.ref.name)):
            for owner, part in _maps(place, counts.get(place.block, 1)):
                owners.setdefault(owner, []).append((place, part))
        if experts == "joint":
            layers.append(_joint(group[0], owners))
        else:
            layers.extend(_separate(group[0], owners))
    return layers


def _joint(place: Place, owners: Mapping[tuple[int, int], list[tuple[Place, Map]]]) -> Layer:
    """Form one layer of all experts: neurons expert by expert where these have their own."""
    if not place.own_units:
        parts = [part for owner in sorted(owners) for part in owners[owner]]
        return _layer(place, place.layer, parts)
    first = 0
    parts = []
    for owner in sorted(owners):
        neurons = _layer(place, place.layer, owners[owner]).neurons
        parts += [(p, replace(m, first_neuron=first)) for p, m in owners[owner]]
        first += neurons
    maps = tuple(_merged(m for _, m in parts))
    return Layer(place.layer, place.block, place.role, maps)


def _separate(
    place: Place, owners: Mapping[tuple[int, int], list[tuple[Place, Map]]]
) -> Iterator[Layer]:
    for owner, expert in sorted(owners):
        suffix = ("", f".expert.{expert}", ".expert.shared")[owner]
        yield _layer(place, place.layer + suffix, owners[owner, expert])


def _layer(place: Place, name: str, parts: list[tuple[Place, Map]]) -> Layer:
    """Form a layer of maps that read the same units, and check that these are equally many."""
    (_, first), *rest = parts
    for other, part in rest:
        if part.neurons != first.neurons:
            raise BadInputError(
                f"{other.ref.file or 'tensors'}: layer {name}: {first.tensor} reads "
                f"{first.neurons} units and {part.tensor} {part.neurons}; they must read the same "
                "units: is this file of another architecture than its config says?"
            )
    return Layer(name, place.block, place.role, tuple(_merged(part for _, part in parts)))


def _merged(maps: Iterable[Map]) -> Iterator[Map]:
    """Join neighbouring row ranges of a tensor where their neurons allow it."""
    last: Map | None = None
    for part in maps:
        step = 0 if part.neuron_axis else (last.rows if last else 0)
        if (
            last
            and replace(part, start=last.start, first_neuron=part.first_neuron - step)
            == replace(last, stop=part.stop)
            and part.start == last.stop
        ):
            last = replace(last, stop=part.stop)
            continue
        if last:
            yield last
        last = part
    if last:
        yield last


def _expert_counts(groups: Mapping[str, list[Place]]) -> dict[str | None, int]:
    """Count the experts of blocks that store them flat: as many as the router has outputs."""
    flat = {p.block for group in groups.values() for p in group if p.form == "flat"}
    return {
        p.block: p.ref.shape[0]
        for group in groups.values()
        for p in group
        if p.block in flat and p.role == "mlp_input" and p.form == "matrix" and p.owner == PLAIN
    }


def _maps(place: Place, experts: int) -> Iterator[tuple[tuple[int, int], Map]]:
    """Maps of a tensor with their owners, each with its neuron 0 at index 0."""
    name, shape = place.ref.name, place.ref.shape
    axis = 1 if place.orientation == "oi" and place.form != "depthwise" else 0
    _check_shape(place, experts)
    if place.form == "stack":
        for e in range(shape[0]):
            yield (EXPERT, e), Map(name, e * shape[1], (e + 1) * shape[1], shape[2], axis, 0)
    elif place.form == "flat":
        rows = shape[0] // experts
        for e in range(experts):
            yield (EXPERT, e), Map(name, e * rows, (e + 1) * rows, shape[1], axis, 0)
    elif place.form == "joined":
        yield (PLAIN, 0), Map(name, 0, math.prod(shape[:-1]), shape[-1], axis, 0)
    else:
        owner = (place.owner, place.expert)
        step = math.prod(shape[2:]) if place.form == "convolution" and axis else 1
        split = place.split if place.split in GATE_UP else "none"
        yield owner, Map(name, 0, shape[0], math.prod(shape[1:]), axis, 0, step, split)


def _check_shape(place: Place, experts: int) -> None:
    dimensions = {"stack": (3, 3), "joined": (3, 3), "convolution": (2, 9), "depthwise": (2, 9)}
    least, most = dimensions.get(place.form, (2, 2))
    shape = place.ref.shape
    where = f"{place.ref.file or 'tensors'}: tensor {place.ref.name}"
    if not least <= len(shape) <= most:
        raise BadInputError(
            f"{where} has shape {list(shape)}; as {place.role} it must have {least} dimensions: "
            "is it a shard of a larger one?"
        )
    if place.form == "flat" and shape[0] % experts:
        raise BadInputError(f"{where} has {shape[0]} rows, not a multiple of {experts} experts")
