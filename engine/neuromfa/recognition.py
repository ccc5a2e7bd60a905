"""Which family a checkpoint is of, and whether its weights are stored in a readable format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from neuromfa.architectures import Family, Registry
from neuromfa.errors import BadInputError, UnsupportedError
from neuromfa.layers import Layer, form_layers
from neuromfa.placing import Placing

if TYPE_CHECKING:
    from neuromfa.tensors import TensorRef

SAMPLE = 12
"""Tensors looked at of those whose names differ in their numbers only."""


def refuse_quantised(
    tensors: Mapping[str, TensorRef], config: Mapping[str, Any], registry: Registry
) -> None:
    """Refuse quantised weights that are not read yet, by the name of their format.

    Raises
    ------
    UnsupportedError
        Naming the format and a tensor.
    """
    formats = [(name, pattern) for name, ps in registry.quantised.items() for pattern in ps]
    for ref in _samples(tensors).values():
        for name, pattern in formats:
            if fnmatchcase(ref.name, pattern):
                raise _unsupported(ref, name)
        if (
            ref.dtype.startswith("float8")
            and f"{ref.name.removesuffix('.weight')}.scale" in tensors
        ):
            raise _unsupported(ref, "FP8 with scales")
    text = config.get("text_config")
    for part in (config, text if isinstance(text, Mapping) else {}):
        if tensors and isinstance(entry := part.get("quantization_config"), Mapping) and entry:
            method = entry.get("quant_method") or "an unnamed format"
            raise _unsupported(next(iter(tensors.values())), f"{method} (quantization_config)")


def _unsupported(ref: TensorRef, name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{ref.file or 'tensors'}: tensor {ref.name} is quantised as {name}, which is not read "
        "yet; analyse the model before quantisation or convert it to bfloat16 first"
    )


def recognise(placing: Placing) -> tuple[Family | None, tuple[str, ...]]:
    """Find the family of a checkpoint, and say how if the configuration does not tell.

    The configuration decides. Otherwise the family is inferred if exactly one knows every matrix
    without contradiction, or several that give the same network.
    """
    registry, config = placing.registry, placing.config
    if (family := registry.family_of(config)) and _knows_any(family, placing):
        return family, ()
    said = f"model type {config['model_type']!r}" if config.get("model_type") else ""
    about = [f"the registry does not know {said}"] if said and not family else []
    if family:
        about = [f"no tensor has a name of family {family.name}, which the config says"]
    found = _fitting(placing)
    found = [f for f in found if f.name not in registry.installed] or found
    if len(found) == 1:
        return found[0], (*about, f"architecture inferred from tensor names: {found[0].name}")
    if found:
        names = " and ".join(f.name for f in found)
        about.append(f"tensor names fit {names}, which differ: a config.json would tell")
    return None, tuple(about)


def _knows_any(family: Family, placing: Placing) -> bool:
    return any(map(family.match, _samples(placing.tensors)))


def _fitting(placing: Placing) -> list[Family]:
    """Families that know every matrix without contradiction; one of those that agree."""
    sample = {
        name: ref
        for name, ref in _samples(placing.tensors).items()
        if len(ref.shape) > 1 and 0 not in ref.shape
    }
    fitting: dict[tuple[object, ...], Family] = {}
    for family in placing.registry.families.values():
        trial = replace(placing, family=family)
        matches = {name: family.match(name) for name in sample}
        if not any(m and m.row.role in placing.registry.roles for m in matches.values()):
            continue
        open_names = [n for n, m in matches.items() if m is None]
        if any(trial.rule(sample[n], n, None) is None for n in open_names):
            continue
        meaning = tuple(
            m and (m.row.role, m.row.orientation, m.row.form, m.row.shared, m.stack, m.block)
            for m in matches.values()
        )
        fitting.setdefault(meaning, family)
    return [f for f in fitting.values() if _consistent(replace(placing, family=f))]


def _consistent(placing: Placing) -> bool:
    """Whether shapes and modules agree with a family: one width of the residual per stack."""
    try:
        placed = placing.place()
        layers = form_layers(placed.places, "joint")
    except BadInputError:
        return False
    return not placed.notes and all(len(w) == 1 for w in widths(layers, placing.registry).values())


def widths(layers: Iterable[Layer], registry: Registry) -> dict[str, dict[int, str]]:
    """Numbers of units that the blocks of each stack read, each with the first layer that does."""
    found: dict[str, dict[int, str]] = {}
    for layer in layers:
        if layer.role in registry.residual:
            stack = re.sub(r"\.?\d[\d.]*$", "", layer.block or "")
            found.setdefault(stack, {}).setdefault(layer.neurons, layer.name)
    return found


def _samples(tensors: Mapping[str, TensorRef]) -> dict[str, TensorRef]:
    """A few tensors of each name, where names that differ in numbers only are the same."""
    taken: dict[str, int] = {}
    sample = {}
    for name, ref in tensors.items():
        key = re.sub(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)", "#", name)
        if (count := taken.get(key, 0)) < SAMPLE:
            sample[name] = ref
            taken[key] = count + 1
    return sample
