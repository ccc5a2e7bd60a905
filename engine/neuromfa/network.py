"""Checkpoint to network: every tensor is analysed, or left out by a named rule, or unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from neuromfa.architectures import Family, Registry, load_registry
from neuromfa.errors import BadInputError, UnsupportedError
from neuromfa.layers import Layer, Map, form_layers
from neuromfa.placing import Placing
from neuromfa.protocol import INCLUDABLE
from neuromfa.recognition import recognise, refuse_quantised, widths

if TYPE_CHECKING:
    from neuromfa.protocol import Protocol
    from neuromfa.tensors import TensorRef

__all__ = ["Coverage", "Layer", "Map", "Network", "classify"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What became of every tensor; nothing is skipped silently (definitions, section 1).

    Attributes
    ----------
    analysed : tuple of str
        Tensors in some layer by the registry.
    excluded : mapping of str to str
        Tensor to the rule by which it is left out.
    unknown : tuple of str
        Matrices analysed by the generic rule.
    """

    analysed: tuple[str, ...]
    excluded: Mapping[str, str]
    unknown: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return {
            "analysed": list(self.analysed),
            "excluded": dict(self.excluded),
            "unknown": list(self.unknown),
        }


@dataclass(frozen=True, slots=True)
class Network:
    """The neuron interaction network of a checkpoint, in canonical order.

    Attributes
    ----------
    architecture : str
        Family of the registry, or ``"generic"``.
    layers : tuple of Layer
        By stack, block, role and expert.
    coverage : Coverage
        What became of every tensor.
    warnings : tuple of str
        What was inferred or not known.
    """

    architecture: str
    layers: tuple[Layer, ...]
    coverage: Coverage
    warnings: tuple[str, ...]


def classify(
    tensors: Mapping[str, TensorRef],
    *,
    protocol: Protocol,
    config: Mapping[str, Any] | None = None,
    kinds: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    registry: Registry | None = None,
    strict: bool = False,
) -> Network:
    """Classify every tensor of a checkpoint; needs no weights (definitions, section 1).

    Parameters
    ----------
    tensors : mapping of str to TensorRef
        All tensors.
    protocol : Protocol
        Says what to include and whether experts are joint.
    config : mapping, optional
        ``config.json``, which names the architecture.
    kinds : mapping of str to str, optional
        Tensor to the class of its module, where a module was given.
    aliases : mapping of str to str, optional
        Tied tensor to the first tensor with the same storage.
    registry : Registry, optional
        The built-in one by default.
    strict : bool
        Refuse matrices that the registry does not know.

    Raises
    ------
    BadInputError
        If shapes contradict the roles, or there is no matrix to analyse.
    UnsupportedError
        If weights are quantised, or `strict` and a matrix is unknown.
    """
    config, kinds, aliases = config or {}, kinds or {}, aliases or {}
    registry = registry or load_registry()
    refuse_quantised(tensors, config, registry)
    placing = Placing(tensors, protocol, config, kinds, aliases, registry)
    family, notes = recognise(placing)
    placing = replace(placing, family=family)
    placed = placing.place()
    if not placed.places:
        raise _nothing(tensors, placed.excluded)
    if strict and placed.unknown:
        raise _unknown(tensors, sorted(placed.unknown))
    layers = form_layers(placed.places, protocol.experts)
    generic = frozenset(placed.unknown)
    used = dict.fromkeys(name for layer in layers for name in layer.tensors)
    unknown = tuple(name for name in used if name in generic)
    return Network(
        placing.family_name,
        tuple(layers),
        Coverage(
            tuple(name for name in used if name not in generic),
            {name: placed.excluded[name] for name in sorted(placed.excluded)},
            unknown,
        ),
        (
            *(*notes, *placed.notes, *_unknown_note(unknown), *_width_notes(layers, registry)),
            *_plug_in_notes(family, registry),
        ),
    )


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _nothing(tensors: Mapping[str, TensorRef], excluded: Mapping[str, str]) -> BadInputError:
    where = next((ref.file for ref in tensors.values() if ref.file), "tensors")
    rules = ", ".join(f"{n} {rule}" for rule, n in Counter(excluded.values()).most_common())
    out = sorted(set(excluded.values()) & set(INCLUDABLE))
    way = f"--include {','.join(out)} analyses those" if out else "give a file with weights"
    return BadInputError(f"{where} has no matrix to analyse ({rules or 'no tensors'}); {way}")


def _unknown(tensors: Mapping[str, TensorRef], unknown: list[str]) -> UnsupportedError:
    where = tensors[unknown[0]].file or "tensors"
    return UnsupportedError(
        f"{where}: the registry does not know {_names(unknown)}; describe them in a registry file "
        "(--architectures), or analyse them by the generic rule without --strict"
    )


def _unknown_note(unknown: Sequence[str]) -> list[str]:
    if not unknown:
        return []
    what = "matrix is a layer" if len(unknown) == 1 else "matrices are each a layer"
    return [f"generic rule: {len(unknown)} {what} of its own, [out, in]: {_names(unknown)}"]


def _plug_in_notes(family: Family | None, registry: Registry) -> list[str]:
    """Whose description of the architecture this is, and which plug-ins failed."""
    if family is None or family.name not in registry.installed:
        return list(registry.problems)
    return [f"family {family.name} is described by {family.source}", *registry.problems]


def _width_notes(layers: list[Layer], registry: Registry) -> list[str]:
    """Say where blocks of one stack read different numbers of units: a wrong family, perhaps."""
    different = [list(w.items()) for w in widths(layers, registry).values() if len(w) > 1]
    return [
        f"{name} reads {n} units and {other} {m}: is this the architecture that its config says?"
        for (n, name), (m, other), *_ in different
    ]
